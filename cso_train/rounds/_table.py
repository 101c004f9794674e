"""What came out of rounds: a table, the figures as JSON, and a picture."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from cso_train.evaluation import bootstrap_interval
from cso_train.evaluation._intervals import Interval
from cso_train.rounds._run import Round, RoundsResult
from mctsdialog.errors import ConfigError
from mctsdialog.figures import new_figure, save_figure
from mctsdialog.files import inside, write_atomically


def rounds_table(result: RoundsResult) -> str:
    """The rounds as a Markdown table; differences are to the round before, paired by scenario."""
    lines = [
        "| round | trees | pairs | worth | 95 % | to the one before | without a strategy |",
        "|---|---|---|---|---|---|---|",
    ]
    for place, each in enumerate(result.rounds):
        own = worth(each)
        gap = "" if place == 0 else shown(difference(each, result.rounds[place - 1]))
        cells = (str(each.number or "begin"), str(each.trees), str(each.pairs), f"{own.value:.2f}")
        interval = f"{own.low:.2f} to {own.high:.2f}"
        lines.append(f"| {' | '.join((*cells, interval, gap, f'{each.unnamed:.1%}'))} |")
    return "\n".join(lines)


def shown(gap: Interval) -> str:
    """A difference with its interval."""
    return f"{gap.value:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"


def worth(each: Round) -> Interval:
    """Mean worth of a round's dialogues; dialogues are resampled."""
    return bootstrap_interval(len(each.worths), lambda places: sum(each.worths[at] for at in places) / len(places))


def difference(one: Round, other: Round) -> Interval:
    """Worth of a round less that of another, in the same scenarios."""
    gaps = [mine - theirs for mine, theirs in zip(one.worths, other.worths, strict=True)]
    return bootstrap_interval(len(gaps), lambda places: sum(gaps[at] for at in places) / len(places))


def write_rounds(result: RoundsResult, folder: str | Path) -> list[Path]:
    """``rounds.md``, ``rounds.json`` and, where matplotlib is installed, ``rounds.png``."""
    rounds = [{**asdict(each), "worth": each.worth} for each in result.rounds]
    numbers = {"rounds": rounds, "best": result.best.number, "fell": result.fell}
    table = f"{rounds_table(result)}\n\nBest: {result.best.number or 'the model to begin with'}.\n"
    files = []
    for name, text in (("rounds.md", table), ("rounds.json", json.dumps(numbers, indent=1) + "\n")):
        files.append(inside(folder, name))
        write_atomically(files[-1], text)
    try:
        figure = new_figure(4.8, 3.2)
    except ConfigError:  # no matplotlib: the table says it all
        return files
    axes = figure.add_subplot()
    found = [worth(each) for each in result.rounds]
    errors = [[each.value - each.low for each in found], [each.high - each.value for each in found]]
    axes.errorbar(range(len(found)), [each.value for each in found], errors, marker="o", capsize=3)
    axes.set_xticks(range(len(found)), [str(each.number or "begin") for each in result.rounds])
    axes.set(xlabel="round", ylabel="worth of dialogues held")
    return [*files, save_figure(figure, Path(folder), "rounds.png", dpi=120)]
