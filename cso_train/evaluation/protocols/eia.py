"""Two systems with the same seeker, compared on Exploration, Insight and Action.

Source: the idea of ESC-Judge, Madani and Srihari, EMNLP 2025: pairwise verdicts on whole sessions of the same role, by
the stages of Hill's model of helping. Questions and prompts are our own; both orders are asked, and ties are allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cso_train.evaluation.protocols._base import PairProtocol


class ExplorationInsightAction(PairProtocol):
    """Pairwise verdicts by the three stages of helping."""

    name = "eia"
    title = "Exploration, Insight, Action"
    source = 'after Madani and Srihari, "ESC-Judge", EMNLP 2025; stages by Hill'
    criteria: ClassVar[Mapping[str, str]] = {
        "exploration": "In which conversation does the supporter do more to let the seeker tell of situation, thoughts "
        "and feelings: attending, reflecting, asking openly, without judging?",
        "insight": "In which conversation does the supporter do more to help the seeker see itself or its situation in "
        "a new way: naming patterns, offering other views gently, at a moment when they can be taken up?",
        "action": "In which conversation does the supporter do more towards a next step that fits this seeker: "
        "exploring options, planning, giving information that is wanted?",
    }
