"""The search: select, expand, simulate, backpropagate; ask/tell trials; stopping; the journal."""

from mctsdialog._search.config import SearchConfig
from mctsdialog._search.engine import Engine
from mctsdialog._search.header import open_journal, roles_for
from mctsdialog._search.policy import Plan, plan
from mctsdialog._search.rules import BackupRule, ScoreRule, pucb, running_mean
from mctsdialog._search.run import search
from mctsdialog._search.simulate import CheckedRoles, History, most_calls, most_calls_by_role, run_probe, run_trial
from mctsdialog._search.trial import Closure, Exchange, Growth, Outcome, Trial

__all__ = [
    "BackupRule",
    "CheckedRoles",
    "Closure",
    "Engine",
    "Exchange",
    "Growth",
    "History",
    "Outcome",
    "Plan",
    "ScoreRule",
    "SearchConfig",
    "Trial",
    "most_calls",
    "most_calls_by_role",
    "open_journal",
    "plan",
    "pucb",
    "roles_for",
    "run_probe",
    "run_trial",
    "running_mean",
    "search",
]
