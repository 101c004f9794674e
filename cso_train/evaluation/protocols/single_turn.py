"""The paper's scores of single turns, over all supporter turns of a conversation.

Source: the paper's judge (Table 12) and reward (eq. 2 without its bias), as in the search: each supporter turn is rated
on the conversation up to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from cso_train.evaluation.protocols._base import (
    ConversationJudge,
    Episode,
    EpisodeProtocol,
    JudgedProtocol,
    Metric,
    Question,
)


class SingleTurn(EpisodeProtocol, JudgedProtocol):
    """The weighted mean of the judge's scores, averaged over turns, and each criterion."""

    name = "single_turn"
    title = "Single turns"
    source = "the paper's judge (Table 12) and reward (eq. 2) on each supporter turn"

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """By name."""
        best = self.domain.max_score
        return {
            "q": Metric(f"weighted mean of the judge's scores (eq. 2 without its bias), 0 to {best}"),
            **{name: Metric(f"{name}, 0 to {best}") for name in self.domain.criteria},
        }

    def questions(self, episode: Episode) -> list[Question]:
        """One a supporter turn."""
        turns = episode.dialogue.turns
        return [Question((episode,), at) for at, turn in enumerate(turns) if turn.speaker == "supporter"]

    async def ask(self, judge: ConversationJudge, question: Question, sample: int) -> dict[str, float]:
        """The scores of a turn by criterion."""
        assert question.turn is not None
        dialogue = question.about[0].dialogue
        scores = await judge.rate(dialogue.scenario, dialogue.turns[: question.turn + 1], sample)
        return {name: float(scores[name]) for name in self.domain.criteria}

    def is_answer(self, said: Any) -> bool:
        """Whether there is a score in range by every criterion."""
        best = self.domain.max_score
        return isinstance(said, dict) and all(
            isinstance(score := said.get(name), int | float) and 0 <= score <= best for name in self.domain.criteria
        )

    def values(self, episode: Episode, answers: Sequence[Any]) -> dict[str, float]:
        """Means over the turns that were rated; nothing for a conversation without one."""
        rated = [each for each in answers if each is not None]
        if not rated:
            return {}
        means = {name: fmean(each[name] for each in rated) for name in self.domain.criteria}
        return {"q": fmean(self.domain.mean_score(each) for each in rated), **means}
