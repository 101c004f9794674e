"""Win, lose and tie between two systems, and how far judges agree (paper Tables 1 and 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

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


def cohen_kappa(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Cohen's kappa of two raters: agreement beyond chance, at most 1; 1 where both always give one same label.

    :raises ValueError: for lists of different lengths, or empty ones.
    """
    if len(one) != len(other) or not one:
        raise ValueError(f"{len(one)} and {len(other)} ratings; there must be as many of each, and some")
    observed = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    first, second = Counter(one), Counter(other)
    expected = sum(first[label] * second[label] for label in first) / len(one) ** 2
    return 1.0 if expected == 1.0 else (observed - expected) / (1.0 - expected)


def fleiss_kappa(ratings: Sequence[Sequence[Hashable]]) -> float:
    """Fleiss' kappa of several raters: a row an item, a label a rater.

    :raises ValueError: without items, with fewer than two raters, or rows of different lengths.
    """
    raters = {len(row) for row in ratings}
    if len(raters) != 1 or min(raters) < 2:
        raise ValueError(f"every item needs as many ratings, two or more; there are {sorted(raters) or 'no items'}")
    (count,) = raters
    tables = [Counter(row) for row in ratings]
    agreed = [sum(n * n for n in table.values()) - count for table in tables]
    observed = sum(agreed) / (len(tables) * count * (count - 1))
    totals = sum(tables, Counter())
    expected = sum((total / (len(tables) * count)) ** 2 for total in totals.values())
    return 1.0 if expected == 1.0 else (observed - expected) / (1.0 - expected)
