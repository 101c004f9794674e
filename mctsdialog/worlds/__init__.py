"""Simulated worlds with known truth, to test search and training in: a test bed, not people."""

from mctsdialog._public import publish as _publish
from mctsdialog.worlds._language import strategy_of
from mctsdialog.worlds._state import EMOTIONS, PROBLEMS, STAGES, Effect, SeekerState, effect, outcomes, true_scores
from mctsdialog.worlds._world import STATES, World, strategies_of

__all__ = [
    "EMOTIONS",
    "PROBLEMS",
    "STAGES",
    "STATES",
    "Effect",
    "SeekerState",
    "World",
    "effect",
    "outcomes",
    "strategies_of",
    "strategy_of",
    "true_scores",
]

_publish(globals())
