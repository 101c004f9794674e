"""Where the sentences of a text end, in any script."""

from __future__ import annotations

import re

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
    """Where the last match ends; 0 where there is none."""
    return max((found.end() for found in pattern.finditer(f"{text} ")), default=0)
