"""The library's own format, JSON lines: one conversation, or the scenario of one to come, a line.

``{"id"?, "scene"?, "description"?, "domain"?, "source"?, "turns": [{"speaker", "text", "strategy"?}, ...]}``, or
``"messages": [{"role": "user" | "assistant", "content", "strategy"?}, ...]`` as chat APIs have them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mctsdialog._arguments import checked
from mctsdialog.dialogue._model import CHAT_ROLES, Dialogue, Domain, Speaker
from mctsdialog.dialogue.readers._common import Context, Draft, Reader, Utterance, clip, has_lone_surrogate, kind_of
from mctsdialog.dialogue.readers._report import DialogueSet
from mctsdialog.errors import DialogueError, shown
from mctsdialog.files import write_atomically

CHAT_KEYS = ("id", "conv_id", "dialogue_id", "scene", "description", "domain", "source", "turns", "messages")


def is_start(item: Mapping[str, object]) -> bool:
    """Whether an item is a conversation to come: a scene or a description, and no key of another format."""
    return ("scene" in item or "description" in item) and item.keys() <= set(CHAT_KEYS)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How one of the two kinds of turn list names its parts."""

    list_key: str
    speaker_key: str
    text_key: str
    speakers: Mapping[str, Speaker]

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.speaker_key, self.text_key, "strategy")


_TURNS = _Shape("turns", "speaker", "text", {"seeker": "seeker", "supporter": "supporter"})
_MESSAGES = _Shape("messages", "role", "content", CHAT_ROLES)


def read_chat(item: Mapping[str, object], context: Context) -> Draft:
    """One line of a chat file. Without turns, or with the seeker's alone, it is the start of a conversation.

    :raises DialogueError: for unknown keys (a lenient reader counts them) and malformed turns.
    """
    context.ignore((key for key in item if key not in CHAT_KEYS), CHAT_KEYS)
    context.text(item.get("domain"), "domain")  # its value was looked at before, with that of the other lines
    if not item.keys() & {"scene", "description", "turns", "messages"}:
        raise context.error("has neither turns nor a scene or description to start from")
    if item.get("turns") is not None and item.get("messages") is not None:
        raise context.error("there are 'turns' as well; keep one of the two", "messages")
    shape = _MESSAGES if item.get("messages") is not None else _TURNS
    return Draft(
        utterances=tuple(_utterances(item.get(shape.list_key), shape, context)),
        scene=context.text(item.get("scene"), "scene"),
        description=context.text(item.get("description"), "description"),
        source=context.text(item.get("source"), "source"),
        may_start=True,
    )


def _utterances(value: object, shape: _Shape, context: Context) -> Iterator[Utterance]:
    if value is None:
        return
    if not isinstance(value, list):
        raise context.error(f"must be a list, not {kind_of(value)}", shape.list_key)
    for index, each in enumerate(value):
        field = f"{shape.list_key}[{index}]"
        entry = context.mapping(each, field)
        if index == 0 and shape is _MESSAGES and entry.get("role") == "system":
            context.tally.count("system_messages")
        else:
            yield _utterance(entry, field, shape, context)


def _utterance(entry: Mapping[str, object], field: str, shape: _Shape, context: Context) -> Utterance:
    context.ignore((key for key in entry if key not in shape.keys), shape.keys, field)
    name = entry.get(shape.speaker_key)
    speaker = shape.speakers.get(name) if isinstance(name, str) else None
    if speaker is None:
        message = f"must be {' or '.join(map(repr, shape.speakers))}, not {clip(repr(name))}"
        raise context.error(message, f"{field}.{shape.speaker_key}")
    if entry.get(shape.text_key) is None:
        raise context.error("is missing", f"{field}.{shape.text_key}")
    label = context.text(entry.get("strategy"), f"{field}.strategy")
    if label and speaker == "seeker":
        raise context.error("only the supporter's turns have a strategy", f"{field}.strategy")
    return Utterance(speaker, context.text(entry[shape.text_key], f"{field}.{shape.text_key}"), label)


READER = Reader("chat", read_chat, recognises=lambda item: "turns" in item or "messages" in item)


@checked()
def write_dialogues(
    path: str | os.PathLike[str], dialogues: Iterable[Dialogue], *, domain: Domain | str | None = None
) -> Path:
    """Write dialogues as chat JSON lines, in one step: a crash leaves the old file or the new one, never a part.

    :func:`~mctsdialog.dialogue.read_dialogues` gives the same dialogues back, but for white space around texts
    and for missing ids and sources, which it fills in.

    :param path: the file; its folder must exist.
    :param dialogues: what to write. Ids that are not empty must differ.
    :param domain: the domain whose name goes into each line; by default that of a
        :class:`~mctsdialog.dialogue.DialogueSet`, and else none.
    :returns: the file's path.
    :raises DialogueError: for a dialogue that a reader would not give back (a supporter turn without a strategy,
        no seeker turn, an id seen before), and when the file cannot be written.
    """
    target = Path(path)
    if domain is None and isinstance(dialogues, DialogueSet):
        domain = dialogues.domain
    name = domain.name if isinstance(domain, Domain) else domain
    seen: set[str] = set()
    lines = []
    for index, dialogue in enumerate(dialogues):
        if not isinstance(dialogue, Dialogue):
            raise DialogueError(f"must be a Dialogue, not {shown(dialogue)}", field=f"dialogues[{index}]")
        _check_readable(dialogue, seen, Context(str(target), index))
        lines.append(json.dumps(_line(dialogue, name), ensure_ascii=False) + "\n")
    try:
        write_atomically(target, "".join(lines))
    except (OSError, ValueError) as error:  # ValueError: a path that no system accepts
        message = f"cannot be written: {getattr(error, 'strerror', None) or error}"
        raise DialogueError(message, file=target) from error
    return target


def _line(dialogue: Dialogue, domain: str | None) -> dict[str, object]:
    start = {
        "id": dialogue.id,
        "scene": dialogue.scene,
        "description": dialogue.description,
        "domain": domain,
        "source": dialogue.source,
    }
    line: dict[str, object] = {key: value for key, value in start.items() if value}
    turns = [{"speaker": turn.speaker, "text": turn.text, "strategy": turn.strategy} for turn in dialogue.turns]
    line["turns"] = [{key: value for key, value in turn.items() if value is not None} for turn in turns]
    return line


def _check_readable(dialogue: Dialogue, seen: set[str], context: Context) -> None:
    if dialogue.id and dialogue.id in seen:
        raise context.error(f"two dialogues have the id {dialogue.id!r}", "id")
    seen.add(dialogue.id)
    for index, turn in enumerate(dialogue.turns):
        if turn.speaker == "supporter" and not (turn.strategy or "").strip():
            raise context.error("a supporter turn needs a strategy: a reader would drop it", f"turns[{index}].strategy")
        if has_lone_surrogate(turn.text + (turn.strategy or "")):
            raise context.error("holds half of a surrogate pair; repair the text's encoding", f"turns[{index}].text")
    if {turn.speaker for turn in dialogue.turns} == {"supporter"}:
        raise context.error("the seeker says nothing: a reader would drop the dialogue", "turns")
