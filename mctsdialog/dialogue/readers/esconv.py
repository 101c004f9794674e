"""ESConv (Liu et al., ACL 2021) in its published raw format, and the shape in which others pass it on.

A list of ``{"problem_type", "situation", "dialog": [{"speaker", "annotation": {"strategy"?}, "content"}, ...], ...}``.
Copies say ``text`` for ``content``, put ``strategy`` beside it, and name the speakers ``usr`` and ``sys``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mctsdialog.dialogue._domains import ESCONV
from mctsdialog.dialogue._model import Speaker
from mctsdialog.dialogue.readers._common import Context, Draft, Reader, Utterance, clip

_SPEAKERS: dict[str, Speaker] = {
    "seeker": "seeker",
    "speaker": "seeker",
    "usr": "seeker",
    "user": "seeker",
    "supporter": "supporter",
    "listener": "supporter",
    "sys": "supporter",
    "system": "supporter",
}


def read_esconv(item: Mapping[str, object], context: Context) -> Draft:
    """One item of an ESConv file: the problem's type is the scene, the situation the description.

    The other fields of the data set (survey scores, emotion, feedback, ...) have no place in a dialogue.

    :raises DialogueError: for a turn whose speaker or text cannot be told.
    """
    if "dialog" not in item:
        raise context.error("there is no such key; an ESConv dialogue has its turns there", "dialog")
    return Draft(
        utterances=tuple(_utterances(item["dialog"], context)),
        scene=context.text(item.get("problem_type"), "problem_type"),
        description=context.text(item.get("situation"), "situation"),
    )


def _utterances(dialog: object, context: Context) -> Iterator[Utterance]:
    if dialog is None:
        return
    if not isinstance(dialog, list):
        raise context.error("must be a list of turns", "dialog")
    for index, value in enumerate(dialog):
        field = f"dialog[{index}]"
        if value is None:
            context.tally.count("empty_entries")
            continue
        entry = context.mapping(value, field)
        speaker = _speaker(entry.get("speaker"), f"{field}.speaker", context)
        key = "content" if "content" in entry or "text" not in entry else "text"
        text = context.text(entry.get(key), f"{field}.{key}")
        label = _label(entry, field, context) if speaker == "supporter" else ""
        yield Utterance(speaker, text, label)


def _speaker(value: object, field: str, context: Context) -> Speaker:
    name = context.text(value, field)
    try:
        return _SPEAKERS[name.casefold()]
    except KeyError:
        raise context.error(f"must be one of {', '.join(_SPEAKERS)}, not {clip(name)!r}", field) from None


def _label(entry: Mapping[str, object], field: str, context: Context) -> str:
    annotation = entry.get("annotation")
    if annotation is not None:
        notes = context.mapping(annotation, f"{field}.annotation")
        if label := context.text(notes.get("strategy"), f"{field}.annotation.strategy"):
            return label
    return context.text(entry.get("strategy"), f"{field}.strategy")


READER = Reader("esconv", read_esconv, recognises=lambda item: "dialog" in item, domain=ESCONV)
