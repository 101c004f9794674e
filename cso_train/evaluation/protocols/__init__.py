"""Protocols that score whole conversations with simulated seekers; one file each."""

from cso_train.evaluation.protocols._base import (
    ArenaProtocol,
    ConversationJudge,
    Episode,
    EpisodeProtocol,
    JudgedProtocol,
    Metric,
    PairProtocol,
    Question,
)
from cso_train.evaluation.protocols._judges import ModelJudge, WorldJudge, world_value
from cso_train.evaluation.protocols.eia import ExplorationInsightAction
from cso_train.evaluation.protocols.interactive import Interactive
from cso_train.evaluation.protocols.single_turn import SingleTurn
from cso_train.evaluation.protocols.trajectory import Trajectory
from mctsdialog._public import publish

__all__ = [
    "PROTOCOLS",
    "ArenaProtocol",
    "ConversationJudge",
    "Episode",
    "EpisodeProtocol",
    "ExplorationInsightAction",
    "Interactive",
    "JudgedProtocol",
    "Metric",
    "ModelJudge",
    "PairProtocol",
    "Question",
    "SingleTurn",
    "Trajectory",
    "WorldJudge",
    "world_value",
]

PROTOCOLS: dict[str, type[EpisodeProtocol | PairProtocol]] = {
    each.name: each for each in (Interactive, Trajectory, ExplorationInsightAction, SingleTurn)
}
"""By name."""

publish(globals())
