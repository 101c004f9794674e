"""Algorithms that decide in batches: what to ask next follows from all that was found before the batch.

All of them grow trees in which every turn that is said is judged and keeps its reward.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from mctsdialog.algorithms._base import Algorithm
from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.algorithms._rules import mean, softmax, with_gold
from mctsdialog.algorithms._trial import Closure, Exchange, Judged, Opened, Outcome, Scored, Spoken, Trial
from mctsdialog.errors import TreeError, TrialError
from mctsdialog.tree import (
    EndNode,
    ExpandedNode,
    Node,
    Rollout,
    RootNode,
    SpokenNode,
    StrategyNode,
    Tree,
    UnexpandedNode,
)

Step: TypeAlias = Literal["score", "open", "turn", "judge"]

CALLS: Mapping[str, int] = {"score": 1, "open": 0, "turn": 3, "judge": 1}
"""Calls to roles that a step takes."""

_FITS = {"score": Scored, "open": Opened, "turn": Spoken, "judge": Judged}


class Request(NamedTuple):
    """One step of a batch.

    :param kind: "score" asks the strategist at a node, "open" gives it children without asking, "turn" has an
        unexpanded node's strategy carried out, answered and judged, "judge" has a node's turn judged once more.
    :param node: id of the node.
    """

    kind: Step
    node: int


class BatchSearch(Algorithm):
    """An algorithm whose :meth:`batches` say what to ask; the base does the rest.

    A batch is begun when all of the one before is committed, so that the trees of a search in batches do not depend
    on the order in which a batch's trials end.

    :ivar calls: calls to roles that committed trials and gold turns took.
    """

    plans_by_limits = True

    def __init__(
        self, tree: Tree, config: SearchConfig, *, max_calls: int | None = None, can_rejudge: bool = False
    ) -> None:
        super().__init__(tree, config, max_calls=max_calls, can_rejudge=can_rejudge)
        self.calls = 0
        self.unjudged: set[int] = set()  # the judge refused them
        self._asked = 0
        self._pending: dict[Request, None] = {}
        self._in_progress: dict[int, Request] = {}
        self._told: set[int] = set()
        self._batches = self.batches()
        self._finished = False

    @abstractmethod
    def batches(self) -> Iterator[Sequence[Request]]:
        """The batches, one after the other; each is asked for when the one before is in the tree.

        It changes nothing itself: the tree of a resumed search grows by the records of its journal.
        """

    def posterior(self, node: SpokenNode) -> tuple[float, float] | None:
        """What is believed of the reward of a node's own turn, mean and standard deviation; None if nothing is."""
        return None if node.rollout is None else (node.rollout.reward, 0.0)

    def take_in(self, node: SpokenNode, reward: float) -> None:  # most need not know
        """Learn from a judgement of a node's turn; its rollout holds the judgements up to this one."""

    # -- ask -------------------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Trials asked and neither told nor released."""
        return len(self._in_progress)

    def ask(self, expected: int | None = None) -> Trial | None:
        """The next step of the batch, or None where all are in progress, or the search may stop."""
        if self.tree.iterations + self.in_flight >= self.config.max_iterations:
            return None
        self._advance()
        request = next(iter(self._pending), None)
        if request is None or (expected is not None and self._in_progress and request.node != expected):
            return None
        del self._pending[request]
        trial = self._trial(request)
        self._in_progress[trial.number] = request
        return trial

    def stop_reason(self) -> str | None:
        """Why the search may stop: "max_iterations", or "complete" where there is nothing left to ask; None before."""
        if self.tree.iterations >= self.config.max_iterations:
            return "max_iterations"
        return "complete" if self._finished and not self._pending and not self._in_progress else None

    def _advance(self) -> None:
        """Begin the next batch once the one before is committed; steps that no longer apply are left out."""
        while not self._pending and not self._in_progress and not self._finished:
            size = len(self.tree)
            batch = next(self._batches, None)
            if len(self.tree) != size:
                raise TrialError(f"{type(self).__name__}.batches changed the tree; ask for it: Request('open', node)")
            if batch is None:
                self._finished = True
            else:
                self._pending = dict.fromkeys(request for request in batch if self._applies(request))

    def _applies(self, request: Request) -> bool:
        node = self.tree[request.node]
        if request.kind == "judge":
            return isinstance(node, SpokenNode) and node.id not in self.unjudged
        if node.closed is not None:
            return False
        if request.kind == "turn":
            return isinstance(node, UnexpandedNode)
        return isinstance(node, RootNode | ExpandedNode) and not node.children

    def _trial(self, request: Request) -> Trial:
        node = self.tree[request.node]
        history, draw = self.tree.history(node), 0
        if request.kind == "judge":
            assert isinstance(node, SpokenNode)
            history = history if isinstance(node, EndNode) else history[:-1]
            draw = len(draws(node))
        self._asked += 1
        return Trial(self._asked - 1, node.id, request.kind, history, node.strategy, draw)

    # -- tell ------------------------------------------------------------------------------------------------------

    def tell(self, trial: Trial, outcome: Outcome) -> bool:
        """Commit what a trial found."""
        if trial.number in self._told:
            return False
        request = self._in_progress.get(trial.number)
        if request is None:
            raise TrialError(f"trial {trial.number} is not in progress in this search")
        self._check(request, outcome)
        del self._in_progress[trial.number]
        self._told.add(trial.number)
        self._commit(request, outcome)
        return True

    def release(self, trial: Trial) -> None:
        """Give up a trial that failed: it will be asked again."""
        request = self._in_progress.pop(trial.number, None)
        if request is not None:
            self._pending[request] = None

    def replay(self, kind: str, leaf: int, outcome: Outcome) -> None:
        """Commit a trial from a journal."""
        if kind not in _FITS:
            raise TrialError(f"a search by {self.name!r} has no trial of kind {kind!r}")
        self._advance()
        request = Request(kind, leaf)  # type: ignore[arg-type]  # it is one of the steps
        self._check(request, outcome)
        self._pending.pop(request, None)  # with another budget, it may be in a later batch
        self._commit(request, outcome)

    def _check(self, request: Request, outcome: Outcome) -> None:
        if not isinstance(outcome, Closure | _FITS[request.kind]) or not self._applies(request):
            raise TrialError(f"the outcome does not fit a {request.kind} of node {request.node}: {outcome}")

    def _commit(self, request: Request, outcome: Outcome) -> None:
        self.calls += CALLS[request.kind]
        node_id = request.node
        if isinstance(outcome, Closure):
            if request.kind == "judge":
                self.unjudged.add(node_id)
            else:
                self.close(node_id, outcome.reason)
        elif isinstance(outcome, Scored):
            self.expand(node_id, outcome.scores)
        elif isinstance(outcome, Opened):
            self.expand(node_id, {})
        elif isinstance(outcome, Spoken):
            exchange = outcome.exchange
            self._judge(self.tree.speak(node_id, exchange.supporter, exchange.seeker), outcome.scores)
        elif isinstance(outcome, Judged):
            node = self.tree[node_id]
            assert isinstance(node, SpokenNode)
            self._judge(node, outcome.scores)

    def expand(self, node_id: int, scores: Mapping[str, float], priors: Mapping[str, float] | None = None) -> range:
        """Give a node its children; without scores, for no strategist was asked, all have the same prior."""
        names = self.tree.domain.strategies.names
        if priors is None:
            temperature = self.config.prior_temperature
            priors = softmax(scores or dict.fromkeys(names, 0.0), temperature)
        return self.tree.expand(node_id, scores, priors)

    def _judge(self, node: SpokenNode, scores: tuple[float, ...]) -> None:
        """Keep one more judgement of a node's turn; the first is its visit."""
        found = (*draws(node), scores)
        averaged = tuple(mean(each) for each in zip(*found, strict=True))
        node.rollout = Rollout((), (averaged,), self.reward(averaged), (found,) if len(found) > 1 else ())
        self.take_in(node, self.reward(scores))
        if len(found) == 1:
            self.visit(node)
            self.tree.iterations += 1

    def visit(self, node: SpokenNode) -> None:
        """Count a node's own visit, and let its path's value into Q on the way to the root."""
        value = self.path_value(node)
        current: Node | None = node
        while current is not None:
            current.value = (current.visits * current.value + value) / (current.visits + 1)
            current.visits += 1
            current = self.tree.parent(current)

    def path_value(self, node: SpokenNode) -> float:
        """V of a node: the mean of what is believed of the turns down to it (gold ones as yet unjudged aside)."""
        above = (each for each in self.tree.path(node)[1:] if isinstance(each, SpokenNode))
        return mean([found[0] for each in above if (found := self.posterior(each)) is not None])

    def close(self, node_id: int, reason: str) -> None:
        """Close a leaf for good."""
        self.tree.close(node_id, reason)

    def seed(self, node_id: int, scores: Mapping[str, float], strategy: str, gold: Exchange) -> SpokenNode:
        """Expand a node and put the next gold turn on it, to be judged as any other."""
        priors = with_gold(softmax(scores, self.config.prior_temperature), strategy, self.config.gold_prior)
        children = self.expand(node_id, scores, priors)
        self.calls += 1
        place = self.tree.domain.strategies.names.index(strategy)
        return self.tree.speak(children[place], gold.supporter, gold.seeker, gold=True)

    def gold_turns(self) -> list[Request]:
        """The judgements that the gold turns still need."""
        return [Request("judge", node.id) for node in self.tree if unjudged_gold(node)]

    @classmethod
    def most_calls(cls, config: SearchConfig) -> Mapping[str, int]:
        """The most calls to each role that one trial can take: those of one turn."""
        return {"seeker": 1, "supporter": 1, "strategist": 0, "judge": 1}

    # -- after the search ------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Give every node what is believed now: its posterior, and Q as the mean of the V of the visits below it."""
        tree = self.tree
        sums, totals = [0.0] * len(tree), [0.0] * len(tree)
        depths = [0] * len(tree)
        for node in tree:
            if isinstance(node, SpokenNode):
                found = node.posterior = self.posterior(node)
                sums[node.id] = sums[node.parent] + (found[0] if found else 0.0)
                depths[node.id] = depths[node.parent] + (found is not None)
                if found is not None:
                    totals[node.id] = sums[node.id] / depths[node.id]
        for node in reversed(list(tree)):
            if node.parent >= 0:
                totals[node.parent] += totals[node.id]
            node.value = totals[node.id] / node.visits if node.visits else 0.0

    @classmethod
    def check(cls, tree: Tree) -> None:
        """Verify visits: a node's are its children's, and one of its own once its turn is judged."""
        for node in tree:
            if isinstance(node, SpokenNode) and node.probe:
                continue
            visits = tree.below(node)[0]
            own = node.visits - visits
            if not (unjudged_gold(node) and own in (0, 1)) and own != int(is_judged(node)):
                raise TreeError(
                    f"{node.visits} visits, its children {visits}; only a judged turn has one", node_id=node.id
                )


def draws(node: SpokenNode) -> tuple[tuple[float, ...], ...]:
    """The judgements of a node's own turn, one by one."""
    if node.rollout is None:
        return ()
    return node.rollout.draws[0] if node.rollout.draws else node.rollout.judgements[:1]


def unjudged_gold(node: Node) -> bool:
    """Whether a node is a gold turn without a judgement."""
    return isinstance(node, SpokenNode) and node.gold and node.rollout is None


def is_judged(node: Node) -> bool:
    """Whether a node's own turn has a judgement."""
    return isinstance(node, SpokenNode) and node.rollout is not None


def open_children(tree: Tree, node: Node) -> list[StrategyNode]:
    """The children of a node that nobody has said yet and no model refuses."""
    return [child for child in tree.children(node) if isinstance(child, UnexpandedNode) and child.closed is None]
