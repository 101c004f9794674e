"""Kahneman-Tversky optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cso_train.methods._base import Loss, Method, Reply, ReplySet, Scores

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class KTO(Method):
    """``L = w_+ * (1 - sigmoid(beta * (r - z)))`` if desirable, else ``w_- * (1 - sigmoid(beta * (z - r)))``.

    The mean over replies. ``r`` is the log-ratio to the reference; ``z`` estimates the KL divergence by the mean
    log-ratio of mismatched replies, 0 or more. Ethayarajh et al., ICML 2024; paper Appendix G.
    """

    beta: float = 0.1
    chosen_weight: float = 1.0
    rejected_weight: float = 1.0
    precompute_reference: bool = False

    name = "kto"
    trl = "KTO"
    formula = "w_+ * (1 - sigmoid(beta * (r - z))) for chosen, w_- * (1 - sigmoid(beta * (z - r))) for rejected replies"
    kind = "unpaired"
    reference = True
    min_rows = 2
    min_rows_reason = "kto estimates its KL term from other rows of the device's batch"
    shuffle = True  # TRL takes the rows in their order, and the KL term from a row's neighbours
    metrics = ("rewards/chosen", "rewards/rejected", "kl", "logps/chosen", "logps/rejected")
    baseline_metric = "kl"

    def arguments(self, max_length: int) -> dict[str, Any]:
        weights = {"desirable_weight": self.chosen_weight, "undesirable_weight": self.rejected_weight}
        return {"max_length": max_length, "beta": self.beta, **weights}

    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        prompt = example["prompt_ids"]
        reply, other = (Reply.after(prompt, example[name], limit) for name in ("completion_ids", "KL_completion_ids"))
        return ReplySet((reply,), values=(float(example["label"]),), mismatched=other)

    def baseline(self, ratio: torch.Tensor) -> torch.Tensor:
        return ratio.clamp(min=0)

    def loss(self, scores: Scores) -> Loss:
        if scores.values is None or scores.baseline is None:
            raise ValueError("kto needs labels and an estimate of the divergence")
        desirable, ratios = scores.values[:, 0] > 0, scores.ratios[:, 0]
        sign = desirable.to(ratios.dtype) * 2 - 1
        weight = desirable * self.chosen_weight + ~desirable * self.rejected_weight
        losses = weight * (1 - (self.beta * sign * (ratios - scores.baseline)).sigmoid())
        metrics = {}
        for name, side in (("chosen", desirable), ("rejected", ~desirable)):
            metrics[f"rewards/{name}"] = (self.beta * ratios[side].detach().sum(), int(side.sum()))
            metrics[f"logps/{name}"] = (scores.sums[side, 0].detach().sum(), int(side.sum()))
        return losses, metrics
