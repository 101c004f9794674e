"""The search as a dialogue policy: what to say next in a conversation that is under way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from mctsdialog._arguments import checked
from mctsdialog._moved import renamed_arguments
from mctsdialog._search.arguments import History, check_roles, turns_of
from mctsdialog._search.limits import LimitedTrials, check_limits
from mctsdialog._search.simulate import CheckedRoles, can_rejudge
from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.dialogue import ESC, Dialogue, Domain, Scenario, Turn, get_domain
from mctsdialog.errors import BudgetExceededError, ConfigError, DialogueError, ModelRefusedError
from mctsdialog.roles import Roles
from mctsdialog.tree import ExpandedNode, Node, Tree


@dataclass(frozen=True)
class Plan:
    """What to say next, and why.

    :param strategy: the strategy that the algorithm recommends; for the paper's search the most visited, and among
        those the one of highest Q.
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


@renamed_arguments(seconds="max_seconds", calls="max_calls")
@checked("history", "roles", "config")
async def plan(
    history: History,
    roles: Roles,
    config: SearchConfig | None = None,
    *,
    scenario: Scenario | None = None,
    domain: Domain | str | None = None,
    max_seconds: float | None = None,
    max_calls: int | None = None,
    previous: Plan | None = None,
) -> Plan:
    """Choose the next strategy and reply in a live conversation, with the same search as :func:`search`.

    Pass the last plan as ``previous``. If the conversation continued as that plan simulated it (the same reply, and the
    same words from the seeker), its subtree is reused; otherwise the search starts over.

    :param history: the conversation so far; the last turn is the seeker's. Supporter turns may name strategies.
        Messages of a chat API work too, ``[{"role": "user", "content": "..."}, ...]``; a leading system message is
        ignored.
    :param roles: seeker, supporter, strategist and judge.
    :param config: the search settings. ``max_iterations`` applies too, and reused visits count towards it.
    :param scenario: what the conversation is about, for the seeker's role. Default: the dialogue's, or an empty one.
    :param domain: a domain (strategies and rubric) or the name of a built-in one. Default: the roles' domain, else ESC,
        emotional support.
    :param max_seconds: stop after this many seconds. Trials in progress are cancelled, except the first one, so there
        is always a reply.
    :param max_calls: most calls to roles. No trial starts that could need more.
    :param previous: the plan of an earlier turn of this conversation.
    :raises ConfigError: for limits too small for one trial, or a plan of another domain.
    :raises DialogueError: for a history that does not end with the seeker.
    :raises ReplyError: if a role's reply stays unusable after retries.
    :raises ModelError: if a model call fails for good.
    :raises ModelRefusedError: if models refuse every reply; a single refused branch is closed.
    :raises BudgetExceededError: only if the budget is spent before there is a reply.
    """
    check_roles(roles, config)
    config = config or SearchConfig()
    domain = get_domain(domain) if isinstance(domain, str) else domain or roles.domain or ESC
    tree, reused = _begin(history, scenario, domain, previous)
    if config.max_iterations < 1:
        raise ConfigError("a plan needs at least one iteration", field="max_iterations")
    tree.config, tree.roles = config.recorded(), dict(roles.provenance)
    algorithm = config.kind(tree, config, max_calls=max_calls, can_rejudge=can_rejudge(roles))
    check_limits(max_seconds, max_calls, config, begun=bool(algorithm.recommend(tree.root)))
    trials = LimitedTrials(
        algorithm,
        partial(CheckedRoles, roles.bind(tree.scenario), domain),
        max_calls=max_calls,
        max_seconds=max_seconds,
        enough=lambda: bool(algorithm.recommend(tree.root)),
    )
    try:
        stopped = await trials.run()
    except BudgetExceededError as spent:
        if not algorithm.recommend(tree.root):
            raise
        stopped = f"budget: {spent.kind}"
    algorithm.finish()
    node = next(iter(algorithm.recommend(tree.root)), None)
    if node is None and stopped == "calls":
        assert max_calls is not None
        raise BudgetExceededError("calls", limit=max_calls, used=trials.calls)
    if node is None:
        raise _all_refused(tree)
    return Plan(node.strategy, node.supporter, node.value, node.visits, tree, trials.calls, reused, stopped)


def _begin(history: History, scenario: Scenario | None, domain: Domain, previous: Plan | None) -> tuple[Tree, int]:
    """A tree whose root is the conversation so far, and the visits in it that were there before."""
    if isinstance(history, Dialogue):
        scenario = scenario or history.scenario
    turns = turns_of(history)
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


def _all_refused(tree: Tree) -> ModelRefusedError:
    closed = tree.closed()
    shown = ", ".join(f"{reason} ({count})" for reason, count in closed.items())
    reason: Literal["content_filter", "refusal"] = "refusal"
    if all(each.endswith("content_filter") for each in closed):
        reason = "content_filter"
    return ModelRefusedError(f"models refuse every reply to this conversation: {shown}", reason=reason)
