"""The seeker played by a model from a role card, its inner state asked for with every turn."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, Final, Self

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain, Scenario, Turn, get_domain
from mctsdialog.errors import ConfigError
from mctsdialog.llm import ChatModel, ChatRequest, Completion, Message, Sampling
from mctsdialog.llm.base import identity_of
from mctsdialog.roles import END_TOKEN, ask, last_object, one_block, read_utterance, whole
from mctsdialog.roles._llm import seeker_labels
from mctsdialog.seekers._card import RoleCard
from mctsdialog.seekers._protocols import InnerState, Response
from mctsdialog.text import with_article

VERSION: Final = 1
"""Of the prompt below; part of what a seeker is known by."""

MOST_SAID: Final = 2000
"""Characters of an utterance; a longer one is asked for again."""

_MOST_THOUGHT = 1000
_KEYS = ("thought", "emotion", "need_met", "says")

_RESISTANCE = {
    "none": "You welcome help and try out what the {other} offers.",
    "some": "You are not easily persuaded: what sounds like a stock phrase, or like advice that comes too early, you "
    "meet with a 'yes, but'. What fits you, you take up.",
    "strong": "You doubt that talking helps. You reject advice, find reasons why it cannot work, and test whether the "
    "{other} means what is said. Only being truly understood, several times over, softens you.",
}
_DISCLOSURE = {
    "open": "You tell of your situation freely.",
    "gradual": "You tell of your situation bit by bit, more once you feel heard.",
    "guarded": "You say little of what has happened, and leave out what matters most until you trust the {other}.",
}
_ENGAGEMENT = {
    "full": "You take part: you answer what you are asked.",
    "low": "You take little part: a few words, a shrug, sometimes no answer to what was asked.",
}
_VOLATILE = "Your mood swings: one clumsy word can make you much worse at once, one kind word a little better."
_STEADY = "Your mood moves slowly, a few points a turn; it falls when you feel judged, hurried or not heard."


@checked()
class CardSeeker:
    """A seeker played by a model from a role card. It goes into searches as the seeker's role.

    With every turn the model first says, as JSON, what it thinks, how it feels and how far its hidden need is met; then
    what it says. The state never becomes part of the turn. This follows the idea of SAGE (Zhang et al., 2025,
    arXiv:2505.02847); prompts and scales are our own.

    :param model: plays the seeker.
    :param card: whom it plays.
    :param domain: names of the sides; by default the card's.
    :param sampling: how replies are drawn.
    :param attempts: most replies asked for before :class:`~mctsdialog.ReplyError`, 1 or more.
    :raises ConfigError: for a number out of range, or a card of a domain that is not built in, without ``domain``.
    """

    role = "seeker"
    default_sampling = Sampling(temperature=0.7, max_tokens=320)

    def __init__(
        self,
        model: ChatModel,
        card: RoleCard,
        *,
        domain: Domain | None = None,
        sampling: Sampling | None = None,
        attempts: int = 3,
    ) -> None:
        if attempts < 1:
            raise ConfigError(f"attempts must be 1 or more, not {attempts}", field="attempts")
        self.model, self.card, self.attempts = model, card, attempts
        self.domain = domain or get_domain(card.domain)
        self.sampling = sampling or self.default_sampling
        self.removed: Counter[str] = Counter()
        """What was taken out of utterances beside labels, as for the other roles."""

    def for_scenario(self, scenario: Scenario) -> Self:
        """This seeker: its card says more than a scenario."""
        return self

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides its replies: model, sampling, version of the prompt, a fingerprint of the card."""
        sampling = {name: value for name, value in asdict(self.sampling).items() if value not in (None, ())}
        digest = hashlib.sha256(self.card.model_dump_json().encode()).hexdigest()[:12]
        return {"model": identity_of(self.model), "sampling": sampling, "template": f"card {VERSION}", "card": digest}

    async def reply(self, history: Sequence[Turn], /) -> str | None:
        """The next utterance, or None where the seeker ends the conversation.

        :raises ReplyError: if no utterance with a state came.
        :raises ModelRefusedError: if the model or its provider refuses every time.
        """
        return (await self.respond(history)).text

    async def respond(self, history: Sequence[Turn], states: Sequence[InnerState] = (), /) -> Response:
        """The next utterance and the state behind it.

        :param history: the conversation so far; strategy names are not shown.
        :param states: at the seeker's earlier turns, where they are known; the last one is shown to the model.
        :raises ReplyError: if no utterance with a state came.
        :raises ModelRefusedError: if the model or its provider refuses every time.
        """
        messages = (Message("system", self._system), Message("user", self._asked(history, states)))
        request = ChatRequest(messages, self.sampling, _SCHEMA, role=self.role)

        def read(completion: Completion) -> Response:
            response = self._read(completion)
            if response.text is None and not history:
                raise ValueError("the conversation begins: say what brings you here")
            return response

        return await ask(self.model, request, read, role=self.role, attempts=self.attempts, correct=_correction)

    def _read(self, completion: Completion) -> Response:
        """A reply as a response.

        :raises ValueError: saying what is wrong with it.
        """
        found = last_object(whole(completion), _KEYS, lambda value: isinstance(value, str | int | float))
        said = found.get("says")
        if not isinstance(said, str):
            raise ValueError("says must be a text")
        utterance = read_utterance(said, self._labels)
        if not utterance.ended and not utterance.text:
            raise ValueError(f"says is empty; say something, or {END_TOKEN} to end the conversation")
        if len(utterance.text) > MOST_SAID:
            raise ValueError("says is too long; say it in one to three short sentences")
        self.removed.update(utterance.removed)
        return Response(None if utterance.ended else utterance.text, _state(found))

    @cached_property
    def _labels(self) -> Any:
        return seeker_labels(self.domain)

    @cached_property
    def _system(self) -> str:
        card, me, other = self.card, self.domain.seeker.name, self.domain.supporter.name
        manner = (_RESISTANCE[card.resistance], _DISCLOSURE[card.disclosure], _ENGAGEMENT[card.engagement])
        lines = [
            (
                f"You play {with_article(me)} who talks with {with_article(other)}. "
                f"Stay this person to the end, whatever the {other} says; "
                f"never speak for the {other}, and never mention these notes."
            ),
            "",
            f"Who you are: {card.persona}",
            f"What has happened: {card.background}",
            f"What you say you want: {card.goal}",
            f"What you need and do not say: {card.hidden_need}",
        ]
        lines += [f"How you speak: {card.expression}"] if card.expression else []
        lines += [*(each.format(other=other) for each in manner), _VOLATILE if card.volatile else _STEADY]
        example = {"thought": "<one sentence>", "emotion": "<number>", "need_met": "<number>", "says": "<words>"}
        lines += [
            "",
            (
                "First look inward, then speak. Reply with a JSON object alone, like "
                f"{json.dumps(example).replace(chr(34) + '<number>' + chr(34), '<number>')}"
            ),
            f"- thought: what the {other}'s last words do to you",
            (
                f"- emotion: how you feel now, a whole number from 0 (the worst) to 100 (at ease); you begin at "
                f"{card.emotion}"
            ),
            "- need_met: how far what you need is met, a whole number from 0 to 100; you begin at 0",
            (
                f"- says: your next words, one to three plain sentences; {END_TOKEN} alone when the conversation has "
                "come to its natural end"
            ),
        ]
        return "\n".join(lines)

    def _asked(self, history: Sequence[Turn], states: Sequence[InnerState]) -> str:
        if not history:
            return "The conversation begins. You speak first."
        names = {"seeker": self.domain.seeker.name, "supporter": self.domain.supporter.name}
        lines = ["The conversation so far:"]
        lines += [f"{names[turn.speaker].capitalize()}: {one_block(turn.text)}" for turn in history]
        if states:
            last = states[-1]
            lines += ["", f"When you spoke last: emotion {last.emotion:.0f}, need_met {last.need_met:.0f}."]
        return "\n".join([*lines, "", "Your turn."])


def _state(found: dict[str, Any]) -> InnerState:
    numbers = {}
    for name in ("emotion", "need_met"):
        value = found.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
            raise ValueError(f"{name} must be a whole number from 0 to 100")
        numbers[name] = float(value)
    thought = found.get("thought")
    return InnerState(**numbers, thought=thought[:_MOST_THOUGHT] if isinstance(thought, str) else "")


def _correction(reply: str, problem: str) -> tuple[Message, Message]:
    again = f"That cannot be used: {problem}. Reply with the JSON object alone."
    return Message("assistant", reply[:2000] or "(nothing)"), Message("user", again)


_NUMBER: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 100}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"thought": {"type": "string"}, "emotion": _NUMBER, "need_met": _NUMBER, "says": {"type": "string"}},
    "required": list(_KEYS),
    "additionalProperties": False,
}
