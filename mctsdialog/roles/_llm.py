"""The roles played by language models (paper Appendix A, prompts in our own words).

A reply that cannot be used is shown to the model with the reason and asked for again, a bounded number of times; then
:class:`~mctsdialog.ReplyError` is raised. A failed reply never becomes a score, and what was not said (a refusal, a
thought) never becomes a turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, ClassVar, Self, TypeVar

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain, Scenario, Turn
from mctsdialog.errors import ConfigError, shortened
from mctsdialog.llm import ChatModel, ChatRequest, Completion, Message, Sampling
from mctsdialog.llm.base import PARAGRAPH_STOP, identity_of
from mctsdialog.roles._asking import ask, whole
from mctsdialog.roles._checks import checked_text
from mctsdialog.roles._prompts import PROMPT_VERSION, Prompt
from mctsdialog.roles._replies import parse_scores
from mctsdialog.roles._utterance import Labels, Utterance, read_utterance

T = TypeVar("T")


@checked()
class LLMRole:
    """What the four LLM roles share.

    :param model: answers the requests.
    :param domain: strategies, rubric, names and templates.
    :param scenario: the scene and description that the prompts show.
    :param sampling: how replies are drawn; each role has its own default.
    :param attempts: most replies asked for before :class:`~mctsdialog.ReplyError`, 1 or more.
    :param prompts: version of the prompts; 1 asks as version 0.1 did, to resume what it began.
    """

    role: ClassVar[str]
    default_sampling: ClassVar[Sampling]
    speaks: ClassVar[bool] = False

    def __init__(
        self,
        model: ChatModel,
        domain: Domain,
        scenario: Scenario | None = None,
        *,
        sampling: Sampling | None = None,
        attempts: int = 3,
        prompts: int = PROMPT_VERSION,
    ) -> None:
        if attempts < 1:
            raise ConfigError(f"attempts must be 1 or more, not {attempts}", field="attempts")
        self.model = model
        self.domain = domain
        self.attempts = attempts
        self.scenario = scenario or Scenario()
        self.prompts = prompts
        self._sampling = None if sampling == self.default_sampling else sampling
        self.sampling = self._sampling or self._default(prompts)
        self.prompt = Prompt(self.role, domain, self.scenario, prompts)
        self.removed: Counter[str] = Counter()
        """What was taken out of utterances beside labels: "echoes" of the prompt, further "turns" and "paragraphs"."""

    def _default(self, prompts: int) -> Sampling:
        stops = self.speaks and prompts == 1
        return replace(self.default_sampling, stop=PARAGRAPH_STOP) if stops else self.default_sampling

    def for_scenario(self, scenario: Scenario) -> Self:
        """This role in another scenario."""
        made = copy(self)
        made.scenario, made.prompt = scenario, self.prompt.for_scenario(scenario)
        return made

    def for_prompts(self, version: int) -> Self:
        """This role with prompts of another version."""
        made = copy(self)
        made.prompts, made.prompt = version, Prompt(self.role, self.domain, self.scenario, version)
        made.sampling = self._sampling or self._default(version)
        return made

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides the role's replies: model, sampling, a fingerprint of the template, version of the prompts."""
        sampling = {name: value for name, value in asdict(self.sampling).items() if value not in (None, ())}
        known: dict[str, Any] = {"model": self.model.name, "sampling": sampling, "template": self.prompt.digest}
        if self.prompts == 1:
            return known
        identity = identity_of(self.model)
        return known | {"prompts": self.prompts} | ({"identity": identity} if identity != self.model.name else {})

    async def _ask(
        self,
        messages: tuple[Message, ...],
        parse: Callable[[Completion], T],
        schema: Mapping[str, Any] | None = None,
        *,
        sample: int = 0,
        step: int = 1,
        logprobs: int = 0,
    ) -> T:
        request = ChatRequest(
            messages,
            self.sampling,
            schema,
            sample,
            role=self.role,
            logprobs=logprobs,
            prompt_version=self.prompts,
            first_paragraph=self.speaks,
        )
        return await ask(
            self.model, request, parse, role=self.role, attempts=self.attempts, correct=_correction, step=step
        )

    async def _say(self, messages: tuple[Message, ...], labels: Labels, echoes: tuple[str, ...]) -> Utterance:
        """One utterance; what was taken out of it is counted."""

        def parse(completion: Completion) -> Utterance:
            said = read_utterance(completion.text, labels, echoes=echoes, cut=completion.finish_reason == "length")
            return said if said.ended and self.role == "seeker" else said._replace(text=checked_text(said.text))

        said = await self._ask(messages, parse)
        if said.removed:
            self.removed.update(said.removed)
        return said


def _correction(reply: str, problem: str) -> tuple[Message, Message]:
    """The bad reply and what is wrong with it, shown to the model."""
    return (
        Message("assistant", reply[:2000] or "(nothing)"),
        Message("user", f"That reply cannot be used: {shortened(problem)}. Answer again, in the form asked for."),
    )


class LLMSeeker(LLMRole):
    """The seeker: one utterance, or ``</end/>``. A reply cut by the token limit is kept up to its last sentence."""

    role = "seeker"
    speaks = True
    default_sampling = Sampling(temperature=0.7, frequency_penalty=0.4, max_tokens=160)

    async def reply(self, history: Sequence[Turn], /) -> str | None:
        """The next seeker utterance, or None where the model ends the dialogue.

        :raises ReplyError: if no utterance came.
        :raises ModelRefusedError: if the model or its provider refuses every time.
        """
        said = await self._say(self.prompt.chat(history, "seeker"), self._labels, self.prompt.echoes())
        return None if said.ended else said.text

    @cached_property
    def _labels(self) -> Labels:
        return seeker_labels(self.domain)


class LLMSupporter(LLMRole):
    """The supporter: one utterance. A reply cut by the token limit is kept up to its last sentence."""

    role = "supporter"
    speaks = True
    default_sampling = Sampling(temperature=0.7, frequency_penalty=0.4, max_tokens=192)

    async def reply(self, history: Sequence[Turn], strategy: str, /) -> str:
        """The supporter's next utterance, carrying out ``strategy``.

        :raises ReplyError: if no utterance came.
        :raises ModelRefusedError: if the model or its provider refuses every time.
        """
        if strategy not in self.domain.strategies.names:
            known = ", ".join(self.domain.strategies.names)
            raise ConfigError(
                f"there is no strategy {strategy!r} in {self.domain.name}; there are {known}", field="strategy"
            )
        carried_out = self.domain.strategies[strategy]
        messages = self.prompt.chat(history, "supporter", strategy=carried_out)
        echoes = self.prompt.echoes(carried_out)
        if echoes[0]:
            echoes = (messages[-1].content, *echoes)  # the seeker's turn with the instruction after it
        return (await self._say(messages, self._labels, echoes)).text

    @cached_property
    def _labels(self) -> Labels:
        return supporter_labels(self.domain)


def seeker_labels(domain: Domain) -> Labels:
    """Names that may stand before a seeker's utterance."""
    strategies = (*domain.strategies.names, *domain.strategies.aliases)
    return Labels(_names_of(domain, "seeker"), _names_of(domain, "supporter"), bracketed=strategies)


def supporter_labels(domain: Domain) -> Labels:
    """Names that may stand before a supporter's utterance."""
    strategies = (*domain.strategies.names, *domain.strategies.aliases)
    return Labels(_names_of(domain, "supporter"), _names_of(domain, "seeker"), strategies)


def _names_of(domain: Domain, side: str) -> tuple[str, ...]:
    name = domain.seeker.name if side == "seeker" else domain.supporter.name
    return tuple(dict.fromkeys((name, side)))


class LLMStrategist(LLMRole):
    """The strategist: a whole number from 0 to 10 for every strategy, as JSON."""

    role = "strategist"
    default_sampling = Sampling(temperature=0.0, max_tokens=256)

    async def score(self, history: Sequence[Turn], /) -> Mapping[str, float]:
        """Raw scores by strategy, in the set's order.

        :raises ReplyError: if no whole set of scores came.
        :raises ModelRefusedError: if the model or its provider refuses every time.
        """
        return await self._ask(
            self.prompt.transcript(history),
            lambda completion: parse_scores(whole(completion), self.domain.strategies),
            whole_numbers_schema(self.domain.strategies.names, 10),
        )


def whole_numbers_schema(names: Sequence[str], best: int) -> dict[str, Any]:
    """JSON Schema of an object that has a whole number from 0 to ``best`` under every name."""
    return {
        "type": "object",
        "properties": {name: {"type": "integer", "minimum": 0, "maximum": best} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }
