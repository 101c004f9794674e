"""What is odd about conversations: failures, and turns that a reader of the scores should know of. They are counted."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from cso_train.arena._play import MOST_CHARACTERS
from cso_train.evaluation.protocols import Episode

ODDITIES = {
    "failed: supporter": "conversations that end because the system gave no reply that can be used; scored up to there",
    "failed: seeker": "conversations in which the seeker gave no turn that can be used; not scored",
    "cut": f"replies of the system that were longer than {MOST_CHARACTERS} characters, and cut",
    "repeated": "replies of the system that repeat one of its earlier replies word for word",
    "other script": "turns mostly in another script than the conversation began in",
    "to the judge": "turns that speak to a judge or give instructions to a model; judged as they stand",
}
"""By name, what is counted."""

_TO_THE_JUDGE = re.compile(
    r"ignore\s+(?:all\s+|any\s+)?(?:the\s+)?(?:previous|prior|above|earlier)\b"
    r"|\b(?:dear|note\s+to\s+(?:the\s+)?|attention,?\s+)(?:judge|evaluator|rater|grader)\b"
    r"|\b(?:judge|evaluator|grader)s?\s*[:,]\s|\b(?:system\s+prompt|as\s+an\s+ai\s+(?:judge|evaluator))\b"
    r"|\b(?:conversation|answer|response)\s+[ab]\s+is\s+better\b|\bgive\s+(?:this|me)\b[^.]{0,40}\b(?:score|rating|points)\b"
    r"|[\"'](?:exploration|insight|action|empathy|strategy)[\"']\s*:",
    re.IGNORECASE,
)


def oddities(episodes: Sequence[Episode]) -> dict[str, dict[str, int]]:
    """By system, what is odd about its conversations, and how often; only what there is."""
    found: dict[str, Counter[str]] = {}
    for episode in episodes:
        count = found.setdefault(episode.system, Counter())
        if episode.failure is not None:
            count[f"failed: {episode.failure.partition(':')[0]}"] += 1
        replies = [turn.text for turn in episode.replies]
        count["cut"] += sum(len(reply) >= MOST_CHARACTERS for reply in replies)
        count["repeated"] += len(replies) - len(set(replies))
        turns = [turn.text for turn in episode.dialogue.turns]
        count["to the judge"] += sum(bool(_TO_THE_JUDGE.search(text)) for text in turns)
        scripts = [script for text in turns if (script := _script(text)) is not None]
        count["other script"] += sum(each != scripts[0] for each in scripts)
    return {system: dict(+count) for system, count in found.items()}


def _script(text: str) -> str | None:
    """The script of most letters of a text, by the first word of their Unicode names; None for fewer than ten."""
    letters = [unicodedata.name(letter, "").partition(" ")[0] for letter in text[:1000] if letter.isalpha()]
    return Counter(letters).most_common(1)[0][0] if len(letters) >= 10 else None
