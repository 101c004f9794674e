"""Trees as JSON files, with a schema version."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mctsdialog._arguments import checked
from mctsdialog.errors import TreeFormatError
from mctsdialog.files import atomic_file, open_input
from mctsdialog.tree._document import document_to_tree, tree_to_document
from mctsdialog.tree._tree import Tree

MAX_BYTES = 4 * 1024**3
"""A file above this is refused unread."""


@checked()
def save_tree(tree: Tree, path: str | Path) -> Path:
    """Write a tree as JSON, a node a line, in one step; :func:`load_tree` gives the very same tree back.

    :raises OSError: when the file cannot be written.
    """
    with atomic_file(path) as file:
        file.writelines(line.encode() for line in _lines(tree_to_document(tree)))
    return Path(path)


def _lines(document: dict[str, Any]) -> Iterator[str]:
    """The document's JSON text; its nodes, which come last, have a line each."""
    *rest, nodes = document.items()
    yield "{\n"
    for name, value in rest:
        yield f"{_json(name)}: {_json(value)},\n"
    name, entries = nodes
    yield f"{_json(name)}: [\n"
    *most, last = entries
    yield from (f"{_json(entry)},\n" for entry in most)
    yield f"{_json(last)}\n]\n}}\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@checked()
def load_tree(path: str | Path) -> Tree:
    """Read a tree that :func:`save_tree` wrote, in this schema version or an older one.

    Nothing in the file is trusted: types, links and every invariant of the tree are checked.

    :raises TreeFormatError: naming file, node and field, for anything that is not a sound tree.
    """
    file = Path(path)
    try:
        with open_input(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            if size > MAX_BYTES:
                raise TreeFormatError(f"is {size} bytes; trees are read up to {MAX_BYTES}", file=file)
            data = opened.read()
    except IsADirectoryError as error:
        raise TreeFormatError("is a folder; name a tree file in it", file=file) from error
    except OSError as error:
        raise TreeFormatError(f"cannot be read: {error.strerror or error}", file=file) from error
    return document_to_tree(data, file=str(file))
