"""From a path to the raw items of a file: bytes, text, JSON or JSON lines. Nothing here knows of a format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mctsdialog.dialogue.readers._common import kind_of
from mctsdialog.errors import DialogueError
from mctsdialog.files import open_input, parse_foreign_json, read_input

_LINE_SUFFIXES = (".jsonl", ".ndjson")

MOST_MALFORMED = 10_000
"""Lenient reading gives up at so many malformed items, where they are more than half of those seen."""


@dataclass(frozen=True, slots=True)
class RawItem:
    """One item of a file.

    :param label: index in a list, or "line 3".
    :param value: any JSON value.
    :param error: why a line could not be parsed; ``value`` is None then.
    """

    label: int | str
    value: object = None
    error: DialogueError | None = None


def read_text(path: Path) -> str:
    """The file's text, without a byte order mark.

    :raises DialogueError: where there is no such file, it cannot be read, is not UTF-8, or is empty.
    """
    with _as_dialogue_error(path):
        text = read_input(path).decode("utf-8-sig")
    if not text.strip():
        raise DialogueError("is empty", file=path)
    return text


@contextmanager
def _as_dialogue_error(path: Path) -> Iterator[None]:
    """What may go wrong with a file, as one clear error."""
    try:
        yield
    except FileNotFoundError as error:
        raise DialogueError("there is no such file", file=path) from error
    except IsADirectoryError as error:
        raise DialogueError("is a folder; name one file of dialogues", file=path) from error
    except UnicodeDecodeError as error:
        raise DialogueError(_not_text(error), file=path) from error
    except OSError as error:
        raise DialogueError(f"cannot be read: {error.strerror or error}", file=path) from error


def _not_text(error: UnicodeDecodeError) -> str:
    if error.object.startswith(b"PK\x03\x04"):
        return "is a spreadsheet or a zip archive; convert its dialogues to chat JSON lines"
    return f"is not UTF-8 at byte {error.start}; save it as UTF-8"


@dataclass(frozen=True, slots=True)
class LazyItems:
    """The items of a file of JSON lines, read anew each time they are gone through.

    :raises DialogueError: on going through them, as :func:`read_text`.
    """

    path: Path
    lenient: bool = False

    def __iter__(self) -> Iterator[RawItem]:
        empty = True
        with _as_dialogue_error(self.path), open_input(self.path) as file:
            for item in _lines(self._decoded(file), self.path, self.lenient):
                empty = False
                yield item
        if empty:
            raise DialogueError("is empty", file=self.path)

    def _decoded(self, lines: Iterable[bytes]) -> Iterator[str]:
        for number, line in enumerate(lines, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DialogueError(_not_text(error), file=self.path, item=f"line {number}") from error


def streamed_items(path: Path, *, lenient: bool) -> Iterable[RawItem]:
    """The items of a file, without holding them where it is one of JSON lines, by its name's end.

    :raises DialogueError: as :func:`load_items`; of JSON lines only on going through them.
    """
    lines = path.suffix.lower() in _LINE_SUFFIXES
    return LazyItems(path, lenient) if lines else load_items(path, lenient=lenient)


def load_items(path: Path, *, lenient: bool) -> list[RawItem]:
    """The items of a file: the members of a JSON list, the objects of JSON lines, or one object by itself.

    :param lenient: a line that is no JSON becomes an item that carries its error; everything else wrong is raised.

    :raises DialogueError: as :func:`read_text`, and where the file is neither a JSON list nor JSON lines.
    """
    text = read_text(path)
    try:
        value = parse_foreign_json(text)
    except ValueError as error:
        if text.lstrip().startswith("{") or path.suffix.lower() in _LINE_SUFFIXES:
            return list(_lines(text.split("\n"), path, lenient))
        raise DialogueError(f"is not JSON: {error}", file=path) from error
    if isinstance(value, list):
        if not value:
            raise DialogueError("the list is empty", file=path)
        return [RawItem(index, each) for index, each in enumerate(value)]
    if not isinstance(value, dict):
        raise DialogueError(f"must hold a list of dialogues, not {kind_of(value)}", file=path)
    return [RawItem(0, value)]


def wrapped_list(value: object) -> str | None:
    """The key of the only list of objects inside ``value``, where it is an object that wraps one."""
    if not isinstance(value, dict):
        return None
    lists = [key for key, inner in value.items() if isinstance(inner, list)]
    return lists[0] if len(lists) == 1 else None


def _lines(lines: Iterable[str], path: Path, lenient: bool) -> Iterator[RawItem]:
    """The items of lines that end at line feeds alone: U+2028 may stand inside a string."""
    malformed = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label = f"line {number}"
        try:
            yield RawItem(label, parse_foreign_json(line))
        except ValueError as error:
            malformed += 1
            found = DialogueError(f"is not JSON: {error}", file=path, item=label)
            if not lenient:
                raise found from error
            if malformed >= MOST_MALFORMED and malformed > number // 2:
                message = f"{malformed} of its first {number} lines are not JSON; the last: {found}"
                raise DialogueError(message, file=path) from error
            yield RawItem(label, error=found)
