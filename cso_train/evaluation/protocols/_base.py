"""What a protocol of scoring conversations is, and what it scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, runtime_checkable
from typing import Protocol as Interface

from cso_train.evaluation._agreement import Outcome, Verdict, outcome
from mctsdialog.dialogue import Dialogue, Domain, Scenario, Turn
from mctsdialog.seekers import InnerState


@dataclass(frozen=True)
class Episode:
    """One conversation of a system with a simulated seeker.

    :param system: name of the system.
    :param card: id of the seeker's card.
    :param repeat: which conversation of the system with this card, from 0.
    :param dialogue: what was said, supporter turns with their strategies where the system names them.
    :param states: what the seeker felt at each of its turns; one more than its turns where it ended the conversation.
    :param rounds: most supporter turns that there could have been.
    :param ended: whether the seeker ended the conversation.
    :param failure: "supporter: ..." where the system gave no reply that can be used, "seeker: ..." where the seeker did
        not; None for a whole conversation.
    """

    system: str
    card: str
    repeat: int
    dialogue: Dialogue
    states: tuple[InnerState, ...]
    rounds: int
    ended: bool = False
    failure: str | None = None

    @property
    def counts(self) -> bool:
        """Whether the conversation is scored: a system that fails is, at what it reached; a seeker's failure is not."""
        return bool(self.states) and not (self.failure or "").startswith("seeker")

    @property
    def replies(self) -> tuple[Turn, ...]:
        """The supporter's turns."""
        return tuple(turn for turn in self.dialogue.turns if turn.speaker == "supporter")

    @property
    def words(self) -> int:
        """Words of the supporter's turns; characters of scripts that put no spaces between words count alike."""
        return sum(len(turn.text.split()) for turn in self.replies)


@dataclass(frozen=True)
class Metric:
    """A number that a protocol gives.

    :param meaning: what it is, with its unit or range.
    :param higher: whether more of it is better.
    """

    meaning: str
    higher: bool = True


@dataclass(frozen=True)
class Question:
    """What a judge is asked.

    :param about: the conversations, by their place: one, or two to be compared.
    :param turn: of a question about one supporter turn, the turn's place in the dialogue; None for whole conversations.
    """

    about: tuple[Episode, ...]
    turn: int | None = None

    @property
    def content(self) -> list[Any]:
        """What decides the answer, as JSON values."""
        texts = [[[each.speaker, each.text, each.strategy] for each in one.dialogue.turns] for one in self.about]
        scenes = [one.dialogue.scenario.model_dump(include={"scene", "description"}) for one in self.about]
        return [texts, scenes, self.turn]


@runtime_checkable
class ConversationJudge(Interface):
    """Rates supporter turns, and says which of two conversations is better."""

    @property
    def name(self) -> str:
        """In reports."""
        ...

    @property
    def identity(self) -> str:
        """What decides its judgements; those of another identity are asked for again."""
        ...

    async def rate(self, scenario: Scenario, history: Sequence[Turn], sample: int, /) -> Mapping[str, float]:
        """Scores of the last supporter turn by the domain's criteria.

        :param sample: index of an independent judgement.
        :raises ReplyError: if no judgement that can be used came.
        """
        ...

    async def prefer(
        self, criteria: Mapping[str, str], first: Dialogue, second: Dialogue, sample: int, /
    ) -> Mapping[str, Verdict]:
        """Which of two conversations is better by each criterion; they were had with the same seeker.

        :param criteria: question by criterion.
        :param sample: index of an independent judgement.
        :raises ReplyError: if no judgement that can be used came.
        """
        ...


class ArenaProtocol(ABC):
    """What all protocols have.

    :param domain: criteria and weights of the judge.
    :param success: emotion, 0 to 100, from which a conversation counts as a success.
    :param failure: emotion below which it counts as a failure.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    version: ClassVar[int] = 1

    def __init__(self, domain: Domain, *, success: float = 80.0, failure: float = 10.0) -> None:
        self.domain, self.success, self.failure = domain, success, failure

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """What it gives, by name; the first is its headline."""

    @property
    def headline(self) -> str:
        """The metric that systems are ranked by."""
        return next(iter(self.metrics))


class JudgedProtocol(ArenaProtocol):
    """A protocol that asks a judge."""

    @abstractmethod
    async def ask(self, judge: ConversationJudge, question: Question, sample: int) -> Any:
        """A judge's answer, as JSON values.

        :raises ReplyError: if no answer that can be used came.
        """

    @abstractmethod
    def is_answer(self, said: Any) -> bool:
        """Whether JSON values out of a journal are an answer of :meth:`ask`."""


class EpisodeProtocol(ArenaProtocol):
    """A protocol that gives numbers for each conversation. One that asks a judge is a :class:`JudgedProtocol`, too."""

    def questions(self, episode: Episode) -> list[Question]:
        """What a judge is asked about a conversation; nothing by default."""
        return []

    @abstractmethod
    def values(self, episode: Episode, answers: Sequence[Any]) -> dict[str, float]:
        """The metrics of a conversation; one that it has none of is left out.

        :param answers: of one judge, as many as questions; None for one that cannot be used.
        """


class PairProtocol(JudgedProtocol):
    """A protocol that compares two systems' conversations with the same seeker, in both orders."""

    criteria: ClassVar[Mapping[str, str]]

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The share of comparisons won, ties as halves: over all criteria, then by criterion."""
        shares = {name: Metric(f"share won in {name}, ties as halves, 0 to 1") for name in self.criteria}
        return {"won": Metric("share won over all criteria, ties as halves, 0 to 1"), **shares}

    async def ask(self, judge: ConversationJudge, question: Question, sample: int) -> dict[str, list[Verdict]]:
        """By criterion, the verdict with the first conversation standing first, and with the second standing first."""
        first, second = (each.dialogue for each in question.about)
        straight = await judge.prefer(self.criteria, first, second, sample)
        swapped = await judge.prefer(self.criteria, second, first, sample)
        return {name: [straight[name], swapped[name]] for name in self.criteria}

    def is_answer(self, said: Any) -> bool:
        """Whether there are two verdicts by every criterion."""
        known = ("first", "second", "tie")
        return isinstance(said, dict) and all(
            isinstance(both := said.get(name), list) and len(both) == 2 and all(each in known for each in both)
            for name in self.criteria
        )

    def outcomes(self, answer: Mapping[str, Sequence[Verdict]]) -> dict[str, Outcome]:
        """What an answer means for the first system, by criterion: a win or loss only where both orders agree."""
        return {name: outcome(*answer[name]) for name in self.criteria}
