"""One call of the Perspective API, as a chat model: a text goes in, its scores come out as JSON.

As a chat model it takes the package's layers: cache, retry, limits, equal requests in flight.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import httpx
from pydantic import SecretStr

from mctsdialog.errors import (
    ConfigError,
    DataError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
)
from mctsdialog.llm.base import ChatModel, ChatRequest, ClosingModel, Completion, ModelLayer
from mctsdialog.llm.http import (
    Connections,
    LoopConnections,
    LostConnectionError,
    json_headers,
    make_sender,
)
from mctsdialog.llm.http_errors import error_for, error_for_lost
from mctsdialog.llm.secret import Redactor, beginning, shorten
from mctsdialog.llm.server_words import read_words
from mctsdialog.preferences.toxicity.base import check_scores

TEXT_FIELD = "text"
"""``field`` of the DataError for a text that the server refuses."""

_MOST_BYTES = 2**20
_TEXT_FAULTS = {"COMMENT_EMPTY", "COMMENT_TOO_LONG", "LANGUAGE_DETECTION_FAILED", "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"}
_KEY_FAULTS = {"API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "CONSUMER_SUSPENDED", "SERVICE_DISABLED"}
_KEY_ADVICE = (
    " (check the key, api_key= or the environment variable PERSPECTIVE_API_KEY,"
    " and that its project may use the Perspective Comment Analyzer API)"
)


class PerspectiveModel(ClosingModel):
    """The server. Makes no second attempts, and leaves it to its caller to bound the calls in flight.

    :param name: the name in the cache: it must differ for other attributes and languages.
    :param address: of the method, ``…/comments:analyze``.
    :param key: None fails each call.
    :param timeout: seconds for a whole call, above 0.
    :param concurrency: most calls in flight that the caller lets through.
    """

    def __init__(
        self,
        name: str,
        *,
        address: httpx.URL,
        key: SecretStr | None,
        attributes: tuple[str, ...],
        language: str | None,
        timeout: float,
        concurrency: int,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.name = name
        self._address = address
        self._key = key
        self._attributes = attributes
        self._language = language
        self._timeout = timeout
        self._concurrency = concurrency
        self._transport = transport
        self._redactor = Redactor([] if key is None else [key])
        self._connections = LoopConnections(self._connect)

    async def complete(self, request: ChatRequest) -> Completion:
        """Score the text of the request's one message.

        :raises ConfigError: without a key.
        :raises DataError: for a text that the server refuses; its field is :data:`TEXT_FIELD`.
        :raises ModelError: and its kinds, as the server or the connection failed.
        """
        if self._key is None:
            raise ConfigError(
                "the Perspective API needs a key: api_key=, or the environment variable PERSPECTIVE_API_KEY",
                field="api_key",
            )
        connections = await self._connections.get()
        started = time.monotonic()
        try:
            with anyio.fail_after(self._timeout):
                content = await self._post(connections, self._body(request.messages[0].content))
        except TimeoutError:
            reason = f"{self.name}: no whole answer from {self._address} within {self._timeout:g} s"
            raise ModelUnavailableError(reason, model=self.name) from None
        scores = self._scores(content)
        return Completion(json.dumps(scores), latency=time.monotonic() - started, model=self.name)

    def _body(self, text: str) -> dict[str, Any]:
        body = {
            "comment": {"text": text},
            "requestedAttributes": {attribute: {} for attribute in self._attributes},
            "doNotStore": True,
        }
        return body if self._language is None else {**body, "languages": [self._language]}

    async def _post(self, connections: Connections, body: dict[str, Any]) -> bytes:
        """Send, and read a 200's body; anything else raises."""
        try:
            reply = await connections.sender.post(json.dumps(body).encode(), most=_MOST_BYTES)
        except LostConnectionError as lost:
            raise error_for_lost(lost, model=self.name, address=str(self._address), clean=self._clean) from None
        if reply.status != 200:
            raise self._refusal(reply.status, reply.headers, reply.body)
        if not reply.whole:
            reason = f"{self.name}: an answer of more than {_MOST_BYTES} bytes"
            raise ModelResponseError(reason, model=self.name, status=reply.status)
        return reply.body

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
        """The error for a response that is no 200."""
        error = error_for(
            status, headers, body, model=self.name, address=str(self._address), clean=self._clean
        )  # right about what passes; its advice is about chat models
        if not isinstance(error, ModelRequestError) or status < 400:
            return error
        said, kinds = shorten(self._clean(read_words(status, body).message)), _kinds(body)
        if status == 400 and kinds & _TEXT_FAULTS:
            return DataError(f"the Perspective API refuses it: {said}", field=TEXT_FIELD)
        text = f"{self.name}: {self._address} answered {status}" + (f": {said}" if said else "")
        if status in (401, 403) or kinds & _KEY_FAULTS:
            text += _KEY_ADVICE
        elif status == 404:
            text += " (check base_url, which ends in /v1alpha1)"
        return ModelRequestError(text, model=self.name, status=status)

    def _scores(self, content: bytes) -> dict[str, float]:
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            start = shorten(self._clean(beginning(content, 2000)), 80)
            reason = f"{self.name}: the answer is not JSON: {start!r}"
            raise ModelResponseError(reason, model=self.name, status=200) from None
        found = data.get("attributeScores") if isinstance(data, dict) else None
        values = {name: _summary(each) for name, each in found.items()} if isinstance(found, dict) else None
        return check_scores(values, self._attributes, name=self.name)

    def _clean(self, text: str) -> str:
        return self._redactor.message(text)

    def _connect(self) -> Connections:
        assert self._key is not None, "checked by the caller"
        headers = json_headers()
        headers["X-Goog-Api-Key"] = self._key.get_secret_value()  # addresses get into logs, and so the key is in none
        sender = make_sender(self._address, headers, max_connections=self._concurrency, transport=self._transport)
        return Connections(sender, anyio.Semaphore(self._concurrency))

    async def aclose(self) -> None:
        """Close the connections of the running event loop. May be called twice."""
        await self._connections.aclose()

    def __repr__(self) -> str:
        return f"PerspectiveModel({self.name!r}, address={str(self._address)!r})"


def _summary(score: object) -> object:
    summary = score.get("summaryScore") if isinstance(score, dict) else None
    return summary.get("value") if isinstance(summary, dict) else None


def _kinds(body: bytes) -> set[str]:
    """The error types and reasons that an error body names."""
    try:
        details = json.loads(body)["error"]["details"]
        return {str(detail.get(name)) for detail in details for name in ("errorType", "reason")}
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return set()


class PacedModel(ModelLayer):
    """Lets calls begin one by one, evenly spaced, in the order they came; the first at once.

    :param per_second: most calls that begin in a second, above 0; infinity for no pace.
    """

    def __init__(self, inner: ChatModel, per_second: float) -> None:
        super().__init__(inner)
        self._gap = 1 / per_second
        self._free = 0.0  # the time from which the next call may begin
        self._clock: Callable[[], float] = time.monotonic
        self._sleep = anyio.sleep

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request when its turn has come."""
        now = self._clock()
        begin = max(now, self._free)
        self._free = begin + self._gap
        await self._sleep(begin - now)
        return await self.inner.complete(request)
