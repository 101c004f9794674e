"""Identity preference optimisation."""

from __future__ import annotations

from dataclasses import dataclass

from cso_train.methods._base import Loss, Scores, pair_metrics
from cso_train.methods._pairs import ReferencePairs


@dataclass(frozen=True)
class IPO(ReferencePairs):
    """``L = (h - 1 / (2 * beta))^2``, ``h`` the difference of the mean log-ratios a token; the mean over pairs.

    Azar et al., AISTATS 2024, with means over tokens as TRL has them; paper Appendix G.
    """

    name = "ipo"
    formula = "(h - 1 / (2 * beta))^2, h the difference of the mean log-ratios a token"
    loss_type = "ipo"

    def loss(self, scores: Scores) -> Loss:
        means = scores.ratios / scores.counts
        losses = (means[:, 0] - means[:, 1] - 1 / (2 * self.beta)) ** 2
        return losses, pair_metrics(self.beta * scores.ratios, scores)
