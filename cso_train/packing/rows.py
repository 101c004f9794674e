"""Training rows as tokens: what a trainer made of its data set, and which of the tokens its loss looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cso_train.data import Row, seed_of
from cso_train.packing.trie import IntArray, common_prefix


@dataclass(frozen=True)
class Reply:
    """A sequence and those of its tokens whose log-probabilities are asked for.

    :param ids: prompt and reply.
    :param scored: indices of the tokens that are asked for, each 1 or more.
    """

    ids: IntArray
    scored: IntArray


@dataclass(frozen=True)
class PackedRow:
    """A row of training data.

    :param replies: (chosen, rejected); for kto the completion; for sft the dialogue; for orpo (chosen, rejected, all
        of the chosen sequence, which its likelihood term looks at).
    :param seed: tells the row's seed dialogue from others.
    :param label: for kto, whether the completion is a desirable one.
    :param mismatched: for kto, the prompt with another row's completion, for the KL term.
    """

    replies: tuple[Reply, ...]
    seed: str
    label: bool | None = None
    mismatched: Reply | None = None


def packed_rows(
    method: str, examples: Iterable[Mapping[str, Any]], source: Sequence[Row], limit: int
) -> list[PackedRow]:
    """A trainer's tokenised examples as rows for packing.

    :param method: a training method.
    :param examples: rows of the trainer's data set, with the columns that TRL gives them.
    :param source: the rows that they were made of, in the same order.
    :param limit: most tokens of prompt and reply together; what is beyond is left out, as the trainers do.
    """
    read = _READERS[method]
    return [read(example, seed_of(row), limit) for example, row in zip(examples, source, strict=True)]


def _reply(prompt: list[int], completion: list[int], limit: int) -> Reply:
    ids = np.array([*prompt, *completion][:limit], np.int64)
    return Reply(ids, np.arange(max(len(prompt), 1), len(ids)))


def _with_reference(example: Mapping[str, Any], seed: str, limit: int) -> PackedRow:
    prompt = example["prompt_ids"]
    return PackedRow(tuple(_reply(prompt, example[key], limit) for key in ("chosen_ids", "rejected_ids")), seed)


def _without_reference(example: Mapping[str, Any], seed: str, limit: int) -> PackedRow:
    return PackedRow((_labelled(example, "chosen_"), _labelled(example, "rejected_")), seed)


def _orpo(example: Mapping[str, Any], seed: str, limit: int) -> PackedRow:
    row = _without_reference(example, seed, limit)
    ids = row.replies[0].ids
    return PackedRow((*row.replies, Reply(ids, np.arange(1, len(ids)))), seed)


def _labelled(example: Mapping[str, Any], prefix: str) -> Reply:
    """A sequence whose labels say what counts; the trainers compare no prediction with the first token."""
    labels = np.array(example[f"{prefix}labels"], np.int64)
    scored = np.flatnonzero(labels != -100)
    return Reply(np.array(example[f"{prefix}input_ids"], np.int64), scored[scored > 0])


def _kto(example: Mapping[str, Any], seed: str, limit: int) -> PackedRow:
    prompt = example["prompt_ids"]
    return PackedRow(
        (_reply(prompt, example["completion_ids"], limit),),
        seed,
        label=bool(example["label"]),
        mismatched=_reply(prompt, example["KL_completion_ids"], limit),
    )


def _sft(example: Mapping[str, Any], seed: str, limit: int) -> PackedRow:
    return PackedRow((_labelled(example, ""),), seed)


_READERS: dict[str, Callable[[Mapping[str, Any], str, int], PackedRow]] = {
    "sft": _sft,
    "dpo": _with_reference,
    "ipo": _with_reference,
    "simpo": _without_reference,
    "orpo": _orpo,
    "kto": _kto,
}


def packed_apart(rows: Sequence[PackedRow], source: Sequence[Row]) -> int:
    """How many rows begin, message by message, with what another row ends with, but with other tokens.

    Such a template or tokenizer writes a turn otherwise once another follows it. The rows are still exact, since what
    is shared is found on tokens: they only share less than they might, and stand apart from there on.
    """
    ends: dict[str, IntArray] = {}
    for row, messages in zip(rows, source, strict=True):
        for name, reply in zip(("chosen", "rejected", "completion"), _sides(row, messages), strict=False):
            if reply is not None and name in messages:
                ends[repr([*messages["prompt"], *messages[name]])] = reply.ids
    return sum(_broken(row, messages, ends) for row, messages in zip(rows, source, strict=True))


def _sides(row: PackedRow, messages: Row) -> tuple[Reply | None, ...]:
    if "completion" in messages:
        return (None, None, row.replies[0])
    return row.replies[:2] if "chosen" in messages else ()


def _broken(row: PackedRow, messages: Row, ends: Mapping[str, IntArray]) -> bool:
    prompt = messages.get("prompt", [])
    for length in range(len(prompt) - 1, 1, -1):
        earlier = ends.get(repr(prompt[:length]))
        if earlier is None:
            continue
        reply = row.replies[0]
        # the marks that close a turn may follow the reply itself; what stood before it must be the same
        return common_prefix(earlier, reply.ids) < len(earlier) - _CLOSING
    return False


_CLOSING = 3  # tokens after a reply's text: the end of a turn, a line break, an end of sequence
