"""Asking language models for judgements as JSON, again where a reply cannot be used; every judge of every item."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from mctsdialog.concurrency import for_each
from mctsdialog.errors import ModelRefusedError, ReplyError
from mctsdialog.llm import ChatModel, ChatRequest, Message, Sampling
from mctsdialog.roles import ask, whole

I = TypeVar("I")  # noqa: E741  # an item
T = TypeVar("T")


def dialogue_of(history: Sequence[str]) -> str:
    """What tells the dialogue of a context from others: a hash of its first three turns."""
    return hashlib.sha256("\n".join(history[:3]).encode()).hexdigest()[:16]


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

    After a refusal the same is asked again.

    :param parse: reads a reply; raises :class:`ValueError` for one that cannot be used.
    :param attempts: most replies asked for, 1 or more.
    :param sample: index of an independent judgement of the same thing.
    :raises ReplyError: if the replies stay unusable.
    :raises ModelRefusedError: if the model or its provider refuses every time.
    :raises ModelError: if a call fails for good.
    """
    messages = (Message("system", system), Message("user", asked))
    sampling = Sampling(temperature=temperature, max_tokens=120)
    request = ChatRequest(messages, sampling, schema, sample, role="judge")
    return await ask(
        model,
        request,
        lambda completion: parse(whole(completion)),
        role="judge",
        attempts=attempts,
        correct=_correction,
        step=_STEP,
    )


_STEP = 1000
"""Distance of another draw's sample index, beyond those of independent judgements."""


def _correction(reply: str, problem: str) -> tuple[Message, Message]:
    again = f"That cannot be used: {problem}. Reply with the JSON object alone."
    return Message("assistant", reply[:2000] or "..."), Message("user", again)


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
    """Every judge's judgement of every item; None where its replies stay unusable, or it refuses.

    :param judges: by name.
    :param concurrency: judgements at once, 1 or more.
    :param on_progress: called with (done, all) judgements.
    :raises ModelError: if a call fails for good.
    """
    found: dict[str, list[T | None]] = {name: [None] * len(items) for name in judges}
    todo = [(name, place) for place in range(len(items)) for name in judges]
    done = 0

    async def judge(at: tuple[str, int]) -> None:
        nonlocal done
        name, place = at
        with suppress(ReplyError, ModelRefusedError):
            found[name][place] = await judges[name](items[place])
        done += 1
        if on_progress:
            on_progress(done, len(todo))

    await for_each(todo, judge, concurrency=concurrency)
    return found
