"""Preference bias: how unevenly a model prefers strategies where it is wrong (Kang et al., ACL 2024, section 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError, shown

SWEEPS = 20


@dataclass(frozen=True)
class Bias:
    """The bias of a confusion matrix.

    :param value: B, the population standard deviation of the preferences, from 0 to ``sqrt(n - 1)``; lower is better.
    :param saturated: whether a strategy is taken for others and none for it, so that the fit diverges; B is then the
        limit ``sqrt(n - 1)``.
    :param preferences: p, one a strategy; they sum to their number n. Of a saturated fit, the limit.
    """

    value: float
    saturated: bool
    preferences: tuple[float, ...]


@checked(items=False)
def preference_bias(confusion: Sequence[Sequence[int]]) -> Bias:
    """Fit the preferences p of a Bradley-Terry model to the confusions, and take their spread.

    ``w[i][j]``, how often strategy i was predicted where j was gold, is read as i winning over j; the diagonal is
    unused. From ``p = 1``, twenty sweeps of ``p_i <- [sum_j w_ij p_j/(p_i+p_j)] / [sum_j w_ji/(p_i+p_j)]``, each
    strategy with the newest values of the others; after each sweep the positive p are divided by their geometric mean;
    at the end p is scaled to sum to n.

    The confusions only say how strategies compare that are confused with each other, over others or not. Where they
    fall into groups without a confusion between them, each group has its own geometric mean: one for all would leave
    the scale between the groups to the order of the strategies. A strategy in no confusion is a group of its own, p 1
    before the last scaling; one that never wins gets 0. Without confusions B is 0. Where a strategy wins and never
    loses, its p grows without bound: the limit, it alone preferred, is returned with ``saturated``. (Where several do,
    the first of them stands for all.)

    :param confusion: counts, rows gold and columns predicted, square.
    :raises ConfigError: for a matrix that is not square, or holds what is no count.
    """
    count = len(confusion)
    if any(len(row) != count for row in confusion):
        sizes = sorted({len(row) for row in confusion})
        raise ConfigError(f"confusion must be square, not {count} rows of {shown(sizes)} counts", field="confusion")
    wrong = [each for row in confusion for each in row if not (isinstance(each, Real) and 0 <= each < math.inf)]
    if wrong:
        raise ConfigError(f"confusion must hold counts of 0 or more, not {shown(wrong[0])}", field="confusion")
    wins = [[0 if i == j else confusion[j][i] for j in range(count)] for i in range(count)]
    for place, row in enumerate(wins):
        if any(row) and not any(other[place] for other in wins):
            limit = tuple(float(count) if each == place else 0.0 for each in range(count))
            return Bias(math.sqrt(count - 1), True, limit)
    p = [1.0] * count
    for _ in range(SWEEPS):
        for place in range(count):
            p[place] = _updated(place, p, wins)
        for group in _groups(p, wins):
            middle = math.exp(math.fsum(math.log(p[place]) for place in group) / len(group))
            for place in group:
                p[place] /= middle
    total = math.fsum(p)
    p = [value * count / total for value in p] if total else p
    spread = math.sqrt(math.fsum((value - 1.0) ** 2 for value in p) / count) if count and total else 0.0
    return Bias(spread, False, tuple(p))


def _groups(p: Sequence[float], wins: Sequence[Sequence[int]]) -> list[list[int]]:
    """The strategies of positive p, those together that confusions connect; one of p 0 connects none."""
    left = [place for place, value in enumerate(p) if value > 0]
    found = []
    while left:
        group = [left.pop()]
        for one in group:  # grows while it is walked
            near = [other for other in left if wins[one][other] or wins[other][one]]
            left = [other for other in left if other not in near]
            group += near
        found.append(group)
    return found


def _updated(i: int, p: Sequence[float], wins: Sequence[Sequence[int]]) -> float:
    won = lost = 0.0
    for j, other in enumerate(p):
        both = p[i] + other
        if i != j and both > 0:
            won += wins[i][j] * other / both
            lost += wins[j][i] / both
    return won / lost if lost else p[i]
