"""Best of n: whole dialogues drawn from the strategist's prior, the best as it was judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from typing import ClassVar

from pydantic import Field

from mctsdialog import _settings
from mctsdialog.algorithms._base import register
from mctsdialog.algorithms._batch import CALLS, Request
from mctsdialog.algorithms._levels import LevelSearch
from mctsdialog.algorithms._rules import uniform
from mctsdialog.tree import ExpandedNode, Node, RootNode, StrategyNode, UnexpandedNode

_MOST_REPEATS = 100  # dialogues in a row that bring nothing new


class BestOfNSettings(_settings.Settings):
    """Settings of best of n."""

    n: int | None = Field(
        default=None, ge=1, description="dialogues that are drawn, 1 or more; by default as many as the calls allow"
    )
    max_rounds: int = Field(default=30, ge=1, description="most supporter turns below the root, 1 or more")


@register
class BestOfN(LevelSearch):
    """Draws every strategy from the prior, the softmax of the strategist's scores, and has every turn judged.

    Dialogues that begin alike share their nodes, so that nothing is asked twice. The first is played alone, to learn
    how long dialogues are; the others side by side, as many as the calls allow.
    """

    name = "best_of_n"
    Settings: ClassVar[type[_settings.Settings]] = BestOfNSettings

    def batches(self) -> Iterator[Sequence[Request]]:
        """One dialogue, then all that there are calls for; more, where shared beginnings leave some over."""
        yield self.gold_turns()
        drawn, repeats, most = 0, 0, self.own.n
        while repeats < _MOST_REPEATS and (most is None or drawn < most):
            before, group = self.calls, 1
            if drawn:
                group = max(1, self.left() // (self.rounds() * (CALLS["score"] + CALLS["turn"])))
            if most is not None:
                group = most - drawn if drawn else 1
            yield from self._play(range(drawn, drawn + group))
            drawn += group
            repeats = 0 if self.calls > before else repeats + group

    def _play(self, numbers: range) -> Iterator[Sequence[Request]]:
        """Whole dialogues side by side; one that a model refuses to go on with ends there."""
        dialogues: dict[int, Node] = dict.fromkeys(numbers, self.tree.root)
        for depth in count():
            going = {number: node for number, node in dialogues.items() if self._goes_on(node, depth)}
            if not going:
                return
            yield [Request("score", node.id) for node in going.values() if not node.children]
            drawn = {number: self._draw(node, number, depth) for number, node in going.items() if node.children}
            yield [Request("turn", child.id) for child in drawn.values() if isinstance(child, UnexpandedNode)]
            dialogues = {number: self.tree[child.id] for number, child in drawn.items()}

    def _goes_on(self, node: Node, depth: int) -> bool:
        return isinstance(node, RootNode | ExpandedNode) and node.closed is None and depth < self.own.max_rounds

    def _draw(self, node: Node, number: int, depth: int) -> StrategyNode:
        children = [child for child in self.tree.children(node) if child.prior > 0.0]
        sums = list(accumulate(child.prior for child in children))
        draw = uniform(self.tree.id, number, depth) * sums[-1]
        return next(child for child, total in zip(children, sums, strict=True) if draw < total)
