"""A simulated world with known truth: a test bed for search and training, not people.

Seekers have a latent state that strategies move in known, stochastic ways; the supporter carries strategies out; the
strategist over-rates some, as language models do (Kang et al., ACL 2024); the judge is noisy. The optimum is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Self

from mctsdialog._arguments import checked
from mctsdialog._settings import lasting_fields
from mctsdialog.dialogue import ESC, Dialogue, Domain, Scenario, Turn
from mctsdialog.errors import ConfigError, shown
from mctsdialog.roles import JudgeScores, Roles
from mctsdialog.worlds._language import TOPICS, reply, strategy_of, utterance
from mctsdialog.worlds._state import (
    EMOTIONS,
    INFORM,
    PLAN,
    PROBLEMS,
    STAGES,
    SeekerState,
    draw,
    outcomes,
    pick,
    true_scores,
)


@checked()
@dataclass(frozen=True)
class World:
    """A world; its seed decides everything in it.

    :param seed: any whole number.
    :param rounds: supporter turns of a dialogue, 1 or more; then the seeker ends it.
    :param judge_noise: chance that a score of the judge is one off, 0 to 1.
    :param strategist_noise: chance that a score of the strategist is two off, 0 to 1.
    :param favourites: the strategies that the strategist over-rates.
    :param bias: by how much, in its scores from 0 to 10.
    :param cooperation: factor of the chance that a strategy moves the seeker on, 0 to 1: below 1 the seeker resists.
    :raises ConfigError: for a value out of range.
    """

    seed: int = 0
    rounds: int = 8
    judge_noise: float = 0.25
    strategist_noise: float = 0.3
    favourites: tuple[str, ...] = (PLAN, INFORM)
    bias: float = 5.0
    cooperation: float = 1.0

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ConfigError("a dialogue has at least one round", field="rounds")
        for name in ("judge_noise", "strategist_noise", "cooperation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError("a chance lies between 0 and 1", field=name)
        for name in self.favourites:
            if name not in self.domain.strategies.names:
                raise ConfigError(f"there is no strategy {name!r}", field="favourites")

    @property
    def domain(self) -> Domain:
        """Emotional support, with its eight strategies."""
        return ESC

    # -- what there is -----------------------------------------------------------------------------------------

    @checked()
    def scenario(self, number: int) -> Scenario:
        """The scenario of that number."""
        name = f"world-{self.seed}-{number:05d}"
        problem = pick(PROBLEMS, self.seed, name, "problem")
        topic = pick(TOPICS[problem], self.seed, name, "topic of the scene")
        return Scenario(scene=problem, description=f"Something is the matter with {topic}.", id=name)

    @checked()
    def scenarios(self, count: int, first: int = 0) -> Iterator[Scenario]:
        """So many scenarios, from one on."""
        return (self.scenario(number) for number in range(first, first + count))

    def start(self, scenario: Scenario) -> SeekerState:
        """The state that a scenario begins in: distressed, and guarded or exploring.

        :raises ConfigError: for a scenario that is not of a world.
        """
        if scenario.scene not in PROBLEMS:
            reason = f"a world knows its own scenarios, world.scenario(0); the scene of this is {shown(scenario.scene)}"
            raise ConfigError(reason, field="scenario")
        emotion = 1 + int(draw(self.seed, scenario.id, "emotion") * (len(EMOTIONS) - 1))
        stage = int(draw(self.seed, scenario.id, "stage") < 0.5)
        return SeekerState(scenario.scene, emotion, stage)

    def step(self, scenario: Scenario, number: int, state: SeekerState, strategy: str) -> SeekerState:
        """The state after a round: the same in every telling of the scenario.

        :param number: of the round, from 0.
        """
        chance = draw(self.seed, scenario.id, number, state.emotion, state.stage, strategy)
        return self._after(state, strategy, chance)

    def _after(self, state: SeekerState, strategy: str, left: float) -> SeekerState:
        for chance, after in outcomes(state, strategy, self.cooperation):
            left -= chance
            if left < 0:
                return after
        return state

    @checked()
    def imagined(self, passed: int, telling: int = 0) -> World:
        """This world as somebody foresees it who knows the first rounds and the chances, and not what will happen.

        For searches that plan in a conversation: a search in the world itself knows the future of every reply.

        :param passed: rounds that are past, and as they were.
        :param telling: which of the possible futures is drawn for the rounds after them.
        """
        values = {each.name: getattr(self, each.name) for each in fields(World)}
        return _ImaginedWorld(**values, passed=passed, telling=telling)

    def states(self, scenario: Scenario, strategies: Sequence[str]) -> list[SeekerState]:
        """The states before each strategy, and the one after the last."""
        found = [self.start(scenario)]
        for number, strategy in enumerate(strategies):
            found.append(self.step(scenario, number, found[-1], strategy))
        return found

    def true_scores(self, state: SeekerState, strategy: str) -> tuple[int, int, int, int]:
        """Empathy, information, humanoid and strategy as a judge without noise gives them, each 0 to 4.

        A world where other things pay overrides this; rewards, optimum, strategist and judge follow.
        """
        return true_scores(state, strategy)

    def reward(self, state: SeekerState, strategy: str) -> float:
        """The true reward of a turn (eq. 2), from -3 to 1."""
        scores = self.true_scores(state, strategy)
        weights = self.domain.weights
        total = sum(weights[name] * score for name, score in zip(_CRITERIA, scores, strict=True))
        return total / sum(weights.values()) - 3.0

    def value(self, scenario: Scenario, strategies: Sequence[str]) -> float:
        """The true worth of a dialogue, or of its beginning: the mean reward of its supporter turns, from -3 to 1.

        :param strategies: of its supporter turns, 1 or more.
        """
        states = self.states(scenario, strategies[:-1])
        return sum(map(self.reward, states, strategies)) / len(strategies)

    # -- the optimum -------------------------------------------------------------------------------------------

    def best_value(self, scenario: Scenario) -> float:
        """The worth of the scenario's best dialogue, by dynamic programming over what happens in it."""
        worth: dict[SeekerState, float] = {self.start(scenario): 0.0}
        for number in range(self.rounds):
            after: dict[SeekerState, float] = {}
            for state, total in worth.items():
                for strategy in self.domain.strategies.names:
                    then = self.step(scenario, number, state, strategy)
                    after[then] = max(after.get(then, -math.inf), total + self.reward(state, strategy))
            worth = after
        return max(worth.values()) / self.rounds

    def strategy_values(self, state: SeekerState, number: int = 0) -> dict[str, float]:
        """Expected total reward from a round on by the strategy taken there, the best ones following (Bellman)."""
        return {
            strategy: self.reward(state, strategy)
            + sum(
                chance * _expected(self, then, number + 1)
                for chance, then in outcomes(state, strategy, self.cooperation)
            )
            for strategy in self.domain.strategies.names
        }

    def best_strategy(self, state: SeekerState, number: int = 0) -> str:
        """The strategy of highest expected worth."""
        values = self.strategy_values(state, number)
        return max(values, key=lambda strategy: values[strategy])

    # -- who speaks in it --------------------------------------------------------------------------------------

    def roles(self) -> Roles:
        """Seeker, supporter, strategist and judge of this world; pure functions of what they are given."""
        kinds = {"seeker": _Seeker, "supporter": _Supporter, "strategist": _Strategist, "judge": _Judge}
        made: dict[str, Any] = {name: kind(self) for name, kind in kinds.items()}
        return Roles(**made, domain=self.domain, provenance={"world": self._identity()})

    def _identity(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in lasting_fields(self))})"

    @checked()
    def dialogue(self, scenario: Scenario, policy: Callable[[SeekerState, int], str] | None = None) -> Dialogue:
        """A dialogue of the scenario, its supporter turns labelled.

        :param policy: gives a strategy for a state and a round; by default the best one.
        """
        choose = policy or self.best_strategy
        seeker, supporter = _Seeker(self, scenario), _Supporter(self, scenario)
        turns: tuple[Turn, ...] = ()
        strategies: list[str] = []
        while (said := seeker.says(strategies)) is not None:
            strategies.append(choose(self.states(scenario, strategies)[-1], len(strategies)))
            spoken = supporter.says(strategies)
            turns = (*turns, Turn("seeker", said), Turn("supporter", spoken, strategies[-1]))
        return Dialogue(**scenario.model_dump(), turns=turns)


@dataclass(frozen=True)
class _ImaginedWorld(World):
    """A world whose rounds from ``passed`` on are drawn anew."""

    passed: int = 0
    telling: int = 0

    def step(self, scenario: Scenario, number: int, state: SeekerState, strategy: str) -> SeekerState:
        if number < self.passed:
            return super().step(scenario, number, state, strategy)
        known = (self.seed, scenario.id, number, state.emotion, state.stage, strategy)
        return self._after(state, strategy, draw("imagined", self.telling, self.passed, *known))


_CRITERIA = ("empathy", "information", "humanoid", "strategy")


@cache
def _expected(world: World, state: SeekerState, number: int) -> float:
    return 0.0 if number >= world.rounds else max(world.strategy_values(state, number).values())


def strategies_of(history: Sequence[Turn]) -> list[str]:
    """The strategies of a history's supporter turns: as they are labelled, or else as they are worded."""
    return [turn.strategy or strategy_of(turn.text) for turn in history if turn.speaker == "supporter"]


@dataclass(frozen=True)
class _Player:
    world: World
    scenario: Scenario = field(default_factory=Scenario)

    def for_scenario(self, scenario: Scenario) -> Self:
        return replace(self, scenario=scenario)

    def _key(self, strategies: Sequence[str]) -> tuple[object, ...]:
        return (self.world.seed, self.scenario.id, *strategies)


class _Seeker(_Player):
    def says(self, strategies: Sequence[str]) -> str | None:
        if len(strategies) >= self.world.rounds:
            return None
        return utterance(self.world.states(self.scenario, strategies)[-1], *self._key(strategies))

    async def reply(self, history: Sequence[Turn], /) -> str | None:
        return self.says(strategies_of(history))


class _Supporter(_Player):
    def says(self, strategies: Sequence[str]) -> str:
        return reply(strategies[-1], self.scenario.scene, *self._key(strategies))

    async def reply(self, history: Sequence[Turn], strategy: str, /) -> str:
        return self.says([*strategies_of(history), strategy])


class _Strategist(_Player):
    async def score(self, history: Sequence[Turn], /) -> dict[str, float]:
        """What pleases at once, from 0 to 8, with noise and with the favourites over-rated."""
        strategies = strategies_of(history)
        state = self.world.states(self.scenario, strategies)[-1]
        scores = {}
        for name in self.world.domain.strategies.names:
            score = 2.0 * self.world.true_scores(state, name)[3]
            score += self.world.bias if name in self.world.favourites else 0.0
            noise = draw("strategist", name, *self._key(strategies))
            if noise < self.world.strategist_noise:
                score += 2.0 if noise < self.world.strategist_noise / 2 else -2.0
            scores[name] = float(min(10, max(0, round(score))))
        return scores


class _Judge(_Player):
    async def judge(self, history: Sequence[Turn], /) -> JudgeScores:
        return self._scores(history, "judge")

    async def judge_again(self, history: Sequence[Turn], draw: int, /) -> JudgeScores:
        return self._scores(history, "judge", draw)

    def _scores(self, history: Sequence[Turn], *call: object) -> JudgeScores:
        strategies = strategies_of(history)
        state = self.world.states(self.scenario, strategies[:-1])[-1]
        scores = []
        for criterion, score in zip(_CRITERIA, self.world.true_scores(state, strategies[-1]), strict=True):
            noise = draw(*call, criterion, *self._key(strategies))
            if noise < self.world.judge_noise:
                score += 1 if noise < self.world.judge_noise / 2 else -1  # noqa: PLW2901  # one off
            scores.append(float(min(4, max(0, score))))
        return JudgeScores(*scores)


STATES: tuple[SeekerState, ...] = tuple(
    SeekerState(problem, emotion, stage)
    for problem in PROBLEMS
    for emotion in range(len(EMOTIONS))
    for stage in range(len(STAGES))
)
"""Every state."""
