"""One conversation: a system and a seeker in turn, bounded, with what goes wrong said whose it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from cso_train.arena._entrants import Entrant, RepeatModel
from cso_train.evaluation.protocols import Episode
from mctsdialog._arguments import checked
from mctsdialog.dialogue import Dialogue, Domain, Turn
from mctsdialog.errors import ConfigError, ModelRefusedError, ReplyError, shortened
from mctsdialog.llm import ChatModel
from mctsdialog.llm.base import identity_of
from mctsdialog.seekers import CardSeeker, FeelingSeeker, InnerState, RoleCard, SeekerSetting, WorldSeeker
from mctsdialog.worlds import World

MOST_CHARACTERS = 4000
"""Of a supporter's turn: what a system says beyond it is cut, and counted."""


@runtime_checkable
class Seekers(Protocol):
    """Makes the seekers of an arena."""

    identity: str

    def open(self, card: RoleCard, repeat: int, /) -> FeelingSeeker:
        """The seeker of a card, for one conversation.

        :param repeat: which conversation, from 0; the seeker is the same for all systems.
        """
        ...


@checked()
class ModelSeekers:
    """Seekers that a model plays from their cards.

    :param model: plays them.
    :param domain: names of the sides.
    :param setting: how hard to help they are, as for :meth:`~mctsdialog.seekers.RoleCard.adjusted`.
    """

    def __init__(self, model: ChatModel, domain: Domain, *, setting: SeekerSetting = "card") -> None:
        self._model, self._domain, self._setting = model, domain, setting
        known = CardSeeker(model, _NOBODY.adjusted(setting), domain=domain).provenance
        self.identity = repr([identity_of(model), setting, domain.name, sorted(map(str, known.items()))])

    def open(self, card: RoleCard, repeat: int, /) -> FeelingSeeker:
        """The seeker of a card."""
        model = RepeatModel(self._model, repeat)
        return CardSeeker(model, card.adjusted(self._setting), domain=self._domain)


_NOBODY = RoleCard(id="nobody", persona="-", background="-", goal="-", hidden_need="-")


@checked()
class WorldSeekers:
    """The seekers of a simulated world.

    :param world: whose seekers they are.
    :param report_noise: chance that a level of the state is reported one off, 0 to 1.
    """

    def __init__(self, world: World, *, report_noise: float = 0.0) -> None:
        if not 0 <= report_noise <= 1:
            raise ConfigError("a chance lies between 0 and 1", field="report_noise")
        self._world, self._noise = world, report_noise
        self.identity = repr([world.roles().provenance["world"], report_noise])

    def open(self, card: RoleCard, repeat: int, /) -> FeelingSeeker:
        """The seeker of a card that was made by :func:`~mctsdialog.seekers.world_card`."""
        return WorldSeeker(self._world, card.scenario, report_noise=self._noise)


async def play(entrant: Entrant, seekers: Seekers, card: RoleCard, repeat: int, *, rounds: int) -> Episode:
    """Have one conversation. The seeker opens, and answers the last supporter turn.

    :param rounds: most supporter turns, 1 or more.
    :raises ModelError: if a call fails for good.
    :raises BudgetExceededError: if a budget is spent.
    """
    speaker, seeker = entrant.open(card, repeat), seekers.open(card, repeat)
    turns: list[Turn] = []
    states: list[InnerState] = []
    failure: str | None = None
    ended = False
    try:
        for number in range(rounds + 1):
            response = await seeker.respond(tuple(turns), tuple(states))
            states.append(response.state)
            ended = response.text is None
            if response.text is None:
                if not turns:
                    failure = "seeker: it ends the conversation before it begins"
                break
            turns.append(Turn("seeker", response.text))
            if number < rounds:
                turns.append(_bounded(await speaker.answer(tuple(turns))))
    except (ReplyError, ModelRefusedError) as error:
        side = "supporter" if turns and turns[-1].speaker == "seeker" else "seeker"
        failure = f"{side}: {shortened(str(error).removeprefix(f'{side}: '), 300)}"
    dialogue = Dialogue(**card.scenario.model_dump(), turns=tuple(turns))
    return Episode(entrant.name, card.id, repeat, dialogue, tuple(states), rounds, ended, failure)


def _bounded(turn: Turn) -> Turn:
    return turn if len(turn.text) <= MOST_CHARACTERS else Turn("supporter", turn.text[:MOST_CHARACTERS], turn.strategy)


def episode_record(episode: Episode) -> dict[str, Any]:
    """A conversation as JSON values, for a journal."""
    return {
        "system": episode.system,
        "card": episode.card,
        "repeat": episode.repeat,
        "dialogue": episode.dialogue.model_dump(mode="json"),
        "states": [[state.emotion, state.need_met, state.thought] for state in episode.states],
        "rounds": episode.rounds,
        "ended": episode.ended,
        "failure": episode.failure,
    }


def episode_of(record: Mapping[str, Any], system: str) -> Episode:
    """The conversation that a record holds.

    :param system: the name that its system has now.
    :raises LookupError: and TypeError and ValueError, for a record of something else.
    """
    kinds = {"card": str, "repeat": int, "rounds": int, "ended": bool, "failure": str | None}
    for name, kind in kinds.items():
        if not isinstance(record[name], kind):
            raise TypeError(name)
    states = tuple(InnerState(*_state(each)) for each in record["states"])
    dialogue = Dialogue.model_validate_json(json.dumps(record["dialogue"]))
    return Episode(
        system, record["card"], record["repeat"], dialogue, states, record["rounds"], record["ended"], record["failure"]
    )


def _state(values: Sequence[Any]) -> tuple[float, float, str]:
    return float(values[0]), float(values[1]), str(values[2])
