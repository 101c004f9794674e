"""Valid paths of a tree (paper eq. 5), and the rewards that its judge can give. All is linear in the tree's size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError
from mctsdialog.tree._nodes import EndNode, Node, SpokenNode, StrategyNode
from mctsdialog.tree._tree import Tree

PathRule: TypeAlias = Literal["all", "end"]
"""Which nodes of a path must reach theta: all of them (paper eq. 5), or the end node alone."""

MAX_PATHS: Final = 8
"""Valid paths of a tree with posteriors, unless one says otherwise."""

_BIAS = -3.0  # of a tree that no search grew


@checked()
def reward_range(tree: Tree) -> tuple[float, float]:
    """The least and the greatest reward of the tree's search (paper eq. 2); with bias -3 where no search grew it."""
    bias = tree.config.get("bias", _BIAS)
    if isinstance(bias, bool) or not isinstance(bias, int | float) or not math.isfinite(bias):
        bias = _BIAS
    return float(bias), float(tree.domain.max_score + bias)


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


@checked()
class ValidPaths:
    """Which nodes of a tree are on a valid path.

    A path is valid if it ends in an end node of at least ``min_visits`` visits and every node on it, from the root
    to the end, has ``Q >= theta``; with ``path_rule="end"`` the end node alone must. A closed end node ends none.

    Where the search has posteriors (``tree.has_posteriors``), the whole paths of highest mean posterior are valid in
    place of these, and a rejected sibling need not be below theta: how sure a pair is, its confidence says.

    :param tree: the tree; it must not change while this is used.
    :param theta: threshold of Q, any finite number.
    :param min_visits: least visits of a path's end node, 0 or more.
    :param path_rule: "all" or "end".
    :param max_paths: most valid paths of a tree with posteriors.
    :raises ConfigError: for a setting out of range.
    :ivar ends: end nodes of the valid paths, in the order of their ids.
    :ivar reason: why there is no valid path; None if there is one.
    """

    def __init__(
        self,
        tree: Tree,
        theta: float = 0.5,
        min_visits: int = 2,
        path_rule: PathRule = "all",
        *,
        max_paths: int = MAX_PATHS,
    ) -> None:
        check_path_settings(theta, min_visits, path_rule)
        self.tree = tree
        self._theta = theta
        finished = [node for node in tree if isinstance(node, EndNode) and node.closed is None]
        self._believed = tree.has_posteriors
        if self._believed:
            means = tree.path_means()
            visited = [node for node in finished if node.visits]
            best = sorted(visited, key=lambda end: -means[end.id])[:max_paths]
            self.ends: list[EndNode] = sorted(best, key=lambda end: end.id)
        else:
            good = _good(tree, theta, path_rule)
            visited = [node for node in finished if node.visits >= min_visits]
            self.ends = [node for node in visited if good[node.id]]
        self._on = bytearray(len(tree))
        for end in self.ends:
            node: Node | None = end
            while node is not None and not self._on[node.id]:
                self._on[node.id] = 1
                node = tree.parent(node)
        self.reason: str | None = None
        if not finished:
            self.reason = "no end node"
        elif not visited:
            self.reason = "no end node with a visit" if self._believed else f"no end node with {min_visits} visits"
        elif not self.ends:
            low_root = path_rule == "all" and tree.root.value < theta
            self.reason = "root below theta" if low_root else "no path at theta or above"

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
        low = self._believed or node.value < self._theta
        return node not in self and node.visits >= 1 and low and node.closed is None


def check_path_settings(theta: float, min_visits: int, path_rule: str) -> None:
    """See that the settings of valid paths are sound.

    :raises ConfigError: naming the one that is not.
    """
    if not math.isfinite(theta):
        raise ConfigError(f"theta must be a finite number, not {theta}", field="theta")
    if min_visits < 0:
        raise ConfigError(f"min_visits must be 0 or more, not {min_visits}", field="min_visits")
    if path_rule not in get_args(PathRule):
        raise ConfigError(f"path_rule must be 'all' or 'end', not {path_rule!r}", field="path_rule")


def _good(tree: Tree, theta: float, path_rule: PathRule) -> bytearray:
    """For every node, whether the path down to it keeps the path rule."""
    every = path_rule == "all"
    good = bytearray(len(tree))
    for node in tree:
        above = node.parent < 0 or not every or good[node.parent]
        good[node.id] = above and node.value >= theta
    return good
