"""What a model's replies are worth: strategy F1, preference bias, ROUGE-L, with confidence intervals (paper section 5).

A reply whose strategy cannot be parsed is wrong in F1, left out of the bias, and counted.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from cso_train.evaluation._bias import preference_bias
from cso_train.evaluation._rouge import rouge_l
from mctsdialog._arguments import checked
from mctsdialog.dialogue import StrategySet
from mctsdialog.errors import ConfigError
from mctsdialog.files import dotted, first_fault, parse_json
from mctsdialog.preferences import parse_reply

_Number: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9)]  # what a table and a figure can show
_Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
T = TypeVar("T")
_Items: TypeAlias = Annotated[tuple[T, ...], FailFast()]  # the first wrong item alone is an error


@dataclass(frozen=True)
class Interval:
    """A number and its bootstrap confidence interval."""

    value: _Number
    low: _Number
    high: _Number


@dataclass(frozen=True)
class StrategyScore:
    """How well one strategy is predicted.

    :param precision: of the replies that name it, the share that should; 0 where none does.
    :param recall: of the contexts that want it, the share that get it; 0 where none does.
    :param f1: their harmonic mean.
    :param support: contexts that want it.
    :param predicted: replies that name it.
    """

    strategy: str
    precision: _Number
    recall: _Number
    f1: _Number
    support: _Count
    predicted: _Count


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model on a test set.

    :param count: contexts.
    :param macro_f1: mean F1 over all strategies of the set, in percent: the paper's proficiency Q.
    :param weighted_f1: mean F1 weighted by support, in percent: Q_W.
    :param bias: preference bias B, from 0 to sqrt(n - 1), lower is better.
    :param bias_saturated: whether B is its limit, see :class:`~cso_train.evaluation.Bias`.
    :param rouge_l: mean ROUGE-L F-measure of the replies' texts, in percent.
    :param parse_failures: share of replies that name no strategy of the set, from 0 to 1.
    :param strategies: by strategy, in the set's order.
    :param strategy_f1: F1 by strategy, in percent, in the same order.
    :param confusion: counts, rows gold and columns predicted; replies that were not parsed are in none.
    :param preferences: the preferences p behind B.
    """

    count: _Count
    macro_f1: Interval
    weighted_f1: Interval
    bias: Interval
    bias_saturated: bool
    rouge_l: Interval
    parse_failures: Interval
    strategies: _Items[StrategyScore]
    strategy_f1: _Items[Interval]
    confusion: _Items[tuple[_Count, ...]]
    preferences: _Items[_Number]

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # read by from_dict

    @property
    def failed(self) -> int:
        """Replies that name no strategy of the set."""
        return round(self.parse_failures.value * self.count)

    def to_dict(self) -> dict[str, Any]:
        """The scores as JSON values."""
        return asdict(self)

    def to_json(self) -> str:
        """The scores as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_dict(cls, values: Any) -> Evaluation:
        """The scores that :meth:`to_dict` gave, also after a way through JSON.

        :raises ValueError: naming the field, where one is missing, unknown or of another type.
        """
        try:
            found = TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            place, message = first_fault(error)
            raise ValueError(f"{dotted(place) or 'the whole'}: {message}") from error
        size = len(found.strategies)
        if not size or any(len(each) != size for each in (found.strategy_f1, found.preferences, found.confusion)):
            raise ValueError("strategy_f1, preferences and confusion must have an entry for each of its strategies")
        if any(len(row) != size for row in found.confusion):
            raise ValueError("confusion: must have a row and a column for each of its strategies")
        return found

    @classmethod
    @checked()
    def from_json(cls, text: str) -> Evaluation:
        """The scores that :meth:`to_json` gave.

        :raises ValueError: for what is no JSON, or as :meth:`from_dict` does.
        """
        return cls.from_dict(parse_json(text))


@checked(items=False)
def strategy_scores(
    gold: Sequence[str], predicted: Sequence[str | None], names: Sequence[str]
) -> tuple[StrategyScore, ...]:
    """Precision, recall and F1 of every strategy of the set, also of those that nobody wants or names (0).

    :param gold: the strategy that each context wants.
    :param predicted: the strategy that each reply names; None where it names none, which is wrong.
    """
    return tuple(_score(name, gold, predicted) for name in names)


def _score(name: str, gold: Sequence[str], predicted: Sequence[str | None]) -> StrategyScore:
    support = sum(each == name for each in gold)
    named = sum(each == name for each in predicted)
    right = sum(one == other == name for one, other in zip(gold, predicted, strict=True))
    return StrategyScore(
        strategy=name,
        precision=right / named if named else 0.0,
        recall=right / support if support else 0.0,
        f1=2 * right / (support + named) if support + named else 0.0,
        support=support,
        predicted=named,
    )


def macro_f1(scores: Sequence[StrategyScore]) -> float:
    """Mean F1 over the strategies."""
    return sum(score.f1 for score in scores) / len(scores) if scores else 0.0


def weighted_f1(scores: Sequence[StrategyScore]) -> float:
    """Mean F1 weighted by support."""
    total = sum(score.support for score in scores)
    return sum(score.f1 * score.support for score in scores) / total if total else 0.0


def confusion_matrix(
    gold: Sequence[str], predicted: Sequence[str | None], names: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """Counts, rows gold and columns predicted, of the replies that name a strategy."""
    places = {name: place for place, name in enumerate(names)}
    counts = [[0] * len(names) for _ in names]
    for one, other in zip(gold, predicted, strict=True):
        if other is not None:
            counts[places[one]][places[other]] += 1
    return tuple(tuple(row) for row in counts)


@checked()
def bootstrap_interval(
    count: int,
    metric: Callable[[Sequence[int]], float],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A metric of ``count`` items and its percentile bootstrap interval (Efron, 1979).

    :param count: items, 1 or more.
    :param metric: of the items at the given places; a place may be there several times.
    :param resamples: samples of ``count`` items with replacement, drawn by ``seed``; 0 for none (the interval is the
        value).
    :param level: share of the resampled values inside the interval, in (0, 1).
    :raises ValueError: for numbers out of range.
    """
    samples = _resamples(count, resamples, seed)
    return _intervals(lambda places: [metric(places)], range(count), samples, level)[0]


def pooled_mean(totals: Sequence[float], sizes: Sequence[int], *, resamples: int, seed: int) -> Interval | None:
    """The mean of values that come in groups, its interval over the groups, each drawn whole; None without groups.

    :param totals: sum of each group's values.
    :param sizes: values of each group, 1 or more.
    :param resamples: and ``seed``, as for :func:`bootstrap_interval`.
    """
    if not totals:
        return None

    def mean(places: Sequence[int]) -> float:
        return sum(totals[at] for at in places) / sum(sizes[at] for at in places)

    return bootstrap_interval(len(totals), mean, resamples=resamples, seed=seed)


@checked()
def evaluate_replies(
    gold: Sequence[tuple[str, str]],
    replies: Sequence[str],
    strategies: StrategySet,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Score a model's replies.

    :param gold: (strategy, text) of the supporter's turn in each context.
    :param replies: what the model said, ``(Strategy) text``.
    :param resamples: bootstrap samples of the contexts, drawn by ``seed``; 0 for none (the interval is the value).
    :param level: of the percentile intervals, in (0, 1).
    :raises ConfigError: for a gold strategy that is not in the set, lists of different lengths or empty ones, and
        ``resamples`` or ``level`` out of range.
    """
    names = strategies.names
    unknown = {strategy for strategy, _ in gold} - set(names)
    if unknown or len(gold) != len(replies) or not gold:
        raise ConfigError(
            f"{len(replies)} replies to {len(gold)} contexts; strategies not in the set: {sorted(unknown)}"
        )
    parsed = [parse_reply(reply, strategies) for reply in replies]
    wanted = [strategy for strategy, _ in gold]
    named = [strategy for strategy, _ in parsed]
    rouges = [rouge_l(text, target) for (_, text), (_, target) in zip(parsed, gold, strict=True)]

    def numbers(sample: Sequence[int]) -> list[float]:
        ours = [wanted[place] for place in sample], [named[place] for place in sample]
        scores = strategy_scores(*ours, names)
        return [
            100 * macro_f1(scores),
            100 * weighted_f1(scores),
            preference_bias(confusion_matrix(*ours, names)).value,
            100 * sum(rouges[place] for place in sample) / len(sample),
            ours[1].count(None) / len(sample),
            *(100 * score.f1 for score in scores),
        ]

    samples = _resamples(len(gold), resamples, seed)
    macro, weighted, spread, rouge, failures, *f1 = _intervals(numbers, range(len(gold)), samples, level)
    matrix = confusion_matrix(wanted, named, names)
    bias = preference_bias(matrix)
    return Evaluation(
        count=len(gold),
        macro_f1=macro,
        weighted_f1=weighted,
        bias=spread,
        bias_saturated=bias.saturated,
        rouge_l=rouge,
        parse_failures=failures,
        strategies=strategy_scores(wanted, named, names),
        strategy_f1=tuple(f1),
        confusion=matrix,
        preferences=bias.preferences,
    )


def _intervals(
    metrics: Callable[[Sequence[int]], Sequence[float]],
    every: Sequence[int],
    samples: Sequence[Sequence[int]],
    level: float,
) -> list[Interval]:
    """Several metrics of the same samples."""
    if not 0 < level < 1:
        raise ConfigError(f"the level of an interval must lie between 0 and 1, not {level}")
    values = metrics(every)
    drawn = zip(*map(metrics, samples), strict=True) if samples else ((value,) for value in values)
    edge = (1 - level) / 2
    return [
        Interval(value, _quantile(ordered, edge), _quantile(ordered, 1 - edge))
        for value, ordered in zip(values, map(sorted, drawn), strict=True)
    ]


def _resamples(count: int, resamples: int, seed: int) -> list[list[int]]:
    if count < 1 or resamples < 0:
        raise ConfigError(f"{resamples} resamples of {count} items; there must be 0 or more of 1 or more")
    generator = random.Random(seed)  # noqa: S311  # no secret
    return [generator.choices(range(count), k=count) for _ in range(resamples)]


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The quantile of sorted numbers, between neighbours in proportion."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
