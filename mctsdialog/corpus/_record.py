"""What became of one dialogue of a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from mctsdialog.roles import RoleHealth

Status: TypeAlias = Literal["done", "stopped", "skipped", "failed", "not begun"]
"""What became of a dialogue: searched; stopped by a budget; finished before; failed; no budget left for it."""


@dataclass(frozen=True, slots=True)
class TreeRecord:
    """What became of one dialogue.

    :param id: the dialogue's.
    :param status: see :data:`Status`.
    :param nodes: nodes of its tree, and ``ends`` and ``iterations``; 0 without a tree.
    :param best: mean Q of the best path; None if no path has reached an end.
    :param stop_reason: why its search stopped.
    :param error: what it failed with.
    :param seconds: of its search.
    :param closed: branches that models or their providers refused for good, by reason ("supporter: refusal").
    :param health: what the health check has counted in its tree; None without one.
    """

    id: str
    status: Status
    nodes: int = 0
    ends: int = 0
    iterations: int = 0
    best: float | None = None
    stop_reason: str | None = None
    error: str | None = None
    seconds: float = 0.0
    closed: Mapping[str, int] = field(default_factory=dict)
    health: RoleHealth | None = None
