"""Trying again after a fault that passes. The one place in the package where a model call is repeated for a fault."""

from __future__ import annotations

import logging
import math
import random
import time
from dataclasses import dataclass, replace

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from mctsdialog.errors import ConfigError, ModelAccountError, ModelError, ModelResponseError, ModelUnavailableError
from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, ModelLayer, Usage
from mctsdialog.llm.http_errors import BUSY_STATUS

_log = logging.getLogger("mctsdialog.llm")

_ATTEMPTS = 6  # after faults, where no number is given
_FEW = 3  # after a fault that probably lasts
_LEAST_GROWING = 10.0  # seconds: waits that a server asks for again and again grow up to this
_LINE_EVERY = 10.0  # seconds between two lines that say that calls wait
_TOLD_FROM = 1.0  # seconds of a wait that is worth a line


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and after what wait a call is tried again.

    The wait doubles from ``initial`` up to ``maximum``, less a random part. Where a server says how long to wait, that
    is waited in full instead. A busy server (429, 503, 529) is waited for with patience; other faults (5xx,
    connections, half a reply) are tried again a number of times.

    :param attempts: most attempts, the first included; at least 1. None for 6 after faults, 3 where the fault probably
        lasts (nobody listens, a web page answers) and the model never answered, and any number that ``patience``
        allows while the server is busy.
    :param initial: seconds before the second attempt, 0 and up.
    :param maximum: most seconds between attempts, 0 and up.
    :param jitter: the random part of a wait, in [0, 1]: callers that failed together should not return together.
    :param maximum_wait: longest wait that a server may ask for, in seconds; a longer one fails at once.
    :param patience: most seconds that one call waits for a busy server in all, 0 and up.
    :raises ConfigError: for a value out of its range.
    """

    attempts: int | None = None
    initial: float = 0.5
    maximum: float = 60.0
    jitter: float = 0.5
    maximum_wait: float = 300.0
    patience: float = 300.0

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise ConfigError(f"attempts must be at least 1, not {self.attempts}", field="attempts")
        if not 0 <= self.jitter <= 1:
            raise ConfigError(f"jitter must lie in [0, 1], not {self.jitter}", field="jitter")
        for field in ("initial", "maximum", "maximum_wait", "patience"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ConfigError(f"{field} must be 0 s or more, not {getattr(self, field)}", field=field)

    def wait(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed."""
        chance = random.random()  # noqa: S311 - spreads load, keeps no secret
        growing = min(self.maximum, self.initial * 2.0 ** min(attempt - 1, 60)) * (1 - self.jitter * chance)
        if retry_after is None:
            return growing
        # What a server asks for again and again is too short; and at once would be a storm.
        again = min(growing, _LEAST_GROWING) if attempt > 1 else 0.0
        return max(retry_after + self.jitter * chance * self.initial, again)


class RetryingModel(ModelLayer):
    """Tries again after :class:`ModelUnavailableError` and :class:`ModelResponseError`, and after nothing else.

    The last error is raised as it came, with a note of the attempts made. A server that tells one call to wait (429)
    makes the others wait too. Tokens of failed attempts that were billed are in the usage of the reply, or of the
    error. Waits are told in the log, at most one in ten seconds.
    """

    def __init__(self, inner: ChatModel, retry: Retry | None = None) -> None:
        super().__init__(inner)
        self.retry = retry or Retry()
        self.retries = 0
        self._sleep = anyio.sleep
        self._quiet_until = -math.inf
        self._answered_at = -math.inf
        self._line_at = -math.inf

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request, in as many attempts as ``retry`` allows.

        :raises ModelUnavailableError: the last attempt's, or at once when the server asks for too long a wait.
        :raises ModelResponseError: the last attempt's.
        :raises ModelAccountError: where the server limits every call for as long as is waited.
        """
        if self._quiet_until > -math.inf:
            await self._keep_quiet()
        try:
            completion = await self.inner.complete(request)  # nearly always; tenacity costs as much as all other layers
        except (ModelUnavailableError, ModelResponseError) as error:
            completion = await _Attempts(self, request, error).go()
        self._answered_at = time.monotonic()
        return completion

    async def _keep_quiet(self) -> None:
        """Wait as long as the server has told another call to."""
        wait = self._quiet_until - time.monotonic()
        if wait > 0:
            await self._sleep(wait + self.retry.jitter * random.random() * self.retry.initial)  # noqa: S311
        else:
            self._quiet_until = -math.inf

    def _say(self, wait: float, error: ModelError, attempt: int) -> None:
        """Say that a call waits: always in the log, and as a warning now and then."""
        now = time.monotonic()
        busy = isinstance(error, ModelUnavailableError) and error.status in BUSY_STATUS
        if wait >= (_TOLD_FROM if busy else _LEAST_GROWING) and now - self._line_at >= _LINE_EVERY:
            self._line_at = now
            _log.warning("waiting %.0f s, then asking again: %s", wait, error)
        else:
            _log.info("attempt %d failed, next in %.1f s: %s", attempt, wait, error)


class _Attempts:
    """One call, after its first attempt failed."""

    def __init__(self, model: RetryingModel, request: ChatRequest, first: ModelError) -> None:
        self._model, self._request, self._retry = model, request, model.retry
        self._began = time.monotonic()
        self._first: ModelError | None = first
        self._faults = 0
        self._wasted = Usage()

    async def go(self) -> Completion:
        """The reply of the attempt that succeeds."""
        retrying = AsyncRetrying(
            sleep=self._model._sleep,
            stop=self._is_over,
            wait=self._wait,
            retry=retry_if_exception(self._is_passing),
            before_sleep=self._before_sleep,
            reraise=True,
        )
        try:
            completion: Completion = await retrying(self._attempt)
        except (ModelUnavailableError, ModelResponseError) as last:
            made = retrying.statistics.get("attempt_number", 1)
            waited = retrying.statistics.get("idle_for", 0.0)
            error = self._last(last, waited)
            error.usage = self._wasted if self._wasted.total_tokens else error.usage
            error.add_note(f"after {made} attempt{'s' * (made != 1)}")
            raise error from None
        if self._wasted.total_tokens:
            completion = replace(completion, usage=completion.usage + self._wasted)
        return completion

    async def _attempt(self) -> Completion:
        try:
            if self._first is not None:
                first, self._first = self._first, None
                raise first
            return await self._model.inner.complete(self._request)
        except ModelError as error:
            self._wasted += error.usage or Usage()
            if not _is_busy(error):
                self._faults += 1
            raise

    def _is_passing(self, error: BaseException) -> bool:
        if isinstance(error, ModelUnavailableError):
            return (error.retry_after or 0.0) <= self._retry.maximum_wait
        return isinstance(error, ModelResponseError)

    def _is_over(self, state: RetryCallState) -> bool:
        error, most = _error_of(state), self._retry.attempts
        if most is not None and state.attempt_number >= most:
            return True
        if _is_busy(error):
            return state.idle_for + state.upcoming_sleep > self._retry.patience + self._retry.initial
        lasting = getattr(error, "lasting", False) and self._model._answered_at == -math.inf
        return most is None and self._faults >= (_FEW if lasting else _ATTEMPTS)

    def _wait(self, state: RetryCallState) -> float:
        return self._retry.wait(state.attempt_number, getattr(_error_of(state), "retry_after", None))

    def _before_sleep(self, state: RetryCallState) -> None:
        model, error = self._model, _error_of(state)
        model.retries += 1
        assert isinstance(error, ModelError), "only those are tried again"
        if isinstance(error, ModelUnavailableError) and error.status == 429 and error.retry_after:
            model._quiet_until = max(model._quiet_until, time.monotonic() + error.retry_after)
        model._say(state.upcoming_sleep, error, state.attempt_number)

    def _last(self, error: ModelUnavailableError | ModelResponseError, waited: float) -> ModelError:
        """The error that is raised at the end, with what to do about a server that stays busy."""
        if not isinstance(error, ModelUnavailableError):
            return error
        of_all = error.status == 429 and self._retry.attempts is None and self._model._answered_at < self._began
        if not self._is_passing(error):
            most = f"more than the {self._retry.maximum_wait:g} s that are waited (maximum_wait)"
            return ModelUnavailableError(
                f"{error}; the server asks to wait {error.retry_after:g} s, {most}",
                model=error.model,
                status=error.status,
                retry_after=error.retry_after,
                lasting=of_all,
            )
        if of_all:
            advice = "raise the quota, or ask for less with --requests-per-minute; then give the same command again"
            reason = f"{error}; no call was let through in {waited:.0f} s of waiting: {advice}"
            return ModelAccountError(reason, model=error.model, status=429)
        return error


def _is_busy(error: BaseException | None) -> bool:
    return isinstance(error, ModelUnavailableError) and error.status in BUSY_STATUS


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
