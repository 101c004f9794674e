"""The conversation tree: growing it, walking it, checking it.

Look-up of a node is O(1). Nothing recurses, so depth has no limit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from mctsdialog import _repr
from mctsdialog._arguments import checked
from mctsdialog._moved import warn
from mctsdialog.dialogue import Domain, Scenario, Turn
from mctsdialog.errors import TreeError, shown
from mctsdialog.tree._nodes import (
    MOST_REASON,
    EndNode,
    ExpandedNode,
    Node,
    NodeType,
    RootNode,
    SpokenNode,
    StrategyNode,
    UnexpandedNode,
)

INVARIANTS: Final[dict[str, Callable[[Tree], None]]] = {}
"""What each algorithm promises of its trees, by its name: called once the structure of a tree has been checked."""


@dataclass(frozen=True, slots=True)
class BestPath:
    """The best dialogue of a tree, from the root to an end node. It is empty, and false, if no end node was visited.

    :param nodes: the root first.
    :param turns: the conversation, supporter turns with their strategies.
    :param value: mean Q of the nodes below the root, or mean of the posteriors of their turns, where the search has
        some; NaN for an empty path.
    """

    nodes: tuple[Node, ...] = ()
    turns: tuple[Turn, ...] = ()
    value: float = math.nan

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies of the nodes below the root."""
        return tuple(node.strategy for node in self.nodes if node.strategy is not None)

    def __len__(self) -> int:
        """How many nodes there are, the root included."""
        return len(self.nodes)

    def __iter__(self) -> Iterator[Any]:
        warn("best_path() is an object with nodes, turns and value, no longer a pair of nodes and value")
        return iter((list(self.nodes), self.value))

    def __getitem__(self, place: int) -> Any:
        warn("best_path() is an object with nodes, turns and value, no longer a pair of nodes and value")
        return (list(self.nodes), self.value)[place]


@checked()
class Tree:
    """A conversation tree. Node 0 is the root; ids are positions in the order of creation.

    Methods take a node or its id. Two trees are equal only if they are one object; their contents are compared by
    :func:`~mctsdialog.tree.tree_to_document`.

    :param scenario: what the conversation is about.
    :param domain: its strategies and rubric.
    :param turns: the opening turns, which the root holds; the last is the seeker's.
    :ivar config: the search's settings as plain JSON values; empty for a tree that no search grew.
    :ivar roles: the names of the models that played the roles, where known.
    :ivar iterations: trials committed.
    :ivar stop_reason: why the search stopped; None while it runs.
    :ivar calibration: what the search learnt of its judge and strategist, as plain JSON values; None from an algorithm
        that learns nothing.
    """

    def __init__(self, scenario: Scenario, domain: Domain, turns: Sequence[Turn]) -> None:
        if not turns or turns[-1].speaker != "seeker":
            raise TreeError("the root needs opening turns that end with the seeker's", node_id=0)
        self.scenario = scenario
        self.domain = domain
        self.config: Mapping[str, Any] = {}
        self.roles: Mapping[str, Any] = {}
        self.iterations = 0
        self.stop_reason: str | None = None
        self.calibration: Mapping[str, Any] | None = None
        self._ends = 0
        self._nodes: list[Node] = [RootNode(tuple(turns))]

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The scenario's id."""
        return self.scenario.id

    @property
    def root(self) -> RootNode:
        """Node 0."""
        root = self._nodes[0]
        assert isinstance(root, RootNode)
        return root

    @property
    def ends(self) -> int:
        """How many end nodes there are, the gold one counted."""
        return self._ends

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, node_id: int | Node) -> Node:
        """The node with that id; for a node, the tree's present node of its id. Every method takes either.

        :raises TreeError: when there is none.
        """
        if isinstance(node_id, Node):
            node_id = node_id.id
        if not isinstance(node_id, int):
            raise TreeError(f"nodes are found by their ids, whole numbers, not by {shown(node_id)}")
        if not 0 <= node_id < len(self._nodes):
            raise TreeError(f"there is no such node; ids go from 0 to {len(self._nodes) - 1}", node_id=node_id)
        return self._nodes[node_id]

    def __iter__(self) -> Iterator[Node]:
        """All nodes in the order of their ids; a parent always comes before its children."""
        return iter(self._nodes)

    def children(self, node: Node | int) -> list[StrategyNode]:
        """The node's children, in the order of the strategy set."""
        try:
            span = node.children  # type: ignore[union-attr]  # an id has none
            return self._nodes[span.start : span.stop]  # type: ignore[return-value]  # children are strategy nodes
        except AttributeError:
            return self.children(self[node])

    def best_child(self, node: Node | int | None = None) -> SpokenNode | None:
        """The child that the search visited most, of the root by default; the higher Q decides between equals.

        None if no child was visited: Q and N of an unexpanded node are 0 and mean nothing.
        """
        visited = [each for each in self.children(self.root if node is None else node) if each.visits]
        spoken = [each for each in visited if isinstance(each, SpokenNode) and each.closed is None]
        return max(spoken, key=lambda each: (each.visits, each.value), default=None)

    def parent(self, node: Node | int) -> Node | None:
        """The node's parent; None for the root."""
        try:
            above = node.parent  # type: ignore[union-attr]  # an id has none
            return None if above < 0 else self._nodes[above]
        except (AttributeError, TypeError):
            return self.parent(self[node])

    def path(self, node: Node | int) -> list[Node]:
        """The nodes from the root to ``node``, both included."""
        if not isinstance(node, Node):
            node = self[node]
        path = [node]
        while (above := self.parent(node)) is not None:
            node = above
            path.append(node)
        path.reverse()
        return path

    def history(self, node: Node | int) -> tuple[Turn, ...]:
        """The conversation from the start to the last turn of ``node``, supporter turns with their strategies.

        An unexpanded node has no turns: its history is its parent's.
        """
        turns: list[Turn] = []
        if not isinstance(node, Node):
            node = self[node]
        while not isinstance(node, RootNode):
            if isinstance(node, SpokenNode):
                if isinstance(node, ExpandedNode):
                    turns.append(Turn("seeker", node.seeker))
                turns.append(Turn("supporter", node.supporter, node.strategy))
            node = self._nodes[node.parent]
        turns.extend(reversed(node.turns))
        turns.reverse()
        return tuple(turns)

    def walk(self, node: Node | int | None = None) -> Iterator[Node]:
        """Depth-first over the subtree of ``node`` (the whole tree by default), parents first."""
        if not isinstance(node, Node | None):
            node = self[node]
        return self._walk(self.root if node is None else node)

    def _walk(self, node: Node) -> Iterator[Node]:
        stack = [node]
        while stack:
            current = stack.pop()
            yield current
            stack.extend(self._nodes[child] for child in reversed(current.children))

    def depth(self, node: Node | int) -> int:
        """Edges between the root and ``node``."""
        return len(self.path(node)) - 1

    def counts(self) -> dict[NodeType, int]:
        """How many nodes there are of each type."""
        counts: dict[NodeType, int] = {"root": 0, "unexpanded": 0, "expanded": 0, "end": 0}
        for node in self._nodes:
            counts[node.type] += 1
        return counts

    def closed(self) -> dict[str, int]:
        """How many branches are closed, by reason: refused for good by a model or its provider."""
        return dict(Counter(node.closed for node in self._nodes if node.closed is not None))

    def best_path(self) -> BestPath:
        """The path to an end node with the highest mean Q over its nodes below the root.

        Where the search has posteriors, their mean decides in place of Q. It is empty if no end node was visited;
        closed ones do not count. Ties go to the end node that was made first.
        """
        means = self.path_means()
        ends = [node for node in self if isinstance(node, EndNode) and node.visits and node.closed is None]
        if not ends:
            return BestPath()
        best = max(ends, key=lambda end: means[end.id])
        return BestPath(tuple(self.path(best)), self.history(best), means[best.id])

    def path_means(self) -> list[float]:
        """For every node, by id, the mean Q of the nodes from below the root down to it, or of their posteriors.

        A node without a posterior counts with its Q; the root's own mean is 0.
        """
        sums, depths = [0.0] * len(self._nodes), [0] * len(self._nodes)
        for node in self._nodes[1:]:
            found = node.posterior if isinstance(node, SpokenNode) else None
            sums[node.id] = sums[node.parent] + (node.value if found is None else found[0])
            depths[node.id] = depths[node.parent] + 1
        return [total / (depth or 1) for total, depth in zip(sums, depths, strict=True)]

    @property
    def has_posteriors(self) -> bool:
        """Whether the search says what it believes of its turns."""
        return any(isinstance(node, SpokenNode) and node.posterior is not None for node in self._nodes)

    def __repr__(self) -> str:
        return f"Tree(id={self.id!r}, nodes={len(self)}, ends={self.ends}, iterations={self.iterations})"

    def plot(self, ax: Any = None, **settings: Any) -> Any:
        """Draw the tree with matplotlib; the settings are those of :func:`mctsdialog.export._plot.plot_tree`.

        :param ax: matplotlib axes to draw on; a new figure by default.
        :returns: the axes.
        :raises ConfigError: if matplotlib is not installed, or for a setting out of range.
        """
        return _repr.plot(self, ax=ax, **settings)

    def _repr_html_(self) -> str | None:
        return _repr.html_of(self)

    # -- growing ---------------------------------------------------------------------------------------------

    def expand(self, node_id: int | Node, scores: Mapping[str, float], priors: Mapping[str, float]) -> range:
        """Give a leaf one unexpanded child for every strategy of the domain, in the set's order.

        :param scores: raw scores by strategy; one left out is kept as NaN.
        :param priors: P by strategy; one left out is 0.
        :returns: the ids of the children.
        :raises TreeError: for a node that cannot have children, already has some or is closed.
        """
        node = self[node_id]
        if not isinstance(node, RootNode | ExpandedNode) or node.children or node.closed is not None:
            raise TreeError("only a root or expanded node without children can be expanded", node_id=node.id)
        for field, given in (("scores", scores), ("priors", priors)):
            if not isinstance(given, Mapping):
                raise TreeError(f"{field} must be numbers by strategy, not {shown(given)}", node_id=node.id)
        first = len(self._nodes)
        for offset, name in enumerate(self.domain.strategies.names):
            score = scores.get(name, math.nan)
            self._nodes.append(UnexpandedNode(first + offset, node.id, name, score, priors.get(name, 0.0)))
        node._children = range(first, len(self._nodes))  # the tree alone sets links
        return node.children

    def speak(
        self, node_id: int | Node, supporter: str, seeker: str | None, *, gold: bool = False
    ) -> ExpandedNode | EndNode:
        """Turn an unexpanded node into an expanded one, or into an end node where ``seeker`` is None.

        :raises TreeError: for a node that is not unexpanded, or closed.
        """
        origin = self[node_id]
        if not isinstance(origin, UnexpandedNode) or origin.closed is not None:
            state = origin.type if origin.closed is None else "closed"
            raise TreeError(f"only an unexpanded node can be generated; this is {state}", node_id=origin.id)
        if not isinstance(supporter, str) or not isinstance(seeker, str | None):
            wrong = ("supporter", supporter) if not isinstance(supporter, str) else ("seeker", seeker)
            raise TreeError(f"{wrong[0]} must be a text, not {shown(wrong[1])}", node_id=origin.id)
        node: ExpandedNode | EndNode
        if seeker is None:
            node = EndNode(origin, supporter, gold=gold)
            self._ends += 1
        else:
            node = ExpandedNode(origin, supporter, seeker, gold=gold)
        self._nodes[origin.id] = node
        return node

    @checked()
    def close(self, node_id: int | Node, reason: str) -> None:
        """Mark a leaf as closed: what comes next at it is refused for good. A closed one keeps its first reason.

        :param reason: who refuses, and how: "supporter: refusal", "judge: content_filter".
        :raises TreeError: for a node with children, or a reason that is blank or above 200 characters.
        """
        node = self[node_id]
        if not reason.strip() or len(reason) > MOST_REASON:
            raise TreeError(f"a reason of {len(reason)} characters, or a blank one", node_id=node.id)
        if node.children:
            raise TreeError("only a leaf can be closed", node_id=node.id)
        if node.closed is None:
            node.closed = reason

    @checked()
    def subtree(self, node_id: int | Node) -> Tree:
        """The part of the tree below a node, as a tree of its own whose root is the conversation down to that node.

        Q and N of the new root are those of what is below it; its iterations are its visits.

        :raises TreeError: for a node that is not the root or expanded: the conversation does not go on from it.
        """
        top = self[node_id]
        if not isinstance(top, RootNode | ExpandedNode):
            raise TreeError(f"no conversation goes on from it; it is {top.type}", node_id=top.id)
        part = Tree(self.scenario, self.domain, self.history(top))
        part.config, part.roles = self.config, self.roles
        part.root.closed = top.closed
        kept = sorted(node.id for node in self.walk(top))
        places = {old: new for new, old in enumerate(kept)}
        for old in kept[1:]:
            node = copy(self._nodes[old])
            node.id, node.parent = places[old], places[node.parent]
            part._nodes.append(node)
            part._ends += isinstance(node, EndNode)
        for old, node in zip(kept, part._nodes, strict=True):
            if span := self._nodes[old].children:
                assert isinstance(node, RootNode | ExpandedNode)
                node._children = range(places[span.start], places[span.start] + len(span))
        visits, total = part.below(part.root)
        part.root.visits, part.root.value = visits, total / visits if visits else 0.0
        part.iterations = visits
        return part

    # -- checking --------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Verify every invariant of the tree.

        Links (parents before children, one child a strategy in the set's order, ids as positions), types (no Q, N
        or children where there may be none), priors (siblings sum to 1), visits and values: a node's visits are
        its children's plus its own (design: one for the highest-prior child of a searched parent, else none), and
        its total reward is theirs plus its own.

        :raises TreeError: naming the first node where one fails.
        """
        for position, node in enumerate(self._nodes):
            if node.id != position:
                raise TreeError(f"stands at position {position}", node_id=node.id)
            _check_node(node)
        expected = 1
        for node in self._nodes:
            if node.children:
                self._check_family(node)
                expected += len(node.children)
        if expected != len(self._nodes):
            raise TreeError(f"{len(self._nodes)} nodes, but {expected} are linked")
        if self.counts()["end"] != self._ends:
            raise TreeError(f"{self.counts()['end']} end nodes, but {self._ends} counted")
        promised = INVARIANTS.get(str(self.config.get("algorithm", "cso")))
        if promised is not None:
            promised(self)

    def _check_family(self, node: Node) -> None:
        children = self.children(node)
        if node.closed is not None:
            raise TreeError("is closed but has children", node_id=node.id)
        if not (node.id < node.children.start <= node.children.stop <= len(self._nodes)):
            raise TreeError(f"children {node.children} are out of range", node_id=node.id)
        if tuple(child.strategy for child in children) != self.domain.strategies.names:
            raise TreeError("the children are not one for each strategy, in order", node_id=node.id)
        if any(child.parent != node.id for child in children):
            raise TreeError("a child names another parent", node_id=node.id)
        if not math.isclose(math.fsum(child.prior for child in children), 1.0, abs_tol=1e-9):
            raise TreeError("the children's priors do not sum to 1", node_id=node.id)

    def below(self, node: Node) -> tuple[int, float]:
        """The visits that the node has of its children, and their total reward."""
        children = self.children(node)
        probes = [child for child in children if isinstance(child, SpokenNode) and child.probe]
        total = math.fsum(child.visits * child.value for child in children)
        total -= math.fsum(probe.rollout.reward for probe in probes if probe.rollout is not None)
        return sum(child.visits for child in children) - len(probes), total


def _check_node(node: Node) -> None:
    if not math.isfinite(node.value) or node.visits < 0:
        raise TreeError(f"Q = {node.value}, N = {node.visits}", node_id=node.id)
    if node.visits == 0 and node.value != 0.0:
        raise TreeError("has a value but no visit", node_id=node.id)
    if isinstance(node, UnexpandedNode) and node.visits:
        raise TreeError("is unexpanded but was visited", node_id=node.id)
    if isinstance(node, SpokenNode) and node.probe and (node.rollout is None or node.visits < 1 or node.gold):
        raise TreeError("is a probe, but has no reward of its own", node_id=node.id)
    if isinstance(node, StrategyNode) and not 0.0 <= node.prior <= 1.0:
        raise TreeError(f"prior {node.prior}", node_id=node.id)
    if isinstance(node, SpokenNode) and not node.supporter.strip():
        raise TreeError("the supporter's text is blank", node_id=node.id)
    if isinstance(node, ExpandedNode) and not node.seeker.strip():
        raise TreeError("the seeker's text is blank", node_id=node.id)
