"""The strategy that a reply names, read as people would read it.

The strict parse, :func:`mctsdialog.preferences.parse_reply`, takes the one form that models are trained on. A model
that was never trained uses others; to count them as wrong is to measure the form. The lenient parse takes
them all, so that a table can show both.
"""

from __future__ import annotations

import re

from mctsdialog._arguments import checked
from mctsdialog.dialogue import StrategySet
from mctsdialog.preferences import parse_reply

_OPENERS = re.escape("([{<（［【〔《「『\"'“”„‘’«*_`#~>-•")
_CLOSERS = re.escape(")]}>）］】〕》」』\"'“”’»*_`~")
_LEAD = re.compile(rf"(?:[\s{_OPENERS}]|\d{{1,2}}[.)]\s)*")
_LABEL = re.compile(
    rf"(?:(?:support(?:ive|ing)?\s+)?strateg(?:y|ies)(?:\s+(?:used|name|chosen))?|策略)"
    rf"(?:\s*[{_CLOSERS}]*\s*[:：=\-–—][\s{_CLOSERS}{_OPENERS}]*|\s*[{_CLOSERS}]+[\s{_OPENERS}]*)",
    re.IGNORECASE,
)
_NEXT = re.compile(rf"[\s{_CLOSERS}]*(?:[,，、;；/&+|]|and\b|和|(?<=[{_CLOSERS}])\s*(?=[{_OPENERS}]))[\s{_OPENERS}]*")
_END = re.compile(rf"\s*(?:[{_CLOSERS}]|[:：。\n\r]|[-–—]\s|\.(?:\s|\Z)|\Z)")
_AFTER = re.compile(rf"[\s{_CLOSERS}:：\-–—.。]*")


@checked()
def parse_leniently(reply: str, strategies: StrategySet) -> tuple[str | None, str]:
    """The strategy that a reply names first, in whatever marks, and what follows it.

    ``Affirmation: text``, ``**Affirmation** text``, ``(Strategy: Affirmation) text``, quotes, full-width brackets and
    several names are read. A name without a mark behind it is a word of the text.

    :returns: None and the whole reply where it begins with no strategy of the set.
    """
    strict = parse_reply(reply, strategies)
    if strict[0] is not None:
        return strict
    names = _names(strategies)
    found = names.match(reply, _end(_LABEL, reply, _end(_LEAD, reply, 0)))
    if found is None:
        return None, reply.strip()
    end = found.end()
    while further := names.match(reply, _end(_NEXT, reply, end)):
        if further.start() == end:  # two names are one word
            break
        end = further.end()
    if not _END.match(reply, end):
        return None, reply.strip()
    return strategies.resolve(" ".join(found.group().split())), reply[_end(_AFTER, reply, end) :].strip()


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return start if found is None else found.end()


def _names(strategies: StrategySet) -> re.Pattern[str]:
    """Every name and alias of the set, the longest first, a hyphen or a space between its words."""
    known = sorted({*strategies.names, *strategies.aliases}, key=len, reverse=True)
    words = (r"[\s\-_]+".join(map(re.escape, re.split(r"[\s\-_]+", name))) for name in known)
    return re.compile(rf"(?:{'|'.join(words)})", re.IGNORECASE)
