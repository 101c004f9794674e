"""Asking a model until its reply can be used: one place for refusals, empty and cut replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from mctsdialog.errors import ModelRefusedError, ReplyError
from mctsdialog.llm import ChatModel, ChatRequest, Completion, Message

T = TypeVar("T")

Correction = Callable[[str, str], tuple[Message, ...]]
"""From a reply and what is wrong with it to the messages that ask again."""


async def ask(
    model: ChatModel,
    request: ChatRequest,
    parse: Callable[[Completion], T],
    *,
    role: str,
    attempts: int,
    correct: Correction,
    step: int = 1,
) -> T:
    """What the model's reply says.

    A reply that cannot be used is shown to the model with the reason. Where nothing was said, because the model refused
    or only reasoned, the same is asked once more as another draw: refusals and thoughts never enter a prompt.

    :param parse: reads a completion, whose text holds no reasoning; raises :class:`ValueError` for one of no use.
    :param role: who asks, for errors.
    :param attempts: most replies asked for, 1 or more.
    :param correct: makes the messages that follow the request's own.
    :param step: distance of another draw's sample index from the last one's.
    :raises ReplyError: if the replies stay unusable.
    :raises ModelRefusedError: if the model or its provider refuses every time.
    :raises ModelError: if a call fails for good.
    """
    parsed: dict[str, T] = {}

    def accept(text: str) -> None:
        completion = Completion(text).as_read()
        found = parse(completion)
        if completion.text and completion.finish_reason == "stop":
            parsed[text] = found

    asked = replace(request, accept=accept)
    for attempt in range(1, attempts + 1):
        completion = await model.complete(asked)
        if completion.text in parsed and completion.finish_reason == "stop" and not request.logprobs:
            return parsed[completion.text]
        completion = completion.as_read()
        unsaid = _unsaid(completion, role, attempt)
        if unsaid is not None:
            if attempt == attempts:
                raise unsaid
            asked = replace(asked, sample=asked.sample + step)
            continue
        try:
            return parse(completion)
        except ValueError as error:
            problem = str(error)
            if attempt == attempts:
                raise ReplyError(problem, role=role, attempts=attempt, last_reply=completion.text) from error
        asked = replace(asked, messages=(*request.messages, *correct(completion.text, problem[:1000])))
    raise AssertionError("unreachable: the last attempt returns or raises")


def whole(completion: Completion) -> str:
    """The text of a reply that was not cut.

    :raises ValueError: for one that was.
    """
    if completion.finish_reason == "length":
        raise ValueError("the reply is too long and was cut off")
    return completion.text


def _unsaid(completion: Completion, role: str, attempts: int) -> ModelRefusedError | ReplyError | None:
    """The error for a completion in which nothing was said; None for one in which something was."""
    reason, usage = completion.finish_reason, completion.usage
    if reason in ("refusal", "content_filter"):
        who = "the model refuses to answer" if reason == "refusal" else "the provider's filter stopped the reply"
        message = f"{role}: {who} (asked {attempts} time{'s' * (attempts != 1)})"
        return ModelRefusedError(message, reason=reason, model=completion.model or None, usage=usage)
    if completion.text:
        return None
    if reason == "length":
        problem = (
            "the model ran out of tokens while thinking; give it more with --max-reply-tokens, or let it think less"
        )
        problem += " with --reasoning-effort (in Python: Sampling(max_tokens=...))"
    elif completion.thought or usage.reasoning_tokens:
        problem = "the model only thought and said nothing; let it think less with --reasoning-effort, or give it more"
        problem += " tokens with --max-reply-tokens (in Python: Sampling(max_tokens=...))"
    else:
        return None
    return ReplyError(problem, role=role, attempts=attempts, last_reply="")
