"""The statistics of a dataset as data: what is counted, averaged and binned."""

from __future__ import annotations

import math
import statistics as numbers
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class GroupSize(_Frozen):
    """One column of Table 5.

    :param dialogues: how many; None for a side of dialogues.
    :param utterances: how many, once for every dialogue.
    :param different: how many, each node once.
    :param dialogue_length: mean utterances of a dialogue, the rejected ones not counted; None for a side.
    :param utterance_words: mean words of an utterance (see :mod:`mctsdialog.segments`); None without any.
    """

    dialogues: int | None
    utterances: int
    different: int
    dialogue_length: float | None
    utterance_words: float | None


_LEAST_BINS, _MOST_BINS = 5, 20


class Distribution(_Frozen):
    """Numbers in short: quartiles by the inclusive method, and a histogram.

    :param edges: of the bins, one more than there are counts; a value on an edge is in the bin above, the last in
        the last.
    """

    count: int
    mean: float | None = None
    deviation: float | None = Field(default=None, description="population standard deviation")
    minimum: float | None = None
    quartiles: tuple[float, float, float] | None = None
    maximum: float | None = None
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float], edges: Sequence[float] | None = None) -> Self:
        """The distribution of the values; of none, a count of 0 alone.

        :param edges: of the bins, around all values; by default equal ones, from the range of the values.
        """
        if not values:
            return cls(count=0)
        edges = edges or equal_edges(values)
        counts = Counter(min(bisect_right(edges, value), len(edges) - 1) - 1 for value in values)
        quartiles = numbers.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
        return cls(
            count=len(values),
            mean=numbers.fmean(values),
            deviation=numbers.pstdev(values),
            minimum=min(values),
            quartiles=(quartiles[0], quartiles[1], quartiles[2]),
            maximum=max(values),
            edges=tuple(edges),
            counts=tuple(counts[place] for place in range(len(edges) - 1)),
        )


def equal_edges(values: Sequence[float]) -> list[float]:
    """Edges of equal bins around all values, at round numbers: 5 to 20 of them, more for more values.

    Equal values have one bin. Whole numbers that are few have a bin each, around it.
    """
    low, high = min(values), max(values)
    if low == high:
        half = max(0.5, abs(low) * 1e-9)
        return [low - half, low + half]
    whole = all(float(value).is_integer() for value in values)
    if whole and high - low < _MOST_BINS:
        return [low - 0.5 + place for place in range(round(high - low) + 2)]
    wanted = min(max(round(2 * len(values) ** (1 / 3)), _LEAST_BINS), _MOST_BINS)
    step = _round_step((high - low) / wanted)
    if not math.isfinite(high - low) or low + step == low or high - step == high:  # beyond what floats tell apart
        return [low, high]
    first, last = math.floor(low / step), math.ceil(high / step)
    return [min(low, first * step), *(place * step for place in range(first + 1, last)), max(high, last * step)]


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no smaller."""
    unit = 10.0 ** math.floor(math.log10(least)) if 0 < least < math.inf else 1.0
    return next((unit * factor for factor in (1, 2, 5) if unit * factor >= least), unit * 10)


def doubling_edges(most: float) -> list[float]:
    """Edges 0, 1, 2, 4, 8, ... to above ``most``: for visits, which are 1 or many."""
    edges = [0.0, 1.0]
    while edges[-1] <= most:
        edges.append(2 * edges[-1])
    return edges


class Diversity(_Frozen):
    """How varied a group's different utterances are.

    :param entropy: of its strategies in bits; None without strategies.
    :param evenness: entropy over its most, log2 of the number of strategies, from 0 to 1.
    :param distinct: different n-grams over all n-grams of lower-case words, for n = 1, 2, 3; words as in
        :mod:`mctsdialog.segments`.
    """

    entropy: float | None
    evenness: float | None
    distinct: tuple[float | None, float | None, float | None]


class NearDuplicates(_Frozen):
    """Shares of near duplicates: Jaccard similarity of word 3-grams at ``threshold`` or above.

    :param chosen: chosen replies with another chosen reply like them.
    :param rejected: rejected replies with another rejected reply like them.
    :param within_pair: pairs whose two replies are like each other.
    :param pairs: pairs with another pair like them in both replies taken together.
    """

    threshold: float
    chosen: float | None
    rejected: float | None
    within_pair: float | None
    pairs: float | None


class ToxicityTable(_Frozen):
    """Mean toxicity by group and attribute (Table 7), each utterance once for every dialogue.

    :param scorer: what rated; other scorers are on other scales.
    :param rows: attribute to mean by group.
    """

    scorer: str
    attributes: tuple[str, ...]
    rows: dict[str, dict[str, float]]


class StatisticsData(_Frozen):
    """The numbers of ``DatasetStatistics``, which says what each is."""

    domain: str
    strategies: tuple[str, ...]
    trees: int
    pairs: int
    sizes: dict[str, GroupSize]
    strategy_counts: dict[str, tuple[int, ...]]
    stages: dict[str, tuple[tuple[int, ...], ...]]
    transitions: dict[str, tuple[tuple[int, ...], ...]]
    diversity: dict[str, Diversity]
    values: dict[str, Distribution]
    visits: dict[str, Distribution]
    margins: Distribution
    unscored_pairs: int
    path_turns: Distribution
    pairs_per_turn: Distribution
    pairs_per_tree: Distribution
    pairs_by_depth: dict[int, int]
    near_duplicates: NearDuplicates
    toxicity: ToxicityTable | None = None
