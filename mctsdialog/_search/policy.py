"""The search as a dialogue policy: what to say next in a conversation that is under way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from mctsdialog._search.config import SearchConfig
from mctsdialog._search.engine import Engine
from mctsdialog._search.scheduler import Scheduler
from mctsdialog._search.simulate import CheckedRoles, most_calls, run_trial
from mctsdialog._search.trial import Closure, Growth, Outcome, Trial
from mctsdialog.dialogue import ESC, Dialogue, Domain, Scenario, Turn
from mctsdialog.errors import BudgetExceededError, ConfigError, DialogueError, ModelRefusedError, first_error
from mctsdialog.roles import Roles
from mctsdialog.tree import ExpandedNode, Node, SpokenNode, Tree


@dataclass(frozen=True)
class Plan:
    """What to say next, and why.

    :param strategy: the best strategy: the most visited, and among those the one of highest Q.
    :param reply: the supporter's turn that carries it out.
    :param value: Q of that turn, the mean reward of its visits.
    :param visits: N of that turn.
    :param tree: what was searched; its root is the conversation so far, the root's children are the strategies.
    :param calls: calls to roles that this plan took.
    :param reused: visits that came from the plan before.
    :param stopped: why the search ended: "max_iterations", "enough_ends", "max_ends", "closed", "seconds", "calls" or
        "budget: ...".
    """

    strategy: str
    reply: str
    value: float
    visits: int
    tree: Tree
    calls: int
    reused: int
    stopped: str


async def plan(
    history: Dialogue | Sequence[Turn],
    roles: Roles,
    config: SearchConfig | None = None,
    *,
    scenario: Scenario | None = None,
    domain: Domain | None = None,
    seconds: float | None = None,
    calls: int | None = None,
    previous: Plan | None = None,
) -> Plan:
    """Search from a live conversation for the best next strategy and reply: the same engine as :func:`search`.

    Where the conversation went on as the plan before foresaw it (the same replies, and the seeker answered in the
    words that the seeker's role had for it), that part of its tree is taken over; else the search begins anew.

    :param history: the conversation so far; its last turn is the seeker's. Supporter turns may name strategies.
    :param roles: seeker, supporter, strategist and judge.
    :param config: the settings. ``max_iterations`` bounds the search too; visits taken over count.
    :param scenario: what the conversation is about, for the seeker's role; by default the dialogue's, or an empty one.
    :param domain: strategies and rubric; by default the roles' own, or else emotional support (ESC).
    :param seconds: stop then. Trials under way are given up, but never the first: there is always a reply.
    :param calls: most calls to roles. No trial is begun that could need more.
    :param previous: the plan of an earlier turn of this conversation.
    :raises ConfigError: for limits too small for one trial, or a plan of another domain.
    :raises DialogueError: for a history that does not end with the seeker.
    :raises ReplyError: where a role's answer stayed unusable.
    :raises ModelError: where a model call failed for good.
    :raises ModelRefusedError: where models refuse every reply; a single refused branch is closed.
    :raises BudgetExceededError: only where the budget was spent before there was a reply.
    """
    config = config or SearchConfig()
    domain = domain or roles.domain or ESC
    tree, reused = _begin(history, scenario, domain, previous)
    _check_limits(config, seconds, calls, tree)
    tree.config, tree.roles = config.model_dump(), dict(roles.provenance)
    run = _Run(Engine(tree, config), partial(CheckedRoles, roles.bind(tree.scenario), domain), calls)
    stopped = await run.search(seconds)
    node = _best(tree)
    if node is None:
        raise _all_refused(tree)
    return Plan(node.strategy, node.supporter, node.value, node.visits, tree, run.calls, reused, stopped)


def _begin(
    history: Dialogue | Sequence[Turn], scenario: Scenario | None, domain: Domain, previous: Plan | None
) -> tuple[Tree, int]:
    """A tree whose root is the conversation so far, and the visits in it that were there before."""
    if isinstance(history, Dialogue):
        scenario, history = scenario or history.scenario, history.turns
    turns = tuple(history)
    if not turns or turns[-1].speaker != "seeker":
        raise DialogueError("a plan needs a conversation whose last turn is the seeker's", field="history")
    if previous is not None:
        if previous.tree.domain != domain:
            raise ConfigError(f"the previous plan is of the domain {previous.tree.domain.name!r}, not {domain.name!r}")
        node = _follow(previous.tree, turns)
        if node is not None and node.closed is None:
            tree = previous.tree.subtree(node.id)
            return tree, tree.root.visits
    return Tree(scenario or (previous.tree.scenario if previous else Scenario()), domain, turns), 0


def _follow(tree: Tree, turns: tuple[Turn, ...]) -> Node | None:
    """The node of the tree that the conversation has come to; None where it left the tree."""
    said = [" ".join(turn.text.split()) for turn in turns]
    opening = [" ".join(turn.text.split()) for turn in tree.root.turns]
    if said[: len(opening)] != opening or (len(said) - len(opening)) % 2:
        return None
    node: Node = tree.root
    for place in range(len(opening), len(said), 2):
        heard = [each for each in tree.children(node) if isinstance(each, ExpandedNode)]
        words = [(" ".join(each.supporter.split()), " ".join(each.seeker.split())) for each in heard]
        if (said[place], said[place + 1]) not in words:
            return None
        node = heard[words.index((said[place], said[place + 1]))]
    return node


def _check_limits(config: SearchConfig, seconds: float | None, calls: int | None, tree: Tree) -> None:
    if config.max_iterations < 1:
        raise ConfigError("a plan needs at least one iteration", field="max_iterations")
    if seconds is not None and seconds <= 0:
        raise ConfigError(f"seconds must be above 0, not {seconds}", field="seconds")
    if calls is not None and calls < most_calls(config.horizon) and _best(tree) is None:
        least = most_calls(config.horizon)
        raise ConfigError(f"one trial can take {least} calls at horizon {config.horizon}, not {calls}", field="calls")


def _best(tree: Tree) -> SpokenNode | None:
    """The root's most visited child that has words; among equals the one of highest Q, an open one first."""
    spoken = [child for child in tree.children(tree.root) if isinstance(child, SpokenNode) and child.visits]
    return max(spoken, key=lambda child: (child.closed is None, child.visits, child.value), default=None)


def _all_refused(tree: Tree) -> ModelRefusedError:
    closed = tree.closed()
    shown = ", ".join(f"{reason} ({count})" for reason, count in closed.items())
    reason: Literal["content_filter", "refusal"] = "refusal"
    if all(each.endswith("content_filter") for each in closed):
        reason = "content_filter"
    return ModelRefusedError(f"models refuse every reply to this conversation: {shown}", reason=reason)


class _Run:
    """One plan's search, within its limits.

    :ivar calls: calls to roles so far.
    """

    def __init__(self, engine: Engine, players: partial[CheckedRoles], calls: int | None) -> None:
        self._engine = engine
        self._players = players
        self._most = calls
        self._under_way: dict[int, CheckedRoles] = {}
        self._ended = 0
        self._late = False
        self._answered = anyio.Event()

    @property
    def calls(self) -> int:
        """Calls of trials that ended and of those under way."""
        return self._ended + sum(players.calls for players in self._under_way.values())

    async def search(self, seconds: float | None) -> str:
        """Play trials until a limit; tells which."""
        scheduler = Scheduler(
            self._engine,
            self._run_trial,
            on_outcome=lambda trial, outcome: None,
            on_commit=self._on_commit,
            may_begin=self._may_begin,
        )
        if _best(self._engine.tree) is not None:
            self._answered.set()
        try:
            async with anyio.create_task_group() as group:
                if seconds is not None:
                    group.start_soon(self._clock, seconds, group)
                await scheduler.run()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as failed:  # callers meet the one error, not the task group around it
            error = first_error(failed)
            if isinstance(error, BudgetExceededError) and self._answered.is_set():
                return f"budget: {error.kind}"
            raise error from None
        return "seconds" if self._late else self._engine.stop_reason() or "calls"

    async def _clock(self, seconds: float, group: TaskGroup) -> None:
        await anyio.sleep(seconds)
        await self._answered.wait()
        self._late = True
        group.cancel_scope.cancel()

    async def _run_trial(self, trial: Trial, on_growth: Callable[[Growth], None]) -> Outcome | Closure:
        players = self._under_way[trial.number] = self._players()
        try:
            return await run_trial(trial, players, self._engine.tree.domain, self._engine.config.horizon, on_growth)
        finally:
            self._ended += self._under_way.pop(trial.number).calls

    def _may_begin(self) -> bool:
        """Whether one more trial fits into the calls, whatever it and those under way may need."""
        if self._late:
            return False
        trials = self._engine.in_flight + 1
        return self._most is None or self._ended + trials * most_calls(self._engine.config.horizon) <= self._most

    def _on_commit(self) -> None:
        if _best(self._engine.tree) is not None:
            self._answered.set()
