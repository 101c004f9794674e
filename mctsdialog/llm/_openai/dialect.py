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
from mctsdialog.llm._openai.error_body import GENERATION, TOO_LONG, ErrorBody
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
_FACTOR = 8  # times the tokens that were asked for
_MAX_FACTOR = 64
_MAX_TOKENS = 32_768  # of one reply, whatever the factor


@dataclass(frozen=True, slots=True)
class Dialect:
    """How requests to a model are written.

    :param tokens: what the most tokens of a reply are called; "" where the server takes no such number.
    :param dropped: parameters that are left out.
    :param efforts: for amounts of reasoning, what is asked for in their place ("" for nothing).
    :param merged: whether the system message goes into the first message of the user.
    :param token_factor: how many times the tokens that are asked for a reply may take, reasoning included.
    :param format: how the reply's schema is asked for.
    :param schema: "whole"; "closed" without the keywords that some servers do not know; "open" also without
        ``additionalProperties``.
    """

    tokens: str
    dropped: frozenset[str] = frozenset()
    efforts: tuple[tuple[str, str], ...] = ()
    merged: bool = False
    token_factor: int = 1
    format: ResponseFormat = "json_schema"
    schema: Literal["whole", "closed", "open"] = "whole"


Change: TypeAlias = Callable[[Dialect], Dialect]
Amendment: TypeAlias = tuple[Change, str]
"""What to write otherwise, and how to say so."""


class Negotiation:
    """What one model's server takes, as far as it was found out.

    :param model: its name at the server.
    :param provider: whose habits it begins with.
    :param extra: parameters that the user has added; they win, and are never dropped.
    :param format_: the format to begin with.
    :param headroom: whether a reply that reasoning left no tokens for is asked for again with more.
    """

    def __init__(
        self, model: str, provider: Provider, extra: Mapping[str, Any], format_: ResponseFormat, *, headroom: bool
    ) -> None:
        self._model, self._provider, self._extra, self._may_raise = model, provider, extra, headroom
        self._limited = not extra.keys() & set(_TOKENS)
        self.dialect = Dialect(provider.tokens, format=format_)
        self._proven = {("none", "whole")}
        self._max_factor = _MAX_FACTOR
        self.step_downs = 0

    def body(self, request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
        """The JSON body of a call."""
        if request.schema is not None and dialect.schema != "whole":
            request = replace(request, schema=plain_schema(request.schema, closed=dialect.schema == "closed"))
        body = request_body(self._model, request, response_format=dialect.format, strict=dialect.schema != "open")
        body.pop("stop", None)  # it would fire inside of reasoning: the client cuts
        limit = body.pop("max_tokens", None)
        effort = request.sampling.reasoning_effort
        if effort is not None:
            sent = dict(dialect.efforts).get(effort, effort)
            body |= self._provider.effort_fields(sent) if sent else {}
        if limit is not None and dialect.tokens and self._limited:
            thinking = 0 if effort is None else body.get("thinking", {}).get("budget_tokens", 0)
            body[dialect.tokens] = _raised(limit, dialect.token_factor) + thinking
        for name in dialect.dropped:
            body.pop(name, None)
        if dialect.merged:
            body["messages"] = merged_system(body["messages"])
        body.update(self._extra)
        return body

    # -- refusals --------------------------------------------------------------------------------------------------

    def amend(self, used: Dialect, body: Mapping[str, Any], said: ErrorBody, error: Exception) -> Dialect | None:
        """How to write a refused request otherwise; None where nothing in it that may change is to blame.

        :param used: how it was written.
        :param error: what the refusal is to the caller.
        """
        if said.has(TOO_LONG) or said.has(GENERATION):
            return None
        amendment = self._amendment(used, body, said)
        if amendment is not None:
            self._learn(*amendment)
            if used.tokens == "max_tokens" and self.dialect.tokens == "max_completion_tokens":  # a model that reasons
                self._raise_limits(_FACTOR)
            amended = replace(self.dialect, format=used.format, schema=used.schema)
            return amended if amended != used else None
        return self._simpler(used, body, said, named_alone=not isinstance(error, ModelRequestError))

    def _amendment(self, used: Dialect, body: Mapping[str, Any], said: ErrorBody) -> Amendment | None:
        if not used.merged and refuses_system(said) and any(each["role"] == "system" for each in body["messages"]):
            what = "takes no system message: it goes into the first message of the user"
            return lambda dialect: replace(dialect, merged=True), what
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
        changed = change(self.dialect)
        if changed != self.dialect:
            self.dialect = changed
            _log.warning("%s %s", self._model, what)

    def _simpler(self, used: Dialect, body: Mapping[str, Any], said: ErrorBody, *, named_alone: bool) -> Dialect | None:
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
                return replace(self.dialect, format=used.format, schema=simpler)
        later = FORMATS[FORMATS.index(used.format) + 1 :]
        return replace(self.dialect, format=later[0], schema="whole") if later else None

    def keep(self, used: Dialect, refusal: Exception | None) -> None:
        """Remember the format that a call was answered in.

        :param refusal: of the formats before it.
        """
        self._proven.add((used.format, used.schema))
        if refusal is None or _rank(used) <= _rank(self.dialect):  # a call beside this one has stepped down already
            return
        self.step_downs += max(1, FORMATS.index(used.format) - FORMATS.index(self.dialect.format))
        self.dialect = replace(self.dialect, format=used.format, schema=used.schema)
        what = f"response format {used.format!r}" if used.schema == "whole" else "schemas without bounds"
        _log.warning("%s: %s from now on: %s", self._model, what, refusal)

    # -- tokens for reasoning --------------------------------------------------------------------------------------

    def notice(self, completion: Completion) -> None:
        """Remember a model that reasons, and give its replies more tokens."""
        if completion.usage.reasoning_tokens or completion.thought:
            self._raise_limits(_FACTOR)

    def with_headroom(self, used: Dialect, request: ChatRequest, completion: Completion) -> Dialect | None:
        """How to ask once more for a reply that reasoning left no tokens for; None where that is no use.

        Such a reply ran out of tokens, and either nothing was said or the model reasoned.
        """
        limit = request.sampling.max_tokens
        thought = completion.usage.reasoning_tokens or completion.thought or not completion.text
        if (
            completion.finish_reason != "length"
            or not thought
            or not self._may_raise
            or limit is None
            or not used.tokens
        ):
            return None
        self._raise_limits(used.token_factor * _FACTOR)
        more = replace(used, token_factor=self.dialect.token_factor)
        return more if _raised(limit, more.token_factor) > _raised(limit, used.token_factor) else None

    def _raise_limits(self, factor: int) -> None:
        factor = min(factor, self._max_factor)
        if not self._may_raise or factor <= self.dialect.token_factor:
            return
        self.dialect = replace(self.dialect, token_factor=factor)
        _log.warning(
            "%s reasons: its replies may take %d times the tokens from now on; to choose yourself, set "
            "--max-reply-tokens or --reasoning-effort",
            self._model,
            factor,
        )

    def lower_limits(self, used: Dialect) -> None:
        """The server refuses so many tokens: go back."""
        self._max_factor = used.token_factor
        self.dialect = replace(self.dialect, token_factor=min(self.dialect.token_factor, used.token_factor))


def _rank(dialect: Dialect) -> float:
    return FORMATS.index(dialect.format) + {"whole": 0.0, "closed": 0.3, "open": 0.6}[dialect.schema]


def _raised(limit: int, factor: int) -> int:
    return max(limit, min(limit * factor, _MAX_TOKENS))


def _other_tokens_name(used: Dialect) -> Amendment:
    """The other name of the most tokens of a reply; none where both were refused."""
    other = _TOKENS[used.tokens == _TOKENS[0]]
    if other in used.dropped:
        return lambda dialect: replace(dialect, tokens=""), "takes no limit to a reply's tokens: none is sent"
    refused = used.tokens

    def change(dialect: Dialect) -> Dialect:
        if dialect.tokens != refused:
            return dialect
        return replace(dialect, tokens=other, dropped=dialect.dropped | {refused})

    return change, f"does not take {refused}: {other} is sent instead"


def _without(names: list[str]) -> Amendment:
    some = frozenset(names)
    what = f"does not take {', '.join(names)}: sent without {'it' if len(names) == 1 else 'them'}"
    return lambda dialect: replace(dialect, dropped=dialect.dropped | some), what


def _other_effort(body: Mapping[str, Any], said: ErrorBody) -> Amendment | None:
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
        lambda dialect: replace(dialect, efforts=(*((a, b) for a, b in dialect.efforts if a != asked), (asked, least))),
        f"does not take a reasoning effort of {asked!r}: {instead}",
    )
