"""Writing files so that a reader never sees half of one, and names for them."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A new file to write piece by piece; it takes the place of ``path`` when the block is left without an error.

    A crash leaves the old file or the new one, never a part. Folders on the way are made.

    :raises OSError: when the file cannot be written; nothing is left behind then.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes private files
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: str | Path, content: str | bytes) -> Path:
    """Write ``content`` to ``path`` in one step, as :func:`atomic_file` does. Text is written as UTF-8.

    :raises OSError: when the file cannot be written; nothing is left behind then.
    """
    with atomic_file(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
    return Path(path)


def file_stem(dialogue_id: str) -> str:
    """A file name for a dialogue: its id, where that is a safe one, else made safe with a digest of it."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", dialogue_id)[:100].strip(".")
    if safe and safe == dialogue_id:
        return safe
    return f"{safe or 'dialogue'}-{hashlib.sha256(dialogue_id.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
