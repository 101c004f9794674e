"""Conversations as a model's chat template writes them: the text and tokens of training, evaluation and serving.

There is one way from messages to tokens, and all of them take it: a reply is trained on in the very context in which
the model is asked for one, and up to the token that ends a reply, where generation stops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias, cast

from cso_train._template import THOUGHT, UNCLOSED, closing_thought, merging_system, opening_user, with_settings
from cso_train.errors import TrainDataError

Messages: TypeAlias = list[dict[str, str]]
SystemMode: TypeAlias = Literal["native", "merged"]
"""How the system prompt reaches the model: as its own message, or at the head of the first user message."""


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    chat_template: Any
    eos_token_id: int | None
    added_tokens_decoder: dict[int, Any]

    def get_chat_template(self) -> str:
        """The template in use."""
        ...

    def apply_chat_template(self, conversation: Messages, **options: Any) -> Any:
        """The conversation as text."""
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
_HERE = "probe-here"


@dataclass(frozen=True)
class ChatFormat:
    """How conversations are put before a model.

    :param tokenizer: the model's tokenizer; its chat template is the official one with what a run needs written in.
    :param system: "native", or "merged" for a template without a system role (Gemma 2).
    :param end: tokens that a template without an end of its own gets after a reply: the end of sequence, or none.
    :param after_end: tokens that the template writes behind the one that ends a reply.
    :param stops: the token that ends a reply, for generation; none where the template has no such token.
    """

    tokenizer: Tokenizer
    system: SystemMode = "native"
    end: tuple[int, ...] = ()
    after_end: int = 0
    stops: tuple[int, ...] = ()

    @classmethod
    def of(cls, tokenizer: Any, settings: Mapping[str, Any] | None = None) -> ChatFormat:
        """Find out what the tokenizer's template can do, and have it do what a run needs.

        :param settings: ``chat_template_kwargs``; thinking is off where the template has it and nothing is said.
        :raises TrainDataError: for a tokenizer without a template, one whose template drops what a role says, and a
            setting that the template does not use.
        """
        if not getattr(tokenizer, "chat_template", None):
            raise TrainDataError("the model's tokenizer has no chat template; use an instruction-tuned model")
        tokenizer.chat_template = with_settings(tokenizer.get_chat_template(), settings)
        missing = _dropped(tokenizer, _PROBE)
        system: SystemMode = "native"
        if missing is None or missing == ["system"]:
            system = "merged"
            tokenizer.chat_template = merging_system(tokenizer.chat_template)
            missing = _dropped(tokenizer, _PROBE)
        if missing is None or missing:
            lost = "any conversation" if missing is None else " and ".join(missing)
            raise TrainDataError(f"the model's chat template drops {lost}; use a model with a whole one")
        if _dropped(tokenizer, [_PROBE[0], *_PROBE[2:]]) is None:
            tokenizer.chat_template = opening_user(tokenizer.chat_template)
        if UNCLOSED.search(cls(tokenizer).opened(_PROBE[:-1])):
            tokenizer.chat_template = closing_thought(tokenizer.chat_template)
        return cls(tokenizer, system)._with_end()

    def _with_end(self) -> ChatFormat:
        """The same, with what stands after a reply."""
        text = self._text(_PROBE)
        closing = self._encoded(text[text.rindex(_PROBE[-1]["content"]) + len(_PROBE[-1]["content"]) :])
        marks = [place for place, token in enumerate(closing) if token in self.tokenizer.added_tokens_decoder]
        if marks:
            return replace(self, after_end=len(closing) - marks[0] - 1, stops=(closing[marks[0]],))
        eos = self.tokenizer.eos_token_id
        return self if eos is None else replace(self, end=(eos,))

    def check_trainable(self) -> None:
        """See that a reply stands in the template where the model is asked for it.

        :raises TrainDataError: if it does not, so that the model would be trained on another context than it gets.
        """
        self.continued(_PROBE[:-1], _PROBE[-1])

    def opened(self, prompt: Messages) -> str:
        """The prompt up to where the model's reply begins, as the model gets it."""
        return self._text(prompt, add_generation_prompt=True)

    def continued(self, prompt: Messages, reply: Mapping[str, str], opened: str | None = None) -> tuple[str, str]:
        """The prompt as the model gets it, and the reply with what the template writes around it.

        :param opened: of the prompt, where it is known.
        :raises TrainDataError: for a template that writes the reply elsewhere.
        """
        opened, whole = opened or self.opened(prompt), self._text([*prompt, dict(reply)])
        for begin in (opened, THOUGHT.sub("", opened)):  # a template may leave thoughts out of what was said
            if whole.startswith(begin):
                return opened, whole[len(begin) :]
        bare = self._text(prompt)
        asked = opened.removeprefix(bare) if opened.startswith(bare) else ""
        for mark in (asked, THOUGHT.sub("", asked)):  # a template may write the turns before otherwise by then
            if mark and mark in whole:
                return opened, whole[whole.rindex(mark) + len(mark) :]
        message = "the model's chat template does not write a reply where it asks for one, so that training would be"
        raise TrainDataError(f"{message} on another context than the model gets; use another model")

    def begun(self, prompt: Messages, beginning: str) -> str:
        """The prompt and the beginning of a reply, as they stand before the rest of the reply in training."""
        opened, said = self.continued(prompt, {"role": "assistant", "content": beginning + _HERE})
        return opened + said[: said.rindex(_HERE)]

    def tokens_of(self, text: str) -> list[int]:
        """The tokens of a text that is in the template already."""
        return self._encoded(text)

    def prompt_tokens(self, prompt: Messages) -> list[int]:
        """The prompt as the model gets it."""
        return self._encoded(self.opened(prompt))

    def turn_tokens(self, prompt: Messages, reply: Mapping[str, str]) -> tuple[list[int], list[int]]:
        """The tokens of a prompt, and those of a reply up to the one that ends it.

        :raises TrainDataError: as :meth:`continued`.
        """
        opened = self.opened(prompt)
        before = self._encoded(opened)
        return before, self._reply_tokens(prompt, reply, opened, before)

    def _reply_tokens(self, prompt: Messages, reply: Mapping[str, str], opened: str, before: list[int]) -> list[int]:
        _, said = self.continued(prompt, reply, opened)
        whole = self._encoded(opened + said)
        completion = whole[len(before) :] if whole[: len(before)] == before else self._encoded(said)
        return [*completion[: len(completion) - self.after_end], *self.end]

    def row_tokens(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as tokens: ``prompt_ids`` and the ids of each of its replies, or those of a dialogue.

        Of a turn, ``reply_ids`` has the ids of all its replies.

        :raises TrainDataError: as :meth:`continued`, and for a dialogue as :meth:`dialogue_tokens`.
        """
        if "messages" in row:
            return self.dialogue_tokens(row["messages"])
        prompt, opened = row["prompt"], self.opened(row["prompt"])
        before = self._encoded(opened)
        sides = [side for side in ("chosen", "rejected", "completion") if side in row]
        said = [self._reply_tokens(prompt, each[0], opened, before) for each in row.get("replies", ())]
        return {
            "prompt_ids": before,
            **({"reply_ids": said} if said else {}),
            **{f"{side}_ids": self._reply_tokens(prompt, row[side][0], opened, before) for side in sides},
        }

    def dialogue_tokens(self, messages: Messages) -> dict[str, list[int]]:
        """A dialogue's tokens, and which of them the supporter says (1) and which not (0).

        :raises TrainDataError: for a template that writes a turn otherwise once another follows it.
        """
        turns = [
            self.turn_tokens(messages[:place], message)
            for place, message in enumerate(messages)
            if message["role"] == "assistant"
        ]
        ids, mask = [*turns[-1][0], *turns[-1][1]], list[int]()
        for before, said in turns:
            if ids[: len(before) + len(said)] != [*before, *said]:
                raise TrainDataError("the chat template writes a turn otherwise once another follows it")
            mask += [0] * (len(before) - len(mask)) + [1] * len(said)
        return {"input_ids": ids, "assistant_masks": mask}

    def keeps_turns(self, messages: Messages) -> bool:
        """Whether a dialogue can be trained on whole: no turn is written otherwise once another follows it."""
        try:
            self.dialogue_tokens(messages)
        except TrainDataError:
            return False
        return True

    def words(self, message: Mapping[str, str]) -> int:
        """Tokens of what a message says, without those of the template."""
        return len(self._encoded(message["content"]))

    def length(self, messages: Messages, *, reply_follows: bool = False) -> int:
        """Tokens of the messages in the template."""
        return len(self._encoded(self._text(messages, add_generation_prompt=reply_follows)))

    def shortened(self, prompt: Messages, most: int) -> Messages:
        """A prompt of at most ``most`` tokens: its oldest turns go, never the system prompt or the last turn."""
        while self.length(prompt, reply_follows=True) > most:
            shorter = without_oldest(prompt)
            if shorter is None:
                return prompt
            prompt = shorter
        return prompt

    def _text(self, messages: Messages, **options: Any) -> str:
        return cast(str, self.tokenizer.apply_chat_template(messages, tokenize=False, **options))

    def _encoded(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def _dropped(tokenizer: Tokenizer, messages: Messages) -> list[str] | None:
    """The roles that the template drops; None where it refuses the conversation."""
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception:  # noqa: BLE001  # a template may raise anything: jinja2's errors, or its own
        return None
    lost = [message["role"] for message in messages if any(part not in text for part in message["content"].split())]
    return sorted(set(lost))


def without_oldest(prompt: Messages) -> Messages | None:
    """Without the oldest exchange; None where only the system prompt and the last turn are left."""
    start = int(prompt[0]["role"] == "system")
    turns = prompt[start:]
    if len(turns) <= 1:
        return None
    drop = 2 if turns[0]["role"] == "user" and len(turns) > 2 else 1
    return [*prompt[:start], *turns[drop:]]
