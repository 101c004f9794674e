"""What a failed HTTP call means: which failures pass, which are for good, and what the user should check."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx

from mctsdialog.errors import (
    ModelAccountError,
    ModelError,
    ModelRefusedError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
)
from mctsdialog.llm._http import LostConnectionError
from mctsdialog.llm._openai import error_body as words
from mctsdialog.llm._openai.error_body import ErrorBody
from mctsdialog.llm._openai.retry_after import asked_wait
from mctsdialog.llm._secret import shorten

_PASSING = frozenset({408, 409, 425, 429})
BUSY_STATUS = frozenset({429, 503, 529})
"""A server that has too much to do, or has not begun yet: it is waited for."""


def error_for(
    said: ErrorBody,
    headers: Mapping[str, str],
    *,
    model: str,
    address: str,
    clean: Callable[[str], str],
    key_hint: str = "",
) -> ModelError:
    """The error for what a server says.

    :param headers: of the response.
    :param address: the server, as it may be shown.
    :param clean: takes the secrets out of a text.
    :param key_hint: what to check about the key where the server refuses it.
    """
    status = said.status
    shown = shorten(clean(said.message))  # a shortened key could not be found
    text = f"{model}: {address} answered {status}" + (f": {shown}" if shown else "")
    wait = asked_wait(headers, said.data, said.message, limited=status == 429)
    if said.has(words.LOADING):  # whatever its status
        return ModelUnavailableError(text, model=model, status=503, retry_after=wait)
    if status == 451 or (
        words.CONTENT.search(said.codes) if status >= 500 else 400 <= status != 429 and said.has(words.CONTENT)
    ):
        reason = f"{text} (the provider's filter refuses this content)"
        return ModelRefusedError(reason, reason="content_filter", model=model, status=status)
    for_good = _for_good(said, model, address, key_hint, _target(headers, clean), wait is not None)
    if for_good:
        return ModelAccountError(f"{text} ({for_good})", model=model, status=status)
    if status in _PASSING or status >= 500 or (status != 413 and said.has(words.BUSY)):
        return ModelUnavailableError(text, model=model, status=status, retry_after=wait)
    if 200 <= status < 300 or said.has(words.GENERATION) or said.has(words.PROVIDER):
        return ModelResponseError(text, model=model, status=status)
    return ModelRequestError(text, model=model, status=status)


def _for_good(said: ErrorBody, model: str, address: str, key_hint: str, target: str, waits: bool) -> str:
    """What to do where the server would refuse every other request too; "" where it would not.

    :param target: where a redirect points.
    :param waits: whether the server says how long to wait.
    """
    status, key = said.status, key_hint or "check the key"
    passing = status in _PASSING or status >= 500 or (status != 401 and said.has(words.BUSY))
    refused = 400 <= status < 500
    over = status == 429 and not waits and said.has(words.OVER_QUOTA) and not said.has(words.BUSY)
    advice = {
        _CREDIT: status == 402 or over or (refused and said.has(words.NO_CREDIT)),
        _path_advice(address): said.has(words.WRONG_PATH),
        "": passing,
        key: status == 401 or (refused and said.has(words.WRONG_KEY)),
        _model_advice(said, model): refused and said.has(words.NO_MODEL),
        f"a proxy or firewall before the server answers in its place; {_path_advice(address)}": status == 403
        and said.page,
        f"{key}, and its rights: it may not use this model": status == 403,
        f"{_path_advice(address)}, and the model name {model!r}": status in (404, 405),
        f"redirects are not followed: set base_url to where it points, {target}": 300 <= status < 400,
        "the server wants https://: write it so in base_url": refused and said.has(words.PLAIN_HTTP),
    }
    return next((text for text, holds in advice.items() if holds), "")


_CREDIT = "the account has no credit left or is suspended: see to its billing, then give the same command again"


def _path_advice(address: str) -> str:
    if httpx.URL(address).path.rstrip("/").endswith("/v1"):
        return "check base_url, which often ends in /v1"
    return f"check base_url, which often ends in /v1: {address.rstrip('/')}/v1"


def _model_advice(said: ErrorBody, model: str) -> str:
    if "pull" in said.message:
        return f"fetch it first: ollama pull {model}"
    return f"check the model name {model!r}, which is the one that the server lists, and base_url"


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
    cause = _CAUSES.get(lost.kind, "")
    text = f"{model}: no answer from {address}: {what}" + (f" ({cause})" if cause else "")
    return ModelUnavailableError(text, model=model, lasting=bool(cause))


_CAUSES = {
    "refused": "nobody listens there: start the server, or check host and port of base_url",
    "name": "there is no such host: check base_url, and the network",
    "tls": "it does not speak TLS: write http:// in base_url, or check the port",
    "certificate": "its certificate is not trusted: name yours with the environment variable SSL_CERT_FILE",
}


def _target(headers: Mapping[str, str], clean: Callable[[str], str]) -> str:
    """Where a redirect points, without user, password and query."""
    try:
        url = httpx.URL(headers.get("location", ""))
    except httpx.InvalidURL:
        return "no valid URL"
    shown = url.copy_with(username=None, password=None, query=None, fragment=None)
    return shorten(clean(str(shown))) or "nowhere"
