"""Decoding baselines (paper section 5.1, Appendix E): no training, only another way to ask."""

from __future__ import annotations

import random
from collections.abc import Sequence

from cso_train._chat import Messages
from cso_train.evaluation._contexts import TestCase
from cso_train.evaluation._replies import Progress, Replies
from mctsdialog.preferences import spoken
from mctsdialog.roles import one_block

_REFINE = (
    "Improve your last answer to what I said: choose the strategy again and write a better answer. Give the new answer "
    "alone, in the same form, (Strategy) answer."
)
_REFLECT = (
    "Look at your last answer to what I said. In a few sentences: does its strategy fit the moment, and what in the "
    "answer should be better? Do not write a new answer yet."
)
_USE = "Now write the better answer by what you noted. Give it alone, in the same form, (Strategy) answer."


async def plain(replies: Replies, prompts: Sequence[Messages], on_progress: Progress | None = None) -> list[str]:
    """The model's own replies."""
    return await replies.answer(prompts, on_progress)


async def direct_refine(
    replies: Replies, prompts: Sequence[Messages], on_progress: Progress | None = None
) -> list[str]:
    """Direct-Refine: the model rewrites its own reply once."""
    first = await replies.answer(prompts, on_progress)
    asked = [[*prompt, *_exchange(reply, _REFINE)] for prompt, reply in zip(prompts, first, strict=True)]
    return await replies.answer(asked, on_progress)


async def self_refine(replies: Replies, prompts: Sequence[Messages], on_progress: Progress | None = None) -> list[str]:
    """Self-Refine (Madaan et al., 2023): the model criticises its own reply, then rewrites it by the critique."""
    first = await replies.answer(prompts, on_progress)
    asked = [[*prompt, *_exchange(reply, _REFLECT)] for prompt, reply in zip(prompts, first, strict=True)]
    notes = await replies.answer(asked, on_progress)
    again = [[*prompt, *_exchange(note, _USE)] for prompt, note in zip(asked, notes, strict=True)]
    return await replies.answer(again, on_progress)


def with_example(prompts: Sequence[Messages], examples: Sequence[TestCase], seed: int = 0) -> list[Messages]:
    """w/ Example: every system prompt with a conversation of the training set, drawn by ``seed``.

    :param examples: at least one.
    """
    generator = random.Random(seed)  # noqa: S311  # no secret
    return [_shown(prompt, generator.choice(list(examples))) for prompt in prompts]


def _shown(prompt: Messages, example: TestCase) -> Messages:
    names = {"user": "Seeker", "assistant": "Supporter"}
    lines = [
        f"{names[each['role']]}: {one_block(each['content'])}" for each in example.prompt if each["role"] != "system"
    ]
    lines.append(f"Supporter: {spoken(example.strategy, one_block(example.text))}")
    shown = "An example from another conversation:\n" + "\n".join(lines)
    head = prompt[0]["content"] if prompt and prompt[0]["role"] == "system" else ""
    rest = [each for each in prompt if each["role"] != "system"]
    return [{"role": "system", "content": f"{head}\n\n{shown}".strip()}, *rest]


def _exchange(reply: str, request: str) -> Messages:
    return [{"role": "assistant", "content": reply or "(no answer)"}, {"role": "user", "content": request}]
