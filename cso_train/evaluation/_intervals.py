"""Bootstrap intervals: over items, or over groups of items that are drawn whole."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, TypeAlias

from pydantic import Field

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError

Number: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9)]  # what a table and a figure can show


@dataclass(frozen=True)
class Interval:
    """A number and its bootstrap confidence interval, which holds it."""

    value: Number
    low: Number
    high: Number


@checked()
def bootstrap_interval(
    count: int,
    metric: Callable[[Sequence[int]], float],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """A metric of ``count`` items and its percentile bootstrap interval (Efron, 1979).

    :param count: items, 1 or more.
    :param metric: of the items at the given places; a place may be there several times.
    :param resamples: samples of ``count`` items with replacement, drawn by ``seed``; 0 for none (the interval is the
        value).
    :param level: share of the resampled values inside the interval, in (0, 1).
    :param groups: what each item belongs to, such as its dialogue; groups are then drawn whole. None draws items.
    :raises ConfigError: for numbers out of range.
    """
    samples = draw_samples(count, resamples, seed, groups)
    (interval,) = percentile_intervals(lambda places: [metric(places)], range(count), samples, level)
    return interval


def pooled_mean(
    totals: Sequence[float],
    sizes: Sequence[int],
    *,
    resamples: int,
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> Interval | None:
    """The mean of values that come in groups, its interval over the groups, each drawn whole; None without groups.

    :param totals: sum of each group's values.
    :param sizes: values of each group, 1 or more.
    :param resamples: and ``seed`` and ``groups``, as for :func:`bootstrap_interval`.
    """
    if not totals:
        return None

    def mean(places: Sequence[int]) -> float:
        return sum(totals[at] for at in places) / sum(sizes[at] for at in places)

    return bootstrap_interval(len(totals), mean, resamples=resamples, seed=seed, groups=groups)


def percentile_intervals(
    metrics: Callable[[Sequence[int]], Sequence[float]],
    every: Sequence[int],
    samples: Sequence[Sequence[int]],
    level: float,
    spread: Sequence[int] = (),
) -> list[Interval]:
    """Several metrics of the same samples: percentiles, widened to the value where a sample's metric is biased.

    :param spread: places of metrics whose interval is the value and its bootstrap standard error instead.
    """
    if not 0 < level < 1:
        raise ConfigError(f"the level of an interval must lie between 0 and 1, not {level}")
    values = metrics(every)
    drawn = zip(*map(metrics, samples), strict=True) if samples else ((value,) for value in values)
    edge = (1 - level) / 2
    found = []
    for place, (value, each) in enumerate(zip(values, map(sorted, drawn), strict=True)):
        if place in spread:
            width = NormalDist().inv_cdf(1 - edge) * _deviation(each)
            found.append(Interval(value, value - width, value + width))
        else:
            low, high = _quantile(each, edge), _quantile(each, 1 - edge)
            found.append(Interval(value, min(value, low), max(value, high)))
    return found


def draw_samples(count: int, resamples: int, seed: int, groups: Sequence[Hashable] | None = None) -> list[list[int]]:
    """Samples with replacement, of items or of whole groups."""
    if count < 1 or resamples < 0:
        raise ConfigError(f"{resamples} resamples of {count} items; there must be 0 or more of 1 or more")
    if groups is not None and len(groups) != count:
        raise ConfigError(f"{len(groups)} groups of {count} items; there must be one for each")
    members: dict[Hashable, list[int]] = {}
    for place in range(count):
        members.setdefault(place if groups is None else groups[place], []).append(place)
    clusters = list(members.values())
    generator = random.Random(seed)  # noqa: S311  # no secret
    return [
        [place for cluster in generator.choices(clusters, k=len(clusters)) for place in cluster]
        for _ in range(resamples)
    ]


def _deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((each - mean) ** 2 for each in values) / len(values))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The quantile of sorted numbers, between neighbours in proportion."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
