"""How a request is written for a model, and what is learnt of it where the server refuses.

Models take different parameters, and servers say so at the first call alone. What was learnt holds for all later calls
of the model; calls in flight share it, so that each thing is learnt, and said, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, get_args

from mctsdialog.errors import ModelRequestError
from mctsdialog.llm._openai.error_body import GENERATION, TOO_LONG, ServerSaid
from mctsdialog.llm._openai.refusals import (
    EFFORT_NAMES,
    names_parameter,
    quoted_values,
    refused_parameters,
    refuses_format,
    refuses_system,
)
from mctsdialog.llm._wire import ResponseFormat, merged_system, plain_schema, request_body
from mctsdialog.llm.base import ChatRequest, Completion
from mctsdialog.llm.providers import Provider

_log = logging.getLogger("mctsdialog.llm")

FORMATS: Final[tuple[ResponseFormat, ...]] = get_args(ResponseFormat)
_TOKENS = ("max_tokens", "max_completion_tokens")
_LEAST_EFFORTS = ("none", "minimal", "low")
_ROOM = 8  # times the tokens that were asked for
_MOST_ROOM = 64
_MOST_TOKENS = 32_768  # of one reply, for all its room


@dataclass(frozen=True, slots=True)
class Ways:
    """How requests to a model are written.

    :param tokens: what the most tokens of a reply are called; "" where the server takes no such number.
    :param dropped: parameters that are left out.
    :param efforts: for amounts of reasoning, what is asked for in their place ("" for nothing).
    :param merged: whether the system message goes into the first message of the user.
    :param room: how many times the tokens that are asked for a reply may take, reasoning included.
    :param format: how the reply's schema is asked for.
    :param schema: "whole"; "closed" without the keywords that some servers do not know; "open" also without
        ``additionalProperties``.
    """

    tokens: str
    dropped: frozenset[str] = frozenset()
    efforts: tuple[tuple[str, str], ...] = ()
    merged: bool = False
    room: int = 1
    format: ResponseFormat = "json_schema"
    schema: Literal["whole", "closed", "open"] = "whole"


Change: TypeAlias = Callable[[Ways], Ways]
Lesson: TypeAlias = tuple[Change, str]
"""What to write otherwise, and how to say so."""


class Manners:
    """What one model's server takes, as far as it was found out.

    :param model: its name at the server.
    :param provider: whose habits it begins with.
    :param extra: parameters that the user has added; they win, and are never dropped.
    :param format_: the format to begin with.
    :param roomy: whether a reply that the reasoning left no room for is asked for again with more.
    """

    def __init__(
        self, model: str, provider: Provider, extra: Mapping[str, Any], format_: ResponseFormat, *, roomy: bool
    ) -> None:
        self._model, self._provider, self._extra, self._roomy = model, provider, extra, roomy
        self._limited = not extra.keys() & set(_TOKENS)
        self.ways = Ways(provider.tokens, format=format_)
        self._proven = {("none", "whole")}
        self._most_room = _MOST_ROOM
        self.step_downs = 0

    def body(self, request: ChatRequest, ways: Ways) -> dict[str, Any]:
        """The JSON body of a call."""
        if request.schema is not None and ways.schema != "whole":
            request = replace(request, schema=plain_schema(request.schema, closed=ways.schema == "closed"))
        body = request_body(self._model, request, response_format=ways.format, strict=ways.schema != "open")
        body.pop("stop", None)  # it would fire inside of reasoning: the client cuts
        limit = body.pop("max_tokens", None)
        effort = request.sampling.reasoning_effort
        if effort is not None:
            sent = dict(ways.efforts).get(effort, effort)
            body |= self._provider.effort_fields(sent) if sent else {}
        if limit is not None and ways.tokens and self._limited:
            thinking = 0 if effort is None else body.get("thinking", {}).get("budget_tokens", 0)
            body[ways.tokens] = _roomy(limit, ways.room) + thinking
        for name in ways.dropped:
            body.pop(name, None)
        if ways.merged:
            body["messages"] = merged_system(body["messages"])
        body.update(self._extra)
        return body

    # -- refusals --------------------------------------------------------------------------------------------------

    def amend(self, used: Ways, body: Mapping[str, Any], said: ServerSaid, error: Exception) -> Ways | None:
        """How to write a refused request otherwise; None where nothing in it that may change is to blame.

        :param used: how it was written.
        :param error: what the refusal is to the caller.
        """
        if said.has(TOO_LONG) or said.has(GENERATION):
            return None
        lesson = self._lesson(used, body, said)
        if lesson is not None:
            self._learn(*lesson)
            if used.tokens == "max_tokens" and self.ways.tokens == "max_completion_tokens":  # a model that reasons
                self._widen(_ROOM)
            amended = replace(self.ways, format=used.format, schema=used.schema)
            return amended if amended != used else None
        return self._simpler(used, body, said, named_alone=not isinstance(error, ModelRequestError))

    def _lesson(self, used: Ways, body: Mapping[str, Any], said: ServerSaid) -> Lesson | None:
        if not used.merged and refuses_system(said) and any(each["role"] == "system" for each in body["messages"]):
            what = "takes no system message: it goes into the first message of the user"
            return lambda ways: replace(ways, merged=True), what
        if said.status not in (400, 404, 422):
            return None
        names = refused_parameters(said, [name for name in body if name not in self._extra])
        if not names:
            return None
        if names[0] in _TOKENS:
            return _other_tokens_name(used)
        efforts = [name for name in names if name in EFFORT_NAMES]
        if efforts:
            return _other_effort(body, said) or _without(efforts)
        return _without(names)

    def _learn(self, change: Change, what: str) -> None:
        """Keep a change, and say so, unless a call beside this one has."""
        changed = change(self.ways)
        if changed != self.ways:
            self.ways = changed
            _log.warning("%s %s", self._model, what)

    def _simpler(self, used: Ways, body: Mapping[str, Any], said: ServerSaid, *, named_alone: bool) -> Ways | None:
        """The next simpler format, where the refusal may be about the format.

        :param named_alone: whether the server has to name the format; else it is enough that nothing was proven.
        """
        if "response_format" not in body or "response_format" in self._extra or said.status not in (400, 422):
            return None
        named, keywords = refuses_format(said)
        proven = named_alone or (used.format, used.schema) in self._proven
        if not named and (proven or said.fields or said.param or names_parameter(said, body)):
            return None
        if keywords and used.format == "json_schema":
            simpler: Literal["closed", "open"] = "open" if "additionalproperties" in said.message.lower() else "closed"
            if _rank(used) < _rank(replace(used, schema=simpler)):
                return replace(self.ways, format=used.format, schema=simpler)
        later = FORMATS[FORMATS.index(used.format) + 1 :]
        return replace(self.ways, format=later[0], schema="whole") if later else None

    def keep(self, used: Ways, refusal: Exception | None) -> None:
        """Remember the format that a call was answered in.

        :param refusal: of the formats before it.
        """
        self._proven.add((used.format, used.schema))
        if refusal is None or _rank(used) <= _rank(self.ways):  # a call beside this one has stepped down already
            return
        self.step_downs += max(1, FORMATS.index(used.format) - FORMATS.index(self.ways.format))
        self.ways = replace(self.ways, format=used.format, schema=used.schema)
        what = f"response format {used.format!r}" if used.schema == "whole" else "schemas without bounds"
        _log.warning("%s: %s from now on: %s", self._model, what, refusal)

    # -- room for reasoning ----------------------------------------------------------------------------------------

    def notice(self, completion: Completion) -> None:
        """Remember a model that reasons, and give its replies room."""
        if completion.usage.reasoning_tokens or completion.thought:
            self._widen(_ROOM)

    def more_room(self, used: Ways, request: ChatRequest, completion: Completion) -> Ways | None:
        """How to ask once more for a reply that the reasoning left no room for; None where that is no use.

        Such a reply ran out of tokens, and either nothing was said or the model reasoned.
        """
        limit = request.sampling.max_tokens
        thought = completion.usage.reasoning_tokens or completion.thought or not completion.text
        if completion.finish_reason != "length" or not thought or not self._roomy or limit is None or not used.tokens:
            return None
        self._widen(used.room * _ROOM)
        more = replace(used, room=self.ways.room)
        return more if _roomy(limit, more.room) > _roomy(limit, used.room) else None

    def _widen(self, room: int) -> None:
        room = min(room, self._most_room)
        if not self._roomy or room <= self.ways.room:
            return
        self.ways = replace(self.ways, room=room)
        _log.warning(
            "%s reasons: its replies may take %d times the tokens from now on; to choose yourself, set "
            "--max-reply-tokens or --reasoning-effort",
            self._model,
            room,
        )

    def narrow(self, used: Ways) -> None:
        """The server refuses so much room: go back."""
        self._most_room = used.room
        self.ways = replace(self.ways, room=min(self.ways.room, used.room))


def _rank(ways: Ways) -> float:
    return FORMATS.index(ways.format) + {"whole": 0.0, "closed": 0.3, "open": 0.6}[ways.schema]


def _roomy(limit: int, room: int) -> int:
    return max(limit, min(limit * room, _MOST_TOKENS))


def _other_tokens_name(used: Ways) -> Lesson:
    """The other name of the most tokens of a reply; none where both were refused."""
    other = _TOKENS[used.tokens == _TOKENS[0]]
    if other in used.dropped:
        return lambda ways: replace(ways, tokens=""), "takes no limit to a reply's tokens: none is sent"
    refused = used.tokens

    def change(ways: Ways) -> Ways:
        if ways.tokens != refused:
            return ways
        return replace(ways, tokens=other, dropped=ways.dropped | {refused})

    return change, f"does not take {refused}: {other} is sent instead"


def _without(names: list[str]) -> Lesson:
    some = frozenset(names)
    what = f"does not take {', '.join(names)}: sent without {'it' if len(names) == 1 else 'them'}"
    return lambda ways: replace(ways, dropped=ways.dropped | some), what


def _other_effort(body: Mapping[str, Any], said: ServerSaid) -> Lesson | None:
    """The least amount of reasoning that the server takes in place of the one that it refuses; None where none is."""
    reasoning = body.get("reasoning")
    sent = body.get("reasoning_effort") or (reasoning.get("effort") if isinstance(reasoning, Mapping) else None)
    listed = quoted_values(said.message)
    if not isinstance(sent, str) or not listed or sent in listed:
        return None
    least = next((each for each in _LEAST_EFFORTS if each in listed), "") if sent in _LEAST_EFFORTS else ""
    asked = "none" if sent in _LEAST_EFFORTS[:2] else sent
    instead = f"{least!r} is asked for instead" if least else "sent without it"
    return (
        lambda ways: replace(ways, efforts=(*((a, b) for a, b in ways.efforts if a != asked), (asked, least))),
        f"does not take a reasoning effort of {asked!r}: {instead}",
    )
