"""The one reader for all forms that differ in their keys alone: which key holds what is data.

The forms that are known by name are in ``data/forms.json``; any other is said by a :class:`KeyMap`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib import resources
from typing import Any, Self

from mctsdialog.dialogue._domains import get_domain
from mctsdialog.dialogue._model import Speaker
from mctsdialog.dialogue.readers._common import (
    ID_KEYS,
    Context,
    Draft,
    Reader,
    Utterance,
    is_number,
    kind_of,
)
from mctsdialog.dialogue.readers._json import parse_value
from mctsdialog.dialogue.readers._report import clip
from mctsdialog.errors import ConfigError

ROWS = "rows"
"""The key under which the rows of a table, and the messages of a bare list, are a dialogue's turns."""

GROUP_KEYS = ("dialogue_id", "dialog_id", "conversation_id", "conv_id", "transcript_id", "session_id", "chat_id", "B2")
"""Columns that say which dialogue a row belongs to."""

ALTERNATE = "alternate"
"""The speaker in a map of texts that alternate."""

PARTS = ("turns", "speaker", "text", "strategy", "also", "scene", "description", "id", "source", "dialogue")
"""The parts of a map that are keys of dialogues and turns."""

_DATA: dict[str, Any] = json.loads(
    (resources.files("mctsdialog.dialogue") / "data" / "forms.json").read_text(encoding="utf-8")
)
_SIDES: Mapping[str, str] = {name: side for side, names in _DATA["sides"].items() for name in names}
SPEAKER_NAMES = frozenset(_SIDES)
"""The names of speakers that are known."""


@dataclass(frozen=True)
class KeyMap:
    """Which key of a file holds what. Of several keys the first one that is there and not empty is read.

    A key may be a path, ``annotation.strategy``. Without ``turns``, the other keys hold lists of equal length, or a row
    is one turn.

    :param turns: list of a dialogue's turns.
    :param speaker: who speaks; ``alternate`` where only texts are listed: the seeker begins.
    :param text: what was said.
    :param strategy: label of the turn, or several.
    :param also: further labels of the turn.
    :param scene: kind of situation.
    :param description: the seeker's situation.
    :param id: the dialogue's id. In a table of a turn a row it also groups the rows, without ``dialogue``.
    :param source: where it came from.
    :param dialogue: in a table of a turn a row, the column that says which dialogue it belongs to.
    :param items: list of dialogues in a file that is one object.
    :param seeker: names of the seeker, beside those that are known.
    :param supporter: names of the supporter, beside those that are known.
    """

    turns: tuple[str, ...] = ()
    speaker: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    strategy: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    scene: tuple[str, ...] = ()
    description: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    dialogue: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    seeker: tuple[str, ...] = ()
    supporter: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The map in a text: ``turns=dialog,speaker=role,text=content``; several keys are ``text=content|text``.

        :raises ConfigError: for another form, and for parts that there are not.
        """
        names = [each.name for each in fields(cls)]
        found: dict[str, tuple[str, ...]] = {}
        for part in text.split(","):
            name, _, keys = (each.strip() for each in part.partition("="))
            if name not in names or not keys or name in found:
                reason = "is there twice" if name in found else f"there are {', '.join(names)}"
                raise ConfigError(f"a map is PART=KEY,PART=KEY|KEY, not {clip(part)!r}; {reason}", field="map")
            found[name] = tuple(key.strip() for key in keys.split("|"))
        return cls(**found)

    def __str__(self) -> str:
        """The text that :meth:`parse` reads."""
        parts = ((each.name, getattr(self, each.name)) for each in fields(self))
        return ",".join(f"{name}={'|'.join(keys)}" for name, keys in parts if keys)

    def over(self, other: KeyMap) -> KeyMap:
        """This map where it says something, and elsewhere the other."""
        return replace(
            other, **{each.name: getattr(self, each.name) or getattr(other, each.name) for each in fields(self)}
        )


@dataclass(frozen=True)
class Form:
    """A form that differs from others in its keys alone.

    :param map: which key holds what.
    :param entry: keys of which a turn of this form has one; empty where any will do.
    :param item: keys of which a dialogue of this form has one.
    :param plain: whether a dialogue without turns is taken for this form.
    :param sides_at: path of the speaker's side, with the speaker's name at ``{}``.
    :param only: values of a turn's keys; other turns are events in which nobody speaks.
    """

    name: str
    title: str
    map: KeyMap
    domain: str | None = None
    entry: tuple[str, ...] = ()
    item: tuple[str, ...] = ()
    plain: bool = False
    sides_at: str = ""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def sides(self) -> Mapping[str, str]:
        """The side of every name that is known, in lower case: "seeker", "supporter", or "system" for no side."""
        own = {name.casefold(): side for side in ("seeker", "supporter") for name in getattr(self.map, side)}
        return {**_SIDES, **own}

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(self.map.turns or self.item or self.map.text)

    def reader(self) -> Reader:
        """The reader of this form."""
        domain = None if self.domain is None else get_domain(self.domain)
        return Reader(self.name, self.read, self.recognises, domain, self.title)

    def recognises(self, item: Mapping[str, object]) -> bool:
        """Whether an item is of this form, by the keys of the item and of its first turn."""
        if self._keys.isdisjoint(item) or (self.item and not any(key in item for key in self.item)):
            return False
        if not self.map.turns:
            return isinstance(at(item, self.map.text[0]), list)
        turns = next(item[key] for key in self.map.turns if key in item)
        first = next((each for each in turns if each is not None), None) if isinstance(turns, list) else None
        if isinstance(first, dict) and self.entry:
            return any(key in first for key in self.entry)
        return not self.entry if isinstance(first, dict | str) else False

    def read(self, item: Mapping[str, object], context: Context) -> Draft:
        """One item of such a file, in draft. Keys that have no part in it are counted.

        :raises DialogueError: for a turn whose speaker or text cannot be told.
        """
        return _Reading(self, item, context).draft()


def _form(name: str, title: str, **values: Any) -> Form:
    keys = {each.name: tuple(values.pop(each.name, ())) for each in fields(KeyMap)}
    for key in ("entry", "item"):
        values[key] = tuple(values.get(key, ()))
    return Form(name, title, KeyMap(**keys), **values)


FORMS: Mapping[str, Form] = {each["name"]: _form(**each) for each in _DATA["forms"]}
"""The forms that are known, in the order in which they are asked whether an item is theirs."""

TURN_KEYS = frozenset(key for form in FORMS.values() for key in form.map.turns) - {ROWS}
"""Keys under which forms have their turns."""


MISSING = object()
"""The mark of a key that is not there."""


def at(value: object, path: str) -> object:
    """What stands at a path inside a value, or a mark of its absence."""
    if isinstance(value, dict) and (path in value or "." not in path):
        return value.get(path, MISSING)
    name, dot, rest = path.partition(".")
    if isinstance(value, dict):
        inner = value.get(name, MISSING)
    elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
        inner = value[int(name)]
    else:
        return MISSING
    return at(inner, rest) if dot and inner is not MISSING else inner


class _Reading:
    """One item being read."""

    def __init__(self, form: Form, item: Mapping[str, object], context: Context) -> None:
        self.form, self.map, self.item, self.context = form, form.map, item, context
        self.sides = form.sides

    def draft(self) -> Draft:
        entries, used = self._entries()
        utterances = tuple(each for place, entry in entries for each in self._utterance(entry, place))
        scene, description, source = (self._start(name, used) for name in ("scene", "description", "source"))
        own = next(iter(self.map.id), None)
        used |= {key for key in self.item if key == own or key.casefold() in ID_KEYS}  # item_id counts what it leaves
        if self.form.domain is None:
            used.add("domain")
        if self.form.sides_at:
            used.add(self.form.sides_at.replace(".{}", ""))
        _count_unread(self.item, used, self.context)
        return Draft(utterances, scene, description, source)

    def _start(self, name: str, used: set[str]) -> str:
        """A text about the whole dialogue; in a table it stands in its rows."""
        rows = self.item.get(ROWS)
        where = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else self.item
        path, value = _first(where, getattr(self.map, name))
        used.add(path)
        return self.context.text(None if value is MISSING else value, path)

    def _entries(self) -> tuple[Iterator[tuple[str, object]], set[str]]:
        """The turns with their places, and the keys that hold them."""
        path, value = _first(self.item, self.map.turns or (ROWS,))
        if value is MISSING:
            if not self.map.turns:
                return self._columns()
            key = self.map.turns[0]
            raise self.context.error(f"there is no such key; {self.form.title} has its turns there", key)
        if isinstance(value, str):  # a table's cell
            value = self._parsed(value, path)
        if value is None:
            value = []
        if not isinstance(value, list):
            raise self.context.error(f"must be a list of turns, not {kind_of(value)}", path)
        return ((f"{path}[{index}]", each) for index, each in enumerate(value)), {path}

    def _parsed(self, text: str, path: str) -> object:
        try:
            return parse_value(text)
        except ValueError as error:
            raise self.context.error(f"must be a list of turns, not text that is not JSON: {error}", path) from error

    def _columns(self) -> tuple[Iterator[tuple[str, object]], set[str]]:
        """The turns of a dialogue whose parts are lists of equal length."""
        lists: dict[str, list[object]] = {}
        for name in ("speaker", "text", "strategy", "also"):
            path, value = _first(self.item, getattr(self.map, name))
            if isinstance(value, list):
                lists[path] = value
        if not lists or len({len(each) for each in lists.values()}) != 1:
            sizes = ", ".join(f"{path} {len(each)}" for path, each in lists.items())
            raise self.context.error(
                f"the lists of a dialogue's parts must be of equal length, not {sizes or 'missing'}"
            )
        rows = (dict(zip(lists, each, strict=True)) for each in zip(*lists.values(), strict=True))
        return ((f"turn {index}", row) for index, row in enumerate(rows)), set(lists)

    def _utterance(self, value: object, place: str) -> Iterator[Utterance]:
        if value is None:
            self.context.tally.count("empty_entries")
        elif self.map.speaker == (ALTERNATE,):
            yield Utterance(self._alternating(place), self.context.text(value, place))
        else:
            entry = self.context.mapping(value, place)
            if any(key in entry and str(entry[key]) not in wanted for key, wanted in self.form.only.items()):
                self.context.tally.count("empty_entries")
            else:
                yield from self._spoken(entry, place)

    def _spoken(self, entry: Mapping[str, object], place: str) -> Iterator[Utterance]:
        side = self._side(entry, place)
        if side == "system":
            self.context.tally.count("system_messages")
            return
        path, text = _first(entry, self.map.text)
        if text is MISSING:
            raise self.context.error("is missing", f"{place}.{self.map.text[0] if self.map.text else 'text'}")
        used = {*self.form.only, _first(entry, self.map.speaker)[0], path}
        labels = self._labels(entry, place, used) if side == "supporter" else ()
        if place.startswith(f"{ROWS}["):
            used |= {*GROUP_KEYS, *self.map.dialogue, *self.map.id, *self.map.scene, *self.map.description}
        _count_unread(entry, used, self.context)
        first, *others = labels or ("",)
        speaker: Speaker = "seeker" if side == "seeker" else "supporter"
        yield Utterance(speaker, self.context.text(text, f"{place}.{path}"), first, tuple(others))

    @staticmethod
    def _alternating(place: str) -> Speaker:
        return "supporter" if int(place.rpartition("[")[2].rstrip("]")) % 2 else "seeker"

    def _labels(self, entry: Mapping[str, object], place: str, used: set[str]) -> tuple[str, ...]:
        found: list[str] = []
        for keys in (self.map.strategy, self.map.also):
            path, value = _first(entry, keys)
            if isinstance(value, dict):  # of several keys the next one may hold it
                path, value = next(
                    ((key, at(entry, key)) for key in keys if not isinstance(at(entry, key), dict)), ("", None)
                )
            if value is not MISSING:
                used.add(path)
                found += self.context.labels(value, f"{place}.{path}")
        return tuple(found)

    def _side(self, entry: Mapping[str, object], place: str) -> str:
        path, value = _first(entry, self.map.speaker)
        where = f"{place}.{path or next(iter(self.map.speaker), 'speaker')}"
        if value is MISSING:
            raise self.context.error("is missing: it says who speaks", where)
        name = str(value) if is_number(value) else self.context.text(value, where)
        if self.form.sides_at:
            role = at(self.item, self.form.sides_at.format(name))
            name = role if isinstance(role, str) else name
        side = self.sides.get(name.casefold().rstrip(":： "))
        if side is None:
            what = "is null" if value is None else f"is {clip(name)!r}" if name else "is blank"
            how = f"; say whose it is: seeker={clip(name)} or supporter={clip(name)} in the map" if name else ""
            raise self.context.error(f"{what}, which names neither side{how}", where)
        return side


def _first(value: object, paths: tuple[str, ...]) -> tuple[str, object]:
    """The first path at which something stands that is not empty; else the first one that is there."""
    there: tuple[str, object] = ("", MISSING)
    for path in paths:
        each = at(value, path)
        if each is not None and each is not MISSING and each != "":
            return path, each
        if each is not MISSING and there[1] is MISSING:
            there = (path, each)
    return there


def _count_unread(value: Mapping[str, object], used: set[str], context: Context) -> None:
    """Count the keys of an object that were not read, one level into those of which a part was."""
    for key, inner in value.items():
        if key in used or inner in (None, "", [], {}):
            continue
        parts = [path for path in used if path.startswith(f"{key}.")]
        if not parts:
            context.tally.count("keys_ignored", clip(key))
        elif isinstance(inner, dict):
            below = {path.removeprefix(f"{key}.") for path in parts}
            for name, each in inner.items():
                if each not in (None, "", [], {}) and name not in {path.partition(".")[0] for path in below}:
                    context.tally.count("keys_ignored", clip(f"{key}.{name}"))
