"""From a path to the raw items of a file, by what is in it and not by its name. Nothing here knows of a format.

JSON lines, tables (CSV) and Parquet are read item by item, and again each time they are gone through; one JSON value is
held in memory. Any of them but Parquet may be in gzip.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from mctsdialog.dialogue.readers._common import kind_of
from mctsdialog.dialogue.readers._json import parse_value, repeated_keys, what_is_wrong
from mctsdialog.dialogue.readers._mapped import SPEAKER_NAMES
from mctsdialog.dialogue.readers._report import clip
from mctsdialog.dialogue.readers._sheet import is_sheet, sheet_rows
from mctsdialog.errors import DataError, DialogueError
from mctsdialog.files import open_input
from mctsdialog.files._parquet import most_unfolded, parquet_rows

_LINE_SUFFIXES = (".jsonl", ".ndjson")
_TABLE_SUFFIXES = (".csv", ".tsv")
_DATA_SUFFIXES = (".json", *_LINE_SUFFIXES, *_TABLE_SUFFIXES, ".parquet", ".txt", ".xlsx")
_DESCRIPTIONS = (
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "README.txt",
    "LICENSE.txt",
)
_DELIMITERS = ("\t", ",", ";")

MOST_MALFORMED = 10_000
"""Lenient reading gives up at so many malformed items, where they are more than half of those seen."""

_KINDS = {
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"\xfd7zX": "an xz file; unpack it, or pack it as gzip",
    b"BZh": "a bzip2 file; unpack it, or pack it as gzip",
    b"\x28\xb5\x2f\xfd": "a zstd file; unpack it, or pack it as gzip",
    b"ARRO": "an Arrow file; save it as Parquet or JSON lines",
    b"\xff\xff\xff\xff": "an Arrow file of the package datasets; name the folder's data set as hf:FOLDER",
    b"SQLi": "an SQLite database; save the table as CSV",
    b"%PDF": "a PDF; it holds no data that can be read",
    b"\x80\x04": "a Python pickle, which can run code and is never read; save it as JSON",
    b"\x80\x05": "a Python pickle, which can run code and is never read; save it as JSON",
    b"\xd0\xcf\x11\xe0": "an old Excel file; save it as CSV (UTF-8)",
    b"\xff\xfe": "not UTF-8 at byte 0 but UTF-16; save it as UTF-8",
    b"\xfe\xff": "not UTF-8 at byte 0 but UTF-16; save it as UTF-8",
}
_GZIP, _PARQUET, _ZIP, _BOM = b"\x1f\x8b", b"PAR1", b"PK\x03\x04", b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawItem:
    """One item of a file.

    :param label: index in a list, or "line 3".
    :param value: any JSON value.
    :param error: why a line could not be parsed; ``value`` is None then.
    :param counts: what the reader's report counts beside what is in ``value``, such as keys that stand there twice.
    """

    label: int | str
    value: object = None
    error: DialogueError | None = None
    counts: tuple[tuple[str, str, int], ...] = ()


def open_items(path: Path, *, lenient: bool) -> Iterable[RawItem]:
    """The items of a file; they can be gone through any number of times.

    :param lenient: a line that is no JSON becomes an item that carries its error; everything else wrong is raised.
    :raises DialogueError: if there is no such file, or it is of a kind that is not read; some faults show only on
        going through the items.
    """
    if path.is_dir():
        return _Folder(path, lenient)
    with _as_dialogue_error(path), open_input(path) as file:
        head = file.read(8)
    if not head:
        raise DialogueError("is empty", file=path)
    for magic, what in _KINDS.items():
        if head.startswith(magic):
            raise DialogueError(f"is {what}", file=path)
    if head.startswith(_PARQUET):
        return _Again(lambda: _rows(path))
    if head.startswith(_ZIP):
        if not is_sheet(path):
            raise DialogueError("is a zip archive; unpack it", file=path)
        return _Again(lambda: (RawItem(f"line {number}", row) for number, row in sheet_rows(path)))
    return _text_items(path, lenient)


@dataclass(frozen=True, slots=True)
class _Again:
    """What is read again each time it is gone through."""

    read: Callable[[], Iterator[RawItem]]

    def __iter__(self) -> Iterator[RawItem]:
        return self.read()


@dataclass(frozen=True, slots=True)
class _Folder:
    """The items of all files of a folder, in the order of their names, as data sets come in parts.

    :raises DialogueError: if it holds none.
    """

    path: Path
    lenient: bool

    def __post_init__(self) -> None:
        if not self.files():
            raise DialogueError(
                "is a folder without files of dialogues (JSON, JSON lines, CSV, Parquet)", file=self.path
            )

    def files(self) -> list[Path]:
        """Its data files; descriptions that hubs keep beside them are left out."""
        found = (each for each in self.path.rglob("*") if each.is_file() and suffix_of(each) in _DATA_SUFFIXES)
        return sorted(each for each in found if each.name not in _DESCRIPTIONS and not each.name.startswith("."))

    def __iter__(self) -> Iterator[RawItem]:
        for file in self.files():
            name = clip(str(file.relative_to(self.path)))
            for item in open_items(file, lenient=self.lenient):
                yield replace(
                    item, label=f"{name}: {f'item {item.label}' if isinstance(item.label, int) else item.label}"
                )


def suffix_of(path: Path) -> str:
    """The suffix of what is in a file, without that of gzip."""
    return (Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower()


def stem_of(path: Path) -> str:
    """The name of a file without the suffixes of form and packing."""
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


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
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DialogueError(f"is a damaged gzip file: {error}", file=path) from error
    except OSError as error:
        raise DialogueError(f"cannot be read: {error.strerror or error}", file=path) from error


def _not_text(error: UnicodeDecodeError) -> str:
    chinese = ""
    try:
        letters = error.object[:100_000].decode("gb18030", "ignore")
        if sum("\u4e00" <= letter <= "\u9fff" for letter in letters) > len(letters) // 10:
            chinese = ": it may be GB18030, as much Chinese text is (iconv -f GB18030 -t UTF-8)"
    except LookupError:
        pass
    return f"is not UTF-8 at byte {error.start}; save it as UTF-8{chinese}"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked."""
    with _as_dialogue_error(path), open_input(path) as file:
        packed = file.read(2) == _GZIP
        size = file.seek(0, 2)
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield io.BufferedReader(_Bounded(unpacked, most_unfolded(size, streamed=True), path))


def _at_once(file: BinaryIO, path: Path) -> bytes:
    """All of a file, where that is no more than a packed one may hold."""
    most = most_unfolded(path.stat().st_size)
    content = (
        file.read(most + 1) if isinstance(file, io.BufferedReader) and isinstance(file.raw, _Bounded) else file.read()
    )
    if len(content) > most and len(content) > path.stat().st_size:
        raise DialogueError(f"unpacks to more than {most} bytes of one JSON value; save it as JSON lines", file=path)
    return content


def _byte_lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The lines of a file; a packed file may have a line as long as a packed value."""
    most = max(most_unfolded(path.stat().st_size), path.stat().st_size)
    while line := file.readline(most + 1):
        if len(line) > most:
            raise DialogueError(f"has a line of more than {most} bytes", file=path)
        yield line


class _Bounded(io.RawIOBase):
    """What a gzip file holds; an error where that is far more than any text packs to."""

    def __init__(self, file: gzip.GzipFile, most: int, path: Path) -> None:
        self._file, self._left, self._most, self._path = file, most, most, path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        count = self._file.readinto(buffer)  # type: ignore[arg-type]  # any buffer
        self._left -= count
        if self._left < 0:
            raise DialogueError(f"unpacks to more than {self._most} bytes; unpack it yourself", file=self._path)
        return count


# -- text --------------------------------------------------------------------------------------------------------------


def _text_items(path: Path, lenient: bool) -> Iterable[RawItem]:
    """The items of a text: JSON lines, a table, or one JSON value."""
    first, second = _first_lines(path)
    suffix = suffix_of(path)
    alone = not second and first.lstrip().startswith("[")
    if _is_line(first, second) or (suffix in _LINE_SUFFIXES and not alone and not _is_begun(first)):
        return _Again(lambda: _lines(path, lenient))
    if first.lstrip()[:1] not in ("{", "["):
        delimiter = _delimiter(first, suffix, second)
        if delimiter is not None:
            return _Again(lambda: _table(path, delimiter, lenient))
        _refuse_other_text(path, first, second)
    try:
        return _held(path)
    except DialogueError:
        if suffix not in _LINE_SUFFIXES:
            raise
    return _Again(lambda: _lines(path, lenient))  # which is what its name says that it is


def _first_lines(path: Path) -> tuple[str, str]:
    """The first two lines that are not blank."""
    found: list[str] = []
    with _opened(path) as file:
        for line in _byte_lines(file, path):
            if line.strip(b" \t\r\n" + _BOM):
                found.append(line.decode("utf-8-sig" if not found else "utf-8", "replace"))
            if len(found) == 2:
                break
    if not found:
        raise DialogueError("is empty", file=path)
    return found[0], found[1] if len(found) > 1 else ""


def _is_line(first: str, second: str) -> bool:
    """Whether the file is of a JSON value a line: the first one is, or the first is broken and the second one is."""
    return bool(second) and (_whole(first) or (first.lstrip()[:1] in ("{", "/", "#") and _whole(second)))


def _is_begun(line: str) -> bool:
    """Whether a line looks like the beginning of a JSON value of several lines."""
    return line.lstrip()[:1] in ("{", "[") and not _whole(line)


def _whole(line: str) -> bool:
    if line[:1] not in ("{", "["):
        return False
    try:
        return bool(parse_value(line))
    except ValueError:
        return False


def _held(path: Path) -> list[RawItem]:
    """The members of a JSON list, or one object by itself."""
    with _opened(path) as file:
        text = _at_once(file, path).decode("utf-8-sig")
    try:
        value = parse_value(text)
    except ValueError as error:
        line = getattr(error, "lineno", None)
        item = None if line is None else f"line {line}"
        raise DialogueError(f"is not JSON: {what_is_wrong(error, text)}", file=path, item=item) from error
    counts = _repeated(text, value)
    if isinstance(value, list):
        if not value:
            raise DialogueError("the list is empty", file=path)
        first, *others = value
        return [RawItem(0, first, None, counts), *(RawItem(index, each) for index, each in enumerate(others, 1))]
    if not isinstance(value, dict):
        raise DialogueError(f"must hold a list of dialogues, not {kind_of(value)}", file=path)
    return [RawItem(0, value, None, counts)]


def _repeated(text: str, value: object) -> tuple[tuple[str, str, int], ...]:
    return tuple(("keys_repeated", clip(key), times) for key, times in repeated_keys(text, value).items())


def _lines(path: Path, lenient: bool) -> Iterator[RawItem]:
    """The items of lines that end at line feeds alone: U+2028 may stand inside a string."""
    malformed, empty = 0, True
    for number, line in enumerate(_decoded(path), start=1):
        if not line.strip():
            continue
        label, empty = f"line {number}", False
        try:
            value = parse_value(line)
        except ValueError as error:
            malformed += 1
            found = DialogueError(f"is not JSON: {what_is_wrong(error, line)}", file=path, item=label)
            if not lenient:
                raise found from error
            if malformed >= MOST_MALFORMED and malformed > number // 2:
                message = f"{malformed} of its first {number} lines are not JSON; the last: {found}"
                raise DialogueError(message, file=path) from error
            yield RawItem(label, error=found)
        else:
            yield RawItem(label, value, None, _repeated(line, value))
    if empty:
        raise DialogueError("is empty", file=path)


def _decoded(path: Path) -> Iterator[str]:
    with _opened(path) as file:
        for number, line in enumerate(_byte_lines(file, path), start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DialogueError(_not_text(error), file=path, item=f"line {number}") from error


# -- tables ------------------------------------------------------------------------------------------------------------


def _delimiter(first: str, suffix: str, second: str) -> str | None:
    """What stands between the columns of a table, where the first line is the head of one."""
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader([first.rstrip("\r\n")], delimiter=delimiter), [])
        except csv.Error:
            continue
        plain = all(len(name) <= _LONGEST_COLUMN and not name.strip().endswith((".", "。", "!", "?")) for name in names)
        if second and len(names) > 1 and plain and len(set(names)) == len(names):
            return delimiter
    return "," if suffix in _TABLE_SUFFIXES else None


_LONGEST_COLUMN = 60


def _table(path: Path, delimiter: str, lenient: bool) -> Iterator[RawItem]:
    """The rows of a table, as objects of text by column; an empty cell is null."""
    rows = csv.reader(_decoded(path), delimiter=delimiter, strict=True)
    number = 1
    try:
        names = [name.strip() for name in next(rows)]
        for row in rows:
            label, number = f"line {number + 1}", rows.line_num
            if len(row) > len(names):
                error = DialogueError(f"has {len(row)} cells; there are {len(names)} columns", file=path, item=label)
                if not lenient:
                    raise error
                yield RawItem(label, error=error)
            elif any(row):
                yield RawItem(label, {name: cell or None for name, cell in zip(names, row, strict=False) if name})
    except csv.Error as error:
        raise DialogueError(f"is not a sound table: {error}", file=path, item=f"line {rows.line_num}") from error


def _refuse_other_text(path: Path, first: str, second: str) -> None:
    """Name a text of a kind that is not read."""
    begin = first.lstrip().lower()
    if begin.startswith(("<!doctype", "<html", "<?xml")):
        raise DialogueError("is not JSON but a web page or XML; download the file itself", file=path)
    if begin.startswith("version https://git-lfs"):
        raise DialogueError("is not the data but a pointer to it (Git LFS); run: git lfs pull", file=path)
    if first.partition(":")[0].strip().casefold() in SPEAKER_NAMES:
        message = "is not JSON but a plain transcript; save it as a table (CSV) with the columns speaker and text"
        raise DialogueError(message, file=path)
    if first.startswith(("---", "- ", "%YAML")) or (_YAML_KEY.match(first) and _YAML_KEY.match(second)):
        raise DialogueError("is not JSON but looks like YAML; save it as JSON", file=path)


_YAML_KEY = re.compile(r"\s*-?\s*[A-Za-z_]+:(\s|$)")


# -- Parquet -----------------------------------------------------------------------------------------------------------


def _rows(path: Path) -> Iterator[RawItem]:
    with _as_dialogue_error(path):
        try:
            left_out: list[str] = []
            for number, row in enumerate(parquet_rows(path, left_out)):
                counts = tuple(("keys_ignored", clip(name), 1) for name in left_out)
                yield RawItem(number, row, None, counts)
        except DialogueError:
            raise
        except DataError as error:
            raise DialogueError(error.reason, file=path, item=error.item, field=error.field) from error
