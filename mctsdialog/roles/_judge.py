"""The judge played by a language model: by digits or by expected scores, once or as the mean of several draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

import anyio

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain, Scenario, Turn
from mctsdialog.errors import ConfigError, first_error
from mctsdialog.llm import ChatModel, Completion, Sampling
from mctsdialog.roles._asking import whole
from mctsdialog.roles._expected import expected_scores
from mctsdialog.roles._llm import LLMRole, whole_numbers_schema
from mctsdialog.roles._prompts import PROMPT_VERSION
from mctsdialog.roles._protocols import AveragedScores
from mctsdialog.roles._replies import parse_judgement

JudgeScoring: TypeAlias = Literal["digits", "expected"]
"""The scores that the model writes, or the scores that it would write on average, from its tokens' probabilities."""

_TOP_LOGPROBS = 8  # room for every digit, also behind a space; servers give 5 to 20
_REDRAWS = 1000  # more than a turn is judged again
_MOST_DIGIT = 9


@checked("scoring")
class LLMJudge(LLMRole):
    """The judge: a number from 0 to the best score for every criterion, as JSON.

    :param samples: independent draws for each turn, 1 or more. Their mean is the judgement, and the draws are kept with
        it. With several, the default temperature is 1 instead of 0, because draws at 0 are all the same.
    :param scoring: "digits", or "expected": at the place of each score, the mean of all digits by their
        probability. The server must return the log-probabilities of tokens, and the rubric's best score must be at
        most 9.
    :raises ConfigError: for a value out of range, or several samples at temperature 0.

    The other parameters are those of every LLM role.
    """

    role = "judge"
    default_sampling = Sampling(temperature=0.0, max_tokens=128)

    def __init__(
        self,
        model: ChatModel,
        domain: Domain,
        scenario: Scenario | None = None,
        *,
        sampling: Sampling | None = None,
        attempts: int = 3,
        prompts: int = PROMPT_VERSION,
        samples: int = 1,
        scoring: JudgeScoring = "digits",
    ) -> None:
        if samples < 1:
            raise ConfigError(f"judge_samples must be 1 or more, not {samples}", field="judge_samples")
        if scoring not in get_args(JudgeScoring):
            raise ConfigError(f"judge must be {' or '.join(get_args(JudgeScoring))}, not {scoring!r}", field="judge")
        sampling = sampling or self.sampling_for(samples)
        if samples > 1 and sampling.temperature == 0:
            reason = f"{samples} draws at temperature 0 are all the same; give the judge a temperature above 0"
            raise ConfigError(reason, field="judge_samples")
        if scoring == "expected" and domain.max_score > _MOST_DIGIT:
            reason = f"judge='expected' reads scores of one digit, and this rubric goes up to {domain.max_score}"
            raise ConfigError(reason, field="judge")
        super().__init__(model, domain, scenario, sampling=sampling, attempts=attempts, prompts=prompts)
        self.samples = samples
        self.scoring = scoring

    @classmethod
    def sampling_for(cls, samples: int) -> Sampling:
        """The default sampling of a judge that is asked so often about each turn."""
        return replace(cls.default_sampling, temperature=1.0) if samples > 1 else cls.default_sampling

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides the judgements; samples and scoring only where they are not the default."""
        own = {"samples": self.samples} if self.samples > 1 else {}
        return super().provenance | own | ({"scoring": self.scoring} if self.scoring != "digits" else {})

    async def judge(self, history: Sequence[Turn], /) -> Mapping[str, float]:
        """Scores of the last supporter turn by criterion.

        Several draws give their mean as :class:`~mctsdialog.roles.AveragedScores`.

        :raises ReplyError: if no whole set of scores came.
        :raises ConfigError: for expected scores, where the server returns no log-probabilities.
        """
        if self.samples == 1:
            return await self._draw(history, 0)
        draws: dict[int, Mapping[str, float]] = {}

        async def draw(number: int) -> None:
            draws[number] = await self._draw(history, number)

        try:
            async with anyio.create_task_group() as group:
                for number in range(self.samples):
                    group.start_soon(draw, number)
        except BaseExceptionGroup as error:  # callers meet the one error, not the task group around it
            raise first_error(error) from None
        return AveragedScores(tuple(draws[number] for number in range(self.samples)))

    @property
    def draws_differ(self) -> bool:
        """Whether :meth:`judge_again` gives another draw: not at temperature 0."""
        return self.sampling.temperature != 0

    async def judge_again(self, history: Sequence[Turn], draw: int, /) -> Mapping[str, float]:
        """Scores of the last supporter turn once more, drawn anew.

        :param draw: how often it has been judged before, 1 or more.
        :raises ReplyError: as :meth:`judge`.
        """
        return await self._draw(history, self.samples - 1 + draw)

    async def _draw(self, history: Sequence[Turn], number: int) -> Mapping[str, float]:
        expected = self.scoring == "expected"
        logprobs = max(_TOP_LOGPROBS, self.domain.max_score + 1) if expected else 0

        def parse(completion: Completion) -> Mapping[str, float] | None:
            scores = parse_judgement(whole(completion), self.domain)
            if not expected:
                return scores
            if not completion.logprobs:
                return None
            return expected_scores(completion.logprobs, completion.text, scores, self.domain.max_score)

        scores = await self._ask(
            self.prompt.transcript(history),
            parse,
            whole_numbers_schema(self.domain.criteria, self.domain.max_score),
            sample=number,
            step=self.samples if number < self.samples else _REDRAWS,  # a refused one's next draw is none of the others
            logprobs=logprobs,
        )
        if scores is None:
            reason = f"judge='expected' needs log-probabilities, and {self.model.name} returned none"
            raise ConfigError(f"{reason}; take judge='digits', or a server that returns them", field="judge")
        return scores
