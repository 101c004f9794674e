"""Select, expand, simulate, backpropagate: the tree side of the search, without a model call.

``ask`` selects a leaf and gives a trial; whoever plays it ``tell``s the outcome, which is committed in one go, or
``release``s it. Between ask and tell only unobserved counts know of trials under way (WU-UCT, Liu et al., ICLR 2020),
so many can be under way at once, in any order; one that ``grow``s its leaf meanwhile lets others go on below it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from mctsdialog._arguments import checked
from mctsdialog.algorithms._base import Algorithm, register
from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.algorithms._rules import (
    highest,
    mean,
    pucb,
    reward,
    running_mean,
    softmax,
    with_gold,
)
from mctsdialog.algorithms._trial import Closure, Exchange, Growth, Outcome, Simulation, Trial, TrialKind
from mctsdialog.errors import TreeError, TrialError
from mctsdialog.tree import (
    EndNode,
    ExpandedNode,
    Node,
    Rollout,
    SpokenNode,
    StrategyNode,
    Tree,
    UnexpandedNode,
    shared_scores,
)


@register
@checked()
class CSO(Algorithm):
    """The paper's search: PUCB down to a leaf, greedy simulation from its best child, means on the way back.

    :param tree: the tree to grow; it may hold earlier trials.
    :param config: the search's settings.
    """

    name = "cso"

    def __init__(
        self, tree: Tree, config: SearchConfig, *, max_calls: int | None = None, can_rejudge: bool = False
    ) -> None:
        super().__init__(tree, config, max_calls=max_calls, can_rejudge=can_rejudge)
        self._asked = 0
        self._under_way: dict[int, Trial] = {}
        self._at: dict[int, int] = {}  # the node that a trial under way is counted and blocked at
        self._told: set[int] = set()
        self._unobserved: Counter[int] = Counter()
        self._blocked: set[int] = set()  # what selection must not enter now: under way or closed
        self._shut: set[int] = set()  # of them, for good: closed, or with every child shut
        for node in tree:
            if node.closed is not None:
                self._shut_out(node)
        self._refused = 0  # trials of this search

    # -- ask ---------------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Trials asked and neither told nor released."""
        return len(self._under_way)

    def ask(self, expected: int | None = None) -> Trial | None:
        """Select a leaf and open a trial on it.

        None if no trial can start now: the search may stop, the iterations left are all under way, or every
        leaf is being played already. A leaf under way is never given twice, but for an end node, which is only judged
        again, as at every visit.

        :param expected: give a trial of this leaf alone, while others are under way: of a search that is resumed.
        """
        if self.tree.iterations + self.in_flight >= self.config.max_iterations:
            return None
        if self.tree.root.id in self._blocked or self._too_many_closed():
            return None
        leaf = self.select()
        if self._may_stop(leaf) or (expected is not None and self._under_way and leaf.id != expected):
            return None
        trial = self._trial(leaf)
        self._under_way[trial.number] = trial
        self._open(trial, leaf)
        return trial

    def select(self) -> Node:
        """The leaf of the next trial: from the root, the child of highest PUCB until a node has none.

        Ties go to the first child. Closed nodes, and those with closed ones alone below them, are left out. Selecting
        changes nothing.
        """
        node: Node = self.tree.root
        while node.children:
            node = self._best_child(node)
        return node

    def stop_reason(self) -> str | None:
        """Why the search may stop now, or None. Asking changes nothing.

        "max_iterations"; "closed" (no branch is left open, or refused trials outnumber iterations by max_iterations);
        "enough_ends" (min_iterations and min_ends are reached) or "max_ends", both only when the next selection is not
        an end node.
        """
        if self.tree.iterations >= self.config.max_iterations:
            return "max_iterations"
        if self.tree.root.id in self._shut or self._too_many_closed():
            return "closed"
        return None if self.tree.root.id in self._blocked else self._may_stop(self.select())

    def _too_many_closed(self) -> bool:
        """A refused trial may find new leaves before it closes one, so that refusals alone could go on for ever."""
        return self._refused - self.tree.iterations >= self.config.max_iterations

    def _may_stop(self, leaf: Node) -> str | None:
        if isinstance(leaf, EndNode):
            return None
        config, ends = self.config, self.tree.ends
        if self.tree.iterations >= config.min_iterations and ends >= config.min_ends:
            return "enough_ends"
        return "max_ends" if ends >= config.max_ends else None

    def _best_child(self, node: Node) -> StrategyNode:
        under_way = self._unobserved.get  # a counter is slow to say that there is none
        parent_visits = node.visits + under_way(node.id, 0)
        best: StrategyNode | None = None
        best_score = 0.0
        for child in self.tree.children(node):
            if child.id in self._blocked:
                continue
            visits = child.visits + under_way(child.id, 0)
            score = pucb(child.value, child.prior, visits, parent_visits, self.config.c)
            if best is None or score > best_score:
                best, best_score = child, score
        assert best is not None, "a node with every child blocked is blocked itself"
        return best

    def _trial(self, leaf: Node) -> Trial:
        strategy = leaf.strategy if isinstance(leaf, StrategyNode) else None
        trial = Trial(self._asked, leaf.id, self._kind(leaf), self.tree.history(leaf), strategy)
        self._asked += 1
        return trial

    def _kind(self, leaf: Node) -> TrialKind:
        if isinstance(leaf, EndNode):
            return "end"
        if not isinstance(leaf, UnexpandedNode):
            return "expand"
        return "finish" if self._is_to_finish(leaf) else "generate"

    def _is_to_finish(self, leaf: UnexpandedNode) -> bool:
        """Whether a trial simulates from the leaf itself: it has the highest prior, or that child is refused.

        Otherwise nothing would be rewarded where a model refuses the one strategy that the strategist prefers.
        """
        children = self.tree.children(self.tree[leaf.parent])
        if any(isinstance(child, SpokenNode) and child.gold for child in children):
            return False
        best = max(children, key=lambda child: child.prior)
        return best is leaf or (isinstance(best, UnexpandedNode) and best.closed is not None)

    def _unfinished(self, node: Node) -> int | None:
        """The child that a trial which grew the node is, or was, to be played from: not yet spoken; or None."""
        children = self.tree.children(node)
        if not children or any(isinstance(child, SpokenNode) and child.gold for child in children):
            return None
        best = max(children, key=lambda child: child.prior)
        return best.id if isinstance(best, UnexpandedNode) and best.closed is None else None

    def _open(self, trial: Trial, at: Node) -> None:
        """Count a trial under way on the path to a node, and block what has nothing else to offer."""
        self._at[trial.number] = at.id
        if not isinstance(at, EndNode):  # judging an end again is what a single trial at a time does, too
            self._blocked.add(at.id)
        for node in reversed(self.tree.path(at)):
            self._unobserved[node.id] += 1
            if node.children and all(child in self._blocked for child in node.children):
                self._blocked.add(node.id)

    def _leave(self, trial: Trial) -> None:
        for node in self.tree.path(self.tree[self._at.pop(trial.number)]):
            if node.id not in self._shut:
                self._blocked.discard(node.id)
            self._unobserved[node.id] -= 1
            if not self._unobserved[node.id]:
                del self._unobserved[node.id]

    def _shut_out(self, node: Node) -> None:
        """Keep selection from a closed node, and from every node above it that has nothing else to offer."""
        self._shut.add(node.id)
        self._blocked.add(node.id)
        for kind in (self._shut, self._blocked):  # for good; and while others are under way
            above = self.tree.parent(node)
            while above is not None and all(child in kind for child in above.children):
                self._blocked.add(above.id)
                kind.add(above.id)
                above = self.tree.parent(above)

    # -- tell --------------------------------------------------------------------------------------------------

    def grow(self, trial: Trial, growth: Growth) -> None:
        """Give the leaf of a trial under way its children at once, so that other trials can go on below it.

        The trial stays under way, from now on at the child of highest prior; it is told whole as any other.

        :raises TrialError: for a trial that is not under way or has grown its leaf, or a growth that does not fit it.
        """
        if self._under_way.get(trial.number) is not trial or self._at[trial.number] != trial.leaf:
            raise TrialError(f"trial {trial.number} is not in progress in this search, or has grown its leaf already")
        self._check_growth(trial.kind, growth)
        self._leave(trial)
        self._open(trial, self.tree[self._expand(trial.leaf, growth)])

    def replay_growth(self, leaf: int, growth: Growth) -> None:
        """Commit a journalled growth of a leaf.

        :raises TrialError: if it cannot have grown so.
        """
        node = self.tree[leaf]
        if node.children or node.closed is not None:
            raise TrialError(f"node {leaf} is not an open leaf")
        self._check_growth(self._kind_of(node, growth), growth)
        self._expand(leaf, growth)

    def release(self, trial: Trial) -> None:
        """Give up a trial that failed: its counts go, the tree stays as it was. Again: nothing.

        Where it had grown its leaf, another trial will be asked to finish it.
        """
        if self._under_way.get(trial.number) is trial:
            del self._under_way[trial.number]
            self._leave(trial)

    def tell(self, trial: Trial, outcome: Outcome) -> bool:
        """Commit what a trial found. Trials may be told in any order.

        A closure closes one node: selection never enters it again. It is no iteration, and no Q or N changes.

        :returns: False, with nothing changed, where the trial was told before.
        :raises TrialError: for a trial that is not under way (released, or of another search), or an outcome that
            does not fit it; the tree is unchanged then.
        """
        if trial.number in self._told:
            return False
        if self._under_way.get(trial.number) is not trial:
            raise TrialError(f"trial {trial.number} is not in progress in this search")
        self._check(trial.kind, outcome)
        assert isinstance(outcome, Simulation | Closure)
        if self._at[trial.number] != trial.leaf and outcome.scores is None:
            raise TrialError(f"trial {trial.number} has grown its leaf, and the outcome has no scores: {outcome}")
        del self._under_way[trial.number]
        self._leave(trial)
        self._told.add(trial.number)
        self._commit(trial.leaf, outcome)
        return True

    def replay(self, kind: str, leaf: int, outcome: Outcome) -> None:
        """Commit a journalled trial on the leaf it was played on.

        :raises TrialError: if the leaf cannot have had that outcome.
        """
        if kind != "trial" or not isinstance(outcome, Simulation | Closure):
            raise TrialError(f"a search by {self.name!r} has no trial of kind {kind!r}")
        node = self.tree[leaf]
        grown = self._unfinished(node) is not None
        if node.children and not (grown and outcome.scores is not None):
            raise TrialError(f"node {leaf} is not a leaf")
        if node.closed is not None and not isinstance(node, EndNode):  # an end may be judged twice at a time
            raise TrialError(f"node {leaf} is closed")
        self._check(self._kind_of(node, outcome), outcome)
        self._commit(leaf, outcome)

    def _kind_of(self, node: Node, outcome: Simulation | Closure | Growth) -> TrialKind:
        """The kind of a journalled trial: what the node was when it was asked, and not what others made of it since."""
        if node.children:  # a growth gave it some
            return "expand" if outcome.generated is None else "generate"
        kind = self._kind(node)
        if kind == "finish" and outcome.generated is not None and self._unfinished(self.tree[node.parent]) != node.id:
            return "generate"  # it was asked before its sibling was closed
        return kind

    def probe(self, node_id: int, outcome: Simulation | Closure) -> StrategyNode:
        """Give an unexpanded node its turn and one reward apart from the search: nothing is backpropagated.

        :param outcome: what :func:`~mctsdialog._search.run_probe` found; a closure closes the node.
        :raises TreeError: for a node that is not unexpanded, or closed.
        :raises TrialError: for an outcome that is not a probe's.
        """
        if isinstance(outcome, Closure):
            return self._closed_probe(node_id, outcome)
        fits = outcome.child is not None and outcome.scores is None and outcome.generated is None
        fits = fits and len(outcome.draws) in (0, len(outcome.judgements))
        if outcome.child is None or not fits or len(outcome.judgements) != 1 + len(outcome.steps):
            raise TrialError(f"the outcome does not fit a probe: {outcome}")
        node = self.tree.speak(node_id, outcome.child.supporter, outcome.child.seeker)
        total = self._reward(outcome)
        node.rollout = _rollout(outcome, total)
        node.value, node.visits, node.probe = total, 1, True
        return node

    def _closed_probe(self, node_id: int, closure: Closure) -> StrategyNode:
        node = self.tree[node_id]
        if not isinstance(node, UnexpandedNode) or closure.generated is not None or closure.scores is not None:
            raise TrialError(f"the closure does not fit a probe of {node.type} node {node_id}: {closure}")
        self.close(node_id, closure.reason)
        return node

    def close(self, node_id: int, reason: str) -> None:
        """Close a leaf: selection never enters it again. A closed one keeps its first reason.

        :param reason: who refuses, and how.
        :raises TreeError: for a node with children.
        """
        if self.tree[node_id].closed is None:
            self.tree.close(node_id, reason)
            self._shut_out(self.tree[node_id])
            self._refused += 1

    def _reward(self, outcome: Simulation) -> float:
        return mean([reward(scores, self._weights, self.config.bias) for scores in outcome.judgements])

    def _check(self, kind: TrialKind, outcome: Outcome) -> None:
        if isinstance(outcome, Closure):
            self._check_closure(kind, outcome)
            return
        if not isinstance(outcome, Simulation):
            raise TrialError(f"the outcome does not fit a trial of kind {kind!r}: {outcome}")
        ended = kind == "end" or (outcome.generated is not None and outcome.generated.seeker is None)
        fits = (outcome.generated is not None) == (kind == "generate")
        fits = fits and (outcome.scores is not None) == (not ended and kind != "finish")
        fits = fits and (outcome.child is not None) == (not ended)
        child_ended = outcome.child is not None and outcome.child.seeker is None
        fits = fits and not (outcome.steps and (ended or child_ended))
        fits = fits and len(outcome.steps) <= self.config.horizon
        fits = fits and len(outcome.judgements) == 1 + len(outcome.steps)
        fits = fits and len(outcome.draws) in (0, len(outcome.judgements))
        if not fits:
            raise TrialError(f"the outcome does not fit a trial of kind {kind!r}: {outcome}")

    def _check_closure(self, kind: TrialKind, closure: Closure) -> None:
        said, scored = closure.generated, closure.scores is not None
        fits = said is None or (kind == "generate" and said.seeker is not None)
        if not fits or (scored and kind != "expand" and said is None):
            raise TrialError(f"the closure does not fit a trial of kind {kind!r}: {closure}")

    def _check_growth(self, kind: TrialKind, growth: Growth) -> None:
        ended = growth.generated is not None and growth.generated.seeker is None
        if kind not in ("generate", "expand") or ended or (growth.generated is not None) != (kind == "generate"):
            raise TrialError(f"the growth does not fit a trial of kind {kind!r}: {growth}")

    def _commit(self, leaf_id: int, outcome: Simulation | Closure) -> None:
        if isinstance(outcome, Closure):
            self._commit_closure(leaf_id, outcome)
            return
        evaluated = self._evaluated(leaf_id, outcome)
        total = self._reward(outcome)
        if evaluated.rollout is None and not evaluated.gold:
            evaluated.rollout = _rollout(outcome, total)
        self._backpropagate(evaluated, total)
        self.tree.iterations += 1

    def _commit_closure(self, leaf_id: int, closure: Closure) -> None:
        node_id = leaf_id
        if closure.scores is not None:
            grown = self._unfinished(self.tree[leaf_id])
            node_id = self._expand(leaf_id, Growth(closure.generated, closure.scores)) if grown is None else grown
        elif closure.generated is not None:
            self.tree.speak(leaf_id, closure.generated.supporter, closure.generated.seeker)
        self.close(node_id, closure.reason)

    def _evaluated(self, leaf_id: int, outcome: Simulation) -> SpokenNode:
        """Add what was generated, and give the node that was evaluated."""
        tree = self.tree
        if outcome.child is None:
            if outcome.generated is not None:
                tree.speak(leaf_id, outcome.generated.supporter, outcome.generated.seeker)
            leaf = tree[leaf_id]
            assert isinstance(leaf, EndNode)
            return leaf
        child = leaf_id
        if outcome.scores is not None:
            grown = self._unfinished(tree[leaf_id])
            child = self._expand(leaf_id, Growth(outcome.generated, outcome.scores)) if grown is None else grown
        return tree.speak(child, outcome.child.supporter, outcome.child.seeker)

    def _expand(self, leaf_id: int, growth: Growth) -> int:
        """Give a leaf its own turns, where it has none, and its children; gives the child of highest prior."""
        tree, names = self.tree, self.tree.domain.strategies.names
        if growth.generated is not None:
            tree.speak(leaf_id, growth.generated.supporter, growth.generated.seeker)
        priors = softmax(growth.scores, self.config.prior_temperature)
        return tree.expand(leaf_id, growth.scores, priors)[names.index(highest(names, priors))]

    def _backpropagate(self, node: Node, total: float) -> None:
        current: Node | None = node
        while current is not None:
            current.value = running_mean(current.value, current.visits, total)
            current.visits += 1
            current = self.tree.parent(current)

    @classmethod
    def most_calls(cls, config: SearchConfig) -> Mapping[str, int]:
        """The most calls to each role that one trial can take."""
        return most_calls_by_role(config.horizon)

    @classmethod
    def check(cls, tree: Tree) -> None:
        """Verify visits and values: a node's are its children's and its own (:func:`own_visits`).

        :raises TreeError: naming the first node where they are not.
        """
        for node in tree:
            if node.children or (isinstance(node, ExpandedNode) and not node.gold):
                _check_visits(tree, node)

    # -- gold --------------------------------------------------------------------------------------------------

    def seed(self, node_id: int, scores: Mapping[str, float], strategy: str, gold: Exchange) -> SpokenNode:
        """Expand a gold node (or the root) and put the next gold turn on it.

        The gold child and the root get ``Q = best score + bias`` and ``N = gold_visits``; the siblings stay
        unexpanded. ``gold.seeker`` is None for the last gold turn, which becomes an end node.
        """
        priors = with_gold(softmax(scores, self.config.prior_temperature), strategy, self.config.gold_prior)
        children = self.tree.expand(node_id, scores, priors)
        child_id = children[self.tree.domain.strategies.names.index(strategy)]
        child = self.tree.speak(child_id, gold.supporter, gold.seeker, gold=True)
        for node in (self.tree.root, child):
            node.visits = self.config.gold_visits
            node.value = self.tree.domain.max_score + self.config.bias if node.visits else 0.0
        return child


def _rollout(outcome: Simulation, total: float) -> Rollout:
    draws = tuple(tuple(map(shared_scores, each)) for each in outcome.draws)
    return Rollout(outcome.steps, tuple(map(shared_scores, outcome.judgements)), total, draws)


def _check_visits(tree: Tree, node: Node) -> None:
    own = own_visits(tree, node)
    visits, total = tree.below(node)
    if node.visits - visits != own:
        raise TreeError(f"{node.visits} visits; its children have {visits} and {own} own", node_id=node.id)
    if own:
        rollout = node.rollout if isinstance(node, SpokenNode) else None
        if rollout is None:
            raise TreeError("has an own visit but no rollout", node_id=node.id)
        total += rollout.reward
    if not math.isclose(node.visits * node.value, total, rel_tol=1e-9, abs_tol=1e-6):
        raise TreeError("its value is not the mean of its children's and its own", node_id=node.id)


@checked()
def own_visits(tree: Tree, node: Node) -> int:
    """How many of the node's visits are its own, not its children's.

    For an expanded node below the root that is 1 if it is the highest-prior child of a parent that was searched, or
    a probe, else 0. Where that child was refused and closed, each sibling that was simulated from has one. Children of
    a gold node's parent are seeded, not simulated: gold nodes bring their visits along the whole gold path, and their
    siblings are reached by selection alone.
    """
    parent = tree.parent(node)
    if parent is None:
        return 0
    if isinstance(node, SpokenNode) and node.probe:
        return 1
    siblings = tree.children(parent)
    if any(isinstance(sibling, SpokenNode) and sibling.gold for sibling in siblings):
        return 0
    best = max(siblings, key=lambda sibling: sibling.prior)
    if isinstance(best, UnexpandedNode) and best.closed is not None:
        return int(isinstance(node, SpokenNode) and node.rollout is not None)
    return int(best is node)


@checked()
def most_calls(horizon: int, judge_samples: int = 1) -> int:
    """The most calls that one trial can take, refused replies that are asked for again left out.

    The leaf's exchange (2), its scores (1), the child's exchange and judgement (3), and for each simulated round
    scores, exchange and judgement (4). A judgement takes ``judge_samples`` calls to the judge's model.
    """
    return sum(most_calls_by_role(horizon, judge_samples).values())


@checked()
def most_calls_by_role(horizon: int, judge_samples: int = 1) -> dict[str, int]:
    """The most calls to each role that one trial can take; :func:`most_calls` is their sum."""
    return {
        "seeker": 2 + horizon,
        "supporter": 2 + horizon,
        "strategist": 1 + horizon,
        "judge": judge_samples * (1 + horizon),
    }
