"""Trees as JSON files, with a schema version."""

from __future__ import annotations

import json
from pathlib import Path

from mctsdialog.errors import TreeFormatError
from mctsdialog.files import write_atomically
from mctsdialog.tree.document import document_to_tree, tree_to_document
from mctsdialog.tree.tree import Tree

MAX_BYTES = 4 * 1024**3
"""A file above this is refused unread."""


def save_tree(tree: Tree, path: str | Path) -> Path:
    """Write a tree as JSON, in one step; :func:`load_tree` gives the very same tree back.

    :raises OSError: when the file cannot be written.
    """
    text = json.dumps(tree_to_document(tree), ensure_ascii=False, allow_nan=False, indent=1)
    return write_atomically(path, text + "\n")


def load_tree(path: str | Path) -> Tree:
    """Read a tree that :func:`save_tree` wrote, in this schema version or an older one.

    Nothing in the file is trusted: types, links and every invariant of the tree are checked.

    :raises TreeFormatError: naming file, node and field, for anything that is not a sound tree.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise TreeFormatError(f"is {size} bytes; trees are read up to {MAX_BYTES}", file=file)
        data = file.read_bytes()
    except OSError as error:
        raise TreeFormatError(f"cannot be read: {error.strerror or error}", file=file) from error
    return document_to_tree(data, file=str(file))
