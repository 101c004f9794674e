"""The search around an algorithm: seeding, trials in progress, limits, the journal; and the search as a policy."""

from mctsdialog._search.header import open_journal, roles_for
from mctsdialog._search.policy import Plan, plan
from mctsdialog._search.run import search
from mctsdialog._search.simulate import CheckedRoles, History, run_probe, run_trial
from mctsdialog.algorithms._config import SearchConfig

__all__ = [
    "CheckedRoles",
    "History",
    "Plan",
    "SearchConfig",
    "open_journal",
    "plan",
    "roles_for",
    "run_probe",
    "run_trial",
    "search",
]
