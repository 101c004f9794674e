"""Marks by which damage is found: of whole files, and of single lines."""

from __future__ import annotations

import hashlib
import re
import zlib
from pathlib import Path
from typing import TypeAlias

Mark: TypeAlias = tuple[int, str]
"""A file's size in bytes and the SHA-256 of its content, in hexadecimal."""

_SEAL = re.compile(r', "crc": "([0-9a-f]{8})"\}$')


def mark_of(path: Path) -> Mark | None:
    """The mark of a file; None if there is none.

    :raises OSError: if it cannot be read.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def seal(text: str, about: str = "") -> str:
    """The JSON text of an object, not an empty one, with a checksum as its last item.

    :param about: what else the checksum covers: where the text belongs.
    """
    return f'{text[:-1]}, "crc": "{_crc(text, about):08x}"}}'


def sealed(text: str, about: str = "") -> bool | None:
    """Whether a text is as :func:`seal` made it; None where it has no checksum."""
    found = _SEAL.search(text)
    if found is None:
        return None
    return int(found[1], 16) == _crc(f"{text[: found.start()]}}}", about)


def _crc(text: str, about: str) -> int:
    return zlib.crc32(f"{about}{text}".encode("utf-8", "surrogatepass"))
