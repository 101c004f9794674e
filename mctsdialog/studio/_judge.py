"""Sheets that people fill in: of ``cso_train pairwise --sheet``, ``rate --sheet``, and of an arena's conversations.

A sheet holds no names of systems, and its key is never read here. What a rater says goes into ``sheet-NAME.csv`` beside
it, which is read back as a copy that was filled in with a spreadsheet.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from mctsdialog.errors import DataError
from mctsdialog.files import (
    file_stem,
    inside,
    read_input,
    sheet_rows,
    sheet_text,
    without_apostrophes,
    write_atomically,
)
from mctsdialog.text import shell_word


class _Form(NamedTuple):
    """What a sheet asks, and whether about whole conversations or about replies."""

    kind: Literal["pairwise", "rate"]
    whole: bool


_FORMS: Final[Mapping[tuple[str, ...], _Form]] = {
    ("item", "conversation", "answer A", "answer B"): _Form("pairwise", whole=False),
    ("item", "conversation", "answer", "intended strategy"): _Form("rate", whole=False),
    ("item", "card", "conversation A", "conversation B"): _Form("pairwise", whole=True),
    ("item", "card", "conversation"): _Form("rate", whole=True),
}
"""By the columns before those that are filled in."""

_ALIGNMENT: Final = "alignment"  # is asked of replies that were to carry out a strategy
_VALUES: Final = {"pairwise": ("A", "B", "tie"), "rate": ("1", "2", "3", "4", "5")}
_ITEMS_AT_ONCE: Final = 3
_QUESTION: Final = re.compile(r"- (.+?): (.+)")
_SPOKEN: Final = re.compile(r"^(Seeker|Supporter): ", re.MULTILINE)


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    sheet: int = Field(ge=0)
    rater: str = Field(min_length=1, max_length=60, pattern=r"\S")


class ItemsAsked(_Asked):
    """A page wants items.

    :param first: place of the first in the rater's order; None begins at the first that is not filled in.
    """

    first: int | None = Field(default=None, ge=0)


class Answered(_Asked):
    """A rater has filled in a row; a value may be missing, and none at all empties the row."""

    id: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    item: str = Field(max_length=100)
    values: dict[str, str] = Field(max_length=100)


class Sheet:
    """One sheet and the copies of its raters.

    :param folder: with ``sheet.csv``, and ``instructions.txt`` for the questions.
    :raises DataError: for a file that is no such sheet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        header, *self._rows = _table(folder / "sheet.csv")
        shown = next((each for each in _FORMS if each == tuple(header[: len(each)])), None)
        if shown is None or len(header) == len(shown):
            wanted = " or ".join(", ".join(each) for each in _FORMS)
            raise DataError(f"is no sheet to fill in: its columns begin with {wanted}", file=folder / "sheet.csv")
        self.kind, self.whole = _FORMS[shown]
        self._shown = len(shown)
        self._header = header
        self.criteria = _questions(folder, header[self._shown :])
        self._places = {row[0]: place for place, row in enumerate(self._rows)}
        if len(self._places) < len(self._rows):
            raise DataError("an item is there twice", file=folder / "sheet.csv")
        self._raters: dict[str, dict[str, dict[str, str]]] = {}

    def __contains__(self, item: object) -> bool:
        return item in self._places

    def about(self) -> dict[str, Any]:
        """What a page shows of the sheet before it is begun."""
        done = {path.stem.removeprefix("sheet-"): path for path in sorted(self.folder.glob("sheet-*.csv"))}
        sheets = " ".join(f"--sheets {shell_word(path)}" for path in done.values()) or "--sheets FILE"
        return {
            "folder": str(self.folder),
            "kind": self.kind,
            "whole": self.whole,
            "items": len(self._rows),
            "criteria": self.criteria,
            "values": _VALUES[self.kind],
            "raters": list(done),
            "command": f"python -m cso_train {self.kind} {sheets} --key {shell_word(self.folder / 'key.json')}",
        }

    def items(self, asked: ItemsAsked) -> dict[str, Any]:
        """Some rows in the order of a rater, and how many are filled in."""
        with self._lock:
            said = self._said(asked.rater)
            order = sorted(self._places, key=lambda item: _rank(item, asked.rater))
            filled = [item for item in order if self._is_full(item, said)]
            first = asked.first
            if first is None:
                first = next((place for place, item in enumerate(order) if item not in filled), len(order))
            shown = order[first : first + _ITEMS_AT_ONCE]
            items = [self._item(item, said, first + at) for at, item in enumerate(shown)]
        return {"items": items, "done": len(filled), "of": len(order), "first": first}

    def answer(self, given: Answered) -> None:
        """Write what a rater says into the rater's copy.

        :raises DataError: for an item, criterion or value that the sheet has not.
        :raises OSError: where it cannot be written.
        """
        if given.item not in self._places:
            raise DataError("there is no such item in this sheet", item=given.item)
        asked = self._asked(given.item)
        for name, value in given.values.items():
            if name not in asked or value not in _VALUES[self.kind]:
                message = f"must be one of {', '.join(_VALUES[self.kind])}, and of a criterion that is asked"
                raise DataError(message, item=given.item, field=name)
        with self._lock:
            said = {**self._said(given.rater), given.item: given.values}
            # The key of whole conversations knows the cards: they are not written again with every answer.
            kept = 1 if self.whole else self._shown
            table = [[*self._header[:kept], *self.criteria]]
            for row in self._rows:
                cells = said.get(row[0], {})
                table.append([*row[:kept], *(cells.get(name, "") for name in self.criteria)])
            write_atomically(self._copy(given.rater), sheet_text(table))
            self._raters[given.rater] = said

    def _copy(self, rater: str) -> Path:
        return inside(self.folder, f"sheet-{file_stem(rater.strip())}.csv")

    def _said(self, rater: str) -> dict[str, dict[str, str]]:
        """What a rater has said so far, by item and criterion."""
        if rater not in self._raters:
            path = self._copy(rater)
            self._raters[rater] = self._read(path) if path.is_file() else {}
        return self._raters[rater]

    def _read(self, path: Path) -> dict[str, dict[str, str]]:
        header, *rows = _table(path)
        shown = len(header) - len(self.criteria)
        same = shown in (1, self._shown) and header == [*self._header[:shown], *self.criteria]
        if not same or {row[0] for row in rows} - self._places.keys():
            raise DataError("is a copy of another sheet; move it away, or judge under another name", file=path)
        said = {row[0]: dict(zip(self.criteria, row[shown:], strict=False)) for row in rows}
        named = {value.lower(): value for value in _VALUES[self.kind]}
        return {
            item: {name: named[cell.strip().lower()] for name, cell in cells.items() if cell.strip().lower() in named}
            for item, cells in said.items()
        }

    def _asked(self, item: str) -> list[str]:
        """The criteria that are asked of an item."""
        row = self._rows[self._places[item]]
        unnamed = self.kind == "rate" and not self.whole and not row[3].strip()
        return [name for name in self.criteria if not (unnamed and name == _ALIGNMENT)]

    def _is_full(self, item: str, said: Mapping[str, Mapping[str, str]]) -> bool:
        return set(self._asked(item)) <= said.get(item, {}).keys()

    def _item(self, item: str, said: Mapping[str, Mapping[str, str]], place: int) -> dict[str, Any]:
        _, context, *shown = map(without_apostrophes, self._rows[self._places[item]][: self._shown])
        known: dict[str, Any] = {"item": item, "place": place, "asked": self._asked(item), "own": said.get(item, {})}
        if self.whole:
            return {**known, "about": context, "conversations": [_blocks(each) for each in shown]}
        return {
            **known,
            "history": _turns(context),
            "answers": shown if self.kind == "pairwise" else shown[:1],
            "strategy": shown[1] if self.kind == "rate" else None,
        }


def _table(path: Path) -> list[list[str]]:
    try:
        rows = sheet_rows(read_input(path))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error
    except ValueError as error:
        raise DataError(str(error), file=path) from error
    width = len(rows[0])
    return [[cell.strip() for cell in rows[0]], *([*row, *[""] * (width - len(row))][:width] for row in rows[1:])]


def _questions(folder: Path, criteria: list[str]) -> dict[str, str]:
    """The question of every criterion, from the sheet's instructions; its name where these are gone."""
    try:
        lines = read_input(folder / "instructions.txt").decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    known = {found[1]: found[2] for line in lines if (found := _QUESTION.fullmatch(line))}
    return {name: known.get(without_apostrophes(name), without_apostrophes(name)) for name in criteria}


def _turns(conversation: str) -> list[tuple[str, str]]:
    """The turns of a conversation as a sheet has it: a line begins with who speaks."""
    pieces = _SPOKEN.split(conversation)
    turns = [(who.lower(), text.removesuffix("\n")) for who, text in zip(pieces[1::2], pieces[2::2], strict=True)]
    return [("", pieces[0]), *turns] if pieces[0].strip() else turns


def _blocks(conversation: str) -> list[tuple[str, str]]:
    """The turns of a whole conversation: further lines of a turn are indented, so that none is taken for a turn."""
    return [(who, text.replace("\n  ", "\n")) for who, text in _turns(conversation)]


def _rank(item: str, rater: str) -> bytes:
    """Orders the items of a rater: each sees them in an order of their own, the same every time."""
    return hashlib.sha256(f"{rater.strip()} {item}".encode("utf-8", "replace")).digest()
