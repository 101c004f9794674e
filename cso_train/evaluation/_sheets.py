"""Sheets for people as raters: blind, shuffled, filled in with any spreadsheet, read back (paper Table 3, C.2).

A sheet is a CSV file with a row an item; ``key.json`` beside it says what is what, and stays with whoever evaluates.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from cso_train.errors import TrainDataError
from cso_train.evaluation._agreement import Outcome
from cso_train.evaluation._judging import dialogue_of
from cso_train.evaluation._pairwise import VERDICTS, Judged, PairToJudge
from cso_train.evaluation._ratings import ALIGNED, ALIGNMENT, RATED, SCORES, ReplyToRate
from mctsdialog._arguments import checked
from mctsdialog.files import (
    dotted,
    first_fault,
    inside,
    parse_json,
    read_input,
    sheet_rows,
    sheet_text,
    write_atomically,
)
from mctsdialog.files import formula_safe as _safe
from mctsdialog.files import without_apostrophes as _plain

T = TypeVar("T")

SheetKind: TypeAlias = Literal["pairwise", "rate"]

_ITEM = "item"
_CONVERSATION = "conversation"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _KeyItem(_Part):
    item: str
    place: int = Field(ge=0)
    swapped: bool


class _KeyFile(_Part):
    """What ``key.json`` holds."""

    schema_name: Literal["cso_train.sheet_key"] = Field(alias="schema")
    version: Literal[1]
    kind: SheetKind
    code: str
    criteria: dict[str, str] = Field(min_length=1)
    items: Annotated[list[_KeyItem], FailFast()]
    about: dict[str, Any]


class _PairsAbout(_Part):
    first: str | list[str]
    second: str | list[str]
    cards: list[str] | None = None


class _RatingsAbout(_Part):
    groups: Annotated[list[str], FailFast()]
    strategies: Annotated[list[str | None], FailFast()]
    cards: list[str] | None = None


_ABOUT: dict[SheetKind, type[_PairsAbout | _RatingsAbout]] = {"pairwise": _PairsAbout, "rate": _RatingsAbout}


@dataclass(frozen=True)
class SheetKey:
    """What a sheet's rows are.

    :param kind: what is asked of them.
    :param code: beginning of the sheet's item numbers, so that sheets are not mistaken for one another.
    :param criteria: question by criterion.
    :param places: by row, the place of its pair or reply in the list that the sheet was made of.
    :param swapped: by row, whether the second system's reply stands first; all False for replies to rate.
    :param about: what else reading back needs: the systems' names, or each reply's group and strategy. Of whole
        conversations also ``cards``, and two systems for each pair.
    """

    kind: SheetKind
    code: str
    criteria: Mapping[str, str]
    places: tuple[int, ...]
    swapped: tuple[bool, ...]
    about: Mapping[str, Any]

    def to_json(self) -> str:
        """The key as it stands in ``key.json``."""
        items = [
            {"item": self.name(row), "place": place, "swapped": swapped}
            for row, (place, swapped) in enumerate(zip(self.places, self.swapped, strict=True))
        ]
        values = {"schema": "cso_train.sheet_key", "version": 1, "kind": self.kind, "code": self.code}
        values |= {"criteria": dict(self.criteria), "items": items, "about": dict(self.about)}
        return json.dumps(values, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def read(cls, path: str | Path, kind: SheetKind) -> Self:
        """The key in a file.

        :raises TrainDataError: if it cannot be read or is of another kind of sheet.
        """
        try:
            found = _KeyFile.model_validate(parse_json(read_input(path)))
            if found.kind != kind:
                raise TrainDataError(f"this is no key of a sheet for '{kind}'", file=path, field="kind")
            about = _ABOUT[kind].model_validate(found.about)
        except OSError as error:
            raise TrainDataError(f"cannot be read: {error.strerror or error}", file=path) from error
        except ValidationError as error:
            place, message = first_fault(error)
            raise TrainDataError(f"this is no key of a sheet: {message}", file=path, field=dotted(place)) from error
        except TrainDataError:
            raise
        except ValueError as error:
            raise TrainDataError(f"this is no key of a sheet: {error}", file=path) from error
        places = tuple(each.place for each in found.items)
        known = {name: value for name, value in about if value is not None}
        sizes = [len(value) for value in known.values() if isinstance(value, list)]
        if sorted(places) != list(range(len(places))) or any(size != len(places) for size in sizes):
            raise TrainDataError("this is no key of a sheet: its items are not complete", file=path, field="items")
        swapped = tuple(each.swapped for each in found.items)
        return cls(kind, found.code, found.criteria, places, swapped, known)

    def name(self, row: int) -> str:
        """The item number that stands in a row."""
        return f"{self.code}-{row + 1}"

    @property
    def whole(self) -> bool:
        """Whether whole conversations are judged, and not replies."""
        return "cards" in self.about

    @property
    def systems(self) -> list[tuple[str, str]]:
        """Of pairs: the first and the second system of each, in the order of the list that the sheet was made of."""
        first, second = (
            [each] * len(self.places) if isinstance(each, str) else each
            for each in (self.about["first"], self.about["second"])
        )
        return list(zip(first, second, strict=True))


def drawn_order(count: int, seed: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """By row of a sheet: the place of its item, and whether the second of a pair stands first."""
    draw = random.Random(seed)  # noqa: S311  # no secret
    order = tuple(draw.sample(range(count), count))
    return order, tuple(draw.random() < 0.5 for _ in order)


@checked()
def write_pair_sheet(
    folder: str | Path, pairs: Sequence[PairToJudge], criteria: Mapping[str, str], *, names: tuple[str, str], seed: int
) -> list[Path]:
    """A sheet of pairs, shuffled, each with a reply drawn to stand first, without the systems' names.

    :param names: the first and the second system.
    :returns: sheet, instructions and key.
    """
    order, swapped = drawn_order(len(pairs), seed)
    texts = [[*each.history, each.first, each.second] for each in pairs]
    key = SheetKey(
        "pairwise",
        sheet_code(texts, seed),
        criteria,
        order,
        swapped,
        {"first": names[0], "second": names[1]},
    )
    rows = []
    for row, (place, turned) in enumerate(zip(order, swapped, strict=True)):
        pair = pairs[place]
        one, other = (pair.second, pair.first) if turned else (pair.first, pair.second)
        rows.append([key.name(row), "\n".join(pair.history), one, other])
    allowed = 'Write into every column "A" or "B", whichever answer is better, or "tie" where neither is.'
    return write_sheet(Path(folder), key, [_CONVERSATION, "answer A", "answer B"], rows, allowed)


@checked()
def write_rating_sheet(folder: str | Path, items: Sequence[ReplyToRate], *, seed: int) -> list[Path]:
    """A sheet of replies to rate, shuffled, without their groups' names.

    :returns: sheet, instructions and key.
    """
    order, _ = drawn_order(len(items), seed)
    texts = [[*each.history, each.reply, each.strategy or ""] for each in items]
    about = {"groups": [each.group for each in items], "strategies": [each.strategy for each in items]}
    criteria = {**RATED, ALIGNMENT: ALIGNED}
    key = SheetKey("rate", sheet_code(texts, seed), criteria, order, (False,) * len(order), about)
    rows = []
    for row, place in enumerate(order):
        item = items[place]
        rows.append([key.name(row), "\n".join(item.history), item.reply, item.strategy or ""])
    allowed = (
        "Write into every column a whole number from 1 (very poor) to 5 (very good). Leave 'alignment' empty where no "
        "strategy is named."
    )
    return write_sheet(Path(folder), key, [_CONVERSATION, "answer", "intended strategy"], rows, allowed)


@checked()
def read_pair_sheet(path: str | Path, key: SheetKey) -> list[Judged | None]:
    """What a person says of every pair, in the order of the list that the sheet was made of; None where nothing.

    :raises TrainDataError: for another sheet or a wrong entry, naming the file, the item and the column.
    """
    found = _read(Path(path), key, _verdict, 'must be "A", "B" or "tie"')
    judged: list[Judged | None] = [None] * len(key.places)
    for row, (place, swapped) in enumerate(zip(key.places, key.swapped, strict=True)):
        said = found.get(key.name(row), {})
        outcomes = {name: _turned(each) if swapped else each for name, each in said.items()}
        judged[place] = Judged(outcomes) if outcomes else None
    return judged


@checked()
def read_rating_sheet(path: str | Path, key: SheetKey) -> list[dict[str, int] | None]:
    """A person's scores of every reply, in the order of the list that the sheet was made of; None where there is none.

    :raises TrainDataError: as :func:`read_pair_sheet`.
    """
    found = _read(Path(path), key, _score, "must be a whole number from 1 to 5")
    rated: list[dict[str, int] | None] = [None] * len(key.places)
    for row, place in enumerate(key.places):
        scores = found.get(key.name(row), {})
        if key.about["strategies"][place] is None:
            scores.pop(ALIGNMENT, None)
        rated[place] = scores or None
    return rated


def items_of(key: SheetKey, dialogues: Sequence[str] | None = None) -> list[ReplyToRate]:
    """The replies of a rating sheet as far as figures need them: group, strategy and dialogue, without the words.

    :param dialogues: of :func:`sheet_dialogues`.
    """
    histories: list[tuple[str, ...]] = [(each,) for each in dialogues or ()] or [()] * len(key.places)
    found = zip(key.about["groups"], histories, key.about["strategies"], strict=True)
    return [ReplyToRate(group, history, "", strategy) for group, history, strategy in found]


def sheet_dialogues(path: str | Path, key: SheetKey) -> list[str] | None:
    """The dialogue of every pair or reply, in the order of the list that the sheet was made of.

    For whole conversations it is the card.

    :param path: a filled-in sheet. Its conversations tell the dialogues; None if some of them are gone.
    :raises TrainDataError: for a sheet that cannot be read.
    """
    if key.whole:
        return list(key.about["cards"])
    header, rows = _table(Path(path))
    cells = [dict(zip(header, row, strict=False)) for row in rows]
    shown = {each.get(_ITEM, "").strip(): each.get(_CONVERSATION, "").strip() for each in cells}
    found = [""] * len(key.places)
    for row, place in enumerate(key.places):
        found[place] = shown.get(key.name(row), "")
    return [dialogue_of(each.splitlines()) for each in found] if all(found) else None


# -- writing -------------------------------------------------------------------------------------------------------


def sheet_code(texts: Sequence[Sequence[str]], seed: int) -> str:
    """Six letters that depend on what is in the sheet."""
    return hashlib.sha256(json.dumps([seed, texts]).encode()).hexdigest()[:6]


def write_sheet(
    folder: Path, key: SheetKey, shown: Sequence[str], rows: Sequence[Sequence[str]], allowed: str
) -> list[Path]:
    """Write a sheet with its instructions and its key.

    :param shown: names of the columns after the item number; those to be filled in follow.
    :param rows: item number and shown cells, in the sheet's order.
    :param allowed: what may be written into a cell.
    """
    table = [[_ITEM, *shown, *map(_safe, key.criteria)]]
    table += [[*map(_safe, row), *([""] * len(key.criteria))] for row in rows]
    questions = "".join(f"- {name}: {question}\n" for name, question in key.criteria.items())
    instructions = (
        f"{allowed}\n\n{questions}\nRows may be left empty; they are counted. Change nothing else, and save as CSV "
        "(UTF-8).\nAn apostrophe at the beginning of a line keeps it from being taken for a formula; it is not part of "
        "the text.\nMake one copy of sheet.csv for each person.\n"
    )
    return [
        write_atomically(inside(folder, "sheet.csv"), sheet_text(table)),
        write_atomically(inside(folder, "instructions.txt"), instructions),
        write_atomically(inside(folder, "key.json"), key.to_json()),
    ]


# -- reading -------------------------------------------------------------------------------------------------------


def _read(path: Path, key: SheetKey, parse: Callable[[str], T], wanted: str) -> dict[str, dict[str, T]]:
    """By item, what was written into the criteria's columns; empty cells are not there."""
    header, rows = _table(path)
    header = [name if name in (_ITEM, *key.criteria) else _plain(name) for name in header]
    missing = [name for name in (_ITEM, *key.criteria) if name not in header]
    if missing:
        raise TrainDataError(f"has no column {', '.join(map(repr, missing))}", file=path)
    known = {key.name(row) for row in range(len(key.places))}
    found: dict[str, dict[str, T]] = {}
    for row in rows:
        cells = dict(zip(header, row, strict=False))
        item = cells.get(_ITEM, "").strip()
        if item not in known:
            message = (
                f"there is no item {item!r:.60} in the key (its items begin with {key.code}); is it another sheet's?"
            )
            raise TrainDataError(message, file=path, item=f"item {item}")
        if item in found:
            raise TrainDataError("is there twice", file=path, item=f"item {item}")
        found[item] = {}
        for name in key.criteria:
            if written := cells.get(name, "").strip():
                try:
                    found[item][name] = parse(written)
                except ValueError as error:
                    message = f"{wanted}, or empty, not {written[:40]!r}"
                    raise TrainDataError(message, file=path, item=f"item {item}", field=name) from error
    if not any(found.values()):
        raise TrainDataError(f"nothing is written into its columns {', '.join(key.criteria)}", file=path)
    return found


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file; its delimiter is the one that the header has."""
    try:
        header, *rows = sheet_rows(read_input(path))
    except OSError as error:
        raise TrainDataError(f"cannot be read: {error.strerror or error}", file=path) from error
    except ValueError as error:
        raise TrainDataError(str(error), file=path) from error
    return [name.strip() for name in header], rows


def _verdict(written: str) -> Outcome:
    meaning: dict[str, Outcome] = {"first": "win", "second": "lose", "tie": "tie"}
    verdict = VERDICTS.get(written.lower())
    if verdict is None:
        raise ValueError
    return meaning[verdict]


def _turned(outcome: Outcome) -> Outcome:
    turned: dict[Outcome, Outcome] = {"win": "lose", "lose": "win", "tie": "tie"}
    return turned[outcome]


def _score(written: str) -> int:
    score = float(written.replace(",", "."))
    if score not in SCORES:
        raise ValueError
    return int(score)
