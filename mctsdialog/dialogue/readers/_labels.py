"""From the labels of a turn, as data sets write them, to strategies of the domain."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

from mctsdialog.dialogue._model import Domain, StrategySet, normal_name
from mctsdialog.dialogue.readers._report import UNKNOWN, UNLABELLED, Tally, clip

_OTHERS = ("other", "others", "其他")
_BRACKETS = " \t\n[](){}【】（）「」\"'“”‘’"
_CLOSE = 0.75  # how alike two names are that may be the same, from 0 to 1
_BETWEEN = re.compile(r"[;,/|+&\n、；，]")
_WORDS_BETWEEN = re.compile(r"\s+(?:and|und|et|y)\s+|[和与及]")


def strategies_of(labels: Iterable[str], domain: Domain, tally: Tally, *, keep: bool = False) -> tuple[str, ...]:
    """The strategies that a turn's labels name, each once. The first one counts; the others are counted as further.

    Without any, the reason is counted. A label may stand in brackets, and name several strategies.

    :param keep: whether a turn without a strategy is kept, so that only its unknown labels are lost.
    """
    found: dict[str, str] = {}
    unknown: list[str] = []
    for label in filter(None, labels):
        for part, name in _parts(label, domain.strategies):
            if name is None:
                unknown.append(part)
            elif name not in found:
                found[name] = part
    for label in unknown:
        if not _is_other(label):
            tally.count("unknown_labels", clip(label))
    if not found and not keep:
        tally.count("supporter_turns_dropped", _reason(unknown))
        return ()
    for name, part in found.items():
        if name != part:
            tally.count("labels_normalised", (clip(part), name))
    for label in (*list(found)[1:], *unknown):
        tally.count("further_labels", clip(label))
    return tuple(found)


def _parts(label: str, strategies: StrategySet) -> Iterator[tuple[str, str | None]]:
    """The strategies that one label names, as (what stands there, its name in the set or None)."""
    for plain in (label, label.strip(_BRACKETS)):
        if name := strategies.resolve(plain):
            yield label, name
            return
    for between in (_BETWEEN, _WORDS_BETWEEN):
        parts = [part for each in between.split(label) if (part := each.strip(_BRACKETS))]
        names = [strategies.resolve(part) for part in parts]
        if len(parts) > 1 and any(names):
            yield from zip(parts, names, strict=True)
            return
    yield label, None


def _reason(unknown: list[str]) -> str:
    if not unknown:
        return UNLABELLED
    return "strategy 'Others'" if _is_other(unknown[0]) else f"{UNKNOWN}{clip(unknown[0])}"


def _is_other(label: str) -> bool:
    return normal_name(label.strip(_BRACKETS)) in _OTHERS


def nearest(label: str, strategies: StrategySet) -> str | None:
    """The strategy whose name, or an alias of it, is so close to a label that it may be meant."""
    names = {normal_name(name): name for name in (*strategies.aliases, *strategies.names)}
    near = difflib.get_close_matches(normal_name(label), names, n=1, cutoff=_CLOSE)
    return strategies.resolve(names[near[0]]) if near else None
