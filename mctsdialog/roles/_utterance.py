r"""What one side says, out of a model's reply: without labels, echoes of the prompt, quotation marks and further turns.

The words themselves are never changed. At the start of a reply a name with a colon or a dash is read as a label
(``Question: may I ask?`` of the strategy Question). Anywhere else only what cannot be part of a sentence is a label: a
strategy's name in brackets between sentences, or in front of a line, and a side's name with a colon where a sentence
begins. Stage directions stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from mctsdialog.llm._wire import whole_text
from mctsdialog.segments import whole_sentences
from mctsdialog.text import spoken

_MOST = 10_000
"""Characters of a reply that are read. No utterance is so long."""

_ROUNDS = 6  # of labels in quotes in labels; a reply has one or two


class Utterance(NamedTuple):
    """What was said.

    :param text: the words; "" where nothing was said.
    :param ended: whether the end token was said.
    :param removed: what was taken away beside labels and quotation marks: "echoes" of the prompt, further "turns",
        further "paragraphs".
    """

    text: str
    ended: bool
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """Names that may stand before an utterance. Letter case does not count.

    :param own: names of the side that speaks.
    :param other: names of the other side.
    :param strategies: names that are labels in brackets, and with a colon at the start.
    :param bracketed: names that are labels in brackets alone.
    """

    own: tuple[str, ...]
    other: tuple[str, ...]
    strategies: tuple[str, ...] = ()
    bracketed: tuple[str, ...] = ()

    @cached_property
    def patterns(self) -> _Patterns:
        """The patterns of these names."""
        return _patterns(self)


def read_utterance(text: str, labels: Labels, *, echoes: Sequence[str] = (), cut: bool = False) -> Utterance:
    """What was said in a reply, its reasoning already taken out.

    :param echoes: texts of the prompt that a model may repeat.
    :param cut: whether a length limit cut the reply; it is then kept up to its last whole sentence.
    :raises ValueError: for a reply that is too long, or cut within its first sentence.
    """
    names = labels.patterns
    clean = _without_fence(spoken(whole_text(text[:_MOST])).strip())
    if not cut and len(text) <= _MOST and not _LAYOUT.search(clean) and not names.name.fullmatch(clean, 0, 200):
        return Utterance(clean, ended=False)  # plain prose, as most replies are
    removed = []
    unechoed = _without_echoes(clean, echoes)
    if unechoed != clean:
        removed.append("echoes")
    said = names.without_label(unechoed)
    if said[:1] in _PAIRS:
        said = said[0] + names.without_label(said[1:])
    turn = names.turn.search(said)
    if turn is not None:
        said = said[: turn.start()]
        removed.append("turns")
    paragraphs = [each.strip() for each in _BLANK_LINE.split(said.strip())]
    said, further = paragraphs[0], paragraphs[1:]
    if further:
        removed.append("paragraphs")
    if len(text) > _MOST and len(removed) == removed.count("echoes"):
        raise ValueError(_TOO_LONG)
    ended = has_end_token(said) or bool(further and _END_ALONE.fullmatch(further[0]))
    said = names.without_labels(_END.sub("", said) if ended else said, open_quote=bool(further or cut))
    if cut and not ended and not further and turn is None and said:
        said = whole_sentences(said)
        if not said:
            raise ValueError(_TOO_LONG)
    return Utterance(said if _says(said) else "", ended, tuple(removed))


_LAYOUT = re.compile(r"[^\w\s.,!?;…。！？、，؟।'’]|[^\S ]|\A['’]")
_TOO_LONG = "the reply is too long; say it in one or two short sentences"
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")


def _says(text: str) -> bool:
    """Whether there is more than marks of layout in a text."""
    return bool(text.strip(" \n\t*_#`>~\"'“”„«»「」『』"))


# -- the end token -----------------------------------------------------------------------------------------------------

_SLASHES = r"(?:[/\\／]\s*)"
_END = re.compile(rf"[<＜]\s*(?:{_SLASHES}+end\s*{_SLASHES}*|end\s*{_SLASHES}+)[>＞]", re.IGNORECASE)
_END_ALONE = re.compile(rf"[\W_]*{_END.pattern}[\W_]*", re.IGNORECASE)
_END_WORD = re.compile(r"\W*\[\s*/?\s*end\s*/?\s*\]\W*", re.IGNORECASE)


def has_end_token(text: str) -> bool:
    """Whether the end token stands in a text, in any of the forms that models give it."""
    return _END.search(text) is not None or _END_WORD.fullmatch(text) is not None


# -- what surrounds an utterance ---------------------------------------------------------------------------------------

_FENCE = re.compile(r"\A```[^\S\n]*[\w+-]*[^\S\n]*\n|\n[^\S\n]*```[^\S\n]*(?=\n|\Z)")
_ECHO = re.compile(r"[\[(【（［]\s*answer by\b[^\])】）］\n]{0,1000}[\])】）］][:：]?", re.IGNORECASE)


_LEAST_ECHO = 8  # characters; "Begin." may be meant


def _without_fence(text: str) -> str:
    if not text.startswith("```"):
        return text
    inside = _FENCE.sub("", text)
    return inside.removeprefix("```").removesuffix("```").strip()


def _without_echoes(text: str, echoes: Iterable[str]) -> str:
    for echo in sorted(echoes, key=len, reverse=True):
        plain = echo.strip()
        if len(plain) >= _LEAST_ECHO and plain in text:
            alone = re.compile(rf"(?:\A|\n)\s*{re.escape(plain)}[^\S\n]*(?=\n|\Z)")
            text = alone.sub("\n", text)
            if plain[0] in "[(" and plain[-1] in "])":
                text = text.replace(plain, "\n")
    return _ECHO.sub(" ", text).strip() if "nswer by" in text.casefold() else text.strip()


_PAIRS = {
    '"': '"', "'": "'", "“": "”", "„": "“”", "‟": "”", "”": "”", "«": "»", "»": "«", "‘": "’", "‚": "‘’", "‹": "›",
    "›": "‹",    "「": "」", "『": "』", "〝": "〞〟", "＂": "＂", "`": "`", "❝": "❞", "﹁": "﹂",
}  # fmt: skip


def _without_quotes(text: str, *, open_quote: bool) -> str:
    """A text without the quotation marks around all of it.

    :param open_quote: whether the closing mark may have been cut off with what followed.
    """
    if len(text) < 2 or text[0] not in _PAIRS:
        return text
    first, inner, last = text[0], text[1:-1], text[-1]
    marks = {first, *_PAIRS[first]}
    if last in _PAIRS[first] and not _stands_in(marks, inner):
        return inner.strip()
    if open_quote and not _stands_in(marks, text[1:]):
        return text[1:].strip()
    return text


def _stands_in(marks: Iterable[str], text: str) -> bool:
    """Whether one of the marks stands in a text, other than as the apostrophe of a word."""
    plain = _APOSTROPHE.sub("", text)
    return any(mark in plain for mark in marks)


_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")


# -- labels ------------------------------------------------------------------------------------------------------------

_OPEN, _CLOSE = r"[(\[{<（［【｛「『《〈＜〔]", r"[)\]}>）］】｝」』》〉＞〕]"
_COLON = r"[:：﹕꞉]"
_DASH = r"[-–—－]"
_BOLD = r"[*_]{0,3}"
_SENTENCE_END = r"[.!?…。！？｡．؟۔।॥։።။៕]"
_NONE = re.compile(r"(?!)")


@dataclass(frozen=True)
class _Patterns:
    """The patterns of a set of labels.

    :param name: names alone.
    :param start: a label before an utterance.
    :param strange: the other side's label before an utterance.
    :param own: where a turn of the own side begins.
    :param turn: where another turn begins.
    :param between: a strategy in brackets between two sentences, or with a colon where a line begins.
    :param end: a label after the last sentence.
    """

    name: re.Pattern[str]
    start: re.Pattern[str]
    strange: re.Pattern[str]
    own: re.Pattern[str]
    turn: re.Pattern[str]
    between: re.Pattern[str]
    end: re.Pattern[str]

    def without_label(self, text: str) -> str:
        """A reply without what stands before its first word."""
        if self.strange.match(text) and (own := self.own.search(text)):
            text = text[own.start() :].strip()  # the other side's last turn was repeated
        for _ in range(_ROUNDS):
            label = self.start.match(text)
            if label is None:
                break
            text = text[label.end() :].strip()
        return text

    def without_labels(self, text: str, *, open_quote: bool) -> str:
        """An utterance without labels and quotation marks, in whatever order they stand around it."""
        for _ in range(_ROUNDS):
            before = text
            text = _without_quotes(text.strip(), open_quote=open_quote)
            text = self.end.sub("", self.without_label(text)).strip()
            if text == before:
                break
        return self.between.sub(lambda found: found[1] or found[2], text).strip()


@lru_cache(maxsize=64)
def _patterns(labels: Labels) -> _Patterns:
    own, other = _names(labels.own), _names(labels.other)
    sides = _names((*labels.own, *labels.other))
    strategies = _names(labels.strategies)
    plain = _names((*labels.own, *labels.other, *labels.strategies))
    every = _names((*labels.own, *labels.other, *labels.strategies, *labels.bracketed))
    bracketed = _names((*labels.strategies, *labels.bracketed))
    return _Patterns(
        name=_compiled(plain),
        start=_compiled(rf"(?:>\s*)?(?:{_bracket(every)}\s*{_COLON}?\s*|{_before(plain, sides)})"),
        strange=_compiled(rf"{_bracket(other)}|{_before(other, other)}") if labels.own != labels.other else _NONE,
        own=_turn(own),
        turn=_turn(sides),
        between=_compiled(
            rf"({_SENTENCE_END}[\"'”’»」』]*\s+|\n\s*){_bracket(bracketed)}{_COLON}?[^\S\n]*"
            + (rf"|(\n)\s*{_BOLD}{strategies}{_BOLD}\s*{_COLON}{_BOLD}[^\S\n]*" if labels.strategies else "")
        ),
        end=_compiled(
            rf"(?<={_SENTENCE_END[:-1]}\"'”’»」』)*]){_SPACES}{_bracket(every)}\s*\Z"
            rf"|\n\s*{_BOLD}(?:strategy|technique|策略)(?:\s+used)?\s*{_COLON}[^\n]{{0,3}}{every}\W*\Z"
        ),
    )


_SPACES = r"(?<!\s)\s*"


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _names(names: Iterable[str]) -> str:
    """One or several of the names, as models write them; matches nothing if there are none."""
    known = sorted({name.strip() for name in names if name.strip()}, key=lambda name: (-len(name), name))
    if not known:
        return r"(?!)"
    one = "|".join(r"[\s_-]{1,3}".join(map(re.escape, re.split(r"[\s_-]+", name))) for name in known)
    return rf"(?<!\w)(?:{one})(?:(?:\s*[,/+&|、]\s*|\s+and\s+|\s+)(?:{one})){{0,3}}(?!\w)"


def _bracket(names: str, slash: str = "/?") -> str:
    """Names in brackets of any kind, with nothing else in them but what says that it is a label."""
    said = r"(?:(?:strategy|technique|role|speaker|label|as|策略|角色)\b(?:\s+used)?\s*[:：=-]?\s*(?:(?:the|an?)\s+)?)?"
    return rf"{_BOLD}{_OPEN}{{1,2}}\s*{slash}{_BOLD}{said}{names}\s*{_COLON}?{_BOLD}\s*{_CLOSE}{{1,2}}{_BOLD}"


def _before(names: str, sides: str) -> str:
    """Names before an utterance: with a colon, a dash, as a heading, in bold, or alone in a line."""
    said = rf"(?:as\s+(?:the|an?|your)\s+|answer(?:ing)?\s+by\s+|(?:strategy|策略)(?:\s+used)?\s*{_COLON}\s*)?"
    more = r"(?:['’]s)?(?:\s+(?:response|reply|answer|turn|says|said))?"
    note = rf"(?:\s*{_OPEN}[^()\[\]{{}}\n]{{0,60}}{_CLOSE})?"
    label = rf"(?:#{{1,6}}[^\S\n]*)?{_BOLD}{said}(?:{names}|[\"“]{names}[\"”]){more}{_BOLD}{note}{_BOLD}"
    return (
        rf"{label}\s*{_COLON}{_BOLD}\s*|{label}[^\S\n]+{_DASH}{{1,2}}[^\S\n]+(?-i:(?![a-z]))"
        rf"|{_BOLD}{sides}{_BOLD}\s*{_DASH}{{1,2}}[^\S\n]+|(?:strategy|technique|策略)(?:\s+used)?\s*{_COLON}\s*{names}[^\S\n]*\n\s*"
        rf"|{_BOLD}{names}{_BOLD}[^\S\n]*\n\s*|#{{1,6}}[^\S\n]*{_BOLD}{names}{_BOLD}[^\S\n]*(?:\n\s*|\Z)"
        rf"|(?-i:\*\*){names}\*\*[^\S\n]+(?-i:(?=[A-Z]))|{names}\Z"
    )


_TITLES = ("mr", "ms", "mrs", "dr", "prof", "dear")
_NO_TITLE = "".join(rf"(?<!\b{title}{after})" for title in _TITLES for after in (r"\.", r"\.\s", r"\s"))


def _turn(sides: str) -> re.Pattern[str]:
    """Where a turn of one of the sides begins, after the first."""
    note = rf"(?:\s*{_OPEN}[^()\[\]{{}}\n]{{0,60}}{_CLOSE})?"
    bracket = _bracket(sides, slash="")
    label = rf"{_BOLD}{_OPEN}?{_BOLD}{sides}{_BOLD}{_CLOSE}?{_BOLD}{note}{_BOLD}\s*{_COLON}"
    line = rf"\n\s*(?:#{{1,6}}\s*)?(?:{label}|{bracket}|(?:#{{1,6}}\s*|\*\*){sides}(?:\*\*|[^\S\n]*(?=\n|\Z)))"
    inside = rf"(?<={_SENTENCE_END[:-1]}\"'”’»」』)*]){_NO_TITLE}{_SPACES}(?:{label}|{bracket}{_COLON}?(?=\s|\Z))"
    capital = rf"(?<=\s){_NO_TITLE}(?=[*_(\[]*(?-i:[A-Z])){label}"
    return _compiled(rf"{line}|{inside}|{capital}")
