"""Supervised fine-tuning on the supporter's turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cso_train.methods._base import Loss, Method, Reply, ReplySet, Scores


@dataclass(frozen=True)
class SFT(Method):
    """``L = -mean log pi(y_t | x, y_<t)`` over all tokens of the supporter (ESC-Pro-SFT, paper section 5.1)."""

    name = "sft"
    trl = "SFT"
    formula = "-mean log pi(y_t | x, y_<t) over the supporter's tokens"
    kind = "sft"
    mean_over = "tokens"

    def arguments(self, max_length: int) -> dict[str, Any]:
        return {"packing": False, "max_length": max_length}

    def examples(
        self, rows: Sequence[Mapping[str, Any]], tokens: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        return [_of_one_turn(found) if "prompt_ids" in (found := tokens(row)) else found for row in rows]

    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        return ReplySet((Reply.labelled(example["input_ids"], example["labels"]),))

    def loss(self, scores: Scores) -> Loss:
        return -scores.sums[:, 0], {}


def _of_one_turn(tokens: Mapping[str, Any]) -> dict[str, Any]:
    """A prompt and a reply as a dialogue of which the reply alone is trained on."""
    prompt, said = tokens["prompt_ids"], tokens["completion_ids"]
    return {"input_ids": [*prompt, *said], "assistant_masks": [0] * len(prompt) + [1] * len(said)}
