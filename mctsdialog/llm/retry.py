"""Trying again after a fault that passes. The one place in the package where a model call is repeated for a fault."""

from __future__ import annotations

import logging
import math
import random
from dataclasses import dataclass

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from mctsdialog.errors import ConfigError, ModelResponseError, ModelUnavailableError
from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, ModelLayer

_log = logging.getLogger("mctsdialog.llm")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and after what wait a call is tried again.

    The wait doubles from ``initial`` up to ``maximum``, less a random part; a server's Retry-After is waited out
    in full instead.

    :param attempts: most attempts, the first included; at least 1.
    :param initial: seconds before the second attempt, 0 and up.
    :param maximum: most seconds between attempts, 0 and up.
    :param jitter: the random part of a wait, in [0, 1]: callers that failed together should not return together.
    :param maximum_wait: longest Retry-After that is honoured, in seconds; a longer one fails at once.
    :raises ConfigError: for a value out of its range.
    """

    attempts: int = 6
    initial: float = 0.5
    maximum: float = 60.0
    jitter: float = 0.5
    maximum_wait: float = 300.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ConfigError(f"attempts must be at least 1, not {self.attempts}", field="attempts")
        if not 0 <= self.jitter <= 1:
            raise ConfigError(f"jitter must lie in [0, 1], not {self.jitter}", field="jitter")
        for field in ("initial", "maximum", "maximum_wait"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ConfigError(f"{field} must be 0 s or more, not {getattr(self, field)}", field=field)

    def wait(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed."""
        chance = random.random()  # noqa: S311 - spreads load, keeps no secret
        if retry_after is not None:
            return retry_after + self.jitter * chance * self.initial
        return min(self.maximum, self.initial * 2.0 ** min(attempt - 1, 60)) * (1 - self.jitter * chance)


class RetryingModel(ModelLayer):
    """Tries again after :class:`ModelUnavailableError` and :class:`ModelResponseError`, and after nothing else.

    The last error is raised as it came, with a note of the attempts made.
    """

    def __init__(self, inner: ChatModel, retry: Retry | None = None) -> None:
        super().__init__(inner)
        self.retry = retry or Retry()
        self.retries = 0
        self._sleep = anyio.sleep

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request, in at most ``retry.attempts`` attempts.

        :raises ModelUnavailableError: the last attempt's, or at once when the server asks for too long a wait.
        :raises ModelResponseError: the last attempt's.
        """
        try:
            return await self.inner.complete(request)  # nearly always; tenacity costs as much as all other layers
        except (ModelUnavailableError, ModelResponseError) as error:
            return await self._again(request, error)

    async def _again(self, request: ChatRequest, first: Exception) -> Completion:
        """Go on after the first attempt failed."""
        failed: list[Exception] = [first]

        async def attempt() -> Completion:
            if failed:
                raise failed.pop()
            return await self.inner.complete(request)

        retrying = AsyncRetrying(
            sleep=self._sleep,
            stop=stop_after_attempt(self.retry.attempts),
            wait=self._wait,
            retry=retry_if_exception(self._is_passing),
            before_sleep=self._count,
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except (ModelUnavailableError, ModelResponseError) as error:
            made = retrying.statistics.get("attempt_number", 1)
            self._refuse_long_wait(error)
            error.add_note(f"after {made} attempt{'s' * (made != 1)}")
            raise

    def _is_passing(self, error: BaseException) -> bool:
        if isinstance(error, ModelUnavailableError):
            return (error.retry_after or 0.0) <= self.retry.maximum_wait
        return isinstance(error, ModelResponseError)

    def _wait(self, state: RetryCallState) -> float:
        return self.retry.wait(state.attempt_number, getattr(_error_of(state), "retry_after", None))

    def _count(self, state: RetryCallState) -> None:
        self.retries += 1
        wait = state.next_action.sleep if state.next_action else 0.0
        _log.info("attempt %d failed, next in %.1f s: %s", state.attempt_number, wait, _error_of(state))

    def _refuse_long_wait(self, error: Exception) -> None:
        if isinstance(error, ModelUnavailableError) and not self._is_passing(error):
            most = f"more than the {self.retry.maximum_wait:g} s that are waited (maximum_wait)"
            raise ModelUnavailableError(
                f"{error}; the server asks to wait {error.retry_after:g} s, {most}",
                model=error.model,
                status=error.status,
                retry_after=error.retry_after,
            ) from error


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
