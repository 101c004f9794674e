"""Rows of Parquet files that anybody may have made, in bounded memory.

A few hundred bytes of Parquet can stand for gigabytes: a text that every row repeats, a list of nulls without end. What
the file says of itself is looked at before a column is read, and the rows are counted as they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mctsdialog.errors import ConfigError, DataError
from mctsdialog.files._inputs import open_input
from mctsdialog.files._parquet_footer import Chunk, column_chunks

_SMALL = 5_000_000  # bytes of a file
_MOST = 128 * 1024**2  # bytes that the rows of a small file may have
_MOST_STREAMED = 8 * _MOST
_TIMES = 200  # so many times the file's size a larger one's rows may have
_ROW = 1200  # what a row counts beside its texts and numbers: its time
_AT_ONCE = 16 * 1024**2  # bytes of one batch
_MOST_ROWS = 1000  # of one batch
_MOST_VALUES = 2_000_000  # of one column in a group of rows


def parquet_rows(path: Path, left_out: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, as JSON values but for numbers that are none.

    :param left_out: for readers that hold no rows: takes the names of columns of a type that JSON has not (times,
        bytes), which are then not read. None to raise for them.

    :raises DataError: for a file that is damaged, has columns of a type that JSON has not, or unfolds to too much.
    :raises ConfigError: if pyarrow is not installed.
    :raises OSError: if it cannot be opened.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415  # optional
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install pyarrow", field="file_type") from error
    with open_input(path) as file:
        size = file.seek(0, 2)
        try:
            at_once = _rows_at_once(column_chunks(file), size, path)
            with pq.ParquetFile(file) as parquet:
                columns = _columns(parquet.schema_arrow, path, left_out)
                yield from _rows(parquet, at_once, most_unfolded(size, streamed=left_out is not None), path, columns)
        except DataError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:  # OSError: a damaged page; ValueError: a damaged name
            raise DataError(f"is not a sound Parquet file: {str(error).partition(chr(10))[0]}", file=path) from error


def most_unfolded(size: int, *, streamed: bool = False) -> int:
    """The most bytes that a packed file of ``size`` may unfold to: hardly any file of texts packs to less.

    :param streamed: whether what unfolds is not held, so that it costs time alone; a small file may then hold more.
    """
    return max(_MOST_STREAMED if streamed else _MOST, size * _TIMES if size >= _SMALL else 0)


def _columns(schema: Any, path: Path, left_out: list[str] | None) -> list[str]:
    """The columns that hold text, numbers, truth values, lists or objects.

    :raises DataError: naming the first that does not, unless such are left out.
    """
    names = []
    for field in schema:
        if (fault := _type_fault(field)) is None:
            names.append(field.name)
        elif left_out is None:
            message = f"is of type {fault[1]}; a column holds text, numbers, truth values, lists or objects"
            raise DataError(message, file=path, field=f"column {fault[0]!r:.100}")
        else:
            left_out.append(field.name)
    return names


def _type_fault(field: Any) -> tuple[str, Any] | None:
    """The first part of a column whose type JSON has not, and that type."""
    import pyarrow.types as kinds  # noqa: PLC0415

    plain = (
        kinds.is_string,
        kinds.is_large_string,
        kinds.is_integer,
        kinds.is_float32,
        kinds.is_float64,
        kinds.is_boolean,
        kinds.is_null,
    )
    lists = (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list)
    pending = [(field.name, field.type)]
    while pending:
        name, kind = pending.pop()
        if kinds.is_dictionary(kind):
            pending.append((name, kind.value_type))
        elif kinds.is_struct(kind):
            pending += [(f"{name}.{each.name}", each.type) for each in reversed(kind.fields)]
        elif any(test(kind) for test in lists):
            pending.append((f"{name}[]", kind.value_type))
        elif not any(test(kind) for test in plain):
            return name, kind
    return None


def _rows_at_once(chunks: Iterable[Chunk], size: int, path: Path) -> int:
    """So many rows that a batch stays small, though every value in it were the largest.

    :raises DataError: if the file says that it holds more than it may.
    """
    largest = 1
    for chunk in chunks:
        if chunk.values > _MOST_VALUES + 10 * size or chunk.size > most_unfolded(size):
            message = (
                f"holds {chunk.values} values of {chunk.size} bytes, too many for a file of {size}; write it in parts"
            )
            raise DataError(message, file=path, field=f"column {chunk.path!r:.100}")
        largest = max(largest, chunk.size * -(-chunk.values // max(chunk.rows, 1)))  # values of one row, rounded up
    return max(1, min(_MOST_ROWS, _AT_ONCE // largest))


def _rows(parquet: Any, at_once: int, most: int, path: Path, names: list[str]) -> Iterator[dict[str, Any]]:
    unfolded = number = 0
    for batch in parquet.iter_batches(batch_size=at_once, columns=names, use_threads=False):
        unfolded += batch.nbytes + _ROW * batch.num_rows
        if unfolded > most:
            message = f"its rows unfold to more than {most} bytes; write it in several files, or as JSON lines"
            raise DataError(message, file=path, item=f"line {number + 1}")
        number += batch.num_rows
        columns = {name: _values(column, name, path) for name, column in zip(batch.schema.names, batch, strict=True)}
        for place in range(batch.num_rows):
            yield {name: values[place] for name, values in columns.items()}


def _values(column: Any, name: str, path: Path) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except ValueError as error:  # a text that is not UTF-8
        raise DataError(f"cannot be read: {error}", file=path, field=f"column {name!r:.100}") from error
    return values
