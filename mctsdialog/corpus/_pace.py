"""How long a run still takes, from how fast its trees came on lately."""

from __future__ import annotations

from collections import deque

_LEAST = 0.03  # of a tree, before there is a pace to go by
_SOON = 10.0  # seconds before that, so that a first tree from the cache is out of sight
_KEPT = 200  # samples of the latter half of the run


class Pace:
    """Estimates the time left of a run.

    Work is counted in trees. What journals and the cache gave without a call is no work, and the first half of the run
    says nothing: it may have been another kind of work. While too little was done, there is no estimate.
    """

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._now: dict[str, float] = {}
        self._ended = 0.0
        self._before = 0.0  # work at the last sample, free work included
        self._free = 0.0
        self._samples: deque[tuple[float, float]] = deque([(0.0, 0.0)])

    @property
    def open_share(self) -> float:
        """How far the open trees are, added up."""
        return sum(self._now.values())

    def came_to(self, name: str, share: float) -> None:
        """An open tree has come to a share of its search, 0 to 1; the first time, that is what its journal had."""
        self._first.setdefault(name, share)
        self._now[name] = share

    def ended(self, name: str, *, done: bool) -> None:
        """An open tree has ended, or failed."""
        first = self._first.pop(name, 0.0)
        now = self._now.pop(name, first)
        self._ended += (1.0 if done else now) - first

    def sample(self, seconds: float, *, paid: bool) -> None:
        """Note how far the run is.

        :param seconds: since its beginning.
        :param paid: whether calls were made or in flight since the last time.
        """
        work = self._ended + self.open_share - sum(self._first.values())
        if not paid:
            self._free += work - self._before
        self._before = work
        if seconds - self._samples[-1][0] >= seconds / (2 * _KEPT):
            self._samples.append((seconds, work - self._free))
        while len(self._samples) > 2 and self._samples[1][0] <= seconds / 2:
            self._samples.popleft()

    def to_end(self, left: int) -> float | None:
        """Seconds to the end; None while that cannot be estimated.

        :param left: trees that are not finished, open ones included.
        """
        if not left:
            return 0.0
        (start, before), (end, now) = self._samples[0], self._samples[-1]
        if end < _SOON or now - before < _LEAST:
            return None
        return max(0.0, left - self.open_share) * (end - start) / (now - before)
