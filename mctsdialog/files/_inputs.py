"""Where every reader begins: regular files alone, JSON of a bounded shape, and the first fault of many.

A file that somebody else made may be wrong in any way. Whatever it holds, opening it does not wait, parsing it is
linear in its size, and what is wrong with it is one short message.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pydantic_core
from pydantic import ValidationError

MAX_KEYS = 10_000
"""Most keys of one object: a wrong one is an error each, and the errors of 5 MB of keys take a gigabyte."""

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_DEPTH = 200  # pydantic_core's own limit
_BOM = b"\xef\xbb\xbf"


def open_input(path: str | Path) -> BinaryIO:
    """Open a regular file for reading, ``/dev/stdin`` too where it is redirected from one.

    :raises OSError: if it cannot be opened, or is a folder, a pipe, a device or a socket, which may never end.
    """
    try:
        descriptor = os.open(path, _FLAGS)  # a pipe without a writer would wait for one
    except ValueError as error:
        raise OSError(errno.EINVAL, f"no system accepts such a path ({error})", str(path)) from error
    try:
        check_regular(descriptor, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(descriptor: int, path: str | Path) -> None:
    """See that an open file is a regular one.

    :raises OSError: for anything else, saying what it is.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file", str(path))
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "no regular file")
        raise OSError(errno.EINVAL, f"is {kind}; save what comes from it to a file, and name that", str(path))


def read_input(path: str | Path) -> bytes:
    """The bytes of a regular file.

    :raises OSError: as :func:`open_input`.
    """
    with open_input(path) as file:
        return file.read()


def parse_json(data: str | bytes, *, checked: bool = True) -> Any:
    """The value of a JSON text in UTF-8, a byte order mark allowed. Of a key that is there twice the last one counts.

    It is nested 200 deep at most, its text is such as UTF-8 can hold, and :func:`check_width` and :func:`check_numbers`
    hold.

    :param checked: False leaves those two to the caller.
    :raises ValueError: for anything else, saying in a line what it is.
    """
    raw = data.encode() if isinstance(data, str) else data
    try:
        value = pydantic_core.from_json(raw.removeprefix(_BOM))
    except ValueError as error:
        try:
            raw.decode()
        except UnicodeDecodeError as undecoded:
            raise ValueError(f"it is not UTF-8 at byte {undecoded.start}; save it as UTF-8") from error
        raise
    if checked:
        check_width(value)
        check_numbers(value)
    return value


def parse_foreign_json(text: str) -> Any:
    """The value of a JSON text that other programs wrote, for readers that look at each value they use.

    NaN and halves of surrogate pairs pass, as Python's own reader lets them, and objects may have any number of keys.

    :raises ValueError: for text that is no JSON, is nested more than 200 deep, or has an integer of over 4300 digits.
    """
    with suppress(ValueError):
        return pydantic_core.from_json(text.encode())
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if sum(1 for _ in _levels(value)) > _DEPTH:
        raise ValueError("it is nested too deeply")
    return value


def check_width(value: Any) -> None:
    """See that no object in a value has more than :data:`MAX_KEYS` keys.

    :raises ValueError: if one has.
    """
    for each in _containers(value):
        if type(each) is dict and len(each) > MAX_KEYS:
            raise ValueError(f"an object has {len(each)} keys; {MAX_KEYS} are read at most")


def check_numbers(value: Any) -> None:
    """See that every number in a value from JSON is one that JSON and a float can hold: no NaN, Infinity or 1e400.

    :raises ValueError: naming the first that is not.
    """
    for each in _containers([value]):
        for inner in each.values() if type(each) is dict else each:
            if isinstance(inner, int | float) and not abs(inner) <= sys.float_info.max:
                place = dotted(_path_to(inner, value)) or "the whole"
                nan = isinstance(inner, float) and math.isnan(inner)
                raise ValueError(f"{place} is {'no number' if nan else 'a number above 1.8e308'}")


def _path_to(wanted: Any, value: Any) -> tuple[int | str, ...]:
    pending: list[tuple[tuple[int | str, ...], Any]] = [((), value)]
    while pending:
        place, each = pending.pop()
        if each is wanted:
            return place
        if isinstance(each, dict | list):
            inner = each.items() if isinstance(each, dict) else enumerate(each)
            pending += [((*place, key), part) for key, part in inner]
    return ()


def _containers(value: Any) -> Iterator[Any]:
    """Every object and list in a value."""
    return chain.from_iterable(_levels(value))


def _levels(value: Any) -> Iterator[list[Any]]:
    """The objects and lists in a value, those of one depth after those of another."""
    level = [value] if type(value) is dict or type(value) is list else []
    while level:
        yield level
        level = [
            inner
            for each in level
            for inner in (each.values() if type(each) is dict else each)
            if type(inner) is dict or type(inner) is list
        ]


_SAID = {
    "dataclass_type": "Input should be an object",
    "dict_type": "Input should be an object",
    "model_type": "Input should be an object",
    "tuple_type": "Input should be a valid list",
}


def faults(error: ValidationError) -> list[tuple[tuple[int | str, ...], str]]:
    """Place and message of all faults of a value from JSON, in its words."""
    return [
        (each["loc"], _SAID.get(each["type"], each["msg"].removeprefix("Value error, ")))
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]


_MOST_PLACES = 5  # of further faults that a message names


def first_fault(error: ValidationError) -> tuple[tuple[int | str, ...], str]:
    """Where the first fault is and what it is; the number and places of the others are added."""
    (place, message), *others = faults(error)
    places = [dotted(other) or "the whole" for other, _ in others]
    named = ", ".join(dict.fromkeys(places[:_MOST_PLACES])) + (", ..." if len(places) > _MOST_PLACES else "")
    more = f" (and {len(others)} more fault{'s' * (len(others) > 1)}: {named})" if others else ""
    return place, message + more


def dotted(location: tuple[int | str, ...]) -> str:
    """A place inside a value as errors name it: ``rubric[1].levels``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
