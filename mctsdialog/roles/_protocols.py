"""The four roles that drive a search, and the scores that the judge gives (paper section 3.1 and Appendix A).

Any object with the right async method is a role: a human, a rule, a trained model, an LLM. ``history`` is the
conversation so far. Seeker and Supporter see it without strategy names, Strategist and Judge with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mctsdialog.dialogue import Turn


@runtime_checkable
class Seeker(Protocol):
    """The side that brings the matter."""

    async def reply(self, history: Sequence[Turn], /) -> str | None:
        """The next seeker utterance, or None to end the dialogue. ``history`` may be empty: the seeker opens."""
        ...


@runtime_checkable
class Supporter(Protocol):
    """The side whose strategies are searched."""

    async def reply(self, history: Sequence[Turn], strategy: str, /) -> str:
        """The supporter's next utterance, carrying out ``strategy`` (a name of the domain's set)."""
        ...


@runtime_checkable
class Strategist(Protocol):
    """Rates the strategies for the supporter's next turn."""

    async def score(self, history: Sequence[Turn], /) -> Mapping[str, float]:
        """Raw scores from 0 to 10 by strategy name. The order does not matter; a strategy left out has prior 0."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Rates the last supporter turn of a history."""

    async def judge(self, history: Sequence[Turn], /) -> Mapping[str, float]:
        """Scores by criterion name (the emotional-support rubric: :class:`JudgeScores`), each from 0 to 4.

        A judge that was asked several times gives :class:`AveragedScores`.
        """
        ...


@runtime_checkable
class RejudgingJudge(Judge, Protocol):
    """A judge that gives another draw when it is asked again, so that a search can learn its noise and reduce it."""

    async def judge_again(self, history: Sequence[Turn], draw: int, /) -> Mapping[str, float]:
        """Scores as :meth:`~Judge.judge` gives them, drawn anew.

        :param draw: how often the turn has been judged before, 1 or more; equal draws are equal.
        """
        ...


@dataclass(frozen=True, eq=False)  # equal to any mapping with the same scores
class JudgeScores(Mapping[str, float]):
    """The four scores of the paper's rubric (Table 12), each from 0 to 4; a mapping by criterion name.

    :param empathy: E, understanding of the seeker's feelings.
    :param information: I, reasonableness and number of suggestions.
    :param humanoid: H, likeness to a human friend.
    :param strategy: S, fit of the strategy.
    """

    empathy: float
    information: float
    humanoid: float
    strategy: float

    def __getitem__(self, key: str) -> float:
        if key not in self.__dataclass_fields__:
            raise KeyError(key)
        value: float = getattr(self, key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dataclass_fields__)

    def __len__(self) -> int:
        return len(self.__dataclass_fields__)


@dataclass(frozen=True, eq=False)
class AveragedScores(Mapping[str, float]):
    """The mean of several independent judgements of one turn; a mapping by criterion name.

    A search keeps the draws beside the mean, so that the judge's noise is known.

    :param draws: the single judgements, one or more, all with the same criteria.
    """

    draws: tuple[Mapping[str, float], ...]

    def __getitem__(self, key: str) -> float:
        return math.fsum(draw[key] for draw in self.draws) / len(self.draws)

    def __iter__(self) -> Iterator[str]:
        return iter(self.draws[0])

    def __len__(self) -> int:
        return len(self.draws[0])
