"""The losses of Appendix G from the log-probabilities of replies, as TRL's trainers define them pair by pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

from cso_train.config import TrainConfig

Metrics = dict[str, tuple[torch.Tensor, int]]
"""Sums over rows and the number of rows, by name."""


@dataclass(frozen=True)
class Scores:
    """What a pass over some rows gave.

    :param sums: log-probability of each reply of each row, summed over its scored tokens, shape (rows, replies).
    :param counts: those tokens, shape (rows, replies).
    :param reference: as ``sums``, of the model as it was before training; None where the method asks for none.
    :param labels: for kto, whether each row's completion is a desirable one, shape (rows,).
    """

    sums: torch.Tensor
    counts: torch.Tensor
    reference: torch.Tensor | None = None
    labels: torch.Tensor | None = None

    @property
    def ratios(self) -> torch.Tensor:
        """Log-ratios to the reference, shape (rows, replies)."""
        if self.reference is None:
            raise ValueError("these scores have no reference")
        return self.sums - self.reference


@dataclass(frozen=True)
class Totals:
    """What a loss divides by, over all packs of a step and all processes.

    :param rows: of the step.
    :param tokens: scored tokens of the step's rows, which sft divides by.
    :param divergence: kto's estimate of the KL divergence, 0 or more.
    """

    rows: int
    tokens: int
    divergence: torch.Tensor | None = None


def packed_loss(config: TrainConfig, scores: Scores, totals: Totals) -> tuple[torch.Tensor, Metrics]:
    """The part of a step's loss that some of its rows make: added up over the packs it is the mean over all rows.

    :returns: the loss, a scalar; sums of what is logged.
    """
    return _LOSSES[config.method](config, scores, totals)


def _dpo(config: TrainConfig, scores: Scores, totals: Totals) -> tuple[torch.Tensor, Metrics]:
    rewards = _beta(config) * scores.ratios
    return -logsigmoid(rewards[:, 0] - rewards[:, 1]).sum() / totals.rows, _preferences(rewards, scores)


def _ipo(config: TrainConfig, scores: Scores, totals: Totals) -> tuple[torch.Tensor, Metrics]:
    means = scores.ratios / scores.counts
    losses = (means[:, 0] - means[:, 1] - 1 / (2 * _beta(config))) ** 2
    return losses.sum() / totals.rows, _preferences(_beta(config) * scores.ratios, scores)


def _simpo(config: TrainConfig, scores: Scores, totals: Totals) -> tuple[torch.Tensor, Metrics]:
    rewards = _beta(config) * scores.sums / scores.counts
    losses = -logsigmoid(rewards[:, 0] - rewards[:, 1] - (config.gamma or 0.0))
    return losses.sum() / totals.rows, _preferences(rewards, scores)


def _orpo(config: TrainConfig, scores: Scores, totals: Totals) -> tuple[torch.Tensor, Metrics]:
    means = scores.sums / scores.counts
    odds = means[:, :2] - _log1mexp(means[:, :2])
    losses = -means[:, 2] - _beta(config) * logsigmoid(odds[:, 0] - odds[:, 1])
    return losses.sum() / totals.rows, _preferences(_beta(config) * means, scores)


def _kto(config: TrainConfig, scores: Scores, totals: Totals) -> tuple[torch.Tensor, Metrics]:
    if scores.labels is None or totals.divergence is None:
        raise ValueError("kto needs labels and an estimate of the divergence")
    sign = torch.where(scores.labels, 1.0, -1.0)
    weight = torch.where(scores.labels, config.chosen_weight or 1.0, config.rejected_weight or 1.0)
    ratios = scores.ratios[:, 0]
    losses = weight * (1 - torch.sigmoid(_beta(config) * sign * (ratios - totals.divergence)))
    metrics: Metrics = {}
    for name, side in (("chosen", scores.labels), ("rejected", ~scores.labels)):
        count = int(side.sum())
        metrics[f"rewards/{name}"] = (_beta(config) * ratios[side].detach().sum(), count)
        metrics[f"logps/{name}"] = (scores.sums[side, 0].detach().sum(), count)
    return losses.sum() / totals.rows, metrics


def _sft(config: TrainConfig, scores: Scores, totals: Totals) -> tuple[torch.Tensor, Metrics]:
    return -scores.sums.sum() / totals.tokens, {}


def _beta(config: TrainConfig) -> float:
    if config.beta is None:
        raise ValueError("the settings are not resolved")
    return config.beta


def _log1mexp(values: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(values)) for values below 0, exact on both ends (Maechler, 2012)."""
    near = values > -0.6931471805599453
    safe_near, safe_far = torch.where(near, values, -0.1), torch.where(near, -1.0, values)
    return torch.where(near, torch.log(-torch.expm1(safe_near)), torch.log1p(-torch.exp(safe_far)))


def _preferences(rewards: torch.Tensor, scores: Scores) -> Metrics:
    rewards, sums, count = rewards.detach(), scores.sums.detach(), len(rewards)
    return {
        "rewards/chosen": (rewards[:, 0].sum(), count),
        "rewards/rejected": (rewards[:, 1].sum(), count),
        "rewards/margins": ((rewards[:, 0] - rewards[:, 1]).sum(), count),
        "rewards/accuracies": ((rewards[:, 0] > rewards[:, 1]).float().sum(), count),
        "logps/chosen": (sums[:, 0].sum(), count),
        "logps/rejected": (sums[:, 1].sum(), count),
    }


_LOSSES: dict[str, Callable[[TrainConfig, Scores, Totals], tuple[torch.Tensor, Metrics]]] = {
    "sft": _sft,
    "dpo": _dpo,
    "ipo": _ipo,
    "simpo": _simpo,
    "orpo": _orpo,
    "kto": _kto,
}
