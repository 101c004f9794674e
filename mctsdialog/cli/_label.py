"""``mctsdialog label``: strategies for dialogues that have none."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from mctsdialog.cli._help import GroupedCommand
from mctsdialog.cli._models import ModelSetup, OpenModels, with_model_options
from mctsdialog.cli._progress import LiveProgress
from mctsdialog.cli._reading import reading, tell_report, verbose_option, with_reading_options
from mctsdialog.cli.exits import BAD_INPUT, BUDGET_SPENT, EPILOG, FAILED, Failure, errors_as_exits, interruptible
from mctsdialog.cli.terminal import echo
from mctsdialog.dialogue import DialogueSet, read_dialogues, write_dialogues
from mctsdialog.dialogue._domains import domain_option
from mctsdialog.files import inside, write_atomically
from mctsdialog.roles import Labelling, TurnLabel, label_dialogues
from mctsdialog.text import counted, one_line, shell_word

_NAMED = 5  # dialogues left out that are named
_COUNTED = 5  # strategies whose labels are counted
_TELLING = 1.5  # times chance: a mean confidence below says little


@click.command(
    "label",
    cls=GroupedCommand,
    epilog=EPILOG,
    examples="""
mctsdialog label dialogues.json --domain esc --model gpt-4o-mini --out labelled
mctsdialog label labelled.json --check --limit 50 --model gpt-4o-mini
""",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("labelled"),
    show_default=True,
    help="Output folder for dialogues.jsonl, labels.jsonl and the reply cache.",
)
@with_reading_options
@verbose_option
@click.option("--lenient", is_flag=True, help="Skip and count malformed items instead of stopping at the first one.")
@click.option("--limit", type=click.IntRange(1), help="Label at most this many dialogues.")
@click.option("--check", is_flag=True, help="Also label turns that already have a strategy, and report the agreement.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Skip dialogues that contain a label below this confidence.",
)
@with_model_options
def label_command(file: Path, **options: Any) -> None:
    """Label every supporter turn of FILE that has no strategy, so that its dialogues can be searched.

    The strategist's model (--strategist-model, else --model) rates how well each strategy of the domain describes the
    turn; the highest is its label. Labels that are there stay. OUT/dialogues.jsonl has the dialogues for a search,
    OUT/labels.jsonl each label with its confidence. Replies are kept: the same command resumes where it stopped.
    """
    with errors_as_exits():
        found = read_dialogues(file, lenient=options["lenient"], unlabelled=True, **reading(options))
        tell_report(file, found.report, whole=options["verbose"] or not found)
        if not found:
            raise Failure("no dialogue is left to label; the counts above say what was dropped and why", BAD_INPUT)
        out: Path = options["out"]
        setup = ModelSetup.from_options(options, inside(out, "cache"))
        with interruptible("Interrupted. Replies so far are kept; the same command resumes.") as interrupts:
            code = interrupts.run(_run, found, setup, out, options)
    sys.exit(code)


async def _run(found: DialogueSet, setup: ModelSetup, out: Path, options: dict[str, Any]) -> int:
    began = time.monotonic()
    async with AsyncExitStack() as closing:
        models = setup.open(closing)
        with models.reported_when_cut_short(), LiveProgress("turns", None, models.spending) as progress:
            result = await label_dialogues(
                found.dialogues[: options["limit"]],
                models.models["strategist"],
                found.domain,
                concurrency=options["concurrency"] or 8,
                check=options["check"],
                min_confidence=options["min_confidence"],
                on_progress=lambda done, total: progress.overall(completed=done, total=total),
            )
        _write(result, found, out)
        _tell(result, found, options, models, time.monotonic() - began)
    return BUDGET_SPENT if result.stop_reason else FAILED if result.failures and not result.dialogues else 0


def _write(result: Labelling, found: DialogueSet, out: Path) -> None:
    lines = [json.dumps(asdict(label), ensure_ascii=False) + "\n" for label in result.labels]
    write_atomically(inside(out, "labels.jsonl"), "".join(lines))
    write_dialogues(inside(out, "dialogues.jsonl"), result.dialogues, domain=found.domain)


def _summary(labels: Sequence[TurnLabel], strategies: int) -> Iterator[str]:
    """Which strategies the labels name, and whether the labeller told them apart."""
    if not labels:
        return
    counts = Counter(label.strategy for label in labels).most_common()
    named = ", ".join(f"{count} x {one_line(name)}" for name, count in counts[:_COUNTED])
    more = f" and {len(counts) - _COUNTED} more" if len(counts) > _COUNTED else ""
    yield f"labels: {named}{more}"
    mean, chance = fmean(label.confidence for label in labels), 1 / strategies
    yield f"mean confidence: {mean:.2f}; the same rating for all {strategies} strategies would give {chance:.2f}"
    if strategies > 1 and mean < _TELLING * chance:
        yield "The model hardly tells the strategies apart: read some labels first, or take another model."


def _tell(result: Labelling, found: DialogueSet, options: dict[str, Any], models: OpenModels, seconds: float) -> None:
    out: Path = options["out"]
    new = [label for label in result.labels if label.given is None]
    dialogues = counted(len(result.dialogues) + len(result.failures), "dialogue")
    echo(f"\n{len(result.dialogues)} of {dialogues} labelled, {counted(len(new), 'turn')}")
    for line in _summary(new, len(found.domain.strategies)):
        echo(line)
    if result.stop_reason:
        echo(f"stopped: {result.stop_reason}; the same command resumes, with a new budget")
    if result.agreement is not None:
        were = "was" if result.checked == 1 else "were"
        kappa = "" if result.kappa is None else f", Cohen's kappa {result.kappa:.2f}"
        echo(f"agreement with the {counted(result.checked, 'label')} that {were} there: {result.agreement:.1%}{kappa}")
    for name, reason in list(result.failures.items())[:_NAMED]:
        echo(f"left out: {one_line(name)}: {one_line(reason)}")
    if len(result.failures) > _NAMED:
        echo(f"and {len(result.failures) - _NAMED} more left out")
    for line in [models.closing_line(seconds), *models.cost_lines()]:
        echo(line)
    if result.dialogues:
        named = domain_option(found.domain, options["domain_name"])
        echo(f"\nNext: mctsdialog search {shell_word(out / 'dialogues.jsonl')} {named}")
