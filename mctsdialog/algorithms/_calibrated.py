"""A beam of calibrated candidates, widened in sweeps (design, section 5).

Every turn that is said is judged. A regression learns from the judgements what the strategist's scores are worth
(:mod:`mctsdialog.algorithms._calibration`), so that most strategies of a place need not be tried, and shrinks each
judgement towards its prediction. Where decisions are close, turns are judged again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, ClassVar, Literal

from pydantic import Field

from mctsdialog import _settings
from mctsdialog.algorithms._base import register
from mctsdialog.algorithms._batch import CALLS, Request, draws, open_children
from mctsdialog.algorithms._calibration import Calibration, learn_node, rewards_of
from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.algorithms._levels import LevelSearch
from mctsdialog.algorithms._trial import Exchange
from mctsdialog.tree import Node, SpokenNode, StrategyNode, Tree

_ROUND = CALLS["score"] + CALLS["turn"]  # calls that one more turn takes
_REPEATS = 0.2  # share of a level's calls that judges turns again
_FINAL = 0.05  # share of a sweep's calls that judges the turns of its best paths again, once the noise is known
_PATHS = 8  # how many of them
_MOST_DRAWS = 3  # of one turn at its level; along the best paths, two more
_ENOUGH_REPEATS = 8  # to know the judge's noise
_NO_NOISE = 0.1  # share of the error below which judging again tells nothing
_CONTENDERS = 1.5  # turns that are judged again, as a multiple of those that are kept
_RATIO = 4.0  # of one sweep's calls to those of the sweep before
_FEW_CALLS = 100  # below which the first sweep spends half of them on the first turn
_LEAST_SWEEP = 4.0  # calls of the smallest sweep, as a multiple of the first dialogue's
_UNEXPLAINED = 0.05  # share below which the strategist's scores are not worth their calls
_ENOUGH_ERRORS = 40  # judgements to know that
_CANDIDATES = 1.5  # children judged at a place: this over the share that predictions explain


class CalibratedSettings(_settings.Settings):
    """Settings of the calibrated search."""

    gold: Literal["judged", "trusted"] = Field(
        default="judged", description="whether gold turns are judged like any other, or taken as the best there is"
    )
    max_rounds: int = Field(default=30, ge=1, description="most supporter turns below the root, 1 or more")
    calibration: dict[str, Any] | None = Field(
        default=None, description="what to begin with, as mctsdialog calibrate writes it; by default with nothing"
    )


@register
class Calibrated(LevelSearch):
    """Sweeps from the root to the dialogues' ends, each wider than the one before.

    At each level a sweep takes the beginnings of highest posterior sum, asks the strategist there, and has those
    children said and judged that promise the highest sums. The first sweep is one dialogue, so that there is a whole
    one early; the last takes most of the calls.
    """

    name = "calibrated"
    calls_an_iteration: ClassVar[int] = 4  # three for the turn, and about one for scores and repeats
    Settings: ClassVar[type[_settings.Settings]] = CalibratedSettings

    def __init__(
        self, tree: Tree, config: SearchConfig, *, max_calls: int | None = None, can_rejudge: bool = False
    ) -> None:
        own = config.own
        names = tree.domain.strategies.names
        self.calibration = (
            Calibration(names) if own.calibration is None else Calibration.from_dict(own.calibration, names)
        )
        self._scale = tree.domain.max_score / 4.0
        self._judgements: dict[int, list[float]] = {}  # by node, scaled
        self._trusted = own.gold == "trusted"
        super().__init__(tree, config, max_calls=max_calls, can_rejudge=can_rejudge)
        for node in tree:  # of an earlier plan
            learn_node(self.calibration, tree, node)
            if isinstance(node, SpokenNode) and node.rollout is not None:
                self._judgements[node.id] = rewards_of(tree, node)

    # -- learning --------------------------------------------------------------------------------------------------

    def take_in(self, node: SpokenNode, reward: float) -> None:
        """Learn from a judgement of a node's turn."""
        *before, last = self._judgements[node.id] = rewards_of(self.tree, node)
        if before:
            self.calibration.repeat(node.strategy, node.score, before, last)
        else:
            self.calibration.add(node.strategy, node.score, last)
        super().take_in(node, reward)

    def expand(self, node_id: int, scores: Mapping[str, float], priors: Mapping[str, float] | None = None) -> range:
        """Give a node its children, and learn how far the strategist tells them apart."""
        if scores:
            self.calibration.place(scores)
        return super().expand(node_id, scores, priors)

    def seed(self, node_id: int, scores: Mapping[str, float], strategy: str, gold: Exchange) -> SpokenNode:
        """Put a gold turn into the tree; a trusted one is the best there can be."""
        node = super().seed(node_id, scores, strategy, gold)
        if self._trusted:
            self.visit(node)
        return node

    # -- believing -------------------------------------------------------------------------------------------------

    def _scaled(self, reward: float) -> float:
        return (reward - self.config.bias) / self._scale

    def posterior(self, node: StrategyNode) -> tuple[float, float] | None:
        """Mean and standard deviation of a turn's true reward, given its judgements and all others."""
        if isinstance(node, SpokenNode) and node.gold and node.rollout is None:
            return (self.tree.domain.max_score + self.config.bias, 0.0) if self._trusted else None
        mean, variance = self._belief(node)
        return mean * self._scale + self.config.bias, math.sqrt(variance) * self._scale

    def _belief(self, node: StrategyNode) -> tuple[float, float]:
        return self.calibration.posterior(node.strategy, node.score, self._judgements.get(node.id, ()))

    def _sums(self, nodes: Sequence[Node]) -> dict[int, float]:
        """The posterior sum of the turns down to each of these nodes."""
        sums = {0: 0.0}
        for node in nodes:
            above: list[Node] = []
            current = node
            while current.id not in sums:
                above.append(current)
                current = self.tree[current.parent]
            total = sums[current.id]
            for each in reversed(above):
                assert isinstance(each, SpokenNode)
                found = self.posterior(each)
                total += self._scaled(found[0]) if found is not None else 0.0
                sums[each.id] = total
        return sums

    # -- deciding --------------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[Sequence[Request]]:
        """One dialogue, then growing sweeps until the calls are spent; more, while there is hope of a better path."""
        if not self._trusted:
            yield self.gold_turns()
        yield from self._sweep(0.0, first=True)
        left = self.left()
        sizes = [left * (1.0 - 1.0 / _RATIO)]
        while sizes[-1] / _RATIO >= _LEAST_SWEEP * _ROUND * self.rounds():
            sizes.append(sizes[-1] / _RATIO)
        sizes[-1] += left - sum(sizes)
        for size in reversed(sizes):
            yield from self._sweep(size)
        while self._hopes():
            before = len(self.tree), self.tree.iterations
            yield from self._sweep(max(self.left(), _ROUND * self.rounds()))
            if before == (len(self.tree), self.tree.iterations):
                break

    def _sweep(self, calls: float, *, first: bool = False) -> Iterator[Sequence[Request]]:
        """One level after the other, each with its share of the calls."""
        end = self.calls + calls * (1.0 - _FINAL)
        final = calls * _FINAL
        for depth in count():
            beginnings = self.beginnings(depth)
            if not beginnings:
                break
            share = (end - self.calls) / max(1, self.rounds() - depth)
            tried = (1 if depth else self._first_turns()) if first else None
            yield from self._extend(beginnings, _ROUND if first else share, tried)
        if not first:
            yield from self._judge_best(final)

    def _first_turns(self) -> int:
        """Children of the root that the first sweep tries: with few calls, only the next turn can be compared."""
        if self.left() >= _FEW_CALLS:
            return 1
        return max(1, min(len(self.tree.domain.strategies.names), int(self.left() / 2 / CALLS["turn"])))

    def _extend(self, beginnings: Sequence[Node], calls: float, most: int | None) -> Iterator[Sequence[Request]]:
        """Bring the next level on: judge contenders again, ask the strategist at the best, try the best children.

        :param most: children to try; by default as many as the calls allow.
        """
        end = self.calls + calls
        candidates = self._candidates()
        repeats = int(calls * _REPEATS) if most is None and self._noisy() and beginnings[0].id else 0
        kept = max(1, int((calls - repeats) / (candidates * CALLS["turn"] + 1)))
        if repeats:
            yield self._again(self.ranked(beginnings)[: max(2, math.ceil(_CONTENDERS * kept))], repeats)
        yield self._open(self.ranked(beginnings)[:kept])
        room = max(1, int((end - self.calls + 2) / CALLS["turn"])) if most is None else most
        yield self._promising(beginnings, room)

    def ranked(self, nodes: Sequence[Node]) -> list[Node]:
        """Open nodes, the highest mean of posteriors down to them first."""
        sums = self._sums(nodes)
        return sorted(
            (node for node in nodes if node.closed is None),
            key=lambda node: (-sums[node.id] / max(1, self.depth(node)), node.id),
        )

    def _candidates(self) -> int:
        """Children judged at a place: few where predictions explain much."""
        most = len(self.tree.domain.strategies.names)
        return min(most, max(2, round(_CANDIDATES / max(self.calibration.explained, 1e-3))))

    def _noisy(self) -> bool:
        """Whether judging again can tell anything, as far as is known."""
        if not self.can_rejudge:
            return False
        calibration = self.calibration
        known = calibration.repeats[0] >= _ENOUGH_REPEATS
        return not known or calibration.noise > _NO_NOISE * calibration.error

    def _again(self, contenders: Sequence[Node], count: int) -> list[Request]:
        """One judgement more of the turns that were judged least, the best first."""
        turns = [node for node in contenders if isinstance(node, SpokenNode) and node.id not in self.unjudged]
        turns = [node for node in turns if 0 < len(draws(node)) < _MOST_DRAWS]
        return [Request("judge", node.id) for node in sorted(turns, key=lambda node: len(draws(node)))[:count]]

    def _open(self, nodes: Sequence[Node]) -> list[Request]:
        """Ask the strategist at nodes without children; where its scores explain nothing, do without."""
        fresh = [node for node in nodes if not node.children and node.closed is None]
        calibration = self.calibration
        if calibration.judged >= _ENOUGH_ERRORS and calibration.explained_by_scores < _UNEXPLAINED:
            return [Request("open", node.id) for node in fresh]
        return [Request("score", node.id) for node in fresh]

    def _promising(self, beginnings: Sequence[Node], count: int) -> list[Request]:
        """The children, not yet said, of the highest expected sums."""
        sums = self._sums(beginnings)
        pool = [
            (sums[node.id] + self._belief(child)[0], child.id)
            for node in beginnings
            for child in open_children(self.tree, node)
        ]
        pool.sort(key=lambda each: (-each[0], each[1]))
        return [Request("turn", node_id) for _, node_id in pool[:count]]

    def _judge_best(self, calls: float) -> Iterator[Sequence[Request]]:
        """Judge the turns of the best whole paths again, so that none is best by luck alone."""
        done = 0
        while done < int(calls) and self.calibration.repeats[0] >= _ENOUGH_REPEATS and self._noisy():
            gains: dict[int, float] = {}
            for place, end in enumerate(self.ends()[:_PATHS]):
                for node in self.tree.path(end)[1:]:
                    assert isinstance(node, SpokenNode)
                    count = len(draws(node))
                    if 0 < count < _MOST_DRAWS + 2 and node.id not in self.unjudged:
                        gain = self._belief(node)[1] / (count + 1) / (1.0 + 0.2 * place)
                        gains[node.id] = max(gain, gains.get(node.id, 0.0))
            batch = sorted(gains, key=lambda node_id: -gains[node_id])[: min(_PATHS, int(calls) - done)]
            if not batch:
                return
            done += len(batch)
            yield [Request("judge", node_id) for node_id in batch]

    def _hopes(self) -> bool:
        """Whether some untried turn, followed by the best path's own, may beat the best path, within two deviations."""
        ends = self.ends()
        if not ends:
            return True
        path = [node for node in self.tree.path(ends[0])[1:] if isinstance(node, SpokenNode)]
        rest = [0.0]
        for node in reversed(path):
            found = self.posterior(node)
            rest.append(rest[-1] + (self._scaled(found[0]) if found else 0.0))
        rest.reverse()  # rest[d]: what the best path still gets after d rounds
        for depth in range(min(len(path), self.config.own.max_rounds)):
            beginnings = self.beginnings(depth)
            sums = self._sums(beginnings)
            doubt = 2.0 * math.sqrt(self.calibration.spread * (len(path) - depth))
            for beginning in beginnings:
                if not beginning.children and beginning.closed is None:
                    return True
                for child in open_children(self.tree, beginning):
                    if sums[beginning.id] + self._belief(child)[0] + rest[depth + 1] + doubt > rest[0]:
                        return True
        return False

    # -- after the search ------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Give every node its posterior, and the tree the calibration."""
        super().finish()
        self.tree.calibration = self.calibration.to_dict()
