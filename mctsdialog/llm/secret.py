"""Keeping secrets out of what people see."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|gsk|hf|xai|key)[-_][\w*\-]{6,}|(?i:bearer)\s+[\w.~+/*\-]{6,}=*")
_MARK = "[redacted]"


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` with the given secrets, and whatever looks like an API key, replaced by ``[redacted]``.

    Servers echo keys, whole or half masked, in their error messages.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:  # what is shorter is no secret, and would tear words apart
            text = text.replace(secret, _MARK)
    return _KEY_LIKE.sub(_MARK, text)


def shorten(text: str, limit: int = 300) -> str:
    """``text`` on one line, at most ``limit`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
