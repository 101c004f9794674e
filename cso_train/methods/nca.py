"""Noise-contrastive alignment over all replies of a turn, NCA."""

from __future__ import annotations

from dataclasses import dataclass

from cso_train.methods._base import Loss, Scores, log_sigmoid
from cso_train.methods._sets import set_metrics, shares, targets, values_of
from cso_train.methods.infonca import InfoNCA


@dataclass(frozen=True)
class NCA(InfoNCA):
    """``L = -sum_i q_i log sigmoid(rho_i) - mean_i log sigmoid(-rho_i)``; the mean over turns.

    ``rho`` and ``q`` as in infonca. It compares each reply with its own reference, not with the others, so that the
    likelihood of good replies is kept up. Chen et al., NeurIPS 2024 (arXiv 2402.05369), equation 11; of two replies, as
    ``value_temperature`` goes to 0, TRL's ``nca_pair``. Settings as in infonca.
    """

    name = "nca"
    formula = "-sum_i q_i log sigmoid(rho_i) - mean_i log sigmoid(-rho_i), rho and q as in infonca"

    def loss(self, scores: Scores) -> Loss:
        rewards, present, weights = self.rewards(scores), scores.present, shares(scores)
        q = targets(values_of(scores), present, self.value_temperature)
        noise = (weights * log_sigmoid(-rewards)).sum(1) / present.sum(1)
        return -(weights * q * log_sigmoid(rewards)).sum(1) - noise, set_metrics(rewards, scores)
