"""File names for ids: two ids never share one."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata

_PLAIN = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,98}[a-z0-9_-])?")
_DIGESTED = re.compile(r".*-[a-z2-7]{26}", re.DOTALL)
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")


def file_stem(name: str) -> str:
    """A file name for an id, without a suffix: two ids never have the same, whatever file system it is on.

    An id of lower-case ASCII letters, digits and ``._-`` is its own name, where every system takes it and it does not
    end as those do that follow: what is readable of the id, and 128 bits of its SHA-256. All are ASCII, of at most 100
    characters, and differ also where a file system ignores case.
    """
    if _PLAIN.fullmatch(name) and not _DIGESTED.fullmatch(name) and not _DEVICE.fullmatch(name):
        return name
    return digested_stem(name)


def digested_stem(name: str, readable: str | None = None) -> str:
    """The name that an id has where it cannot be its own name; no other id has it.

    :param readable: what to make its beginning of; the id by default.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:16]
    shown = re.sub(r"[^A-Za-z0-9_-]", "_", (name if readable is None else readable)[:60]).strip("-_") or "dialogue"
    return f"{shown}-{base64.b32encode(digest).decode().rstrip('=').lower()}"


def earlier_stem(name: str) -> str:
    """The name that version 0.1 gave to an id. Two ids can share one: look into the file before it is used."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100].strip(".")
    if safe and safe == name:
        return safe
    return f"{safe or 'dialogue'}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def folded(name: str) -> str:
    """What a file system that ignores case and Unicode forms makes of a name: equal for names that it mixes up."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
