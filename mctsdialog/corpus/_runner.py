"""Searches a corpus: streams dialogues in, keeps as many trees open as the models can serve, reports what fails."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sized
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import anyio
import anyio.lowlevel
from anyio import to_thread

from mctsdialog._arguments import checked
from mctsdialog._search import SearchConfig
from mctsdialog._search.arguments import check_dialogues, checked_scenario, factory_of
from mctsdialog._search.limits import check_limits
from mctsdialog.concurrency import rare_collections
from mctsdialog.corpus._finished import FinishedIndex
from mctsdialog.corpus._output import Fingerprints, Output
from mctsdialog.corpus._pace import Pace
from mctsdialog.corpus._record import TreeRecord
from mctsdialog.corpus._report import CorpusProgress, CorpusReport, Counts
from mctsdialog.corpus._shards import checked_shard, in_shard
from mctsdialog.dialogue import ESC, Domain, Scenario
from mctsdialog.errors import (
    BudgetExceededError,
    CacheError,
    ConfigError,
    DialogueError,
    JournalMismatchError,
    MctsDialogError,
    ModelAccountError,
    ModelNotFoundError,
    ModelRefusedError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
    TooManyFailuresError,
    first_error,
)
from mctsdialog.llm import Budget, Limits, Meter
from mctsdialog.roles import Roles
from mctsdialog.tree import Tree

_log = logging.getLogger("mctsdialog.corpus")

_TICK = 1.0  # seconds between two snapshots of the progress
_PACE = 10  # ticks that calls a second are taken over
_FATAL_STATUS = (401, 403, 404)  # what refuses one dialogue refuses all


class Executor(Protocol):
    """Where searches run. The default runs them in this event loop."""

    async def search(
        self, start: Scenario, domain: Domain, config: SearchConfig, output: Output, *, restart: bool
    ) -> TreeRecord:
        """Search one dialogue into the folder; raises what the search raises."""
        ...

    async def refresh(self) -> None:
        """Bring the counts up to date; called about every second."""
        ...

    def counts(self) -> Counts | None:
        """What its model calls have cost so far; None leaves it to the run's own meter."""
        ...

    def removed(self) -> Mapping[str, Mapping[str, int]]:
        """By role, what was taken out of its utterances, and how often; empty if that is not known here."""
        ...


@checked("dialogues", "roles_factory")
async def search_corpus(
    dialogues: Iterable[Scenario] | AsyncIterable[Scenario],
    roles_factory: Callable[[Scenario], Roles] | Roles,
    config: SearchConfig | None = None,
    *,
    out: str | Path,
    concurrency: int | Limits = 8,
    shard: tuple[int, int] | None = None,
    max_failures: int | None = 20,
    max_calls_per_tree: int | None = None,
    restart: bool = False,
    meter: Meter | None = None,
    budget: Budget | None = None,
    on_progress: Callable[[CorpusProgress], object] | None = None,
    on_tree: Callable[[str, Tree], object] | None = None,
    executor: Executor | None = None,
) -> CorpusReport:
    """Search many dialogues into one folder. Call it again to resume.

    Dialogues are read one by one as trees are opened. A tree that is finished with the same dialogue, domain, settings
    and roles is skipped, and an unfinished one resumes from its journal. ``concurrency`` divided by
    ``config.parallelism`` trees are open at a time. Models that share :class:`~mctsdialog.llm.Limits` serve calls in
    the order they arrive, so every open tree makes progress.

    While it runs, ``progress.json`` is updated about every second. To stop the run cleanly from outside, create a file
    named ``stop`` in the folder: finished work is kept, and the same call resumes.

    :param dialogues: dialogues or scenarios with unique ids; :func:`~mctsdialog.dialogue.stream_dialogues` reads a
        file of any size.
    :param roles_factory: a function that returns the roles for a dialogue, with the dialogue's ``domain``; or one set
        of roles for all.
    :param config: the settings of every search.
    :param out: the output folder: ``trees``, ``journals``, ``finished.jsonl`` and ``summary.json``.
    :param concurrency: model calls to keep in flight over all trees, 1 or more; or the models' shared limits, whose
        current number is used.
    :param shard: (i, n) searches only the i-th of n parts, divided by id. Several machines may share ``out``.
    :param max_failures: stop if more dialogues than this fail; None for no limit. Dialogues that models refuse to begin
        do not count.
    :param max_calls_per_tree: finish each tree after this many calls to roles; None for no limit. No trial starts that
        could need more. Calls of earlier, interrupted runs count, except those of trials that did not finish.
    :param restart: start every search over.
    :param meter: the meter passed to ``build_stack(meter=)``, for progress and summary.
    :param budget: the models' budget, for progress. A spent budget ends the run cleanly and keeps everything.
    :param on_progress: called about every second, and whenever a tree ends.
    :param on_tree: called with the dialogue's id and the tree after each iteration, if searches run in this loop.
    :param executor: runs the searches elsewhere, such as on a Ray cluster.
    :returns: the report, which is also written to ``summary.json`` however the run ends.
    :raises TooManyFailuresError: if more dialogues than ``max_failures`` failed.
    :raises ModelAccountError: if the server would reject every request: a wrong key, no credit, no such model.
    :raises ModelUnavailableError: if nothing listens at the server's address, after a few attempts.
    :raises ModelResponseError: if something other than a model answers there, such as a web page.
    :raises JournalMismatchError: if a journal has other settings, roles or another domain; ``restart`` starts over.
    :raises JournalError: if another run is using the folder.
    :raises DialogueError: for a repeated id.
    :raises ConfigError: for a value out of range.
    :raises OSError: if a file cannot be written.
    """
    check_dialogues(dialogues)
    roles_factory = factory_of(roles_factory)
    if not isinstance(concurrency, Limits) and concurrency < 1:
        raise ConfigError(f"concurrency must be at least 1, not {concurrency}", field="concurrency")
    if max_failures is not None and max_failures < 0:
        raise ConfigError(f"max_failures must be 0 or more, not {max_failures}", field="max_failures")
    config = config or SearchConfig()
    check_limits(None, max_calls_per_tree, config)
    output = Output(Path(out), None if shard is None else checked_shard(shard), max_calls_per_tree)
    pace = Pace()
    run = _Run(
        config=config,
        output=output,
        roles_factory=roles_factory,
        executor=executor or _InProcess(roles_factory, on_tree, pace),
        pace=pace if executor is None else None,
        concurrency=concurrency,
        max_failures=max_failures,
        restart=restart,
        total=_total(dialogues, output.shard),
        meter=meter,
        budget=budget,
        on_progress=on_progress or (lambda progress: None),
    )
    with FinishedIndex(output) as index, rare_collections():
        return await run.run(dialogues, index)


class Countdown:
    """Estimates the time left if only the ends of trees are known: it counts down until the next one."""

    def __init__(self) -> None:
        self._finished, self._at = 0, 0.0

    def to_end(self, seconds: float, finished: int, left: int) -> float | None:
        """Seconds to the end, ``seconds`` after the beginning; None before a tree has ended, or if one is overdue."""
        if not left:
            return 0.0
        if not finished:
            return None
        if finished != self._finished:
            self._finished, self._at = finished, seconds
        end = self._at * (1 + left / finished)
        return end - seconds if end > seconds else None


class _InProcess:
    """Runs searches in this event loop."""

    def __init__(
        self,
        roles_factory: Callable[[Scenario], Roles],
        on_tree: Callable[[str, Tree], object] | None,
        pace: Pace,
    ) -> None:
        self._roles_factory, self._pace = roles_factory, pace
        self._on_tree = on_tree
        self._removed: dict[int, tuple[str, Counter[str]]] = {}  # several searches may share a role

    async def search(
        self, start: Scenario, domain: Domain, config: SearchConfig, output: Output, *, restart: bool
    ) -> TreeRecord:
        show, roles = self._on_tree, self._roles_factory(start)
        progress = None if show is None else lambda tree: show(start.id, tree)
        try:
            return await output.search(
                start,
                roles,
                config,
                restart=restart,
                on_progress=progress,
                on_share=lambda share: self._pace.came_to(start.id, share),
            )
        finally:
            self._removed.update({id(kinds): (role, kinds) for role, kinds in roles.removed.items()})

    async def refresh(self) -> None:
        pass

    def counts(self) -> Counts | None:
        return None

    def removed(self) -> dict[str, Counter[str]]:
        """What was taken out of utterances, by role."""
        found: dict[str, Counter[str]] = {}
        for role, kinds in self._removed.values():
            found.setdefault(role, Counter()).update(kinds)
        return found


class _Run:
    """One call of :func:`search_corpus`."""

    def __init__(
        self,
        *,
        config: SearchConfig,
        output: Output,
        roles_factory: Callable[[Scenario], Roles],
        executor: Executor,
        pace: Pace | None,
        concurrency: int | Limits,
        max_failures: int | None,
        restart: bool,
        total: int | None,
        meter: Meter | None,
        budget: Budget | None,
        on_progress: Callable[[CorpusProgress], object],
    ) -> None:
        self._config, self._output, self._executor = config, output, executor
        self._roles_factory = roles_factory
        self._concurrency, self._max_failures, self._restart = concurrency, max_failures, restart
        self._meter, self._budget = meter, budget
        self._total, self._on_progress = total, on_progress
        self._report = CorpusReport(output.folder, output.shard, config.model_dump())
        self._report.prices = {} if budget is None else budget.prices
        self._fingerprints = Fingerprints(config, output.max_calls)
        self._open = 0
        self._trees: anyio.CancelScope | None = None
        self._last: CorpusProgress
        self._changed = anyio.Event()
        self._ended: list[TreeRecord] = []
        self._began = time.monotonic()
        self._before = self._counts()
        self._was_busy = False
        self._calls: deque[tuple[float, int]] = deque(maxlen=_PACE + 1)
        self._pace, self._countdown = pace, Countdown()

    async def run(self, dialogues: Iterable[Scenario] | AsyncIterable[Scenario], index: FinishedIndex) -> CorpusReport:
        """Search all; the report is written in whatever way it ends."""
        report = self._report
        report.damaged = index.damaged
        self._output.stop.unlink(missing_ok=True)  # of an earlier run
        try:
            async with anyio.create_task_group() as watch:
                watch.start_soon(self._tick)
                async with anyio.create_task_group() as trees, aclosing(self._left(dialogues, index)) as left:
                    self._trees = trees.cancel_scope
                    async for start, domain, fingerprint in left:
                        await self._wait_for_slot()
                        if report.stop_reason:
                            break
                        self._open += 1
                        trees.start_soon(self._search, start, domain, fingerprint, index)
                await self._executor.refresh()
                watch.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = first_error(group)
            report.stop_reason = f"{type(error).__name__}: {error}"
            raise error from None
        except BaseException:
            report.stop_reason = "interrupted"
            raise
        finally:
            report.seconds, report.counts = time.monotonic() - self._began, self._spent()
            report.removed = self._executor.removed()
            if self._total is not None:
                report.not_begun = max(0, self._total - report.trees - len(report.failures))
            report.write(self._output.summary)
            self._output.progress.unlink(missing_ok=True)
            self._show()
        return report

    async def _left(
        self, dialogues: Iterable[Scenario] | AsyncIterable[Scenario], index: FinishedIndex
    ) -> AsyncGenerator[tuple[Scenario, Domain, str], None]:
        """The dialogues of the shard that are not finished, with their domains and fingerprints."""
        seen: set[int] = set()
        async with aclosing(_each(dialogues)) as all_of_them:
            async for start in all_of_them:
                if not in_shard(start.id, self._output.shard):
                    continue
                if hash(start.id) in seen:
                    message = "another dialogue has this id; give them different ids"
                    raise DialogueError(message, item=start.id or "a dialogue without an id", field="id")
                seen.add(hash(start.id))
                roles = self._roles_factory(start)
                domain = roles.domain or ESC
                self._report.roles.setdefault(domain.name, dict(roles.provenance))
                fingerprint = self._fingerprints.of(start, roles)
                record = None
                if start.id in index and not self._restart:
                    former = self._fingerprints.of(start, roles.with_prompts(1))  # of version 0.1
                    for each in dict.fromkeys((fingerprint, former)):
                        record = await to_thread.run_sync(index.find, start.id, each)
                        if record is not None:
                            break
                if record is None:
                    yield start, domain, fingerprint
                else:
                    self._report.add(replace(record, status="skipped"))
                    await anyio.lowlevel.checkpoint()

    async def _wait_for_slot(self) -> None:
        """Wait until another tree is wanted: as many as fill the calls that may be under way."""
        while not self._report.stop_reason:
            limit = self._concurrency if isinstance(self._concurrency, int) else self._concurrency.concurrency
            wanted = math.inf if limit is None else math.ceil(limit / self._config.parallelism)
            if self._open < wanted:
                return
            with anyio.move_on_after(_TICK):  # the limit may change meanwhile
                await self._changed.wait()

    async def _search(self, start: Scenario, domain: Domain, fingerprint: str, index: FinishedIndex) -> None:
        try:
            record = await self._searched(start, domain)
            if record.status == "done":
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(index.add, record, fingerprint)
        finally:
            self._open -= 1
            self._changed.set()
            self._changed = anyio.Event()
        self._take(record)

    async def _searched(self, start: Scenario, domain: Domain) -> TreeRecord:
        """What became of a dialogue; raises what ends the run."""
        try:
            return await self._executor.search(start, domain, self._config, self._output, restart=self._restart)
        except BudgetExceededError as error:
            self._report.stop_reason = f"budget: {error.kind}"
            return TreeRecord(start.id, "not begun")
        except Exception as error:
            if _is_fatal(error):
                raise
            if not isinstance(error, MctsDialogError):
                _log.exception("%s: its search failed", start.id)
            advice = f"; {_EDITED}" if isinstance(error, JournalMismatchError) else ""
            closed = {error.closure: 1} if isinstance(error, ModelRefusedError) else {}
            return TreeRecord(start.id, "failed", error=f"{type(error).__name__}: {error}{advice}", closed=closed)

    def _take(self, record: TreeRecord) -> None:
        if record.status == "stopped":
            self._report.stop_reason = record.stop_reason
        self._report.add(record)
        self._ended.append(record)
        if self._pace is not None:
            self._pace.ended(record.id, done=record.status == "done")
        self._show()
        failed = sum(not each.closed for each in self._report.failures)  # a refusal says nothing of the others
        if self._max_failures is not None and failed > self._max_failures:
            error = TooManyFailuresError(failed, limit=self._max_failures, last=record.error or "")
            self._report.stop_reason = f"{type(error).__name__}: {error}"  # no other tree is begun meanwhile
            raise error

    # -- progress --------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await self._executor.refresh()
            self._sample()
            self._show()
            # Shielded: else a thread would write it after it was removed. A run outlasts that it cannot be written.
            with anyio.CancelScope(shield=True), suppress(OSError):
                await to_thread.run_sync(self._last.write, self._output.progress)
            if self._trees is not None and self._output.stop.exists():
                self._report.stop_reason = "stopped"
                self._trees.cancel()
            await anyio.sleep(_TICK)

    def _sample(self) -> None:
        """Note how many calls were made, and how far the trees are."""
        now, counts = time.monotonic(), self._counts()
        if self._pace is not None:
            made = not self._calls or counts.calls != self._calls[-1][1]
            self._pace.sample(now - self._began, paid=self._meter is None or made or self._was_busy)
        self._was_busy = counts.in_flight > 0
        self._calls.append((now, counts.calls))

    def _time_left(self, seconds: float, finished: int) -> float | None:
        if self._total is None:
            return None
        left = self._total - finished - self._report.skipped
        return self._countdown.to_end(seconds, finished, left) if self._pace is None else self._pace.to_end(left)

    def _show(self) -> None:
        report, seconds = self._report, time.monotonic() - self._began
        ended, self._ended = tuple(self._ended), []
        finished = report.done + report.stopped + len(report.failures)
        self._last = CorpusProgress(
            total=self._total,
            done=report.done,
            skipped=report.skipped,
            failed=len(report.failures),
            open=self._open,
            seconds=seconds,
            calls_per_second=self._calls_per_second(),
            eta=self._time_left(seconds, finished),
            counts=self._spent(),
            ended=ended,
            open_share=0.0 if self._pace is None else self._pace.open_share,
        )
        self._on_progress(self._last)

    def _calls_per_second(self) -> float:
        if len(self._calls) < 2:
            return 0.0
        (first, before), (last, now) = self._calls[0], self._calls[-1]
        return (now - before) / (last - first)

    def _counts(self) -> Counts:
        found = self._executor.counts()
        if found is not None:
            return found
        return Counts.of(self._meter, self._budget)

    def _spent(self) -> Counts:
        """What this run alone has cost."""
        return self._counts().since(self._before)


_EDITED = "the dialogue was edited after its search began: undo that, give it another id, or restart"


def _is_fatal(error: Exception) -> bool:
    """Whether every other tree would fail in the same way."""
    if isinstance(error, ModelRequestError):
        return isinstance(error, ModelAccountError) or error.status in _FATAL_STATUS
    if isinstance(error, ModelUnavailableError | ModelResponseError):
        return error.lasting
    if isinstance(error, JournalMismatchError):  # an edited dialogue is its own tree's matter alone
        return not error.differences or not all(field.startswith("dialogue") for field in error.differences)
    return isinstance(error, ModelNotFoundError | CacheError | ConfigError | OSError)


def _total(dialogues: object, shard: tuple[int, int] | None) -> int | None:
    """How many there are, where that can be told without using them up."""
    if not isinstance(dialogues, Sized) or not isinstance(dialogues, Iterable):
        return None
    return len(dialogues) if shard is None else sum(in_shard(start.id, shard) for start in dialogues)


async def _each(dialogues: Iterable[Scenario] | AsyncIterable[Scenario]) -> AsyncGenerator[Scenario, None]:
    if isinstance(dialogues, AsyncIterable):
        async for start in dialogues:
            yield checked_scenario(start)
    else:
        for start in dialogues:
            yield checked_scenario(start)
