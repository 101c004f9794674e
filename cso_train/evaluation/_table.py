"""Several evaluations side by side, in the layout of the paper's Table 2."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from cso_train.evaluation._intervals import Interval
from cso_train.evaluation._metrics import Evaluation, LenientScores
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


LENIENT = (("Q lenient", "macro_f1"), ("B lenient", "bias"))
"""(heading, field) of the scores by the lenient parse; they stand beside the others and are not compared."""


@checked()
def markdown_table(evaluations: Mapping[str, Evaluation], *, intervals: bool = True) -> str:
    """Rows of models as Markdown; the best of a column is bold, a saturated B has a dagger.

    Where an evaluation has them, the scores by the lenient parse stand beside those by the strict one. B is "–" for a
    model that names no strategy, and bold only for one that names them in at least half of its replies.
    """
    lenient = any(each.lenient for each in evaluations.values())
    head = ["model", *(f"{name} {'↑' if up else '↓'}" for name, _, up in COLUMNS), "unparsed"]
    head += [*(name for name, _ in LENIENT), "unparsed lenient"] if lenient else []
    lines = [f"| {' | '.join([*head, 'n'])} |", f"|---|{'---:|' * len(head)}"]
    best = _best(evaluations)
    for name, each in evaluations.items():
        cells = [_score(each, field, intervals, bold=name in best[field]) for _, field, _ in COLUMNS]
        cells.append(_share(each.parse_failures, intervals))
        if lenient and each.lenient is None:
            cells += ["–"] * (len(LENIENT) + 1)
        elif lenient and each.lenient is not None:
            cells += [_score(each.lenient, field, intervals) for _, field in LENIENT]
            cells.append(_share(each.lenient.parse_failures, intervals))
        count = str(each.count) if each.dialogues is None else f"{each.count} ({each.dialogues})"
        lines.append(f"| {markdown_line(name)} | {' | '.join([*cells, count])} |")
    return "\n".join(lines) + "\n"


def _score(scores: Evaluation | LenientScores, field: str, intervals: bool, *, bold: bool = False) -> str:
    """One number of a row."""
    interval: Interval = getattr(scores, field)
    if field == "bias" and scores.parse_failures.value == 1:
        return "–"
    shown = f"**{interval.value:.2f}**" if bold else f"{interval.value:.2f}"
    shown += "†" if field == "bias" and scores.bias_saturated else ""
    return shown + (f" ({interval.low:.2f} to {interval.high:.2f})" if intervals else "")


def _share(share: Interval, intervals: bool) -> str:
    value, low, high = (f"{100 * each:.1f}" for each in (share.value, share.low, share.high))
    return f"{value} %" + (f" ({low} to {high})" if intervals else "")


@checked()
def latex_table(evaluations: Mapping[str, Evaluation]) -> str:
    """Rows of models as a LaTeX tabular (package booktabs), marked as :func:`markdown_table` marks them."""
    arrows = {True: r"$\uparrow$", False: r"$\downarrow$"}
    heads = [f"{_LATEX_NAMES[name]} {arrows[up]}" for name, _, up in COLUMNS]
    lenient = any(each.lenient for each in evaluations.values())
    heads += ["$Q$ lenient", "$B$ lenient"] if lenient else []
    shown = " & ".join(heads)
    lines = [rf"\begin{{tabular}}{{l{'r' * len(heads)}}}", r"\toprule", rf"Model & {shown} \\", r"\midrule"]
    best = _best(evaluations)
    for name, each in evaluations.items():
        cells = [_latex_score(each, field, bold=name in best[field]) for _, field, _ in COLUMNS]
        if lenient:
            cells += ["--" if each.lenient is None else _latex_score(each.lenient, field) for _, field in LENIENT]
        lines.append(rf"{latex_text(name)} & {' & '.join(cells)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def latex_text(text: str) -> str:
    """``text`` on one line of LaTeX, with nothing in it that LaTeX would act on."""
    return "".join(_LATEX.get(letter, letter) for letter in visible(" ".join(text.split())))


def _latex_score(scores: Evaluation | LenientScores, field: str, *, bold: bool = False) -> str:
    if field == "bias" and scores.parse_failures.value == 1:
        return "--"
    shown = f"{getattr(scores, field).value:.2f}"
    dagger = r"$^\dagger$" if field == "bias" and scores.bias_saturated else ""
    return (rf"\textbf{{{shown}}}" if bold else shown) + dagger


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
    """For every column, the models that have its best value. B compares those that name strategies, mostly."""
    found: dict[str, Sequence[str]] = {}
    for _, field, up in COLUMNS:
        values = {
            name: round(getattr(each, field).value, 2)
            for name, each in evaluations.items()
            if field != "bias" or each.parse_failures.value <= _MOST_UNPARSED
        }
        best = (max if up else min)(values.values(), default=None)
        found[field] = [name for name, value in values.items() if value == best]
    return found


_MOST_UNPARSED = 0.5  # of a model whose B can be the best: B is of the replies that name a strategy
