"""Several evaluations side by side, in the layout of the paper's Table 2."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple

from cso_train.evaluation._metrics import Evaluation, Interval
from mctsdialog._arguments import checked
from mctsdialog.text import markdown_line, visible

COLUMNS = (
    ("Q", "macro_f1", True),
    ("B", "bias", False),
    ("Q_W", "weighted_f1", True),
    ("R-L", "rouge_l", True),
)
"""(heading, field, whether higher is better): strategy macro-F1, preference bias, weighted F1, ROUGE-L."""

_LATEX_NAMES = {"Q": "$Q$", "B": "$B$", "Q_W": "$Q_W$", "R-L": "R-L"}

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "[": "{[}",  # after a row's end these two would be its argument
    "*": "{*}",
}


@checked()
def markdown_table(evaluations: Mapping[str, Evaluation], *, intervals: bool = True) -> str:
    """Rows of models as Markdown; the best of a column is bold, a saturated B has a dagger."""
    head = ["model", *(f"{name} {'↑' if up else '↓'}" for name, _, up in COLUMNS), "unparsed", "n"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    best = _best(evaluations)
    for name, each in evaluations.items():
        cells = []
        for _, field, _ in COLUMNS:
            interval: Interval = getattr(each, field)
            shown = f"**{interval.value:.2f}**" if name in best[field] else f"{interval.value:.2f}"
            shown += "†" if field == "bias" and each.bias_saturated else ""
            cells.append(shown + (f" ({interval.low:.2f} to {interval.high:.2f})" if intervals else ""))
        failed = [f"{100 * share:.1f}" for share in astuple(each.parse_failures)]
        cells.append(f"{failed[0]} %" + (f" ({failed[1]} to {failed[2]})" if intervals else ""))
        lines.append(f"| {markdown_line(name)} | {' | '.join(cells)} | {each.count} |")
    return "\n".join(lines) + "\n"


@checked()
def latex_table(evaluations: Mapping[str, Evaluation]) -> str:
    """Rows of models as a LaTeX tabular (package booktabs), marked as :func:`markdown_table` marks them."""
    arrows = {True: r"$\uparrow$", False: r"$\downarrow$"}
    heads = " & ".join(f"{_LATEX_NAMES[name]} {arrows[up]}" for name, _, up in COLUMNS)
    lines = [rf"\begin{{tabular}}{{l{'r' * len(COLUMNS)}}}", r"\toprule", rf"Model & {heads} \\", r"\midrule"]
    best = _best(evaluations)
    for name, each in evaluations.items():
        cells = []
        for _, field, _ in COLUMNS:
            shown = f"{getattr(each, field).value:.2f}"
            dagger = r"$^\dagger$" if field == "bias" and each.bias_saturated else ""
            cells.append((rf"\textbf{{{shown}}}" if name in best[field] else shown) + dagger)
        escaped = "".join(_LATEX.get(letter, letter) for letter in visible(" ".join(name.split())))
        lines.append(rf"{escaped} & {' & '.join(cells)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


@checked()
def json_table(evaluations: Mapping[str, Evaluation]) -> str:
    """All scores by model as JSON."""
    return json.dumps({name: each.to_dict() for name, each in evaluations.items()}, ensure_ascii=False, indent=1) + "\n"


@checked()
def strategy_table(evaluation: Evaluation) -> str:
    """One model's scores by strategy, and its confusion matrix, as Markdown."""
    lines = ["| strategy | precision | recall | F1 | wanted | named | p |", "|---|---:|---:|---:|---:|---:|---:|"]
    of_each = (evaluation.strategies, evaluation.strategy_f1, evaluation.preferences)
    for score, f1, preference in zip(*of_each, strict=True):
        shown = f"{f1.value:.1f} ({f1.low:.1f} to {f1.high:.1f})"
        numbers = f"{100 * score.precision:.1f} | {100 * score.recall:.1f} | {shown}"
        lines.append(
            f"| {markdown_line(score.strategy)} | {numbers} | {score.support} | {score.predicted} | {preference:.2f} |"
        )
    names = [markdown_line(score.strategy) for score in evaluation.strategies]
    lines += ["", "Rows gold, columns predicted:", "", f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    lines += [
        f"| {name} | {' | '.join(map(str, row))} |" for name, row in zip(names, evaluation.confusion, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _best(evaluations: Mapping[str, Evaluation]) -> dict[str, Sequence[str]]:
    """For every column, the models that have its best value."""
    found: dict[str, Sequence[str]] = {}
    for _, field, up in COLUMNS:
        values = {name: round(getattr(each, field).value, 2) for name, each in evaluations.items()}
        best = (max if up else min)(values.values(), default=None)
        found[field] = [name for name, value in values.items() if value == best]
    return found
