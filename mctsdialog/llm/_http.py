"""Requests over HTTP to one address, hundreds of them at once, on asyncio and on trio.

What users see, and can pass, is httpx. Where they pass nothing, aiohttp carries the requests on asyncio, because
httpx's own pool collapses above 32 requests in flight: its upkeep grows with the square of the connections. With 128
slots a whole run takes 8.6 ms of CPU a call through httpx and 1.2 through aiohttp, and makes 68 and 200 calls a second
(benchmarks/throughput.py --slots 128 --dialogues 32 --iterations 1).
"""

from __future__ import annotations

import socket
import ssl
import sys
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx
import sniffio

from mctsdialog.errors import ConfigError
from mctsdialog.llm._loop_local import LoopLocal

if TYPE_CHECKING:
    import aiohttp

# Servers such as uvicorn drop a connection that was idle for 5 s; ours must go first.
_KEEPALIVE = 4.0  # seconds
_PROXY_LOGIN = "Proxy-Authorization"
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "Content-Type": "application/json",
    "User-Agent": f"mctsdialog/{version('mctsdialog')}",
}
_FAULTS: tuple[type[Exception], ...] = (
    httpx.HTTPError,
    httpx.StreamError,
    OSError,
    EOFError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


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
    :param status: of HTTP; None if the response had not begun.
    :ivar kind: why no connection came about, where that can be told.
    """

    def __init__(self, cause: Exception, status: int | None) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.status = status
        self.kind: FaultKind = _kind_of(cause)


FaultKind: TypeAlias = Literal["refused", "name", "certificate", "tls", ""]


def _kind_of(cause: BaseException) -> FaultKind:
    """What lies at the bottom of a client's fault."""
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


class _Client(Protocol):
    """What the two HTTP clients have in common here.

    :ivar faults: the exceptions by which its connections may fail.
    """

    faults: tuple[type[Exception], ...]

    def post(self, content: bytes) -> AbstractAsyncContextManager[Any]:
        """Send a body; the response, its own body not yet read."""
        ...

    def parts(self, response: Any) -> tuple[int, AsyncIterator[bytes]]:
        """The status of a response, and its body in parts."""
        ...

    async def aclose(self) -> None:
        """Close the connections, where they are ours."""
        ...


class _Body(httpx.AsyncByteStream):
    """A request's body in one part.

    httpx's own is an async generator, and where a request is cancelled it stays behind half read: on trio a
    ResourceWarning.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self._parts = content, [content]

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._parts = [self._content]  # a client's auth may send it again
        return self

    async def __anext__(self) -> bytes:
        if not self._parts:
            raise StopAsyncIteration
        return self._parts.pop()


class _HttpxClient:
    def __init__(self, client: httpx.AsyncClient, url: httpx.URL, headers: Mapping[str, str], *, ours: bool) -> None:
        self._client, self._url, self._headers, self._ours = client, url, headers, ours
        # httpx's default of 5 s is nobody's choice, and too little for a model; the caller has a time-out for the call.
        self._timeout: Any = None if client.timeout == httpx.Timeout(5.0) else httpx.USE_CLIENT_DEFAULT
        aiohttp = sys.modules.get("aiohttp")  # it may carry a user's client
        self.faults = _FAULTS if aiohttp is None else (*_FAULTS, aiohttp.ClientError)

    @asynccontextmanager
    async def post(self, content: bytes) -> AsyncGenerator[httpx.Response, None]:
        request = self._client.build_request(
            "POST", self._url, content=content, headers=self._headers, timeout=self._timeout
        )
        request.stream = _Body(content)
        try:
            response = await self._client.send(request, stream=True, follow_redirects=False)
        except RuntimeError as error:  # of httpx for a closed client, of asyncio for one of another loop
            message = f"http_client cannot send ({error}); give one that is open and used in one event loop alone"
            raise ConfigError(message, field="http_client") from error
        try:
            yield response
        finally:
            await response.aclose()

    def parts(self, response: httpx.Response) -> tuple[int, AsyncIterator[bytes]]:
        return response.status_code, response.aiter_bytes()

    async def aclose(self) -> None:
        if self._ours:
            await self._client.aclose()


class _AiohttpClient:
    def __init__(
        self, connector: aiohttp.BaseConnector, url: httpx.URL, headers: Mapping[str, str], proxy: httpx.Proxy | None
    ) -> None:
        import aiohttp  # noqa: PLC0415 - needed on asyncio alone

        self.faults = (*_FAULTS, aiohttp.ClientError)
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
        self._proxy: dict[str, Any] = {} if proxy is None else {"proxy": str(proxy.url), "proxy_headers": proxy.headers}
        self.aclose = self._session.close

    def post(self, content: bytes) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._session.post(self._url, data=content, allow_redirects=False, **self._proxy)

    def parts(self, response: aiohttp.ClientResponse) -> tuple[int, AsyncIterator[bytes]]:
        return response.status, response.content.iter_any()


class HttpSession:
    """The connections to one address in one event loop.

    :ivar slots: bound the requests in flight; the caller holds one.
    """

    def __init__(self, client: _Client, max_connections: int) -> None:
        self._client = client
        self.slots = anyio.Semaphore(max_connections, fast_acquire=True)

    async def post(self, content: bytes, *, most: int) -> Reply:
        """Send a body, and keep at most ``most`` bytes of the response's.

        :raises LostConnectionError: not where the status already tells of an error.
        """
        status: int | None = None
        headers: Mapping[str, str] = {}
        body, read = bytearray(), 0
        try:
            async with self._client.post(content) as response:
                headers = response.headers
                status, parts = self._client.parts(response)
                async for part in parts:
                    read += len(part)
                    if read <= most:
                        body += part
                    elif read > 2 * most:  # no sooner: left half read, a response is a ResourceWarning on trio
                        break
        except self._client.faults as fault:
            if status is None or status < 300:  # else the status says enough
                raise LostConnectionError(fault, status) from None
        assert status is not None, "else it was lost"
        return Reply(status, headers, bytes(body), read <= most)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class HttpSessions:
    """Makes an :class:`HttpSession` for each event loop that asks, and closes it when that loop ends.

    :param url: where requests go; the environment may name a proxy for it.
    :param headers: gives those of every request, secrets among them, beside those that say what it is and who sends
        it.
    :param max_connections: most requests in flight at once in one event loop.
    :param http_client: carries the requests of every loop, at its own speed; it is not closed here.
    :param transport: an httpx transport in place of the network.
    """

    def __init__(
        self,
        url: httpx.URL,
        headers: Callable[[], Mapping[str, str]],
        *,
        max_connections: int,
        http_client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url, self._headers = url, headers
        self._max_connections = max_connections
        self._http_client, self._transport = http_client, transport
        self._held: LoopLocal[list[AsyncGenerator[HttpSession, None]]] = LoopLocal(list)

    async def get(self) -> HttpSession:
        """The session of the running loop."""
        held = self._held.get()
        if not held:
            held.append(self._hold())
        return await anext(held[0])

    async def _hold(self) -> AsyncGenerator[HttpSession, None]:
        """The session again and again, closed at the end.

        asyncio and trio finish pending async generators at the end of a run: a program of two runs leaks no socket.
        """
        session = HttpSession(self._client(), self._max_connections)
        try:
            while True:
                yield session
        finally:
            with anyio.CancelScope(shield=True):
                await session.aclose()

    def _client(self) -> _Client:
        headers = {**_HEADERS, **self._headers()}
        if self._http_client is not None:
            return _HttpxClient(self._http_client, self._url, headers, ours=False)
        if self._transport is not None:
            client = httpx.AsyncClient(transport=self._transport, trust_env=False)
            return _HttpxClient(client, self._url, headers, ours=True)
        proxy = proxy_for(self._url)
        secure = self._url.scheme == "https" or (proxy is not None and proxy.url.scheme == "https")
        # Only where it is needed: reading the certificates takes milliseconds. Without them, nothing is trusted.
        context = httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        most = self._max_connections
        if sniffio.current_async_library() == "asyncio":
            import aiohttp  # noqa: PLC0415 - needed on asyncio alone

            connector = aiohttp.TCPConnector(limit=most, keepalive_timeout=_KEEPALIVE, ssl=context)
            return _AiohttpClient(connector, self._url, headers, proxy)
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=_KEEPALIVE)
        client = httpx.AsyncClient(verify=context, proxy=proxy, limits=limits, trust_env=False)
        return _HttpxClient(client, self._url, headers, ours=True)

    async def aclose(self) -> None:
        """Close the session of the running loop, and have a new one made for a later call."""
        held = self._held.get()
        while held:
            await held.pop().aclose()
