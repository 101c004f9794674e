"""Rows of a spreadsheet (.xlsx), by the package ``openpyxl`` where it is installed."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from mctsdialog.errors import ConfigError, DialogueError
from mctsdialog.files import open_input
from mctsdialog.files._parquet import most_unfolded

_BOOK = "xl/workbook.xml"
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError,
    RuntimeError,
)  # fmt: skip
"""What zipfile and openpyxl raise for parts that are damaged or encrypted."""


def is_sheet(path: Path) -> bool:
    """Whether a zip archive is a spreadsheet.

    :raises DialogueError: for one that is damaged, or unpacks to too much.
    """
    try:
        with open_input(path) as file, zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except _DAMAGED as error:
        raise DialogueError(f"is a damaged spreadsheet or zip archive: {error}", file=path) from error
    most = most_unfolded(path.stat().st_size)
    if sum(part.file_size for part in parts) > most:
        raise DialogueError(f"unpacks to more than {most} bytes; save it as CSV (UTF-8)", file=path)
    return any(part.filename == _BOOK for part in parts)


def sheet_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The rows of the first sheet below its head, with their numbers, as objects by column; an empty cell is null.

    :raises ConfigError: if openpyxl is not installed.
    :raises DialogueError: for a damaged sheet.
    """
    try:
        import openpyxl  # noqa: PLC0415  # optional
        from openpyxl.utils.exceptions import InvalidFileException  # noqa: PLC0415
    except ImportError as error:
        message = f"{path} is a spreadsheet, which needs openpyxl: pip install openpyxl; or save it as CSV (UTF-8)"
        raise ConfigError(message, field="path") from error
    try:
        with open_input(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # styles and the like, which no reader needs
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            rows = enumerate(book.worksheets[0].iter_rows(values_only=True), start=1)
            names = [None if name is None else str(name).strip() for name in next(rows, (0, ()))[1]]
            for number, row in rows:
                if any(cell is not None for cell in row):
                    yield number, {name: _plain(cell) for name, cell in zip(names, row, strict=False) if name}
    except (InvalidFileException, *_DAMAGED) as error:
        raise DialogueError(f"is not a sound spreadsheet: {error}", file=path) from error


def _plain(cell: object) -> object:
    """A cell as JSON has it: a date becomes text."""
    return cell if cell is None or isinstance(cell, str | int | float | bool) else str(cell)
