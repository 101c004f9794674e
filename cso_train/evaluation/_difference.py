"""How two systems differ on the same contexts: a paired bootstrap, dialogues drawn whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from cso_train.evaluation._intervals import Interval, draw_samples, percentile_intervals
from cso_train.evaluation._metrics import Evaluation, Outcome, sample_numbers
from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError
from mctsdialog.text import markdown_line

_COLUMNS = (
    ("Q", "macro_f1"),
    ("B", "bias"),
    ("Q_W", "weighted_f1"),
    ("R-L", "rouge_l"),
    ("Q lenient", "macro_f1_lenient"),
)


@dataclass(frozen=True)
class Difference:
    """The scores of one system less those of another, in the units of :class:`~cso_train.evaluation.Evaluation`.

    :param bias: None where one of the two names no strategy.
    :param macro_f1_lenient: Q by the lenient parse.
    """

    macro_f1: Interval
    bias: Interval | None
    weighted_f1: Interval
    rouge_l: Interval
    macro_f1_lenient: Interval


@checked()
def difference(
    first: Evaluation, second: Evaluation, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Difference:
    """The scores of ``second`` less those of ``first``, on the same contexts.

    Each sample has the same contexts for both, so that what is hard for both is in neither's favour: the interval is
    narrower than those of the two scores, which may overlap where the difference is clear.

    :param resamples: and ``level`` and ``seed``, as for :func:`~cso_train.evaluation.bootstrap_interval`.
    :raises ConfigError: for evaluations of other contexts, or without outcomes (made by version 0.1).
    """
    one, other, names = first.outcomes, second.outcomes, [score.strategy for score in first.strategies]
    if one is None or other is None:
        raise ConfigError("an evaluation has no outcomes: version 0.1 made it; evaluate again")
    if names != [score.strategy for score in second.strategies] or _contexts(one) != _contexts(other):
        raise ConfigError("the two evaluations are of other contexts")
    groups = None if first.dialogues is None else [each.dialogue for each in one]
    samples = draw_samples(len(one), resamples, seed, groups)
    found = _differences(one, other, names, samples, level)
    lenient = _differences(_leniently(one), _leniently(other), names, samples, level)[0]
    both = first.names_strategies and second.names_strategies
    return Difference(found[0], found[2] if both else None, found[1], found[3], lenient)


def _differences(
    one: Sequence[Outcome],
    other: Sequence[Outcome],
    names: Sequence[str],
    samples: Sequence[Sequence[int]],
    level: float,
) -> list[Interval]:
    """Q, Q_W, B, R-L and the rest, the second less the first."""
    before, after = sample_numbers(one, names), sample_numbers(other, names)

    def less(sample: Sequence[int]) -> list[float]:
        return [high - low for low, high in zip(before(sample)[:4], after(sample)[:4], strict=True)]

    return percentile_intervals(less, range(len(one)), samples, level, spread=[2])


def _contexts(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    return [(each.dialogue, each.gold) for each in outcomes]


def _leniently(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [replace(each, named=each.lenient) for each in outcomes]


def differences(
    evaluations: Mapping[str, Evaluation], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Difference]:
    """Every system less the first, by name; none for systems of other contexts or without outcomes."""
    systems = list(evaluations.items())
    found = {}
    for name, each in systems[1:]:
        first = systems[0][1]
        if first.outcomes and each.outcomes and _contexts(first.outcomes) == _contexts(each.outcomes):
            found[name] = difference(first, each, resamples=resamples, seed=seed)
    return found


@checked()
def difference_table(found: Mapping[str, Difference], first: str) -> str:
    """The differences as Markdown; bold where the interval leaves 0 out."""
    lines = [
        f"| less {markdown_line(first)} | {' | '.join(name for name, _ in _COLUMNS)} |",
        f"|---|{'---:|' * len(_COLUMNS)}",
    ]
    for name, each in found.items():
        cells = [_cell(getattr(each, field)) for _, field in _COLUMNS]
        lines.append(f"| {markdown_line(name)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    shown = f"{interval.value:+.2f}"
    decided = interval.low > 0 or interval.high < 0
    return (f"**{shown}**" if decided else shown) + f" ({interval.low:+.2f} to {interval.high:+.2f})"


def difference_json(found: Mapping[str, Difference]) -> str:
    """The differences by system as JSON."""
    return json.dumps({name: asdict(each) for name, each in found.items()}, ensure_ascii=False, indent=1) + "\n"
