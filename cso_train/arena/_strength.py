"""Bradley-Terry strengths, and rank correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import correlation, fmean

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError

PRIOR = 0.5
"""Comparisons that each two systems are given on top, won half and half, so that a system that never loses has a finite
strength."""

_SWEEPS = 200
_CLOSE = 1e-9


@checked(items=False)
def bradley_terry(wins: Sequence[Sequence[float]], *, prior: float = PRIOR) -> list[float]:
    """The strengths of a Bradley-Terry model, as natural log-odds with mean 0 (Hunter, 2004, section 2: MM).

    System i wins over j with probability ``1 / (1 + exp(s_j - s_i))``.

    :param wins: how often i won over j, ties as halves; the diagonal is not used.
    :param prior: comparisons added to each pair, half a win each; above 0 unless every system wins and loses.
    :raises ConfigError: for a table that is not square, or holds a negative number.
    """
    count = len(wins)
    if any(len(row) != count for row in wins) or any(each < 0 for row in wins for each in row):
        raise ConfigError("wins must be a square table of numbers of 0 or more", field="wins")
    won = [sum(wins[i][j] + prior / 2 for j in range(count) if j != i) for i in range(count)]
    met = [[wins[i][j] + wins[j][i] + prior for j in range(count)] for i in range(count)]
    p = [1.0] * count
    for _ in range(_SWEEPS):
        before = p[:]
        for i in range(count):
            over = sum(met[i][j] / (p[i] + p[j]) for j in range(count) if j != i)
            p[i] = won[i] / over if over else 1.0
        middle = math.exp(fmean(math.log(each) for each in p)) if p else 1.0
        p = [each / middle for each in p]
        if all(abs(one - other) <= _CLOSE * other for one, other in zip(p, before, strict=True)):
            break
    return [math.log(each) for each in p]


@checked(items=False)
def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation, equal numbers sharing their ranks; None where one side does not vary.

    :raises ConfigError: for lists of different lengths.
    """
    if len(one) != len(other):
        raise ConfigError(f"{len(one)} and {len(other)} numbers; there must be as many of each")
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return correlation(_ranks(one), _ranks(other))


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda at: values[at])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for at in order[start:end]:
            ranks[at] = (start + end - 1) / 2
        start = end
    return ranks
