"""A number of calls at once that follows what the server can take: additive increase, multiplicative decrease."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

from mctsdialog._arguments import checked
from mctsdialog._moved import renamed_arguments, renamed_attribute
from mctsdialog.errors import ConfigError, ModelUnavailableError
from mctsdialog.llm.base import ChatRequest, Completion
from mctsdialog.llm.layers._limits import Claim, Limits

_DECAY = 1.02  # a window: the best time of long ago, of shorter prompts perhaps, is no measure for ever


@renamed_arguments(most="max_concurrency", least="min_concurrency")
@checked()
class AdaptiveLimits(Limits):
    """Limits whose number of calls at once is found while they are used (AIMD, as TCP does: Chiu and Jain, 1989).

    After as many good replies as calls are allowed at once, one more is allowed, if all that were allowed were in
    use. Where the server pushes back, the number falls to ``decrease`` of it: by an answer that says so (429, 503, a
    time-out, a refused connection), or by replies that take ``slower`` times as long as at best, in the median of as
    many replies as calls are allowed. What was sent before the fall then causes no other one.

    :param max_concurrency: most calls at once that it may reach.
    :param min_concurrency: fewest, from 1 to ``max_concurrency``.
    :param start: how many at first.
    :param decrease: factor of a fall, in (0, 1).
    :param slower: factor of the median time of a reply that counts as pushing back, above 1.
    :param requests_per_minute: and ``tokens_per_minute``, as for :class:`Limits`.
    :param clock: seconds, for tests.
    :raises ConfigError: for a value out of range.
    """

    def __init__(
        self,
        max_concurrency: int,
        *,
        min_concurrency: int = 1,
        start: int = 8,
        decrease: float = 0.7,
        slower: float = 3.0,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 1 <= min_concurrency <= max_concurrency:
            message = f"min_concurrency must be from 1 to max_concurrency ({max_concurrency}), not {min_concurrency}"
            raise ConfigError(message, field="min_concurrency")
        if not 0 < decrease < 1:
            raise ConfigError(f"decrease must be between 0 and 1, not {decrease}", field="decrease")
        if slower <= 1:
            raise ConfigError(f"slower must be above 1, not {slower}", field="slower")
        super().__init__(min(max(start, min_concurrency), max_concurrency), requests_per_minute, tokens_per_minute)
        self.max_concurrency, self.min_concurrency = max_concurrency, min_concurrency
        self._decrease, self._slower = decrease, slower
        self._clock = clock
        self._begun: dict[Claim, float] = {}
        self._fell = -math.inf
        self._good = 0
        self._full = False
        self._seconds: list[float] = []
        self._best = math.inf
        self.falls = 0
        """How often the number fell."""

    most = renamed_attribute("most", "max_concurrency")
    least = renamed_attribute("least", "min_concurrency")

    async def enter(self, request: ChatRequest) -> Claim:
        """Wait for a slot and for room in the minute; give both back with :meth:`leave`."""
        claim = await super().enter(request)
        self._begun[claim] = self._clock()
        self._full = self._full or self.in_use >= (self.concurrency or 1)
        return claim

    def leave(
        self,
        claim: Claim,
        request: ChatRequest,
        completion: Completion | None,
        error: BaseException | None = None,
    ) -> None:
        """Give the slot back, and learn from how the call went."""
        begun = self._begun.pop(claim)
        if completion is not None:
            self._learn(begun, self._clock() - begun)
        elif isinstance(error, ModelUnavailableError) and error.status in (None, 429, 503, 529):
            self._fall(begun)
        super().leave(claim, request, completion, error)

    def _learn(self, begun: float, seconds: float) -> None:
        allowed = self.concurrency or 1
        self._good += 1
        self._seconds.append(seconds)
        if self._good < allowed:
            return
        median = statistics.median(self._seconds)
        full, self._good, self._seconds, self._full = self._full, 0, [], False
        if median > self._slower * self._best:
            self._fall(begun)
        elif full:
            self._allow(allowed + 1)
        self._best = min(_DECAY * self._best, median)

    def _fall(self, begun: float) -> None:
        """Allow fewer, unless the call was sent before the last fall."""
        if begun < self._fell:
            return
        self._fell, self._good, self._seconds = self._clock(), 0, []
        self.falls += 1
        self._allow(math.floor((self.concurrency or 1) * self._decrease))

    def _allow(self, number: int) -> None:
        self.resize(min(max(number, self.min_concurrency), self.max_concurrency))
