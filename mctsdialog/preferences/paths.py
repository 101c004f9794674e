"""Valid paths of a tree (paper eq. 5). Everything here is linear in the tree's size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mctsdialog.dialogue import Dialogue
from mctsdialog.preferences.config import PathRule, PreferenceConfig
from mctsdialog.tree import EndNode, Node, SpokenNode, StrategyNode, Tree


@dataclass(frozen=True, slots=True)
class Family:
    """One turn of the conversation: a node on a valid path and what may be said after it.

    :param parent: the node whose children these are.
    :param chosen: children on a valid path, in the order of the strategy set; at least one.
    :param rejected: expanded or end children on no valid path, with ``Q < theta`` and a visit (eq. 6).
    :param others: the other children: not tried, not visited, closed, or good but on no valid path.
    """

    parent: Node
    chosen: tuple[SpokenNode, ...]
    rejected: tuple[SpokenNode, ...]
    others: tuple[StrategyNode, ...]


class ValidPaths:
    """Which nodes of a tree are on a valid path.

    :param tree: the tree; it must not change while this is used.
    :param config: theta, least visits and path rule.
    :raises ConfigError: for a theta that is no reward of the tree's judge.
    :ivar ends: end nodes of the valid paths, in the order of their ids.
    :ivar reason: why there is no valid path; None where there is one.
    """

    def __init__(self, tree: Tree, config: PreferenceConfig) -> None:
        config.check(tree)
        self.tree = tree
        self.config = config
        good = _good(tree, config)
        finished = [node for node in tree if isinstance(node, EndNode) and node.closed is None]
        visited = [node for node in finished if node.visits >= config.min_visits]
        self.ends: list[EndNode] = [node for node in visited if good[node.id]]
        self.reason = None if self.ends else self._reason(finished, visited)
        self._on = bytearray(len(tree))
        for end in self.ends:
            node: Node | None = end
            while node is not None and not self._on[node.id]:
                self._on[node.id] = 1
                node = tree.parent(node)

    def __contains__(self, node: Node) -> bool:
        return bool(self._on[node.id])

    def __iter__(self) -> Iterator[list[Node]]:
        """The paths, each from the root to its end node."""
        return map(self.tree.path, self.ends)

    def __len__(self) -> int:
        return len(self.ends)

    def families(self) -> Iterator[Family]:
        """The turns on valid paths, parents before children; each turn once, however many paths share it."""
        for parent in self.tree:
            if parent in self and parent.children:
                children = self.tree.children(parent)
                chosen = tuple(child for child in children if isinstance(child, SpokenNode) and child in self)
                rejected = tuple(child for child in children if isinstance(child, SpokenNode) and self._rejected(child))
                taken = {child.id for child in (*chosen, *rejected)}
                yield Family(parent, chosen, rejected, tuple(child for child in children if child.id not in taken))

    def _rejected(self, node: SpokenNode) -> bool:
        return node not in self and node.visits >= 1 and node.value < self.config.theta and node.closed is None

    def _reason(self, finished: list[EndNode], visited: list[EndNode]) -> str:
        if not finished:
            return "no end node"
        if not visited:
            return f"no end node with {self.config.min_visits} visits"
        if self.config.path_rule == "all" and self.tree.root.value < self.config.theta:
            return "root below theta"
        return "no path at theta or above"


def _good(tree: Tree, config: PreferenceConfig) -> bytearray:
    """For every node, whether the path down to it keeps the path rule."""
    every = config.path_rule == "all"
    good = bytearray(len(tree))
    for node in tree:
        above = node.parent < 0 or not every or good[node.parent]
        good[node.id] = above and node.value >= config.theta
    return good


def valid_paths(
    tree: Tree, theta: float = 0.5, min_visits: int = 2, path_rule: PathRule = "all"
) -> list[tuple[Node, ...]]:
    """The valid paths of a tree (paper eq. 5), in the order of their end nodes' ids.

    A path is valid if it ends in an end node of at least ``min_visits`` visits and every node on it, from the root
    to the end, has ``Q >= theta``; with ``path_rule="end"`` the end node alone must. A closed end node ends none.

    :param theta: threshold of Q, within the rewards of the tree's judge (paper: 0.5 in -3 to 1).
    :raises ConfigError: for a setting out of range.
    """
    config = PreferenceConfig(theta=theta, min_visits=min_visits, path_rule=path_rule)
    return [tuple(path) for path in ValidPaths(tree, config)]


def gold_dialogue(tree: Tree) -> Dialogue | None:
    """The gold dialogue that the tree grew from; None for a tree that began without gold turns.

    Where the strategist refused a gold turn, it ends before that turn.

    A seeker turn after the last supporter turn is not in the tree, and so not in the dialogue.
    """
    node: Node = tree.root
    while True:
        gold = [child for child in tree.children(node) if isinstance(child, SpokenNode) and child.gold]
        if not gold:
            break
        node = gold[0]
    if node is tree.root:
        return None
    return Dialogue(**dict(tree.scenario), turns=tree.history(node))
