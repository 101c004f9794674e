"""How far raters agree beyond chance: kappa of two raters or of several, and alpha where some left items out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError

__all__ = ["cohen_kappa", "fleiss_kappa", "krippendorff_alpha"]


@checked()
def cohen_kappa(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Cohen's kappa of two raters: agreement beyond chance, at most 1; 1 where both always give one same label.

    :raises ConfigError: for lists of different lengths, or empty ones.
    """
    if len(one) != len(other) or not one:
        raise ConfigError(f"{len(one)} and {len(other)} ratings; there must be as many of each, and some")
    observed = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    first, second = Counter(one), Counter(other)
    expected = sum(first[label] * second[label] for label in first) / len(one) ** 2
    return 1.0 if expected == 1.0 else (observed - expected) / (1.0 - expected)


@checked()
def fleiss_kappa(ratings: Sequence[Sequence[Hashable]]) -> float:
    """Fleiss' kappa of several raters: a row an item, a label a rater.

    :raises ConfigError: without items, with fewer than two raters, or rows of different lengths.
    """
    raters = {len(row) for row in ratings}
    if len(raters) != 1 or min(raters) < 2:
        raise ConfigError(f"every item needs as many ratings, two or more; there are {sorted(raters) or 'no items'}")
    (count,) = raters
    tables = [Counter(row) for row in ratings]
    agreed = [sum(n * n for n in table.values()) - count for table in tables]
    observed = sum(agreed) / (len(tables) * count * (count - 1))
    totals = sum(tables, Counter())
    expected = sum((total / (len(tables) * count)) ** 2 for total in totals.values())
    return 1.0 if expected == 1.0 else (observed - expected) / (1.0 - expected)


@checked()
def krippendorff_alpha(ratings: Sequence[Sequence[Hashable]]) -> float:
    """Krippendorff's alpha for labels (Krippendorff, 2011): any raters, and any number of them for an item.

    :param ratings: a row an item, the labels that it was given. Items with fewer than two count for nothing.
    :returns: at most 1; 1 where all give one same label.
    :raises ConfigError: if no item has two labels.
    """
    tables = [Counter(row) for row in ratings if len(row) > 1]
    if not tables:
        raise ConfigError("no item has two ratings or more, so that there is no agreement", field="ratings")
    totals = sum(tables, Counter())
    count = totals.total()
    # Both are sums over ordered pairs of unequal labels: within items, and over all labels together.
    observed = sum((t.total() ** 2 - sum(n * n for n in t.values())) / (t.total() - 1) for t in tables) / count
    expected = (count**2 - sum(n * n for n in totals.values())) / (count * (count - 1))
    return 1.0 if expected == 0.0 else 1.0 - observed / expected
