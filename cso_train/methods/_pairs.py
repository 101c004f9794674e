"""What losses of a pair against a reference have in common: TRL's trainer, the two replies, their rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cso_train.methods._base import PAIR_METRICS, Method, Reply, ReplySet, Scores
from cso_train.methods._spans import reply_tokens, weighted_ratios

if TYPE_CHECKING:
    import torch

SIDES = ("chosen", "rejected")


@dataclass(frozen=True)
class ReferencePairs(Method):
    """A method of TRL's ``DPOTrainer``."""

    beta: float = 0.1
    precompute_reference: bool = False

    trl = "DPO"
    reference = True
    metrics = PAIR_METRICS
    loss_type: ClassVar[str] = "sigmoid"

    def arguments(self, max_length: int) -> dict[str, Any]:
        return {"max_length": max_length, "beta": self.beta, "loss_type": [self.loss_type]}

    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        prompt = example["prompt_ids"]
        return ReplySet(
            tuple(Reply.after(prompt, example[f"{side}_ids"], limit, example.get(f"{side}_strategy")) for side in SIDES)
        )


@dataclass(frozen=True)
class WeightedPairs(ReferencePairs):
    """Pairs whose strategies and words can be weighed apart, and that count by how sure the search is of them."""

    strategy_weight: float = 1.0
    reply_weight: float = 1.0
    confidence_weights: bool = False

    @property
    def spans(self) -> bool:
        """Whether strategies have to be found in the replies."""
        return self.strategy_weight != self.reply_weight

    @property
    def weighted(self) -> bool:
        return self.confidence_weights

    @property
    def trees_alone(self) -> str | None:
        if self.spans:
            return "strategy_weight and reply_weight differ"
        if self.reply_weight != 1.0:
            return "reply_weight is not 1"
        return "confidence_weights is true" if self.confidence_weights else None

    def examples(
        self, rows: Sequence[Mapping[str, Any]], tokens: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        if not self.spans:
            return super().examples(rows, tokens)
        made = []
        for row in rows:
            prompt, ids, counts = reply_tokens(row["prompt"], [row[side][0]["content"] for side in SIDES], tokens)
            found: dict[str, Any] = {"prompt_ids": prompt}
            for side, own, count in zip(SIDES, ids, counts, strict=True):
                found |= {f"{side}_ids": own, f"{side}_strategy": count}
            made.append(found)
        return made

    def rewards(self, scores: Scores) -> torch.Tensor:
        """``beta`` times the weighed log-ratios, shape (turns, 2)."""
        return self.beta * weighted_ratios(scores, self.strategy_weight, self.reply_weight)

    def by_confidence(self, losses: torch.Tensor, scores: Scores) -> torch.Tensor:
        """The losses of the pairs, each times its weight where these are asked for."""
        return losses if scores.weights is None else losses * scores.weights[:, 0]
