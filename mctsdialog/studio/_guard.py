"""What stands before every page: the token, where a request comes from, how much it may send, what a page may do."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Callable, Collection
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY: Final = 256 * 1024
"""Bytes of a request: two edited replies with their reason, and room."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_DENIED: Final = "This address is not valid, or no longer: open the one that 'mctsdialog studio' printed."


def is_loopback(host: str) -> bool:
    """Whether a host to listen on is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def known_hosts(host: str) -> frozenset[str]:
    """Host names that requests may name: this machine's own, and the one that is listened on.

    Another name would be one that somebody else has pointed here (DNS rebinding).
    """
    own = {"localhost", "127.0.0.1", "[::1]"}
    return frozenset(own) if is_loopback(host) else frozenset({*own, host.lower(), socket.gethostname().lower()})


class Guard:
    """Middleware that lets a request through only with the token, from the studio's own pages, and of bounded size.

    :param app: what is behind it.
    :param token: who knows it may do everything.
    :param hosts: of :func:`known_hosts`.
    :param any_address: whether a request may name any address in figures, because the studio listens on the network.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str], *, any_address: bool = False) -> None:
        self._app, self._token, self._hosts, self._any_address = app, token, hosts, any_address
        # Cookies are shared by all ports of a machine: two studios must not take one another's.
        self._cookie = f"mctsdialog_studio_{hashlib.sha256(token.encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no page opens a socket
            return
        guarded = _with_headers(send)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        length = Headers(scope=scope).get("content-length", "0")
        body = await _body(receive) if length.isdecimal() and int(length) <= MAX_BODY else None
        if body is None:
            await _refused(413, f"A request may have {MAX_BODY} bytes.")(scope, receive, guarded)
            return
        await self._app(scope, _replayed(body, receive), guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is not let through; None where it is."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_known(host):
            return _refused(421, f"This studio has another address than {host[:100]!r}.")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return _refused(405, "Only GET and POST are answered.")
        if not _is_own(scope, headers, host):
            return _refused(403, "This request comes from another page.")
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if given and scope["method"] == "GET" and self._is_token(given):
            entered = RedirectResponse(scope["path"], 303)  # without the token, which then stays out of sight
            entered.set_cookie(self._cookie, self._token, httponly=True, samesite="lax", path="/")
            return entered
        if not self._is_token(_cookie(headers.get("cookie", ""), self._cookie)):
            return PlainTextResponse(_DENIED, 401)
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    def _is_known(self, host: str) -> bool:
        name = host.lower()
        if not name.endswith("]"):
            name = name.rpartition(":")[0] or name
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return self._any_address


def _is_own(scope: Scope, headers: Headers, host: str) -> bool:
    """Whether a request comes from a page of the studio, or is a person opening one."""
    site = headers.get("sec-fetch-site", "none")
    if scope["method"] == "POST":
        origin = urlsplit(headers.get("origin", ""))
        as_json = headers.get("content-type", "").partition(";")[0].strip() == "application/json"
        return (
            origin.scheme in ("http", "https") and origin.netloc == host and as_json and site in ("none", "same-origin")
        )
    if scope["path"].startswith("/api/"):
        return site in ("none", "same-origin")
    return True


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sent


async def _body(receive: Receive) -> bytes | None:
    """What a request sends; None where that is too much, whatever it has said of its length."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Callable[[], Any]:
    """Gives the body that was read already, then what follows."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
