"""What a tree's numbers and names mean, in words for people."""

from __future__ import annotations

from mctsdialog.text import one_line

_REASONS = {
    "enough_ends": "enough dialogues had ended",
    "max_ends": "the most dialogues had ended",
    "closed": "no branch was left open",
    "complete": "the search was complete",
    "budget: calls": "its calls were spent",
    "budget: tokens": "its tokens were spent",
    "budget: money": "its money was spent",
    "budget: seconds": "its time was up",
}


def stop_words(reason: str | None, iterations: int) -> str:
    """When and why a search stopped: "stopped after 200 iterations"."""
    after = f"after {iterations:,} iteration{'s' * (iterations != 1)}"
    if reason is None:
        return f"not finished {after}"
    if reason == "max_iterations":
        return f"stopped {after}"
    return f"stopped {after}: {_REASONS.get(reason) or one_line(reason)}"
