"""JSON as people have it: what is wrong, on which line, and what to do; keys that are there twice."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any

from mctsdialog.files import parse_foreign_json

_SHOWN = 30  # characters of what stands at a fault
_LITERAL = re.compile(r"\s*[\[{(]")
_LONGEST_LITERAL = 1_000_000  # characters; Python's parser takes a hundred times as much memory
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?', re.DOTALL)
_SPACED = re.compile(r'"\s+:')


def parse_value(text: str) -> Any:
    """The value of a JSON text, or of a Python literal as ``print`` writes one.

    :raises JSONDecodeError: for anything else; ``lineno`` and ``pos`` say where.
    :raises ValueError: for a number of too many digits, and for what is nested too deeply.
    """
    try:
        return parse_foreign_json(text)
    except JSONDecodeError:
        if "'" in text and len(text) <= _LONGEST_LITERAL and _LITERAL.match(text):
            found = _literal(text)
            if found is not None:
                return found
        raise


def _literal(text: str) -> Any:
    try:
        value = ast.literal_eval(text.strip())
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return json.loads(json.dumps(value))  # tuples are lists, keys are text


def what_is_wrong(error: ValueError, text: str) -> str:
    """A fault of JSON in a line: what stands there, and what to do where that is known."""
    if not isinstance(error, JSONDecodeError):
        digits = "; write so long a number as text" if "digits" in str(error) else ""
        return f"{error}{digits}"
    rest = text[error.pos :].lstrip()
    said = error.msg.removesuffix(" at")
    if not rest:
        return f"{said} at column {error.colno}, where it ends; the rest was cut off"
    shown = rest.partition("\n")[0]
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
    advice = _advice(error, text, rest)
    return f"{said} at column {error.colno}, where {shown!r} stands{f'; {advice}' if advice else ''}"


def _advice(error: JSONDecodeError, text: str, rest: str) -> str:
    """What to do about a fault; "" where that is not known."""
    before, begin = text[: error.pos].rstrip(), rest[0]
    second = rest.lstrip(",\n\r\t ")[:1] in ("{", "[")
    faults = (
        (
            error.msg == "Extra data" and second,
            _TWO_VALUES.format("a comma and a second value follow" if begin == "," else "a second value follows"),
        ),
        (error.msg == "Extra data", "something follows the end of the first value"),
        (rest.startswith(("//", "/*", "#")), "JSON has no comments; remove them"),
        (error.msg.startswith("Invalid control"), r"a tab or line end inside a text is written \t or \n"),
        (begin in "]}" and before.endswith(","), "remove the comma before it"),
        (error.msg.startswith("Illegal trailing comma"), "remove the comma before it"),
        (error.msg.startswith("Unterminated string"), "the text that begins there has no end, or the file was cut off"),
        (error.msg.startswith("Expecting ',' delimiter") and begin in "{[", "a comma is missing before it"),
        (error.msg.startswith("Expecting ',' delimiter") and before.endswith('"'), _QUOTES),
        (begin in "'‘’“”", "JSON has double quotation marks"),
    )
    return next((advice for there, advice in faults if there), "")


_TWO_VALUES = "{} the first: put all into one list, [...], or each on a line of its own"
_QUOTES = r"a quotation mark inside a text is written \", and between two values stands a comma"


def repeated_keys(text: str, value: Any) -> dict[str, int]:
    """The keys that stand more than once in one object of a JSON text, and how often too many."""
    if text.count('":') == sum(map(len, _objects(value))) and not _SPACED.search(text):
        return {}  # no more colons than keys
    if sum(1 for each in _STRING.finditer(text) if each[1]) == sum(map(len, _objects(value))):
        return {}
    found: Counter[str] = Counter()

    def count(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.update({key: times - 1 for key, times in Counter(key for key, _ in pairs).items() if times > 1})
        return dict(pairs)

    try:
        json.loads(text, object_pairs_hook=count)
    except (ValueError, RecursionError):  # a Python literal
        return {}
    return dict(found)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            yield each
            pending += each.values()
        elif isinstance(each, list):
            pending += each
