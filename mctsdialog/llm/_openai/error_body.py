"""What a server says of a call that failed, read once: its message, codes, and the fields that it names.

Every server has a form of its own: OpenAI's ``error`` object, Google's list of one, FastAPI's ``detail``, xAI's bare
strings, a gateway's quote of the provider behind it. The kinds of failure are told apart by codes and words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mctsdialog.llm._secret import beginning

_MOST_BYTES = 20_000
_INNER = (
    "error", "message", "detail", "errors", "msg", "error_message", "base_resp", "status_msg", "promptFeedback",
    "prompt_feedback",
)  # fmt: skip
_CODES = ("code", "type", "status", "status_code", "error_type", "reason", "name")
_BLOCKED = ("blockReason", "block_reason")  # Google's


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the request that a list of faults (422) names.

    :param path: with dots, without the "body" in front.
    :param message: what is wrong with it.
    :param kind: the fault's type.
    """

    path: str
    message: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """A server's words about a call that failed.

    :param status: of HTTP, or the code inside of a reply with status 200.
    :param message: for people; "" if there is none, or a web page.
    :param codes: codes and types, in lower case, with spaces between.
    :param param: the parameter that is to blame, where a field says so.
    :param fields: of a list of faults.
    :param data: the decoded body; None if it is no JSON.
    :param page: whether the body is a web page.
    """

    status: int
    message: str
    codes: str = ""
    param: str = ""
    fields: tuple[Field, ...] = ()
    data: object = None
    page: bool = False

    def has(self, words: re.Pattern[str]) -> bool:
        """Whether the codes or the message match."""
        return words.search(self.codes) is not None or words.search(self.message) is not None


def read_error_body(status: int, body: bytes) -> ErrorBody:
    """What a body says about a failure."""
    text = beginning(body, _MOST_BYTES).strip()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        page = text.startswith("<")
        return ErrorBody(status, "" if page else text, page=page)
    return error_body_of(status, data)


def error_body_of(status: int, data: object) -> ErrorBody:
    """What a decoded body says about a failure."""
    codes: list[str] = []
    param, raw = "", ""
    found = data
    for _ in range(6):
        if isinstance(found, list):
            fields = _fields(found)
            if fields:
                message = "; ".join(f"{each.path}: {each.message}" if each.path else each.message for each in fields)
                return ErrorBody(status, message, " ".join(codes), param, fields, data)
            if not found or not isinstance(found[0], Mapping):
                break
            found = found[0]
        if not isinstance(found, Mapping):
            break
        codes += _codes(found)
        given = found.get("param")
        param = given if isinstance(given, str) and given not in _NO_PARAM else param
        raw = _raw(found) or raw
        inner = next((found[name] for name in _INNER if found.get(name)), None)
        if inner is None:
            break
        found = inner
    message = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    said = ErrorBody(status, message, " ".join(codes), param, (), data)
    return _with_quote(said, raw) if raw else said


def holds_error(data: Mapping[str, Any]) -> bool:
    """Whether an object without choices is an error that came with status 200."""
    if any(isinstance(data.get(name), str) for name in ("message", "msg")):
        return True
    return any(data.get(name) for name in _INNER if name not in ("message", "msg")) or data.get("object") == "error"


def inner_status(data: Mapping[str, Any]) -> int:
    """The HTTP status that an error inside of a reply with status 200 stands for; 200 where none is told."""
    found = data.get("error") or data.get("base_resp")
    for each in (found if isinstance(found, Mapping) else {}, data):
        code = each.get("code") or each.get("status") or each.get("status_code")
        if isinstance(code, str) and code.isdecimal():
            code = int(code)
        if isinstance(code, int) and 400 <= code < 600:
            return code
    said = error_body_of(200, data)
    if said.has(NO_CREDIT):
        return 402
    return 429 if said.has(BUSY) else 403 if said.has(CONTENT) else 401 if said.has(WRONG_KEY) else 200


_NO_PARAM = ("", "None", "null", "body", "request", "prompt")


def _codes(found: Mapping[str, Any]) -> list[str]:
    details = found.get("details")
    inner = found.get("innererror")
    several = [
        found,
        *(each for each in (details if isinstance(details, list) else [inner]) if isinstance(each, Mapping)),
    ]
    codes = [str(each[name]).lower() for each in several for name in _CODES if isinstance(each.get(name), str | int)]
    return [*codes, "content_filter"] if any(found.get(name) for name in _BLOCKED) else codes


def _raw(found: Mapping[str, Any]) -> str:
    """What a gateway quotes of the provider behind it."""
    metadata = found.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    return raw if isinstance(raw, str) else json.dumps(raw) if isinstance(raw, Mapping) else ""


def _with_quote(said: ErrorBody, raw: str) -> ErrorBody:
    quoted = read_error_body(said.status, raw.encode("utf-8", "replace"))
    return replace(
        said,
        message=f"{said.message}: {quoted.message}".rstrip(": "),
        codes=f"{said.codes} {quoted.codes}".strip(),
        param=said.param or quoted.param,
        fields=quoted.fields,
    )


def _fields(found: list[Any]) -> tuple[Field, ...]:
    """The faults of lists such as FastAPI's and pydantic's: ``[{"loc": [...], "msg": ..., "type": ...}]``."""
    if not found or not all(isinstance(each, Mapping) and _place_of(each) for each in found):
        return ()
    return tuple(
        Field(
            ".".join(str(part) for part in _place_of(each) if part != "body"),
            str(each.get("msg") or each.get("message") or each.get("type") or "is wrong"),
            str(each.get("type") or ""),
        )
        for each in found
    )


def _place_of(fault: Mapping[str, Any]) -> list[Any]:
    """The path of the field that a fault names."""
    given: Any = next((fault[name] for name in ("loc", "field", "param", "path") if fault.get(name)), [])
    return given if isinstance(given, list) else [given] if isinstance(given, str) else []


# -- kinds of failure ----------------------------------------------------------------------------------------------


def any_of(*patterns: str) -> re.Pattern[str]:
    """A pattern that matches where one of several does, in either case of letters."""
    return re.compile("|".join(patterns), re.IGNORECASE)


TOO_LONG = any_of(
    r"context[ _](?:length|size|window)",
    r"too long",
    r"maximum (?:context|length|tokens)",
    r"(?:prompt|input)[^.]{0,40} exceed",
    r"exceed[^.]{0,40}(?:context|tokens)",
    r"(?:request|payload|entity) too large",
)
NO_CREDIT = any_of(
    r"insufficient[ _](?:quota|balance|credits?|funds)",
    r"exceeded_current_quota",
    r"billing[ _](?:hard_limit|not_active)",
    r"credit balance is too low",
    r"(?:out of|\bno|not enough|used up)[^.]{0,30} credits?\b",
    r"credits? (?:exhausted|depleted)",
    r"requires? more credits",
    r"payment[ _]required",
    r"account[^.]{0,60}(?:suspended|deactivated|not active|disabled|in arrears|overdue)",
    r"organization has been disabled",
    r"\barrearage\b",
    r"spend(?:ing)? limit",
    r"specified api usage limits",
    r"\bmonthly (?:\w+ )?(?:quota|limit|budget)[^.]{0,20}(?:reached|exceeded)",
    r"key limit exceeded",
    r"free allocated quota|freetieronly",
    r"余额不足|欠费",
)
OVER_QUOTA = any_of(r"exceeded your current quota")
WRONG_KEY = any_of(
    r"(?:invalid|incorrect|missing|no)[_ ](?:x-)?api[_ -]?key",
    r"api[_ -]?key[_ ](?:(?:is|was) )?(?:not valid|not found|invalid|expired|missing)",
    r"\bauthentication_error\b",
    r"invalid (?:authentication|token|credentials)",
    r"^unauthori[sz]ed\b",
    r"must be verified to use",
)
NO_MODEL = any_of(
    r"model_?not_?(?:found|exist)",
    r"model_(?:decommissioned|not_available|not_supported)",
    r"deploymentnotfound",
    r"no such model",
    r"models?\b.{0,160}?(?:n't|not) exist",
    r"models?\b.{0,160}? not found",
    r"(?:unknown|invalid|unsupported) model\b(?! (?:param|arg|field|out))",
    r"not a valid model",
    r"no models? (?:is |are )?loaded",
    r"unable to access model",
    r"model .{0,80} has been (?:decommissioned|deprecated|retired)",
    r"no endpoints found for",
    r"does not support (?:chat|/?v1/chat)|not a chat model",
)
CONTENT = any_of(
    r"content[_ -]?(?:filter|policy|moderation)",
    r"responsibleaipolicy",
    r"content management policy",
    r"data_inspection",
    r"content exists risk",
    r"considered high risk",
    r"violat\w+[^.]{0,60}(?:polic|guideline|terms)",
    r"usage (?:policy|guidelines)",
    r"safety[ _](?:system|filters?|check)",
    r"prohibited_content",
    r"guardrail",
    r"requires moderation",
    r"(?:input|prompt)[^.]{0,40} flagged",
    r"blocked (?:by|due to|for)[^.]{0,30}(?:safety|filter|polic|content|moderation)",
    r"sensitive[ _](?:content|words?|information)",
    r"敏感(?:词|内容|信息)",
    r"inappropriate content",
)
BUSY = any_of(
    r"rate[_ -]?limit",
    r"too[_ ]many[_ ]requests",
    r"throttl",
    r"overloaded",
    r"resource_exhausted",
    r"(?:over|at) capacity",
    r"server is busy",
    r"temporarily (?:unavailable|rate)",
)
LOADING = any_of(
    r"\bmodel\b[^.]{0,80}\b(?:is|still|currently|being)\b[^.]{0,20}\bload(?:ing|ed)\b(?! models?)",
    r"\bloading (?:the )?model\b",
    r"\bmodel (?:is )?(?:warming|starting) up\b",
)
NO_ROOM = any_of(r"max_tokens or model output limit was reached")
GENERATION = any_of(
    r"json_validate_failed",
    r"failed to generate json",
    r"failed_generation",
    r"generated json does not match",
    r"tool_use_failed",
    r"(?:model|generated|produced)[^.]{0,30} invalid (?:json|content|output)",
    r"output_parse_failed",
)
PROVIDER = any_of(r"provider returned (?:an )?error", r"upstream (?:error|request failed)", r"bad_response_status_code")
WRONG_PATH = any_of(
    r"unexpected endpoint", r"no (?:static )?resource", r"unknown (?:request )?(?:url|endpoint|path|route)"
)
PLAIN_HTTP = any_of(r"http request to an https server", r"plain http request was sent to https")
