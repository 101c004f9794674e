"""The library's own format, JSON lines: one conversation, or the scenario of one to come, a line.

``{"id"?, "scene"?, "description"?, "domain"?, "source"?, "turns": [...]}`` with turns
``{"speaker", "text", "strategy"?, "also"?}``, or
``"messages": [{"role": "user" | "assistant", "content", "strategy"?}, ...]`` as chat APIs have them. A key of our own
form that is not known is a slip, and an error; those of messages, which other programs write, are counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from mctsdialog._arguments import checked
from mctsdialog.dialogue._model import Dialogue, Domain, Speaker
from mctsdialog.dialogue.readers._common import Context, Draft, Reader, Utterance, has_lone_surrogate, kind_of
from mctsdialog.dialogue.readers._mapped import FORMS
from mctsdialog.dialogue.readers._report import DialogueSet, clip
from mctsdialog.errors import DialogueError, shown
from mctsdialog.files import write_atomically

CHAT_KEYS = ("id", "conv_id", "dialogue_id", "scene", "description", "domain", "source", "turns", "messages")


def is_start(item: Mapping[str, object]) -> bool:
    """Whether an item is a conversation to come: a scene or a description, and no key of another format."""
    return ("scene" in item or "description" in item) and item.keys() <= set(CHAT_KEYS)


_TURN_KEYS = ("speaker", "text", "strategy", "also")
_SPEAKERS: Mapping[str, Speaker] = {"seeker": "seeker", "supporter": "supporter"}


def read_chat(item: Mapping[str, object], context: Context) -> Draft:
    """One line of a chat file. Without turns, or with the seeker's alone, it is the start of a conversation.

    :raises DialogueError: for unknown keys (a lenient reader counts them) and malformed turns.
    """
    context.text(item.get("domain"), "domain")  # its value was looked at before, with that of the other lines
    if item.get("messages") is not None:
        if item.get("turns") is not None:
            raise context.error("there are 'turns' as well; keep one of the two", "messages")
        own = {key: value for key, value in item.items() if key not in ("domain", "turns")}
        return replace(FORMS["messages"].read(own, context), may_start=True)
    context.ignore((key for key in item if key not in CHAT_KEYS), CHAT_KEYS)
    if not item.keys() & {"scene", "description", "turns", "messages"}:
        raise context.error("has neither turns nor a scene or description to start from")
    return Draft(
        utterances=tuple(_utterances(item.get("turns"), context)),
        scene=context.text(item.get("scene"), "scene"),
        description=context.text(item.get("description"), "description"),
        source=context.text(item.get("source"), "source"),
        may_start=True,
    )


def _utterances(value: object, context: Context) -> Iterator[Utterance]:
    if value is None:
        return
    if not isinstance(value, list):
        raise context.error(f"must be a list, not {kind_of(value)}", "turns")
    for index, each in enumerate(value):
        field = f"turns[{index}]"
        yield _utterance(context.mapping(each, field), field, context)


def _utterance(entry: Mapping[str, object], field: str, context: Context) -> Utterance:
    context.ignore((key for key in entry if key not in _TURN_KEYS), _TURN_KEYS, field)
    name = entry.get("speaker")
    speaker = _SPEAKERS.get(name) if isinstance(name, str) else None
    if speaker is None:
        given = "is missing" if "speaker" not in entry else f"must be 'seeker' or 'supporter', not {clip(repr(name))}"
        raise context.error(given, f"{field}.speaker")
    if entry.get("text") is None:
        raise context.error("is missing", f"{field}.text")
    labels = context.labels(entry.get("strategy"), f"{field}.strategy")
    labels += context.labels(entry.get("also"), f"{field}.also")
    if labels and speaker == "seeker":
        raise context.error("only the supporter's turns have a strategy", f"{field}.strategy")
    first, *others = labels or ("",)
    return Utterance(speaker, context.text(entry["text"], f"{field}.text"), first, tuple(others))


READER = Reader(
    "chat",
    read_chat,
    recognises=lambda item: "messages" in item or ("turns" in item and not FORMS["messages"].recognises(item)),
    title="a file of chat lines",
)


@checked()
def write_dialogues(
    path: str | os.PathLike[str],
    dialogues: Iterable[Dialogue],
    *,
    domain: Domain | str | None = None,
    unlabelled: bool = False,
) -> Path:
    """Write dialogues as chat JSON lines, in one step: a crash leaves the old file or the new one, never a part.

    :func:`~mctsdialog.dialogue.read_dialogues` gives the same dialogues back, but for white space around texts
    and for missing ids and sources, which it fills in.

    :param path: the file; its folder must exist.
    :param dialogues: what to write. Ids that are not empty must differ.
    :param domain: the domain whose name goes into each line; by default that of a
        :class:`~mctsdialog.dialogue.DialogueSet`, and else none.
    :param unlabelled: also write supporter turns without a strategy, for readers with the same setting.
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
        _check_readable(dialogue, seen, Context(str(target), index, unlabelled=unlabelled))
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
    turns = [
        {"speaker": turn.speaker, "text": turn.text, "strategy": turn.strategy, "also": list(turn.also)}
        for turn in dialogue.turns
    ]
    line["turns"] = [{key: value for key, value in turn.items() if value} for turn in turns]
    return line


def _check_readable(dialogue: Dialogue, seen: set[str], context: Context) -> None:
    if dialogue.id and dialogue.id in seen:
        raise context.error(f"two dialogues have the id {dialogue.id!r}", "id")
    seen.add(dialogue.id)
    for index, turn in enumerate(dialogue.turns):
        if turn.speaker == "supporter" and not context.unlabelled and not (turn.strategy or "").strip():
            raise context.error("a supporter turn needs a strategy: a reader would drop it", f"turns[{index}].strategy")
        if has_lone_surrogate(turn.text + (turn.strategy or "")):
            raise context.error("holds half of a surrogate pair; repair the text's encoding", f"turns[{index}].text")
    if {turn.speaker for turn in dialogue.turns} == {"supporter"}:
        raise context.error("the seeker says nothing: a reader would drop the dialogue", "turns")
