"""Addresses of servers: which are the same, what may be shown of one, and how a key gets there."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from ipaddress import ip_address
from typing import TypeAlias

import httpx
from pydantic import SecretStr

from mctsdialog.errors import ConfigError, InsecureKeyWarning
from mctsdialog.llm._secret import looks_secret

OPENAI_URL = "https://api.openai.com/v1"

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host and port of a server: a key goes to no other."""

_PORTS = {"http": 80, "https": 443}
_SECRET_NAME = re.compile(
    r"key|token|secret|pass|pwd|sig|auth|cred|jwt|session|(?:^|[^a-z])(?:code|pw|sas)(?:$|[^a-z])", re.I
)


def server_address(base_url: str) -> tuple[httpx.URL, tuple[SecretStr, ...]]:
    """A server's address without user and password, and the two where they stood in it.

    :raises ConfigError: if it is no address, or carries a secret in its query; the message shows none of it.
    """
    try:
        url = httpx.URL(base_url.strip())
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in _PORTS or not url.host:
        example = f"{OPENAI_URL} or http://localhost:8000/v1, with http:// or https:// before the host"
        raise ConfigError(f"base_url must be an address such as {example}", field="base_url")
    if any(secret_name(name) or looks_secret(value) for name, value in url.params.multi_items()):
        # Addresses get into logs, query and all.
        raise ConfigError("base_url must not carry a secret in its query: use headers=", field="base_url")
    userinfo = (SecretStr(url.username), SecretStr(url.password)) if url.userinfo else ()
    return url.copy_with(username=None, password=None, fragment=None), userinfo


def secret_name(name: str) -> bool:
    """Whether a query parameter or header of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def origin(address: str | httpx.URL) -> Origin:
    """Scheme, host and port, however they are written: case, default port, a dot at the end, forms of IPv6.

    :raises ConfigError: as :func:`server_address`.
    """
    url = server_address(address)[0] if isinstance(address, str) else address
    host = url.raw_host.decode("ascii").lower().strip("[]").removesuffix(".")
    with suppress(ValueError):
        host = ip_address(host).compressed
    return url.scheme, host, _PORTS[url.scheme] if url.port is None else url.port


def shown_address(url: httpx.URL) -> str:
    """An address as messages show it: without user, password and query, and without what looks like a key."""
    shown = str(url.copy_with(username=None, password=None, query=None, fragment=None)).split("/")
    return "/".join([*shown[:3], *("[redacted]" if looks_secret(part) else part for part in shown[3:])])


def warn_of_plain_http(url: httpx.URL, *, stacklevel: int = 3) -> None:
    """Warn that a secret goes unencrypted to another machine, once for each server."""
    scheme, host, _ = origin(url)
    if scheme == "http" and not _is_loopback(host):
        message = f"the key for {shown_address(url)} is sent unencrypted, for everyone on the way to read; use https://"
        warnings.warn(message, InsecureKeyWarning, stacklevel=stacklevel)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
