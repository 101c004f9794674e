"""What losses over all replies of a turn have in common: the replies with their values, and what is logged of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cso_train.methods._base import Method, Metrics, Reply, ReplySet, Scores
from cso_train.methods._spans import reply_tokens, weighted_ratios

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ReplySets(Method):
    """A method over turns with two or more replies, each with a value; it needs trees, which see them together."""

    beta: float = 0.1
    strategy_weight: float = 1.0
    reply_weight: float = 1.0
    confidence_weights: bool = False
    precompute_reference: bool = False

    trl = "DPO"
    kind = "turns"
    reference = True
    metrics = ("rewards/best", "rewards/others", "rewards/accuracies", "logps/best", "logps/others")

    @property
    def trees_alone(self) -> str | None:
        return "its loss is over all replies of a turn, and TRL's trainers take pairs"

    @property
    def weighted(self) -> bool:
        return self.confidence_weights

    def arguments(self, max_length: int) -> dict[str, Any]:
        return {"max_length": max_length}

    def examples(
        self, rows: Sequence[Mapping[str, Any]], tokens: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        made = []
        for row in rows:
            texts = [each[0]["content"] for each in row["replies"]]
            prompt, ids, counts = reply_tokens(row["prompt"], texts, tokens)
            made.append({"prompt_ids": prompt, "reply_ids": ids, "strategy_tokens": counts})
        return made

    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        spans: Sequence[int | None] = example["strategy_tokens"]
        if self.strategy_weight == self.reply_weight:
            spans = [None] * len(spans)
        sides = zip(example["reply_ids"], spans, strict=True)
        return ReplySet(tuple(Reply.after(example["prompt_ids"], ids, limit, count) for ids, count in sides))

    def rewards(self, scores: Scores) -> torch.Tensor:
        """``rho``: ``beta`` times the weighed log-ratios, shape (turns, replies)."""
        return self.beta * weighted_ratios(scores, self.strategy_weight, self.reply_weight)


def values_of(scores: Scores) -> torch.Tensor:
    """The values of the replies, shape (turns, replies).

    :raises ValueError: if the data does not say them.
    """
    if scores.values is None:
        raise ValueError("the loss needs the values of the replies")
    return scores.values


def targets(values: torch.Tensor, present: torch.Tensor, temperature: float) -> torch.Tensor:
    """``q = softmax(Q / temperature)`` over the replies that there are; 0 elsewhere, and where there is none."""
    return (values / temperature).masked_fill(~present, -float("inf")).softmax(1).nan_to_num(0.0)


def shares(scores: Scores) -> torch.Tensor:
    """The weights of the replies, or 1 for each that there is."""
    present = scores.present.to(scores.sums.dtype)
    return present if scores.weights is None else present * scores.weights


def set_metrics(rewards: torch.Tensor, scores: Scores) -> Metrics:
    """What is logged of turns: the reply of highest value, and the mean of the others.

    :param rewards: of the replies, shape (turns, replies).
    """
    rewards, sums, present = rewards.detach(), scores.sums.detach(), scores.present
    best = values_of(scores).masked_fill(~present, -float("inf")).argmax(1, keepdim=True)
    others = present.scatter(1, best, value=False)
    highest = rewards.masked_fill(~present, -float("inf")).argmax(1, keepdim=True)
    count, rest = len(rewards), int(others.sum())
    return {
        "rewards/best": (rewards.gather(1, best).sum(), count),
        "rewards/others": (rewards[others].sum(), rest),
        "rewards/accuracies": ((best == highest).float().sum(), count),
        "logps/best": (sums.gather(1, best).sum(), count),
        "logps/others": (sums[others].sum(), rest),
    }
