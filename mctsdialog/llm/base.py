"""How a model is called: one request, one completion.

Everything that answers a :class:`ChatRequest` with a :class:`Completion` is a :class:`ChatModel`; layers (cache,
limits, retry, ...) are chat models around a chat model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeAlias, get_args, runtime_checkable

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError, shown
from mctsdialog.llm._reading import is_refusal, read_reply

MessageRole: TypeAlias = Literal["system", "user", "assistant"]
ReasoningEffort: TypeAlias = Literal["none", "low", "medium", "high"]
_ROLES = get_args(MessageRole)
FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "refusal", "other"]

PARAGRAPH_STOP = ("\n\n",)
"""What ends a paragraph. Version 0.1 sent it as ``stop`` for every utterance."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat request.

    :raises ConfigError: for an unknown role, or content that is no text.
    """

    role: MessageRole
    content: str

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ConfigError(f"role must be one of {', '.join(_ROLES)}, not {shown(self.role)}", field="role")
        if not isinstance(self.content, str):
            raise ConfigError(f"content must be a text, not {shown(self.content)}", field="content")


@checked("stop")
@dataclass(frozen=True, slots=True)
class Sampling:
    """How a reply is drawn. None leaves a setting to the server.

    :param temperature: 0 and up.
    :param top_p: in (0, 1].
    :param frequency_penalty: how much less likely a token gets with each time it was used, -2 to 2.
    :param max_tokens: most tokens in the reply, at least 1.
    :param seed: for servers that take one.
    :param stop: texts that end the reply.
    :param reasoning_effort: how much a reasoning model thinks before it answers; "none" asks it not to.
    :raises ConfigError: for a value out of its range.
    """

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    reasoning_effort: ReasoningEffort | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.stop, tuple):  # a list would do, but for hashing
            object.__setattr__(self, "stop", tuple(self.stop) if isinstance(self.stop, list) else (self.stop,))
        if not all(isinstance(each, str) for each in self.stop):
            raise ConfigError(f"stop must be a text or a list of texts, not {shown(self.stop)}", field="stop")
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature must be 0 or more, not {self.temperature}", field="temperature")
        penalty = self.frequency_penalty
        if penalty is not None and not -2 <= penalty <= 2:
            raise ConfigError(f"frequency_penalty must be from -2 to 2, not {penalty}", field="frequency_penalty")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be above 0 and at most 1, not {self.top_p}", field="top_p")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, not {self.max_tokens}", field="max_tokens")
        if self.reasoning_effort not in (None, *get_args(ReasoningEffort)):
            efforts = ", ".join(get_args(ReasoningEffort))
            raise ConfigError(f"reasoning_effort must be one of {efforts}", field="reasoning_effort")


@dataclass(frozen=True)
class ChatRequest:
    """What is asked of a model.

    :param messages: the conversation; what is constant comes first, so that servers can reuse prefixes. A list will do.
    :param sampling: how the reply is drawn.
    :param schema: JSON Schema that the reply must satisfy, or None for free text.
    :param sample: index of an independent draw of the same request; part of the cache key.
    :param accept: raises :class:`ValueError` for a reply that is of no use. Not part of the cache key: the cache
        asks it before it stores a reply as good.
    :param role: who asks ("judge", ...), for the count of costs. Not part of the cache key.
    :param logprobs: how many of the likeliest tokens to ask for at each place of the reply, with their
        log-probabilities; 0 asks for none. Part of the cache key.
    :param prompt_version: version of the package's prompts that the messages follow; 1 for messages of your own.
    :param first_paragraph: whether only the first paragraph of the reply is used. A hint, not part of the cache key:
        a model that can stop there without harm saves the rest.
    :raises ConfigError: for messages or sampling of another type.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    schema: Mapping[str, Any] | None = None
    sample: int = 0
    accept: Callable[[str], object] | None = field(default=None, compare=False, repr=False)
    role: str = field(default="", compare=False, repr=False)
    logprobs: int = 0
    prompt_version: int = 1
    first_paragraph: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.messages, list):
            object.__setattr__(self, "messages", tuple(self.messages))
        if not isinstance(self.messages, tuple) or not all(isinstance(each, Message) for each in self.messages):
            wanted = 'Message objects, such as (Message("user", "Hello."),)'
            raise ConfigError(f"messages must be {wanted}, not {shown(self.messages)}", field="messages")
        if not isinstance(self.sampling, Sampling):
            raise ConfigError(f"sampling must be a Sampling, not {shown(self.sampling)}", field="sampling")

    @cached_property
    def _keys(self) -> dict[str, str]:
        """Its keys by identity, as layers ask for the key three times.

        Computed each time, a call takes 0.91 ms of CPU in place of 0.79 (benchmarks/throughput.py, 128 slots).
        """
        return {}

    def is_good(self, completion: Completion) -> bool:
        """Whether ``completion`` is whole (not cut by a length limit) and accepted."""
        if completion.finish_reason not in ("stop", "other"):
            return False
        if self.accept is not None:
            try:
                self.accept(completion.text)
            except ValueError:
                return False
        return True


def check_request(request: object) -> None:
    """See that a model is asked by a request.

    :raises ConfigError: saying how one is made.
    """
    if not isinstance(request, ChatRequest):
        wanted = 'a ChatRequest, such as ChatRequest((Message("user", "Hello."),))'
        raise ConfigError(f"complete() takes {wanted}, not {shown(request)}", field="request")


def identity_of(model: ChatModel) -> str:
    """What tells a model apart from others in the cache: its ``identity``, or its name if it has none."""
    identity: str | None = getattr(model, "identity", None)
    return identity or model.name


def request_key(identity: str, request: ChatRequest) -> str:
    """SHA-256 (hexadecimal) of the canonical JSON of model, messages, prompt version, parameters, schema and sample.

    Keys and time-outs are not part of it.

    :param identity: the model's (:func:`identity_of`): its name and, for a model at a server, address and options.
    """
    check_request(request)
    if not isinstance(identity, str):
        raise ConfigError(f"identity must be a text, such as a model's name, not {shown(identity)}", field="identity")
    key = request._keys.get(identity)
    if key is None:
        content = _content(identity, request, request.sampling)
        content |= {"prompts": request.prompt_version, "version": 2}
        if request.logprobs:
            content["logprobs"] = request.logprobs
        key = request._keys[identity] = _digest(content)
    return key


def former_keys(model: str, request: ChatRequest) -> list[str]:
    """The keys under which version 0.1 stored the reply to the same question; the first is the likelier.

    Version 0.1 knew the model by its name alone, and sent ``stop`` for an utterance unless told otherwise.

    :returns: empty for a request that version 0.1 could not make.
    """
    if request.logprobs or len(_settings(request.sampling)) > _FORMER_SETTINGS:
        return []
    samplings = [request.sampling]
    if request.first_paragraph and not request.sampling.stop:
        samplings.insert(0, replace(request.sampling, stop=PARAGRAPH_STOP))
    return [_digest(_content(model, request, sampling)) for sampling in samplings]


def _content(model: str, request: ChatRequest, sampling: Sampling) -> dict[str, Any]:
    return {
        "messages": [(message.role, message.content) for message in request.messages],
        "model": model,
        "sample": request.sample,
        "sampling": _settings(sampling),
        "schema": request.schema,
    }


@lru_cache(maxsize=256)
def _settings(sampling: Sampling) -> tuple[Any, ...]:
    values = [getattr(sampling, each.name) for each in fields(sampling)]
    # Temperature, top_p and frequency_penalty come first: 1 and 1.0, 0.0 and -0.0 are one.
    values[:3] = [None if number is None else float(number) + 0.0 for number in values[:3]]
    while len(values) > _FORMER_SETTINGS and values[-1] is None:  # a setting that comes later changes no key
        values.pop()
    return tuple(values)


_FORMER_SETTINGS = 6  # of version 0.1
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, default=dict)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()


def estimate_tokens(text: str) -> int:
    """About how many tokens ``text`` has: a quarter of its characters, rounded up. For planning, not for billing."""
    if not isinstance(text, str):
        raise ConfigError(f"text must be a text, not {shown(text)}", field="text")
    return -(-len(text) // 4)


def estimate_prompt_tokens(request: ChatRequest) -> int:
    """About how many tokens the messages of ``request`` have, four more for each message's frame."""
    return sum(estimate_tokens(message.content) + 4 for message in request.messages)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, or of many added up.

    :param prompt_tokens: tokens read.
    :param completion_tokens: tokens written, those of reasoning included.
    :param cached_tokens: of the tokens read, those the server had kept from an earlier call.
    :param reasoning_tokens: of the tokens written, those of reasoning, where the server tells.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.cached_tokens - other.cached_tokens,
            self.reasoning_tokens - other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One token of a reply, and what else the model might have written in its place.

    :param text: the token's text.
    :param logprob: its natural log-probability, at most 0.
    :param top: the likeliest tokens at this place with their log-probabilities; the token itself may be among them.
    """

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's reply.

    :param text: what the model said, without its reasoning; may be empty.
    :param finish_reason: "stop" (whole), "length" (cut by a limit), "content_filter" (the provider's filter stopped
        it), "refusal" (the model declined; ``text`` is how) or "other".
    :param usage: tokens of the call.
    :param latency: seconds from request to reply; 0.0 for one out of the cache.
    :param model: the model that gave it.
    :param cached: whether it came out of the response cache or from an equal request in flight.
    :param thought: the model's reasoning, where it came with the reply. It is kept, and is never part of a turn.
    :param logprobs: the tokens of the reply as it was written, reasoning in its text included; empty where they were
        not asked for, or the server returns none.
    """

    text: str
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    latency: float = 0.0
    model: str = ""
    cached: bool = False
    thought: str = ""
    logprobs: tuple[TokenLogprobs, ...] = ()

    def as_read(self) -> Completion:
        """This reply with reasoning and special tokens out of its text, and a refusal known as one.

        Reading it once more changes nothing.
        """
        reading = read_reply(self.text)
        refused = self.finish_reason in ("stop", "other") and is_refusal(reading.said)
        if reading.said == self.text and not refused:
            return self
        thoughts = [each for each in (self.thought, reading.thought) if each]
        finish: FinishReason = "refusal" if refused else self.finish_reason
        return replace(self, text=reading.said, thought="\n\n".join(thoughts), finish_reason=finish)

    def as_cached(self) -> Completion:
        """This reply as one that cost nothing."""
        return replace(self, latency=0.0, cached=True)


@runtime_checkable
class ChatModel(Protocol):
    """Anything that answers chat requests, on asyncio and on trio.

    ``identity`` tells the model apart from others in the cache; a model without it is known by its ``name``. Two models
    of one identity must give interchangeable replies.
    """

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request.

        :raises ModelError: and its kinds, when no reply could be had.
        :raises BudgetExceededError: from a budget layer.
        """
        ...

    async def aclose(self) -> None:
        """Free what the model holds (connections, a loaded file). May be called twice."""
        ...


class ClosingModel:
    """Makes ``async with`` close a model at the end."""

    async def aclose(self) -> None:
        """Free what the model holds. May be called twice."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # connections and counts are shared, never copied

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class ModelLayer(ClosingModel):
    """A chat model around a chat model; layers override :meth:`complete`.

    :param inner: the model that is wrapped; closing the layer closes it.
    """

    def __init__(self, inner: ChatModel) -> None:
        self.inner = inner

    @cached_property
    def name(self) -> str:
        """Name of the wrapped model."""
        return self.inner.name

    @cached_property
    def identity(self) -> str:
        """Identity of the wrapped model."""
        return identity_of(self.inner)

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request through the wrapped model."""
        return await self.inner.complete(request)

    async def aclose(self) -> None:
        """Close the wrapped model."""
        await self.inner.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"
