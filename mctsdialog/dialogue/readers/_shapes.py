"""What dialogues are wrapped in, before a form is told: bare lists, rows of turns, text that is JSON, objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from mctsdialog.dialogue.readers._common import is_number, loose_keys
from mctsdialog.dialogue.readers._files import RawItem, open_items
from mctsdialog.dialogue.readers._json import parse_value
from mctsdialog.dialogue.readers._mapped import (
    ALTERNATE,
    FORMS,
    GROUP_KEYS,
    MISSING,
    PARTS,
    ROWS,
    SPEAKER_NAMES,
    TURN_KEYS,
    KeyMap,
    at,
)
from mctsdialog.dialogue.readers._report import clip
from mctsdialog.errors import DialogueError

_SPEAKERS = frozenset(key for form in FORMS.values() if ROWS in form.map.turns for key in form.map.speaker)
_TEXTS = frozenset(key for form in FORMS.values() if ROWS in form.map.turns for key in form.map.text)
_EXTES = {"user", "ai", "assistant", "aistrategy", "assistantstrategy", "strategy"}
_CASES = {
    path.casefold(): path
    for path in (*GROUP_KEYS, *(path for form in FORMS.values() for part in PARTS for path in getattr(form.map, part)))
    if path.islower()
}
"""Keys that are known, by their letters alone."""

_KNOWN = frozenset(_CASES.values())
_FEW_ROWS = 4  # that are one dialogue, whatever their columns are

_SPOKEN = {"user", "ai", "assistant"}
_WHOLE = {*TURN_KEYS, "content", "pairs", "utterances", "agent_turn", "events"}


@dataclass(frozen=True)
class Items:
    """The items of a file, each a dialogue by itself; they can be gone through any number of times.

    :param path: the file.
    :param raw: what stands in it.
    :param map: what its keys mean, where the caller said so.
    :param loose: whether keys are taken in any letter case.
    """

    path: Path
    raw: Iterable[RawItem]
    map: KeyMap | None = None
    loose: bool = False

    @classmethod
    def of(cls, path: Path, *, lenient: bool, map: KeyMap | None = None) -> Items:
        """The items of a file.

        :raises DialogueError: if it cannot be read; some faults show only on going through the items.
        """
        raw = open_items(path, lenient=lenient)
        if isinstance(raw, list):
            raw = list(_members(raw[0], path, map)) if len(raw) == 1 and isinstance(raw[0].value, dict) else raw
        return cls(path, raw, map)

    def __iter__(self) -> Iterator[RawItem]:
        group: list[RawItem] = []
        broken: list[RawItem] = []  # rows since the last one of the group, which may be of it
        key: object = None
        for item in self.raw:
            if group and item.error is not None:
                broken.append(item)
                continue
            found, row = self._looked_at(item)
            if group and (row is None or row != key):
                yield self._grouped(group, key)
                yield from broken
                group, broken = [], []
            if row is None:
                yield found
            else:
                group += [*broken, found]
                broken, key = [], row
        if group:
            yield self._grouped(group, key)
        yield from broken

    def _grouped(self, rows: list[RawItem], key: object) -> RawItem:
        """Rows that are turns, as one dialogue; columns that could have told several apart are counted.

        A dialogue that lacks a row is not one that took place: it is malformed as a whole.
        """
        error = next((each.error for each in rows if each.error is not None), None)
        if error is not None:
            reason = f"{error.reason}; the dialogue that it is a row of is left out"
            torn = DialogueError(reason, file=error.file, item=error.item, field=error.field)
            return RawItem(rows[0].label, error=torn)
        made = _grouped(rows, key)
        if key != ("row", None) or len(rows) < _FEW_ROWS:
            return made
        found = _that_may_group([each.value for each in rows], self._named | _KNOWN)
        return replace(made, counts=(*made.counts, *(("ungrouped_rows", clip(name), len(rows)) for name in found)))

    def _looked_at(self, item: RawItem) -> tuple[RawItem, object]:
        """An item without what it is wrapped in, and the dialogue that it is a turn of; None for one that is none."""
        if item.error is not None or not item.value:
            return item, None
        value = self._unpacked(_known_case(item.value, self._named) if self.loose else item.value)
        return (item if value is item.value else replace(item, value=value)), self._row(value)

    @cached_property
    def _named(self) -> frozenset[str]:
        """The keys that the map names, which keep their letter case."""
        paths = (path for part in PARTS for path in getattr(self.map, part)) if self.map else ()
        return frozenset(name for path in paths for name in (path, path.partition(".")[0]))

    def _unpacked(self, value: object) -> object:
        """An item without what it is wrapped in."""
        if isinstance(value, dict) and len(value) == 1:
            ((key, inner),) = value.items()
            if isinstance(inner, str) and (found := _json_text(inner)) is not None:
                value = found  # a column of JSON texts, as hubs have them
            elif isinstance(inner, dict) and key not in _WHOLE:
                value = inner
        if isinstance(value, list) and value:
            return _as_item(value, self.map)
        if isinstance(value, dict):
            value = _with_messages(value)
            turns = TURN_KEYS | set(self.map.turns) if self.map else TURN_KEYS
            if turns.isdisjoint(value):
                return value
            texts = {key: _json_text(value[key]) for key in turns & value.keys() if isinstance(value[key], str)}
            if any(each is not None for each in texts.values()):
                return {**value, **{key: each for key, each in texts.items() if each is not None}}
        return value

    def _row(self, value: object) -> object:
        """For an item that is one turn, what tells the turns of one dialogue from those of another; else None."""
        if isinstance(value, list):
            return ("pair",) if _is_pair(value) else None
        if not isinstance(value, dict):
            return None
        if is_turn(value, self.map):
            own = (self.map.dialogue or self.map.id) if self.map else ()
            return ("row", _group_of(value, own or GROUP_KEYS))
        return ("extes",) if _is_extes_turn(value) else None


def _known_case(value: Any, kept: Set[str], depth: int = 3) -> Any:
    """A value with the keys that are known in the letter case in which they are known.

    :param kept: keys that stay as they are.
    """
    if isinstance(value, list) and depth:
        return [_known_case(each, kept, depth - 1) for each in value]
    if not isinstance(value, dict) or not depth:
        return value
    names = {key: key if key in kept else _CASES.get(key.strip().casefold().replace(" ", "_"), key) for key in value}
    if len(set(names.values())) < len(names):
        return value
    return {names[key]: _known_case(each, kept, depth - 1) for key, each in value.items()}


def _with_messages(value: dict[str, Any]) -> dict[str, Any]:
    """A dialogue that pairs what one side says with the other's answer, as one of messages.

    ``{"conversation": [{"system"?, "input", "output"}, ...]}``, and ``{"instruction", "input"?, "output", "history":
    [[said, answer], ...]}``.
    """
    for key in ("conversation", "conversations"):
        turns = value.get(key)
        if (
            isinstance(turns, list)
            and turns
            and all(isinstance(each, dict) and each.keys() >= _ASKED for each in turns)
        ):
            said = [message for each in turns for message in _exchange(each["input"], each["output"], each)]
            return {**{name: each for name, each in value.items() if name != key}, "messages": said}
    history = value.get("history")
    asked = next((key for key in ("instruction", "prompt") if key in value), None)
    answer = next((key for key in ("output", "response") if key in value), None)
    if isinstance(history, list) and asked and answer and all(_is_exchange(each) for each in history):
        said = [message for each in history for message in _exchange(*each)]
        last = (
            "\n".join(filter(None, (value[asked], value.get("input"))))
            if isinstance(value[asked], str)
            else value[asked]
        )
        said += _exchange(last, value[answer])
        rest = {name: each for name, each in value.items() if name not in ("history", asked, "input", answer)}
        return {**rest, "messages": said}
    return value


_ASKED = {"input", "output"}


def _is_exchange(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def _exchange(asked: object, answer: object, about: Mapping[str, object] | None = None) -> list[dict[str, object]]:
    """What one side says, where it says something, and the other's answer with what else is known of it."""
    more = {key: each for key, each in (about or {}).items() if key not in ("input", "output", "system")}
    system = [{"role": "system", "content": about["system"]}] if about and about.get("system") else []
    user = [{"role": "user", "content": asked}] if asked not in (None, "") else []
    return [*system, *user, {"role": "assistant", "content": answer, **more}]


def is_turn(value: Mapping[str, object], map: KeyMap | None = None) -> bool:
    """Whether an object is one turn of a dialogue: it names a speaker and has a text, by the map or known keys."""
    if map is not None and (any(key in value for key in map.turns) or map.speaker == (ALTERNATE,)):
        return False
    speakers = _values(value, map.speaker if map else (), _SPEAKERS)
    texts = _values(value, map.text if map else (), _TEXTS)
    if not speakers or not any(not isinstance(each, dict) and _is_text(each) for each in texts):
        return False
    speaker = speakers[0]
    whole = any(isinstance(value.get(key), list | dict) for key in TURN_KEYS if key in value)
    return (speaker is None or isinstance(speaker, str) or is_number(speaker)) and not whole


def _values(value: Mapping[str, object], named: Sequence[str], known: Set[str]) -> list[object]:
    """What stands at the paths that a map names for a part, or at the keys that are known for it."""
    if named:
        return [each for path in named if (each := at(value, path)) is not MISSING]
    return [each for key, each in value.items() if key in known]


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, list) and _are_parts(value))


def _are_parts(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(each, dict) and "type" in each for each in value)


def _is_extes_turn(value: Mapping[str, object]) -> bool:
    if not 0 < len(value) <= len(_EXTES):
        return False
    keys = loose_keys(value)
    return keys.keys() <= _EXTES and bool(keys.keys() & _SPOKEN)


def _is_pair(value: object) -> bool:
    """Whether a list is a turn as [speaker, text]."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(each, str) for each in value)
        and value[0].strip().casefold() in SPEAKER_NAMES
    )


def _as_item(value: list[Any], map: KeyMap | None = None) -> object:
    """A list that is a dialogue, as an object with the list in the place where its form has it."""
    if _is_pair(value):
        return value
    if all(_is_pair(each) for each in value):
        return {"pairs": [{"speaker": speaker, "text": text} for speaker, text in value]}
    if all(isinstance(each, dict) for each in value):
        if any(is_turn(each, map) for each in value):
            return {ROWS: value}
        if any(_is_extes_turn(each) for each in value):
            return {"content": value}
    if all(isinstance(each, str) for each in value):
        return {"utterances": value}
    return value


def _group_of(value: Mapping[str, object], keys: Iterable[str]) -> object:
    found = next((each for key in keys if (each := at(value, key)) not in (None, "", MISSING)), None)
    return found if isinstance(found, str | int | float) else None


def _that_may_group(rows: Sequence[Any], read: Set[str]) -> Iterator[str]:
    """Columns of no known meaning, whose values each stand in one block: of two rows or more, on average."""
    for name in (key for key in rows[0] if key not in read):
        values = [row.get(name) for row in rows]
        if all(isinstance(each, str | int) and each != "" for each in values):
            blocks = 1 + sum(one != other for one, other in pairwise(values))
            if blocks == len(set(values)) and 1 < blocks <= len(rows) // 2:
                yield name


def _grouped(rows: list[RawItem], key: object) -> RawItem:
    """Rows that are turns, as one dialogue."""
    first, values = rows[0], [each.value for each in rows]
    counts = tuple(count for each in rows for count in each.counts)
    kind, *group = key if isinstance(key, tuple) else (key,)
    if kind == "pair":
        value: dict[str, object] = {"pairs": [{"speaker": each[0], "text": each[1]} for each in values]}  # type: ignore[index]
    elif kind == "extes":
        value = {"content": values}
    else:
        value = {ROWS: values}
    if group and group[0] is not None:
        value["id"] = group[0]
    return RawItem(first.label, value, None, counts)


def _json_text(text: str) -> object:
    """The object or list in a text that is JSON; else None."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = parse_value(text)
    except ValueError:
        return None
    return value if isinstance(value, dict | list) and value else None


# -- objects that wrap dialogues ---------------------------------------------------------------------------------------


def _members(item: RawItem, path: Path, map: KeyMap | None) -> Iterator[RawItem]:
    """The dialogues of a file that is one object: itself, those of a list in it, or its values."""
    value = item.value
    assert isinstance(value, dict)
    if map is not None and map.items:
        yield from _listed(item, map.items[0], at(value, map.items[0]), path)
        return
    mapped = map is not None and any(key in value for key in map.turns)
    if not mapped and "chosen" in value and value.keys() & {"rejected", "reject"}:
        raise DialogueError("its items are preference pairs, not dialogues; train on them with cso_train", file=path)
    if mapped or is_turn(value, map) or (_is_dialogue(value) and not _is_shelf(value)):
        yield item
        return
    lists = {key: each for key, each in value.items() if isinstance(each, list) and any(_dialogues_in(each))}
    if len(lists) > 1:
        named = " or ".join(f"items={clip(key)}" for key in lists)
        raise DialogueError(f"holds several lists of dialogues; say which one to read with a map: {named}", file=path)
    if lists:
        ((key, inner),) = lists.items()
        yield from _listed(item, key, inner, path)
    elif len(value) > 1 and all(isinstance(each, dict) and _is_dialogue(each) for each in value.values()):
        for key, each in value.items():
            yield RawItem(clip(key), {"id": key, **each})
    elif len(value) == 1 and isinstance(inner := next(iter(value.values())), dict):
        yield from _members(replace(item, value=inner), path, map)
    else:
        yield item


def _is_shelf(value: Mapping[str, object]) -> bool:
    """Whether what looks like a dialogue's list of turns is a list of dialogues."""
    lists = [each for key, each in value.items() if key in _WHOLE and isinstance(each, list) and each]
    return bool(lists) and all(
        isinstance(each[0], dict) and not is_turn(each[0]) and any(isinstance(each[0].get(key), list) for key in _WHOLE)
        for each in lists
    )


def _dialogues_in(values: list[Any]) -> Iterator[bool]:
    """Which members of a list are dialogues."""
    return (
        (isinstance(each, dict) and _is_dialogue(each)) or (isinstance(each, list) and _as_item(each) is not each)
        for each in values[:100]
    )


def _is_dialogue(value: Mapping[str, object]) -> bool:
    keys = loose_keys(value).keys() | value.keys()
    return bool(keys & _WHOLE) or ("scene" in keys and "description" in keys)


def _listed(item: RawItem, key: str, inner: object, path: Path) -> Iterator[RawItem]:
    if not isinstance(inner, list) or not inner:
        raise DialogueError("is no list of dialogues", file=path, field=clip(key))
    assert isinstance(item.value, dict)
    left = {other for other, each in item.value.items() if other != key and each not in (None, "", [], {})}
    counts = (*item.counts, *(("keys_ignored", clip(f"{other} (of the file)"), 1) for other in left))
    for index, each in enumerate(inner):
        yield RawItem(f"{clip(key)}[{index}]", each, None, () if index else counts)
