"""Gumbel search (Danihelka et al., ICLR 2022, as mctx has it): sequential halving at the root, completed Q below it.

Every node that is selected is said and judged; its V, the mean reward of the turns down to it, is what a value network
gives there. A dialogue is a row of decisions: once the first is made, the search goes on below it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from mctsdialog import _settings
from mctsdialog.algorithms._base import register
from mctsdialog.algorithms._batch import CALLS, Request
from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.algorithms._levels import LevelSearch
from mctsdialog.algorithms._rules import softmax, uniform
from mctsdialog.tree import EndNode, ExpandedNode, Node, RootNode, SpokenNode, StrategyNode, Tree, UnexpandedNode

_VISIT = CALLS["score"] + CALLS["turn"]  # calls that one more node takes, about
_LEAST_PRIOR = 1e-9


class HalvingSettings(_settings.Settings):
    """Settings of the Gumbel search."""

    candidates: int = Field(default=16, ge=1, description="most strategies that halving begins with, 1 or more")
    gumbel_scale: float = Field(default=1.0, ge=0.0, description="weight of the random part at the root, 0 or more")
    value_scale: float = Field(default=0.1, gt=0.0, description="weight of Q, which is scaled to 0 to 1, above 0")
    visit_offset: float = Field(default=50.0, ge=0.0, description="added to the most visits in that weight, 0 or more")
    first_share: float = Field(
        default=0.5, gt=0.0, le=1.0, description="share of the calls for the first decision, above 0 to 1"
    )
    max_rounds: int = Field(default=30, ge=1, description="most supporter turns below the root, 1 or more")


@register
class Halving(LevelSearch):
    """Decides one supporter turn after the other, each by sequential halving over what is below it.

    The candidates are those of highest Gumbel draw plus log prior. In each phase all that are left get equally many
    visits, and the better half by draw, prior and Q goes on. Below a candidate a visit selects the child that lacks
    most of its share in the improved policy, until one is found that nobody has said.
    """

    name = "halving"
    Settings: ClassVar[type[_settings.Settings]] = HalvingSettings

    def __init__(
        self, tree: Tree, config: SearchConfig, *, max_calls: int | None = None, can_rejudge: bool = False
    ) -> None:
        self._done: set[int] = set()  # nothing below them is left to say
        super().__init__(tree, config, max_calls=max_calls, can_rejudge=can_rejudge)
        self._decided: dict[int, int] = {}  # the child that was decided for
        for node in tree:
            self._finish(node)

    # -- what is left to say ---------------------------------------------------------------------------------------

    def _place(self, node: SpokenNode) -> None:
        super()._place(node)
        self._finish(node)

    def close(self, node_id: int, reason: str) -> None:
        """Close a leaf for good."""
        super().close(node_id, reason)
        self._finish(self.tree[node_id])

    def _finish(self, node: Node) -> None:
        last = isinstance(node, EndNode) or self.depth(node) >= self.own.max_rounds
        if node.closed is None and not (last and isinstance(node, SpokenNode)):
            return
        current: Node | None = node
        while current is not None and (current is node or all(child in self._done for child in current.children)):
            self._done.add(current.id)
            current = self.tree.parent(current)

    def _open(self, node: Node) -> list[StrategyNode]:
        return [child for child in self.tree.children(node) if child.id not in self._done]

    # -- deciding --------------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[Sequence[Request]]:
        """The first decision, one dialogue to its end below it, and the other decisions; then all once more."""
        yield self.gold_turns()
        before = -1
        while before < self.calls and self.tree.root.id not in self._done:
            before = self.calls
            yield from self._halve(self.tree.root, int(self.left() * self.own.first_share))
            if not self.ends():
                yield from self._dive(self._decision(self.tree.root))
            node = self._decision(self.tree.root)
            while isinstance(node, ExpandedNode) and node.id not in self._done:
                yield from self._halve(node, self.left() // max(1, self.rounds() - self.depth(node)))
                node = self._decision(node)

    def _decision(self, node: Node) -> Node | None:
        child = self._decided.get(node.id)
        return None if child is None else self.tree[child]

    def _halve(self, node: RootNode | ExpandedNode, calls: int) -> Iterator[Sequence[Request]]:
        """Sequential halving among a node's children; the best of those that are left at the end is decided for."""
        yield [Request("score", node.id)]
        found = self._open(node)
        if not found:
            return
        first, ratings = node.id not in self._decided, self._ratings(node)
        names = sorted((child.id for child in found), key=lambda child: -ratings[child])[: self.own.candidates]
        phases = max(1, math.ceil(math.log2(len(names))))
        best, left = names[0], max(1, calls // _VISIT)
        visits = left
        while left > 0 and any(child not in self._done for child in names):
            for _ in range(max(1, visits // (phases * len(names)))):
                yield from self._visit_below(names[: max(0, left)])
                left -= len(names)
            ratings = self._ratings(node)
            names.sort(key=lambda child: (not self._said(child), -ratings[child]))
            best, names = names[0], names[: max(2, len(names) // 2)]
            if first:  # as good as it gets, where the calls end here
                self._decided[node.id] = best
        self._decided[node.id] = best

    def _said(self, node_id: int) -> bool:
        return isinstance(self.tree[node_id], SpokenNode)

    def _ratings(self, node: Node) -> dict[int, float]:
        """Gumbel draw, log prior and completed Q of a node's children."""
        improved = self._improved(node)
        scale = self.own.gumbel_scale
        return {child: value + scale * _gumbel(self.tree.id, child) for child, value in improved.items()}

    def _visit_below(self, candidates: Sequence[int]) -> Iterator[Sequence[Request]]:
        """One visit of each: the strategist is asked where there are no children, and one more turn is said."""
        leaves = [self._leaf(self.tree[child]) for child in candidates if child not in self._done]
        yield [Request("score", leaf.id) for leaf in leaves if not isinstance(leaf, UnexpandedNode)]
        turns = [self._leaf(leaf) for leaf in leaves]
        yield [Request("turn", leaf.id) for leaf in turns if isinstance(leaf, UnexpandedNode)]

    def _dive(self, node: Node | None) -> Iterator[Sequence[Request]]:
        """Down to the end of a dialogue: the best child of the one before at every turn."""
        while node is not None and node.id not in self._done and not isinstance(node, UnexpandedNode):
            yield from self._visit_below([node.id])
            node = max(self._open(node), key=lambda child: (child.visits > 0, child.value), default=None)

    def _leaf(self, node: Node) -> Node:
        """From a node down, the child that lacks most of its share in the improved policy."""
        while node.children and node.id not in self._done:
            improved = self._improved(node)
            policy = softmax({str(child): value for child, value in improved.items()}, 1.0)
            total = 1 + sum(child.visits for child in self.tree.children(node))
            node = max(self._open(node), key=lambda child: policy[str(child.id)] - child.visits / total)
        return node

    def _improved(self, node: Node) -> dict[int, float]:
        """Log prior and completed Q of a node's children: the logits of the improved policy."""
        children = self.tree.children(node)
        values = _completed(children, self._mean(node) if isinstance(node, SpokenNode) else None)
        low, high = min(values.values()), max(values.values())
        weight = (self.own.visit_offset + max(child.visits for child in children)) * self.own.value_scale
        return {
            child.id: math.log(max(child.prior, _LEAST_PRIOR))
            + weight * (values[child.id] - low) / max(high - low, 1e-8)
            for child in children
        }

    def recommend(self, node: Node) -> Sequence[SpokenNode]:
        """The children of a node that have words: the one that was decided for first."""
        decided = self._decided.get(node.id)
        spoken = super().recommend(node)
        return sorted(spoken, key=lambda child: (child.closed is not None, child.id != decided))


def _completed(children: Sequence[StrategyNode], value: float | None) -> Mapping[int, float]:
    """Q of the children; those without visits have the mixed value (Danihelka et al., appendix D).

    :param value: V of the node itself; None for the root, which has none.
    """
    visited = [child for child in children if child.visits]
    visits = sum(child.visits for child in visited)
    mass = math.fsum(max(child.prior, _LEAST_PRIOR) for child in visited)
    mixed = value or 0.0
    if visited:
        weighted = math.fsum(max(child.prior, _LEAST_PRIOR) * child.value for child in visited) / mass
        mixed = weighted if value is None else (value + visits * weighted) / (visits + 1)
    return {child.id: child.value if child.visits else mixed for child in children}


def _gumbel(*key: str | float) -> float:
    draw = min(max(uniform(*key), 1e-12), 1.0 - 1e-12)
    return -math.log(-math.log(draw))
