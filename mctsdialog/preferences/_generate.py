"""Preference data that needs models: siblings that the search did not try, and random non-preferred replies.

Everything here calls the same roles as the search, several at once, and keeps what is done in a journal.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mctsdialog._arguments import checked
from mctsdialog._moved import renamed_arguments
from mctsdialog._search import CheckedRoles, History, open_journal, roles_for, run_probe
from mctsdialog._search.simulate import read_outcome
from mctsdialog._settings import lasting
from mctsdialog.algorithms import CSO, Closure
from mctsdialog.concurrency import for_each
from mctsdialog.dialogue import Turn
from mctsdialog.errors import BudgetExceededError, ConfigError, JournalError, ModelRefusedError, TreeError, TrialError
from mctsdialog.journal import Journal
from mctsdialog.preferences._config import PreferenceConfig, search_config
from mctsdialog.preferences._extract import blank_record
from mctsdialog.preferences._record import RecordNode, TreeRecord
from mctsdialog.roles import Roles, checked_text
from mctsdialog.tree import Family, StrategyNode, Tree, UnexpandedNode


@dataclass(frozen=True)
class Generated:
    """What a run over one tree did.

    :param asked: replies that were wanted.
    :param done: of them, those that are there now.
    :param closed: of them, those that models or their providers refused for good: there is no such reply.
    :param replayed: of those that are there, taken from the journal.
    :param stop_reason: why it stopped early ("budget: calls"); None if it did not.
    """

    asked: int
    done: int
    replayed: int
    stop_reason: str | None
    closed: int = 0


@dataclass(frozen=True)
class _Task:
    node: int
    history: tuple[Turn, ...]
    strategy: str

    @property
    def digest(self) -> str:
        turns = [[turn.speaker, turn.text, turn.strategy] for turn in self.history]
        return hashlib.blake2b(json.dumps([turns, self.strategy]).encode(), digest_size=16).hexdigest()


@renamed_arguments(most_per_turn="max_per_turn")
@checked()
async def probe_siblings(
    tree: Tree,
    roles: Roles,
    config: PreferenceConfig | None = None,
    *,
    max_per_turn: int | None = None,
    horizon: int | None = None,
    concurrency: int = 4,
    journal: str | Path | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> Generated:
    """Generate and simulate siblings at the turns on valid paths that have no rejected one (paper section 3.2).

    A sibling gets what the best child of a leaf gets in a search: its turn, at most ``horizon`` greedy rounds after
    it, and as Q the mean reward over these turns; N is 1. It is a *probe*: its reward stays its own and is not
    backpropagated, so that the valid paths stay what they were. The tree grows in place, by finished probes alone. A
    sibling that a model refuses is closed.

    :param tree: a searched tree; its bias is used.
    :param roles: as for the search.
    :param config: what counts as a valid path and as rejected.
    :param max_per_turn: most siblings of one turn, those of lowest prior first; None for all.
    :param horizon: most simulated rounds; None for the search's own.
    :param concurrency: probes under way at once, 1 or more.
    :param journal: file of a journal; what is on it is not asked for again.
    :param on_progress: called with (done, asked) at the start and after every probe.
    :raises ReplyError: if a role's answer stayed unusable; finished probes are kept, here and in the journal.
    :raises ModelError: if a model call failed for good, likewise.
    :raises JournalError: for a journal that cannot be used, or of something else.

    A spent budget is a clean stop.
    """
    config = config or PreferenceConfig()
    settings = search_config(tree)
    settings = settings if horizon is None else settings.replace(horizon=horizon)
    engine = CSO(tree, settings)
    roles, prompts = roles_for(journal, roles)
    players = CheckedRoles(roles.bind(tree.scenario), tree.domain)
    tasks = [
        _Task(node.id, tree.history(node), node.strategy)
        for family in config.valid_paths(tree).families()
        if not family.rejected
        for node in _least_likely(family, max_per_turn)
    ]

    async def play(task: _Task) -> dict[str, Any]:
        outcome = await run_probe(task.history, task.strategy, players, tree.domain, settings.horizon)
        return {"closed": outcome.reason} if isinstance(outcome, Closure) else outcome.to_dict()

    def commit(task: _Task, record: Mapping[str, Any]) -> None:
        refused = _refused(record)
        found = read_outcome({**record, "type": "trial"}, tree.domain) if refused is None else refused
        engine.probe(task.node, found)  # type: ignore[arg-type]  # a record of that type is a simulation

    header = _header("siblings", tree, roles, {"horizon": settings.horizon, "bias": settings.bias}) | prompts
    return await _Run(tasks, play, commit, concurrency, on_progress).run(journal, header)


@checked()
async def random_record(
    tree: Tree,
    roles: Roles,
    config: PreferenceConfig | None = None,
    *,
    concurrency: int = 4,
    journal: str | Path | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> tuple[TreeRecord, Generated]:
    """ESC-Pro-Random (paper section 5.3): every preferred turn with a random non-preferred strategy.

    For each supporter turn on a valid path, one of the strategies on no valid path is drawn by the config's seed,
    and the Supporter writes the reply that carries it out. Nothing is judged: these replies have no Q, and N is 0.

    :returns: the record, whose pairs are (preferred, random), and what was done. A turn at which every strategy is
        preferred or closed has no pair; nor has one whose reply was refused, or is missing because a budget was spent.
    :raises MctsDialogError: as :func:`probe_siblings`; the tree is not changed.
    """
    config = config or PreferenceConfig()
    roles, prompts = roles_for(journal, roles)
    players = CheckedRoles(roles.bind(tree.scenario), tree.domain)
    families = list(config.valid_paths(tree).families())
    pairs = [
        (chosen.id, drawn)
        for family in families
        for chosen in family.chosen
        if (drawn := _draw(tree, family, chosen.id, config.seed)) is not None
    ]
    nodes = {node.id: node for _, node in pairs}
    tasks = [_Task(node.id, _before(tree, node), node.strategy) for node in nodes.values()]
    replies: dict[int, str] = {}

    async def play(task: _Task) -> dict[str, Any]:
        try:
            return {"supporter": await players.supporter(History.of(task.history), task.strategy)}
        except ModelRefusedError as refused:
            return {"closed": refused.closure}

    def commit(task: _Task, record: Mapping[str, Any]) -> None:
        if _refused(record) is None:
            replies[task.node] = checked_text(record.get("supporter"))

    header = _header("random", tree, roles, {}) | prompts
    generated = await _Run(tasks, play, commit, concurrency, on_progress).run(journal, header)
    record = blank_record(tree, [replace(family, rejected=()) for family in families])
    added = tuple(_random_node(nodes[node_id], text) for node_id, text in sorted(replies.items()))
    known = [(chosen, node.id) for chosen, node in pairs if node.id in replies]
    return replace(record, nodes=record.nodes + added).with_pairs(known), generated


def _least_likely(family: Family, most: int | None) -> list[StrategyNode]:
    untried = [node for node in family.others if isinstance(node, UnexpandedNode) and node.closed is None]
    return sorted(sorted(untried, key=lambda node: node.prior)[:most], key=lambda node: node.id)


def _draw(tree: Tree, family: Family, chosen: int, seed: int) -> StrategyNode | None:
    preferred = {node.id for node in family.chosen}
    others = [node for node in tree.children(family.parent) if node.id not in preferred and node.closed is None]
    generator = random.Random(f"{seed}/{tree.id}/random/{chosen}")  # noqa: S311  # no secret
    return generator.choice(others) if others else None


def _refused(record: Mapping[str, Any]) -> Closure | None:
    """The closure that a record holds in place of a reply."""
    return Closure.from_dict({"reason": record["closed"]}) if "closed" in record else None


def _before(tree: Tree, node: StrategyNode) -> tuple[Turn, ...]:
    return tree.history(tree[node.parent])


def _random_node(node: StrategyNode, text: str) -> RecordNode:
    return RecordNode(
        id=node.id,
        parent=node.parent,
        strategy=node.strategy,
        supporter=text,
        seeker=None,
        value=None,
        visits=0,
        gold=False,
        polarity="rejected",
    )


def _header(kind: str, tree: Tree, roles: Roles, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "scenario": tree.scenario.model_dump(mode="json"),
        "domain": lasting(tree.domain),
        "config": dict(config),
        "roles": dict(roles.provenance),
    }


class _Run:
    """Tasks played several at once, each kept as soon as it is done."""

    def __init__(
        self,
        tasks: Sequence[_Task],
        play: Callable[[_Task], Awaitable[dict[str, Any]]],
        commit: Callable[[_Task, Mapping[str, Any]], None],
        concurrency: int,
        on_progress: Callable[[int, int], object] | None,
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency must be 1 or more, not {concurrency}", field="concurrency")
        self._tasks = tasks
        self._play = play
        self._commit = commit
        self._concurrency = concurrency
        self._on_progress = on_progress or (lambda done, asked: None)
        self._done = self._closed = 0
        self._stop_reason: str | None = None

    async def run(self, journal: str | Path | None, header: Mapping[str, Any]) -> Generated:
        """Take what the journal has, and play the rest."""
        with open_journal(journal, header) if journal is not None else nullcontext() as log:
            waiting = self._replay(log)
            replayed = self._done - self._closed
            self._on_progress(self._done, len(self._tasks))
            await for_each(waiting, partial(self._work, log=log), concurrency=self._concurrency)
        done = self._done - self._closed
        return Generated(len(self._tasks), done, replayed, self._stop_reason, self._closed)

    def _replay(self, log: Journal | None) -> list[_Task]:
        known = {str(record.get("digest")): record for record in log.records} if log else {}
        waiting = []
        for task in self._tasks:
            if task.digest not in known:
                waiting.append(task)
                continue
            try:
                self._take(task, known[task.digest])
            except (TrialError, TreeError, ValueError) as error:
                path = None if log is None else log.path
                message = f"a record on it does not fit the tree: {error}; move the file away to start over"
                raise JournalError(message, file=path) from error
        if log:
            log.drop_records()
        return waiting

    async def _work(self, task: _Task, log: Journal | None) -> None:
        if self._stop_reason is not None:
            return
        try:
            record = await self._play(task)
        except BudgetExceededError as spent:  # what is under way elsewhere may still finish
            self._stop_reason = f"budget: {spent.kind}"
            return
        if log:
            log.append({"type": "reply", "node": task.node, "digest": task.digest, **record})
        self._take(task, record)
        self._on_progress(self._done, len(self._tasks))

    def _take(self, task: _Task, record: Mapping[str, Any]) -> None:
        self._commit(task, record)
        self._done += 1
        self._closed += "closed" in record
