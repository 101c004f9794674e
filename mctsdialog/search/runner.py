"""Searching one dialogue from its start to its stop, with a journal where one is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mctsdialog.dialogue import ESC, Domain, Scenario, Turn
from mctsdialog.errors import BudgetExceededError, JournalError, TreeError, TrialError
from mctsdialog.roles import Roles
from mctsdialog.search.config import SearchConfig
from mctsdialog.search.engine import Engine
from mctsdialog.search.journal import Journal
from mctsdialog.search.play import History, Players, play
from mctsdialog.search.rules import BackupRule, ScoreRule, pucb, running_mean
from mctsdialog.search.start import Start
from mctsdialog.search.trial import Outcome
from mctsdialog.tree import Tree


async def search(
    start: Scenario,
    roles: Roles,
    config: SearchConfig | None = None,
    *,
    domain: Domain | None = None,
    journal: str | Path | None = None,
    on_progress: Callable[[Tree], object] | None = None,
    score: ScoreRule = pucb,
    backup: BackupRule = running_mean,
) -> Tree:
    """Grow a conversation tree from a gold dialogue or a scenario (paper section 3.1).

    :param start: a :class:`~mctsdialog.Dialogue` with gold turns, or a :class:`~mctsdialog.Scenario`, from which
        the seeker speaks first.
    :param roles: seeker, supporter, strategist and judge.
    :param config: the settings; the paper's by default.
    :param domain: strategies and rubric; by default the roles' own, or else emotional support (ESC).
    :param journal: file of the journal. An existing one is gone on with: committed trials are not played again.
    :param on_progress: called with the tree after the start and after every iteration; it must not change it.
    :param score: how children are rated in selection (eq. 1).
    :param backup: how Q takes in a reward (eq. 4).
    :returns: the tree, with ``stop_reason`` set. A spent budget is a clean stop with everything kept.
    :raises DialogueError: for a gold turn without a strategy of the domain.
    :raises ReplyError: where a role's answer stayed unusable.
    :raises ModelError: where a model call failed for good.
    :raises JournalError: for a journal that cannot be used, or of another search.
    :raises BudgetExceededError: only where the budget was spent before there was a tree.

    After an error, a search with a journal can be called again and goes on where it was.
    """
    config = config or SearchConfig()
    domain = domain or roles.domain or ESC
    begin = Start.of(start, domain)
    settings = config.model_dump()
    header = {
        "dialogue": TypeAdapter(type(start)).dump_python(start, mode="json"),
        "domain": domain.model_dump(mode="json"),
        "config": settings,
        "roles": dict(roles.provenance),
    }
    players = Players(roles.bind(begin.scenario), domain)
    with Journal(journal, header) if journal is not None else nullcontext() as log:
        tape = _Tape(log)
        tree = Tree(begin.scenario, domain, await _opening(begin, players, tape))
        tree.config, tree.roles = settings, dict(roles.provenance)
        engine = Engine(tree, config, score=score, backup=backup)
        try:
            await _seed(engine, begin, players, tape)
            tape.replay(engine)
            await _iterate(engine, players, tape, on_progress or (lambda tree: None))
        except BudgetExceededError as spent:
            tree.stop_reason = f"budget: {spent.kind}"
    return tree


async def _iterate(engine: Engine, players: Players, tape: _Tape, on_progress: Callable[[Tree], object]) -> None:
    tree = engine.tree
    on_progress(tree)
    while (trial := engine.ask()) is not None:
        try:
            outcome = await play(trial, players, tree.domain, engine.config.horizon)
        except BaseException:
            engine.release(trial)
            raise
        engine.tell(trial, outcome)
        tape.write({"type": "trial", "leaf": trial.leaf, **outcome.to_dict()})
        on_progress(tree)
    tree.stop_reason = engine.stop_reason()


async def _opening(start: Start, players: Players, tape: _Tape) -> tuple[Turn, ...]:
    """The root's turns: the dialogue's own, or the seeker is asked to speak first."""
    if start.opening and start.opening[-1].speaker == "seeker":
        return start.opening
    record = tape.next("opening")
    if record is None:
        record = {"type": "opening", "seeker": await players.open(History.of(start.opening))}
        tape.write(record)
    return (*start.opening, Turn("seeker", record["seeker"]))


async def _seed(engine: Engine, start: Start, players: Players, tape: _Tape) -> None:
    """Lay the gold dialogue into the tree; the strategist scores every gold turn on the history so far."""
    tree = engine.tree
    node_id = tree.root.id
    for gold in start.gold:
        record = tape.next("gold")
        if record is None:
            record = {"type": "gold", "scores": await players.scores(History.of(tree.history(tree[node_id])))}
            tape.write(record)
        node_id = engine.seed(node_id, record["scores"], gold.strategy, gold.exchange).id


class _Tape:
    """The journal as the search sees it: first what is on it, then what is written."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._records = deque(journal.records if journal else ())
        if journal:
            journal.forget()

    def next(self, kind: str) -> dict[str, Any] | None:
        """The next record, or None at the end of the tape.

        :raises JournalError: where it is of another kind.
        """
        if not self._records:
            return None
        if self._records[0].get("type") != kind:
            raise self._error(f"a record of type {kind!r} is missing")
        return self._records.popleft()

    def replay(self, engine: Engine) -> None:
        """Commit the trials that are on the tape."""
        while (record := self.next("trial")) is not None:
            try:
                engine.replay(record["leaf"], Outcome.from_dict(record))
            except (TrialError, TreeError, KeyError, TypeError, ValueError) as error:
                raise self._error(f"a trial on it does not fit the tree: {error}") from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record to the journal."""
        if self._journal:
            self._journal.append(record)

    def _error(self, message: str) -> JournalError:
        path = None if self._journal is None else self._journal.path
        return JournalError(f"{message}; move the file away to start this search anew", file=path)
