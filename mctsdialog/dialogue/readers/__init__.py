"""Dialogues from files and data sets, in whatever form people have them.

What is in a file decides, not its name. A form that differs from others in its keys alone is data
(``dialogue/data/forms.json``); a form that needs code is one module here, whose ``READER`` is found by its being there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from mctsdialog._arguments import checked
from mctsdialog.dialogue._domains import get_domain
from mctsdialog.dialogue._model import Dialogue, Domain
from mctsdialog.dialogue.readers._files import stem_of
from mctsdialog.dialogue.readers._hub import PREFIX, HubItems
from mctsdialog.dialogue.readers._inspect import SHOWN, Inspection
from mctsdialog.dialogue.readers._items import Options, Reading, Transform
from mctsdialog.dialogue.readers._mapped import KeyMap
from mctsdialog.dialogue.readers._registry import READERS
from mctsdialog.dialogue.readers._report import DialogueSet, DialogueStream, ReadReport
from mctsdialog.dialogue.readers._shapes import Items
from mctsdialog.dialogue.readers.chat import write_dialogues

__all__ = [
    "READERS",
    "DialogueFormat",
    "DialogueSet",
    "DialogueStream",
    "Inspection",
    "KeyMap",
    "ReadReport",
    "Transform",
    "inspect_dialogues",
    "read_dialogues",
    "stream_dialogues",
    "write_dialogues",
]

DialogueFormat: TypeAlias = str
"""A format of dialogue files, one of :data:`READERS`; "auto" looks at the keys of the items."""


@checked()
def read_dialogues(
    path: str | os.PathLike[str],
    *,
    format: DialogueFormat = "auto",
    domain: Domain | str | None = None,
    lenient: bool = False,
    map: KeyMap | str | None = None,
    unlabelled: bool = False,
    transform: Transform | None = None,
) -> DialogueSet:
    """Read the dialogues of a file: JSON, JSON lines, CSV or Parquet, in gzip or not, of any form that is known.

    Supporter turns without a strategy of the domain are left out, one by one (paper, appendix F.1). Turns of one side
    that are then neighbours are joined, and a joined supporter turn takes the strategy of its longest part in
    characters. A dialogue in which a side has nothing left to say is left out too. The set's ``report`` counts it all,
    and every key that was not read.

    :param path: the file, in UTF-8; or ``hf:NAME``, a data set of the Hugging Face hub or a folder of one, and
        ``hf:NAME@SPLIT`` (needs ``datasets``).
    :param format: a name in :data:`READERS`, or "auto" to tell it from the items' keys.
    :param domain: the domain, or its name, whose strategies count. None: that of the format (ESC for ExTES, ESCONV for
        ESConv, ...), else the one that the items name, else ESC.
    :param lenient: skip and count malformed items instead of raising, unless they are 10,000 and most of the file.
    :param map: which key holds what, for a form that is not known, or names of speakers: a :class:`KeyMap` or its text,
        ``turns=dialog,speaker=role,text=content``.
    :param unlabelled: keep supporter turns without a usable strategy, with None in its place: for labelling them.
    :param transform: called with each dialogue; what it returns is kept, and None leaves the dialogue out, counted.
    :returns: the dialogues in the file's order. Each has an id: its own, or the file's stem and its index.
    :raises DialogueError: when the file cannot be read, or an item is malformed; it carries file, item and field.
    :raises DomainError: when there is no domain of the given name.
    :raises ConfigError: for an unknown ``format`` or a malformed ``map``, and where an optional package is missing.
    """
    reading = _opened(path, format, domain, lenient, map, unlabelled, transform)
    dialogues = tuple(reading.read_all())
    return DialogueSet(dialogues, reading.domain, reading.report())


@checked()
def stream_dialogues(
    path: str | os.PathLike[str],
    *,
    format: DialogueFormat = "auto",
    domain: Domain | str | None = None,
    lenient: bool = False,
    map: KeyMap | str | None = None,
    unlabelled: bool = False,
    transform: Transform | None = None,
) -> DialogueStream:
    """The dialogues of a file of any size: it is checked whole, and then read again, one dialogue at a time.

    The file must not change meanwhile. One JSON value (a list, not JSON lines) is held in memory.

    :param path: and the others, as for :func:`read_dialogues`.
    :returns: what can be gone through any number of times.
    :raises DialogueError: and DomainError and ConfigError, as :func:`read_dialogues`.
    """
    reading = _opened(path, format, domain, lenient, map, unlabelled, transform)
    for _ in reading.read_all():
        pass

    def again() -> Iterator[Dialogue]:
        return reading.again().read_all()

    return DialogueStream(again, reading.domain, reading.report())


@checked()
def inspect_dialogues(
    path: str | os.PathLike[str],
    *,
    format: DialogueFormat = "auto",
    domain: Domain | str | None = None,
    map: KeyMap | str | None = None,
) -> Inspection:
    """Say what a file looks like, how much of it is labelled, and how to go on; broken items are counted.

    :param path: and the others, as for :func:`read_dialogues`.
    :raises DialogueError: and DomainError and ConfigError, as :func:`read_dialogues`.
    """
    reading = _opened(path, format, domain, True, map, True, None)
    shown: list[Dialogue] = []
    dialogues = turns = supporter = labelled = 0
    for dialogue in reading.read_all():
        dialogues += 1
        turns += len(dialogue.turns)
        supporter += sum(turn.speaker == "supporter" for turn in dialogue.turns)
        labelled += sum(turn.strategy is not None for turn in dialogue.turns)
        if len(shown) < SHOWN:
            shown.append(dialogue)
    strict = reading.again(unlabelled=False)
    for _ in strict.read_all():
        pass
    reader = reading.reader
    return Inspection(
        os.fspath(path),
        reader.name,
        reader.title or f"a file of the form {reader.name}",
        reading.domain,
        dialogues,
        turns,
        supporter,
        labelled,
        strict.report(),
        tuple(shown),
        KeyMap.parse(map) if isinstance(map, str) else map,
        domain if isinstance(domain, str) else None,
    )


def _opened(
    path: str | os.PathLike[str],
    format: str,
    domain: Domain | str | None,
    lenient: bool,
    map: KeyMap | str | None,
    unlabelled: bool,
    transform: Transform | None,
) -> Reading:
    keys = KeyMap.parse(map) if isinstance(map, str) else map
    named = get_domain(domain) if isinstance(domain, str) else domain
    options = Options(format, named, lenient, keys, unlabelled, transform)
    place = os.fspath(path)
    if place.startswith(PREFIX):
        name = place.removeprefix(PREFIX)
        items = Items(Path(place), HubItems(name), keys)
        return Reading(items, place, Path(name.partition("@")[0]).name, name, options)
    file = Path(path)
    items = Items.of(file, lenient=lenient, map=keys)
    return Reading(items, str(file), _writable(stem_of(file)), _writable(file.name), options)


def _writable(name: str) -> str:
    # names of files need not be UTF-8; ids and sources must be
    return name.encode("utf-8", "replace").decode("utf-8")
