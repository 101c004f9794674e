"""Trying again after a fault that passes. The one place in the package where a model call is repeated for a fault."""

from __future__ import annotations

import logging
import math
import random
import time
from dataclasses import dataclass, replace
from typing import TypeAlias

import anyio

from mctsdialog.errors import ConfigError, ModelAccountError, ModelError, ModelResponseError, ModelUnavailableError
from mctsdialog.llm._openai.errors import BUSY_STATUS
from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, ModelLayer, Usage

_log = logging.getLogger("mctsdialog.llm")

_MAX_ATTEMPTS = 6  # after faults, where no number is given
_MAX_ATTEMPTS_LASTING = 3  # after a fault that probably lasts
_MAX_REPEATED_WAIT = 10.0  # seconds: waits that a server asks for again and again grow up to this
_WARN_EVERY = 10.0  # seconds between two lines that say that calls wait
_WARN_FROM = 1.0  # seconds of a wait that is worth a line


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
        again = min(growing, _MAX_REPEATED_WAIT) if attempt > 1 else 0.0
        return max(retry_after + self.jitter * chance * self.initial, again)


class RetryingModel(ModelLayer):
    """Tries again after :class:`ModelUnavailableError` and :class:`ModelResponseError`, and after nothing else.

    The last error is raised as it came, with a note of the attempts made. A server that tells one call to wait (429)
    makes the others wait too. Tokens of failed attempts that were billed are in the usage of the reply, or of the
    error. Waits are told in the log, at most one in ten seconds.

    A loop of its own, as through tenacity a call takes 1.05 ms of CPU in place of 0.91 (benchmarks/throughput.py, 128
    slots).
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
        :raises ModelAccountError: where the server limits every call for as long as is waited.
        """
        await self._pause()
        failed = _Failures()
        while True:
            try:
                completion = await self.inner.complete(request)
            except (ModelUnavailableError, ModelResponseError) as error:
                failed.add(error)
                wait = self.retry.wait(failed.attempts, _asked_wait(error))
                if self._is_last(error, failed, wait):
                    raise self._last(error, failed) from None
                self._before_sleep(error, failed, wait)
            else:
                self._answered_at = time.monotonic()
                wasted = failed.usage
                return replace(completion, usage=completion.usage + wasted) if wasted.total_tokens else completion
            await self._sleep(wait)
            failed.waited += wait

    async def _pause(self) -> None:
        """Wait as long as the server has told another call to."""
        if self._paused_until == -math.inf:
            return
        wait = self._paused_until - time.monotonic()
        if wait > 0:
            await self._sleep(wait + self.retry.jitter * random.random() * self.retry.initial)  # noqa: S311
        else:
            self._paused_until = -math.inf

    def _is_last(self, error: _Retried, failed: _Failures, wait: float) -> bool:
        """Whether no further attempt is made."""
        most = self.retry.attempts
        if self._asks_too_long(error) or (most is not None and failed.attempts >= most):
            return True
        if _is_busy(error):
            return failed.waited + wait > self.retry.patience + self.retry.initial
        lasting = error.lasting and self._answered_at == -math.inf
        return most is None and failed.faults >= (_MAX_ATTEMPTS_LASTING if lasting else _MAX_ATTEMPTS)

    def _asks_too_long(self, error: _Retried) -> bool:
        return (_asked_wait(error) or 0.0) > self.retry.maximum_wait

    def _before_sleep(self, error: _Retried, failed: _Failures, wait: float) -> None:
        """Have other calls wait too where the server says so; say that a call waits, as a warning now and then."""
        self.retries += 1
        now = time.monotonic()
        asked = _asked_wait(error)
        if error.status == 429 and asked:
            self._paused_until = max(self._paused_until, now + asked)
        if wait >= (_WARN_FROM if _is_busy(error) else _MAX_REPEATED_WAIT) and now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            _log.warning("waiting %.0f s, then asking again: %s", wait, error)
        else:
            _log.info("attempt %d failed, next in %.1f s: %s", failed.attempts, wait, error)

    def _last(self, error: _Retried, failed: _Failures) -> ModelError:
        """The error that is raised at the end, with what to do about a server that stays busy."""
        last: ModelError = error
        limits_all = error.status == 429 and self.retry.attempts is None and self._answered_at < failed.since
        if self._asks_too_long(error):
            most = f"more than the {self.retry.maximum_wait:g} s that are waited (maximum_wait)"
            last = ModelUnavailableError(
                f"{error}; the server asks to wait {_asked_wait(error):g} s, {most}",
                model=error.model,
                status=error.status,
                retry_after=_asked_wait(error),
                lasting=limits_all,
            )
        elif limits_all and _is_busy(error):
            advice = "raise the quota, or ask for less with --requests-per-minute; then give the same command again"
            reason = f"{error}; no call was let through in {failed.waited:.0f} s of waiting: {advice}"
            last = ModelAccountError(reason, model=error.model, status=429)
        last.usage = failed.usage if failed.usage.total_tokens else last.usage
        last.add_note(f"after {failed.attempts} attempt{'s' * (failed.attempts != 1)}")
        return last


_Retried: TypeAlias = ModelUnavailableError | ModelResponseError


@dataclass(slots=True)
class _Failures:
    """The failed attempts of one call.

    :param faults: of them, those for another reason than that the server is busy.
    :param waited: seconds.
    :param usage: tokens that were billed for them.
    :param since: when the first one failed.
    """

    attempts: int = 0
    faults: int = 0
    waited: float = 0.0
    usage: Usage = Usage()  # noqa: RUF009 - frozen
    since: float = 0.0

    def add(self, error: _Retried) -> None:
        self.since = self.since or time.monotonic()
        self.attempts += 1
        self.faults += not _is_busy(error)
        self.usage += error.usage or Usage()


def _is_busy(error: _Retried) -> bool:
    return isinstance(error, ModelUnavailableError) and error.status in BUSY_STATUS


def _asked_wait(error: _Retried) -> float | None:
    """Seconds that the server asks to wait, where it does."""
    return error.retry_after if isinstance(error, ModelUnavailableError) else None
