"""What every strategy of a turn is worth to a search, tried or not: the target of a policy over strategies."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mctsdialog.algorithms import Calibration
from mctsdialog.errors import ConfigError
from mctsdialog.preferences._record import RecordPolicy
from mctsdialog.preferences._worth import expected, worths
from mctsdialog.tree import Family, SpokenNode, StrategyNode, Tree, UnexpandedNode, reward_range


def searched(node: StrategyNode) -> bool:
    """Whether a node was said and judged, and no model refused it."""
    return isinstance(node, SpokenNode) and node.visits > 0 and node.closed is None


def policies(tree: Tree, families: Sequence[Family]) -> tuple[RecordPolicy, ...]:
    """The policy of every family that has a searched reply."""
    completer = _Completer(tree)
    return tuple(policy for family in families if (policy := completer.policy(family)) is not None)


class _Completer:
    """Fills in what strategies that were not tried would be worth."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._calibration = calibration_of(tree)
        self._sums: dict[int, float] = {0: 0.0}  # posterior means of the turns down to a node

    def policy(self, family: Family) -> RecordPolicy | None:
        children = self._tree.children(family.parent)
        tried = [child for child in children if isinstance(child, SpokenNode) and searched(child)]
        depth = self._tree.depth(family.parent) + 1
        found = worths(tried, depth)
        if not tried or found is None:
            return None
        known = {node.strategy: value for node, value in zip(tried, found, strict=True)}
        believed = self._calibration is not None and all(node.posterior is not None for node in tried)
        for child in children:
            if isinstance(child, UnexpandedNode) and child.closed is None:
                predicted = self._predicted(family, child, depth) if believed else None
                known[child.strategy] = _completed(tried, found) if predicted is None else predicted
        return RecordPolicy(family.parent.id, tuple(map(known.get, self._tree.domain.strategies.names)))

    def _predicted(self, family: Family, child: StrategyNode, depth: int) -> float | None:
        above = self._sum(family)
        if self._calibration is None or above is None:
            return None
        mean = predicted_reward(self._tree, self._calibration, child)
        return expected(mean, (above + mean) / depth, depth)

    def _sum(self, family: Family) -> float | None:
        """The posterior means of the turns before a family, summed; None where one has none."""
        total = 0.0
        for node in self._tree.path(family.parent)[1:]:
            if not isinstance(node, SpokenNode) or node.posterior is None:
                return None
            total += node.posterior[0]
        return total


def predicted_reward(tree: Tree, calibration: Calibration, child: StrategyNode) -> float:
    """The reward that a strategy is expected to have before it is said, on the judge's scale."""
    return calibration.predict(child.strategy, child.score) * (tree.domain.max_score / 4.0) + reward_range(tree)[0]


def calibration_of(tree: Tree) -> Calibration | None:
    """What the calibrated search learnt; an algorithm of the user's may keep something else there."""
    try:
        return (
            None if tree.calibration is None else Calibration.from_dict(tree.calibration, tree.domain.strategies.names)
        )
    except ConfigError:
        return None


def _completed(tried: Sequence[SpokenNode], found: Sequence[float]) -> float:
    """The mean worth of the replies that were tried, by their priors (Danihelka et al., ICLR 2022, completed Q)."""
    weights = [node.prior for node in tried]
    if math.fsum(weights) <= 0:
        weights = [1.0] * len(tried)
    return math.fsum(weight * value for weight, value in zip(weights, found, strict=True)) / math.fsum(weights)
