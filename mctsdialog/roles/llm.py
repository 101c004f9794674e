"""The four roles played by language models (paper Appendix A, prompts in our own words).

A reply that cannot be used is shown to the model with the reason and asked for again, a bounded number of times; then
:class:`~mctsdialog.ReplyError` is raised. A failed reply never becomes a score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Self, TypeVar

from mctsdialog.dialogue import Domain, Scenario, Turn
from mctsdialog.errors import ConfigError, ReplyError, shortened
from mctsdialog.llm import ChatModel, ChatRequest, Completion, Message, Sampling
from mctsdialog.roles.prompts import Prompt
from mctsdialog.roles.replies import is_end, parse_judgement, parse_scores, parse_utterance

T = TypeVar("T")

PARAGRAPH = ("\n\n",)
"""An utterance is one paragraph: what a model adds after it is not said."""


class LLMRole:
    """What the four LLM roles share.

    :param model: answers the requests.
    :param domain: strategies, rubric, names and templates.
    :param scenario: the scene and description that the prompts show.
    :param sampling: how replies are drawn; each role has its own default.
    :param attempts: most replies asked for before :class:`~mctsdialog.ReplyError`, 1 or more.
    """

    role: ClassVar[str]
    default_sampling: ClassVar[Sampling]

    def __init__(
        self,
        model: ChatModel,
        domain: Domain,
        scenario: Scenario | None = None,
        *,
        sampling: Sampling | None = None,
        attempts: int = 3,
    ) -> None:
        if attempts < 1:
            raise ConfigError(f"attempts must be 1 or more, not {attempts}", field="attempts")
        self.model = model
        self.domain = domain
        self.sampling = sampling or self.default_sampling
        self.attempts = attempts
        self.prompt = Prompt(self.role, domain, scenario or Scenario())

    def for_scenario(self, scenario: Scenario) -> Self:
        """This role in another scenario."""
        return type(self)(self.model, self.domain, scenario, sampling=self.sampling, attempts=self.attempts)

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides the role's replies: model, sampling, a fingerprint of the template."""
        sampling = {name: value for name, value in asdict(self.sampling).items() if value not in (None, ())}
        return {"model": self.model.name, "sampling": sampling, "template": self.prompt.digest}

    async def _ask(
        self,
        messages: tuple[Message, ...],
        parse: Callable[[Completion], T],
        schema: Mapping[str, Any] | None = None,
    ) -> T:
        asked = messages
        parsed: dict[str, T] = {}

        def accept(text: str) -> None:
            parsed[text] = parse(Completion(text))

        for attempt in range(1, self.attempts + 1):
            request = ChatRequest(asked, self.sampling, schema, accept=accept)
            completion = await self.model.complete(request)
            if completion.text in parsed and completion.finish_reason == "stop":
                return parsed[completion.text]
            try:
                return parse(completion)
            except ValueError as error:
                problem = str(error)
                if attempt == self.attempts:
                    raise ReplyError(problem, role=self.role, attempts=attempt, last_reply=completion.text) from error
            asked = (*messages, *_correction(completion.text, problem))
        raise AssertionError("unreachable: the last attempt returns or raises")


def _correction(reply: str, problem: str) -> tuple[Message, Message]:
    """The bad reply and what is wrong with it, shown to the model."""
    return (
        Message("assistant", reply[:2000] or "(nothing)"),
        Message("user", f"That reply cannot be used: {shortened(problem)}. Answer again, in the form asked for."),
    )


class LLMSeeker(LLMRole):
    """The seeker: one utterance, or ``</end/>``. A reply cut by the token limit is kept up to its last sentence."""

    role = "seeker"
    default_sampling = Sampling(temperature=0.7, frequency_penalty=0.4, max_tokens=160, stop=PARAGRAPH)

    async def reply(self, history: Sequence[Turn], /) -> str | None:
        """The next seeker utterance, or None where the model ends the dialogue.

        :raises ReplyError: where no utterance came.
        """
        names = (self.domain.seeker.name, self.domain.supporter.name, "seeker", "supporter")

        def parse(completion: Completion) -> str | None:
            if is_end(completion.text):
                return None
            return parse_utterance(completion.text, names, cut=completion.finish_reason == "length")

        return await self._ask(self.prompt.chat(history, "seeker"), parse)


class LLMSupporter(LLMRole):
    """The supporter: one utterance. A reply cut by the token limit is kept up to its last sentence."""

    role = "supporter"
    default_sampling = Sampling(temperature=0.7, frequency_penalty=0.4, max_tokens=192, stop=PARAGRAPH)

    async def reply(self, history: Sequence[Turn], strategy: str, /) -> str:
        """The supporter's next utterance, carrying out ``strategy``.

        :raises ReplyError: where no utterance came.
        """
        sides = (self.domain.seeker.name, self.domain.supporter.name, "seeker", "supporter")
        names = (*sides, *self.domain.strategies.names)
        messages = self.prompt.chat(history, "supporter", strategy=self.domain.strategies[strategy])

        def parse(completion: Completion) -> str:
            return parse_utterance(completion.text, names, cut=completion.finish_reason == "length")

        return await self._ask(messages, parse)


class LLMStrategist(LLMRole):
    """The strategist: a whole number from 0 to 10 for every strategy, as JSON."""

    role = "strategist"
    default_sampling = Sampling(temperature=0.0, max_tokens=256)

    async def score(self, history: Sequence[Turn], /) -> Mapping[str, float]:
        """Raw scores by strategy, in the set's order.

        :raises ReplyError: where no whole set of scores came.
        """
        return await self._ask(
            self.prompt.transcript(history),
            lambda completion: parse_scores(completion.text, self.domain.strategies),
            whole_numbers_schema(self.domain.strategies.names, 10),
        )


class LLMJudge(LLMRole):
    """The judge: a whole number from 0 to the best score for every criterion, as JSON."""

    role = "judge"
    default_sampling = Sampling(temperature=0.0, max_tokens=128)

    async def judge(self, history: Sequence[Turn], /) -> Mapping[str, float]:
        """Scores of the last supporter turn by criterion.

        :raises ReplyError: where no whole set of scores came.
        """
        return await self._ask(
            self.prompt.transcript(history),
            lambda completion: parse_judgement(completion.text, self.domain),
            whole_numbers_schema(self.domain.criteria, self.domain.max_score),
        )


def whole_numbers_schema(names: Sequence[str], best: int) -> dict[str, Any]:
    """JSON Schema of an object that has a whole number from 0 to ``best`` under every name."""
    return {
        "type": "object",
        "properties": {name: {"type": "integer", "minimum": 0, "maximum": best} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }
