"""What all formats share: checks of single values, the choice of turns, and their joining."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from mctsdialog.dialogue._model import Dialogue, Domain, Speaker, Turn, normal_name
from mctsdialog.dialogue.readers._labels import strategies_of
from mctsdialog.dialogue.readers._report import Tally, clip
from mctsdialog.errors import DialogueError
from mctsdialog.segments import characters, joined


@dataclass(slots=True)
class Context:
    """Where the reader is: it places errors and counts.

    :param file: the file as the caller named it.
    :param item: index of the item, or "line 3".
    :param lenient: whether an unknown key is counted where it would else be an error.
    :param tally: the item's own counts.
    :param unlabelled: whether supporter turns without a usable strategy are kept.
    """

    file: str
    item: int | str
    lenient: bool = False
    unlabelled: bool = False
    tally: Tally = field(default_factory=Tally)

    def error(self, message: str, field: str | None = None) -> DialogueError:
        """An error at this item."""
        return DialogueError(message, file=self.file, item=self.item, field=field)

    def text(self, value: object, field: str) -> str:
        """``value`` as text without surrounding white space; null becomes the empty text.

        The text parts of a message of several parts are joined, and its other parts counted.

        :raises DialogueError: for a value that is not text, or is text that no file can hold.
        """
        if value is None:
            return ""
        if isinstance(value, list) and value and all(isinstance(each, dict) and "type" in each for each in value):
            value = self._text_of_parts(value, field)
        if not isinstance(value, str):
            raise self.error(f"must be text, not {kind_of(value)}", field)
        if has_lone_surrogate(value):
            raise self.error("holds half of a surrogate pair; repair the text's encoding", field)
        return value.strip()

    def _text_of_parts(self, parts: list[dict[str, object]], field: str) -> str:
        texts = []
        for index, part in enumerate(parts):
            if "text" in part:
                texts.append(self.text(part["text"], f"{field}[{index}].text"))
            else:
                self.tally.count("keys_ignored", clip(f"part of type {part['type']}"))
        return joined(texts) if texts else ""

    def labels(self, value: object, field: str) -> tuple[str, ...]:
        """The labels of a turn: a text, a number, or a list of these. Null is none.

        :raises DialogueError: for anything else.
        """
        found = value if isinstance(value, list) else [value]
        texts = [str(each) if is_number(each) else self.text(each, field) for each in found]
        return tuple(filter(None, texts))

    def mapping(self, value: object, field: str | None = None) -> Mapping[str, object]:
        """``value`` as an object.

        :raises DialogueError: for anything else.
        """
        if not isinstance(value, dict):
            raise self.error(f"must be an object, not {kind_of(value)}", field)
        return value

    def ignore(self, keys: Iterable[str], known: Iterable[str], field: str | None = None) -> None:
        """Refuse keys that have no meaning; a lenient reader counts them.

        :raises DialogueError: names the first of them, unless reading is lenient.
        """
        for key in keys:
            if not self.lenient:
                where = key if field is None else f"{field}.{key}"
                raise self.error(f"unknown key; there are {', '.join(known)}", clip(where))
            self.tally.count("keys_ignored", clip(key))


@dataclass(frozen=True, slots=True)
class Utterance:
    """A turn as it stands in the file: its text may be empty and its strategies unknown.

    :param strategy: its label, which may name several strategies.
    :param also: further labels.
    """

    speaker: Speaker
    text: str
    strategy: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """An item of a file as its format's reader understood it, before turns are chosen and joined.

    :param may_start: whether an item in which the supporter never speaks is kept, as the start of a conversation.
    """

    utterances: tuple[Utterance, ...]
    scene: str = ""
    description: str = ""
    source: str = ""
    may_start: bool = False


@dataclass(frozen=True, slots=True)
class Reader:
    """One form of dialogue files.

    :param name: what ``format=`` calls it.
    :param read: one item of a file, as its dialogue in draft.
    :param recognises: whether an item is of this form, by its keys.
    :param domain: the one that its labels belong to; None if the items may name one.
    :param title: what a person calls such a file ("an ESConv file").
    """

    name: str
    read: Callable[[Mapping[str, object], Context], Draft]
    recognises: Callable[[Mapping[str, object]], bool]
    domain: Domain | None = None
    title: str = ""


def kind_of(value: object) -> str:
    """What JSON calls the type of ``value``."""
    names = {type(None): "null", bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "an object")


def has_lone_surrogate(text: str) -> bool:
    """Whether ``text`` cannot be written as UTF-8. Half an escaped emoji in JSON makes such text."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def loose_key(key: str) -> str:
    """``key`` as it is compared in data whose spelling of keys varies: ``AI_strategy`` is ``aistrategy``."""
    return normal_name(key).replace(" ", "")


def loose_keys(item: Mapping[str, object]) -> dict[str, object]:
    """The item's values by loose key; of two keys that look the same the last one wins."""
    return {loose_key(key): value for key, value in item.items()}


ID_KEYS = ("id", "conv_id", "dialogue_id", "dialog_id", "conversation_id", "transcript_id", "uuid")
"""Keys of an item's own id, in the order in which they are looked at. Letter case does not count."""


def id_key(item: Mapping[str, object]) -> str | None:
    """The key of the item's own id: the first that holds text, a number or a truth value."""
    keys = {key.casefold(): key for key in item}
    return next((keys[name] for name in ID_KEYS if name in keys and _is_id(item[keys[name]])), None)


def item_id(item: Mapping[str, object], default: str, context: Context, key: str | None = None) -> str:
    """The item's own id where it has one, else ``default``: text, or a number or truth value as JSON writes it.

    :param key: where it is; looked for by default. Other keys of ids are counted as ignored.
    :raises DialogueError: for an id that no file can hold.
    """
    found = key or id_key(item)
    for name, value in item.items():
        if name != found and name.casefold() in ID_KEYS and value not in (None, ""):
            context.tally.count("keys_ignored", clip(name))
    if found is None:
        return default
    value = item[found]
    return context.text(value, found) if isinstance(value, str) else json.dumps(value)


def _is_id(value: object) -> bool:
    return isinstance(value, bool) or is_number(value) or (isinstance(value, str) and bool(value.strip()))


def is_number(value: object) -> bool:
    """Whether a value is a number, and not NaN or infinite."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def assemble(draft: Draft, id: str, domain: Domain, context: Context) -> Dialogue | None:
    """The dialogue of a draft: turns that cannot be used go, neighbours of one side are joined.

    None, and a count, where nothing is left that a search could start from.
    """
    turns = tuple(_joined(_usable(draft.utterances, domain, context), context))
    reason = _reason_to_drop(draft, turns)
    if reason is not None:
        context.tally.count("dialogues_dropped", reason)
        return None
    start = {"scene": draft.scene, "description": draft.description, "id": id, "source": draft.source}
    return Dialogue(
        **{name: text for name, text in start.items() if text}, turns=turns
    )  # what is not set takes no room


def _reason_to_drop(draft: Draft, turns: tuple[Turn, ...]) -> str | None:
    if draft.may_start and all(each.speaker == "seeker" for each in draft.utterances):
        return None
    if not draft.utterances:
        return "no turns"
    speakers = {turn.speaker for turn in turns}
    if "supporter" not in speakers:
        return "no supporter turn left"
    return None if "seeker" in speakers else "no seeker turn left"


def _usable(utterances: Iterable[Utterance], domain: Domain, context: Context) -> Iterator[Turn]:
    for each in utterances:
        if not each.text:
            context.tally.count(f"{each.speaker}_turns_dropped", "no text")
        elif each.speaker == "seeker":
            yield Turn("seeker", each.text)
        elif names := strategies_of((each.strategy, *each.also), domain, context.tally, keep=context.unlabelled):
            yield Turn("supporter", each.text, names[0], names[1:])
        elif context.unlabelled:
            yield Turn("supporter", each.text)


def _joined(turns: Iterable[Turn], context: Context) -> Iterator[Turn]:
    for speaker, group in groupby(turns, key=lambda turn: turn.speaker):
        parts = list(group)
        if len(parts) == 1:
            yield parts[0]
            continue
        context.tally.count("turns_merged", times=len(parts) - 1)
        longest = max(parts, key=_weight)  # the first of equals
        others = [name for part in parts for name in (part.strategy, *part.also) if name and name != longest.strategy]
        for part in parts:
            if part.strategy not in (None, longest.strategy):
                context.tally.count("further_labels", part.strategy)
        yield Turn(speaker, joined(part.text for part in parts), longest.strategy, tuple(dict.fromkeys(others)))


def _weight(part: Turn) -> tuple[bool, int]:
    """A part with a strategy goes before one without; then the longer one, in characters."""
    return part.strategy is not None, len(characters("".join(part.text.split())))
