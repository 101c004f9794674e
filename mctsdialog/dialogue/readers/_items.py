"""From the items of a file to dialogues: which form they have, which domain, and what becomes of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeAlias

from mctsdialog.dialogue._domains import ESC, ESCONV_ZH, get_domain
from mctsdialog.dialogue._model import Dialogue, Domain
from mctsdialog.dialogue.readers._common import Context, Reader, assemble, item_id, kind_of
from mctsdialog.dialogue.readers._files import MOST_MALFORMED, RawItem
from mctsdialog.dialogue.readers._labels import nearest, strategies_of
from mctsdialog.dialogue.readers._mapped import ALTERNATE, FORMS, MISSING, PARTS, ROWS, Form, KeyMap, at
from mctsdialog.dialogue.readers._registry import READERS, form_of
from mctsdialog.dialogue.readers._report import ReadReport, Tally, clip
from mctsdialog.dialogue.readers._shapes import Items
from mctsdialog.dialogue.readers.chat import is_start
from mctsdialog.errors import ConfigError, DialogueError, DomainError

Transform: TypeAlias = Callable[[Dialogue], Dialogue | None]
"""What a caller does to every dialogue that is read, such as masking names; None leaves it out."""

_LOOKED_AT = 100  # items of which the labels are looked at

HOW_TO_MAP = "say which key holds what: map='turns=...,speaker=...,text=...' (--map)"
HOW_TO_MAP_A_TABLE = (
    "say which key holds what: map='dialogue=...,speaker=...,text=...,strategy=...' (--map); "
    "dialogue is the one by which rows belong together"
)
_MOST_KEYS = 12  # that are listed in an error


@dataclass(frozen=True)
class Options:
    """How a file is read; see :func:`~mctsdialog.dialogue.read_dialogues`.

    :raises ConfigError: for an unknown format.
    """

    format: str = "auto"
    domain: Domain | None = None
    lenient: bool = False
    map: KeyMap | None = None
    unlabelled: bool = False
    transform: Transform | None = None

    def __post_init__(self) -> None:
        if self.format != "auto" and self.format not in READERS:
            raise ConfigError(f"there is no format {self.format!r}; there are {', '.join(READERS)}", field="format")
        if self.map is not None and self.format != "auto" and self.format not in FORMS:
            raise ConfigError(f"the format {self.format!r} has keys of its own; a map cannot change them", field="map")


@dataclass
class _Survey:
    """What is known of a file after a first look at all items."""

    certain: Counter[str] = field(default_factory=Counter)
    likely: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    first: list[object] = field(default_factory=list)
    domains: dict[str, None] = field(default_factory=dict)
    error: DialogueError | None = None
    unmet: dict[str, tuple[str, ...]] = field(default_factory=dict)
    keys: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Items, lenient: bool) -> _Survey:
        found = cls(unmet=_named_keys(items.map))
        for item in items:
            if item.error is not None:
                found.error = found.error or item.error
                if not lenient:
                    break
                continue
            found._look_at(item.value)
        if found.error is not None and not (lenient and found.first):
            raise found.error
        return found

    @property
    def known(self) -> bool:
        """Whether the form of any item can be told."""
        return bool(self.certain or self.likely or self.starts or self.like_rows)

    @property
    def like_rows(self) -> bool:
        """Whether the first item has turns in a place where they may be under any keys."""
        first = self.first[0] if self.first else None
        return isinstance(first, dict) and any(isinstance(first.get(key), list) for key in FORMS[ROWS].map.turns)

    @property
    def flat(self) -> bool:
        """Whether the first item is a row of a table, or was made of rows."""
        first = self.first[0] if self.first else None
        return isinstance(first, dict) and (
            ROWS in first or not any(isinstance(each, list | dict) for each in first.values())
        )

    def _look_at(self, value: object) -> None:
        if not self.first:
            self.first.append(value)
        if not isinstance(value, dict):
            return
        if self.unmet:
            self._look_for_keys(value)
        name, certain = form_of(value)
        if name is not None:
            (self.certain if certain else self.likely)[name] += 1
        elif is_start(value):
            self.starts += 1
        domain = value.get("domain")
        if isinstance(domain, str) and domain.strip():
            self.domains.setdefault(domain)

    def _look_for_keys(self, value: dict[str, object]) -> None:
        """Strike out the parts of the map of which a key is in a dialogue or in one of its turns."""
        places = [] if ROWS in value else [value]  # beside its rows a dialogue of a table has nothing of the file
        for turns in value.values():
            if isinstance(turns, list):
                places += (each for each in turns if isinstance(each, dict))
        for place in places:
            if len(self.keys) <= _MOST_KEYS:
                self.keys |= dict.fromkeys(place)
            for part, keys in list(self.unmet.items()):
                if any(at(place, key) is not MISSING for key in keys):
                    del self.unmet[part]


def _named_keys(map: KeyMap | None) -> dict[str, tuple[str, ...]]:
    """The keys that a map names, by part."""
    if map is None:
        return {}
    named = {part: keys for part in PARTS if (keys := getattr(map, part))}
    if map.speaker == (ALTERNATE,):  # each turn is a text
        return {part: keys for part, keys in named.items() if part not in ("speaker", "text")}
    return named


class Reading:
    """Reads the items of one file in turn, and remembers the ids given out.

    :param items: of the file.
    :param name: of the file, for errors.
    :param stem: what the ids of dialogues without one begin with.
    :param source: what dialogues without a source get.
    :raises DialogueError: if no form can be told, or the items are broken.
    """

    def __init__(self, items: Items, name: str, stem: str, source: str, options: Options) -> None:
        survey = _Survey.of(items, options.lenient)
        if not survey.known and options.format == "auto":  # letter case may be all that differs
            loose = replace(items, loose=True)
            again = _Survey.of(loose, options.lenient)
            items, survey = (loose, again) if again.known else (items, survey)
        self.items = items
        self.reader = _reader(survey, options, name)
        self.domain = options.domain or _chinese(items, self.reader, _native_domain(self.reader, survey, name))
        self.options = options
        self._file, self._stem, self._source = name, stem, source
        self._id_key = next(iter(options.map.id), None) if options.map else None
        self._tally = Tally()
        self._ids: dict[str, int] = {}  # each id given out, and the last number that was tried behind it
        self._seen = self._kept = 0

    def again(self, *, unlabelled: bool | None = None) -> Reading:
        """A new reading of the same items, which are not looked over again."""
        made = object.__new__(Reading)
        made.__dict__.update(self.__dict__)
        if unlabelled is not None:
            made.options = replace(self.options, unlabelled=unlabelled)
        made._tally, made._ids, made._seen, made._kept = Tally(), {}, 0, 0
        return made

    def read_all(self) -> Iterator[Dialogue]:
        """The dialogues that are kept."""
        for item in self.items:
            self._seen += 1
            dialogue = self._read_or_skip(self._seen - 1, item)
            if dialogue is not None:
                self._kept += 1
                yield dialogue

    def report(self) -> ReadReport:
        """What happened so far."""
        found = self._tally.report(self._seen, self._kept)
        labels = islice(found.unknown_labels, _LOOKED_AT)
        near = {label: name for label in labels if (name := nearest(label, self.domain.strategies))}
        return replace(found, did_you_mean=near)

    def _read_or_skip(self, index: int, item: RawItem) -> Dialogue | None:
        """The item's dialogue, or None where it was dropped or skipped, with a count."""
        context = Context(self._file, item.label, self.options.lenient, self.options.unlabelled)
        for what, which, times in item.counts:
            self._tally.count(what, which, times=times)
        try:
            if item.error is not None:
                raise item.error
            dialogue = self._read(index, item, context)
        except DialogueError as error:
            if not self.options.lenient:
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
        draft = self.reader.read(value, context)
        key = self._id_key if self._id_key in value else None
        dialogue_id = self._unique(item_id(value, f"{self._stem}-{index:04d}", context, key), context)
        if not draft.source:
            draft = replace(draft, source=self._source)
        dialogue = assemble(draft, dialogue_id, self.domain, context)
        if dialogue is None or self.options.transform is None:
            return dialogue
        return self._transformed(dialogue, context)

    def _transformed(self, dialogue: Dialogue, context: Context) -> Dialogue | None:
        assert self.options.transform is not None
        changed = self.options.transform(dialogue)
        if changed is None:
            context.tally.count("dialogues_dropped", "left out by the transform")
        elif not isinstance(changed, Dialogue):
            raise ConfigError(f"a transform returns a Dialogue or None, not {kind_of(changed)}", field="transform")
        return changed

    def _unique(self, id: str, context: Context) -> str:
        unique, number = id, self._ids.get(id, 0)
        while unique in self._ids:
            if not self.options.lenient:
                raise context.error(f"{clip(id)!r} is the id of an earlier item; ids must differ", "id")
            number = max(number, 1) + 1
            unique = f"{id}-{number}"
        context.tally.count("ids_renamed", times=int(unique != id))
        self._ids[id] = number
        self._ids.setdefault(unique, 0)
        return unique


def _reader(survey: _Survey, options: Options, file: str) -> Reader:
    """The reader of a file: of the format that was named, or the one that its items have, with the map over it."""
    if options.map is not None:
        _check_named_keys(survey, file)
        form = _mapped(survey, options, options.map, file)
        return replace(form, map=options.map.over(form.map), entry=(), item=()).reader()
    name = options.format if options.format != "auto" else _detected(survey, file)
    first = survey.first[0] if survey.first else None
    messages = name == "chat" and isinstance(first, dict) and "messages" in first
    return replace(READERS[name], title=FORMS["messages"].title) if messages else READERS[name]


def _mapped(survey: _Survey, options: Options, map: KeyMap, file: str) -> Form:
    """The form that a map changes: the one that was named, or the one that the items have.

    Where a map names the turns, or lists of texts, in a file of no known form, all else has its usual keys.
    """
    if options.format != "auto":
        return FORMS[options.format]
    if map.turns or (map.text and not survey.known):
        usual = replace(FORMS[ROWS].map, turns=()) if map.turns else KeyMap()
        return Form("map", "a file read by a map", usual)
    if survey.like_rows and not survey.certain:
        return FORMS[ROWS]
    name = _detected(survey, file)
    form = FORMS.get("messages" if name == "chat" else name)
    if form is None:
        raise ConfigError(f"the form {name!r} has keys of its own; a map cannot change them", field="map")
    return form


def _check_named_keys(survey: _Survey, file: str) -> None:
    """Refuse a map that names a key which is nowhere in the file.

    :raises DialogueError: names it, and the keys that are there.
    """
    if not survey.unmet or not survey.keys:
        return
    part, keys = next(iter(survey.unmet.items()))
    where, what, there = ("row", "column", "columns") if survey.flat else ("dialogue or turn", "key", "keys")
    names = list(survey.keys)
    more = ", ..." if len(names) > _MOST_KEYS else ""
    message = (
        f"no {where} has the {what} {' or '.join(repr(clip(key)) for key in keys)}, which the map names ({part}=...); "
        f"the {there} are {', '.join(map(clip, names[:_MOST_KEYS]))}{more}"
    )
    raise DialogueError(message, file=file, field="map")


def _detected(survey: _Survey, file: str) -> str:
    value = survey.first[0] if survey.first else None
    if isinstance(value, dict) and (other := _other_data(value, _OTHER_DATA[:2])):
        raise DialogueError(f"its items are {other}", file=file)  # they may have their prompt as a dialogue
    if len(survey.certain) == 1:
        return next(iter(survey.certain))
    if survey.certain:
        kinds = ", ".join(survey.certain)
        raise DialogueError(f"its items are of different formats ({kinds}); name one of them: format=...", file=file)
    if survey.likely:
        return next(iter(survey.likely))
    if survey.starts:
        return "chat"
    if isinstance(value, dict) and (other := _other_data(value, _OTHER_DATA)):
        raise DialogueError(f"its items are {other}", file=file)
    if isinstance(value, dict):
        seen = f"keys {', '.join(map(clip, list(value)[:8]))}{', ...' if len(value) > 8 else ''}"
    else:
        seen = kind_of(value)
    how = HOW_TO_MAP_A_TABLE if survey.flat else HOW_TO_MAP
    raise DialogueError(f"its format cannot be told from the items (the first is: {seen}); {how}", file=file)


_OTHER_DATA = (
    ({"chosen", "rejected"}, "preference pairs, not dialogues; train on them with cso_train"),
    ({"chosen", "reject"}, "preference pairs, not dialogues; train on them with cso_train"),
    ({"prompt", "completion"}, "prompts with completions, not dialogues"),
    ({"instruction", "output"}, "instructions with answers (Alpaca), not dialogues"),
    ({"question", "answer"}, "questions with answers, not dialogues"),
    ({"schema", "nodes"}, "conversation trees of mctsdialog, not dialogues; see mctsdialog show"),
)


def _other_data(value: Mapping[str, object], kinds: Iterable[tuple[set[str], str]]) -> str | None:
    """What an item is that is no dialogue, where that can be told from its keys."""
    return next((what for keys, what in kinds if keys <= value.keys()), None)


def _chinese(items: Iterable[RawItem], reader: Reader, domain: Domain) -> Domain:
    """The domain of a file whose labels it may not know: the Chinese one, where that knows them alone."""
    known = chinese = 0
    for item in islice(items, _LOOKED_AT):
        if item.error is None and isinstance(item.value, dict):
            with suppress(DialogueError):
                labels = [each.strategy for each in reader.read(item.value, Context("", 0, lenient=True)).utterances]
                known += sum(bool(label and strategies_of([label], domain, Tally())) for label in labels)
                chinese += sum(bool(label and strategies_of([label], ESCONV_ZH, Tally())) for label in labels)
    return ESCONV_ZH if chinese and not known else domain


def _native_domain(reader: Reader, survey: _Survey, file: str) -> Domain:
    if reader.domain is not None:
        return reader.domain
    names = list(survey.domains)
    if len(names) > 1:
        shown = ", ".join(map(clip, names[:5])) + (", ..." if len(names) > 5 else "")
        message = f"its lines name different domains ({shown}); say which one holds: domain=..."
        raise DialogueError(message, file=file, field="domain")
    try:
        return get_domain(names[0]) if names else ESC
    except DomainError as error:
        raise DialogueError(f"{error.reason}; give one of your own: domain=...", file=file, field="domain") from error
