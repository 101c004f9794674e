"""Searches that plan in the conversations of a simulated world, without knowing what will happen there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cso_train.arena._entrants import PlanEntrant
from mctsdialog import Roles, Scenario
from mctsdialog._arguments import checked
from mctsdialog.worlds import World

_TELLINGS = 1000  # futures that one repeat may draw, one a round


@checked()
def world_planner(
    name: str,
    world: World,
    *,
    calls: int = 32,
    algorithm: str = "calibrated",
    settings: Mapping[str, Any] | None = None,
) -> PlanEntrant:
    """A search that plans each turn in a world, with the world's strategist, judge and chances.

    It knows how the conversation has gone, and draws what may come: the future that really comes is not in its hands.

    :param name: in reports.
    :param world: where it acts.
    :param calls: most calls to roles a turn; 0 takes the strategist's favourite.
    :param algorithm: of the search.
    :param settings: other settings of :class:`~mctsdialog.SearchConfig`.
    """

    def roles(scenario: Scenario, passed: int, repeat: int) -> Roles:
        return world.imagined(passed, repeat * _TELLINGS + passed).roles()

    known = f"imagined {world.roles().provenance['world']}"
    domain = world.domain
    return PlanEntrant(name, roles, domain, calls, algorithm, settings, known_as=known, reuse=False)
