"""HTTP connections that stay fast with hundreds of requests in flight, on asyncio and on trio.

httpx's own pool collapses above 32 requests in flight: its upkeep grows with the square of the connections. On asyncio
aiohttp carries the requests; on trio every slot has a transport with one connection of its own.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx
import sniffio
from anyio.lowlevel import RunVar

from mctsdialog.errors import ConfigError

# Servers such as uvicorn drop a connection that was idle for 5 s; ours must go first.
_KEEPALIVE = 4.0  # seconds
_PROXY_LOGIN = "Proxy-Authorization"


def connection_faults() -> tuple[type[Exception], ...]:
    """Every exception by which a connection may fail, whichever transport carries it."""
    faults: tuple[type[Exception], ...] = (
        httpx.HTTPError,
        httpx.StreamError,
        OSError,
        EOFError,
        anyio.BrokenResourceError,
        anyio.ClosedResourceError,
        anyio.EndOfStream,
    )
    aiohttp = sys.modules.get("aiohttp")  # httpx-aiohttp lets some of its exceptions through as they are
    return faults if aiohttp is None else (*faults, aiohttp.ClientError)


def proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """The proxy that the environment names for ``url`` (HTTPS_PROXY, NO_PROXY, ...), or None.

    :raises ConfigError: for a SOCKS proxy, or a malformed address.
    """
    address = getproxies().get(url.scheme) or getproxies().get("all")
    if not address or proxy_bypass(url.host):
        return None
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):
        proxy = None
    if proxy is None or proxy.url.scheme not in ("http", "https"):  # the address may hold a password: not shown
        raise ConfigError("the environment names a proxy that is no http:// or https:// address", field="proxy")
    if proxy.auth is None:
        return proxy
    # As a header, because httpx-aiohttp hands user and password on in a way that aiohttp will remove.
    return httpx.Proxy(proxy.url, headers={_PROXY_LOGIN: basic_auth(*proxy.auth)})


class SlotTransport(httpx.AsyncBaseTransport):
    """One single-connection transport per request in flight; idle ones are used again, last first.

    The caller bounds the requests in flight.

    :param make: makes a single-connection transport.
    """

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport]) -> None:
        self._make = make
        self._idle: list[httpx.AsyncBaseTransport] = []
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request over a free connection."""
        request.stream = _Body(request.content)
        transport = self._idle.pop() if self._idle else self._make()
        try:
            response = await transport.handle_async_request(request)
        except BaseException:
            await self._drop(transport)  # a connection in an unknown state is not used again
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _SlotStream(response.stream, self, transport)
        return response

    async def release(self, transport: httpx.AsyncBaseTransport, *, whole: bool) -> None:
        """Take a transport back after its response; one whose body was not read whole is closed."""
        if whole and not self._closed:
            self._idle.append(transport)
        else:
            await self._drop(transport)

    async def _drop(self, transport: httpx.AsyncBaseTransport) -> None:
        with anyio.CancelScope(shield=True):
            await transport.aclose()

    async def aclose(self) -> None:
        """Close every idle connection; those in use close when their response ends."""
        self._closed = True
        while self._idle:
            await self._drop(self._idle.pop())


class _Body(httpx.AsyncByteStream):
    """A request's body in one part.

    httpx's own is an async generator, and where a request is cancelled it stays behind half read: on trio a
    ResourceWarning.
    """

    def __init__(self, content: bytes) -> None:
        self._parts = [content]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._parts:
            raise StopAsyncIteration
        return self._parts.pop()


class _SlotStream(httpx.AsyncByteStream):
    """A response body that gives its slot back when it is closed."""

    def __init__(
        self, stream: httpx.AsyncByteStream, slots: SlotTransport, transport: httpx.AsyncBaseTransport
    ) -> None:
        self._stream = stream
        self._slots = slots
        self._transport: httpx.AsyncBaseTransport | None = transport
        self._whole = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part
        self._whole = True

    async def aclose(self) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return
        try:
            await self._stream.aclose()
        finally:
            await self._slots.release(transport, whole=self._whole)


def json_headers() -> httpx.Headers:
    """What a request with JSON in its body, and JSON for an answer, says of itself."""
    return httpx.Headers(
        {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Connection": "keep-alive",
            "Content-Type": "application/json",
            "User-Agent": f"python-httpx/{httpx.__version__}",
        }
    )


def basic_auth(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def make_transport(url: httpx.URL, *, max_connections: int) -> httpx.AsyncBaseTransport:
    """The transport for the event loop that runs now.

    :param url: the server; the environment may name a proxy for it.
    :param max_connections: most connections at once.
    """
    context = httpx.create_ssl_context()  # once: reading the certificates takes milliseconds
    proxy = proxy_for(url)
    if sniffio.current_async_library() == "asyncio":
        import aiohttp  # noqa: PLC0415 - needed on asyncio alone
        from httpx_aiohttp import AiohttpTransport  # noqa: PLC0415 - a quarter of a second

        # To a plain http:// server aiohttp sends the proxy's headers only if they are the request's own.
        plain = proxy is not None and url.scheme == "http" and _PROXY_LOGIN in proxy.headers
        login = {_PROXY_LOGIN: proxy.headers[_PROXY_LOGIN]} if plain and proxy is not None else None

        def session() -> aiohttp.ClientSession:
            connector = aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=_KEEPALIVE, ssl=context)
            return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=login)

        transport: httpx.AsyncBaseTransport = AiohttpTransport(verify=context, proxy=proxy, client=session)
        return transport
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEPALIVE)
    return SlotTransport(lambda: httpx.AsyncHTTPTransport(verify=context, limits=limits, proxy=proxy))


@dataclass(frozen=True)
class Connections:
    """What carries requests, the headers they have in common, and the slots that bound them, of one event loop.

    There is no httpx client around the transport: its cookies, redirects and hooks are of no use here, and took a
    third of the time that a request takes.
    """

    transport: httpx.AsyncBaseTransport
    headers: httpx.Headers
    slots: anyio.Semaphore

    @asynccontextmanager
    async def post(self, url: httpx.URL, content: bytes) -> AsyncIterator[httpx.Response]:
        """Send a body; the response is closed at the end, read or not."""
        sent = httpx.Request("POST", url, headers=self.headers, content=content)
        response = await self.transport.handle_async_request(sent)
        try:
            yield response
        finally:
            await response.aclose()


class LoopConnections:
    """Makes :class:`Connections` for each event loop that asks, and closes them when that loop ends.

    A transport belongs to the loop it was made in. An async generator holds it, because both asyncio and trio finish
    pending async generators at the end of a run: a program of two ``anyio.run`` calls leaks no socket.

    :param make: makes the connections; called inside the loop.
    """

    def __init__(self, make: Callable[[], Connections]) -> None:
        self._make = make
        self._held: RunVar[tuple[Connections, AsyncGenerator[Connections, None]] | None] = RunVar("connections", None)

    async def get(self) -> Connections:
        """The connections of the running loop."""
        held = self._held.get()
        if held is None:
            holder = _hold(self._make())
            held = (await anext(holder), holder)
            raced = self._held.get()
            assert raced is None, "no checkpoint lies between making and keeping"
            self._held.set(held)
        return held[0]

    async def aclose(self) -> None:
        """Close the connections of the running loop; those of a loop that ended are closed already."""
        held = self._held.get()
        if held is not None:
            self._held.set(None)
            await held[1].aclose()


async def _hold(connections: Connections) -> AsyncGenerator[Connections, None]:
    try:
        yield connections
    finally:
        with anyio.CancelScope(shield=True):
            await connections.transport.aclose()
