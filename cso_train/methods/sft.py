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
        return {"packing": False}

    def examples(
        self, rows: Sequence[Mapping[str, Any]], tokens: Callable[[list[dict[str, str]]], dict[str, list[int]]]
    ) -> list[dict[str, Any]]:
        return [dict(tokens(row["messages"])) for row in rows]

    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        return ReplySet((Reply.labelled(example["input_ids"], example["labels"]),))

    def loss(self, scores: Scores) -> Loss:
        return -scores.sums[:, 0], {}
