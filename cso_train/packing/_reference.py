"""Log-probabilities of all replies by the model as it was before training: computed once, kept beside the checkpoints.

The table lets a run go on, and serve any number of epochs, without a second model and without computing it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from cso_train.errors import RunError
from cso_train.methods import ReplySet
from mctsdialog.files import inside, write_atomically

Table = Mapping[str, torch.Tensor]
"""Log-probabilities: "train" (rows, columns), "train.mismatched" (rows, 1) for kto, and the same for "eval"."""


def fingerprint(parts: Mapping[str, Sequence[ReplySet]], model: str) -> str:
    """SHA-256 of what a table depends on.

    :param parts: rows by the table's names.
    :param model: names the model, its revision and the number format.
    """
    sha = hashlib.sha256(model.encode())
    for name, rows in parts.items():
        sha.update(name.encode())
        for row in rows:
            for reply in (*row.replies, *([] if row.mismatched is None else [row.mismatched])):
                sha.update(b"|".join(each.tobytes() for each in (reply.ids, reply.scored, *reply.spans.values())))
    return sha.hexdigest()


def load_table(path: Path, key: str) -> Table | None:
    """A table that was saved for just these rows and this model; None where there is none.

    :raises RunError: for a file that cannot be read.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("fingerprint") != key:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except (OSError, SafetensorError) as error:
        message = f"the reference's log-probabilities in {path.name} cannot be read: {error}; --restart trains again"
        raise RunError(message, folder=path.parent) from error


def save_table(path: Path, table: Table, key: str) -> None:
    """Write a table in one step."""
    tensors = {name: values.contiguous() for name, values in table.items()}
    write_atomically(inside(path.parent, path.name), save(tensors, metadata={"fingerprint": key}))
