"""The course of the seeker's emotion: its level, its ups and downs, and its trend.

Source: the idea of Tan et al., "Detecting Emotional Dynamic Trajectories" (arXiv:2511.09003): baseline emotional level
and volatility of a trajectory. The formulas below are our own, over the seeker's reported states, without their causal
adjustment; the slope is added.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from cso_train.evaluation.protocols._base import Episode, EpisodeProtocol, Metric


class Trajectory(EpisodeProtocol):
    """Baseline, slope and volatility of the emotion over a conversation."""

    name = "trajectory"
    title = "Trajectory"
    source = 'after Tan et al., "Detecting Emotional Dynamic Trajectories", arXiv:2511.09003'

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """By name."""
        return {
            "baseline": Metric("mean emotion over the seeker's turns after the first reply, 0 to 100"),
            "slope": Metric("least-squares slope of the emotion, points a turn"),
            "volatility": Metric("standard deviation of the changes from turn to turn, points", higher=False),
        }

    def values(self, episode: Episode, answers: Sequence[Any]) -> dict[str, float]:
        """Of one conversation; one without a reply has its opening's level, and neither slope nor volatility."""
        emotions = [state.emotion for state in episode.states]
        if len(emotions) < 2:
            return {"baseline": emotions[0]}
        changes = [after - before for before, after in itertools.pairwise(emotions)]
        return {"baseline": fmean(emotions[1:]), "slope": _slope(emotions), "volatility": pstdev(changes)}


def _slope(values: Sequence[float]) -> float:
    """The least-squares slope over places 0, 1, 2, ..."""
    middle, mean = (len(values) - 1) / 2, fmean(values)
    over = sum((at - middle) * (value - mean) for at, value in enumerate(values))
    return over / sum((at - middle) ** 2 for at in range(len(values)))
