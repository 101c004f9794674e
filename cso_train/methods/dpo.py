"""Direct preference optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cso_train.methods._base import (
    PAIR_METRICS,
    Loss,
    Method,
    Reply,
    ReplySet,
    Scores,
    log_sigmoid,
    pair_metrics,
)


@dataclass(frozen=True)
class DPO(Method):
    """``L = -log sigmoid(beta * log(pi(y_w)/ref(y_w)) - beta * log(pi(y_l)/ref(y_l)))``, the mean over pairs.

    Equations 7 to 9 of the paper; Rafailov et al., NeurIPS 2023.
    """

    beta: float = 0.1
    precompute_reference: bool = False

    name = "dpo"
    trl = "DPO"
    formula = "-log sigmoid(beta * (log pi(y_w)/ref(y_w) - log pi(y_l)/ref(y_l)))"
    reference = True
    metrics = PAIR_METRICS
    loss_type = "sigmoid"

    def arguments(self, max_length: int) -> dict[str, Any]:
        return {"max_length": max_length, "beta": self.beta, "loss_type": [self.loss_type]}

    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        sides = (Reply.after(example["prompt_ids"], example[side], limit) for side in ("chosen_ids", "rejected_ids"))
        return ReplySet(tuple(sides))

    def loss(self, scores: Scores) -> Loss:
        rewards = self.beta * scores.ratios
        return -log_sigmoid(rewards[:, 0] - rewards[:, 1]), pair_metrics(rewards, scores)
