"""An evaluation from models and a test set to tables (paper section 5.2, Table 2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from cso_train._chat import Messages
from cso_train.errors import TrainDataError
from cso_train.evaluation._baselines import direct_refine, plain, self_refine, with_example
from cso_train.evaluation._contexts import TestCase
from cso_train.evaluation._difference import difference_json, difference_table, differences
from cso_train.evaluation._metrics import Evaluation, evaluate_replies
from cso_train.evaluation._replies import Replies
from cso_train.evaluation._table import json_table, latex_table, markdown_table, strategy_table
from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain
from mctsdialog.errors import ConfigError
from mctsdialog.files import inside, parse_json, read_input, write_atomically
from mctsdialog.text import markdown_line

Baseline: TypeAlias = Literal["none", "direct-refine", "self-refine", "example"]
"""How a model is asked: plainly, or by a decoding baseline of Appendix E."""

BASELINES: dict[Baseline, str] = {
    "none": "",
    "direct-refine": "Direct-Refine",
    "self-refine": "Self-Refine",
    "example": "w/ Example",
}


@checked()
async def evaluate(
    replies: Replies,
    cases: Sequence[TestCase],
    domain: Domain,
    *,
    baseline: Baseline = "none",
    examples: Sequence[TestCase] = (),
    resamples: int = 1000,
    seed: int = 0,
    on_progress: Callable[[int, int], object] | None = None,
) -> tuple[Evaluation, list[str]]:
    """Evaluate a model on a test set.

    :param replies: the model.
    :param cases: the test set, not empty.
    :param baseline: the decoding baseline that prompts the model.
    :param examples: training cases for the baseline "example".
    :param resamples: bootstrap resamples of whole dialogues, for the intervals.
    :returns: the scores, and the replies in the cases' order.
    :raises ConfigError: for the baseline "example" without examples.
    """
    prompts: list[Messages] = [[dict(each) for each in case.prompt] for case in cases]
    if baseline == "example":
        if not examples:
            raise ConfigError("the baseline 'example' needs examples from the training set")
        prompts = with_example(prompts, examples, seed)
    ask = {"direct-refine": direct_refine, "self-refine": self_refine}.get(baseline, plain)
    said = await ask(replies, prompts, on_progress)
    gold = [(case.strategy, case.text) for case in cases]
    dialogues = [case.dialogue for case in cases]
    scored = evaluate_replies(gold, said, domain.strategies, dialogues=dialogues, resamples=resamples, seed=seed)
    return scored, said


@checked()
def write_report(
    folder: str | Path,
    evaluations: Mapping[str, Evaluation],
    replies: Mapping[str, Sequence[str]],
    cases: Sequence[TestCase],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Path]:
    """Write the tables (Markdown, LaTeX, JSON), each model's scores by strategy, and all replies.

    :param evaluations: by model, in the table's order.
    :param replies: by model, in the cases' order.
    :param resamples: bootstrap samples for the differences to the first model, drawn by ``seed``.
    """
    rows: list[dict[str, Any]] = [
        {"id": case.id, "prompt": list(case.prompt), "gold": {"strategy": case.strategy, "text": case.text}}
        for case in cases
    ]
    for place, row in enumerate(rows):
        row["replies"] = {name: said[place] for name, said in replies.items()}
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    tables = write_tables(folder, evaluations, resamples=resamples, seed=seed)
    return [*tables, write_atomically(inside(folder, "replies.jsonl"), lines)]


def write_tables(
    folder: str | Path, evaluations: Mapping[str, Evaluation], *, resamples: int = 1000, seed: int = 0
) -> list[Path]:
    """Write the table (Markdown, LaTeX, JSON), each model's scores by strategy, and its differences to the first model.

    :param evaluations: by model, in the table's order.
    :param resamples: bootstrap samples for the differences, drawn by ``seed``.
    """
    found = differences(evaluations, resamples=resamples, seed=seed)
    parts = ["# Evaluation\n", markdown_table(evaluations), _NOTE]
    if found:
        parts += ["## Differences\n", difference_table(found, next(iter(evaluations))), _DIFFERENCES]
    for name, each in evaluations.items():
        parts += [f"## {markdown_line(name)}\n", strategy_table(each)]
    written = [
        write_atomically(inside(folder, "evaluation.md"), "\n".join(parts)),
        write_atomically(inside(folder, "evaluation.tex"), latex_table(evaluations)),
        write_atomically(inside(folder, "evaluation.json"), json_table(evaluations)),
    ]
    return [
        *written,
        *([write_atomically(inside(folder, "differences.json"), difference_json(found))] if found else []),
    ]


def join_tables(files: Sequence[str | Path]) -> dict[str, Evaluation]:
    """The evaluations of several ``evaluation.json``, in their order, to stand side by side.

    :raises TrainDataError: for a file that is none, a model that is in two, or one of another test set.
    """
    found: dict[str, Evaluation] = {}
    wanted: dict[str, int] = {}
    for file in files:
        for name, each in _read_table(Path(file)).items():
            if name in found:
                raise TrainDataError(f"{name!r:.60} is in an earlier file too", file=file)
            contexts = {score.strategy: score.support for score in each.strategies}
            wanted = wanted or contexts
            if contexts != wanted:
                message = "is of another test set than the first file: its contexts want other strategies"
                raise TrainDataError(message, file=file, item=name)
            found[name] = each
    return found


def _read_table(file: Path) -> dict[str, Evaluation]:
    item: str | None = None
    try:
        made = parse_json(read_input(file))
        if not isinstance(made, dict):
            raise ValueError("it must be an object of evaluations by model")
        found = {}
        for item, each in made.items():  # the error names the one that failed
            found[item] = Evaluation.from_dict(each)
    except OSError as error:
        raise TrainDataError(f"cannot be read: {error.strerror or error}", file=file) from error
    except ValueError as error:
        raise TrainDataError(f"is no evaluation.json of 'evaluate': {error}", file=file, item=item) from error
    return found


_NOTE = """
Q: macro-F1 of the strategies in percent. B: preference bias (Kang et al., ACL 2024); † where it is saturated, – for a
model that names no strategy. Q_W: weighted F1. R-L: ROUGE-L of the replies without their strategies. A reply without a
strategy of the set in the form `(Strategy) text` is wrong in Q and Q_W and left out of B; "lenient" also reads
strategies that are named in another form. In brackets: 95 % bootstrap intervals, whole dialogues resampled; that of B
is its standard error. n: contexts (dialogues).
"""

_DIFFERENCES = """
Each model less the first, on the same contexts: 95 % intervals of a paired bootstrap over whole dialogues; bold where
the interval leaves 0 out. Two models differ where this interval says so, whether or not their own intervals overlap.
"""
