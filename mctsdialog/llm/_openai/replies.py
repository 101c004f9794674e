"""The JSON in a reply's body, and what it probably means if there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from mctsdialog.llm._secret import beginning, shorten

_EVENT_LINE = re.compile(r"(?:data|event|id|retry)?:")
_TITLE = re.compile(r"<title[^>]*>([^<]{1,80})", re.I)


class UnreadableReplyError(ValueError):
    """A body that holds no JSON.

    :param lasting: whether the next reply will probably be no better.
    """

    def __init__(self, reason: str, *, lasting: bool) -> None:
        super().__init__(reason)
        self.lasting = lasting


def read_body(content: bytes, clean: Callable[[str], str]) -> object:
    """The JSON of a body. White space and comments of an event stream may stand before it.

    :param clean: takes the secrets out of a text.
    :raises UnreadableReplyError: saying what the body is instead.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        pass
    text = content.decode("utf-8", "replace").strip()
    if not text:
        raise UnreadableReplyError(
            "the reply is empty; the server, or a proxy before it, may have given up", lasting=False
        )
    if text.startswith("<"):
        title = _TITLE.search(text)
        page = f"a web page ({shorten(clean(title[1]))})" if title else "a web page"
        advice = "check base_url: it often ends in /v1, and is not the address of the page for people"
        raise UnreadableReplyError(f"the reply is {page}, not a completion; {advice}", lasting=True)
    if _EVENT_LINE.match(text):
        return _of_events(text)
    start = shorten(clean(beginning(content, 2000)), 80)
    cut = " (it broke off on its way)" if text.startswith(("{", "[")) else ""
    raise UnreadableReplyError(f"the reply is not JSON: {start!r}{cut}", lasting=False)


def _of_events(text: str) -> object:
    """The JSON beside the comments of an event stream, or the one event that holds a whole reply."""
    lines = [line for line in text.splitlines() if not line.startswith(":")]
    found = _json("\n".join(lines))
    if found is not None:
        return found
    events = [_json(line.partition(":")[2]) for line in lines if line.startswith("data:") and "[DONE]" not in line]
    if len(events) == 1 and isinstance(events[0], Mapping) and _is_whole(events[0]):
        return events[0]
    reason = (
        "the server streams its reply in events, which was not asked for; turn streaming off in the server or gateway"
    )
    raise UnreadableReplyError(reason, lasting=True)


def _is_whole(event: Mapping[str, object]) -> bool:
    choices = event.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return bool(event.get("error")) or (isinstance(first, Mapping) and isinstance(first.get("message"), Mapping))


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
