"""What follows a strategy, fitted to all trees of a dataset: a search goes on from few of the replies it tries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap

from mctsdialog.algorithms import Calibration
from mctsdialog.preferences._policy import predicted_reward
from mctsdialog.preferences._record import RecordPolicy
from mctsdialog.tree import Node, SpokenNode, StrategyNode, Tree

_TURNS = 25  # transitions for each strategy, on average, below which nothing is fitted
_MOST_TURNS = 20_000  # transitions that are used; more would only take time
_SCENES = 16  # kinds of scenario that are told apart, if there are no more
_RIDGE = 3.0  # weight of the prior that a strategy is followed by what follows any


@dataclass(frozen=True, slots=True)
class SearchedTurn:
    """A turn that the strategist was asked about, as the fit sees it.

    :param scene: of the tree's scenario.
    :param scores: the strategist's, 0 to 1, by strategy.
    :param predicted: expected reward of each strategy before it is said, on the judge's scale.
    :param means: the same, with the judgement of those that were said; None for one that was refused.
    :param left: supporter turns from this one to the end of the tree's longest path.
    """

    scene: str
    scores: tuple[float, ...]
    predicted: tuple[float, ...]
    means: tuple[float | None, ...]
    left: int


@dataclass(frozen=True, slots=True)
class SearchedTree:
    """The turns of a tree by the id of the node before them, and which strategy led from one to the next."""

    turns: dict[int, SearchedTurn]
    steps: tuple[tuple[int, int, int], ...]


def searched_tree(tree: Tree, calibration: Calibration | None) -> SearchedTree:
    """What a tree tells of what follows a strategy; nothing where its search believed nothing."""
    if calibration is None:
        return SearchedTree({}, ())
    depths = {-1: -1}
    for node in tree:
        depths[node.id] = depths[node.parent] + 1
    longest, names = max(depths.values()), tree.domain.strategies.names
    made = ((node.id, _turn(tree, node, calibration, longest - depths[node.id])) for node in tree)
    turns = {place: turn for place, turn in made if turn is not None}
    steps = tuple(
        (node.parent, names.index(node.strategy), node.id)
        for node in tree
        if isinstance(node, SpokenNode) and node.id in turns and node.parent in turns
    )
    return SearchedTree(turns, steps)


def _turn(tree: Tree, place: Node, calibration: Calibration, left: int) -> SearchedTurn | None:
    children = {child.strategy: child for child in tree.children(place)}
    names = tree.domain.strategies.names
    if set(children) != set(names):
        return None
    ordered = [children[name] for name in names]
    predicted = tuple(predicted_reward(tree, calibration, child) for child in ordered)
    means = tuple(starmap(_mean, zip(ordered, predicted, strict=True)))
    scores = tuple(child.score / 10.0 for child in ordered)
    return SearchedTurn(tree.scenario.scene, scores, predicted, means, left)


def _mean(child: StrategyNode, predicted: float) -> float | None:
    if child.closed is not None:
        return None
    return child.posterior[0] if isinstance(child, SpokenNode) and child.posterior is not None else predicted


class Futures:
    """The expected sum of rewards after a strategy: fitted Q iteration (Ernst et al., JMLR 2005), backwards in time.

    The state of a turn is what the strategist's scores and the kind of scenario say of it. For each number of turns
    left, the value of the turn that a strategy led to, ``max_s (m_s + F_s)``, is regressed on the state that it was
    taken in: by ridge regression over all strategies, and its residuals by one for each strategy. A search opens a
    reply by its own reward alone, so that what follows the opened ones is what follows any.
    """

    def __init__(self, trees: Sequence[SearchedTree]) -> None:
        scenes = sorted({turn.scene for tree in trees for turn in tree.turns.values()})
        self._scenes = scenes if 1 < len(scenes) <= _SCENES else []
        steps = [(tree.turns[before], act, tree.turns[after]) for tree in trees for before, act, after in tree.steps]
        steps = steps[:: max(1, math.ceil(len(steps) / _MOST_TURNS))]
        self._weights: list[list[list[float]]] = []  # by turns left, from 1, and strategy
        if steps:
            self._fit(steps)

    @staticmethod
    def enough(trees: Sequence[SearchedTree]) -> bool:
        """Whether there is enough to fit to."""
        strategies = max((len(turn.scores) for tree in trees for turn in tree.turns.values()), default=0)
        return 0 < _TURNS * strategies <= sum(len(tree.steps) for tree in trees)

    def policy(self, policy: RecordPolicy, turn: SearchedTurn) -> RecordPolicy:
        """The policy with the worth of each strategy: its own reward, and what is expected to follow."""
        row, weights = self._row(turn), self._weights[min(turn.left, len(self._weights)) - 1]
        worths = (
            None if mean is None else mean + _dot(row, each) for mean, each in zip(turn.means, weights, strict=True)
        )
        return RecordPolicy(policy.parent, tuple(worths))

    def _row(self, turn: SearchedTurn) -> list[float]:
        scene = (float(turn.scene == each) for each in self._scenes)
        return [1.0, *turn.scores, *(score * score for score in turn.scores), *scene]

    def _fit(self, steps: Sequence[tuple[SearchedTurn, int, SearchedTurn]]) -> None:
        rows, acts = [self._row(before) for before, _, _ in steps], [act for _, act, _ in steps]
        after = [(self._row(turn), turn.predicted) for *_, turn in steps]
        strategies, size = len(steps[0][0].scores), len(rows[0])
        places = [[at for at, act in enumerate(acts) if act == each] for each in range(strategies)]
        common = _Ridge(rows, size)
        own = [_Ridge([rows[at] for at in each], size) for each in places]
        weights = [[0.0] * size] * strategies
        self._weights.append(weights)
        for _ in range(1, max(turn.left for turn, *_ in steps)):
            values = [
                max(mean + _dot(row, each) for mean, each in zip(means, weights, strict=True)) for row, means in after
            ]
            shared = common.weights(values)
            rest = [value - _dot(row, shared) for row, value in zip(rows, values, strict=True)]
            fitted = (ridge.weights([rest[at] for at in each]) for ridge, each in zip(own, places, strict=True))
            weights = [[one + two for one, two in zip(shared, each, strict=True)] for each in fitted]
            self._weights.append(weights)


def _dot(row: Sequence[float], weights: Sequence[float]) -> float:
    return sum(map(float.__mul__, row, weights))


class _Ridge:
    """Ridge regression on the same rows, again and again.

    :param size: columns of the rows, of which there may be none.
    """

    def __init__(self, rows: Sequence[Sequence[float]], size: int) -> None:
        self._columns: list[tuple[float, ...]] = list(zip(*rows, strict=True)) or [()] * size
        self._inverse = self._inverted()

    def weights(self, values: Sequence[float]) -> list[float]:
        """The weights by column for these values of the rows."""
        sums = [_dot(column, values) for column in self._columns]
        return [_dot(line, sums) for line in self._inverse]

    def _inverted(self) -> list[list[float]]:
        """The inverse of ``rows^T rows`` and the ridge, by Gauss and Jordan; the ridge keeps its pivots above 0."""
        size = len(self._columns)
        lines = [
            [*(_dot(one, two) + _RIDGE * (at == place) for at, two in enumerate(self._columns)), *_unit(place, size)]
            for place, one in enumerate(self._columns)
        ]
        for place in range(size):
            pivot = [each / lines[place][place] for each in lines[place]]
            lines = [
                [one - line[place] * two for one, two in zip(line, pivot, strict=True)] if at != place else pivot
                for at, line in enumerate(lines)
            ]
        return [line[size:] for line in lines]


def _unit(place: int, size: int) -> Iterator[float]:
    return (float(at == place) for at in range(size))
