"""What a failed HTTP call means: which statuses pass, which are for good, and what the user should check."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from mctsdialog.errors import ModelError, ModelRequestError, ModelResponseError, ModelUnavailableError
from mctsdialog.llm.http import LostConnectionError
from mctsdialog.llm.secret import beginning, shorten

_PASSING = frozenset({408, 409, 425, 429})
_FORMAT_WORDS = re.compile(
    r"response_?format|json_?schema|json_?object|grammar|guided|structured|unsupported|not support|schema", re.I
)
_LENGTH_WORDS = re.compile(r"context (length|size|window)|too long|maximum (context|length|tokens)|exceed", re.I)


def error_for(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    model: str,
    address: str,
    clean: Callable[[str], str],
    key_hint: str = "",
) -> ModelError:
    """The error for a response that is no 200.

    :param address: the server, as it may be shown.
    :param clean: takes the secrets out of a text.
    :param key_hint: what to check about the key where the server refuses it.
    """
    said = shorten(clean(server_message(body)))  # a shortened key could not be found
    text = f"{model}: {address} answered {status}" + (f": {said}" if said else "")
    if status == 429 and "insufficient_quota" in body.decode("utf-8", "replace"):
        return ModelRequestError(f"{text} (the account has no credit left)", model=model, status=status)
    if status in _PASSING or status >= 500:
        wait = retry_after(headers)
        return ModelUnavailableError(text, model=model, status=status, retry_after=wait)
    if 200 <= status < 300:
        return ModelResponseError(text, model=model, status=status)
    return ModelRequestError(text + _advice(status, headers, model, clean, key_hint), model=model, status=status)


def error_for_lost(
    lost: LostConnectionError, *, model: str, address: str, clean: Callable[[str], str]
) -> ModelUnavailableError | ModelResponseError:
    """The error for a connection that failed before a response was whole.

    :param address: the server, as it may be shown.
    :param clean: takes the secrets out of a text.
    """
    what = shorten(clean(str(lost))).removesuffix(": ")
    if lost.status is not None:
        return ModelResponseError(f"{model}: the reply broke off: {what}", model=model, status=lost.status)
    return ModelUnavailableError(f"{model}: no answer from {address}: {what}", model=model)


def _advice(status: int, headers: Mapping[str, str], model: str, clean: Callable[[str], str], key_hint: str) -> str:
    if status == 401:
        return f" ({key_hint})"
    if status == 403:
        return f" ({key_hint}, and its rights: it may not use this model)"
    if status == 404:
        return f" (check base_url, which often ends in /v1, and the model name {model!r})"
    if 300 <= status < 400:
        return f" (redirects are not followed: set base_url to where it points, {_target(headers, clean)})"
    return ""


def _target(headers: Mapping[str, str], clean: Callable[[str], str]) -> str:
    """Where a redirect points, without user, password and query."""
    try:
        url = httpx.URL(headers.get("location", ""))
    except httpx.InvalidURL:
        return "no valid URL"
    shown = url.copy_with(username=None, password=None, query=None, fragment=None)
    return shorten(clean(str(shown))) or "nowhere"


def server_message(body: bytes) -> str:
    """The server's own words in an error body: its JSON message, or the text; nothing of an HTML page."""
    text = beginning(body, 20_000).strip()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text.startswith("<") else text
    for name in ("error", "message", "detail"):
        if isinstance(data, dict) and name in data:
            data = data[name]
    return data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)


def refuses_format(error: ModelRequestError, *, proven: bool) -> bool:
    """Whether ``error`` may be about the response format, so that a simpler one is worth a try.

    :param proven: whether the server has taken this format before.
    """
    text = str(error)
    if error.status not in (400, 422) or _LENGTH_WORDS.search(text):
        return False
    return not proven or _FORMAT_WORDS.search(text) is not None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: ``retry-after-ms``, or ``Retry-After`` in seconds or as a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) and number >= 0 else None
