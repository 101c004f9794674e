"""What a word, a sentence and a character are, in every script.

A character is what a reader sees as one: a grapheme cluster (Unicode Standard Annex 29). A word is what stands between
white space. Where a script puts no space between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan), each
character is a word, as evaluations of these languages count. English text gives exactly what ``str.split`` gives.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import reduce

import regex

_JOINED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}ー"  # not even sentences are set apart by a space
_UNSPACED = rf"[[{_JOINED}\p{{Thai}}\p{{Lao}}\p{{Khmer}}\p{{Myanmar}}\p{{Tibetan}}]&&[\p{{L}}\p{{Nl}}]]"
_OTHER = rf"(?:(?!{_UNSPACED})\S)"
_OTHER_LETTER = rf"(?:(?!{_UNSPACED})\w)"


def _compiled(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern, regex.VERSION1)


_HAS_UNSPACED = _compiled(_UNSPACED)
_PIECE = _compiled(  # marks stay with the word that they touch, as they do between spaces
    rf"[^\w\s]*(?:(?={_UNSPACED})\X|{_OTHER_LETTER}(?:{_OTHER}*{_OTHER_LETTER})?)[^\w\s]*"
)
_LETTER = r"[\p{L}\p{M}\p{Nd}]"
_TERM = _compiled(rf"(?={_UNSPACED})\X|(?:(?!{_UNSPACED}){_LETTER})+")
_CLUSTER = _compiled(r"\X")
_SYMBOL = _compiled(r"(?=\p{S})\X")
_LAST_LETTER = _compiled(rf"(?r){_LETTER}")
_FIRST_LETTER = _compiled(_LETTER)
_JOINED_LETTER = _compiled(rf"[{_JOINED}]")


def words(text: str) -> list[str]:
    """The words of a text as they stand, with the marks that touch them."""
    parts = text.split()
    if text.isascii() or not _HAS_UNSPACED.search(text):
        return parts
    return [piece for part in parts for piece in (_PIECE.findall(part) or [part])]


def terms(text: str) -> list[str]:
    """The words of a text as they are compared: case folded, letters and digits alone.

    A text of emoji or other symbols alone is compared by these; a text of marks alone has no terms.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    text = text.casefold()
    found: list[str] = _TERM.findall(text)
    return found or _SYMBOL.findall(text)


def characters(text: str) -> list[str]:
    """The characters of a text, as a reader sees them."""
    return list(text) if text.isascii() else _CLUSTER.findall(text)


def joined(parts: Iterable[str]) -> str:
    """Texts as one: with a space between, but none where both sides are Chinese or Japanese, or a wide mark ends one.

    Thai, Lao and Khmer set sentences apart by a space, and get one.
    """
    return reduce(_join, parts)


def _join(one: str, other: str) -> str:
    return f"{one}{other}" if _touch(one, other) else f"{one} {other}"


def _touch(one: str, other: str) -> bool:
    if not one or not other or _wide_mark(one[-1]) or _wide_mark(other[0]):
        return True
    last, first = _LAST_LETTER.search(one), _FIRST_LETTER.search(other)
    return bool(last and first and _JOINED_LETTER.match(last[0]) and _JOINED_LETTER.match(first[0]))


def _wide_mark(letter: str) -> bool:
    return unicodedata.category(letter)[0] == "P" and unicodedata.east_asian_width(letter) in "WF"


# -- sentences ---------------------------------------------------------------------------------------------------------

_MORE_ENDS = re.compile(r"[។៕།༎][\"'”’»)]*(?=\s)")
_ELLIPSIS = re.compile(r"(?:…+|\.{3,})[\"'”’»」』)]*(?=\s)")
_GREEK = re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]")
_NO_MARKS = re.compile(r"[\u0e00-\u0eff]")  # Thai and Lao: a space ends a sentence or a clause
_CLOSING = re.compile(r"[\"'”’»」』)）\]】*_]*")
_NUMBER_ALONE = re.compile(r"(?:^|[:：]\s*)\(?\d{1,3}[.)]\s*$")


def whole_sentences(text: str) -> str:
    """A text that was cut, up to the end of its last whole sentence; "" if it has none.

    Sentences end where sentencex ends them, which knows the marks of all scripts and common abbreviations. A text with
    no such end is kept up to its last ellipsis, and Thai or Lao, which write no marks, up to the last space.
    """
    end = max(_end_of_sentences(text), _last(_MORE_ENDS, text))
    if not end:
        end = _last(_ELLIPSIS, text)
    if not end and _NO_MARKS.search(text):
        end = max(text.rfind(" "), 0)
    closing = _CLOSING.match(text, end) if end else None
    return text[: closing.end() if closing else end].strip()


def _end_of_sentences(text: str) -> int:
    import sentencex  # noqa: PLC0415  # a cut reply is rare, and nothing else needs it

    # With a word after it, a text that is cut right after a mark ends in a whole sentence, or in an abbreviation.
    sentences = sentencex.segment("el" if _GREEK.search(text) else "en", f"{text} X")[:-1]
    while sentences and _NUMBER_ALONE.search(sentences[-1]):
        sentences.pop()
    return len("".join(sentences).rstrip())


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Where the last match ends; 0 if there is none."""
    return max((found.end() for found in pattern.finditer(f"{text} ")), default=0)
