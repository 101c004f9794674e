"""The OpenAI chat-completions format: a request's body, and a completion out of a reply.

Shared by the HTTP client and the embedded llama.cpp, which speak the same format.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from mctsdialog.errors import ModelResponseError
from mctsdialog.llm._reading import is_refusal, read_reply
from mctsdialog.llm.base import ChatRequest, Completion, FinishReason, TokenLogprobs, Usage

ResponseFormat: TypeAlias = Literal["json_schema", "json_object", "none"]
"""How a reply's schema is asked for: enforced by the server, "some JSON object", or by the prompt alone."""

_FINISH: dict[str, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop"),
    **dict.fromkeys(
        ("length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"), "length"
    ),
    **dict.fromkeys(
        (
            "content_filter", "content_filtered", "safety", "recitation", "prohibited_content", "blocklist", "spii",
            "image_safety", "sensitive", "guardrail_intervened", "error_toxic", "moderation", "content_policy",
            "policy_violation", "blocked", "filtered", "unsafe", "model_armor", "language",
        ),
        "content_filter",
    ),
    **dict.fromkeys(("refusal", "refused"), "refusal"),
}  # fmt: skip
"""Finish reasons of many servers, in lower case."""

_FAILED = (
    "error", "abort", "aborted", "cancelled", "network_error", "insufficient_system_resource", "unexpected", "failed",
    "timeout", "server_error", "provider_error", "malformed_response",
)  # fmt: skip
_TOOLS = ("tool_calls", "function_call", "tool_use", "malformed_function_call")
_TEXT_TYPES = (None, "text", "output_text")
_THOUGHT_TYPES = (
    "thinking", "reasoning", "thought", "redacted_thinking", "reasoning_content", "reasoning.text",
    "reasoning.summary", "reasoning_text", "summary_text",
)  # fmt: skip
_THOUGHT_FIELDS = (
    "reasoning_content", "reasoning", "thinking", "thoughts", "reasoning_text", "reasoning_details", "thinking_blocks",
)  # fmt: skip
_MOST_NESTING = 4  # of parts in parts


def request_body(
    model: str, request: ChatRequest, *, response_format: ResponseFormat = "json_schema", strict: bool = True
) -> dict[str, Any]:
    """The JSON body of a chat-completions call; how much to reason is not in it, as each server is told so otherwise.

    Independent draws need different seeds: with a seed, ``sample`` is added to it.

    :param strict: whether the server is to hold to the schema; some want it closed for that.
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
        schema = {"name": "reply", "schema": dict(request.schema), "strict": strict}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif request.schema is not None and response_format == "json_object":
        body["response_format"] = {"type": "json_object"}
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    return body


def merged_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages for a model without a system role: its text begins the user's first message, and roles alternate."""
    system = [each["content"] for each in messages if each["role"] == "system"]
    merged: list[dict[str, str]] = [{"role": "user", "content": "\n\n".join(system)}] if system else []
    for message in messages:
        if message["role"] == "system":
            continue
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1]["content"] += f"\n\n{message['content']}"
        else:
            merged.append(dict(message))
    return merged


_PLAIN_KEYWORDS = ("type", "enum", "const", "items", "properties", "required", "description", "anyOf", "$ref", "$defs")


def plain_schema(schema: Mapping[str, Any], *, closed: bool) -> dict[str, Any]:
    """A JSON Schema without bounds and formats, which some servers do not know.

    :param closed: whether objects still say that they have no other properties.
    """
    plain: dict[str, Any] = {}
    for name, value in schema.items():
        if name in ("properties", "$defs") and isinstance(value, Mapping):
            plain[name] = {each: plain_schema(inner, closed=closed) for each, inner in value.items()}
        elif name == "items" and isinstance(value, Mapping):
            plain[name] = plain_schema(value, closed=closed)
        elif name == "anyOf" and isinstance(value, list):
            plain[name] = [plain_schema(inner, closed=closed) for inner in value]
        elif name in _PLAIN_KEYWORDS or (closed and name == "additionalProperties"):
            plain[name] = value
    return plain


def parse_completion(data: object, *, model: str, latency: float = 0.0) -> Completion:
    """The completion in a decoded reply: what was said and, apart from it, what was thought.

    A refusal becomes a completion with finish reason "refusal"; a reply that holds reasoning alone one with no text,
    and of finish reason "length" where the model ran out of tokens.

    :param latency: seconds the call took.
    :raises ModelResponseError: if the reply holds no completion, or one that broke off; with the tokens billed.
    """
    usage = parse_usage(data.get("usage") if isinstance(data, dict) else None)
    choice = _first_choice(data, model, usage)
    message = choice.get("message")
    if message is None and isinstance(choice.get("text"), str):
        message = {"content": choice["text"]}
    if not isinstance(message, dict):
        raise ModelResponseError(f"{model}: the reply's first choice has no message", model=model, usage=usage)
    finish = _finish_of(choice)
    text, thought, refusal = _parts(message.get("content"))
    refusal = refusal or "".join(_parts(message.get("refusal"))) or ("refused" if message.get("refusal") else "")
    if refusal.strip():  # whatever was said before it
        text, finish = refusal, "refusal"
    reading = read_reply(whole_text(text))
    if finish in ("stop", "other") and is_refusal(reading.said):
        finish = "refusal"
    thoughts = [_thought_of(message), thought, reading.thought]
    unsaid = not reading.said and not usage.reasoning_tokens and usage.completion_tokens >= _FEW_TOKENS
    completion = Completion(
        text=reading.said,
        finish_reason=finish,
        usage=replace(usage, reasoning_tokens=usage.completion_tokens) if unsaid else usage,
        latency=latency,
        model=model,
        thought=whole_text("\n\n".join(each.strip() for each in thoughts if each.strip())),
        logprobs=parse_logprobs(choice.get("logprobs")),
    )
    if not completion.text and (_word(choice.get("finish_reason")) in _TOOLS or message.get("tool_calls")):
        reason = f"{model}: the reply calls a tool instead of saying something; use a model or server without tools"
        raise ModelResponseError(reason, model=model, usage=usage)
    if (
        message.get("content") is None
        and finish in ("stop", "other")
        and not (completion.thought or usage.completion_tokens)
    ):
        raise ModelResponseError(f"{model}: the reply's message has no text", model=model, usage=usage)
    return completion


def _finish_of(choice: Mapping[str, Any]) -> FinishReason:
    """The finish reason; a gateway that calls a refusal of the model behind it "stop" still quotes that one's word."""
    finish = parse_finish_reason(choice.get("finish_reason"))
    quoted = parse_finish_reason(choice.get("native_finish_reason") or choice.get("stop_reason"))
    return quoted if finish == "other" or quoted in ("content_filter", "refusal") else finish


def _first_choice(data: object, model: str, usage: Usage) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise ModelResponseError(f"{model}: the reply is {_kind(data)}, not a JSON object", model=model)
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        reason = f"{model}: the reply has no choices; the provider may have dropped or filtered it"
        raise ModelResponseError(reason, model=model, usage=usage)
    choice: Mapping[str, Any] = choices[0]
    if choice.get("error") or _word(choice.get("finish_reason")) in _FAILED:
        raise ModelResponseError(f"{model}: the reply broke off at the provider", model=model, usage=usage)
    return choice


def _kind(data: object) -> str:
    return "null" if data is None else f"a JSON {type(data).__name__}"


def _parts(content: object, nesting: int = _MOST_NESTING) -> tuple[str, str, str]:
    """Text, reasoning and refusal of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content, "", ""
    found: tuple[list[str], list[str], list[str]] = ([], [], [])
    content = [content] if isinstance(content, dict) else content
    for part in content if isinstance(content, list) and nesting else ():
        if isinstance(part, str):
            found[0].append(part)
        elif isinstance(part, dict):
            kind = part.get("type")
            if kind in _THOUGHT_TYPES or part.get("thought") is True:
                found[1].append(_thought_of(part, "text", "content", "summary", nesting=nesting - 1))
            elif kind == "refusal":
                found[2].append(str(part.get("refusal") or ""))
            elif kind in _TEXT_TYPES and isinstance(part.get("text"), str):
                found[0].append(part["text"])
    return "".join(found[0]), "\n".join(found[1]), "\n".join(found[2])


def _thought_of(fields: Mapping[str, Any], *more: str, nesting: int = _MOST_NESTING) -> str:
    """The reasoning in the fields of a message or a part; servers repeat it under several names."""
    for name in (*_THOUGHT_FIELDS, *more):
        if fields.get(name):
            text = "".join(_parts(fields[name], nesting)[:2])
            if text.strip():
                return text
    return ""


def whole_text(text: str) -> str:
    """``text`` with lone surrogates (half a character, from a cut escape) replaced: they cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _word(value: object) -> str:
    """A word as servers write constants, in one form: ``FinishReason.SAFETY`` is ``safety``."""
    if not isinstance(value, str):
        return ""
    word = value.partition(":")[0].strip().lower().replace("-", "_").replace(" ", "_").rpartition(".")[2]
    return word.removeprefix("finish_reason_")


def parse_logprobs(value: object) -> tuple[TokenLogprobs, ...]:
    """The tokens of a reply with their log-probabilities; empty where the server gives none, or what makes no sense.

    A character that is cut into several tokens belongs to the last of them.
    """
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list):
        return ()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    tokens = []
    for entry in content:
        found = _token(entry)
        if found is None:
            return ()
        text, logprob = found
        raw = entry.get("bytes")
        if isinstance(raw, list) and all(type(byte) is int and 0 <= byte < 256 for byte in raw):
            text = decoder.decode(bytes(raw))
        top = entry.get("top_logprobs")
        others = map(_token, top if isinstance(top, list) else ())
        tokens.append(TokenLogprobs(whole_text(text), logprob, tuple(each for each in others if each is not None)))
    return tuple(tokens)


def _token(entry: object) -> tuple[str, float] | None:
    """A token's text and its log-probability; one that is too small for a number counts as a very small one."""
    if not isinstance(entry, dict):
        return None
    text, logprob = entry.get("token"), entry.get("logprob")
    if not isinstance(text, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float | None):
        return None
    if logprob is None or math.isnan(logprob):
        return whole_text(text), _LEAST_LOGPROB
    return whole_text(text), float(min(0.0, max(_LEAST_LOGPROB, logprob)))


_LEAST_LOGPROB = -9999.0  # as OpenAI writes "not among the likeliest"


def parse_finish_reason(value: object) -> FinishReason:
    """The finish reason for a server's word; "other" for what is unknown or missing."""
    return _FINISH.get(_word(value), "other")


def parse_usage(value: object) -> Usage:
    """Tokens of a call as they are billed; what is missing or makes no sense counts as 0.

    Some servers leave reasoning out of ``completion_tokens`` and count it in the total alone.
    """
    if not isinstance(value, dict):
        return Usage()
    told = dict.fromkeys(("prompt", "input", "written", "thought", "total", "cached", "created"), 0)
    _tell(value, told)
    prompt, written, cached = told["prompt"], told["written"], told["cached"]
    if not prompt and cached > (prompt := told["input"]):  # Anthropic's own: what was cached stands beside
        prompt += cached + told["created"]
    # What is beyond the reply is reasoning, and so is more reasoning than the reply has tokens in all.
    thought = told["thought"]
    billed = max(written, told["total"] - prompt if told["total"] else written + thought if thought > written else 0)
    thought = max(thought, billed - written if written else 0)
    return Usage(prompt, billed, min(cached, prompt), min(thought, billed))


_KINDS = {
    **dict.fromkeys(("prompttokens", "prompttokencount"), "prompt"),
    "inputtokens": "input",
    **dict.fromkeys(("completiontokens", "outputtokens", "candidatestokencount"), "written"),
    **dict.fromkeys(("reasoningtokens", "thinkingtokens", "thoughtstokencount"), "thought"),
    **dict.fromkeys(("totaltokens", "totaltokencount"), "total"),
    **dict.fromkeys(
        (
            "cachedtokens", "promptcachehittokens", "cachereadinputtokens", "cachereadtokens", "cacheread",
            "numcachedtokens", "cachedprompttokens", "promptcachedtokens", "cachedinputtokens",
            "cachedcontenttokencount",
        ),
        "cached",
    ),
    "cachecreationinputtokens": "created",
}  # fmt: skip
"""What numbers of tokens count, by their names in small letters without underscores."""


@lru_cache(maxsize=256)
def _kind_of(name: str) -> str:
    plain = name.replace("_", "").lower()
    return "details" if "detail" in plain else _KINDS.get(plain, "")


def _tell(usage: Mapping[str, Any], told: dict[str, int]) -> None:
    """Add the numbers of a usage, and those in the details inside of it, by kind."""
    for name, value in usage.items():
        kind = _kind_of(name)
        if kind in told:
            told[kind] = max(told[kind], _count(value))
        elif kind == "details" and isinstance(value, Mapping):
            _tell({each: count for each, count in value.items() if _kind_of(each) != "details"}, told)


def _count(value: object) -> int:
    """A number of tokens; some servers write it with a fraction of 0, or as a text."""
    if type(value) is int and 0 <= value < _MOST_TOKENS:  # as nearly always
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,12}(?:\.0*)?\s*", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST_TOKENS:
        return 0
    return int(value)


_MOST_TOKENS = 1e12
_FEW_TOKENS = 16  # of a reply without text: more were reasoning that is not shown
