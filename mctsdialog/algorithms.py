"""What a search is made of, for those who drive or change one: ask and tell over a tree, trials as data, the rules.

An :class:`Engine` holds the tree's side of the search and calls no model; :class:`ScoreRule` and :class:`BackupRule`
are the two rules that :func:`mctsdialog.search` takes.
"""

from mctsdialog._public import publish as _publish
from mctsdialog._search import (
    BackupRule,
    Closure,
    Engine,
    Exchange,
    Growth,
    Outcome,
    ScoreRule,
    Trial,
    most_calls,
    most_calls_by_role,
    pucb,
    running_mean,
)

__all__ = [
    "BackupRule",
    "Closure",
    "Engine",
    "Exchange",
    "Growth",
    "Outcome",
    "ScoreRule",
    "Trial",
    "most_calls",
    "most_calls_by_role",
    "pucb",
    "running_mean",
]

_publish(globals())
