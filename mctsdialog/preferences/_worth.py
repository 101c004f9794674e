"""What a search believes of replies to the same conversation: their worth, and which of two is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Protocol

_FUTURE = 0.5  # of what the paths below two siblings differ by, how much is the siblings' doing
_DOUBT = 2.4  # the deviation of what follows, as a multiple of the turns' own
_SURPRISE = 0.005  # share of pairs that turn out the other way, however clear they look


class _Believed(Protocol):
    """A reply that a search may believe something of."""

    @property
    def posterior(self) -> tuple[float, float] | None: ...

    @property
    def value(self) -> float | None: ...


def confidence(chosen: _Believed, rejected: _Believed, depth: int) -> float | None:
    """The probability that a reply is better than its sibling, now and for what follows.

    ``0.005 + 0.99 Phi((dm + dQ * depth / 2) / (2.4 s))``: ``dm`` is the difference of the posterior means of the two
    turns, ``s`` its standard deviation, and ``dQ * depth`` the difference of the sums of rewards of the paths that were
    tried below them. The constants are fitted in simulated worlds, where it is known which reply is better.

    :param depth: supporter turns from the root to the replies, from 1.
    :returns: 0 to 1; None if the search has no belief of one of them, or is certain of both.
    """
    if chosen.posterior is None or rejected.posterior is None or chosen.value is None or rejected.value is None:
        return None
    deviation = math.hypot(chosen.posterior[1], rejected.posterior[1])
    if deviation == 0.0:
        return None
    better = expected(chosen.posterior[0], chosen.value, depth)
    lead = better - expected(rejected.posterior[0], rejected.value, depth)
    return _SURPRISE + (1.0 - 2.0 * _SURPRISE) * NormalDist().cdf(lead / (_DOUBT * deviation))


def worths(replies: Sequence[_Believed], depth: int) -> tuple[float, ...] | None:
    """What the replies of a turn are worth, to be compared with each other alone: rewards of the judge's scale.

    Where the search has a belief of all of them, ``m + Q * depth / 2``: the posterior mean of the turn itself, and half
    of the sum of rewards of the paths tried below it, the lead in :func:`confidence`. Otherwise Q.

    :param depth: supporter turns from the root to the replies, from 1.
    :returns: None where one of them was not searched.
    """
    values = [reply.value for reply in replies if reply.value is not None]
    if len(values) < len(replies):
        return None
    means = [reply.posterior[0] for reply in replies if reply.posterior is not None]
    if len(means) < len(replies):
        return tuple(values)
    return tuple(expected(mean, value, depth) for mean, value in zip(means, values, strict=True))


def expected(mean: float, value: float, depth: int) -> float:
    """The worth of a turn of that posterior mean, the paths below it of that mean reward."""
    return mean + _FUTURE * value * depth
