"""Model calls in a terminal: what was sent, what came back, what it cost."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mctsdialog.cli._text import shortened
from mctsdialog.llm import ChatRequest, Completion, Message, Price, Usage
from mctsdialog.llm._exchanges import Exchange
from mctsdialog.llm.layers._budget import cost, price_of
from mctsdialog.text import one_line, visible

CHARS = 220  # of a text that is shown in short
_LABEL = 12  # columns of a label
_MEASURED = 0.01  # seconds from which a speed means something


def field(label: str, text: str) -> str:
    """A labelled line."""
    return f"  {label:<{_LABEL}}{text}".rstrip()


def block(label: str, text: str, chars: int | None) -> Iterator[str]:
    """A labelled text: its beginning on one line, or the whole with its own lines.

    :param chars: characters shown; None for all.
    """
    if chars is not None:
        yield field(label, shortened(text, chars))
        return
    first, *others = visible(text).split("\n") or [""]
    yield field(label, first)
    yield from (textwrap.indent(line, " " * (_LABEL + 2)) for line in others)


def exchange_lines(
    exchange: Exchange,
    *,
    chars: int | None,
    prices: Mapping[str, Price],
    parameters: Mapping[str, Any] | None = None,
    before: Exchange | None = None,
) -> Iterator[str]:
    """One call: request, reply, thought, tokens and time.

    :param chars: characters of each text, and of the messages the first and the last alone; None for all.
    :param parameters: what was sent beside the messages; None takes what was asked for.
    :param before: the call whose reply could not be used; then only what differs from it is shown in short.
    """
    request, completion = exchange.request, exchange.completion
    length = sum(len(message.content) for message in request.messages)
    sent = parameters_of(request) if parameters is None else parameters
    shown = ", ".join(f"{name} {_value(value)}" for name, value in sent.items())
    if before is not None and before.request.messages == request.messages and chars is not None:
        yield field("sent again", "the same, as another draw")
    else:
        sizes = f"{len(request.messages)} messages of {length:,} characters; {shown}"
        yield field("sent" if before is None else "sent again", one_line(sizes))
        short = before is not None and chars is not None
        yield from _messages(request.messages[-1:] if short else request.messages, chars)
    if completion is None:
        yield field("no reply", one_line(str(exchange.error)))
        return
    ended = "" if completion.finish_reason == "stop" else f"  ({finish(completion)})"
    text = completion.text if completion.text.strip() else "(nothing)"
    yield from block("reply", text + ended, chars)
    if completion.thought:
        words = len(completion.thought.split())
        yield from block("thought", f"({words} words) {completion.thought}", chars)
    yield field("cost", costs(exchange.model, completion, prices))


def _messages(messages: Sequence[Message], chars: int | None) -> Iterator[str]:
    between = len(messages) - 2 if chars is not None else 0
    for at, message in enumerate(messages):
        if between > 0 and at == 1:
            yield field("", f"... {between} turn{'s' * (between != 1)} ...")
        if between <= 0 or at in (0, len(messages) - 1):
            yield from block("", f"{message.role}: {message.content}", chars)


def finish(completion: Completion) -> str:
    """How a reply that is not whole ended, in words."""
    written = completion.usage.completion_tokens
    return {
        "stop": "whole",
        "length": f"cut at {written} tokens" if written else "cut at the limit of tokens",
        "content_filter": "stopped by the provider's filter",
        "refusal": "refused",
        "other": "ended for another reason",
    }[completion.finish_reason]


def costs(model: str, completion: Completion, prices: Mapping[str, Price]) -> str:
    """Tokens, time and money of one reply."""
    usage, latency = completion.usage, completion.latency
    parts = [tokens(usage) if usage.total_tokens else "the server tells no tokens", f"{latency:.2f} s"]
    if latency >= _MEASURED and usage.completion_tokens:
        parts.append(f"{usage.completion_tokens / latency:.0f} tokens/s")
    price = price_of(prices, model)
    if price is not None:
        parts.append(f"money {cost(usage, price):.6f}")
    return ", ".join(parts)


def costs_in_all(exchanges: Sequence[Exchange], prices: Mapping[str, Price]) -> str:
    """Calls, tokens, time and money of several."""
    made = [(each.model, each.completion) for each in exchanges if each.completion is not None]
    usage = sum((completion.usage for _, completion in made), Usage())
    parts = [
        f"{len(made)} call{'s' * (len(made) != 1)}",
        tokens(usage),
        f"{sum(completion.latency for _, completion in made):.2f} s",
    ]
    known = [(price_of(prices, model), completion.usage) for model, completion in made]
    if made and all(price is not None for price, _ in known):
        parts.append(f"money {sum(cost(each, price) for price, each in known if price is not None):.6f}")
    return ", ".join(parts)


def tokens(usage: Usage) -> str:
    """Tokens of a call in words."""
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    thought = f" ({usage.reasoning_tokens} reasoning)" if usage.reasoning_tokens else ""
    return f"{usage.prompt_tokens} tokens read{cached}, {usage.completion_tokens} written{thought}"


def parameters_of(request: ChatRequest) -> dict[str, Any]:
    """What a request asks for beside its messages."""
    set_ = {name: value for name, value in asdict(request.sampling).items() if value not in (None, ())}
    if request.schema is not None:
        set_["response_format"] = "json_schema"
    return set_


def _value(value: object) -> str:
    if isinstance(value, dict) and "type" in value:
        return str(value["type"])
    return f"{value:g}" if isinstance(value, float) else str(value)
