"""Asking language models for judgements as JSON, again where a reply cannot be used; every judge of every item."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from mctsdialog.errors import ReplyError
from mctsdialog.llm import ChatModel, ChatRequest, Message, Sampling
from mctsdialog.roles.replies import parse_object
from mctsdialog.workers import for_each

I = TypeVar("I")  # noqa: E741  # an item
T = TypeVar("T")


async def ask_judge(
    model: ChatModel,
    system: str,
    asked: str,
    schema: Mapping[str, Any],
    parse: Callable[[str], T],
    *,
    attempts: int = 3,
    temperature: float = 0.0,
    sample: int = 0,
) -> T:
    """One judgement. A reply that cannot be used is shown to the model with what is wrong.

    :param parse: reads a reply; raises :class:`ValueError` for one that cannot be used.
    :param attempts: most replies asked for, 1 or more.
    :param sample: index of an independent judgement of the same thing.
    :raises ReplyError: where the replies stay unusable.
    :raises ModelError: where a call fails for good.
    """
    messages: tuple[Message, ...] = (Message("system", system), Message("user", asked))
    sampling = Sampling(temperature=temperature, max_tokens=120)
    for attempt in range(1, attempts + 1):
        completion = await model.complete(ChatRequest(messages, sampling, schema, sample, accept=parse))
        try:
            return parse(completion.text)
        except ValueError as error:
            if attempt == attempts:
                raise ReplyError(str(error), role="judge", attempts=attempt, last_reply=completion.text) from error
            again = f"That cannot be used: {error}. Reply with the JSON object alone."
            messages = (*messages[:2], Message("assistant", completion.text[:2000] or "..."), Message("user", again))
    raise AssertionError("unreachable: the last attempt returns or raises")


def json_object(text: str) -> dict[str, Any]:
    """The JSON object in a reply.

    :raises ValueError: where there is none.
    """
    found = parse_object(text)
    if not isinstance(found, dict):
        raise ValueError("there is no JSON object")
    return found


def object_schema(criteria: Mapping[str, str], value: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of an object with one value for every criterion."""
    return {
        "type": "object",
        "properties": {name: dict(value) for name in criteria},
        "required": list(criteria),
        "additionalProperties": False,
    }


async def judge_all(
    judges: Mapping[str, Callable[[I], Awaitable[T]]],
    items: Sequence[I],
    *,
    concurrency: int = 8,
    on_progress: Callable[[int, int], object] | None = None,
) -> dict[str, list[T | None]]:
    """Every judge's judgement of every item; None where its replies stay unusable.

    :param judges: by name.
    :param concurrency: judgements at once, 1 or more.
    :param on_progress: called with (done, all) judgements.
    :raises ModelError: where a call fails for good.
    """
    found: dict[str, list[T | None]] = {name: [None] * len(items) for name in judges}
    todo = [(name, place) for place in range(len(items)) for name in judges]
    done = 0

    async def judge(at: tuple[str, int]) -> None:
        nonlocal done
        name, place = at
        with suppress(ReplyError):
            found[name][place] = await judges[name](items[place])
        done += 1
        if on_progress:
            on_progress(done, len(todo))

    await for_each(todo, judge, at_once=concurrency)
    return found
