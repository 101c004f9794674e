"""What is true in a simulated world: states of a seeker, what strategies do to them, and the optimum.

Everything is a table or a draw by hash, so that a world's seed and a scenario's id decide all that happens in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

PROBLEMS: Final = ("work", "partner", "exam", "illness")
"""What a seeker may bring."""

EMOTIONS: Final = ("calm", "uneasy", "upset", "overwhelmed")
"""How strongly the seeker feels, from 0 to 3."""

STAGES: Final = ("guarded", "exploring", "ready", "relieved")
"""How far the seeker has come, from 0 to 3."""

VALIDATE, AFFIRM, PLAN, EMPATHISE, ACCEPT, PERSPECTIVE, REFRAME, INFORM = (
    "Emotional Validation",
    "Affirmation",
    "Collaborative Planning",
    "Empathetic Statements",
    "Avoid Judgment and Criticism",
    "Provide Different Perspectives",
    "Reframe Negative Thoughts",
    "Share Information",
)
ADVICE: Final = frozenset({PLAN, PERSPECTIVE, REFRAME, INFORM})
"""The strategies that bring something new; the others attend to the feeling."""

HARM: Final = 0.35
"""Chance that a strategy out of place makes the feeling stronger."""

RELIEF: Final = 0.5
"""Chance that a step to the next stage also calms."""


@dataclass(frozen=True, slots=True)
class SeekerState:
    """The latent state of a seeker.

    :param problem: one of :data:`PROBLEMS`.
    :param emotion: index in :data:`EMOTIONS`.
    :param stage: index in :data:`STAGES`.
    """

    problem: str
    emotion: int
    stage: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What a strategy does in a state.

    :param fit: how well it is received at once, the judge's true S, 0 to 4.
    :param progress: chance that it moves the seeker on.
    """

    fit: int
    progress: float


_OUT_OF_PLACE: Final = Effect(0, 0.05)

# What pleases most at once is not always what helps: whoever looks one turn ahead misses the best strategy there.
_OVERWHELMED: Final = {VALIDATE: Effect(2, 0.75), EMPATHISE: Effect(2, 0.4), ACCEPT: Effect(1, 0.3)}
_UPSET: Final = {EMPATHISE: Effect(2, 0.8), VALIDATE: Effect(3, 0.25), ACCEPT: Effect(2, 0.3), AFFIRM: Effect(1, 0.2)}
_GUARDED: Final = {
    ACCEPT: Effect(2, 0.8),
    EMPATHISE: Effect(2, 0.35),
    VALIDATE: Effect(3, 0.15),
    AFFIRM: Effect(2, 0.3),
}
_SHY: Final = {AFFIRM: Effect(2, 0.8), ACCEPT: Effect(2, 0.4), EMPATHISE: Effect(3, 0.15), VALIDATE: Effect(2, 0.1)}
_RELIEVED: Final = {AFFIRM: Effect(4, 0.0), EMPATHISE: Effect(3, 0.0), PLAN: Effect(3, 0.0), VALIDATE: Effect(2, 0.0)}


def _exploring(best: str, second: str) -> dict[str, Effect]:
    return {best: Effect(2, 0.75), second: Effect(2, 0.35), AFFIRM: Effect(3, 0.1), EMPATHISE: Effect(2, 0.1)}


def _ready(best: str, second: str) -> dict[str, Effect]:
    return {best: Effect(3, 0.8), second: Effect(2, 0.35), AFFIRM: Effect(3, 0.1), PERSPECTIVE: Effect(1, 0.1)}


def effects(state: SeekerState) -> dict[str, Effect]:
    """What every strategy that has a place in a state does; the others are out of place."""
    if state.emotion >= 3:
        return _OVERWHELMED
    if state.emotion == 2:
        return _UPSET
    if state.stage == 0:
        return _GUARDED if state.emotion else _SHY
    if state.stage == 3:
        return _RELIEVED
    if state.stage == 1:
        perspective = state.problem in ("work", "illness")
        return _exploring(PERSPECTIVE, REFRAME) if perspective else _exploring(REFRAME, PERSPECTIVE)
    return _ready(PLAN, INFORM) if state.problem in ("work", "partner") else _ready(INFORM, PLAN)


def effect(state: SeekerState, strategy: str) -> Effect:
    """What a strategy does in a state."""
    return effects(state).get(strategy, _OUT_OF_PLACE)


def true_scores(state: SeekerState, strategy: str) -> tuple[int, int, int, int]:
    """Empathy, information, humanoid and strategy as a judge without noise gives them, each 0 to 4."""
    fit = effect(state, strategy).fit
    distressed, advice = state.emotion >= 2, strategy in ADVICE
    empathy = (1 if advice else 4) if distressed else (2 if advice else 3)
    information = (1 if distressed else 4) if advice else (1 if distressed else 2)
    return empathy, information, 1 if fit == 0 else 3, fit


def outcomes(state: SeekerState, strategy: str, cooperation: float = 1.0) -> Iterator[tuple[float, SeekerState]]:
    """(probability, next state) of a strategy in a state; the probabilities sum to 1. Relief lasts.

    :param cooperation: factor of the chance that a strategy moves the seeker on, 0 to 1; a seeker who resists has less.
    """
    if state.stage == 3:
        yield 1.0, state
        return
    progress = cooperation * effect(state, strategy).progress
    if state.emotion >= 2:
        yield progress, SeekerState(state.problem, state.emotion - 1, state.stage)
    elif state.emotion == 1:
        yield progress * RELIEF, SeekerState(state.problem, 0, state.stage + 1)
        yield progress * (1 - RELIEF), SeekerState(state.problem, 1, state.stage + 1)
    else:
        yield progress, SeekerState(state.problem, 0, state.stage + 1)
    worse = HARM if effect(state, strategy) is _OUT_OF_PLACE and state.emotion < 3 else 0.0
    if worse:
        yield (1 - progress) * worse, SeekerState(state.problem, state.emotion + 1, state.stage)
    yield (1 - progress) * (1 - worse), state


@lru_cache(maxsize=2**18, typed=True)  # searches ask for the same draws again and again
def draw(*key: object) -> float:
    """A number in [0, 1) that depends on every part of the key, the same in every run."""
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def pick(items: tuple[str, ...], *key: object) -> str:
    """One of the items, by a key."""
    return items[int(draw(*key) * len(items))]
