"""Trying again after a fault that passes. The one place in the package where a model call is repeated for a fault."""

from __future__ import annotations

import logging
import math
import random
import time
from dataclasses import dataclass, replace
from typing import NoReturn, TypeAlias

import anyio
from tenacity import AsyncRetrying, DoSleep, RetryCallState, retry_always

from mctsdialog._arguments import checked
from mctsdialog._moved import renamed_arguments, renamed_attribute
from mctsdialog.errors import ConfigError, ModelAccountError, ModelError, ModelResponseError, ModelUnavailableError
from mctsdialog.llm._openai.errors import BUSY_STATUS
from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, ModelLayer, Usage

_log = logging.getLogger("mctsdialog.llm")

_MAX_ATTEMPTS = 6  # after faults, where no number is given
_MAX_ATTEMPTS_LASTING = 3  # after a fault that probably lasts
_MAX_REPEATED_WAIT = 10.0  # seconds: waits that a server asks for again and again grow up to this
_WARN_EVERY = 10.0  # seconds between two lines that say that calls wait
_WARN_FROM = 1.0  # seconds of a wait that is worth a line


@renamed_arguments(maximum="max_backoff", maximum_wait="max_retry_after")
@checked()
@dataclass(frozen=True, slots=True)
class Retry:
    """How often and after what wait a call is tried again.

    The wait doubles from ``initial`` up to ``max_backoff``, less a random part. Where a server says how long to wait,
    that is waited in full instead. A busy server (429, 503, 529) is waited for with patience; other faults (5xx,
    connections, half a reply) are tried again a number of times.

    :param attempts: most attempts, the first included; at least 1. None for 6 after faults, 3 where the fault probably
        lasts (nobody listens, a web page answers) and the model never answered, and any number that ``patience``
        allows while the server is busy.
    :param initial: seconds before the second attempt, 0 and up.
    :param max_backoff: most seconds between attempts, 0 and up.
    :param jitter: the random part of a wait, in [0, 1]: callers that failed together should not return together.
    :param max_retry_after: longest wait that a server may ask for, in seconds; a longer one fails at once.
    :param patience: most seconds that one call waits for a busy server in all, 0 and up.
    :raises ConfigError: for a value out of its range.
    """

    attempts: int | None = None
    initial: float = 0.5
    max_backoff: float = 60.0
    jitter: float = 0.5
    max_retry_after: float = 300.0
    patience: float = 300.0

    maximum = renamed_attribute("maximum", "max_backoff")
    maximum_wait = renamed_attribute("maximum_wait", "max_retry_after")

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise ConfigError(f"attempts must be at least 1, not {self.attempts}", field="attempts")
        if not 0 <= self.jitter <= 1:
            raise ConfigError(f"jitter must lie in [0, 1], not {self.jitter}", field="jitter")
        for field in ("initial", "max_backoff", "max_retry_after", "patience"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ConfigError(f"{field} must be 0 s or more, not {getattr(self, field)}", field=field)

    @checked()
    def wait(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed."""
        chance = random.random()  # noqa: S311 - spreads load, keeps no secret
        growing = min(self.max_backoff, self.initial * 2.0 ** min(attempt - 1, 60)) * (1 - self.jitter * chance)
        if retry_after is None:
            return growing
        # What a server asks for again and again is too short; and at once would be a storm.
        again = min(growing, _MAX_REPEATED_WAIT) if attempt > 1 else 0.0
        return max(retry_after + self.jitter * chance * self.initial, again)


@checked()
class RetryingModel(ModelLayer):
    """Tries again after :class:`ModelUnavailableError` and :class:`ModelResponseError`, and after nothing else.

    The last error is raised as it came, with a note of the attempts made. A server that tells one call to wait (429)
    makes the others wait too. Tokens of failed attempts that were billed are in the usage of the reply, or of the
    error. Waits are logged, at most one in ten seconds.
    """

    def __init__(self, inner: ChatModel, retry: Retry | None = None) -> None:
        super().__init__(inner)
        self.retry = retry or Retry()
        self.retries = 0
        self._sleep = anyio.sleep
        self._paused_until = -math.inf
        self._answered_at = -math.inf
        self._warned_at = -math.inf

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request, in as many attempts as ``retry`` allows.

        :raises ModelUnavailableError: the last attempt's, or at once when the server asks for too long a wait.
        :raises ModelResponseError: the last attempt's.
        :raises ModelAccountError: if the server limits every call for as long as is waited.
        """
        await self._pause()
        failed = _Failures()
        try:
            completion = await self.inner.complete(request)
        except (
            ModelUnavailableError,
            ModelResponseError,
        ) as error:  # through tenacity every call takes 0.1 ms more CPU
            completion = await self._again(request, error, failed)
        self._answered_at = time.monotonic()
        wasted = failed.usage
        return replace(completion, usage=completion.usage + wasted) if wasted.total_tokens else completion

    async def _again(self, request: ChatRequest, error: _Retried, failed: _Failures) -> Completion:
        """Ask again after a first attempt failed, for as long and after such waits as ``retry`` says."""
        retrying = AsyncRetrying(
            retry=retry_always,
            after=failed.add,
            wait=lambda state: self.retry.wait(state.attempt_number, _asked_wait(failed.last)),
            stop=lambda state: self._is_last(failed, state),
            before_sleep=lambda state: self._before_sleep(failed.last, state),
            retry_error_callback=lambda state: self._give_up(failed, state),
        )
        state = RetryCallState(retrying, None, (), {})
        retrying.begin()
        while True:
            state.set_exception((type(error), error, error.__traceback__))
            seconds = await retrying.iter(state)  # or it gives up
            assert isinstance(seconds, DoSleep)
            state.prepare_for_next_attempt()
            await self._sleep(seconds)
            try:
                return await self.inner.complete(request)
            except (ModelUnavailableError, ModelResponseError) as another:
                error = another

    async def _pause(self) -> None:
        """Wait as long as the server has told another call to."""
        if self._paused_until == -math.inf:
            return
        wait = self._paused_until - time.monotonic()
        if wait > 0:
            await self._sleep(wait + self.retry.jitter * random.random() * self.retry.initial)  # noqa: S311
        else:
            self._paused_until = -math.inf

    def _is_last(self, failed: _Failures, state: RetryCallState) -> bool:
        """Whether no further attempt is made."""
        most, error = self.retry.attempts, failed.last
        if self._asks_too_long(error) or (most is not None and state.attempt_number >= most):
            return True
        if _is_busy(error):
            return state.idle_for + state.upcoming_sleep > self.retry.patience + self.retry.initial
        lasting = error.lasting and self._answered_at == -math.inf
        return most is None and failed.faults >= (_MAX_ATTEMPTS_LASTING if lasting else _MAX_ATTEMPTS)

    def _asks_too_long(self, error: _Retried) -> bool:
        return (_asked_wait(error) or 0.0) > self.retry.max_retry_after

    def _before_sleep(self, error: _Retried, state: RetryCallState) -> None:
        """Have other calls wait too where the server says so; say that a call waits, as a warning now and then."""
        self.retries += 1
        now, wait = time.monotonic(), state.upcoming_sleep
        asked = _asked_wait(error)
        if error.status == 429 and asked:
            self._paused_until = max(self._paused_until, now + asked)
        if wait >= (_WARN_FROM if _is_busy(error) else _MAX_REPEATED_WAIT) and now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            _log.warning("waiting %.0f s, then asking again: %s", wait, error)
        else:
            _log.info("attempt %d failed, next in %.1f s: %s", state.attempt_number, wait, error)

    def _give_up(self, failed: _Failures, state: RetryCallState) -> NoReturn:
        """Raise the last error, with what to do about a server that stays busy."""
        error = failed.last
        last: ModelError = error
        limits_all = error.status == 429 and self.retry.attempts is None and self._answered_at < failed.since
        if self._asks_too_long(error):
            most = f"more than the {self.retry.max_retry_after:g} s that are waited (max_retry_after)"
            last = ModelUnavailableError(
                f"{error}; the server asks to wait {_asked_wait(error):g} s, {most}",
                model=error.model,
                status=error.status,
                retry_after=_asked_wait(error),
                lasting=limits_all,
            )
        elif limits_all and _is_busy(error):
            advice = "raise the quota, or ask for less with --requests-per-minute; then give the same command again"
            reason = f"{error}; no call was let through in {state.idle_for:.0f} s of waiting: {advice}"
            last = ModelAccountError(reason, model=error.model, status=429)
        last.usage = failed.usage if failed.usage.total_tokens else error.usage
        last.add_note(f"after {state.attempt_number} attempt{'s' * (state.attempt_number != 1)}")
        raise last


_Retried: TypeAlias = ModelUnavailableError | ModelResponseError


class _Failures:
    """The failed attempts of one call.

    :ivar last: the last one's error.
    :ivar faults: how many failed for another reason than that the server is busy.
    :ivar usage: tokens that were billed for them.
    :ivar since: when the first one failed.
    """

    last: _Retried

    def __init__(self) -> None:
        self.faults, self.usage, self.since = 0, Usage(), math.inf

    def add(self, state: RetryCallState) -> None:
        assert state.outcome is not None, "it failed"
        error = state.outcome.exception()
        assert isinstance(error, ModelUnavailableError | ModelResponseError), "only those are tried again"
        self.last = error
        self.since = min(self.since, time.monotonic())
        self.faults += not _is_busy(error)
        self.usage += error.usage or Usage()


def _is_busy(error: _Retried) -> bool:
    return isinstance(error, ModelUnavailableError) and error.status in BUSY_STATUS


def _asked_wait(error: _Retried) -> float | None:
    """Seconds that the server asks to wait, where it does."""
    return error.retry_after if isinstance(error, ModelUnavailableError) else None
