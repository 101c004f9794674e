"""TRL's trainers on rows that are tokens already.

Each of TRL's trainers makes its own tokens, and the oldest of them adds some that inference never sees: a BOS that the
template leaves out, a second end of sequence. Here all get the same: those of :class:`cso_train._chat.ChatFormat`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Pretokenised:
    """Comes before a TRL trainer in a class's bases, and has it take its rows as they are."""

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, *rest: Any, **options: Any) -> Any:
        """The rows; with the reply of a neighbour in the device's batch, where the trainer estimates a divergence."""
        if "prompt_ids" not in dataset.column_names:  # sft, whose trainer knows rows of tokens
            return super()._prepare_dataset(dataset, processing_class, args, *rest, **options)  # type: ignore[misc]
        if not getattr(self, "calculate_KL", False):
            return dataset
        return dataset.map(_with_neighbour, batched=True, batch_size=args.per_device_train_batch_size)

    def tokenize_row(self, feature: Mapping[str, Any], model: Any = None) -> dict[str, Any]:
        """A pair as TRL's trainers without a reference want it."""
        prompt, found = list(feature["prompt_ids"]), dict[str, Any]()
        for side in ("chosen", "rejected"):
            said = list(feature[f"{side}_ids"])
            found[f"{side}_input_ids"] = [*prompt, *said]
            found[f"{side}_attention_mask"] = [1] * (len(prompt) + len(said))
            found[f"{side}_labels"] = [-100] * len(prompt) + said
        return {**found, "prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}


def _with_neighbour(rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Each prompt's mismatched reply: that of the row before it, the first row's that of the last."""
    replies = rows["completion_ids"]
    return {**rows, "KL_completion_ids": [replies[-1], *replies[:-1]]}


def pretokenised(trainer: type[Any]) -> type[Any]:
    """A TRL trainer's class that takes rows of tokens."""
    return type(trainer.__name__, (Pretokenised, trainer), {})
