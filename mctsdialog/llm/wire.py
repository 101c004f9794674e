"""The OpenAI chat-completions format: a request's body, and a completion out of a reply.

Shared by the HTTP client and the embedded llama.cpp, which speak the same format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from mctsdialog.errors import ModelResponseError
from mctsdialog.llm.base import ChatRequest, Completion, FinishReason, Usage

ResponseFormat: TypeAlias = Literal["json_schema", "json_object", "none"]
"""How a reply's schema is asked for: enforced by the server, "some JSON object", or by the prompt alone."""

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


def request_body(
    model: str,
    request: ChatRequest,
    *,
    response_format: ResponseFormat = "json_schema",
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The JSON body of a chat-completions call.

    Independent draws need different seeds: with a seed, ``sample`` is added to it.

    :param extra: parameters that are added, and win over the request's own.
    """
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
    }
    settings = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "max_tokens": sampling.max_tokens,
    }
    body.update({name: value for name, value in settings.items() if value is not None})
    if sampling.seed is not None:
        body["seed"] = sampling.seed + request.sample
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if request.schema is not None and response_format == "json_schema":
        schema = {"name": "reply", "schema": dict(request.schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif request.schema is not None and response_format == "json_object":
        body["response_format"] = {"type": "json_object"}
    body.update(extra or {})
    return body


def parse_completion(data: object, *, model: str, latency: float = 0.0) -> Completion:
    """The completion in a decoded reply.

    A refusal becomes a completion with finish reason "content_filter"; a reply cut before its first visible
    token (a reasoning model out of tokens) one of finish reason "length" with no text.

    :param latency: seconds the call took.
    :raises ModelResponseError: where the reply holds no completion.
    """
    choice = _first_choice(data, model)
    finish = parse_finish_reason(choice.get("finish_reason"))
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise ModelResponseError(f"{model}: the reply's first choice has no message", model=model)
    text = _text(message.get("content"))
    refusal = message.get("refusal")
    if not text and isinstance(refusal, str) and refusal:
        text, finish = refusal, "content_filter"
    if text is None and finish in ("length", "content_filter"):
        text = ""
    if text is None:
        raise ModelResponseError(f"{model}: the reply's message has no text", model=model)
    usage = parse_usage(data.get("usage") if isinstance(data, Mapping) else None)
    return Completion(text=whole_text(text), finish_reason=finish, usage=usage, latency=latency, model=model)


def _first_choice(data: object, model: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ModelResponseError(f"{model}: the reply is {_kind(data)}, not a JSON object", model=model)
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise ModelResponseError(f"{model}: the reply has no choices", model=model)
    return choices[0]


def _kind(data: object) -> str:
    return "null" if data is None else f"a JSON {type(data).__name__}"


def _text(content: object) -> str | None:
    """A message's text: a string, or the text parts of a list, as some servers send it."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        texts = [part for part in parts if isinstance(part, str)]
        return "".join(texts) if texts else None
    return None


def whole_text(text: str) -> str:
    """``text`` with lone surrogates (half a character, from a cut escape) replaced: they cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def parse_finish_reason(value: object) -> FinishReason:
    """The finish reason for a server's word; "other" for what is unknown or missing."""
    return _FINISH.get(value, "other") if isinstance(value, str) else "other"


def parse_usage(value: object) -> Usage:
    """Tokens of a call; what is missing or makes no sense counts as 0."""
    if not isinstance(value, Mapping):
        return Usage()
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else value.get("prompt_cache_hit_tokens")
    prompt = _count(value.get("prompt_tokens"))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=_count(value.get("completion_tokens")),
        cached_tokens=min(_count(cached), prompt),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
