"""What the judge's reward of a turn is expected to be, learnt from the turns that were judged (design, section 5).

``r = a + b z + o_s + e`` for a turn of strategy ``s`` with the strategist's score ``z``: a Bayesian linear regression
with Gaussian priors ("rises with the score"; offsets around 0), so that every judgement corrects the strategist. The
judge's noise comes from turns that were judged several times.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mctsdialog._arguments import checked
from mctsdialog.algorithms._batch import draws
from mctsdialog.algorithms._rules import reward
from mctsdialog.errors import ConfigError
from mctsdialog.tree import Node, SpokenNode, Tree

# Priors, on the scale of a judge from 0 to 4: mean reward 1 above the least, 0.25 more for each point of the score.
_LEVEL, _LEVEL_WEIGHT = 1.0, 0.5
_SLOPE, _SLOPE_WEIGHT = 0.25, 5.0
_OFFSET_WEIGHT = 2.0
_ERROR, _ERROR_WEIGHT = 0.4, 4.0  # variance of a judged reward around its prediction
_NOISE, _NOISE_WEIGHT = 0.13, 2.0  # of it, the judge's: one score of ten off, one time in four
_EXPLAINED, _EXPLAINED_WEIGHT = 0.75, 30.0
_MOST_SCORE = 10.0
_STATISTICS = 6  # by strategy: count, sums of z, r, z z, z r and r r


@dataclass
class Calibration:
    """The regression, its errors and the judge's noise, as sums that grow with every judgement.

    Rewards are those of eq. 2 without the bias, scaled to a judge from 0 to 4.

    :param names: the strategies.
    :param sums: for each strategy the number of judged turns, and sums of score, reward, score squared, score times
        reward, and reward squared.
    :param repeats: how many judgements were repeats, and the sum of their squared deviations.
    :param places: how many turns were scored, and sums over them of the variance of their predictions and scores among
        the strategies.
    """

    names: tuple[str, ...]
    sums: dict[str, list[float]] = field(default_factory=dict)
    repeats: list[float] = field(default_factory=lambda: [0.0, 0.0])
    places: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def __post_init__(self) -> None:
        for name in self.names:
            self.sums.setdefault(name, [0.0] * _STATISTICS)
        self._level, self._slope = _LEVEL, _SLOPE
        self._solve()

    # -- learning --------------------------------------------------------------------------------------------------

    def add(self, strategy: str, score: float, reward: float) -> None:
        """Take in the first judgement of a turn."""
        self._change(strategy, score, 0.0, reward, 1.0)

    def repeat(self, strategy: str, score: float, before: Sequence[float], reward: float) -> None:
        """Take in one more judgement of a turn, whose mean counts from now on.

        :param before: the earlier judgements.
        """
        count, mean = len(before), math.fsum(before) / len(before)
        off = reward - mean
        self.repeats[0] += 1.0
        self.repeats[1] += off * off * count / (count + 1)
        self._change(strategy, score, mean, mean + off / (count + 1), 0.0)

    def place(self, scores: Mapping[str, float]) -> None:
        """Take in what the strategist said at one place."""
        self.places[0] += 1.0
        self.places[1] += _variance([self.predict(name, score) for name, score in scores.items()])
        self.places[2] += _variance(list(scores.values()))

    def _change(self, strategy: str, score: float, before: float, reward: float, count: float) -> None:
        sums = self.sums[strategy]
        self._reduce(sums, -1.0)
        z, more = self.usual(score), reward - before
        parts = (count, z * count, more, z * z * count, z * more, reward * reward - before * before)
        for place, value in enumerate(parts):
            sums[place] += value
        self._reduce(sums, 1.0)
        self._weigh()

    def usual(self, score: float) -> float:
        """The score, or for a turn that nobody scored the mean of those there are."""
        if not math.isnan(score):
            return score
        count = sum(sums[0] for sums in self.sums.values())
        return sum(sums[1] for sums in self.sums.values()) / count if count else _MOST_SCORE / 2

    def _solve(self) -> None:
        """Build the two equations for level and slope, the offsets eliminated."""
        prior = (_LEVEL_WEIGHT, 0.0, _SLOPE_WEIGHT, _LEVEL_WEIGHT * _LEVEL, _SLOPE_WEIGHT * _SLOPE)
        self._equations = list(prior)
        for sums in self.sums.values():
            self._reduce(sums, 1.0)
        self._weigh()

    def _reduce(self, sums: Sequence[float], sign: float) -> None:
        count, z, r, zz, zr, _ = sums
        kept = 1.0 / (count + _OFFSET_WEIGHT)
        parts = (count - count * count * kept, z - count * z * kept, zz - z * z * kept, r - count * r * kept)
        for place, value in enumerate((*parts, zr - z * r * kept)):
            self._equations[place] += sign * value

    def _weigh(self) -> None:
        aa, ab, bb, ra, rb = self._equations
        determinant = aa * bb - ab * ab
        self._level = (ra * bb - rb * ab) / determinant
        self._slope = (rb * aa - ra * ab) / determinant
        self._spread = math.nan  # to be computed when it is wanted

    # -- knowing ---------------------------------------------------------------------------------------------------

    def offset(self, strategy: str) -> float:
        """``o_s``: what a strategy's turns get above what its scores promise, on a scale from 0 to 4."""
        count, z, r, *_ = self.sums[strategy]
        return (r - count * self._level - z * self._slope) / (count + _OFFSET_WEIGHT)

    def predict(self, strategy: str, score: float) -> float:
        """``mu``: the expected reward of a turn."""
        return self._level + self._slope * self.usual(score) + self.offset(strategy)

    @property
    def noise(self) -> float:
        """``n``: the variance of the judge's reward when it judges a turn again."""
        return (_NOISE * _NOISE_WEIGHT + self.repeats[1]) / (_NOISE_WEIGHT + self.repeats[0])

    @property
    def error(self) -> float:
        """``v``: the variance of a judged reward around its prediction, the judge's noise in it.

        Its posterior mean: what the regression with its priors leaves of the squares of the rewards.
        """
        explained = self._level * _LEVEL_WEIGHT * _LEVEL + self._slope * _SLOPE_WEIGHT * _SLOPE
        left = _LEVEL_WEIGHT * _LEVEL**2 + _SLOPE_WEIGHT * _SLOPE**2 - explained
        count = 0.0
        for name, (judged, _, r, _, zr, rr) in self.sums.items():
            left += rr - self._level * r - self._slope * zr - self.offset(name) * r
            count += judged
        return (_ERROR * _ERROR_WEIGHT + max(left, 0.0)) / (_ERROR_WEIGHT + count)

    @property
    def spread(self) -> float:
        """The variance of true rewards around their predictions: what judging a turn can tell."""
        if math.isnan(self._spread):
            error = self.error
            self._spread = max(error - self.noise, 0.02 * error, 1e-4)
        return self._spread

    @property
    def judged(self) -> float:
        """How many turns it has learnt from."""
        return math.fsum(sums[0] for sums in self.sums.values())

    def posterior(self, strategy: str, score: float, judgements: Sequence[float]) -> tuple[float, float]:
        """Mean and variance of a turn's true reward, given its judgements (none for a turn that is not judged)."""
        mu, spread = self.predict(strategy, score), self.spread
        if not judgements:
            return mu, spread
        weight = len(judgements) * spread / (len(judgements) * spread + max(self.noise, 1e-6))
        return mu + weight * (math.fsum(judgements) / len(judgements) - mu), spread * (1.0 - weight)

    @property
    def explained(self) -> float:
        """The share of the differences between the strategies of a place that predictions explain, 0 to 1."""
        count, predicted, _ = self.places
        found = predicted / count / (predicted / count + self.spread) if count else 0.0
        judged = self.judged
        return (_EXPLAINED * _EXPLAINED_WEIGHT + judged * found) / (_EXPLAINED_WEIGHT + judged)

    @property
    def explained_by_scores(self) -> float:
        """The share of those differences that the strategist's scores explain, 0 to 1."""
        count, _, scores = self.places
        if not count:
            return 0.5
        part = self._slope * self._slope * scores / count
        return part / (part + self.spread)

    def lines(self) -> list[str]:
        """What was learnt, in words: rewards on a scale from 0 to 4."""
        known = f"{self.repeats[0]:.0f} turns judged again" if self.repeats[0] else "assumed: no turn was judged again"
        found = [
            f"a point of the strategist's score is worth {self._slope:+.2f} of the judge's 0 to 4",
            f"noise of the judge: standard deviation {math.sqrt(self.noise):.2f} ({known})",
            f"scores and strategies explain {self.explained:.0%} of the differences between strategies",
        ]
        for name in sorted(self.names, key=self.offset):
            off, count = self.offset(name), self.sums[name][0]
            how = "over-rates" if off < 0 else "under-rates"
            found.append(f"the strategist {how} {name} by {abs(off):.2f} ({count:.0f} judged)")
        return found

    # -- as data ---------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The sums as JSON values, exact."""
        return {
            "sums": {name: list(self.sums[name]) for name in self.names},
            "repeats": list(self.repeats),
            "places": list(self.places),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], names: tuple[str, ...]) -> Calibration:
        """The calibration that :meth:`to_dict` wrote.

        :raises ConfigError: for data that it cannot have written, or of other strategies.
        """
        if set(data) != {"sums", "repeats", "places"} or not isinstance(data["sums"], Mapping):
            raise ConfigError("is no calibration; mctsdialog calibrate makes one", field="calibration")
        if set(data["sums"]) != set(names):
            raise ConfigError(f"is of other strategies: {', '.join(map(str, data['sums']))[:200]}", field="calibration")
        try:
            sums = {name: _sound(_numbers(data["sums"][name], _STATISTICS)) for name in names}
            return cls(names, sums, repeats=_numbers(data["repeats"], 2), places=_numbers(data["places"], 3))
        except (ValueError, ZeroDivisionError) as error:
            raise ConfigError(str(error), field="calibration") from error

    def __add__(self, other: Calibration) -> Calibration:
        """Both together: what was learnt in several trees."""
        sums = {name: _added(self.sums[name], other.sums[name]) for name in self.names}
        parts = {part: _added(getattr(self, part), getattr(other, part)) for part in ("repeats", "places")}
        return Calibration(self.names, sums, **parts)


@checked()
def calibrate(trees: Iterable[Tree]) -> Calibration:
    """What trees of one domain say of their strategist and judge, whichever algorithm grew them.

    :raises ConfigError: for no tree, or trees of different strategies.
    """
    found: Calibration | None = None
    for tree in trees:
        names = tree.domain.strategies.names
        if found is None:
            found = Calibration(names)
        elif found.names != names:
            raise ConfigError(f"tree {tree.id!r} has other strategies than the trees before it", field="trees")
        for node in tree:
            learn_node(found, tree, node)
    if found is None:
        raise ConfigError("there is no tree to learn from", field="trees")
    return found


def learn_node(calibration: Calibration, tree: Tree, node: Node) -> None:
    """Take in what a tree holds of a node: the scores of its children, and the judgements of its own turn."""
    scores = {child.strategy: child.score for child in tree.children(node) if not math.isnan(child.score)}
    if scores:
        calibration.place(scores)
    if not isinstance(node, SpokenNode) or node.rollout is None:
        return
    rewards = rewards_of(tree, node)
    calibration.add(node.strategy, node.score, rewards[0])
    for count in range(1, len(rewards)):
        calibration.repeat(node.strategy, node.score, rewards[:count], rewards[count])


def rewards_of(tree: Tree, node: SpokenNode) -> list[float]:
    """The reward of each judgement of a node's own turn, scaled to a judge from 0 to 4."""
    weights = [tree.domain.weights[name] for name in tree.domain.criteria]
    scale = 4.0 / tree.domain.max_score
    return [reward(scores, weights, 0.0) * scale for scores in draws(node)]


def _added(one: Iterable[float], other: Iterable[float]) -> list[float]:
    return [a + b for a, b in zip(one, other, strict=True)]


def _numbers(value: Any, length: int) -> list[float]:
    sound = isinstance(value, list) and len(value) == length
    if not sound or not all(type(each) in (int, float) and abs(each) < 1e12 for each in value):
        raise ValueError(f"holds {value!r:.60} where {length} finite numbers belong; make it with mctsdialog calibrate")
    if value[0] < 0:
        raise ValueError(f"holds a count below 0: {value[0]}")
    return [float(each) for each in value]


def _sound(sums: list[float]) -> list[float]:
    """Sums that some turns may have: squares of sums are at most the sums of squares, times the count."""
    count, z, r, zz, _, rr = sums
    if any(total * total > count * squares * (1 + 1e-9) + 1e-6 for total, squares in ((z, zz), (r, rr))):
        raise ValueError("holds sums that do not agree with each other; make it with mctsdialog calibrate")
    return sums


def _variance(values: Sequence[float]) -> float:
    middle = math.fsum(values) / len(values)
    return math.fsum((value - middle) ** 2 for value in values) / len(values)
