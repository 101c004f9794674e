"""DPO with an offset."""

from __future__ import annotations

from dataclasses import dataclass

from cso_train.methods._base import Loss, Scores, log_sigmoid, pair_metrics
from cso_train.methods._pairs import WeightedPairs


@dataclass(frozen=True)
class ODPO(WeightedPairs):
    """``L = -log sigmoid(h - offset_weight * max(Q_w - Q_l, 0))``, ``h`` DPO's difference; the mean over pairs.

    The better the search found the chosen reply, the wider its margin has to be. Amini et al., ACL Findings 2024 (arXiv
    2402.10571), with the difference itself for their f. ``Q`` are the rows' worths, in rewards of the judge's scale,
    so ``offset_weight`` is in rewards of DPO (``beta`` times log-ratios) for each of them; 0 is DPO. ``nll_weight``,
    ``strategy_weight``, ``reply_weight`` and ``confidence_weights`` as in dpo.
    """

    offset_weight: float = 1.0
    nll_weight: float = 0.0

    name = "odpo"
    needs_values = True
    formula = (
        "-log sigmoid(beta * (log pi(y_w)/ref(y_w) - log pi(y_l)/ref(y_l)) - offset_weight * max(Q_w - Q_l, 0)) "
        "- nll_weight * mean log pi(y_w)"
    )

    @property
    def trees_alone(self) -> str | None:
        return "its loss needs the values of the replies, which TRL's trainers do not take"

    def loss(self, scores: Scores) -> Loss:
        if scores.values is None:
            raise ValueError("odpo needs the values of the replies")
        rewards = self.rewards(scores)
        offset = self.offset_weight * (scores.values[:, 0] - scores.values[:, 1]).clamp(min=0)
        losses = -log_sigmoid(rewards[:, 0] - rewards[:, 1] - offset) - self.nll_weight * scores.means[:, 0]
        return self.by_confidence(losses, scores), pair_metrics(rewards, scores)
