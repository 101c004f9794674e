"""Tables for people: CSV that any spreadsheet opens, runs no formula of, and saves back in its own way."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_ENDS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029;\t"  # of lines, and of cells for a program that takes another delimiter
_BEGINNING = rf"(?:\A|(?<=[{_ENDS}]))"
# What spreadsheets run, be it behind blanks, quotes and what shows nothing; or drop before they look at what follows.
_FORMULA = rf"(?:(?:['\"\u200b-\u200f\u2060\ufeff]|[^\S{_ENDS}])*[=+\-@＝＋－＠﹦﹢﹣﹫−]|'*[\t\r])"
_UNSAFE, _SAFE = re.compile(_BEGINNING + f"(?={_FORMULA})"), re.compile(f"{_BEGINNING}'(?={_FORMULA})")


def sheet_text(rows: Iterable[Sequence[str]]) -> str:
    """Rows as CSV, with the mark at the beginning that tells Excel that it is UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return "\ufeff" + text.getvalue()


def sheet_rows(data: bytes) -> list[list[str]]:
    """The rows of a CSV file, its header first; blank ones are left out. Its delimiter is the one that the header has.

    :raises ValueError: for data that is no table, saying in a line what it is.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8; save it as CSV (UTF-8)") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows = [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ValueError(f"is no CSV file: {error}") from error
    if not rows:
        raise ValueError("is empty")
    return rows


def formula_safe(cell: str) -> str:
    """A cell that no spreadsheet runs as a formula: an apostrophe stands before each that might be one."""
    return _UNSAFE.sub("'", cell)


def without_apostrophes(cell: str) -> str:
    """What :func:`formula_safe` made the cell of."""
    return _SAFE.sub("", cell)
