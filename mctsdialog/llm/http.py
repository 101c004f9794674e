"""HTTP connections that stay fast with hundreds of requests in flight, on asyncio and on trio.

httpx's own pool collapses above 32 requests in flight: its upkeep grows with the square of the connections. On asyncio
aiohttp carries the requests, at half of what httpx costs; on trio every slot has a transport with one connection of its
own.
"""

from __future__ import annotations

import socket
import ssl
import sys
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx
import sniffio

from mctsdialog.errors import ConfigError
from mctsdialog.llm.loop_local import LoopLocal

if TYPE_CHECKING:
    import aiohttp

# Servers such as uvicorn drop a connection that was idle for 5 s; ours must go first.
_KEEPALIVE = 4.0  # seconds
_PROXY_LOGIN = "Proxy-Authorization"


def _connection_faults() -> tuple[type[Exception], ...]:
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
    aiohttp = sys.modules.get("aiohttp")
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
    # As a header: both of the clients below take it so.
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


@dataclass(frozen=True, slots=True)
class Reply:
    """A response.

    :param status: of HTTP.
    :param headers: by name, in upper or lower case.
    :param body: decompressed.
    :param whole: False where the body was longer than allowed and the rest was left.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool


class LostConnectionError(Exception):
    """A connection failed before a response was whole.

    :param cause: the fault; it may carry the request, its headers included, and so is not chained.
    :param status: of HTTP; None where the response had not begun.
    :ivar kind: why no connection came about, where that can be told.
    """

    def __init__(self, cause: Exception, status: int | None) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.status = status
        self.kind: FaultKind = _kind_of(cause)


FaultKind: TypeAlias = Literal["refused", "name", "certificate", "tls", ""]


def _kind_of(cause: BaseException) -> FaultKind:
    """What lies at the bottom of a transport's fault."""
    kinds: tuple[tuple[type[BaseException], FaultKind], ...] = (
        (ConnectionRefusedError, "refused"),
        (socket.gaierror, "name"),
        (ssl.SSLCertVerificationError, "certificate"),
        (ssl.SSLError, "tls"),
    )
    pending: list[BaseException | None] = [cause]
    for _ in range(20):
        fault = pending.pop(0) if pending else None
        if fault is None:
            continue
        for kind, name in kinds:
            if isinstance(fault, kind):
                return name
        inner = getattr(fault, "os_error", None)  # aiohttp's
        pending += [inner if isinstance(inner, BaseException) else None, fault.__cause__, fault.__context__]
        pending += fault.exceptions if isinstance(fault, BaseExceptionGroup) else ()
    return ""


class Sender(Protocol):
    """What carries requests to one address in one event loop."""

    async def post(self, content: bytes, *, most: int) -> Reply:
        """Send a body, and keep at most ``most`` bytes of the response's.

        :raises LostConnectionError: not where the status already tells of an error.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class HttpxSender:
    """Requests over an httpx transport.

    There is no httpx client around it: its cookies, redirects and hooks are of no use here, and took a third of the
    time that a request takes.

    :param headers: of every request.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, url: httpx.URL, headers: httpx.Headers) -> None:
        self._transport = transport
        self._url = url
        self._headers = headers
        self.aclose = transport.aclose

    async def post(self, content: bytes, *, most: int) -> Reply:
        """Send a body and read the response."""
        reading = _Reading(most)
        with reading:
            sent = httpx.Request("POST", self._url, headers=self._headers, content=content)
            response = await self._transport.handle_async_request(sent)
            try:
                await reading.read(response.status_code, response.headers, response.aiter_bytes())
            finally:
                await response.aclose()
        return reading.reply()


class AiohttpSender:
    """Requests over aiohttp, for asyncio.

    :param headers: of every request.
    :param proxy: None for none.
    """

    def __init__(
        self, connector: aiohttp.BaseConnector, url: httpx.URL, headers: httpx.Headers, proxy: httpx.Proxy | None
    ) -> None:
        import aiohttp  # noqa: PLC0415 - needed on asyncio alone

        given = dict(headers)
        if proxy is not None and url.scheme == "http" and _PROXY_LOGIN in proxy.headers:
            given[_PROXY_LOGIN] = proxy.headers[_PROXY_LOGIN]  # without TLS there is no CONNECT to carry it
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=given,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # none: the caller has one
        )
        self._url = str(url)
        self._proxy = None if proxy is None else str(proxy.url)
        self._proxy_headers = None if proxy is None else dict(proxy.headers)

    async def post(self, content: bytes, *, most: int) -> Reply:
        """Send a body and read the response."""
        reading = _Reading(most)
        with reading:
            async with self._session.post(
                self._url,
                data=content,
                allow_redirects=False,
                proxy=self._proxy,
                proxy_headers=self._proxy_headers,
            ) as response:
                await reading.read(response.status, response.headers, response.content.iter_any())
        return reading.reply()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


class _Reading:
    """Reads one response, and tells as one error what may befall its connection meanwhile."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._status: int | None = None
        self._headers: Mapping[str, str] = {}
        self._body, self._read = bytearray(), 0

    async def read(self, status: int, headers: Mapping[str, str], parts: AsyncIterator[bytes]) -> None:
        self._status, self._headers = status, headers
        async for part in parts:
            self._read += len(part)
            if self._read <= self._most:
                self._body += part
            elif self._read > 2 * self._most:  # no sooner: left half read, a response is a ResourceWarning on trio
                break

    def reply(self) -> Reply:
        assert self._status is not None, "it was read"
        return Reply(self._status, self._headers, bytes(self._body), self._read <= self._most)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if exc is None or not isinstance(exc, _connection_faults()):
            return False
        if self._status is not None and self._status >= 300:  # the status says enough
            return True
        raise LostConnectionError(exc, self._status) from None


def make_sender(
    url: httpx.URL, headers: httpx.Headers, *, max_connections: int, transport: httpx.AsyncBaseTransport | None = None
) -> Sender:
    """What carries requests in the event loop that runs now.

    :param url: where they go; the environment may name a proxy for it.
    :param headers: of every request.
    :param max_connections: most connections at once.
    :param transport: carries them in place of the network, for tests.
    """
    if transport is not None:
        return HttpxSender(transport, url, headers)
    proxy = proxy_for(url)
    secure = url.scheme == "https" or (proxy is not None and proxy.url.scheme == "https")
    # Once, and only where it is needed: reading the certificates takes milliseconds. Without them, nothing is trusted.
    context = httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sniffio.current_async_library() == "asyncio":
        import aiohttp  # noqa: PLC0415 - needed on asyncio alone

        connector = aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=_KEEPALIVE, ssl=context)
        return AiohttpSender(connector, url, headers, proxy)
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEPALIVE)
    slots = SlotTransport(lambda: httpx.AsyncHTTPTransport(verify=context, limits=limits, proxy=proxy))
    return HttpxSender(slots, url, headers)


@dataclass(frozen=True)
class Connections:
    """What carries requests, and the slots that bound them, of one event loop."""

    sender: Sender
    slots: anyio.Semaphore


class LoopConnections:
    """Makes :class:`Connections` for each event loop that asks, and closes them when that loop ends.

    A transport belongs to the loop it was made in. An async generator holds it, because both asyncio and trio finish
    pending async generators at the end of a run: a program of two ``anyio.run`` calls leaks no socket.

    :param make: makes the connections; called inside the loop.
    """

    def __init__(self, make: Callable[[], Connections]) -> None:
        self._make = make
        self._held: LoopLocal[_Held] = LoopLocal(_Held)

    async def get(self) -> Connections:
        """The connections of the running loop."""
        held = self._held.get()
        if held.connections is None:
            holder = _hold(self._make())
            connections = await anext(holder)
            assert held.connections is None, "no checkpoint lies between making and keeping"
            held.connections, held.holder = connections, holder
        return held.connections

    async def aclose(self) -> None:
        """Close the connections of the running loop; those of a loop that ended are closed already."""
        held = self._held.get()
        holder, held.connections, held.holder = held.holder, None, None
        if holder is not None:
            await holder.aclose()


@dataclass(slots=True)
class _Held:
    """The connections of one event loop, and what closes them when it ends."""

    connections: Connections | None = None
    holder: AsyncGenerator[Connections, None] | None = None


async def _hold(connections: Connections) -> AsyncGenerator[Connections, None]:
    try:
        yield connections
    finally:
        with anyio.CancelScope(shield=True):
            await connections.sender.aclose()
