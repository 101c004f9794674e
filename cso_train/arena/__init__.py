"""Systems in conversations with simulated seekers, scored by several protocols and compared by card."""

from cso_train.arena._entrants import (
    Entrant,
    ModelEntrant,
    PlanEntrant,
    PolicyEntrant,
    RepeatModel,
    ScriptEntrant,
    Speaker,
)
from cso_train.arena._figures import strength_figure, trajectory_figure, win_figure, write_figures
from cso_train.arena._play import ModelSeekers, Seekers, WorldSeekers
from cso_train.arena._report import arena_json, arena_latex, arena_markdown
from cso_train.arena._result import ArenaResult, JudgeReport, PairedDifference, ProtocolResult, arena_result
from cso_train.arena._run import Answer, ArenaRun, run_arena
from cso_train.arena._sheets import write_sheets
from cso_train.arena._strength import bradley_terry, spearman
from cso_train.arena._transcripts import conversation_tree, write_transcripts
from cso_train.arena._worlds import world_planner
from mctsdialog._public import publish

__all__ = [
    "Answer",
    "ArenaResult",
    "ArenaRun",
    "Entrant",
    "JudgeReport",
    "ModelEntrant",
    "ModelSeekers",
    "PairedDifference",
    "PlanEntrant",
    "PolicyEntrant",
    "ProtocolResult",
    "RepeatModel",
    "ScriptEntrant",
    "Seekers",
    "Speaker",
    "WorldSeekers",
    "arena_json",
    "arena_latex",
    "arena_markdown",
    "arena_result",
    "bradley_terry",
    "conversation_tree",
    "run_arena",
    "spearman",
    "strength_figure",
    "trajectory_figure",
    "win_figure",
    "world_planner",
    "write_figures",
    "write_sheets",
    "write_transcripts",
]

publish(globals())
