"""The JSON object that a reply states, out of prose, fences, drafts and examples around it.

Nothing is guessed: an object without its closing brace is refused, whatever stands in it. Mild faults (single or
typographic quotes, comments, a comma too many, full-width punctuation) are repaired, because they cannot hide a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from mctsdialog.dialogue._model import normal_name

_MOST_READ = 16_384
"""Characters read at the end of a reply: the object that counts is the last one."""

_MOST_MENDED = 4096
"""Characters of an object that is not quite JSON."""

_MOST_TRIED = 16
"""Objects looked at, from the last one back."""

_MARKS = re.compile(r'"(?:[^"\\\n]|\\.)*"|[{}]')
_QUOTES = ("", *"\"'“”„")
_ONE = re.compile(r"\s*\{[^{}\\]*\}\s*")
_PLACEHOLDER = re.compile(r"\s*(?:<[^<>]*>|\.\.\.|…)\s*")
_BRACES = str.maketrans("｛｝", "{}")
_FULL_WIDTH = str.maketrans("：，｛｝［］＂“”„‟", ':,{}[]"""""')
_TOKENS = re.compile(
    r"""\s*(?:(?P<comment>//[^\n]*|\#[^\n]*|/\*.*?\*/)|(?P<mark>[{}\[\],:])|(?P<double>"(?:[^"\\]|\\.)*")"""
    r"""|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>(?:(?!//|/\*)[^{}\[\],:"'\n\#])+))""",
    re.DOTALL,
)


class _TwiceError(ValueError):
    pass


def last_object(text: str, keys: Iterable[str], is_value: Callable[[Any], bool]) -> dict[str, Any]:
    """The last whole JSON object in a reply that gives values for the keys, itself or one level inside another.

    Keys may differ from those asked for in letter case, spacing and Markdown; they come back as they were asked for,
    and unknown keys as they stand. An object that only explains the values, or repeats the form that was asked for
    (``{"empathy": <number>}``), does not count.

    :param text: what was said.
    :param keys: the keys that were asked for.
    :param is_value: whether something is meant as a value, right or wrong.
    :raises ValueError: if there is none, or a key is there twice.
    """
    wanted = _wanted(tuple(keys))
    spans, cut = _objects(text[-_MOST_READ:].translate(_BRACES)) if not _ONE.fullmatch(text) else ([text], [])
    if any(_is_begun(begun, wanted) for begun in cut):
        raise ValueError("the reply was cut off inside of its JSON object")
    others: dict[str, Any] | None = None
    for candidate in _candidates(spans, wanted):
        named = _named(candidate, wanted)
        values = [named[key] for key in wanted.values() if key in named]
        if not values or all(isinstance(value, str) and _PLACEHOLDER.fullmatch(value) for value in values):
            continue
        if any(map(is_value, values)):
            return named
        others = others or named
    if others is None:
        raise ValueError("the reply has no JSON object with the keys that were asked for")
    return others


@lru_cache(maxsize=64)
def _wanted(keys: tuple[str, ...]) -> dict[str, str]:
    """The keys by their normal names."""
    return {normal_name(key): key for key in keys}


def _candidates(spans: list[str], wanted: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    """The objects in a reply, from the last one back, and those one level inside of them."""
    for _ in range(_MOST_TRIED):
        if not spans:
            return
        span = spans.pop()
        found = _parsed(span)
        if isinstance(found, dict):
            yield found
            yield from (inner for inner in reversed(found.values()) if isinstance(inner, dict))
        elif len(span) <= _MOST_MENDED and not _is_begun(span[1:100], wanted):
            spans += _objects(span[1:-1])[0]  # braces of prose around objects
        elif any(key.casefold() in span.casefold() for key in wanted.values()):
            raise ValueError("the reply is not JSON")  # an object before it may be a draft


def _objects(text: str) -> tuple[list[str], list[str]]:
    """The outermost whole objects in a text, and the beginnings after braces that are not closed."""
    opened: list[int] = []
    spans: list[tuple[int, int]] = []
    place = 0
    while (start := place if opened else text.find("{", place)) >= 0:  # outside of objects, quotation marks are prose
        mark = _MARKS.search(text, start)
        if mark is None:
            break
        place = mark.end()
        if mark[0] == "{":
            opened.append(mark.start())
        elif mark[0] == "}":
            begin = opened.pop()
            while spans and spans[-1][0] > begin:
                spans.pop()
            spans.append((begin, place))
    return [text[begin:end] for begin, end in spans], [text[begin + 1 : begin + 100] for begin in opened[-_MOST_TRIED:]]


def _is_begun(text: str, wanted: Iterable[str]) -> bool:
    """Whether this is how an object begins, and no brace in prose."""
    begun = text.lstrip()
    return begun[:1] in _QUOTES or normal_name(begun.strip("*_`")).startswith(tuple(wanted))


def _parsed(text: str) -> Any:
    """The value of a whole object, mended where that cannot change it; None for one that is beyond it."""
    for mend in (str, _mended) if len(text) <= _MOST_MENDED else (str,):
        try:
            return _DECODER.decode(mend(text))
        except _TwiceError:
            raise
        except (ValueError, RecursionError):
            continue
    return None


def _mended(text: str) -> str:
    """JSON for text that is nearly so: other quotes, keys without any, comments, a comma before the end.

    What stands without quotes and is no JSON value becomes text as a whole: ``3 or 4`` is not 3.
    """
    text = text.translate(_FULL_WIDTH)
    tokens: list[str] = []
    place = 0
    while token := _TOKENS.match(text, place):
        place = token.end()
        if token["mark"] in ("}", "]") and tokens[-1:] == [","]:
            tokens.pop()
        if token["single"] is not None:
            tokens.append(json.dumps(token["single"].replace("\\'", "'")))
        elif token["bare"] is not None:
            bare = token["bare"].strip()
            tokens.append(bare if _is_json(bare) else json.dumps(bare))
        elif token["comment"] is None:
            tokens.append(token["mark"] or token["double"])
    if text[place:].strip():
        raise ValueError("no JSON")
    return " ".join(tokens)


def _is_json(bare: str) -> bool:
    try:
        json.loads(bare)
    except ValueError:
        return False
    return True


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _TwiceError(f"{twice[:80]!r} is scored twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, strict=False)


def _named(found: Mapping[str, Any], wanted: Mapping[str, str]) -> dict[str, Any]:
    if found.keys() == set(wanted.values()):
        return dict(found)
    named: dict[str, Any] = {}
    for key, value in found.items():
        name = wanted.get(normal_name(key.strip(" *_`#\"'“”")), key)
        if name in named:
            raise ValueError(f"{name[:80]!r} is scored twice")
        named[name] = value
    return named
