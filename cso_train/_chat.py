"""Rows in a model's own chat template: does it keep every role, and does every row fit the context.

Nothing here tokenises for training; it makes rows that the trainers' own tokenisation takes whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

from cso_train._data import Row, TrainingData
from cso_train.errors import TrainDataError

Messages: TypeAlias = list[dict[str, str]]
SystemMode: TypeAlias = Literal["native", "merged"]
"""How the system prompt reaches the model: as its own message, or at the head of the first user message."""

OPENING = "(The conversation begins.)"
"""What the user says where the supporter speaks first and the template wants the user to."""


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    chat_template: Any

    def apply_chat_template(self, conversation: Messages, **options: Any) -> Any:
        """The conversation as text or as token ids."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Tokens as text."""
        ...

    def encode(self, text: str, **options: Any) -> list[int]:
        """Text as tokens."""
        ...


_PROBE: Messages = [
    {"role": "system", "content": "probe-one"},
    {"role": "user", "content": "probe-two"},
    {"role": "assistant", "content": "probe-three"},
    {"role": "user", "content": "probe-four"},
    {"role": "assistant", "content": "probe-five"},
]


@dataclass(frozen=True)
class ChatFormat:
    """How conversations are put before a model.

    :param tokenizer: the model's tokenizer, with its official chat template.
    :param system: "native", or "merged" for a template without a system role (Gemma 2).
    :param user_first: whether a conversation that the supporter opens needs a user message before it.
    """

    tokenizer: Tokenizer
    system: SystemMode
    user_first: bool

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> ChatFormat:
        """Find out what the tokenizer's template can do.

        :raises TrainDataError: for a tokenizer without a template, or one whose template drops what a role says.
        """
        if not getattr(tokenizer, "chat_template", None):
            raise TrainDataError("the model's tokenizer has no chat template; use an instruction-tuned model")
        missing = _dropped(tokenizer, _PROBE)
        system: SystemMode = "native"
        if missing is None or missing == ["system"]:
            system = "merged"
            missing = _dropped(tokenizer, _merged(_PROBE))
        if missing is None or missing:
            lost = "any conversation" if missing is None else " and ".join(missing)
            raise TrainDataError(f"the model's chat template drops {lost}; use a model with a whole one")
        opened = [_PROBE[0], _PROBE[2], _PROBE[3], _PROBE[4]]
        user_first = bool(_dropped(tokenizer, _merged(opened) if system == "merged" else opened) is None)
        return cls(tokenizer, system, user_first)

    def messages(self, messages: Messages) -> Messages:
        """The messages as the template takes them."""
        turns = [message for message in messages if message["role"] != "system"]
        if self.user_first and turns and turns[0]["role"] == "assistant":
            head = messages[: len(messages) - len(turns)]
            messages = [*head, {"role": "user", "content": OPENING}, *turns]
        return _merged(messages) if self.system == "merged" else list(messages)

    def length(self, messages: Messages, *, reply_follows: bool = False) -> int:
        """Tokens of the messages in the template."""
        return len(self._ids(messages, add_generation_prompt=reply_follows))

    def shortened(self, prompt: Messages, most: int) -> Messages:
        """A prompt of at most ``most`` tokens: its oldest turns go, never the system prompt or the last turn."""
        while self.length(self.messages(prompt), reply_follows=True) > most:
            shorter = _without_oldest(prompt)
            if shorter is None:
                return prompt
            prompt = shorter
        return prompt

    def fit(self, data: TrainingData, max_length: int, max_completion: int) -> TrainingData:
        """Rows that fit the context: long replies are cut at their end, long prompts from their oldest turns.

        The system prompt and the seeker's last turn are never cut. What was cut is counted in the warnings.

        :param max_length: tokens of prompt and reply together.
        :param max_completion: tokens of a reply.
        :raises TrainDataError: where no row fits.
        """
        counts: Counter[str] = Counter(data.warnings)
        fitted = [self._fit(row, max_length, max_completion, counts) for row in data.rows]
        rows = tuple(row for row in fitted if row is not None)
        if not rows:
            message = f"no row fits a context of {max_length} tokens with the system prompt; raise max_length"
            raise TrainDataError(message, field="max_length")
        return replace(data, rows=rows, warnings=dict(counts))

    def _fit(self, row: Row, max_length: int, max_completion: int, counts: Counter[str]) -> Row | None:
        if "messages" in row:
            return self._fit_dialogue(row["messages"], max_length, counts)
        row = dict(row)
        sides = [key for key in ("chosen", "rejected", "completion") if key in row]
        for key in sides:
            row[key], cut = self._cut_reply(row[key], max_completion)
            counts["replies cut to the longest completion"] += cut
        prompt: Messages = row["prompt"]
        while max(self.length(self.messages([*prompt, *row[key]])) for key in sides) > max_length:
            shorter = _without_oldest(prompt)
            if shorter is None:
                counts["rows left out that do not fit the context"] += 1
                return None
            prompt = shorter
        counts["prompts cut from their oldest turns"] += prompt is not row["prompt"]
        row["prompt"] = self.messages(prompt)
        return row

    def _fit_dialogue(self, messages: Messages, max_length: int, counts: Counter[str]) -> Row | None:
        kept = messages
        while self.length(self.messages(kept)) > max_length:
            shorter = _without_newest(kept)
            if shorter is None:
                counts["rows left out that do not fit the context"] += 1
                return None
            kept = shorter
        counts["dialogues cut at their end"] += kept is not messages
        return {"messages": self.messages(kept)}

    def dialogue_tokens(self, messages: Messages) -> dict[str, list[int]]:
        """A dialogue's tokens, and which of them the supporter says (1) and which not (0).

        A turn's tokens are those that the template adds to what stood before it, the mark that the assistant speaks
        left out and the end of the turn counted in.

        :raises TrainDataError: for a template that writes a turn otherwise once another follows it.
        """
        ids, mask = self._ids(messages), list[int]()
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                before = self._ids(messages[:index], add_generation_prompt=True)
                after = self._ids(messages[: index + 1])
                if ids[: len(after)] != after or after[: len(before)] != before:
                    raise TrainDataError("the chat template rewrites earlier turns, so that sft cannot tell them apart")
                mask += [0] * (len(before) - len(mask)) + [1] * (len(after) - len(before))
        return {"input_ids": ids, "assistant_masks": mask + [0] * (len(ids) - len(mask))}

    def _ids(self, messages: Messages, **options: Any) -> list[int]:
        found = self.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)
        return list(found["input_ids"])

    def _cut_reply(self, reply: Messages, most: int) -> tuple[Messages, bool]:
        tokens = self.tokenizer.encode(reply[0]["content"], add_special_tokens=False)
        if len(tokens) <= most:
            return reply, False
        return [{"role": "assistant", "content": self.tokenizer.decode(tokens[:most])}], True


def _dropped(tokenizer: Tokenizer, messages: Messages) -> list[str] | None:
    """The roles that the template drops; None where it refuses the conversation."""
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception:  # noqa: BLE001  # a template may raise anything: jinja2's errors, or its own
        return None
    lost = [message["role"] for message in messages if any(part not in text for part in message["content"].split())]
    return sorted(set(lost))


def _merged(messages: Messages) -> Messages:
    """The system prompt at the head of the first user message."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    system, rest = messages[0]["content"], messages[1:]
    if rest and rest[0]["role"] == "user":
        return [{"role": "user", "content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": system}, *rest]


def _without_oldest(prompt: Messages) -> Messages | None:
    """Without the oldest exchange; None where only the system prompt and the last turn are left."""
    start = int(prompt[0]["role"] == "system")
    turns = prompt[start:]
    if len(turns) <= 1:
        return None
    drop = 2 if turns[0]["role"] == "user" and len(turns) > 2 else 1
    return [*prompt[:start], *turns[drop:]]


def _without_newest(messages: Messages) -> Messages | None:
    """Without the last exchange; None where only one is left. It still ends with the assistant."""
    replies = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    return messages[: replies[-2] + 1] if len(replies) > 1 else None
