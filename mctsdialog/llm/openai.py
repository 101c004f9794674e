"""A client for servers that speak OpenAI's chat-completions format: OpenAI, vLLM, llama.cpp, Ollama, OpenRouter, ..."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, get_args

import anyio
import httpx
from pydantic import SecretStr

from mctsdialog.errors import (
    ConfigError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
)
from mctsdialog.llm.address import (
    OPENAI_URL,
    origin,
    secret_name,
    server_address,
    shown_address,
    warn_of_plain_http,
)
from mctsdialog.llm.base import ChatRequest, ClosingModel, Completion
from mctsdialog.llm.http import (
    Connections,
    LoopConnections,
    LostConnectionError,
    basic_auth,
    json_headers,
    make_sender,
)
from mctsdialog.llm.http_errors import error_for, error_for_lost, refuses_format
from mctsdialog.llm.secret import Redactor, beginning, checked_key, shorten
from mctsdialog.llm.wire import ResponseFormat, parse_completion, request_body

_log = logging.getLogger("mctsdialog.llm")
_FORMATS: Final[tuple[ResponseFormat, ...]] = get_args(ResponseFormat)
_MOST_BYTES = 32 * 2**20
_KEY_VARIABLE = "OPENAI_API_KEY"


class OpenAIChat(ClosingModel):
    """A chat model behind an OpenAI-compatible server.

    The reply's schema is asked for with ``response_format``. A server that refuses the format is asked again with
    the next simpler one (json_schema, json_object, none); what it takes is remembered, logged as a warning and
    counted in :attr:`step_downs`. The client makes no other second attempt: that is the retry layer's work.

    The connections belong to the event loop that runs and are made when it first calls; one object serves several
    loops. Proxies come from the environment (HTTPS_PROXY, NO_PROXY); redirects are not followed.

    :param model: the model's name at the server.
    A key belongs to one address: the scheme, host and port of ``base_url``. OPENAI_API_KEY is the key of OpenAI's own
    address, so another server gets it only where ``api_key_env`` says so. A key that goes over plain HTTP to another
    machine is an :class:`~mctsdialog.errors.InsecureKeyWarning`.

    :param base_url: the server, up to and including ``/v1``. ``https://user:password@host`` sends basic
        authentication in place of a key.
    :param api_key: the key for this server; None takes it from the environment. Without a key, or with an empty one,
        no Authorization header is sent. It never appears in a repr, error or log.
    :param api_key_env: the environment variable that holds the key for this server where ``api_key`` is None. None
        takes OPENAI_API_KEY for OpenAI's own address, and no key for any other.
    :param name: the name in the cache. By default the model's, and with ``extra`` also a digest of it: replies to
        other parameters are other replies.
    :param timeout: seconds for a whole call, from the moment it has a connection slot; above 0.
    :param max_connections: most requests in flight at once in one event loop; more wait. At least 1.
    :param extra: body parameters to add, such as ``{"top_k": 40}``.
    :param headers: headers to add. Their values are treated as secrets.
    :param response_format: the format to begin with.
    :param transport: an httpx transport in place of the network, for tests.
    :raises ConfigError: for a value out of range, a malformed address or key.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = OPENAI_URL,
        api_key: str | SecretStr | None = None,
        api_key_env: str | None = None,
        name: str | None = None,
        timeout: float = 120.0,
        max_connections: int = 256,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        response_format: ResponseFormat = "json_schema",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        _check(model, timeout, max_connections, response_format)
        self.model = model
        self.timeout = timeout
        self.max_connections = max_connections
        self._extra = dict(extra or {})
        self._name = name or model + _digest(self._extra)
        url, userinfo = server_address(base_url)
        self._url = url.copy_with(path=f"{url.path.rstrip('/')}/chat/completions")
        self._shown = shown_address(url)
        if api_key is None and api_key_env is None and origin(url) == origin(OPENAI_URL):
            api_key_env = _KEY_VARIABLE
        self._key = None if userinfo else checked_key(api_key, api_key_env)
        self._userinfo = userinfo
        self._headers = _checked_headers(headers)
        self._redactor = self._make_redactor()
        self._key_hint = self._say_key(None if api_key is not None else api_key_env)
        if self._key or userinfo or any(map(secret_name, self._headers)):
            warn_of_plain_http(url)
        self._transport = transport
        self._format: ResponseFormat = response_format
        self._proven: set[ResponseFormat] = {"none"}
        self._connections = LoopConnections(self._connect)
        self.step_downs = 0

    @property
    def name(self) -> str:
        """Name of the model in the cache."""
        return self._name

    @property
    def response_format(self) -> ResponseFormat:
        """The format that replies with a schema are asked for in now."""
        return self._format

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request.

        :raises ModelRequestError: the server refuses the request for good; the message says what to check.
        :raises ModelUnavailableError: it cannot answer now, or a connection fault or a time-out.
        :raises ModelResponseError: its answer holds no completion.
        """
        connections = await self._connections.get()
        async with connections.slots:
            if request.schema is None:
                return await self._call(connections, request, "none")
            return await self._call_stepping_down(connections, request)

    async def _call_stepping_down(self, connections: Connections, request: ChatRequest) -> Completion:
        """Try the format in use, and simpler ones while the server refuses; keep the one that works."""
        first: ModelRequestError | None = None
        for format_ in _FORMATS[_FORMATS.index(self._format) :]:
            try:
                completion = await self._call(connections, request, format_)
            except ModelRequestError as error:
                first = first or error
                if not refuses_format(error, proven=format_ in self._proven):
                    break
            else:
                self._keep(format_, first)
                return completion
        assert first is not None, "the loop runs at least once"
        raise first

    def _keep(self, format_: ResponseFormat, refusal: ModelRequestError | None) -> None:
        self._proven.add(format_)
        steps = _FORMATS.index(format_) - _FORMATS.index(self._format)
        if steps > 0:  # else a call beside this one has stepped down already
            self._format = format_
            self.step_downs += steps
            _log.warning("response format %r from now on: %s", format_, refusal)

    async def _call(self, connections: Connections, request: ChatRequest, format_: ResponseFormat) -> Completion:
        body = request_body(self.model, request, response_format=format_, extra=self._extra)
        started = time.monotonic()
        with anyio.move_on_after(self.timeout):  # half the cost of fail_after
            content = await self._post(connections, body)
            return self._parse(content, time.monotonic() - started)
        reason = f"{self.model}: no whole reply from {self._shown} within {self.timeout:g} s"
        raise ModelUnavailableError(reason, model=self.model)

    async def _post(self, connections: Connections, body: dict[str, Any]) -> bytes:
        """Send, and read a 200's body; anything else raises."""
        try:
            reply = await connections.sender.post(json.dumps(body).encode(), most=_MOST_BYTES)
        except LostConnectionError as lost:
            raise error_for_lost(lost, model=self.model, address=self._shown, clean=self._clean) from None
        if not reply.whole:
            reason = f"{self.model}: a reply of more than {_MOST_BYTES} bytes"
            raise ModelResponseError(reason, model=self.model, status=reply.status)
        if reply.status != 200:
            raise error_for(
                reply.status,
                reply.headers,
                reply.body,
                model=self.model,
                address=self._shown,
                clean=self._clean,
                key_hint=self._key_hint,
            )
        return reply.body

    def _parse(self, content: bytes, latency: float) -> Completion:
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            start = shorten(self._clean(beginning(content, 2000)), 80)
            reason = f"{self.model}: the reply is not JSON: {start!r}"
            raise ModelResponseError(reason, model=self.model, status=200) from None
        if isinstance(data, dict) and data.get("error") and not data.get("choices"):
            said = shorten(self._clean(json.dumps(data["error"], ensure_ascii=False)))
            reason = f"{self.model}: the reply is an error: {said}"
            raise ModelResponseError(reason, model=self.model, status=200)
        completion = parse_completion(data, model=self.model, latency=latency)
        text = self._redactor.reply(completion.text)
        return completion if text == completion.text else replace(completion, text=text)

    def _clean(self, text: str) -> str:
        return self._redactor.message(text)

    def _make_redactor(self) -> Redactor:
        """Takes out all that goes to the server and may come back."""
        secrets = [value for name, value in self._headers.items() if secret_name(name)]
        # A short header value ("1", "beta") is a setting; taking it out would tear messages apart.
        names = [value for name, value in self._headers.items() if not secret_name(name) and len(value) >= 8]
        if self._key is not None:
            secrets.append(self._key)
        if self._userinfo:
            user, password = self._userinfo
            login = basic_auth(user.get_secret_value(), password.get_secret_value())
            secrets += [password, SecretStr(login.removeprefix("Basic "))]
            names.append(user)
        return Redactor(secrets, names)

    def _say_key(self, variable: str | None) -> str:
        """What to check where the server refuses the key, or wants one."""
        if self._userinfo:
            return "check the user and password in base_url"
        if self._key is not None:
            place = "api_key=" if variable is None else f"the environment variable {variable}"
            return f"check the key: {place}"
        if variable is not None:
            return f"no key was sent: set the environment variable {variable}"
        return f"no key was sent: give api_key=, or for the commands --api-key-env {self._shown}=VARIABLE"

    def _connect(self) -> Connections:
        headers = json_headers()
        headers.update({name: value.get_secret_value() for name, value in self._headers.items()})
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        elif self._userinfo:
            headers["Authorization"] = basic_auth(*(part.get_secret_value() for part in self._userinfo))
        sender = make_sender(self._url, headers, max_connections=self.max_connections, transport=self._transport)
        return Connections(sender, anyio.Semaphore(self.max_connections, fast_acquire=True))

    async def aclose(self) -> None:
        """Close the connections of the running event loop. May be called twice; a later call opens new ones."""
        await self._connections.aclose()

    def __repr__(self) -> str:
        return f"OpenAIChat({self.model!r}, base_url={self._shown!r})"


def _check(model: str, timeout: float, max_connections: int, response_format: str) -> None:
    if not model:
        raise ConfigError("the model needs a name", field="model")
    if not 0 < timeout < float("inf"):
        raise ConfigError(f"timeout must be a number of seconds above 0, not {timeout}", field="timeout")
    if max_connections < 1:
        raise ConfigError(f"max_connections must be at least 1, not {max_connections}", field="max_connections")
    if response_format not in _FORMATS:
        raise ConfigError(f"response_format must be one of {', '.join(_FORMATS)}", field="response_format")


def _digest(extra: Mapping[str, Any]) -> str:
    if not extra:
        return ""
    try:
        text = json.dumps(extra, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extra must hold JSON values: {error}", field="extra") from None
    return f"#{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _checked_headers(headers: Mapping[str, str] | None) -> dict[str, SecretStr]:
    checked = dict(headers or {})
    for name, value in checked.items():
        if not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            raise ConfigError(f"header {name!r} holds a character that no header may have", field="headers")
    return {name: SecretStr(value) for name, value in checked.items()}
