"""Searching one dialogue from its start to its stop, with a journal where one is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mctsdialog._arguments import checked
from mctsdialog._search.arguments import check_roles, check_start
from mctsdialog._search.header import open_journal, roles_for
from mctsdialog._search.limits import LimitedTrials, check_limits
from mctsdialog._search.scheduler import PlanningLimits
from mctsdialog._search.seeding import GoldPath, GoldTurn, Start
from mctsdialog._search.simulate import CheckedRoles, History, can_rejudge, read_outcome
from mctsdialog._settings import lasting
from mctsdialog.algorithms._base import Algorithm
from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.algorithms._trial import OUTCOMES, Closure, Growth, Outcome, Trial, record_calls, record_type
from mctsdialog.concurrency import for_each
from mctsdialog.dialogue import ESC, Domain, Scenario, Turn, get_domain
from mctsdialog.errors import BudgetExceededError, JournalError, ModelRefusedError, TreeError, TrialError
from mctsdialog.journal import Journal
from mctsdialog.roles import Roles, checked_scores, checked_text
from mctsdialog.tree import Tree


@checked("start", "roles", "config")
async def search(
    start: Scenario,
    roles: Roles,
    config: SearchConfig | None = None,
    *,
    domain: Domain | str | None = None,
    journal: str | Path | None = None,
    max_seconds: float | None = None,
    max_calls: int | None = None,
    on_progress: Callable[[Tree], object] | None = None,
) -> Tree:
    """Search one dialogue and return its conversation tree (paper section 3.1).

    :param start: a :class:`~mctsdialog.Dialogue` with gold turns, or a :class:`~mctsdialog.Scenario`, in which
        the seeker speaks first.
    :param roles: seeker, supporter, strategist and judge.
    :param config: the search settings. Default: the paper's.
    :param domain: a domain (strategies and rubric) or the name of a built-in one. Default: the roles' domain, else ESC,
        emotional support.
    :param journal: file of the journal. If it exists, the search resumes from it; finished trials are not repeated.
    :param max_seconds: stop this many seconds after the first trial started. Trials in progress are cancelled.
    :param max_calls: most calls to roles, including those for a gold dialogue's turns. No trial starts that could need
        more. Both limits apply to this call only and stop the search cleanly, like a spent budget.
    :param on_progress: called with the tree at the start and after every iteration. It must not change the tree.
    :returns: the tree, with ``stop_reason`` set. A spent budget stops the search cleanly and keeps everything.
    :raises ConfigError: for a list or path instead of a dialogue, a model instead of roles, or limits too small for one
        trial.
    :raises DialogueError: for a gold turn without a strategy of the domain.
    :raises ReplyError: if a role's reply stays unusable after retries.
    :raises ModelError: if a model call fails for good. If a model refuses a branch (ModelRefusedError), the branch is
        closed and the search continues; only a seeker that refuses its first words raises.
    :raises JournalError: if the journal cannot be used or belongs to another search.
    :raises BudgetExceededError: only if the budget is spent before there is a tree.

    After an error, call a search with a journal again to resume it.
    """
    tree, _ = await search_within(
        start,
        roles,
        config,
        domain=domain,
        journal=journal,
        max_seconds=max_seconds,
        max_calls=max_calls,
        on_progress=on_progress,
    )
    return tree


async def search_within(
    start: Scenario,
    roles: Roles,
    config: SearchConfig | None = None,
    *,
    domain: Domain | str | None = None,
    journal: str | Path | None = None,
    max_seconds: float | None = None,
    max_calls: int | None = None,
    on_progress: Callable[[Tree], object] | None = None,
    over_resumes: bool = False,
    on_share: Callable[[float], object] = lambda share: None,
) -> tuple[Tree, bool]:
    """The tree of :func:`search`, and whether its own ``max_calls`` or ``max_seconds`` ended it.

    :param over_resumes: whether the calls for what the journal has count towards ``max_calls``, too.
    :param on_share: called as ``on_progress`` is, with how far the search is, 0 to 1.
    """
    check_start(start)
    check_roles(roles, config)
    config = config or SearchConfig()
    check_limits(max_seconds, max_calls, config)
    domain = get_domain(domain) if isinstance(domain, str) else domain or roles.domain or ESC
    begin = Start.of(start, domain)
    roles, prompts = roles_for(journal, roles)
    header = {
        "dialogue": _adapter(type(start)).dump_python(start, mode="json"),
        "domain": lasting(domain),
        "config": config.defining(),
        "roles": dict(roles.provenance),
        **prompts,
    }
    new_roles = partial(CheckedRoles, roles.bind(begin.scenario), domain)
    players, limited = new_roles(), False
    with open_journal(journal, header) if journal is not None else nullcontext() as log:
        tape = Tape(log, domain)
        tree = Tree(begin.scenario, domain, await _opening(begin, players, tape))
        tree.config, tree.roles = config.recorded(), dict(roles.provenance if log is None else log.roles)
        algorithm = config.kind(tree, config, max_calls=max_calls, can_rejudge=can_rejudge(roles))
        try:
            await _seed(algorithm, begin, players, tape)
            trials = LimitedTrials(
                algorithm, new_roles, max_calls=max_calls, max_seconds=max_seconds, calls=players.calls
            )
            show = on_progress or (lambda tree: None)

            def progressed(tree: Tree) -> None:
                show(tree)
                on_share(trials.share)

            limited = await _iterate(algorithm, trials, tape, progressed, over_resumes)
        except BudgetExceededError as spent:
            tree.stop_reason = f"budget: {spent.kind}"
        algorithm.finish()
    return tree, limited


@lru_cache
def _adapter(kind: type[Scenario]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)  # slow to make


async def _iterate(
    algorithm: Algorithm,
    trials: LimitedTrials,
    tape: Tape,
    on_progress: Callable[[Tree], object],
    over_resumes: bool,
) -> bool:
    """Run the trials; whether a limit of this search ended them."""
    tree, config = algorithm.tree, algorithm.config
    known: dict[int, tuple[int, Outcome]] = {}
    limits: dict[int, PlanningLimits] = {}
    if config.deterministic:
        known, limits = tape.trials()
        if algorithm.plans_by_limits:
            tape.plan_by(PlanningLimits(config.max_iterations, algorithm.max_calls), known, limits)
    else:
        tape.replay(algorithm)
    if over_resumes:
        trials.count(tape.calls, tape.trial_calls)
    on_progress(tree)
    try:
        reason = await trials.run(
            on_outcome=tape.write_trial,
            on_growth=tape.write_growth,
            on_commit=lambda: on_progress(tree),
            known=known,
            limits=limits,
        )
    except TrialError as error:
        if not known:
            raise
        raise tape.error(f"a trial on it does not fit the tree: {error}") from error
    limited = reason in ("seconds", "calls")
    tree.stop_reason = f"budget: {reason}" if limited else reason
    return limited


async def _opening(start: Start, players: CheckedRoles, tape: Tape) -> tuple[Turn, ...]:
    """The root's turns: the dialogue's own, or the seeker is asked to speak first."""
    if start.opening and start.opening[-1].speaker == "seeker":
        return start.opening
    record = tape.next("opening")
    if record is None:
        record = {"type": "opening", "seeker": await players.open(History.of(start.opening))}
        tape.write(record)
    return (*start.opening, Turn("seeker", tape.text(record, "seeker")))


async def _seed(algorithm: Algorithm, start: Start, players: CheckedRoles, tape: Tape) -> None:
    """Lay the gold dialogue into the tree; the strategist scores every gold turn on the history so far.

    Where it refuses a turn, the node before it is closed, and the search has the gold turns up to there.
    """
    gold, path = start.gold, GoldPath(algorithm, start.gold)
    histories = _gold_histories(algorithm.tree.history(algorithm.tree.root), gold)
    scores, refused = tape.gold_scores()

    async def score(turn: int) -> None:
        if turn not in scores and turn not in refused and turn < min(refused, default=len(gold)):
            try:
                scores[turn] = await players.scores(histories[turn])
                tape.write({"type": "gold", "turn": turn, "scores": scores[turn]})
            except ModelRefusedError as error:
                refused[turn] = error.closure
                tape.write({"type": "gold", "turn": turn, "closed": refused[turn]})
        path.lay(scores)

    await for_each(range(len(gold)), score, concurrency=algorithm.config.parallelism)
    path.close(refused)


def _gold_histories(opening: tuple[Turn, ...], gold: tuple[GoldTurn, ...]) -> list[History]:
    """The conversation before each gold supporter turn."""
    history, found = History.of(opening), []
    for turn in gold:
        found.append(history)
        history = history.supported(turn.exchange.supporter, turn.strategy)
        if turn.exchange.seeker is not None:
            history = history.answered(turn.exchange.seeker)
    return found


class Tape:
    """The journal as the search sees it: first what is on it, then what is written."""

    def __init__(self, journal: Journal | None, domain: Domain, *, path: Path | None = None) -> None:
        self._journal = journal
        self._path = path if journal is None else journal.path
        self._domain = domain
        self._records = deque(journal.records if journal else ())
        self.calls = 0
        """Calls to roles for the records that were read, but for those of :attr:`trial_calls`."""
        self.trial_calls: dict[int, int] = {}
        """Those for the trials of a deterministic search, by number."""
        if journal:
            journal.drop_records()

    def next(self, kind: str) -> dict[str, Any] | None:
        """The next record, or None at the end of the tape.

        :raises JournalError: if it is of another kind.
        """
        if not self._records:
            return None
        if self._records[0].get("type") != kind:
            raise self.error(f"a record of type {kind!r} is missing")
        self.calls += 1
        return self._records.popleft()

    def add(self, record: dict[str, Any]) -> None:
        """Put one more record behind those that are still to be read."""
        self._records.append(record)

    def gold_scores(self) -> tuple[dict[int, dict[str, float]], dict[int, str]]:
        """The strategist's scores by gold turn, and with what it refused others.

        :raises JournalError: for a record without either.
        """
        found: dict[int, dict[str, float]] = {}
        refused: dict[int, str] = {}
        while self._records and self._records[0].get("type") == "gold":
            record = self._records.popleft()
            self.calls += 1
            with self._read("a gold turn"):
                turn = _number(record, "turn")
                if "closed" in record:
                    refused[turn] = Closure.from_dict({"reason": record["closed"]}).reason
                else:
                    found[turn] = checked_scores(record.get("scores"), self._domain.strategies)
        return found, refused

    def replay(self, algorithm: Algorithm) -> None:
        """Commit the growths and trials that are on the tape, in its order."""
        grown: dict[int, int] = {}  # calls by leaf; those of a trial that ended include them
        while self._records:
            if self._records[0].get("type") == "growth":
                growth = self._records.popleft()
                with self._read("a growth"):
                    found = Growth.from_dict(growth)
                    checked_scores(found.scores, self._domain.strategies)
                    leaf = _number(growth, "leaf")
                    grown[leaf] = record_calls(growth)
                    algorithm.replay_growth(leaf, found)
            else:
                kind = self._kind()
                (leaf, outcome), calls = self._trial()[1:]
                grown.pop(leaf, None)
                self.calls += calls
                with self._read("a trial"):
                    algorithm.replay(kind, leaf, outcome)
        self.calls += sum(grown.values())

    def trials(self) -> tuple[dict[int, tuple[int, Outcome]], dict[int, PlanningLimits]]:
        """(leaf, outcome) by number of the trials on the tape, and by number the limits that hold from a trial on."""
        found, limits = {}, {}
        while self._records:
            if self._records[0].get("type") == "limits":
                record = self._records.popleft()
                with self._read("limits"):
                    calls = None if record.get("max_calls") is None else _number(record, "max_calls")
                    limits[_number(record, "number")] = PlanningLimits(_number(record, "max_iterations"), calls)
            else:
                number, found[number], self.trial_calls[number] = self._trial()
        return found, limits

    def plan_by(self, now: PlanningLimits, known: Mapping[int, object], limits: dict[int, PlanningLimits]) -> None:
        """Have limits hold for all trials after the known ones, if other ones held before."""
        if limits and limits[max(limits)] == now:
            return
        number = max(known, default=-1) + 1
        limits[number] = now
        self.write({"type": "limits", "number": number, **now._asdict()})

    def _kind(self) -> str:
        """The kind of the next trial; a closure names the trial's, if it is not one of the paper's search."""
        record = self._records[0]
        kind = record.get("kind", "trial") if record.get("type") == "closed" else record.get("type")
        if not isinstance(kind, str) or kind not in OUTCOMES:
            raise self.error(f"a trial is missing, or is of the unknown kind {kind!r:.40}")
        return kind

    def _trial(self) -> tuple[int, tuple[int, Outcome], int]:
        """Number, leaf and outcome, and calls of the next trial."""
        self._kind()
        record = self._records.popleft()
        closed = record["type"] == "closed"
        with self._read("a trial"):
            outcome: Outcome = self._closure(record) if closed else read_outcome(record, self._domain)
            return _number(record, "number"), (_number(record, "leaf"), outcome), record_calls(record)

    def _closure(self, record: Mapping[str, Any]) -> Closure:
        closure = Closure.from_dict(record)
        if closure.scores is not None:
            checked_scores(closure.scores, self._domain.strategies)
        return closure

    def write_trial(self, trial: Trial, outcome: Outcome, calls: int) -> None:
        """Append what a trial found, and the calls it took."""
        head = {"type": record_type(trial, outcome), "number": trial.number, "leaf": trial.leaf, "calls": calls}
        found = {**head, **outcome.to_dict()}
        if isinstance(outcome, Closure) and trial.kind in OUTCOMES:
            found["kind"] = trial.kind
        self.write(found)

    def write_growth(self, trial: Trial, growth: Growth, calls: int) -> None:
        """Append what a trial under way has grown, and the calls it took so far."""
        head = {"type": "growth", "number": trial.number, "leaf": trial.leaf, "calls": calls}
        self.write({**head, **growth.to_dict()})

    def text(self, record: Mapping[str, Any], field: str) -> str:
        """A text of a record.

        :raises JournalError: if it is none.
        """
        with self._read("the opening"):
            return checked_text(record.get(field))

    @contextmanager
    def _read(self, what: str) -> Iterator[None]:
        try:
            yield
        except (TrialError, TreeError, ValueError) as error:
            raise self.error(f"{what} on it does not fit the tree: {error}") from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record to the journal."""
        if self._journal:
            self._journal.append(record)

    def error(self, message: str) -> JournalError:
        """What is wrong with the journal, and what to do."""
        return JournalError(f"{message}; move the file away to start this search over", file=self._path)


def _number(record: Mapping[str, Any], field: str) -> int:
    value = record.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{field}: must be a whole number, not {value!r:.40}")
    return value
