"""Limits that a server sets: calls at once, requests and tokens per minute."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import anyio

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError
from mctsdialog.llm._loop_local import LoopLocal
from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, ModelLayer, estimate_prompt_tokens

_USUAL_REPLY = 512  # tokens expected of a reply without max_tokens


@dataclass(slots=True, eq=False)
class Claim:
    """A request's slot and its part of the minute: when it was made, and its tokens as far as they are known."""

    queues: _Queues
    tokens: int
    time: float = 0.0


@checked()
class Limits:
    """Limits shared by all the models that call one server; None leaves a kind unlimited.

    Callers are served in the order they came. No window of a minute, wherever it begins, holds more requests or
    tokens than allowed. A request's tokens are estimated before it (a quarter of its characters, and
    ``max_tokens``), and corrected by its usage. One that is larger than the whole limit waits for an empty minute.

    Slots are per event loop; the minute's record is shared by loops that run one after another.

    :param concurrency: most calls at once, at least 1.
    :param requests_per_minute: at least 1.
    :param tokens_per_minute: read and written, at least 1.
    :raises ConfigError: for a limit below 1.
    """

    period = 60.0
    """Seconds in the window."""

    def __init__(
        self,
        concurrency: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        self.concurrency = concurrency
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        for field in ("concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ConfigError(f"{field} must be at least 1, not {value}", field=field)
        self._claims: deque[Claim] = deque()
        self._queues: LoopLocal[_Queues] = LoopLocal(lambda: _Queues(self.concurrency))

    @property
    def _counts_a_minute(self) -> bool:
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    async def enter(self, request: ChatRequest) -> Claim:
        """Wait for a slot and for room in the minute; give both back with :meth:`leave`."""
        queues = self._queues.get()
        claim = Claim(queues, _estimate(request) if self._counts_a_minute else 0)
        if queues.slots is not None:
            try:  # alone, acquire() goes once around the event loop, for 0.02 ms of CPU in a call of 0.8
                queues.slots.acquire_on_behalf_of_nowait(claim)
            except anyio.WouldBlock:
                await queues.slots.acquire_on_behalf_of(claim)
        try:
            if self._counts_a_minute:
                await self._wait_until_allowed(queues, claim)
        except BaseException:
            _release(claim)
            raise
        return claim

    async def _wait_until_allowed(self, queues: _Queues, claim: Claim) -> None:
        async with queues.first:  # in line: only the first looks for room
            while (wait := self._seconds_until_allowed(claim)) > 0:
                with anyio.move_on_after(wait):
                    await queues.changed.wait()
            claim.time = time.monotonic()
            self._claims.append(claim)

    def _seconds_until_allowed(self, claim: Claim) -> float:
        """0.0 when there is room for ``claim``, else seconds until the oldest request leaves the window."""
        now = time.monotonic()
        while self._claims and self._claims[0].time <= now - self.period:
            self._claims.popleft()
        if not self._claims:
            return 0.0
        requests_fit = self.requests_per_minute is None or len(self._claims) < self.requests_per_minute
        tokens = sum(known.tokens for known in self._claims) + claim.tokens
        if requests_fit and (self.tokens_per_minute is None or tokens <= self.tokens_per_minute):
            return 0.0
        return max(0.001, self._claims[0].time + self.period - now)

    def leave(
        self,
        claim: Claim,
        request: ChatRequest,
        completion: Completion | None,
        error: BaseException | None = None,
    ) -> None:
        """Give the slot back and correct the claim.

        :param completion: the reply; None for a call that failed, which then counts with its prompt alone.
        :param error: what it failed with.
        """
        _release(claim)
        if not self._counts_a_minute:
            return
        if completion is None:
            claim.tokens = estimate_prompt_tokens(request)
        elif completion.usage.total_tokens:
            claim.tokens = completion.usage.total_tokens
        queues = claim.queues
        queues.changed.set()
        queues.changed = anyio.Event()

    @property
    def in_use(self) -> int:
        """Slots that are taken in this event loop; 0 where calls at once are not limited."""
        slots = self._queues.get().slots
        return 0 if slots is None else slots.borrowed_tokens

    def resize(self, concurrency: int) -> None:
        """Allow another number of calls at once, in this event loop and those that come; those under way go on.

        :raises ConfigError: for a number below 1, and where calls at once are not limited.
        """
        slots = self._queues.get().slots
        if slots is None or concurrency < 1:
            raise ConfigError(f"concurrency must be at least 1, not {concurrency}", field="concurrency")
        self.concurrency = concurrency
        slots.total_tokens = concurrency

    def __repr__(self) -> str:
        parts = (f"{name}={getattr(self, name)}" for name in ("concurrency", "requests_per_minute"))
        return f"Limits({', '.join(parts)}, tokens_per_minute={self.tokens_per_minute})"


class _Queues:
    """Where callers of one event loop wait: for a slot, to be first in line, and for a change."""

    def __init__(self, concurrency: int | None) -> None:
        self.slots = None if concurrency is None else anyio.CapacityLimiter(concurrency)
        self.first = anyio.Lock()
        self.changed = anyio.Event()


def _release(claim: Claim) -> None:
    if claim.queues.slots is not None:
        claim.queues.slots.release_on_behalf_of(claim)


def _estimate(request: ChatRequest) -> int:
    return estimate_prompt_tokens(request) + (request.sampling.max_tokens or _USUAL_REPLY)


@checked()
class LimitedModel(ModelLayer):
    """Keeps to limits.

    :param limits: may be shared by several models.
    """

    def __init__(self, inner: ChatModel, limits: Limits) -> None:
        super().__init__(inner)
        self.limits = limits

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request when the limits allow it."""
        claim = await self.limits.enter(request)
        try:
            completion = await self.inner.complete(request)
        except BaseException as error:
            self.limits.leave(claim, request, None, error)
            raise
        self.limits.leave(claim, request, completion)
        return completion
