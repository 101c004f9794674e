"""The report of an arena as Markdown, LaTeX and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cso_train.arena._oddities import ODDITIES
from cso_train.arena._result import ArenaResult, JudgeReport, ProtocolResult
from cso_train.evaluation._intervals import Interval
from cso_train.evaluation._pairwise import plain_interval
from cso_train.evaluation._table import latex_text
from mctsdialog._arguments import checked
from mctsdialog.text import markdown_line

_MOST_REASONS = 8
NOTICE = (
    "Seekers are simulated: they are no people, and a high score is no evidence that a system is safe or helps anybody."
)


@checked()
def arena_markdown(result: ArenaResult) -> str:
    """The report as Markdown."""
    lines = [
        "# Arena",
        "",
        f"{len(result.systems)} systems, {result.cards} cards, {result.conversations} conversations. {NOTICE}",
        "",
    ]
    if result.stop_reason:
        lines += [f"**Stopped early ({markdown_line(result.stop_reason)}): what was not done is missing below.**", ""]
    lines += ["In brackets: 95 % bootstrap intervals over cards. A difference is paired by card.", ""]
    if result.truth is not None:
        lines += ["## True worth", "", "| system | worth |", "|---|---:|"]
        lines += [f"| {markdown_line(name)} | {_cell(each)} |" for name, each in _ranked(result.truth)]
        lines += ["", "The mean reward of a conversation's supporter turns without noise, 0 to 4.", ""]
    for each in result.protocols:
        lines += _protocol_lines(each, result.cards)
    return "\n".join([*lines, *_oddity_lines(result)]).rstrip("\n") + "\n"


def _ranked(scores: Mapping[str, Interval]) -> list[tuple[str, Interval]]:
    return sorted(scores.items(), key=lambda item: -item[1].value)


def _protocol_lines(found: ProtocolResult, cards: int) -> list[str]:
    names = list(found.metrics)
    arrows = {name: "↑" if metric.higher else "↓" for name, metric in found.metrics.items()}
    lines = [f"## {markdown_line(found.title)}", "", f"Source: {markdown_line(found.source)}.", ""]
    if not found.cards:
        return [*lines, "No card has a score of every system, so that there is nothing to compare.", ""]
    lines += [f"| system | {' | '.join(f'{name} {arrows[name]}' for name in names)} | strength |"]
    lines += [f"|---|{'---:|' * (len(names) + 1)}"]
    best = 1.0 if found.metrics[found.headline].higher else -1.0
    for system, scores in sorted(found.scores.items(), key=lambda item: -best * item[1][found.headline].value):
        cells = [_cell(scores.get(name)) for name in names]
        lines.append(f"| {markdown_line(system)} | {' | '.join(cells)} | {_cell(found.strengths.get(system))} |")
    lines += ["", *(f"- `{name}`: {metric.meaning}" for name, metric in found.metrics.items())]
    lines += [
        f"- `strength`: Bradley-Terry, log-odds with mean 0, of comparisons by `{found.headline}` on the same card"
    ]
    lines += ["", f"Cards: {len(found.cards)} of {cards}, those that every system has a score for.", ""]
    lines += _difference_lines(found) + _win_lines(found)
    if found.judges is not None:
        lines += _judge_lines(found.judges)
    if found.longer_wins is not None:
        shown = plain_interval(found.longer_wins)
        lines += [f"The longer conversation (supporter's words) won {shown} of the decided comparisons.", ""]
    if found.accuracy is not None:
        lines += [f"Against the truth: {plain_interval(found.accuracy)} of the decided comparisons agree with it"]
        correlation = found.rank_correlation
        lines[-1] += (
            "." if correlation is None else f"; Spearman's correlation of the systems' ranks is {correlation:.2f}."
        )
        lines += [""]
    return lines


def _difference_lines(found: ProtocolResult) -> list[str]:
    lines = [f"Differences in `{found.headline}`, bold where the interval leaves 0 out:", ""]
    lines += ["| first | less | difference |", "|---|---|---:|"]
    for each in found.differences:
        decided = each.less.low > 0 or each.less.high < 0
        number = f"{each.less.value:+.2f}"
        shown = (f"**{number}**" if decided else number) + f" ({each.less.low:+.2f} to {each.less.high:+.2f})"
        lines.append(f"| {markdown_line(each.first)} | {markdown_line(each.second)} | {shown} |")
    return [*lines, ""]


def _win_lines(found: ProtocolResult) -> list[str]:
    systems = list(found.scores)
    lines = [f"Share that the row wins over the column (`{found.headline}`, ties as halves):", ""]
    lines += [f"| | {' | '.join(map(markdown_line, systems))} |", f"|---|{'---:|' * len(systems)}"]
    for at, (system, row) in enumerate(zip(systems, found.wins, strict=True)):
        cells = ["–" if place == at else f"{share:.2f}" for place, share in enumerate(row)]
        lines.append(f"| {markdown_line(system)} | {' | '.join(cells)} |")
    return [*lines, ""]


def _judge_lines(judges: JudgeReport) -> list[str]:
    lines = ["| judge | asked | unusable | first place | flipped |", "|---|---:|---:|---:|---:|"]
    for name, asked in judges.asked.items():
        place, flipped = (_number(each.get(name)) for each in (judges.first_place, judges.flipped))
        lines.append(f"| {markdown_line(name)} | {asked} | {judges.unusable[name]} | {place} | {flipped} |")
    agreement = f"Agreement of judges and repeats (κ): {plain_interval(judges.agreement)}."
    return [*lines, "", f"{agreement} First place 0.50 is no position bias.", ""]


def _oddity_lines(result: ArenaResult) -> list[str]:
    rows = {system: count for system, count in result.oddities.items() if count}
    lines = ["## What is odd", ""]
    if not rows:
        return [*lines, "Nothing of what is looked for was found: " + ", ".join(ODDITIES) + ".", ""]
    lines += [f"| system | {' | '.join(ODDITIES)} |", f"|---|{'---:|' * len(ODDITIES)}"]
    lines += [
        f"| {markdown_line(system)} | {' | '.join(str(count.get(name, 0)) for name in ODDITIES)} |"
        for system, count in rows.items()
    ]
    lines += ["", *(f"- {name}: {meaning}" for name, meaning in ODDITIES.items()), ""]
    return lines + _failure_lines(result)


def _failure_lines(result: ArenaResult) -> list[str]:
    if not result.failures:
        return []
    shown = list(result.failures.items())[:_MOST_REASONS]
    lines = ["Why conversations failed:", "", *(f"- {count} × {markdown_line(reason)}" for reason, count in shown)]
    rest = sum(result.failures.values()) - sum(count for _, count in shown)
    return [*lines, *([f"- {rest} × other reasons, in `transcripts/states.jsonl`"] if rest else []), ""]


def _cell(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


@checked()
def arena_latex(result: ArenaResult) -> str:
    """A tabular of the systems by the headline of every protocol, with intervals (package booktabs)."""
    found = [each for each in result.protocols if each.cards]
    heads = [latex_text(f"{each.title}: {each.headline}") for each in found]
    lines = [rf"\begin{{tabular}}{{l{'r' * len(found)}}}", r"\toprule"]
    lines += [rf"{' & '.join(['System', *heads])} \\", r"\midrule"]
    for system in result.systems:
        cells = [_latex_cell(each.scores[system].get(each.headline)) for each in found]
        lines.append(rf"{' & '.join([latex_text(system), *cells])} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_cell(interval: Interval | None) -> str:
    return "--" if interval is None else rf"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


@checked()
def arena_json(result: ArenaResult) -> str:
    """All of it as JSON."""
    made: dict[str, Any] = asdict(result)
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"
