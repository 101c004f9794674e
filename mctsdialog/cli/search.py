"""``mctsdialog search``: dialogues in, trees out, one after another, resuming by itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import click

from mctsdialog.cli.exits import BAD_INPUT, BUDGET_SPENT, EPILOG, FAILED, INTERRUPTED, Failure, errors_as_exits
from mctsdialog.cli.models import ModelSetup, OpenModels, given_config, with_config_options, with_model_options
from mctsdialog.cli.progress import LiveProgress, TreeProgress
from mctsdialog.cli.text import conversation_lines, file_stem, one_line
from mctsdialog.dialogue import Dialogue, Domain, domains, named_domain, read_dialogues
from mctsdialog.errors import BudgetExceededError, DialogueError, JournalMismatchError, ReplyError
from mctsdialog.export import save_graphml, save_tree
from mctsdialog.search import SearchConfig, search
from mctsdialog.tree import Tree


@dataclass(frozen=True)
class Job:
    """One dialogue to search, its domain, and the stem of its files."""

    dialogue: Dialogue
    domain: Domain
    stem: str


@dataclass(frozen=True)
class Output:
    """The output folder: ``trees``, ``journals`` and ``cache`` in it."""

    folder: Path

    def tree(self, job: Job) -> Path:
        """The tree's JSON file; its GraphML stands beside it."""
        return self.folder / "trees" / f"{job.stem}.json"

    def journal(self, job: Job) -> Path:
        """The journal that a search goes on from."""
        return self.folder / "journals" / f"{job.stem}.jsonl"

    @property
    def cache(self) -> Path:
        """The cache of replies."""
        return self.folder / "cache"


@click.command("search", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("mctsdialog-output"),
    show_default=True,
    help="Folder for trees, journals and the cache of replies.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "extes", "esconv", "chat"]),
    default="auto",
    show_default=True,
    help="Format of FILES.",
)
@click.option(
    "--domain",
    "domain_name",
    metavar="NAME|FILE",
    help=f"Domain: {', '.join(domains())}, or a JSON file. By default the format's own.",
)
@click.option("--lenient", is_flag=True, help="Count malformed items and go on, instead of stopping at the first.")
@click.option("--limit", type=click.IntRange(1), help="Search at most this many dialogues.")
@with_model_options
@click.option("--restart", is_flag=True, help="Start every search anew; replies in the cache are still used.")
@with_config_options(SearchConfig)
def search_command(files: tuple[Path, ...], **options: Any) -> None:  # fmt: skip
    """Search every dialogue of FILES and write a conversation tree of each.

    FILES hold gold dialogues in ExTES's or ESConv's raw JSON, or a conversation a line in JSONL. A tree is written
    as JSON and GraphML. What is done is kept: the same command again goes on where it stopped.
    """
    with errors_as_exits():
        run = _prepare(files, options)
        try:
            code = anyio.run(run.go)
        except KeyboardInterrupt:
            click.echo(
                f"\nInterrupted. Everything so far is kept in {run.output.folder}; the same command goes on.", err=True
            )
            code = INTERRUPTED
    sys.exit(code)


def _prepare(files: Sequence[Path], options: dict[str, Any]) -> Run:
    output = Output(options["out"])
    config = SearchConfig(**given_config(options))
    setup = ModelSetup.from_options(options, output.cache)
    return Run(jobs=_jobs(files, options), output=output, config=config, setup=setup, restart=options["restart"])


def _jobs(files: Sequence[Path], options: dict[str, Any]) -> list[Job]:
    """The dialogues of all files; what was dropped is told on standard error."""
    name = options["domain_name"]
    domain = None if name is None else named_domain(name)
    jobs: list[Job] = []
    origins: dict[str, Path] = {}
    for file in files:
        dialogues = read_dialogues(file, format=options["form"], domain=domain, lenient=options["lenient"])
        click.echo(f"{file}: {dialogues.report}", err=True)
        for dialogue in dialogues:
            stem = file_stem(dialogue.id)
            if stem in origins:
                raise DialogueError(
                    f"another dialogue has this id, in {origins[stem]}; give them different ids",
                    file=file,
                    item=dialogue.id,
                    field="id",
                )
            origins[stem] = file
            jobs.append(Job(dialogue, dialogues.domain, stem))
    if not jobs:
        raise Failure("no dialogue is left to search; the counts above say what was dropped and why", BAD_INPUT)
    return jobs[: options["limit"]]


@dataclass(frozen=True)
class Run:
    """Everything that a call of the command does."""

    jobs: list[Job]
    output: Output
    config: SearchConfig
    setup: ModelSetup
    restart: bool

    async def go(self) -> int:
        """Search all dialogues; the exit code."""
        began = time.monotonic()
        trees: list[Tree] = []
        failed = 0
        async with AsyncExitStack() as closing:
            models = self.setup.open(closing)
            with LiveProgress("dialogues", len(self.jobs), models.cost) as progress:
                for job in self.jobs:
                    progress.begin(job.stem, self.config.max_iterations)
                    try:
                        tree = await self._search(job, models, progress)
                    except (ReplyError, DialogueError) as error:
                        failed += 1
                        progress.done(f"{job.stem}: failed: {one_line(str(error))}")
                        continue
                    except BudgetExceededError as error:
                        progress.done(f"{job.stem}: not begun: {error}")
                        break
                    trees.append(tree)
                    progress.done(f"{job.stem}: {describe(tree)}")
                    if tree.stop_reason and tree.stop_reason.startswith("budget"):
                        break
        self._summary(trees, failed, models.closing_line(time.monotonic() - began))
        if failed:
            return FAILED
        spent = len(trees) < len(self.jobs) or any((tree.stop_reason or "").startswith("budget") for tree in trees)
        return BUDGET_SPENT if spent else 0

    async def _search(self, job: Job, models: OpenModels, progress: LiveProgress) -> Tree:
        journal = self.output.journal(job)
        if self.restart:
            journal.unlink(missing_ok=True)
        show = TreeProgress(progress).update
        roles = models.roles(job.domain)
        try:
            tree = await search(job.dialogue, roles, self.config, journal=journal, on_progress=show)
        except JournalMismatchError as error:
            raise Failure(f"{error}. To search anew, add --restart, or choose another --out", BAD_INPUT) from error
        save_tree(tree, self.output.tree(job))
        save_graphml(tree, self.output.tree(job).with_suffix(".graphml"))
        return tree

    def _summary(self, trees: list[Tree], failed: int, cost: str) -> None:
        nodes, ends = sum(len(tree) for tree in trees), sum(tree.ends for tree in trees)
        click.echo(
            f"\n{len(trees)} trees, {nodes} nodes, {ends} ends" + (f"; {failed} dialogues failed" if failed else "")
        )
        click.echo(cost)
        if trees:
            _best_of(trees)
            click.echo(f"\nJSON and GraphML: {self.output.folder / 'trees'}")


def _best_of(trees: list[Tree]) -> None:
    """The best path of the tree that has the best one, as a conversation."""
    paths = [(best[1], tree, best[0]) for tree in trees if (best := tree.best_path()) is not None]
    if not paths:
        click.echo("no path has reached an end yet")
        return
    value, tree, path = max(paths, key=lambda found: found[0])
    gold = " (the gold dialogue)" if getattr(path[-1], "gold", False) else ""
    click.echo(f"\nBest path{gold}: {one_line(tree.id)}, mean Q {value:+.3f} over {len(path) - 1} supporter turns")
    for line in conversation_lines(tree, path[-1], 96):
        click.echo(f"  {line}")


def describe(tree: Tree) -> str:
    """A tree in one line."""
    best = tree.best_path()
    value = "none" if best is None else f"{best[1]:+.3f}"
    return (
        f"{tree.iterations} iterations, {len(tree)} nodes, {tree.ends} ends, best path {value}, "
        f"stopped: {tree.stop_reason}"
    )
