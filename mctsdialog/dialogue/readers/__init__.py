"""Dialogues from files: ExTES, ESConv, and chat JSON lines of our own.

Each form of files is one module, whose ``READER`` is found by its being there. To add one, copy ``esconv.py``.
"""

from __future__ import annotations

import os
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from mctsdialog._arguments import checked
from mctsdialog.dialogue._domains import ESC, get_domain
from mctsdialog.dialogue._model import Dialogue, Domain
from mctsdialog.dialogue.readers._common import Context, Reader, assemble, clip, item_id, kind_of
from mctsdialog.dialogue.readers._files import MOST_MALFORMED, RawItem, load_items, streamed_items, wrapped_list
from mctsdialog.dialogue.readers._report import DialogueSet, DialogueStream, ReadReport, Tally
from mctsdialog.dialogue.readers.chat import is_start, write_dialogues
from mctsdialog.errors import ConfigError, DialogueError, DomainError

__all__ = [
    "READERS",
    "DialogueFormat",
    "DialogueSet",
    "DialogueStream",
    "ReadReport",
    "read_dialogues",
    "stream_dialogues",
    "write_dialogues",
]

DialogueFormat: TypeAlias = str
"""The formats of dialogue files, "extes", "esconv" and "chat"; "auto" looks at the keys of the items."""


def _discover() -> dict[str, Reader]:
    modules = sorted(each.name for each in pkgutil.iter_modules(__path__) if not each.name.startswith("_"))
    found = [import_module(f"{__name__}.{name}").READER for name in modules]
    return {reader.name: reader for reader in found}


READERS: dict[str, Reader] = _discover()
"""The readers by format, in the order in which they are asked whether an item is theirs."""


def _how_to_name() -> str:
    *names, last = (repr(name) for name in reversed(READERS))
    return f"name it: format={', '.join(names)} or {last}"


@checked()
def read_dialogues(
    path: str | os.PathLike[str],
    *,
    format: DialogueFormat = "auto",
    domain: Domain | str | None = None,
    lenient: bool = False,
) -> DialogueSet:
    """Read the dialogues of a file: a JSON list, or JSON lines, of items in one format.

    Supporter turns without a strategy of the domain go, one by one (paper, appendix F.1); turns of one side that
    are then neighbours are joined by a space, and a joined supporter turn takes the strategy of its longest part
    in words. A dialogue in which a side has nothing left to say goes too. The set's ``report`` counts it all.

    :param path: the file, in UTF-8.
    :param format: "extes", "esconv", "chat", or "auto" to tell it from the items' keys.
    :param domain: the domain, or its name, whose strategies count. None: ESC for ExTES, ESCONV for ESConv, and for
        chat files the domain that their lines name, or else ESC.
    :param lenient: skip and count malformed items instead of raising, unless they are 10,000 and most of the file.
    :returns: the dialogues in the file's order. Each has an id: its own, or the file's stem and its index.
    :raises DialogueError: when the file cannot be read, or an item is malformed; it carries file, item and field.
    :raises DomainError: when there is no domain of the given name.
    :raises ConfigError: for an unknown ``format``.
    """
    file = Path(path)
    items = load_items(_checked(file, format), lenient=lenient)
    reader = _Items(file, items, format, domain, lenient)
    dialogues = tuple(reader.read_all(items))
    return DialogueSet(dialogues, reader.domain, reader.report())


@checked()
def stream_dialogues(
    path: str | os.PathLike[str],
    *,
    format: DialogueFormat = "auto",
    domain: Domain | str | None = None,
    lenient: bool = False,
) -> DialogueStream:
    """The dialogues of a file of any size: JSON lines are checked whole, and then read again, one at a time.

    The file must not change meanwhile. Another file than JSON lines (``.jsonl``, ``.ndjson``) is held in memory.

    :param path: and the others, as for :func:`read_dialogues`.
    :returns: what can be gone through any number of times.
    :raises DialogueError: and DomainError and ConfigError, as :func:`read_dialogues`.
    """
    file = Path(path)
    items = streamed_items(_checked(file, format), lenient=lenient)
    first = _Items(file, items, format, domain, lenient)
    for _ in first.read_all(items):
        pass

    def again() -> Iterator[Dialogue]:
        return _Items(file, items, first.format, first.domain, lenient).read_all(items)

    return DialogueStream(again, first.domain, first.report())


def _checked(file: Path, format: str) -> Path:
    if format != "auto" and format not in READERS:
        raise ConfigError(f"there is no format {format!r}; {_how_to_name()}", field="format")
    return file


class _Items:
    """Reads the items of one file in turn, and remembers the ids given out."""

    def __init__(
        self, file: Path, items: Iterable[RawItem], format: str, domain: Domain | str | None, lenient: bool
    ) -> None:
        _raise_unparsed(items, lenient)
        self.format = _detected(items, file) if format == "auto" else format
        named = get_domain(domain) if isinstance(domain, str) else domain
        self.domain = named or _native_domain(items, self.format, file)
        self._file = str(file)
        self._stem, self._source = _writable(file.stem), _writable(file.name)
        self._lenient = lenient
        self._tally = Tally()
        self._ids: dict[str, int] = {}  # each id given out, and the last number that was tried behind it
        self._seen = self._kept = 0

    def read_all(self, items: Iterable[RawItem]) -> Iterator[Dialogue]:
        """The dialogues that are kept."""
        for item in items:
            self._seen += 1
            dialogue = self.read(self._seen - 1, item)
            if dialogue is not None:
                self._kept += 1
                yield dialogue

    def report(self) -> ReadReport:
        """What happened so far."""
        return self._tally.report(self._seen, self._kept)

    def read(self, index: int, item: RawItem) -> Dialogue | None:
        """The item's dialogue, or None where it was dropped or skipped, with a count."""
        context = Context(self._file, item.label, self._lenient)
        try:
            if item.error is not None:
                raise item.error
            dialogue = self._read(index, item, context)
        except DialogueError as error:
            if not self._lenient:
                raise
            self._tally.skip(error)
            self._give_up(error)
            return None
        self._tally.add(context.tally)
        return dialogue

    def _give_up(self, last: DialogueError) -> None:
        """Raise where most of many items are malformed: it is another kind of file."""
        malformed = self._tally.counts["malformed", None]
        if malformed >= MOST_MALFORMED and malformed > self._seen // 2:
            message = f"{malformed} of its first {self._seen} items are malformed; the last: {last}"
            raise DialogueError(message, file=self._file)

    def _read(self, index: int, item: RawItem, context: Context) -> Dialogue | None:
        value = context.mapping(item.value)
        draft = READERS[self.format].read(value, context)
        dialogue_id = self._unique(item_id(value, f"{self._stem}-{index:04d}", context), context)
        if not draft.source:
            draft = replace(draft, source=self._source)
        return assemble(draft, dialogue_id, self.domain, context)

    def _unique(self, id: str, context: Context) -> str:
        unique, number = id, self._ids.get(id, 0)
        while unique in self._ids:
            if not self._lenient:
                raise context.error(f"{clip(id)!r} is the id of an earlier item; ids must differ", "id")
            number = max(number, 1) + 1
            unique = f"{id}-{number}"
        context.tally.count("ids_renamed", times=int(unique != id))
        self._ids[id] = number
        self._ids.setdefault(unique, 0)
        return unique


def _writable(name: str) -> str:
    # names of files need not be UTF-8; ids and sources must be
    return name.encode("utf-8", "replace").decode("utf-8")


def _raise_unparsed(items: Iterable[RawItem], lenient: bool) -> None:
    """Raise the first item's error where one matters; lenient, where no item is left."""
    first: DialogueError | None = None
    for item in items:
        first = first or item.error
        if lenient and item.error is None:
            return
        if first is not None and not lenient:
            break
    if first is not None:
        raise first


def _values(items: Iterable[RawItem]) -> Iterator[object]:
    return (item.value for item in items if item.error is None)


def _detected(items: Iterable[RawItem], file: Path) -> str:
    found = Counter(kind for kind in map(_format_of, _values(items)) if kind is not None)
    certain = [kind for kind in found if kind != "scenario"]
    if len(certain) == 1:
        return certain[0]
    if certain:
        raise DialogueError(f"its items are of different formats ({', '.join(certain)}); {_how_to_name()}", file=file)
    if found:
        return "chat"
    values = list(islice(_values(items), 2))
    if len(values) == 1 and (key := wrapped_list(values[0])) is not None:
        message = f"the top level is an object, not a list; if the dialogues are under {clip(key)!r}, save that list"
        raise DialogueError(message, file=file)
    first = values[0]
    seen = f"keys {', '.join(map(clip, list(first)[:5]))}" if isinstance(first, dict) else kind_of(first)
    raise DialogueError(f"its format cannot be told from the items (the first is: {seen}); {_how_to_name()}", file=file)


def _format_of(value: object) -> str | None:
    if not isinstance(value, dict):
        return None
    found = next((name for name, reader in READERS.items() if reader.recognises(value)), None)
    return found or ("scenario" if is_start(value) else None)


def _native_domain(items: Iterable[RawItem], format: str, file: Path) -> Domain:
    if (native := READERS[format].domain) is not None:
        return native
    values = (value for value in _values(items) if isinstance(value, dict))
    named = (value["domain"] for value in values if isinstance(value.get("domain"), str))
    names = list(dict.fromkeys(name for name in named if name.strip()))
    if len(names) > 1:
        shown = ", ".join(map(clip, names[:5])) + (", ..." if len(names) > 5 else "")
        message = f"its lines name different domains ({shown}); say which one holds: domain=..."
        raise DialogueError(message, file=file, field="domain")
    try:
        return get_domain(names[0]) if names else ESC
    except DomainError as error:
        raise DialogueError(f"{error.reason}; give one of your own: domain=...", file=file, field="domain") from error
