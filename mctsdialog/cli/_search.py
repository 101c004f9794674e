"""``mctsdialog search``: dialogues in, trees out, many at once, resuming by itself."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from mctsdialog._search import SearchConfig
from mctsdialog.cli._config_file import resolved_yaml, with_config_file
from mctsdialog.cli._costs import cost_lines, spending_parts
from mctsdialog.cli._estimate import SAMPLED, SECONDS_PER_CALL, Estimate, Sizes
from mctsdialog.cli._health import warn
from mctsdialog.cli._help import GroupedCommand
from mctsdialog.cli._measured import measured_before
from mctsdialog.cli._models import (
    ModelSetup,
    OpenModels,
    given_config,
    most_workers,
    open_worker,
    with_config_options,
    with_model_options,
)
from mctsdialog.cli._progress import LiveProgress
from mctsdialog.cli._reading import how_to_label, reading, tell_report, verbose_option, with_reading_options
from mctsdialog.cli._rewards import reward_fault
from mctsdialog.cli._text import closed_line
from mctsdialog.cli._tree import conversation
from mctsdialog.cli.exits import (
    BAD_INPUT,
    BUDGET_SPENT,
    EPILOG,
    FAILED,
    Failure,
    doctor_hint,
    errors_as_exits,
    interruptible,
)
from mctsdialog.cli.terminal import echo, show
from mctsdialog.corpus import (
    CorpusProgress,
    CorpusReport,
    Counts,
    Output,
    RayExecutor,
    TreeRecord,
    in_shard,
    parse_shard,
    search_corpus,
)
from mctsdialog.corpus._finished import finished_ids
from mctsdialog.dialogue import (
    Dialogue,
    DialogueStream,
    Domain,
    Scenario,
    stream_dialogues,
)
from mctsdialog.errors import DialogueError, JournalMismatchError
from mctsdialog.export import load_tree
from mctsdialog.export._words import stop_words
from mctsdialog.files import write_atomically
from mctsdialog.llm import Limits
from mctsdialog.text import counted, one_line

_NAMED = 10  # damaged files that are named; the summary has them all
_LINE_EVERY = 30.0  # seconds between two lines about all of it, if there is no live display


@click.command(
    "search",
    cls=GroupedCommand,
    epilog=EPILOG,
    examples="""
mctsdialog search dialogues.json --limit 2 --max-iterations 10
mctsdialog search dialogues.json --model gpt-4o-mini --price gpt-4o-mini=0.15:0.60 --max-money 5
mctsdialog search dialogues.json --model gpt-4o-mini --dry-run
mctsdialog search --config mctsdialog-output/config.yaml
""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@with_config_file
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("mctsdialog-output"),
    show_default=True,
    help="Output folder for trees, journals, settings and the reply cache.",
)
@with_reading_options
@verbose_option
@click.option("--lenient", is_flag=True, help="Skip and count malformed items instead of stopping at the first one.")
@click.option("--limit", type=click.IntRange(1), help="Search at most this many dialogues.")
@click.option("--shard", metavar="I/N", help="Search only the I-th of N parts, divided by the dialogues' ids.")
@click.option(
    "--max-failures",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Stop when more dialogues than this have failed.",
)
@click.option("--max-calls-per-tree", type=click.IntRange(1), help="Finish each tree after this many calls to roles.")
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Search on a Ray cluster: its address, 'auto' for the one this machine belongs to, or 'local'.",
)
@click.option("--ray-workers", type=click.IntRange(1), help="Worker processes on the cluster. Default: its CPUs.")
@with_model_options
@click.option(
    "--dry-run", is_flag=True, help="Estimate calls, tokens, money and time, then exit without calling a model."
)
@click.option("--restart", is_flag=True, help="Start every search over. Cached replies are still used.")
@with_config_options(SearchConfig)
@click.pass_context
def search_command(ctx: click.Context, /, files: tuple[Path, ...], **options: Any) -> None:  # fmt: skip
    """Search every dialogue of FILES and write a conversation tree for each.

    FILES contain gold dialogues in any format that 'mctsdialog inspect' recognises: JSON, JSON lines, CSV or Parquet.
    Each tree is written as JSON and GraphML. Enough trees are searched at once to keep --concurrency model calls in
    flight. If you stop a search, the same command resumes it.
    """
    with errors_as_exits():
        if options["dry_run"]:
            _estimate(files, options, dry_run=True)
            return
        run = _prepare(files, options)
        write_atomically(run.output.settings, resolved_yaml(ctx, run.config.model_dump()))
        kept = f"Everything so far is kept in {run.output.folder}"
        with interruptible(f"Interrupted. {kept}; the same command resumes.") as interrupts:
            code = interrupts.run(run.run)
    sys.exit(code)


def _estimate_command(
    files: tuple[Path, ...], seconds_per_call: float | None, dialogues: int | None, **options: Any
) -> None:
    """Estimate the calls, tokens, money and time of a search of FILES. Calls no model and writes nothing.

    The options are those of 'search'. The number of calls is an upper bound. The tokens come from the prompts for some
    of the dialogues. If --out contains finished trees, what they took is shown too: that is the better estimate.
    """
    with errors_as_exits():
        _estimate(files, options, seconds_per_call=seconds_per_call, number=dialogues)


estimate_command = GroupedCommand(
    "estimate",
    callback=_estimate_command,
    params=[
        *(each for each in search_command.params if each.name not in ("dry_run", "ray", "ray_workers", "restart")),
        click.Option(
            ["--dialogues"],
            type=click.IntRange(1),
            help="Estimate this many dialogues like those of FILES. Default: those of FILES that are not finished.",
        ),
        click.Option(
            ["--seconds-per-call"],
            type=click.FloatRange(0),
            help=f"Duration of one call, for the estimated time. 'mctsdialog doctor' measures it. Default: "
            f"{SECONDS_PER_CALL:g}, but a measured guess for the embedded model.",
        ),
    ],
    help=_estimate_command.__doc__,
    epilog=EPILOG,
    examples="""
mctsdialog estimate dialogues.json --model gpt-4o-mini --price gpt-4o-mini=0.15:0.60
mctsdialog estimate dialogues.json --max-iterations 100 --horizon 2 --seconds-per-call 2
mctsdialog estimate dialogues.json --dialogues 500
""",
)


def _estimate(
    files: Sequence[Path],
    options: dict[str, Any],
    *,
    seconds_per_call: float | None = None,
    number: int | None = None,
    dry_run: bool = False,
) -> None:
    """Print what a search takes.

    :param number: dialogues like those of the files; None for those of the files that are not finished.
    """
    shard = None if options["shard"] is None else parse_shard(options["shard"])
    output = Output(options["out"], shard)
    config = SearchConfig(**given_config(options))
    asked = {**options, "replay": True, "no_cache": False}  # which needs no key
    setup = ModelSetup.from_options(asked, output.cache)
    dialogues = Dialogues.of(files, options)
    _warn_of_rewards(dialogues, config)
    finished = finished_ids(output.folder, config, options["max_calls_per_tree"])
    left = [each for each in dialogues if in_shard(each.id, shard)]
    todo = [each for each in left if each.id not in finished]
    whole = left if number is not None else todo
    step = max(1, len(whole) // SAMPLED)
    sizes = Sizes.of([(each, dialogues.domain(each)) for each in whole[::step][:SAMPLED]], setup)
    estimate = Estimate(
        trees=len(todo) if number is None else number,
        finished=len(left) - len(todo) if number is None else 0,
        setup=setup,
        max_calls=options["max_calls"],
        seconds_per_call=seconds_per_call,
        dry_run=dry_run,
        fresh=number is not None,
        sizes=sizes,
        most=sizes.at_most(config, options["judge_samples"], options["max_calls_per_tree"]),
        measured=measured_before(output, finished),
    )
    for line in estimate.lines(output.folder):
        echo(line)


def _prepare(files: Sequence[Path], options: dict[str, Any]) -> Run:
    shard = None if options["shard"] is None else parse_shard(options["shard"])
    output = Output(options["out"], shard)
    config = SearchConfig(**given_config(options))
    setup = ModelSetup.from_options(options, output.cache)
    dialogues = Dialogues.of(files, options)
    _warn_of_rewards(dialogues, config)
    return Run(
        dialogues=dialogues,
        output=output,
        config=config,
        setup=setup,
        restart=options["restart"],
        max_failures=options["max_failures"],
        max_calls_per_tree=options["max_calls_per_tree"],
        executor=None if options["ray"] is None else _executor(options, setup, output),
    )


def _warn_of_rewards(dialogues: Dialogues, config: SearchConfig) -> None:
    """Tell before any call that another rubric needs another bias."""
    for domain in {each.name: each for each in (stream.domain for stream in dialogues.streams)}.values():
        if fault := reward_fault(domain, config.bias):
            best = domain.max_score + config.bias
            echo(
                f"Warning: with --bias {config.bias:g} the rewards in {one_line(domain.name)} are {config.bias:g} to "
                f"{best:g}: {fault}",
                err=True,
            )


def _executor(options: dict[str, Any], setup: ModelSetup, output: Output) -> RayExecutor:
    cache = (setup.cache_folder or output.cache).absolute()
    return RayExecutor(
        partial(open_worker, options, cache),
        workers=options["ray_workers"],
        max_workers=most_workers(options),
        address=options["ray"],
    )


@dataclass(frozen=True)
class Dialogues:
    """The dialogues of several files, in their order, read as they are gone through.

    :param streams: of each file.
    :param limit: most dialogues; None for all.
    """

    streams: tuple[DialogueStream, ...]
    limit: int | None
    _domains: dict[str, Domain] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Sequence[Path], options: dict[str, Any]) -> Dialogues:
        """Check all files; what was dropped is told on standard error."""
        how = reading(options)
        streams: list[DialogueStream] = []
        origins: dict[str, Path] = {}
        for file in files:
            stream = stream_dialogues(file, lenient=options["lenient"], **how)
            tell_report(file, stream.report, whole=options["verbose"] or not len(stream))
            if len(files) > 1:
                _check_ids(stream, file, origins)
            streams.append(stream)
        made = cls(tuple(streams), options["limit"])
        if not len(made):
            how_on = "".join(how_to_label(file, each, options) for file, each in zip(files, streams, strict=True))
            raise Failure(
                f"no dialogue is left to search; the counts above say what was dropped and why{how_on}", BAD_INPUT
            )
        return made

    def __len__(self) -> int:
        count = sum(map(len, self.streams))
        return count if self.limit is None else min(count, self.limit)

    def __iter__(self) -> Iterator[Dialogue]:
        return itertools.islice(self._all(), self.limit)

    def _all(self) -> Iterator[Dialogue]:
        several = any(stream.domain != self.streams[0].domain for stream in self.streams)
        for stream in self.streams:
            for dialogue in stream:
                if several:
                    self._domains[dialogue.id] = stream.domain
                yield dialogue

    def domain(self, dialogue: Scenario) -> Domain:
        """The domain of a dialogue that was gone through."""
        return self._domains.get(dialogue.id, self.streams[0].domain)


def _check_ids(stream: DialogueStream, file: Path, origins: dict[str, Path]) -> None:
    for dialogue in stream:
        if dialogue.id in origins:
            raise DialogueError(
                f"another dialogue has this id, in {origins[dialogue.id]}; give them different ids",
                file=file,
                item=dialogue.id,
                field="id",
            )
        origins[dialogue.id] = file


@dataclass(frozen=True)
class Run:
    """Everything that a call of the command does."""

    dialogues: Dialogues
    output: Output
    config: SearchConfig
    setup: ModelSetup
    restart: bool
    max_failures: int
    max_calls_per_tree: int | None
    executor: RayExecutor | None

    async def run(self) -> int:
        """Search all dialogues; the exit code."""
        began = time.monotonic()
        async with AsyncExitStack() as closing:
            models = self.setup.open(closing)
            concurrency: int | Limits = self.setup.at_once
            if self.executor is not None:
                echo("starting workers on Ray", err=True)
                await closing.enter_async_context(self.executor)
                concurrency = self.setup.at_once_with(self.executor.workers)
            report = await self._search(models, concurrency)
            seconds = time.monotonic() - began
            cost = f"{_spent(report.counts)}  {seconds:.1f} s" if self.executor else models.closing_line(seconds)
        self._summary(report, cost, cost_lines(report.counts.parts(report.prices)))
        if report.failures:
            return FAILED
        return 0 if report.complete else BUDGET_SPENT

    async def _search(self, models: OpenModels, concurrency: int | Limits) -> CorpusReport:
        display = CorpusDisplay(models, remote=self.executor is not None)
        with display.reported_when_cut_short(), display.progress:
            try:
                return await search_corpus(
                    self.dialogues,
                    lambda dialogue: models.roles(self.dialogues.domain(dialogue)),
                    self.config,
                    out=self.output.folder,
                    concurrency=concurrency,
                    shard=self.output.shard,
                    max_failures=self.max_failures,
                    max_calls_per_tree=self.max_calls_per_tree,
                    restart=self.restart,
                    meter=models.meter,
                    budget=models.budget,
                    on_progress=display.update,
                    executor=self.executor,
                )
            except JournalMismatchError as error:
                raise Failure(f"{error}. To start over, add --restart, or choose another --out", BAD_INPUT) from error

    def _summary(self, report: CorpusReport, cost: str, parts: list[str]) -> None:
        counts = [counted(report.trees, "tree"), counted(report.nodes, "node"), counted(report.ends, "end")]
        skipped = f"; {report.skipped} finished before" if report.skipped else ""
        failed = f"; {counted(len(report.failures), 'dialogue')} failed" if report.failures else ""
        left = f"; {report.not_begun} not begun ({report.stop_reason})" if report.not_begun else ""
        echo(f"\n{', '.join(counts)}{skipped}{failed}{left}")
        if report.damaged:
            more = f" and {len(report.damaged) - _NAMED} more" if len(report.damaged) > _NAMED else ""
            echo(f"{len(report.damaged)} damaged, rebuilt: {', '.join(report.damaged[:_NAMED])}{more}")
        if report.closed:
            echo(closed_line(report.closed))
        for line in [cost, *parts]:
            echo(line)
        if spent := self._spent_budget(report):
            echo(f"{spent}; the same command, with a larger budget, resumes")
        warn(report.health, self.setup.bare["judge"])
        if report.trees:
            self._best(report)
            echo(f"\nJSON and GraphML: {self.output.folder / 'trees'}; summary: {self.output.summary}")
        hint = doctor_hint(*(each.error or "" for each in report.failures))
        if hint:
            echo(hint, err=True)

    def _spent_budget(self, report: CorpusReport) -> str:
        """Which of the command's budgets ended the run, in words; "" if none did."""
        kind, _, which = (report.stop_reason or "").partition(": ")
        return budget_words(which, self.setup.budget.limits) if kind == "budget" else ""

    def _best(self, report: CorpusReport) -> None:
        """The best path of all trees, as a conversation."""
        if not report.iterations:
            echo("nothing was generated yet: the trees have no more than the dialogues they began with")
            return
        if report.best is None:
            echo("no path has reached an end yet")
            return
        tree = load_tree(self.output.tree(report.best.id))
        best = tree.best_path()
        end = best.nodes[-1]
        gold = " (the gold dialogue)" if getattr(end, "gold", False) else ""
        echo(f"\nBest path{gold}: {one_line(tree.id)}, mean Q {best.value:+.3f} over {len(best) - 1} supporter turns")
        show(conversation(tree, end, full=False))


class CorpusDisplay:
    """A run in a live display, or in plain lines: one a tree, and now and then one about all of it.

    :param models: whose spending is shown.
    :param remote: whether workers elsewhere make the calls, so that only the snapshots tell what was spent.
    """

    def __init__(self, models: OpenModels, *, remote: bool) -> None:
        self._models, self._remote = models, remote
        self._now: CorpusProgress | None = None
        self.progress = LiveProgress("trees", None, self._parts)
        self._last_line = time.monotonic()

    def update(self, now: CorpusProgress) -> None:
        """Show a snapshot."""
        self._now = now
        ended = now.done + now.skipped + now.failed
        self.progress.overall(completed=ended, total=now.total, eta=now.eta, in_progress=now.open_share)
        for record in now.ended:
            self.progress.done(record.id, describe(record, self._models.budget.limits), counted=True)
        if not self.progress.live and time.monotonic() - self._last_line >= _LINE_EVERY:
            self._last_line = time.monotonic()
            self.progress.note(self.progress.summary())

    @contextmanager
    def reported_when_cut_short(self) -> Iterator[None]:
        """Where an error or an interrupt ends the block, say what was spent until then."""
        if not self._remote:
            with self._models.reported_when_cut_short():
                yield
            return
        try:
            yield
        except BaseException:
            echo(f"Spent: {_spent(self._counts)}", err=True)
            raise

    @property
    def _counts(self) -> Counts:
        return Counts() if self._now is None else self._now.counts

    def _parts(self) -> list[str]:
        now = self._now
        pace = 0.0 if now is None else now.calls_per_second
        limits = self._models.budget.limits
        parts = spending_parts(self._counts, limits, pace) if self._remote else self._models.spending(pace)
        if now is not None:
            parts += [f"{now.open} open", f"{now.counts.in_flight} in flight"]
            parts[1:1] = [f"{now.failed} failed"] if now.failed else []
        return parts


def _spent(counts: Counts) -> str:
    money = f"  cost {counts.money:.4f}" if counts.money else ""
    return f"{counted(counts.calls, 'call')}  {counted(counts.tokens, 'token')}{money}"


def budget_words(kind: str, limits: Mapping[str, float]) -> str:
    """That a budget of the whole command is spent: "the command's budget of 4 calls is spent".

    :param limits: the budgets, by kind.
    """
    limit = limits.get(kind)
    of = {"money": f" of {limit:g} (money)", "seconds": f" of {limit:g} seconds"} if limit is not None else {}
    if limit is not None and kind in ("calls", "tokens"):
        of[kind] = f" of {counted(int(limit), kind[:-1])}"
    return f"the command's budget{of.get(kind, f' ({one_line(kind)})')} is spent"


def describe(record: TreeRecord, limits: Mapping[str, float]) -> str:
    """What became of a dialogue, in one line.

    :param limits: the command's budgets, by kind.
    """
    if record.status == "failed":
        return f"failed: {one_line(record.error or '')}"
    if record.status == "not begun":
        return "not begun"
    found = "none" if record.best is None else f"{record.best:+.3f}"
    best = f"best path {found}" if record.iterations else "nothing generated"
    closed = f", {sum(record.closed.values())} closed" if record.closed else ""
    stopped = stop_words(record.stop_reason, record.iterations)
    if record.status == "stopped":  # by a budget of the command, not by a limit of the tree
        kind = (record.stop_reason or "").partition(": ")[2]
        stopped = f"stopped after {counted(record.iterations, 'iteration')}: {budget_words(kind, limits)}"
    return f"{best}, {counted(record.nodes, 'node')}, {counted(record.ends, 'end')}{closed}, {stopped}"
