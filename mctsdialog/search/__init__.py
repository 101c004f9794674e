"""The search: select, expand, simulate, backpropagate; ask/tell trials; stopping; the journal."""

from mctsdialog.search.config import SearchConfig
from mctsdialog.search.engine import Engine
from mctsdialog.search.journal import Journal, roles_for
from mctsdialog.search.plan import Plan, plan
from mctsdialog.search.play import History, Players, most_calls, most_calls_by_role, play, play_probe
from mctsdialog.search.rules import BackupRule, ScoreRule, pucb, running_mean
from mctsdialog.search.runner import search
from mctsdialog.search.trial import Closure, Exchange, Growth, Outcome, Trial

__all__ = [
    "BackupRule",
    "Closure",
    "Engine",
    "Exchange",
    "Growth",
    "History",
    "Journal",
    "Outcome",
    "Plan",
    "Players",
    "ScoreRule",
    "SearchConfig",
    "Trial",
    "most_calls",
    "most_calls_by_role",
    "plan",
    "play",
    "play_probe",
    "pucb",
    "roles_for",
    "running_mean",
    "search",
]
