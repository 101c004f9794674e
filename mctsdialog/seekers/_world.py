"""The seeker of a simulated world, with its true state."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Self

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.errors import ConfigError
from mctsdialog.roles import Seeker
from mctsdialog.seekers._card import RoleCard
from mctsdialog.seekers._protocols import InnerState, Response
from mctsdialog.worlds import EMOTIONS, STAGES, SeekerState, World, strategies_of
from mctsdialog.worlds._state import draw

_TOP = len(EMOTIONS) - 1
_LAST = len(STAGES) - 1


@checked()
class WorldSeeker:
    """The seeker of a simulated world. Its words are those of ``world.roles().seeker``; it also tells its state.

    :param world: whose seeker it is.
    :param scenario: of that world.
    :param report_noise: chance that the emotion, and that the stage, is reported one level off, 0 to 1; 0 reports the
        truth.
    :raises ConfigError: for a chance out of range, or a scenario of no world.
    """

    def __init__(self, world: World, scenario: Scenario, *, report_noise: float = 0.0) -> None:
        if not 0 <= report_noise <= 1:
            raise ConfigError("a chance lies between 0 and 1", field="report_noise")
        world.start(scenario)
        self.world, self.scenario, self.report_noise = world, scenario, report_noise
        self._seeker = _seeker_of(world, scenario)

    def for_scenario(self, scenario: Scenario) -> Self:
        """This seeker in another scenario of its world."""
        return type(self)(self.world, scenario, report_noise=self.report_noise)

    async def reply(self, history: Sequence[Turn], /) -> str | None:
        """The next utterance, or None after the world's last round."""
        return await self._seeker.reply(history)

    async def respond(self, history: Sequence[Turn], states: Sequence[InnerState] = (), /) -> Response:
        """The next utterance and the state as the seeker reports it."""
        strategies = strategies_of(history)
        state = self.world.states(self.scenario, strategies)[-1]
        return Response(await self._seeker.reply(history), self._reported(state, strategies))

    def _reported(self, state: SeekerState, strategies: Sequence[str]) -> InnerState:
        levels = {"emotion": (state.emotion, _TOP), "stage": (state.stage, _LAST)}
        told = {}
        for name, (level, top) in levels.items():
            noise = draw("report", name, self.world.seed, self.scenario.id, *strategies)
            off = 0 if noise >= self.report_noise else 1 if noise < self.report_noise / 2 else -1
            told[name] = min(top, max(0, level + off))
        return true_state(SeekerState(state.problem, told["emotion"], told["stage"]))


@lru_cache(maxsize=4096)
def _seeker_of(world: World, scenario: Scenario) -> Seeker:
    return world.roles().bind(scenario).seeker


@checked()
def true_state(state: SeekerState) -> InnerState:
    """A world's state on the scales of an inner state.

    Emotion is half how calm the seeker is and half how far it has come; the need is met as far as it has come.
    """
    come = state.stage / _LAST
    return InnerState(emotion=50 * (_TOP - state.emotion) / _TOP + 50 * come, need_met=100 * come)


@checked()
def world_card(world: World, number: int) -> RoleCard:
    """A scenario of a world as a role card, so that worlds and models are scored by the same commands.

    :param number: of the scenario.
    """
    scenario = world.scenario(number)
    start = world.start(scenario)
    return RoleCard(
        **{**scenario.model_dump(), "domain": world.domain.name},
        persona="A seeker of a simulated world: a test bed, no person.",
        background=scenario.description,
        goal="To be heard and to see a next step.",
        hidden_need=f"Begins {EMOTIONS[start.emotion]} and {STAGES[start.stage]}.",
        emotion=round(true_state(start).emotion),
    )
