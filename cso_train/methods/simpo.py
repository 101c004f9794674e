"""Simple preference optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cso_train.methods._base import PAIR_METRICS, Loss, Method, Reply, ReplySet, Scores, log_sigmoid, pair_metrics


@dataclass(frozen=True)
class SimPO(Method):
    """``L = -log sigmoid(beta * (mean log pi(y_w) - mean log pi(y_l)) - gamma)``, the mean over pairs.

    Means are over a reply's tokens. Meng et al., NeurIPS 2024; paper Appendix G.
    """

    beta: float = 2.0
    gamma: float = 0.5

    name = "simpo"
    formula = "-log sigmoid(beta * (mean log pi(y_w) - mean log pi(y_l)) - gamma)"
    metrics = PAIR_METRICS

    def trainer(self) -> tuple[Any, Any]:
        from trl.experimental.cpo import CPOConfig, CPOTrainer  # noqa: PLC0415  # heavy

        return CPOTrainer, CPOConfig

    def arguments(self, max_length: int) -> dict[str, Any]:
        loss = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": self.beta, "simpo_gamma": self.gamma}
        return {"max_length": max_length, **loss}

    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        return labelled_pair(example)

    def loss(self, scores: Scores) -> Loss:
        rewards = self.beta * scores.sums / scores.counts
        return -log_sigmoid(rewards[:, 0] - rewards[:, 1] - self.gamma), pair_metrics(rewards, scores)


def labelled_pair(example: Mapping[str, Any]) -> ReplySet:
    """The two replies of a row as TRL's trainers without a reference tokenise it."""
    sides = ("chosen", "rejected")
    labelled = (Reply.labelled(example[f"{side}_input_ids"], example[f"{side}_labels"]) for side in sides)
    return ReplySet(tuple(labelled))
