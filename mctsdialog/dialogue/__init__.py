"""Conversations: turns, dialogues, strategies, domains, readers and sample dialogues."""

from mctsdialog.dialogue.model import (
    TEMPLATE_NAMES,
    Criterion,
    Dialogue,
    Domain,
    RoleDescription,
    Scenario,
    Speaker,
    Strategy,
    StrategySet,
    Turn,
)

__all__ = [
    "TEMPLATE_NAMES",
    "Criterion",
    "Dialogue",
    "Domain",
    "RoleDescription",
    "Scenario",
    "Speaker",
    "Strategy",
    "StrategySet",
    "Turn",
]
ESC = None
