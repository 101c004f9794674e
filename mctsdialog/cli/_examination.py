"""Examining models for the four roles: one call for each role, and some pairs of turns for the judge."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

from mctsdialog._search import CheckedRoles, History
from mctsdialog.dialogue import Dialogue, Scenario, Turn, sample_dialogues
from mctsdialog.errors import (
    BudgetExceededError,
    MctsDialogError,
    ModelAccountError,
    ModelNotFoundError,
    ModelResponseError,
    ModelUnavailableError,
)
from mctsdialog.llm import ChatModel, Usage, estimate_tokens
from mctsdialog.llm._exchanges import Exchange, RecordingModel
from mctsdialog.llm.base import estimate_prompt_tokens
from mctsdialog.roles import ROLE_NAMES, Judge, Roles
from mctsdialog.roles._signal import JudgeSignal, judge_signal, signal_cases

_TURN = 5  # of the first sample: the supporter's turn that is played and judged

Answer = str | Mapping[str, float] | tuple[float, ...] | None


@dataclass
class RoleResult:
    """What became of one role.

    :param role: its name.
    :param exchanges: its calls, several where a reply could not be used.
    :param answer: what the role made of the reply; None also for a seeker who ends the dialogue.
    :param error: why it cannot be played.
    :param same_as: the role whose fault on the same server this one would meet too, so that it was not tried.
    """

    role: str
    exchanges: Sequence[Exchange] = ()
    answer: Answer = None
    error: MctsDialogError | None = None
    same_as: str | None = None

    @property
    def plays(self) -> bool:
        """Whether the role can be played."""
        return self.error is None and self.same_as is None

    @property
    def cached(self) -> bool:
        """Whether its replies come from a cache, so that they say nothing of the server."""
        replies = [each.completion for each in self.exchanges if each.completion is not None]
        return bool(replies) and all(reply.cached for reply in replies)

    @property
    def seconds(self) -> float:
        """Of all its calls."""
        return sum(each.completion.latency for each in self.exchanges if each.completion is not None)

    @property
    def usage(self) -> Usage:
        """Of all its calls; by the lengths of the texts where the server tells none."""
        return sum((_usage(each) for each in self.exchanges), Usage())

    @property
    def told(self) -> bool:
        """Whether the server tells tokens."""
        return any(each.completion is not None and each.completion.usage.total_tokens for each in self.exchanges)


def _usage(exchange: Exchange) -> Usage:
    if exchange.completion is None:
        return Usage()
    told, text = exchange.completion.usage, exchange.completion.text
    return told if told.total_tokens else Usage(estimate_prompt_tokens(exchange.request), estimate_tokens(text))


@dataclass
class _NotingJudge:
    """A judge whose scores are kept."""

    inner: Judge
    given: list[tuple[float, ...]] = field(default_factory=list)

    async def judge(self, history: Sequence[Turn], /) -> Mapping[str, float]:
        scores = await self.inner.judge(history)
        self.given.append(tuple(scores.values()))
        return scores

    def for_scenario(self, scenario: Scenario) -> Self:
        bind: Callable[[Scenario], Judge] | None = getattr(self.inner, "for_scenario", None)
        return self if bind is None else replace(self, inner=bind(scenario))


class Examination:
    """One call for each role in a packaged dialogue, then pairs of turns for the judge.

    :param make: the roles on models by role.
    :param models: of each role, in their layers.
    :param bare: the same without layers; roles of one bare model share its faults.
    :ivar results: by role, as they come.
    :ivar judged: the judge's scores of all turns that it was shown.
    :ivar signal: whether it tells real turns from others; None if it was not tried.
    """

    def __init__(
        self,
        make: Callable[[Mapping[str, ChatModel]], Roles],
        models: Mapping[str, ChatModel],
        bare: Mapping[str, ChatModel],
    ) -> None:
        self._recorders = {role: RecordingModel(models[role]) for role in ROLE_NAMES}
        self._bare = bare
        roles = make(self._recorders)
        self._noting = _NotingJudge(roles.judge)
        self._roles = replace(roles, judge=self._noting)
        self._samples: Sequence[Dialogue] = list(sample_dialogues())
        self.results: dict[str, RoleResult] = {}
        self.signal: JudgeSignal | None = None
        self.signal_error: MctsDialogError | None = None

    @property
    def judged(self) -> list[tuple[float, ...]]:
        """The judge's scores of all turns that it was shown."""
        return self._noting.given

    @property
    def gold_turns(self) -> int:
        """Supporter turns of the sample, for estimates."""
        return sum(turn.strategy is not None for turn in self._samples[0].turns)

    @property
    def plays(self) -> bool:
        """Whether all roles can be played."""
        return all(result.plays for result in self.results.values())

    def calls(self) -> Iterator[tuple[str, Callable[[], Awaitable[RoleResult]]]]:
        """(role, its call), to be awaited one after another; :attr:`results` has what came of it.

        A fault of the server ends the roles on it, any other one only its role.
        """
        dialogue = self._samples[0]
        turn = dialogue.turns[_TURN]
        before = History.of(dialogue.turns[:_TURN])
        after = before.supported(turn.text, turn.strategy or "")
        bound = self._roles.bind(dialogue.scenario)
        assert bound.domain is not None
        players = CheckedRoles(bound, bound.domain)

        async def judge() -> tuple[float, ...]:
            return (await players.judgement(after)).scores

        yield "supporter", partial(self._one, "supporter", lambda: players.supporter(before, turn.strategy or ""))
        yield "seeker", partial(self._one, "seeker", lambda: players.seeker(after))
        yield "strategist", partial(self._one, "strategist", lambda: players.scores(before))
        yield "judge", partial(self._one, "judge", judge)

    async def _one(self, role: str, call: Callable[[], Awaitable[Answer]]) -> RoleResult:
        result = self._met_before(role) or await self._try(role, call)
        self.results[role] = result
        return result

    def _met_before(self, role: str) -> RoleResult | None:
        """The result of a role whose server has failed for good already."""
        for other, result in self.results.items():
            if self._bare[other] is self._bare[role] and result.error is not None and _is_of_server(result.error):
                return RoleResult(role, same_as=other)
        return None

    async def _try(self, role: str, call: Callable[[], Awaitable[Answer]]) -> RoleResult:
        exchanges = self._recorders[role].exchanges
        try:
            answer = await call()
        except MctsDialogError as error:
            if isinstance(error, BudgetExceededError):
                raise
            return RoleResult(role, list(exchanges), error=error)
        return RoleResult(role, list(exchanges), answer)

    async def judge(self, pairs: int, *, concurrency: int) -> None:
        """Have the judge rate real and swapped-in turns of the samples."""
        try:
            self.signal = await judge_signal(
                self._roles, signal_cases(self._samples, limit=pairs), concurrency=concurrency
            )
        except BudgetExceededError:
            raise
        except MctsDialogError as error:
            self.signal_error = error


def _is_of_server(error: MctsDialogError) -> bool:
    """Whether every other call would meet the same."""
    if isinstance(error, ModelResponseError):
        return error.lasting
    return isinstance(error, ModelUnavailableError | ModelAccountError | ModelNotFoundError)
