"""Odds-ratio preference optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from cso_train.methods._base import PAIR_METRICS, Loss, Method, ReplySet, Scores, log_sigmoid, pair_metrics, setting
from cso_train.methods.simpo import labelled_pair

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ORPO(Method):
    """``L = -mean log pi(y_w | x) - beta * log sigmoid(log odds(y_w) - log odds(y_l))``, the mean over pairs.

    ``odds(y) = p / (1 - p)`` with ``p`` the geometric mean of the probabilities of a reply's tokens. Hong et al., EMNLP
    2024, equation 6; paper Appendix G. The first term is over the reply: with turn-level pairs a prompt has ten times
    its tokens, and the same prompt stands in many pairs. TRL has it over prompt and reply (``prompt_likelihood``).
    """

    beta: float = 0.1
    prompt_likelihood: bool = setting(
        False, "orpo: compute the likelihood term over prompt and reply, as TRL does, instead of the chosen reply only"
    )

    name = "orpo"
    formula = "-mean log pi(y_w | x) - beta * log sigmoid(log odds(y_w) - log odds(y_l))"
    metrics = PAIR_METRICS

    def trainer(self) -> tuple[Any, Any]:
        from trl.experimental.orpo import ORPOConfig  # noqa: PLC0415  # heavy

        return _row_mean_trainer(self.prompt_likelihood), ORPOConfig

    def arguments(self, max_length: int) -> dict[str, Any]:
        return {"max_length": max_length, "beta": self.beta}

    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        import numpy as np  # noqa: PLC0415  # comes with the extra `train`

        pair = labelled_pair(example)
        if not self.prompt_likelihood:
            return pair
        chosen, rejected = pair.replies
        return ReplySet((replace(chosen, spans={"sequence": np.arange(1, len(chosen.ids))}), rejected))

    def loss(self, scores: Scores) -> Loss:
        means = scores.means
        odds = means - _log1mexp(means)
        likelihood = scores.spans["sequence"].means[:, 0] if self.prompt_likelihood else means[:, 0]
        losses = -likelihood - self.beta * log_sigmoid(odds[:, 0] - odds[:, 1])
        return losses, pair_metrics(self.beta * means, scores)


def _log1mexp(values: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(values)) for values below 0, exact on both ends (Maechler, 2012)."""
    near = values > -0.6931471805599453
    small = (-values.where(near, -0.1).expm1()).log()
    return small.where(near, (-values.where(~near, -1.0).exp()).log1p())


@cache
def _row_mean_trainer(prompt_likelihood: bool) -> type[Any]:
    import torch  # noqa: PLC0415  # heavy
    from trl.experimental.orpo import ORPOTrainer  # noqa: PLC0415

    class RowMeanORPOTrainer(ORPOTrainer):
        """TRL's trainer, its first term the mean over pairs of each pair's mean over tokens, as the paper writes it.

        The tokens are those of the chosen reply, or with ``prompt_likelihood`` those of the prompt too.

        TRL averages over all tokens that a device has at once. A long reply then counts more than a short one beside
        it, but not more than one in the next backward pass, so that the same global batch gives another gradient on
        other numbers of devices or rows.
        """

        def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> Any:
            """TRL's result with that term in its place: chosen and rejected log-probabilities, logits, the term."""
            found: Any = super().concatenated_forward(model, batch)
            chosen, rejected, chosen_logits, rejected_logits, _, *rest = found
            mask = batch["chosen_attention_mask"] if prompt_likelihood else batch["chosen_labels"] != -100
            kept = mask[:, 1:].to(chosen_logits.device)
            targets = batch["chosen_input_ids"][:, 1:].to(chosen_logits.device)
            # pairs are padded at the right, to the longer side: beyond the chosen side's width there is only padding
            logits = chosen_logits[:, : targets.shape[1]].transpose(1, 2)
            losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
            term = ((losses * kept).sum(1) / kept.sum(1)).mean()
            return chosen, rejected, chosen_logits, rejected_logits, term, *rest

    return RowMeanORPOTrainer
