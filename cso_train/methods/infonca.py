"""Noise-contrastive alignment over all replies of a turn, InfoNCA."""

from __future__ import annotations

from dataclasses import dataclass

from cso_train.methods._base import Loss, Scores
from cso_train.methods._sets import ReplySets, set_metrics, shares, targets, values_of


@dataclass(frozen=True)
class InfoNCA(ReplySets):
    """``L = -sum_i q_i log softmax(rho)_i``, ``q = softmax(Q / value_temperature)``; the mean over turns.

    ``rho_i = beta * log(pi(y_i)/ref(y_i))``. Chen et al., NeurIPS 2024 (arXiv 2402.05369), equation 8. Of two replies
    and as ``value_temperature``, in rewards of the judge's scale, goes to 0, it is DPO. ``strategy_weight`` and
    ``reply_weight`` as in dpo; ``confidence_weights`` multiplies the term of a reply by how sure it is that the reply
    is better, or worse, than the best of the others.
    """

    value_temperature: float = 0.5

    name = "infonca"
    formula = "-sum_i q_i log softmax(rho)_i, rho_i = beta * log pi(y_i)/ref(y_i), q = softmax(Q / value_temperature)"

    def loss(self, scores: Scores) -> Loss:
        rewards, present = self.rewards(scores), scores.present
        q = targets(values_of(scores), present, self.value_temperature)
        logs = rewards.masked_fill(~present, -float("inf")).log_softmax(1).masked_fill(~present, 0.0)
        return -(shares(scores) * q * logs).sum(1), set_metrics(rewards, scores)
