"""Keeping secrets out of what people see."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from pydantic import SecretStr

from mctsdialog.errors import ConfigError

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


def checked_key(api_key: str | SecretStr | None, variable: str) -> SecretStr | None:
    """A key that can be sent, or None for none.

    :param variable: the environment variable that has it where ``api_key`` is None.
    :raises ConfigError: for one that no header can carry.
    """
    if api_key is None:
        api_key = os.environ.get(variable, "")
    value = (api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key).strip()
    if not value:
        return None
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError("api_key holds a space, line break or character that no key has", field="api_key")
    return SecretStr(value)


def shorten(text: str, limit: int = 300) -> str:
    """``text`` on one line, at most ``limit`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
