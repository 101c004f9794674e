"""Training methods of a user: all that each of them is stands here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cso_train.methods import (
    PAIR_METRICS,
    Loss,
    Method,
    Reply,
    ReplySet,
    Scores,
    log_sigmoid,
    pair_metrics,
    register,
    setting,
)


@register
@dataclass(frozen=True)
class RobustDPO(Method):
    """``L = (e * log sigmoid(-h) - (1 - e) * log sigmoid(h)) / (1 - 2 * e)``, ``h`` DPO's difference of rewards.

    Chowdhury et al., ICML 2024.
    """

    beta: float = 0.1
    precompute_reference: bool = False
    wrong_share: float = setting(0.2, "share of pairs that are labelled wrongly, below 0.5", ge=0.0, lt=0.5)

    name = "robust"
    trl = "DPO"
    formula = "(e * log sigmoid(-h) - (1 - e) * log sigmoid(h)) / (1 - 2 * e)"
    reference = True
    metrics = PAIR_METRICS

    def arguments(self, max_length: int) -> dict[str, Any]:
        given = {"max_length": max_length, "beta": self.beta}
        return {**given, "loss_type": ["robust"], "label_smoothing": self.wrong_share}

    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        prompt = example["prompt_ids"]
        return ReplySet(tuple(Reply.after(prompt, example[f"{side}_ids"], limit) for side in ("chosen", "rejected")))

    def loss(self, scores: Scores) -> Loss:
        rewards = self.beta * scores.ratios
        h = rewards[:, 0] - rewards[:, 1]
        losses = self.wrong_share * log_sigmoid(-h) - (1 - self.wrong_share) * log_sigmoid(h)
        return losses / (1 - 2 * self.wrong_share), pair_metrics(rewards, scores)


@register
@dataclass(frozen=True)
class Listwise(RobustDPO):
    """``L = -sum_i q_i log softmax(rho)_i``, ``q`` the softmax of the replies' values (Chen et al., 2024).

    ``rho`` are rewards; the first span of a reply, "strategy", has a likelihood term of weight ``span_weight``.
    """

    softness: float = setting(0.5, "temperature of the values, above 0", gt=0.0)
    span_weight: float = setting(0.0, "weight of the likelihood of the best reply's strategy, 0 or more", ge=0.0)

    name = "listwise"
    formula = "-sum_i q_i log softmax(rho)_i"
    metrics = ("rewards/best",)

    def loss(self, scores: Scores) -> Loss:
        assert scores.values is not None
        absent = ~scores.present
        rho = (self.beta * scores.ratios).masked_fill(absent, -float("inf"))
        q = (scores.values / self.softness).masked_fill(absent, -float("inf")).softmax(1)
        losses = -(q * rho.log_softmax(1).masked_fill(absent, 0.0)).sum(1)
        strategy = scores.spans["strategy"].means
        best = q.argmax(1, keepdim=True)
        losses = losses - self.span_weight * strategy.gather(1, best)[:, 0]
        return losses, {"rewards/best": (rho.gather(1, best).detach().sum(), len(rho))}
