"""The formulas of the search as pure functions (paper section 3.1; numbers are the paper's equations)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol


class ScoreRule(Protocol):
    """How a child is rated in selection; the child of the highest rating is taken, the first among equals."""

    def __call__(self, value: float, prior: float, visits: int, parent_visits: int, c: float, /) -> float:
        """Rate a child by its Q, P and N, its parent's N, and the weight of exploration."""
        ...


class BackupRule(Protocol):
    """How a node's Q takes in one more reward."""

    def __call__(self, value: float, visits: int, reward: float, /) -> float:
        """The new Q of a node with this Q and N."""
        ...


def uniform(*key: str | float) -> float:
    """A draw from [0, 1) that depends on every part of the key alone: the same in every run, on every machine.

    What an algorithm draws at random must be the same when a search is resumed. A key such as the tree's id, the number
    of the draw and the depth makes it so, and draws of different keys are independent.
    """
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53


def pucb(value: float, prior: float, visits: int, parent_visits: int, c: float, /) -> float:
    """Predictor + UCB: ``Q + c * P * sqrt(N_parent) / (1 + N)`` (eq. 1; Rosin 2011)."""
    return value + c * prior * math.sqrt(parent_visits) / (1 + visits)


def running_mean(value: float, visits: int, reward: float, /) -> float:
    """``(N * Q + R) / (N + 1)`` (eq. 4)."""
    return (visits * value + reward) / (visits + 1)


def softmax(scores: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Priors from raw scores: ``exp(score / T)``, normalised; they sum to 1."""
    top = max(scores.values())
    weights = {name: math.exp((score - top) / temperature) for name, score in scores.items()}
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def with_gold(priors: Mapping[str, float], gold: str, gold_prior: float) -> dict[str, float]:
    """Priors that have the gold strategy: where the scorer left it out, it gets ``gold_prior`` of the mass."""
    if gold in priors:
        return dict(priors)
    return {**{name: prior * (1.0 - gold_prior) for name, prior in priors.items()}, gold: gold_prior}


def highest(names: Sequence[str], ratings: Mapping[str, float]) -> str:
    """The name of the highest rating, the first of ``names`` among equals; unrated names do not count."""
    return max((name for name in names if name in ratings), key=lambda name: ratings[name])


def reward(scores: Iterable[float], weights: Iterable[float], bias: float) -> float:
    """Weighted mean of the judge's scores plus the bias (eq. 2); in [-3, 1] with the paper's numbers."""
    pairs = list(zip(scores, weights, strict=True))
    total = math.fsum(weight for _, weight in pairs)
    return math.fsum(score * weight for score, weight in pairs) / total + bias


def mean(values: Sequence[float]) -> float:
    """The mean of the rewards of a trial (eq. 3)."""
    return math.fsum(values) / len(values)
