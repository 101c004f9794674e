"""Win, lose and tie between two systems, and how far judges agree (paper Tables 1 and 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, TypeAlias

from cso_train.evaluation._intervals import Interval, bootstrap_interval
from mctsdialog._arguments import checked
from mctsdialog.agreement import cohen_kappa, fleiss_kappa
from mctsdialog.errors import ConfigError

Verdict: TypeAlias = Literal["first", "second", "tie"]
"""What a judge says of two replies in the order in which it saw them."""

Outcome: TypeAlias = Literal["win", "lose", "tie"]
"""What that means for the first system."""

_MEANING: dict[Verdict, Outcome] = {"first": "win", "second": "lose", "tie": "tie"}
_SWAPPED: dict[Verdict, Outcome] = {"first": "lose", "second": "win", "tie": "tie"}


@dataclass(frozen=True)
class Comparison:
    """One system against another, each pair judged in both orders.

    :param win: pairs that the first system wins in both orders.
    :param lose: pairs that it loses in both orders.
    :param tie: all other pairs: a verdict that turns with the order is no preference.
    :param flipped: of the ties, those in which each order preferred another system.
    :param first_place: share of the decided verdicts that went to the reply that stood first; 0.5 is no bias. None
        where no verdict was decided.
    """

    win: int
    lose: int
    tie: int
    flipped: int
    first_place: float | None

    @property
    def count(self) -> int:
        """Pairs."""
        return self.win + self.lose + self.tie


@checked(items=False)
def compare(verdicts: Sequence[tuple[Verdict, Verdict]]) -> Comparison:
    """Sum up verdicts asked in both orders.

    :param verdicts: for every pair (with the first system's reply first, with the second's first).
    """
    outcomes = [outcome(*pair) for pair in verdicts]
    counts = Counter(outcomes)
    flipped = sum(_MEANING[one] != _SWAPPED[other] and "tie" not in (one, other) for one, other in verdicts)
    decided = [each for pair in verdicts for each in pair if each != "tie"]
    first = decided.count("first") / len(decided) if decided else None
    return Comparison(counts["win"], counts["lose"], counts["tie"], flipped, first)


def outcome(straight: Verdict, swapped: Verdict) -> Outcome:
    """What two verdicts in both orders mean: a win or loss only where both agree."""
    one, other = _MEANING[straight], _SWAPPED[swapped]
    return one if one == other else "tie"


@checked(items=False)
def raw_counts(verdicts: Sequence[tuple[Verdict, Verdict]]) -> dict[str, dict[Outcome, int]]:
    """What each order alone says of the first system, before both are put together.

    :param verdicts: as for :func:`compare`.
    :returns: outcomes by order: "straight" (its reply stood first) and "swapped".
    """
    straight = Counter(_MEANING[one] for one, _ in verdicts)
    swapped = Counter(_SWAPPED[other] for _, other in verdicts)
    outcomes: tuple[Outcome, ...] = ("win", "lose", "tie")
    return {
        order: {each: counts[each] for each in outcomes}
        for order, counts in (("straight", straight), ("swapped", swapped))
    }


@dataclass(frozen=True)
class ComparisonIntervals:
    """The shares of a :class:`Comparison`, each from 0 to 1, with bootstrap intervals over the pairs.

    :param win: share of the pairs that the first system wins in both orders.
    :param lose: share that it loses in both orders.
    :param tie: share of all others.
    :param flipped: share in which each order preferred another system.
    :param first_place: of the decided verdicts; drawn from the pairs with one. None where there are none.
    """

    win: Interval
    lose: Interval
    tie: Interval
    flipped: Interval
    first_place: Interval | None


@checked(items=False)
def compare_intervals(
    verdicts: Sequence[tuple[Verdict, Verdict]], *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> ComparisonIntervals:
    """How sure the shares of a comparison are.

    :param verdicts: as for :func:`compare`, not empty.
    :param resamples: samples of the pairs, and ``level`` and ``seed``, as for
        :func:`~cso_train.evaluation.bootstrap_interval`.
    :raises ConfigError: without pairs, and for numbers out of range.
    """
    outcomes = [outcome(*pair) for pair in verdicts]
    flips = [compare([pair]).flipped for pair in verdicts]
    decided = [(pair.count("first"), len(pair) - pair.count("tie")) for pair in verdicts if pair != ("tie", "tie")]

    def share(of: Sequence[bool | int]) -> Interval:
        return bootstrap_interval(
            len(of),
            lambda places: sum(of[at] for at in places) / len(places),
            resamples=resamples,
            level=level,
            seed=seed,
        )

    def first_place(places: Sequence[int]) -> float:
        return sum(decided[at][0] for at in places) / sum(decided[at][1] for at in places)

    return ComparisonIntervals(
        win=share([each == "win" for each in outcomes]),
        lose=share([each == "lose" for each in outcomes]),
        tie=share([each == "tie" for each in outcomes]),
        flipped=share(flips),
        first_place=bootstrap_interval(len(decided), first_place, resamples=resamples, level=level, seed=seed)
        if decided
        else None,
    )


@checked()
def cohen_kappa_interval(
    one: Sequence[Hashable],
    other: Sequence[Hashable],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Cohen's kappa with its bootstrap interval over the items.

    A resample in which both raters give one same label alone counts as 1, as in :func:`cohen_kappa`.

    :param resamples: and ``level`` and ``seed``, as for :func:`~cso_train.evaluation.bootstrap_interval`.
    :raises ConfigError: for lists of different lengths or empty ones, and for numbers out of range.
    """
    cohen_kappa(one, other)  # what is wrong with the lists is said of them, not of a resample

    def kappa(places: Sequence[int]) -> float:
        return cohen_kappa([one[at] for at in places], [other[at] for at in places])

    return bootstrap_interval(len(one), kappa, resamples=resamples, level=level, seed=seed)


@checked()
def fleiss_kappa_interval(
    ratings: Sequence[Sequence[Hashable]], *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Fleiss' kappa with its bootstrap interval over the items.

    A resample with one label alone counts as 1, as in :func:`fleiss_kappa`.

    :param resamples: and ``level`` and ``seed``, as for :func:`~cso_train.evaluation.bootstrap_interval`.
    :raises ConfigError: as :func:`fleiss_kappa` does, and for numbers out of range.
    """
    fleiss_kappa(ratings)

    def kappa(places: Sequence[int]) -> float:
        return fleiss_kappa([ratings[at] for at in places])

    return bootstrap_interval(len(ratings), kappa, resamples=resamples, level=level, seed=seed)


def weighted_kappa(one: Sequence[int], other: Sequence[int]) -> float:
    """Cohen's kappa of two raters who give scores, disagreement weighted by its square (Cohen, 1968).

    :returns: at most 1; 1 where both always give one same score.
    :raises ConfigError: for lists of different lengths, or empty ones.
    """
    if len(one) != len(other) or not one:
        raise ConfigError(f"{len(one)} and {len(other)} ratings; there must be as many of each, and some")
    observed = sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one)
    first, second = Counter(one), Counter(other)
    expected = sum((a - b) ** 2 * n * m for a, n in first.items() for b, m in second.items()) / len(one) ** 2
    return 1.0 - observed / expected if expected else 1.0


def mean_weighted_kappa(ratings: Sequence[Sequence[int]]) -> float:
    """The mean of :func:`weighted_kappa` over all pairs of raters (Light, 1971): a row an item, a score a rater.

    :raises ConfigError: without items, with fewer than two raters, or rows of different lengths.
    """
    raters = {len(row) for row in ratings}
    if len(raters) != 1 or min(raters) < 2:
        raise ConfigError(f"every item needs as many ratings, two or more; there are {sorted(raters) or 'no items'}")
    pairs = list(combinations(zip(*ratings, strict=True), 2))
    return sum(weighted_kappa(one, other) for one, other in pairs) / len(pairs)


def raters_agreement(
    ratings: Sequence[Sequence[Hashable]],
    kappa: Callable[[Sequence[Sequence[Any]]], float],
    *,
    resamples: int = 1000,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Interval | None:
    """Any agreement of raters with its bootstrap interval over the items; None with one rater or no item.

    :param ratings: a row an item, a label or score a rater.
    :param kappa: of such rows.
    :param groups: what each item belongs to, such as its dialogue; groups are drawn whole.
    """
    if not ratings or len(ratings[0]) < 2:
        return None
    return bootstrap_interval(
        len(ratings),
        lambda places: kappa([ratings[at] for at in places]),
        resamples=resamples,
        seed=seed,
        groups=groups,
    )


def label_kappa(ratings: Sequence[Sequence[Hashable]]) -> float:
    """Cohen's kappa of two raters, Fleiss' of more: a row an item, a label a rater.

    :raises ConfigError: as :func:`fleiss_kappa`.
    """
    if ratings and len(ratings[0]) == 2:
        return cohen_kappa([row[0] for row in ratings], [row[1] for row in ratings])
    return fleiss_kappa(ratings)
