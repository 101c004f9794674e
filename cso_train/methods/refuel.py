"""Regression of relative values."""

from __future__ import annotations

from dataclasses import dataclass

from cso_train.methods._base import Loss, Scores
from cso_train.methods._sets import ReplySets, set_metrics, shares, values_of


@dataclass(frozen=True)
class Refuel(ReplySets):
    """``L = ((rho_i - rho_j) / beta - value_scale * (Q_i - Q_j))^2``.

    The mean over the pairs of a turn's replies, then over turns. The difference of log-ratios is regressed on the
    difference of values: REFUEL, Gao et al., ICLR 2025 (arXiv 2410.04612), for dialogues of many turns. ``value_scale``
    is in nats of log-ratio for each reward of the judge's scale, the inverse of the weight of the divergence from the
    reference. ``strategy_weight`` and ``reply_weight`` as in dpo; ``confidence_weights`` multiplies the term of a pair
    by the weights of both replies, see infonca.
    """

    value_scale: float = 1.0

    name = "refuel"
    formula = "(log-ratio_i - log-ratio_j - value_scale * (Q_i - Q_j))^2, the mean over pairs of a turn's replies"

    @classmethod
    def defaults(cls) -> dict[str, object]:
        """All but ``beta``, which cancels."""
        return {name: value for name, value in super().defaults().items() if name != "beta"}

    def loss(self, scores: Scores) -> Loss:
        ratios = self.rewards(scores) / self.beta
        present, weights = scores.present, shares(scores)
        error = ratios - self.value_scale * values_of(scores)  # only differences of it count
        squares = (error[:, :, None] - error[:, None, :]) ** 2
        pairs = present[:, :, None] & present[:, None, :]
        parts = (squares * pairs * weights[:, :, None] * weights[:, None, :]).sum((1, 2))
        count = present.sum(1)
        return parts / (count * (count - 1)).clamp(min=1), set_metrics(ratios, scores)
