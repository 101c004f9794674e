"""ORPO with each pair counted alike (Hong et al., 2024, eqs. 1 and 6)."""

from __future__ import annotations

from typing import Any

import torch
from trl.experimental.orpo import ORPOTrainer


class RowMeanORPOTrainer(ORPOTrainer):
    """TRL's trainer, its first term the mean over pairs of each pair's mean over tokens, as the paper writes it.

    TRL averages over all tokens that a device has at once. A long reply then counts more than a short one beside it,
    but not more than one in the next backward pass, so that the same global batch gives another gradient on other
    numbers of devices or rows.
    """

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> Any:
        """What TRL's gives, with that term in its place: (chosen and rejected log-probabilities, logits, the term)."""
        found: Any = super().concatenated_forward(model, batch)
        chosen, rejected, chosen_logits, rejected_logits, _, *rest = found
        kept = batch["chosen_attention_mask"][:, 1:].to(chosen_logits.device)
        targets = batch["chosen_input_ids"][:, 1:].to(chosen_logits.device)
        # pairs are padded at the right, to the longer side: what is beyond the chosen side's width is padding
        logits = chosen_logits[:, : targets.shape[1]].transpose(1, 2)
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        term = ((losses * kept).sum(1) / kept.sum(1)).mean()
        return chosen, rejected, chosen_logits, rejected_logits, term, *rest
