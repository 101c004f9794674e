"""Writing rows as Parquet, where pyarrow is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from mctsdialog.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow

_ROWS_AT_ONCE = 1000


def write_parquet(file: BinaryIO, rows: Iterator[dict[str, Any]], types: Mapping[str, Any]) -> int:
    """Write rows as Parquet, a thousand at a time; how many there were.

    :param types: type by column: "string", "int64", "float64" or "bool", a list of one type, or a dict of fields.
    :raises ConfigError: if pyarrow is not installed.
    """
    pa, pq = arrow()
    schema, count = arrow_schema(types), 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
            count += len(chunk)
    return count


def arrow() -> tuple[Any, Any]:
    """The modules of pyarrow.

    :raises ConfigError: if it is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415  # optional
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        message = 'Parquet needs pyarrow: pip install pyarrow, or "mctsdialog[train]"; JSON lines need nothing'
        raise ConfigError(message, field="file_type") from error
    return pa, pq


def arrow_schema(types: Mapping[str, Any]) -> pyarrow.Schema:
    """The Arrow schema of a form's types.

    :raises ConfigError: if pyarrow is not installed.
    """
    pa, _ = arrow()

    def typed(kind: Any) -> Any:
        if isinstance(kind, str):
            return {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}[kind]
        if isinstance(kind, list):
            return pa.list_(typed(kind[0]))
        return pa.struct([pa.field(name, typed(each)) for name, each in kind.items()])

    return pa.schema([pa.field(name, typed(kind)) for name, kind in types.items()])
