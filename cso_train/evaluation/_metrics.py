"""What a model's replies are worth: strategy F1, preference bias, ROUGE-L, with confidence intervals (paper section 5).

A reply whose strategy cannot be parsed is wrong in F1, left out of the bias, and counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from cso_train.evaluation._bias import preference_bias
from cso_train.evaluation._intervals import Interval, Number, draw_samples, percentile_intervals
from cso_train.evaluation._parse import parse_leniently
from cso_train.evaluation._rouge import rouge_l
from mctsdialog._arguments import checked
from mctsdialog.dialogue import StrategySet
from mctsdialog.errors import ConfigError
from mctsdialog.files import dotted, first_fault, parse_json
from mctsdialog.preferences import parse_reply

_Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
T = TypeVar("T")
_Items: TypeAlias = Annotated[tuple[T, ...], FailFast()]  # the first wrong item alone is an error


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
    precision: Number
    recall: Number
    f1: Number
    support: _Count
    predicted: _Count


@dataclass(frozen=True)
class LenientScores:
    """Scores by the lenient parse, which takes a strategy that is named in any form.

    :param macro_f1: and the others, as of :class:`Evaluation`.
    """

    macro_f1: Interval
    weighted_f1: Interval
    bias: Interval
    bias_saturated: bool
    parse_failures: Interval


@dataclass(frozen=True)
class Outcome:
    """What became of one context.

    :param dialogue: names its dialogue.
    :param gold: the strategy that it wants.
    :param named: the strategy that the reply names; None if it names none.
    :param lenient: the same by the lenient parse.
    :param rouge_l: ROUGE-L of the reply, from 0 to 1.
    """

    dialogue: str
    gold: str
    named: str | None
    lenient: str | None
    rouge_l: Number


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
    :param lenient: the scores by the lenient parse; None for what version 0.1 wrote, as the two after it.
    :param outcomes: what became of each context, for differences to another model.
    :param dialogues: number of the dialogues that were resampled whole; None if contexts were.
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
    preferences: _Items[Number]
    lenient: LenientScores | None = None
    outcomes: Annotated[tuple[Outcome, ...] | None, FailFast()] = None
    dialogues: _Count | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # read by from_dict

    @property
    def names_strategies(self) -> bool:
        """Whether any reply names a strategy of the set; B says nothing where none does."""
        return self.parse_failures.value < 1

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
        names = {score.strategy for score in found.strategies}
        for index, outcome in enumerate(found.outcomes or ()):
            if not {outcome.gold, outcome.named or outcome.gold, outcome.lenient or outcome.gold} <= names:
                raise ValueError(f"outcomes[{index}]: names a strategy that is none of its strategies")
        if found.outcomes is not None and len(found.outcomes) != found.count:
            raise ValueError("outcomes: must be as many as count says")
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
    :param predicted: the strategy that each reply names; None if it names none, which is wrong.
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
def evaluate_replies(
    gold: Sequence[tuple[str, str]],
    replies: Sequence[str],
    strategies: StrategySet,
    *,
    dialogues: Sequence[str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Score a model's replies.

    :param gold: (strategy, text) of the supporter's turn in each context.
    :param replies: what the model said, ``(Strategy) text``.
    :param dialogues: the dialogue of each context. Contexts of one dialogue are not independent: dialogues are then
        resampled whole. None resamples contexts.
    :param resamples: bootstrap samples, drawn by ``seed``; 0 for none (the interval is the value).
    :param level: of the intervals, in (0, 1). They are percentiles; that of B is B and its bootstrap standard error,
        since the percentiles of a saturated B may leave its value out.
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
    leniently = [parse_leniently(reply, strategies)[0] for reply in replies]
    own = range(len(gold)) if dialogues is None else dialogues
    outcomes = tuple(
        Outcome(str(dialogue), wanted, named, lenient, rouge_l(text, target))
        for dialogue, (wanted, target), (named, text), lenient in zip(own, gold, parsed, leniently, strict=True)
    )
    samples = draw_samples(len(gold), resamples, seed, dialogues)
    scored = _scored(outcomes, names, samples, level)
    if any(each.lenient != each.named for each in outcomes):
        read = [replace(each, named=each.lenient) for each in outcomes]
        lenient = _scored(read, names, samples, level).lenient
    else:
        lenient = scored.lenient
    return replace(
        scored, lenient=lenient, outcomes=outcomes, dialogues=None if dialogues is None else len(set(dialogues))
    )


def _scored(
    outcomes: Sequence[Outcome], names: Sequence[str], samples: Sequence[Sequence[int]], level: float
) -> Evaluation:
    """The scores of what was named; the parse that it was read by counts as the lenient one too."""
    numbers = sample_numbers(outcomes, names)
    every = range(len(outcomes))
    macro, weighted, spread, rouge, failures, *f1 = percentile_intervals(numbers, every, samples, level, spread=[2])
    most = math.sqrt(len(names) - 1)
    spread = Interval(spread.value, max(0.0, spread.low), min(max(most, spread.value), spread.high))
    wanted, named = [each.gold for each in outcomes], [each.named for each in outcomes]
    matrix = confusion_matrix(wanted, named, names)
    bias = preference_bias(matrix)
    return Evaluation(
        count=len(outcomes),
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
        lenient=LenientScores(macro, weighted, spread, bias.saturated, failures),
    )


def sample_numbers(outcomes: Sequence[Outcome], names: Sequence[str]) -> Callable[[Sequence[int]], list[float]]:
    """What a sample of the contexts scores: Q, Q_W, B, R-L, share without a strategy, F1 by strategy."""
    places = {name: place for place, name in enumerate(names)}
    count = len(names)
    cells = [(places[each.gold], count if each.named is None else places[each.named]) for each in outcomes]
    rouges = [each.rouge_l for each in outcomes]

    def numbers(sample: Sequence[int]) -> list[float]:
        matrix = [[0] * (count + 1) for _ in names]
        for place in sample:
            row, column = cells[place]
            matrix[row][column] += 1
        wanted = [sum(row) for row in matrix]
        named = [sum(row[column] for row in matrix) for column in range(count)]
        f1 = [2 * matrix[at][at] / both if (both := wanted[at] + named[at]) else 0.0 for at in range(count)]
        return [
            100 * sum(f1) / count,
            100 * sum(score * support for score, support in zip(f1, wanted, strict=True)) / len(sample),
            preference_bias([row[:count] for row in matrix]).value,
            100 * sum(rouges[place] for place in sample) / len(sample),
            sum(row[count] for row in matrix) / len(sample),
            *(100 * score for score in f1),
        ]

    return numbers
