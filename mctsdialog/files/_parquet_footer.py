"""What a Parquet file says of itself, read without pyarrow: that aborts the process on some damage and deep schemas.

The end of the file is a struct in Thrift's compact protocol (parquet.thrift: FileMetaData), its length, and ``PAR1``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

_MOST_BYTES = 1024**2
_MOST_LEVELS = 20  # of Thrift's structs; Parquet has seven
_MOST_DEPTH = 100  # of the columns
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_WHOLE = (4, 5, 6)  # i16, i32, i64


@dataclass(frozen=True)
class Chunk:
    """One column in one group of rows.

    :param path: the column's name, with those inside it.
    :param rows: rows of the group.
    :param values: values, those inside lists counted.
    :param size: bytes when it is unpacked.
    """

    path: str
    rows: int
    values: int
    size: int


def column_chunks(file: BinaryIO) -> list[Chunk]:
    """The chunks of all columns; the file is read from its beginning afterwards.

    :raises ValueError: for a file that does not end as Parquet does, or says what cannot be.
    """
    try:
        found = _struct(_Bytes(_footer(file)), 0)
        _check_depth(found[2])
        return [_chunk(column[3], group[3]) for group in found.get(4, []) for column in group[1]]
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("its description is damaged") from error


def _footer(file: BinaryIO) -> bytes:
    size = file.seek(0, 2)
    file.seek(max(size - 8, 0))
    length, mark = int.from_bytes(file.read(4), "little"), file.read(4)
    if mark != b"PAR1" or length + 8 > size:
        raise ValueError("it does not end as a Parquet file does")
    if length > max(_MOST_BYTES, size // 10):
        raise ValueError(f"its description has {length} bytes, which is out of proportion")
    file.seek(size - 8 - length)
    content = file.read(length)
    file.seek(0)
    return content


def _chunk(column: dict[int, Any], rows: int) -> Chunk:
    chunk = Chunk(".".join(part.decode("utf-8", "replace") for part in column[3]), rows, column[5], column[6])
    if min(chunk.rows, chunk.values, chunk.size) < 0:
        raise ValueError(f"column {chunk.path!r:.100} has fewer than no values")
    return chunk


def _check_depth(schema: list[dict[int, Any]]) -> None:
    """See that columns lie in one another no deeper than can be read; parents come before their children."""
    open_children = [1]
    for element in schema:
        while open_children and not open_children[-1]:
            open_children.pop()
        open_children[-1] -= 1
        open_children.append(element.get(5, 0))
        if len(open_children) > _MOST_DEPTH:
            raise ValueError(f"its columns are nested more than {_MOST_DEPTH} deep")


class _Bytes:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, count: int) -> bytes:
        self._at += count
        if self._at > len(self._content):
            raise ValueError("its description is cut")
        return self._content[self._at - count : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """A variable-length number of at most 64 bits."""
        found = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
        raise ValueError("its description is damaged")

    def signed(self) -> int:
        number = self.number()
        return (number >> 1) ^ -(number & 1)


def _struct(data: _Bytes, level: int) -> dict[int, Any]:
    """The fields of a struct by their ids."""
    found: dict[int, Any] = {}
    field = 0
    while head := data.byte():
        field = field + (head >> 4) if head >> 4 else data.signed()
        kind = head & 0x0F
        found[field] = kind == _TRUE if kind in (_TRUE, _FALSE) else _value(data, kind, level)
    return found


def _value(data: _Bytes, kind: int, level: int) -> Any:
    if level > _MOST_LEVELS:
        raise ValueError("its description is nested too deeply")
    if kind in _WHOLE:
        return data.signed()
    if kind in (_TRUE, _FALSE, _BYTE):
        return data.byte()
    if kind == _DOUBLE:
        return data.take(8)
    if kind == _BINARY:
        return data.take(data.number())
    if kind in (_LIST, _SET):
        return list(_items(data, level))
    if kind == _STRUCT:
        return _struct(data, level + 1)
    raise ValueError("its description is damaged")  # a map, which Parquet has not, or no kind at all


def _items(data: _Bytes, level: int) -> Iterator[Any]:
    head = data.byte()
    size = data.number() if head >> 4 == 15 else head >> 4
    for _ in range(size):
        yield _value(data, head & 0x0F, level + 1)
