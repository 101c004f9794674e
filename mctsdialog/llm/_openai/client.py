"""A client for servers that speak OpenAI's chat-completions format: OpenAI, vLLM, llama.cpp, Ollama, OpenRouter, ..."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
import httpx
from pydantic import SecretStr

from mctsdialog._arguments import checked
from mctsdialog.errors import (
    ConfigError,
    ModelError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
)
from mctsdialog.llm._address import (
    OPENAI_URL,
    origin,
    server_address,
    shown_address,
)
from mctsdialog.llm._http import HttpSession, HttpSessions, LostConnectionError, Reply
from mctsdialog.llm._openai.credentials import Credentials
from mctsdialog.llm._openai.dialect import FORMATS, Dialect, Negotiation
from mctsdialog.llm._openai.error_body import (
    NO_ROOM,
    ErrorBody,
    error_body_of,
    holds_error,
    inner_status,
    read_error_body,
)
from mctsdialog.llm._openai.errors import error_for, error_for_lost
from mctsdialog.llm._openai.refusals import refuses_system
from mctsdialog.llm._openai.replies import UnreadableReplyError, read_body
from mctsdialog.llm._wire import ResponseFormat, parse_completion
from mctsdialog.llm.base import ChatRequest, ClosingModel, Completion, Usage, check_request
from mctsdialog.llm.providers import named_provider, provider_at

_MOST_BYTES = 32 * 2**20
_MOST_TRIES = 16  # of one call, each written otherwise; more than there is to learn
_CALL = "/chat/completions"
_AMENDABLE = (ModelRequestError, ModelResponseError)


@checked()
class OpenAIChat(ClosingModel):
    """A chat model behind an OpenAI-compatible server.

    What the model does not take is found out at its first calls, logged as a warning, and remembered: a parameter that
    the server names is left out or renamed, a system message goes into the user's first, and a reply's schema
    (``response_format``) is asked for in the next simpler form (json_schema, json_object, none; steps are counted in
    :attr:`step_downs`). The client makes no other second attempt, but for ``reasoning_headroom``: that is the retry
    layer's work. ``Sampling.stop`` is not sent, as servers apply it to reasoning too; replies are cut here.

    The connections belong to the event loop that runs and are made when it first calls; one object serves several
    loops. Proxies come from the environment (HTTPS_PROXY, NO_PROXY); redirects are not followed.

    A key belongs to one address: the scheme, host and port of ``base_url``. OPENAI_API_KEY is the key of OpenAI's own
    address, so another server gets it only where ``api_key_env`` says so. A key that goes over plain HTTP to another
    machine is an :class:`~mctsdialog.errors.InsecureKeyWarning`.

    :param model: the model's name at the server.
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
    :param provider: whose habits the server has, such as "vllm": how it is told how much to reason, how it takes the
        key. By default the address tells it, where it is a known provider's.
    :param reasoning_headroom: whether a model that reasons may take more tokens than were asked for, up to 64 times as
        many: a reply that ran out of tokens while the model was thinking is asked for once more.
    :param http_client: your own client, which carries the calls with its transport, proxies, certificates, hooks and
        time-outs (but httpx's default of 5 s), at its own speed: above 32 calls at once httpx slows down. It belongs to
        the event loop that you use it in, and is not closed with the model. None takes aiohttp on asyncio.
    :param transport: an httpx transport in place of the network, for tests.
    :raises ConfigError: for a value out of range, a malformed address or key; at OpenAI's own address also for a name
        with a slash, which is another provider's, and if there is no key (``api_key=""`` sends none on purpose).
    :ivar name: the model's name in the cache.
    :ivar identity: what tells it from others in the cache: name and address, or the name that was given.
    :ivar address: the server, as it may be shown.
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
        provider: str | None = None,
        reasoning_headroom: bool = True,
        http_client: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        _check(model, timeout, max_connections, response_format)
        if http_client is not None and transport is not None:
            raise ConfigError("a transport belongs into the http_client if there is one", field="transport")
        self.model = model
        self.timeout = timeout
        self.max_connections = max_connections
        self._extra = dict(extra or {})
        self.name = name or model + _digest(self._extra)
        url, login = server_address(base_url)
        url = url.copy_with(path=url.path.rstrip("/").removesuffix(_CALL))  # some name the whole address of the call
        self._url = url.copy_with(path=f"{url.path.rstrip('/')}{_CALL}")
        self.address = shown_address(url)
        self.identity = name or f"{self.name}@{self.address}"
        self._provider = provider_at(url, provider)
        self._credentials = Credentials(url, login, api_key, api_key_env, headers, self._provider.key_header)
        if origin(url) == origin(OPENAI_URL):
            self._check_for_openai(has_own_means=bool(headers or http_client or transport) or api_key is not None)
        self._redactor = self._credentials.redactor()
        self._negotiation = Negotiation(
            model, self._provider, self._extra, response_format, headroom=reasoning_headroom
        )
        self._sessions = HttpSessions(
            self._url,
            self._credentials.headers,
            max_connections=max_connections,
            http_client=http_client,
            transport=transport,
        )

    def _check_for_openai(self, *, has_own_means: bool) -> None:
        """See that what goes to OpenAI is meant for it, and can be answered there.

        :param has_own_means: whether the caller says how calls are authenticated, or that they are not.
        """
        provider, _ = named_provider(self.model)
        if "/" in self.model:
            hint = f"chat_model({self.model!r}) calls {provider.name}"
            raise ConfigError(f"{self.model}: OpenAI has no such model; {hint}", field="model")
        if not (self.sends_key or has_own_means):
            variable = self._credentials.variable
            reason = f"{self.model}: set {variable} to your key, give api_key=, or name another server with base_url="
            raise ConfigError(reason, field="api_key")

    @property
    def response_format(self) -> ResponseFormat:
        """The format that replies with a schema are asked for in now."""
        return self._negotiation.dialect.format

    @property
    def step_downs(self) -> int:
        """How many steps from the first format to a simpler one were made."""
        return self._negotiation.step_downs

    @property
    def dialect(self) -> Dialect:
        """How requests are written now: what was learnt of the model and its server so far."""
        return self._negotiation.dialect

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """The JSON body that a call has, as it would be written now."""
        return self._negotiation.body(request, self._negotiation.dialect)

    @property
    def sends_key(self) -> bool:
        """Whether a key, or a user and password, goes with each call."""
        return self._credentials.are_sent

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request.

        :raises ModelAccountError: the server would refuse every request; the message says what to do.
        :raises ModelRequestError: it refuses this one for good; the message says what to check.
        :raises ModelRefusedError: the provider's filter refuses the content.
        :raises ModelUnavailableError: it cannot answer now, or a connection fault or a time-out.
        :raises ModelResponseError: its answer holds no completion.
        """
        check_request(request)
        session = await self._sessions.get()
        async with session.slots:
            completion, used = await self._adapted(session, request)
            more = self._negotiation.with_headroom(used, request, completion)
            return completion if more is None else await self._with_headroom(session, request, completion, used, more)

    async def _adapted(self, session: HttpSession, request: ChatRequest) -> tuple[Completion, Dialect]:
        """Ask, and while the server refuses what may be written otherwise, ask so; with how it was written."""
        dialect = self._negotiation.dialect
        first: ModelError | None = None  # the refusal of the first of several formats
        for left in reversed(range(_MOST_TRIES)):
            body = self._negotiation.body(request, dialect)
            found = await self._call(session, request, body)
            if isinstance(found, Completion):
                self._negotiation.notice(found)
                if request.schema is not None:
                    self._negotiation.keep(dialect, first)
                return found, dialect
            amended = self._negotiation.amend(dialect, body, found.said, found.error)
            if amended is None or not left:
                raise first or found.error
            same_format = (amended.format, amended.schema) == (dialect.format, dialect.schema)
            first = None if same_format else first or found.error
            dialect = amended
        raise AssertionError("unreachable: the last try returns or raises")

    async def _with_headroom(
        self, session: HttpSession, request: ChatRequest, cut: Completion, used: Dialect, more: Dialect
    ) -> Completion:
        """Ask once more for a reply that ran out of tokens; what both have cost is in its usage."""
        try:
            found = await self._call(session, request, self._negotiation.body(request, more))
        except ModelError as error:
            error.usage = cut.usage + (error.usage or Usage())
            raise
        if isinstance(found, Completion):
            return replace(found, usage=cut.usage + found.usage, latency=cut.latency + found.latency)
        self._negotiation.lower_limits(used)
        return cut

    async def _call(self, session: HttpSession, request: ChatRequest, body: Mapping[str, Any]) -> Completion | _Refusal:
        """One call: a completion, or a refusal that may be about the way in which the request is written."""
        started = time.monotonic()
        with anyio.move_on_after(self.timeout):
            try:
                reply = await session.post(json.dumps(body).encode(), most=_MOST_BYTES)
            except LostConnectionError as lost:
                raise error_for_lost(lost, model=self.model, address=self.address, clean=self._clean) from None
            if reply.status != 200:
                said = read_error_body(reply.status, reply.body)
                if said.has(NO_ROOM):
                    return Completion("", "length", latency=time.monotonic() - started, model=self.model)
                return self._refused(said, reply.headers)
            return self._read(reply, request, time.monotonic() - started)
        reason = f"{self.model}: no whole reply from {self.address} within {self.timeout:g} s"
        raise ModelUnavailableError(reason, model=self.model)

    def _refused(self, said: ErrorBody, headers: Mapping[str, str]) -> _Refusal:
        """A refusal; raises an error that has nothing to do with how the request is written."""
        error = error_for(
            said, headers, model=self.model, address=self.address, clean=self._clean, key_hint=self._credentials.hint()
        )
        if type(error) in _AMENDABLE or refuses_system(said):
            return _Refusal(error, said)
        raise error

    def _read(self, reply: Reply, request: ChatRequest, latency: float) -> Completion | _Refusal:
        """What a reply with status 200 holds."""
        if not reply.whole:
            reason = f"{self.model}: a reply of more than {_MOST_BYTES} bytes"
            raise ModelResponseError(reason, model=self.model, status=200)
        try:
            data = read_body(reply.body, self._clean)
        except UnreadableReplyError as error:
            reason = f"{self.model}: {self.address}: {error}"
            raise ModelResponseError(reason, model=self.model, status=200, lasting=error.lasting) from None
        if isinstance(data, dict) and not data.get("choices") and holds_error(data):
            return self._refused(error_body_of(inner_status(data), data), reply.headers)
        completion = parse_completion(data, model=self.model, latency=latency)
        text = _until_stop(self._redactor.reply(completion.text), request.sampling.stop)
        thought = self._redactor.reply(completion.thought)
        if (text, thought) == (completion.text, completion.thought):
            return completion
        whole = thought == completion.thought and completion.text.startswith(text)  # else a secret is in the tokens
        return replace(completion, text=text, thought=thought, logprobs=completion.logprobs if whole else ())

    def _clean(self, text: str) -> str:
        return self._redactor.message(text)

    async def aclose(self) -> None:
        """Close the connections of the running event loop. May be called twice; a later call opens new ones."""
        await self._sessions.aclose()

    def __repr__(self) -> str:
        return f"OpenAIChat({self.model!r}, base_url={self.address!r})"


@dataclass(frozen=True)
class _Refusal:
    """A refusal that may be about how the request is written.

    :param error: what it is where nothing can be written otherwise.
    :param said: the server's words.
    """

    error: ModelError
    said: ErrorBody


def _until_stop(text: str, stops: Sequence[str]) -> str:
    """``text`` up to the first of the texts that end a reply."""
    return min((text.split(stop, 1)[0] for stop in stops if stop), key=len, default=text).rstrip() if stops else text


def _check(model: str, timeout: float, max_connections: int, response_format: str) -> None:
    if not model:
        raise ConfigError("the model needs a name", field="model")
    if not 0 < timeout < float("inf"):
        raise ConfigError(f"timeout must be a number of seconds above 0, not {timeout}", field="timeout")
    if max_connections < 1:
        raise ConfigError(f"max_connections must be at least 1, not {max_connections}", field="max_connections")
    if response_format not in FORMATS:
        raise ConfigError(f"response_format must be one of {', '.join(FORMATS)}", field="response_format")


def _digest(extra: Mapping[str, Any]) -> str:
    if not extra:
        return ""
    try:
        text = json.dumps(extra, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extra must hold JSON values: {error}", field="extra") from None
    return f"#{hashlib.sha256(text.encode()).hexdigest()[:8]}"
