"""Direct preference optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cso_train.methods._base import Loss, Scores, log_sigmoid, pair_metrics
from cso_train.methods._pairs import WeightedPairs


@dataclass(frozen=True)
class DPO(WeightedPairs):
    """``L = -log sigmoid(h)``, ``h = beta * log(pi(y_w)/ref(y_w)) - beta * log(pi(y_l)/ref(y_l))``.

    The mean over pairs. Equations 7 to 9 of the paper; Rafailov et al., NeurIPS 2023. Three additions, off by default:

    - ``nll_weight`` w adds ``-w * mean log pi(y_w)``, over the tokens of the chosen reply: it keeps the likelihood, and
      so the form, of good replies up (Pang et al., NeurIPS 2024, arXiv 2404.19733). TRL, without packing, has the mean
      over the tokens of all chosen replies that a device has at once.
    - ``label_smoothing`` e, the share of pairs that are labelled wrongly: ``-((1 - e) * log sigmoid(h) - e * log
      sigmoid(-h)) / (1 - 2e)``, unbiased under such labels (Chowdhury et al., ICML 2024; TRL's ``robust``).
    - ``strategy_weight`` and ``reply_weight`` multiply the log-ratios of the strategy's name and of the words after it;
      ``confidence_weights`` multiplies a pair's loss by ``2 * confidence - 1``.
    """

    nll_weight: float = 0.0
    label_smoothing: float = 0.0

    name = "dpo"
    formula = (
        "-log sigmoid(beta * (log pi(y_w)/ref(y_w) - log pi(y_l)/ref(y_l))) - nll_weight * mean log pi(y_w); "
        "with label_smoothing e the first term is ((1 - e) * itself - e * itself of the pair turned round) / (1 - 2e)"
    )

    def arguments(self, max_length: int) -> dict[str, Any]:
        types = ["robust" if self.label_smoothing else "sigmoid"]
        given = {**super().arguments(max_length), "loss_type": types, "label_smoothing": self.label_smoothing}
        if self.nll_weight:
            given |= {"loss_type": [*types, "sft"], "loss_weights": [1.0, self.nll_weight]}
        return given

    def loss(self, scores: Scores) -> Loss:
        rewards, e = self.rewards(scores), self.label_smoothing
        h = rewards[:, 0] - rewards[:, 1]
        losses = (e * log_sigmoid(-h) - (1 - e) * log_sigmoid(h)) / (1 - 2 * e)
        losses = losses - self.nll_weight * scores.means[:, 0]
        return self.by_confidence(losses, scores), pair_metrics(rewards, scores)
