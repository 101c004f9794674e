"""What may be shown of a text that somebody else wrote: characters that a terminal acts on become visible escapes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import unicodedata

_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format, lone surrogates, line and paragraph separators
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters by their category that show nothing
_JOINERS = "\u200c\u200d"  # Persian and Indic scripts and emoji need them
_LINE_ENDS = str.maketrans({"\n": r"\n", "\t": r"\t"})


def visible(text: str) -> str:
    r"""``text`` with every character that a terminal acts on, or that hides or reorders others, as an escape.

    Newline and tab stay. Escapes are Python's: ``\x1b``, ``\u202e``, ``\U000e0041``. Escaped are control characters
    (C0, DEL, C1), bidirectional controls, zero-width and other format characters, line and paragraph separators, the
    selectors that can hide bytes, and lone surrogates, which cannot be encoded. Joiners stay between characters that
    they join (``می‌خواهم``, emoji).
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter in "\n\t" or not _acts(letter) or _joins(text, at) else _escape(letter)
        for at, letter in enumerate(text)
    )


def one_line(text: str) -> str:
    """``text`` as :func:`visible` shows it, on one line: every run of white space is a space."""
    return visible(" ".join(text.split()))


def counted(count: int, what: str, plural: str | None = None) -> str:
    """A number of things in words: "1 tree", "2 trees", "0 branches".

    :param plural: where it is not ``what`` with an s.
    """
    return f"{count} {what if count == 1 else plural or what + 's'}"


def visible_line(text: str) -> str:
    r"""``text`` as :func:`visible` shows it, on one line: newline and tab become ``\n`` and ``\t``."""
    return visible(text).translate(_LINE_ENDS)


def with_article(name: str) -> str:
    """``name`` after its English article: "a customer", "an agent", "a user". Names in other letters get "a"."""
    plain = unicodedata.normalize("NFD", name[:20]).casefold()
    return f"an {name}" if _AN.match(plain) else f"a {name}"


_AN = re.compile(r"(?!eu|one\b|once\b|u(?:s[aeu]|ni(?![nm])|ti|k|rol))[aeiou]")
"""The beginning of a word that is spoken with a vowel; "user", "unit", "European" and "one" are not."""


def shell_word(text: object) -> str:
    """``text`` as one word of a command that is shown on one line, quoted as the shell of this system needs it."""
    word = visible_line(str(text))
    return subprocess.list2cmdline([word]) if os.name == "nt" else shlex.quote(word)


def _acts(letter: str) -> bool:
    selector = "\U000e0100" <= letter <= "\U000e01ef"
    return unicodedata.category(letter) in _ACTING or letter in _FILLERS or selector


def _joins(text: str, at: int) -> bool:
    return text[at] in _JOINERS and 0 < at < len(text) - 1 and all(map(_joinable, (text[at - 1], text[at + 1])))


def _joinable(letter: str) -> bool:
    """Whether a joiner beside it has a meaning: a letter or mark of another script than Latin, or a symbol."""
    return letter > "\u02ff" and unicodedata.category(letter)[0] in "LMS" and not _acts(letter)


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def spoken(text: str) -> str:
    r"""``text`` without what cannot be spoken: control characters, and those that hide or reorder others.

    Every form of a line's end becomes ``\n``. What joins letters or belongs to a script stays.
    """
    if text.isascii() and text.isprintable():
        return text
    lines = "\n".join(_LINE_END.split(text))
    return "".join(
        letter
        for at, letter in enumerate(lines)
        if letter in "\n\t" or letter in _SIGNS or not _acts(letter) or _joins(lines, at)
    )


_LINE_END = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SIGNS = (
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u08e2\U000110bd\U000110cd"  # of the format category, but seen
)


_MARKUP = re.compile(
    r"[\\`*_\[\]|#~${}]"
    r"|^(?:[-+](?=\s|$)|-(?=[-\s]*$)|=(?=[=\s]*$)|\d+(?=[.)](?:\s|$)))"  # a list, a rule, a heading
    r"|:(?=[\w+-]+:)"  # an emoji code
)


def markdown_line(text: str) -> str:
    """``text`` on one line of Markdown, with nothing in it that Markdown or HTML would act on, or that hides."""
    escaped = _MARKUP.sub(_markdown_escape, one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _markdown_escape(found: re.Match[str]) -> str:
    return f"{found[0]}\\" if found[0].isdecimal() else f"\\{found[0]}"


def yaml_text(text: str) -> str:
    """``text`` as a double-quoted YAML string on one line."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in quoted)
