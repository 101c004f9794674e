"""``mctsdialog preferences``: trees in, a preference dataset out."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from mctsdialog.cli._health import warn
from mctsdialog.cli._help import GroupedCommand
from mctsdialog.cli._models import ModelSetup, OpenModels, given_config, with_config_options, with_model_options
from mctsdialog.cli._progress import LiveProgress
from mctsdialog.cli.exits import BAD_INPUT, BUDGET_SPENT, EPILOG, FAILED, Failure, errors_as_exits, interruptible
from mctsdialog.cli.terminal import echo
from mctsdialog.corpus._output import owner_of_journal
from mctsdialog.errors import ConfigError, DataError, JournalMismatchError, ReplyError
from mctsdialog.export import save_tree
from mctsdialog.files import digested_stem, earlier_stem, file_stem, inside, sweep
from mctsdialog.preferences import (
    ALL_FORMATS,
    FORMATS,
    DatasetBuilder,
    Generated,
    PreferenceConfig,
    PreferenceDataset,
    Review,
    probe_siblings,
    push_to_hub,
    random_record,
    read_reviews,
    read_trees,
    tree_files,
    write_dataset,
)
from mctsdialog.preferences._dataset import check_parts
from mctsdialog.preferences._read import add_tree, loaded_trees, read_manifest
from mctsdialog.text import one_line
from mctsdialog.tree import Tree


@click.command(
    "preferences",
    cls=GroupedCommand,
    epilog=EPILOG,
    examples="""
mctsdialog preferences trees --out esc-pro
mctsdialog preferences trees --split train=0.9,test=0.1 --file-type parquet --out esc-pro
mctsdialog preferences trees --siblings 1 --model gpt-4o-mini --max-calls 5000 --out esc-pro
""",
)
@click.argument("trees", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("preferences"),
    show_default=True,
    help="Output folder: new, empty, or from an earlier call.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(list(ALL_FORMATS)),
    help="Format of the data. Repeatable. Default: the first five. "
    + " ".join(f"{name}: {spec.title}." for name, spec in ALL_FORMATS.items()),
)
@click.option(
    "--file-type",
    type=click.Choice(["jsonl", "parquet"]),
    default="jsonl",
    show_default=True,
    help="JSON lines, or Parquet (needs pyarrow).",
)
@click.option("--split", metavar="NAME=PART,...", help="Split by seed dialogue: train=0.9,test=0.1. Default: train=1.")
@click.option(
    "--subset",
    "subsets",
    multiple=True,
    type=click.IntRange(1),
    help="Also write the pairs of this many dialogues of the first split. Repeatable.",
)
@click.option(
    "--reviews",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Apply the decisions made in 'mctsdialog studio': its reviews.jsonl. Repeatable.",
)
@click.option(
    "--license", "--licence", metavar="NAME", help="License of the dataset, for its card, such as cc-by-nc-4.0."
)
@click.option(
    "--push-to-hub",
    "hub",
    metavar="OWNER/NAME",
    help="Also upload the dataset to the Hugging Face hub; new ones are private (needs huggingface_hub).",
)
@click.option("--lenient", is_flag=True, help="Skip and count tree files that cannot be read.")
@click.option(
    "--siblings",
    metavar="N|all",
    help="For turns without a rejected sibling, generate and simulate up to N untried siblings, lowest prior "
    "first. Calls models.",
)
@click.option(
    "--horizon", type=click.IntRange(0), help="With --siblings: most simulated rounds. Default: as in the search."
)
@click.option(
    "--random",
    "at_random",
    is_flag=True,
    help="ESC-Pro-Random: pair each preferred reply with one from a random non-preferred strategy. Calls a model.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Folder for journals, cache and trees with new siblings. Default: OUT-work.",
)
@with_config_options(PreferenceConfig)
@with_model_options
def preferences_command(trees: tuple[Path, ...], **options: Any) -> None:
    """Extract a preference dataset from TREES: tree files, or folders of them.

    Writes OUT/FORMAT/SPLIT.jsonl for every format, a card (OUT/README.md) and a manifest (OUT/dataset.json). Calls no
    model unless you use --siblings or --random; those runs can be resumed with the same command.
    """
    with errors_as_exits():
        run = _prepare(trees, options)
        try:
            with interruptible("Interrupted. Finished replies are kept; the same command resumes.") as interrupts:
                code = interrupts.run(run.run) if run.setup else run.run_without_models()
        except JournalMismatchError as error:
            hint = f"to ask the models again, choose another --work, or remove {run.work}"
            raise Failure(f"{error}; {hint}", BAD_INPUT) from error
    sys.exit(code)


def _prepare(trees: tuple[Path, ...], options: dict[str, Any]) -> Run:
    if options["at_random"] and options["siblings"]:
        raise ConfigError("--random and --siblings make two different datasets; give one of them")
    out: Path = options["out"]
    work = options["work"] or out.with_name(f"{out.name}-work")
    calls = options["at_random"] or options["siblings"] is not None
    files = tree_files(trees)
    return Run(
        files=files,
        out=out,
        work=work,
        stems=Counter(file.stem for file in files),
        config=PreferenceConfig(**given_config(options)),
        parts=parse_split(options["split"]),
        siblings=_siblings(options["siblings"]),
        setup=ModelSetup.from_options(options, inside(work, "cache")) if calls else None,
        options=options,
        reviews=[each for path in options["reviews"] for each in read_reviews(path)],  # before models are paid for
    )


def _siblings(value: str | None) -> int | None:
    """Most siblings of a turn; None for all."""
    if value is None or value == "all":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise ConfigError(f"--siblings is a number of 1 or more, or all, not {value!r}", field="siblings")
    return int(value)


def parse_split(value: str | None) -> dict[str, float]:
    """Fractions by name from ``train=0.9,test=0.1``.

    :raises ConfigError: for another form.
    """
    parts: dict[str, float] = {}
    for item in (value or "train=1").split(","):
        name, _, number = (piece.strip() for piece in item.partition("="))
        try:
            fraction = float(number)
        except ValueError:
            fraction = -1.0
        if not re.fullmatch(r"[A-Za-z0-9_]+", name) or name in parts or fraction < 0:
            raise ConfigError(f"a split is NAME=FRACTION,NAME=FRACTION, not {value!r}", field="split")
        parts[name] = fraction
    check_parts(parts)
    return parts


@dataclass
class Run:
    """Everything that a call of the command does."""

    files: list[Path]
    out: Path
    work: Path
    stems: Counter[str]
    config: PreferenceConfig
    parts: dict[str, float]
    siblings: int | None
    setup: ModelSetup | None
    options: dict[str, Any]
    reviews: list[Review]
    failed: int = 0
    spent: bool = False

    def run_without_models(self) -> int:
        """Extract and write; the exit code."""
        return self.write(read_trees(self.files, self.config, lenient=self.options["lenient"]))

    async def run(self) -> int:
        """Extract and write with what models have to add; the exit code."""
        assert self.setup is not None
        began = time.monotonic()
        builder = DatasetBuilder(self.config)
        sweep(inside(self.work, "trees"), ".json")
        async with AsyncExitStack() as closing:
            models = self.setup.open(closing)
            show = LiveProgress("trees", len(self.files), models.spending)
            with models.reported_when_cut_short(), show as progress:
                unreadable: list[str] = []
                for file, tree in loaded_trees(self.files, unreadable if self.options["lenient"] else None):
                    await self._generate(builder, file, tree, models, progress)
        code = self.write(builder.build(unreadable))
        for line in [models.closing_line(time.monotonic() - began), *models.cost_lines()]:
            echo(line)
        return BUDGET_SPENT if self.spent else FAILED if self.failed else code

    def _stem(self, file: Path, tree: Tree, kind: str) -> str:
        """A name for what belongs to a tree's file, unlike that of any other file of this call.

        Version 0.1 gave other names: a journal of such a name is used where it is this tree's.
        """
        digest = hashlib.sha256(str(file).encode("utf-8", "replace")).hexdigest()[:8]
        if self.stems[file.stem] == 1:
            stem, earlier = file_stem(file.stem), earlier_stem(file.stem)
        else:
            stem, earlier = digested_stem(str(file), file.stem), earlier_stem(f"{file.stem}-{digest}")
        if self._journal(stem, kind).exists():
            return stem
        return earlier if owner_of_journal(self._journal(earlier, kind), "scenario") == tree.id else stem

    def _journal(self, stem: str, kind: str) -> Path:
        return inside(self.work, f"journals/{stem}.{kind}.jsonl")

    async def _generate(
        self, builder: DatasetBuilder, file: Path, tree: Tree, models: OpenModels, progress: LiveProgress
    ) -> None:
        kind = "random" if self.options["at_random"] else "siblings"
        stem = self._stem(file, tree, kind)
        shared: dict[str, Any] = {
            "concurrency": self.options["concurrency"] or 4,
            "journal": self._journal(stem, kind),
            "on_progress": partial(progress.update, stem),
        }
        roles = models.roles(tree.domain)
        record = None
        try:
            if self.options["at_random"]:
                record, done = await random_record(tree, roles, self.config, **shared)
            else:
                probe = partial(probe_siblings, max_per_turn=self.siblings, horizon=self.options["horizon"])
                done = await probe(tree, roles, self.config, **shared)
                save_tree(tree, inside(self.work, f"trees/{stem}.json"))
        except ReplyError as error:
            self.failed += 1
            progress.done(stem, f"failed: {one_line(str(error))}")
            if record is None and self.options["at_random"]:
                return
        else:
            self.spent = self.spent or done.stop_reason is not None
            progress.done(stem, _describe(done))
        add_tree(builder, file, tree, record)

    def write(self, dataset: PreferenceDataset) -> int:
        """Write the dataset and tell what became of the trees."""
        if self.options["reviews"]:
            dataset = dataset.with_reviews(self.reviews)
        echo(str(dataset.report))
        if dataset.reviews is not None:
            echo(str(dataset.reviews))
        warn(dataset.health)
        splits = dataset.split(self.parts) if len(self.parts) > 1 else dict.fromkeys(self.parts, dataset)
        if not any(record.nodes for record in dataset.records):
            advice = "lower --theta or --min-visits, or search longer"
            raise Failure(f"no tree has a valid path, so nothing is written; {advice}")
        _tell_replaced(self.out, self.config)
        files = write_dataset(
            splits,
            self.out,
            formats=self.options["formats"] or tuple(FORMATS),
            file_type=self.options["file_type"],
            license=self.options["license"],
            subsets=self.options["subsets"],
        )
        for name, rows in files.items():
            echo(f"  {rows:6} rows  {self.out / name}")
        for reason, count in read_manifest(self.out).get("left_out", {}).items():
            echo(f"  {count:6} {reason}, left out")
        echo(f"card: {self.out / 'README.md'}")
        if self.options["hub"]:
            echo(push_to_hub(self.out, self.options["hub"]))
        return 0


def _tell_replaced(out: Path, config: PreferenceConfig) -> None:
    """Say which settings the dataset had that is replaced now, if they were others."""
    try:
        before = read_manifest(out).get("config")
    except DataError:  # there is none
        return
    now = config.model_dump(mode="json")
    known = before if isinstance(before, dict) else {}
    other = [f"{name} {one_line(str(was))}" for name, was in known.items() if name in now and now[name] != was]
    if other:
        echo(f"replacing the data in {out}, which had {', '.join(other)}; another --out keeps it", err=True)


def _describe(done: Generated) -> str:
    stop = f", stopped: {done.stop_reason}" if done.stop_reason else ""
    refused = f", {done.closed} refused" if done.closed else ""
    return f"{done.done} of {done.asked} replies, {done.replayed} from the journal{refused}{stop}"
