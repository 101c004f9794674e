"""The tree's policy over strategies as the target of the model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cso_train.methods._base import Loss, Method, Reply, ReplySet, Scores
from cso_train.methods._sets import shares, targets, values_of
from cso_train.methods._spans import named_strategy, reply_tokens


@dataclass(frozen=True)
class Distill(Method):
    """``L = -strategy_weight * sum_s q_s log pi("(s)" | x) - reply_weight * sum_i p_i mean log pi(y_i | x, "(s_i)")``.

    The mean over turns. ``q = softmax(Q / value_temperature)`` over all strategies of the turn, those that the search
    did not say too (:class:`mctsdialog.preferences.RecordPolicy`), as in expert iteration (Anthony et al., NeurIPS
    2017) and AlphaZero; ``p`` is ``q`` among the replies that were said, each by the mean likelihood of its words after
    the strategy. There is no reference and nothing is pushed down. ``value_temperature`` is in rewards of the judge's
    scale; ``confidence_weights`` multiplies the terms of a reply that was said, see infonca.
    """

    value_temperature: float = 0.25
    strategy_weight: float = 1.0
    reply_weight: float = 1.0
    confidence_weights: bool = False

    name = "distill"
    trl = "DPO"
    formula = (
        "-strategy_weight * sum_s q_s log pi((s)) - reply_weight * sum_i p_i mean log pi(y_i after (s_i)), "
        "q = softmax(Q / value_temperature) over strategies, p the same over the replies said"
    )
    kind = "turns"
    metrics = ("strategies/entropy", "strategies/likelihood", "strategies/accuracies")

    @property
    def trees_alone(self) -> str | None:
        return "its loss is over all strategies of a turn, and TRL's trainers take pairs"

    @property
    def weighted(self) -> bool:
        return self.confidence_weights

    def arguments(self, max_length: int) -> dict[str, Any]:
        # the trainer would load a reference otherwise; there is none to compute on trees
        return {"max_length": max_length, "precompute_ref_log_probs": True}

    def examples(
        self, rows: Sequence[Mapping[str, Any]], tokens: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        return [self._example(row, tokens) for row in rows]

    def _example(self, row: Mapping[str, Any], tokens: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """The replies that were said, then each other strategy by its name alone."""
        said = [each[0]["content"] for each in row["replies"]]
        names = set(map(named_strategy, said))
        policy = row.get("policy", {})
        unsaid = [name for name in policy if f"({name})" not in names]
        prompt, ids, counts = reply_tokens(row["prompt"], [*said, *(f"({name}) {_NEXT}" for name in unsaid)], tokens)
        values = [
            policy.get(named_strategy(text)[1:-1], value) for text, value in zip(said, row["values"], strict=True)
        ]
        for place in range(len(said), len(ids)):
            ids[place] = ids[place][: counts[place]]
        weights = row.get("weights")
        return {
            "prompt_ids": prompt,
            "reply_ids": ids,
            "strategy_tokens": counts,
            "targets": [*values, *(policy[name] for name in unsaid)],
            "shares": [] if weights is None else [*weights, *[1.0] * len(unsaid)],
        }

    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        sides = zip(example["reply_ids"], example["strategy_tokens"], strict=True)
        return ReplySet(
            tuple(Reply.after(example["prompt_ids"], ids, limit, count) for ids, count in sides),
            values=tuple(example["targets"]),
            weights=tuple(example["shares"]) if self.confidence_weights else (),
        )

    def loss(self, scores: Scores) -> Loss:
        named, weights = scores.spans["strategy"], shares(scores)
        present = named.counts > 0
        words = scores.counts - named.counts
        said = present & (words > 0)
        q = targets(values_of(scores), present, self.value_temperature)
        p = q * said / (q * said).sum(1, keepdim=True).clamp(min=1e-30)
        means = (scores.sums - named.sums) / words.clamp(min=1)
        strategies = -(weights * q * named.sums).sum(1)
        losses = self.strategy_weight * strategies - self.reply_weight * (weights * p * means).sum(1)
        logs = named.sums.detach().masked_fill(~present, -float("inf"))
        right = (logs.argmax(1) == q.argmax(1)).float().sum()
        entropy = -(q * q.clamp(min=1e-30).log()).sum()
        found = {
            "strategies/entropy": entropy,
            "strategies/likelihood": logs.exp().sum(),
            "strategies/accuracies": right,
        }
        return losses, {name: (value, len(losses)) for name, value in found.items()}


_NEXT = "I"  # a word after a strategy's name, so that its last token is the one it has before a reply
