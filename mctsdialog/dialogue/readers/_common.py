"""What all formats share: checks of single values, the choice of turns, and their joining."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from mctsdialog.dialogue._model import Dialogue, Domain, Speaker, Turn, normal_name
from mctsdialog.dialogue.readers._report import Tally
from mctsdialog.errors import DialogueError

_ID_KEYS = ("id", "conv_id", "dialogue_id")
_OTHERS = ("other", "others")
_MAX_LABEL = 60


@dataclass(slots=True)
class Context:
    """Where the reader is: it places errors and counts.

    :param file: the file as the caller named it.
    :param item: index of the item, or "line 3".
    :param lenient: whether an unknown key is counted where it would else be an error.
    :param tally: the item's own counts.
    """

    file: str
    item: int | str
    lenient: bool = False
    tally: Tally = field(default_factory=Tally)

    def error(self, message: str, field: str | None = None) -> DialogueError:
        """An error at this item."""
        return DialogueError(message, file=self.file, item=self.item, field=field)

    def text(self, value: object, field: str) -> str:
        """``value`` as text without surrounding white space; null becomes the empty text.

        :raises DialogueError: for a value that is not text, or is text that no file can hold.
        """
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error(f"must be text, not {kind_of(value)}", field)
        if has_lone_surrogate(value):
            raise self.error("holds half of a surrogate pair; repair the text's encoding", field)
        return value.strip()

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
    """A turn as it stands in the file: its text may be empty and its strategy unknown."""

    speaker: Speaker
    text: str
    strategy: str = ""


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
    :param domain: the one that its labels belong to; None where the items may name one.
    """

    name: str
    read: Callable[[Mapping[str, object], Context], Draft]
    recognises: Callable[[Mapping[str, object]], bool]
    domain: Domain | None = None


def kind_of(value: object) -> str:
    """What JSON calls the type of ``value``."""
    names = {type(None): "null", bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "an object")


def clip(text: str) -> str:
    """``text`` short enough for a message or a report, and writable."""
    writable = text.encode("utf-8", "replace").decode("utf-8")
    return writable if len(writable) <= _MAX_LABEL else writable[: _MAX_LABEL - 1] + "…"


def has_lone_surrogate(text: str) -> bool:
    """Whether ``text`` cannot be written as UTF-8. Half an escaped emoji in JSON makes such text."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def loose_key(key: str) -> str:
    """``key`` as it is compared in data whose spelling of keys varies: ``AI_strategy`` is ``aistrategy``."""
    return normal_name(key).replace(" ", "")


def loose_keys(item: Mapping[str, object]) -> dict[str, object]:
    """The item's values by loose key; of two keys that look the same the last one wins."""
    return {loose_key(key): value for key, value in item.items()}


def item_id(item: Mapping[str, object], default: str, context: Context) -> str:
    """The item's own id where it has one (text or a whole number), else ``default``.

    :raises DialogueError: for an id that no file can hold.
    """
    keys = {key.casefold(): key for key in item}
    for name in _ID_KEYS:
        value = item[keys[name]] if name in keys else None
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and context.text(value, keys[name]):
            return value.strip()
    return default


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
        elif name := _strategy(each.strategy, domain, context):
            yield Turn("supporter", each.text, name)


def _strategy(label: str, domain: Domain, context: Context) -> str | None:
    name = domain.strategies.resolve(label) if label else None
    if name is None:
        context.tally.count("supporter_turns_dropped", _reason_without_strategy(label))
    elif name != label:
        context.tally.count("labels_normalised", (clip(label), name))
    return name


def _reason_without_strategy(label: str) -> str:
    if not label:
        return "no strategy"
    if normal_name(label) in _OTHERS:
        return "strategy 'Others'"
    return f"unknown strategy: {clip(label)}"


def _joined(turns: Iterable[Turn], context: Context) -> Iterator[Turn]:
    for speaker, group in groupby(turns, key=lambda turn: turn.speaker):
        parts = list(group)
        context.tally.count("turns_merged", times=len(parts) - 1)
        longest = max(parts, key=lambda part: len(part.text.split()))  # the first of equals
        yield Turn(speaker, " ".join(part.text for part in parts), longest.strategy)
