"""Playing a trial: the calls to the four roles that one iteration needs (paper sections 3.1.3 and 3.1.4).

The judge's calls run beside the rest of the simulation and do not hold it up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from mctsdialog.algorithms._rules import highest
from mctsdialog.algorithms._trial import (
    OUTCOMES,
    Closure,
    Exchange,
    Growth,
    Judged,
    Opened,
    Outcome,
    Scored,
    Simulation,
    Spoken,
    Trial,
)
from mctsdialog.dialogue import Domain, Turn
from mctsdialog.errors import ConfigError, ModelRefusedError, ReplyError, first_error
from mctsdialog.roles import AveragedScores, RejudgingJudge, Roles, checked_judgement, checked_scores, checked_text
from mctsdialog.tree import RolloutStep

P = ParamSpec("P")
T = TypeVar("T")


class History(NamedTuple):
    """The conversation so far in its two views.

    :param full: as strategist and judge see it.
    :param plain: as seeker and supporter see it, without strategy names.
    """

    full: tuple[Turn, ...]
    plain: tuple[Turn, ...]

    @classmethod
    def of(cls, turns: tuple[Turn, ...]) -> History:
        """Both views of the turns."""
        return cls(turns, tuple(turn if turn.strategy is None else Turn(turn.speaker, turn.text) for turn in turns))

    def supported(self, text: str, strategy: str) -> History:
        """With one more supporter turn."""
        full, plain = Turn("supporter", text, strategy), Turn("supporter", text)
        return History((*self.full, full), (*self.plain, plain))

    def answered(self, text: str) -> History:
        """With one more seeker turn."""
        turn = Turn("seeker", text)
        return History((*self.full, turn), (*self.plain, turn))


class Judgement(NamedTuple):
    """What the judge said of one turn, in the order of the domain's criteria.

    :param scores: the scores; of several draws their mean.
    :param draws: the scores of each draw, where the judge was asked several times.
    """

    scores: tuple[float, ...]
    draws: tuple[tuple[float, ...], ...] = ()


class CheckedRoles:
    """The roles as the search calls them: each sees its own view of the history, and each answer is checked.

    :ivar calls: how often a role was asked.
    :raises ReplyError: from every call, where the role's answer cannot be used.
    :raises ModelRefusedError: from every call, where the role's model refuses; its ``role`` says which.
    """

    def __init__(self, roles: Roles, domain: Domain) -> None:
        self._roles = roles
        self._domain = domain
        self.calls = 0

    async def open(self, history: History) -> str:
        """The seeker's first utterance."""
        reply = await self.seeker(history)
        if reply is None:
            raise ReplyError("ended the dialogue before it began", role="seeker")
        return reply

    async def seeker(self, history: History) -> str | None:
        """The seeker's answer, or None for the end."""
        reply = await self._ask("seeker", self._roles.seeker.reply, history.plain)
        return None if reply is None else _checked("seeker", reply, checked_text)

    async def supporter(self, history: History, strategy: str) -> str:
        """The supporter's turn that carries out ``strategy``."""
        reply = await self._ask("supporter", self._roles.supporter.reply, history.plain, strategy)
        return _checked("supporter", reply, checked_text)

    async def scores(self, history: History) -> dict[str, float]:
        """The strategist's raw scores, in the order of the domain's set."""
        scores = await self._ask("strategist", self._roles.strategist.score, history.full)
        return _checked("strategist", scores, lambda given: checked_scores(given, self._domain.strategies))

    async def judgement(self, history: History, draw: int = 0) -> Judgement:
        """The judge's scores of the last turn.

        :param draw: how often the judge was asked about it before; above 0 the judge must have a ``judge_again``.
        """
        if draw:
            again: RejudgingJudge = self._roles.judge  # type: ignore[assignment]  # the algorithm was told that it can
            scores = await self._ask("judge", again.judge_again, history.full, draw)
        else:
            scores = await self._ask("judge", self._roles.judge.judge, history.full)
        drawn = scores.draws if isinstance(scores, AveragedScores) else ()
        mean, *draws = [
            _checked("judge", each, lambda given: checked_judgement(given, self._domain)) for each in (scores, *drawn)
        ]
        return Judgement(mean, tuple(draws))

    async def _ask(self, role: str, ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer of a role; a refusal says whose it is."""
        self.calls += 1
        try:
            answer = ask(*args, **kwargs)
            if not hasattr(answer, "__await__"):  # four times faster than inspect.isawaitable
                name = getattr(ask, "__name__", "its method")
                raise ConfigError(f"the {role}'s {name}() is not async; write: async def {name}", field=role)
            return await answer
        except ModelRefusedError as refused:
            refused.role = role
            raise


def can_rejudge(roles: Roles) -> bool:
    """Whether the judge gives another draw when it is asked again about a turn."""
    return isinstance(roles.judge, RejudgingJudge) and getattr(roles.judge, "draws_differ", True)


class Judging:
    """Judge calls under way beside the simulation; leaving the block waits for them.

    :ivar refused: what the judge refused with, by place in the order that calls were started.
    """

    def __init__(self, players: CheckedRoles) -> None:
        self._players = players
        self._group: TaskGroup = anyio.create_task_group()
        self._judgements: list[Judgement] = []
        self.refused: dict[int, ModelRefusedError] = {}

    def start(self, history: History) -> None:
        """Have the last turn of ``history`` judged."""
        self._judgements.append(Judgement(()))
        self._group.start_soon(self._judge, len(self._judgements) - 1, history)

    async def _judge(self, index: int, history: History) -> None:
        try:
            self._judgements[index] = await self._players.judgement(history)
        except ModelRefusedError as refused:
            self.refused[index] = refused

    def results(self, most: int) -> tuple[Judgement, ...]:
        """The first judgements in the order they were started, up to one that was refused; once the block is left.

        :param most: most judgements.
        :raises ModelRefusedError: if the very first was refused.
        """
        if 0 in self.refused:
            raise self.refused[0]
        return tuple(self._judgements[: min(most, *self.refused)] if self.refused else self._judgements[:most])

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        try:
            return await self._group.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:  # callers meet the one error, not the task group around it
            raise first_error(group) from None


def read_outcome(data: Mapping[str, Any], domain: Domain) -> Simulation | Scored | Opened | Spoken | Judged:
    """What an outcome's ``to_dict`` wrote, where the roles of the domain may have said it.

    :raises ValueError: if they may not.
    """
    outcome = OUTCOMES[data["type"]].from_dict(data)
    if isinstance(outcome, Scored):
        checked_scores(outcome.scores, domain.strategies)
    elif isinstance(outcome, Spoken | Judged):
        _check_judgements([outcome.scores], domain)
    elif isinstance(outcome, Simulation):
        _check_simulation(outcome, domain)
    return outcome


def _check_simulation(outcome: Simulation, domain: Domain) -> None:
    if outcome.scores is not None:
        checked_scores(outcome.scores, domain.strategies)
    _check_judgements([*outcome.judgements, *(draw for draws in outcome.draws for draw in draws)], domain)
    unknown = [step.strategy for step in outcome.steps if step.strategy not in domain.strategies.names]
    if unknown:
        raise ValueError(f"there is no strategy {unknown[0]!r:.60}")


def _check_judgements(judgements: Iterable[tuple[float, ...]], domain: Domain) -> None:
    for scores in judgements:
        if len(scores) != len(domain.criteria):
            raise ValueError(f"{len(scores)} scores for {len(domain.criteria)} criteria")
        checked_judgement(dict(zip(domain.criteria, scores, strict=True)), domain)


async def run_trial(
    trial: Trial,
    players: CheckedRoles,
    domain: Domain,
    horizon: int,
    on_growth: Callable[[Growth], object] = lambda growth: None,
) -> Outcome:
    """Ask the roles what a trial wants to know: one step, or a trial of the paper's search.

    The latter generates the leaf, expands it, simulates from its best child, and has the turns judged. A model that
    refuses a simulated round ends the simulation before it.

    :param horizon: H, most simulated rounds.
    :param on_growth: called once the leaf can be given its children, before one of them is played.
    :returns: a closure where a model refuses what the evaluated node itself needs.
    :raises ReplyError: if a role's answer cannot be used; errors of the roles themselves pass through.
    """
    if trial.kind in OUTCOMES:
        return await _run_step(trial, players)
    names = domain.strategies.names
    history = History.of(trial.history)
    generated, scores, child = None, None, None
    steps: tuple[RolloutStep, ...] = ()
    try:
        async with Judging(players) as judging:
            if trial.kind == "generate":
                assert trial.strategy is not None
                generated, history = await _exchange(players, history, trial.strategy)
            if trial.kind == "end" or (generated is not None and generated.seeker is None):
                judging.start(history)
            elif trial.kind == "finish":
                assert trial.strategy is not None
                child, steps = await _simulate(players, history, trial.strategy, names, horizon, judging)
            else:
                scores = await players.scores(history)
                on_growth(Growth(generated, scores))
                child, steps = await _simulate(players, history, highest(names, scores), names, horizon, judging)
        judgements = judging.results(1 + len(steps))
    except ModelRefusedError as refused:
        going_on = generated is not None and generated.seeker is not None
        return Closure(refused.closure, generated if going_on else None, scores)
    return _outcome(judgements, steps, generated=generated, scores=scores, child=child)


async def _run_step(trial: Trial, players: CheckedRoles) -> Outcome:
    history = History.of(trial.history)
    if trial.kind == "open":
        return Opened()
    try:
        if trial.kind == "score":
            return Scored(await players.scores(history))
        if trial.kind == "judge":
            return Judged((await players.judgement(history, trial.draw)).scores)
        assert trial.strategy is not None
        async with Judging(players) as judging:
            exchange, _ = await _exchange(players, history, trial.strategy, judging)
        return Spoken(exchange, judging.results(1)[0].scores)
    except ModelRefusedError as refused:
        return Closure(refused.closure)


async def run_probe(
    history: tuple[Turn, ...], strategy: str, players: CheckedRoles, domain: Domain, horizon: int
) -> Outcome:
    """Generate the turn that carries out ``strategy`` and simulate from it, as the best child of a leaf would be.

    :returns: an outcome with ``child``, ``steps`` and ``judgements``; a closure where a model refuses the turn.
    :raises ReplyError: as :func:`run_trial`.
    """
    names = domain.strategies.names
    try:
        async with Judging(players) as judging:
            child, steps = await _simulate(players, History.of(history), strategy, names, horizon, judging)
        judgements = judging.results(1 + len(steps))
    except ModelRefusedError as refused:
        return Closure(refused.closure)
    return _outcome(judgements, steps, child=child)


def _outcome(judgements: tuple[Judgement, ...], steps: tuple[RolloutStep, ...], **found: Any) -> Simulation:
    """What was found up to the last turn that was judged."""
    draws = tuple(each.draws for each in judgements)
    scores = tuple(each.scores for each in judgements)
    return Simulation(scores, steps=steps[: len(judgements) - 1], draws=draws if any(draws) else (), **found)


async def _simulate(
    players: CheckedRoles, history: History, strategy: str, names: tuple[str, ...], horizon: int, judging: Judging
) -> tuple[Exchange, tuple[RolloutStep, ...]]:
    """The exchange that carries out ``strategy``, and at most ``horizon`` greedy rounds after it.

    It stops at the end of the dialogue, and before a round that a model refuses; a judge who refuses ends it, too.
    """
    first, history = await _exchange(players, history, strategy, judging)
    ended = first.seeker is None
    steps: list[RolloutStep] = []
    while not ended and len(steps) < horizon and not judging.refused:
        try:
            strategy = highest(names, await players.scores(history))
            exchange, history = await _exchange(players, history, strategy, judging)
        except ModelRefusedError:
            break
        steps.append(RolloutStep(strategy, exchange.supporter, exchange.seeker))
        ended = exchange.seeker is None
    return first, tuple(steps)


async def _exchange(
    players: CheckedRoles, history: History, strategy: str, judging: Judging | None = None
) -> tuple[Exchange, History]:
    """One supporter turn and the seeker's answer, and the history with them."""
    supporter = await players.supporter(history, strategy)
    history = history.supported(supporter, strategy)
    if judging is not None:
        judging.start(history)
    seeker = await players.seeker(history)
    return Exchange(supporter, seeker), history if seeker is None else history.answered(seeker)


def _checked(role: str, reply: object, check: Callable[[object], T]) -> T:
    try:
        return check(reply)
    except ValueError as error:
        last = reply if isinstance(reply, str) else repr(reply)
        raise ReplyError(str(error), role=role, last_reply=last) from error
