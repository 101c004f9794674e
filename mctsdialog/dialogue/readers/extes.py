"""ExTES (Zheng et al., 2024): the data set that the paper's seed dialogues come from (section 4.1, appendix F.1).

A list of ``{"scene", "description", "content": [{"User": text} | {"AI Strategy": label, "AI": text}, ...]}``. It was
written by a language model, so the spelling of keys and labels varies ("Assistant" for "AI"), and so does the shape
of an entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mctsdialog.dialogue._domains import ESC
from mctsdialog.dialogue.readers._common import ID_KEYS, Context, Draft, Reader, Utterance, loose_key, loose_keys
from mctsdialog.dialogue.readers._report import clip

_SEEKER_KEYS = ("user", "seeker", "client")
_SUPPORTER_KEYS = ("ai", "assistant", "supporter", "bot", "chatbot")
_SPOKEN_KEYS = (*_SEEKER_KEYS, *_SUPPORTER_KEYS)
_STRATEGY_KEYS = ("strategy", *(f"{key}strategy" for key in _SUPPORTER_KEYS))
_NESTED_TEXT_KEYS = ("ai", "assistant", "response", "airesponse", "text", "content", "reply", "message")
_START_KEYS = ("scene", "description", "content", "source")


def read_extes(item: Mapping[str, object], context: Context) -> Draft:
    """One item of an ExTES file. Keys may be in any letter case, with spaces, hyphens or underscores.

    ``content`` may also be an object of entries, and null for a dialogue that is not there.

    :raises DialogueError: for content whose meaning is not clear.
    """
    fields = loose_keys(item)
    if "content" not in fields:
        raise context.error("there is no such key; an ExTES dialogue has its turns there", "content")
    for key in item:
        if loose_key(key) not in _START_KEYS and key.casefold() not in ID_KEYS and item[key] not in (None, ""):
            context.tally.count("keys_ignored", clip(key))
    return Draft(
        utterances=tuple(
            utterance
            for field, entry in _entries(fields["content"], context)
            for utterance in _utterances(entry, field, context)
        ),
        scene=context.text(fields.get("scene"), "scene"),
        description=context.text(fields.get("description"), "description"),
        source=context.text(fields.get("source"), "source"),
    )


def _entries(content: object, context: Context) -> Iterator[tuple[str, object]]:
    if isinstance(content, list):
        yield from ((f"content[{index}]", entry) for index, entry in enumerate(content))
    elif isinstance(content, dict):
        if loose_keys(content).keys() & {*_SPOKEN_KEYS, *_STRATEGY_KEYS}:
            yield "content", content
        else:  # numbered entries: {"0": {...}, "1": {...}}
            yield from ((f"content.{clip(key)}", entry) for key, entry in content.items())
    elif content is not None:
        raise context.error("must be a list of turns", "content")


def _utterances(entry: object, field: str, context: Context) -> Iterator[Utterance]:
    """The one or two turns of an entry, in the order of its keys."""
    if entry is None:
        context.tally.count("empty_entries")
        return
    item = context.mapping(entry, field)
    spoken = [key for key in item if loose_key(key) in _SPOKEN_KEYS]
    unknown = [key for key in item if loose_key(key) not in (*_SPOKEN_KEYS, *_STRATEGY_KEYS)]
    if not spoken:
        if unknown:
            raise context.error(f"has neither 'User' nor 'AI', but {clip(unknown[0])!r}", field)
        context.tally.count("empty_entries")
    for key in unknown:
        context.tally.count("keys_ignored", clip(key))
    for key in spoken:
        where = f"{field}.{key}"
        if loose_key(key) in _SEEKER_KEYS:
            yield Utterance("seeker", context.text(item[key], where))
        else:
            yield _supporter(item[key], _labels(item, field, context), where, context)


def _supporter(value: object, labels: tuple[str, ...], field: str, context: Context) -> Utterance:
    if not isinstance(value, dict):
        return _said(context.text(value, field), labels)
    texts = [key for key in value if loose_key(key) in _NESTED_TEXT_KEYS]
    if len(texts) != 1:
        raise context.error("is an object in which the text cannot be told; name its key 'response'", field)
    unknown = [key for key in value if loose_key(key) not in (*_NESTED_TEXT_KEYS, *_STRATEGY_KEYS)]
    for key in unknown:
        context.tally.count("keys_ignored", clip(key))
    text = context.text(value[texts[0]], f"{field}.{texts[0]}")
    return _said(text, _labels(value, field, context) or labels)


def _said(text: str, labels: tuple[str, ...]) -> Utterance:
    first, *others = labels or ("",)
    return Utterance("supporter", text, first, tuple(others))


def _labels(item: Mapping[str, object], field: str, context: Context) -> tuple[str, ...]:
    keys = [key for key in item if loose_key(key) in _STRATEGY_KEYS]
    return tuple(label for key in keys for label in context.labels(item[key], f"{field}.{key}"))


def _is_extes(item: Mapping[str, object]) -> bool:
    return "content" in item or "content" in loose_keys(item)


READER = Reader("extes", read_extes, recognises=_is_extes, domain=ESC, title="an ExTES file")
