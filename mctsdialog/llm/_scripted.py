"""A chat model that says what a test tells it to."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import anyio

from mctsdialog._arguments import checked
from mctsdialog.errors import ScriptExhaustedError
from mctsdialog.llm.base import (
    ChatRequest,
    ClosingModel,
    Completion,
    Usage,
    check_request,
    estimate_prompt_tokens,
    estimate_tokens,
)

Reply: TypeAlias = str | Completion | Exception
Replies: TypeAlias = Sequence[Reply] | Callable[[ChatRequest], Reply | Awaitable[Reply]]


@checked()
class ScriptedModel(ClosingModel):
    """A model for tests that replies from a list or a function and records its requests.

    A str becomes a complete reply, with usage estimated from the lengths of the texts. An exception is raised.

    :param replies: the replies in order, or a function (plain or async) from request to reply.
    :param name: name of the model.
    :param latency: duration of each call in seconds.
    :param identity: its identity in the cache. Default: the name.
    """

    def __init__(
        self, replies: Replies, *, name: str = "scripted", latency: float = 0.0, identity: str | None = None
    ) -> None:
        if isinstance(replies, str):
            raise TypeError("replies must be a sequence of replies or a function, not one str")
        self._replies = replies if callable(replies) else list(replies)
        self.name = name
        self.identity = identity or name
        self.latency = latency
        self.requests: list[ChatRequest] = []
        self.in_flight = 0
        self.peak_in_flight = 0
        self.closed = False

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return len(self.requests)

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request from the script.

        :raises ScriptExhaustedError: when no reply is left.
        """
        check_request(request)
        self.requests.append(request)
        number = len(self.requests)
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            await anyio.sleep(self.latency)
            reply = await self._reply(number, request)
        finally:
            self.in_flight -= 1
        if isinstance(reply, Exception):
            raise reply
        return self._completion(request, reply) if isinstance(reply, str) else reply

    async def _reply(self, number: int, request: ChatRequest) -> Reply:
        if not callable(self._replies):
            if number > len(self._replies):
                raise ScriptExhaustedError(self.name, calls=number, replies=len(self._replies))
            return self._replies[number - 1]
        reply = self._replies(request)
        return await reply if inspect.isawaitable(reply) else reply

    def _completion(self, request: ChatRequest, text: str) -> Completion:
        usage = Usage(estimate_prompt_tokens(request), estimate_tokens(text))
        return Completion(text=text, usage=usage, latency=self.latency, model=self.name)

    async def aclose(self) -> None:
        """Remember that the model was closed."""
        self.closed = True

    def __repr__(self) -> str:
        return f"ScriptedModel(name={self.name!r}, calls={self.calls})"
