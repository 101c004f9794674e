"""The search: select, expand, simulate, backpropagate; ask/tell trials; stopping; the journal."""

from mctsdialog.search.config import SearchConfig
from mctsdialog.search.engine import Engine
from mctsdialog.search.journal import Journal
from mctsdialog.search.rules import BackupRule, ScoreRule, pucb, running_mean
from mctsdialog.search.runner import search
from mctsdialog.search.trial import Exchange, Outcome, Trial

__all__ = [
    "BackupRule",
    "Engine",
    "Exchange",
    "Journal",
    "Outcome",
    "ScoreRule",
    "SearchConfig",
    "Trial",
    "pucb",
    "running_mean",
    "search",
]
