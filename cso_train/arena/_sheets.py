"""Conversations of an arena as sheets for people: blind and shuffled, two systems compared, and each one rated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cso_train.arena._run import ArenaRun, pairs_of
from cso_train.evaluation._ratings import RATED_WHOLE
from cso_train.evaluation._sheets import SheetKey, SheetKind, drawn_order, sheet_code, write_sheet
from cso_train.evaluation.protocols import Episode, ExplorationInsightAction, PairProtocol
from mctsdialog._arguments import checked
from mctsdialog.files import inside
from mctsdialog.roles import one_block

OVERALL = "All in all, in which conversation does the supporter help the seeker more?"
"""What people are asked beside the questions of the protocol that compares."""

_CARD = "card"
_COMPARED = 'Write into every column "A" or "B", whichever conversation is better, or "tie" where neither is.'
_RATED = "Write into every column a whole number from 1 (very poor) to 5 (very good)."
_NO_REPLY = "Supporter: [no reply]"


@checked()
def write_sheets(run: ArenaRun, folder: str | Path, *, seed: int = 0) -> list[Path]:
    """Write the conversations that are scored as two sheets for people, each in a folder of its own.

    ``pairwise-CODE`` has each two systems' conversations with the same seeker, ``rate-CODE`` every conversation.
    The code depends on what is in the sheet: other conversations make another folder, and what people filled in keeps
    its key. ``mctsdialog studio`` shows the sheets; ``python -m cso_train pairwise`` and ``rate`` sum them up.

    :param seed: of the order, and of which conversation stands first.
    :returns: sheets, instructions and keys; nothing of a kind that there is nothing for.
    :raises OSError: where a file cannot be written.
    """
    scored = [each for each in run.episodes if each.counts]
    written = _rating_sheet(Path(folder), scored, seed) if scored else []
    if pairs := pairs_of(scored):  # written last, so that the studio shows it first
        written += _pair_sheet(Path(folder), pairs, _criteria(run), seed)
    return written


def _criteria(run: ArenaRun) -> Mapping[str, str]:
    """The questions that the run's judges are asked about two conversations, so that people's answers compare."""
    asked = next((each for each in run.protocols if isinstance(each, PairProtocol)), ExplorationInsightAction)
    return {**asked.criteria, "overall": OVERALL}


def _pair_sheet(
    folder: Path, pairs: Sequence[tuple[Episode, Episode]], criteria: Mapping[str, str], seed: int
) -> list[Path]:
    order, swapped = drawn_order(len(pairs), seed)
    texts = [[_card(one), _text(one), _text(other)] for one, other in pairs]
    about: dict[str, Any] = {
        "first": [one.system for one, _ in pairs],
        "second": [other.system for _, other in pairs],
        "cards": [one.card for one, _ in pairs],
    }
    key = SheetKey("pairwise", sheet_code(texts, seed), criteria, order, swapped, about)
    rows = []
    for row, (place, turned) in enumerate(zip(order, swapped, strict=True)):
        card, one, other = texts[place]
        rows.append([key.name(row), card, *((other, one) if turned else (one, other))])
    return _written(folder, key, [_CARD, "conversation A", "conversation B"], rows, _COMPARED)


def _rating_sheet(folder: Path, episodes: Sequence[Episode], seed: int) -> list[Path]:
    order, _ = drawn_order(len(episodes), seed)
    texts = [[_card(each), _text(each)] for each in episodes]
    about: dict[str, Any] = {
        "groups": [each.system for each in episodes],
        "strategies": [None] * len(episodes),
        "cards": [each.card for each in episodes],
    }
    key = SheetKey("rate", sheet_code(texts, seed), RATED_WHOLE, order, (False,) * len(order), about)
    rows = [[key.name(row), *texts[place]] for row, place in enumerate(order)]
    return _written(folder, key, [_CARD, "conversation"], rows, _RATED)


def _written(
    folder: Path, key: SheetKey, shown: Sequence[str], rows: Sequence[Sequence[str]], allowed: str
) -> list[Path]:
    kind: SheetKind = key.kind
    return write_sheet(inside(folder, f"{kind}-{key.code}"), key, shown, rows, allowed)


def _card(episode: Episode) -> str:
    """What a judge may know of the seeker."""
    scenario = episode.dialogue.scenario
    return ": ".join(filter(None, (scenario.scene, scenario.description)))


def _text(episode: Episode) -> str:
    """A conversation, a turn a block: no line of a turn can be taken for another turn.

    Strategies are left out: only some systems name them, and would be known by it.
    """
    lines = [f"{turn.speaker.capitalize()}: {one_block(turn.text)}" for turn in episode.dialogue.turns]
    return "\n".join([*lines, _NO_REPLY] if episode.failure is not None else lines)
