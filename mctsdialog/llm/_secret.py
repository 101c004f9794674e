"""Keeping secrets out of what people see."""

from __future__ import annotations

import html
import json
import os
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

from mctsdialog.errors import ConfigError

_MARK = "[redacted]"
_KEY_LIKE = re.compile(
    r"\b(?:sk|pk|rk|gsk|hf|xai|key|gh[pousr]|github_pat)[-_][\w\-*•●.…]{5,}[\w*•●…]"
    r"|\b(?:AIza[\w\-]{16,}|AKIA[A-Z0-9]{12,}|eyJ[\w\-]{8,}\.[\w\-]+\.[\w\-]*)"
    r"|(?i:\bbearer)\s+[\w.~+/*•●…\-]{6,}=*"
)
_MASKED = re.compile(r"(?<![\w\-+/=~:])([\w\-+/=~:.]{0,200}?)(?:[*•●#]{2,}|\.{3,}|…+|[xX]{4,})([\w\-+/=~:.]*)")
_LEAST = 4  # characters of a secret: what is shorter is none, and to replace it would tear words apart
_LEAST_IN_REPLIES = 8  # replies are text that people read
_LONGEST_WORD = 4096  # that is left out at a cut


class Redactor:
    """Takes a client's secrets out of texts, whole, half masked and in the forms in which servers echo them.

    :param secrets: keys and passwords.
    :param names: what is taken out of messages alone: user names, values of headers.
    """

    def __init__(self, secrets: Sequence[SecretStr], names: Sequence[SecretStr] = ()) -> None:
        self._values = [each for each in (*secrets, *names) if len(each) >= _LEAST]
        self._forms = _forms(self._values)
        self._in_replies = _forms([each for each in secrets if len(each) >= _LEAST_IN_REPLIES])

    def message(self, text: str) -> str:
        """A message of a server: without the secrets, and without whatever looks like a key."""
        return _KEY_LIKE.sub(_MARK, _MASKED.sub(self._unmasked, _without(text, self._forms)))

    def reply(self, text: str) -> str:
        """A model's reply: without the secrets, all else as it is."""
        echoed = any(each.get_secret_value() in text for each in self._in_replies)
        return _without(text, self._in_replies) if echoed else text

    def _unmasked(self, found: re.Match[str]) -> str:
        start, end = (part.strip(".:").lower() for part in found.groups())
        if len(start) + len(end) < _LEAST:
            return found[0]
        values = (value.get_secret_value().lower() for value in self._values)
        return _MARK if any(start in value and end in value for value in values) else found[0]


def _forms(secrets: Iterable[SecretStr]) -> list[SecretStr]:
    """Secrets, and how a URL, JSON, HTML, a repr and base64 write them; the longest first."""
    forms = set[str]()
    for secret in secrets:
        value = secret.get_secret_value()
        forms |= {value, quote(value, safe=""), quote(value), quote_plus(value)}
        forms |= {html.escape(value), repr(value)[1:-1]}
        forms |= {encode(value.encode()).decode().rstrip("=") for encode in (b64encode, urlsafe_b64encode)}
    for _ in range(2):  # messages hold JSON that holds JSON
        forms |= {json.dumps(form)[1:-1] for form in forms}
    return [SecretStr(form) for form in sorted(forms, key=len, reverse=True)]


def _without(text: str, forms: Iterable[SecretStr]) -> str:
    for form in forms:
        text = re.sub(re.escape(form.get_secret_value()), _MARK, text, flags=re.IGNORECASE)
    return text


def beginning(body: bytes, most: int) -> str:
    """The first ``most`` bytes as text; of a longer body without the word that the cut goes through.

    Half a secret could not be found.
    """
    text = body[:most].decode("utf-8", "replace")
    return text if len(body) <= most else text.removesuffix(re.split(r"\s", text[-_LONGEST_WORD:])[-1])


def looks_secret(text: str) -> bool:
    """Whether something in ``text`` looks like an API key."""
    return _KEY_LIKE.search(text) is not None


def checked_key(api_key: str | SecretStr | None, variable: str | None) -> SecretStr | None:
    """A key that can be sent, or None for none.

    :param variable: the environment variable that has it where ``api_key`` is None; None for no variable.
    :raises ConfigError: for one that no header can carry.
    """
    if api_key is None:
        api_key = "" if variable is None else os.environ.get(variable, "")
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
