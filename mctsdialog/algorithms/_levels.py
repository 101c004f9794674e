"""What algorithms in batches have in common that bring whole dialogues on, one supporter turn after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mctsdialog.algorithms._batch import CALLS, BatchSearch, Request, draws
from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.algorithms._rules import mean
from mctsdialog.algorithms._trial import Exchange
from mctsdialog.tree import EndNode, ExpandedNode, Node, RootNode, SpokenNode, Tree

_CONTENDERS = 8  # best whole dialogues whose turns are judged again
_MOST_DRAWS = 4  # of one turn


class LevelSearch(BatchSearch):
    """Knows which turns were said at each depth, and which whole dialogues are the best.

    Its settings have a ``max_rounds``: a beginning of so many supporter turns counts as a whole dialogue.

    :ivar levels: the turns that were said, by depth; gold ones are there from the start.
    """

    calls_an_iteration: ClassVar[int] = CALLS["turn"]
    """About how many calls one judged turn takes, where iterations bound the search."""

    def __init__(
        self, tree: Tree, config: SearchConfig, *, max_calls: int | None = None, can_rejudge: bool = False
    ) -> None:
        super().__init__(tree, config, max_calls=max_calls, can_rejudge=can_rejudge)
        self.own = config.own
        self.levels: dict[int, list[SpokenNode]] = {}
        self._depths = {0: 0}
        for node in tree:
            if isinstance(node, SpokenNode) and (node.rollout is not None or node.gold):
                self._place(node)

    def take_in(self, node: SpokenNode, reward: float) -> None:
        """Note a turn that was said."""
        del reward
        if len(draws(node)) == 1 and not node.gold:
            self._place(node)

    def seed(self, node_id: int, scores: Mapping[str, float], strategy: str, gold: Exchange) -> SpokenNode:
        """Put a gold turn into the tree."""
        node = super().seed(node_id, scores, strategy, gold)
        self._place(node)
        return node

    def _place(self, node: SpokenNode) -> None:
        self.levels.setdefault(self.depth(node), []).append(node)

    def depth(self, node: Node) -> int:
        """Supporter turns down to a node."""
        if node.id not in self._depths:
            above = self._depths.get(node.parent)
            self._depths[node.id] = self.tree.depth(node) if above is None else above + 1
        return self._depths[node.id]

    def beginnings(self, depth: int) -> list[RootNode | ExpandedNode]:
        """What was said up to a depth and goes on, the highest mean reward first."""
        if depth >= self.own.max_rounds:
            return []
        nodes = self.levels.get(depth, []) if depth else [self.tree.root]
        return [node for node in self.ranked(nodes) if isinstance(node, RootNode | ExpandedNode)]

    def ranked(self, nodes: Sequence[Node]) -> list[Node]:
        """Open nodes, the highest mean of what is believed of the turns down to them first."""
        return sorted((node for node in nodes if node.closed is None), key=lambda node: (-self._mean(node), node.id))

    def _mean(self, node: Node) -> float:
        path = (each for each in self.tree.path(node) if isinstance(each, SpokenNode))
        return mean([found[0] for each in path if (found := self.posterior(each)) is not None] or [0.0])

    def rounds(self) -> int:
        """How long a dialogue is about to be: as long as the longest that ended, or one turn more than any yet."""
        deepest = max(self.levels, default=0)
        ended = [depth for depth, nodes in self.levels.items() if any(isinstance(node, EndNode) for node in nodes)]
        known = max(ended, default=0)
        rounds: int = min(self.own.max_rounds, known if known >= deepest and known else deepest + 1)
        return rounds

    def left(self) -> int:
        """Calls that are left, as far as calls or iterations bound the search."""
        left = (self.config.max_iterations - self.tree.iterations) * self.calls_an_iteration
        return max(0, left if self.max_calls is None else min(left, self.max_calls - self.calls))

    def ends(self) -> list[Node]:
        """The ends of whole dialogues, the best first."""
        last = self.own.max_rounds
        whole = (
            node for depth, nodes in self.levels.items() for node in nodes if isinstance(node, EndNode) or depth == last
        )
        return self.ranked(list(whole))

    def again(self) -> list[Request]:
        """One judgement more of turns of the best whole dialogues, those judged least first, while calls are left.

        Nothing where the judge would only repeat itself.
        """
        if not self.can_rejudge:
            return []
        turns = {node.id: node for end in self.ends()[:_CONTENDERS] for node in self.tree.path(end)[1:]}
        spoken = [each for each in turns.values() if isinstance(each, SpokenNode) and each.id not in self.unjudged]
        few = sorted((node for node in spoken if len(draws(node)) < _MOST_DRAWS), key=lambda node: len(draws(node)))
        return [Request("judge", node.id) for node in few[: self.left()]]

    def recommend(self, node: Node) -> Sequence[SpokenNode]:
        """The children of a node that have words: that of the best whole dialogue first, then by Q."""
        spoken = [child for child in self.tree.children(node) if isinstance(child, SpokenNode) and child.visits]
        best = next(iter(self.ends()), None)
        on_best = {each.id for each in self.tree.path(best)} if best is not None else set()
        return sorted(spoken, key=lambda child: (child.closed is None, child.id in on_best, child.value), reverse=True)
