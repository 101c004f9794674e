"""How long a server asks to wait, wherever it says so: headers, the error's data, its message."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT = r"(ms|milli\w*|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
_PART = rf"(\d+(?:\.\d+)?)\s*{_UNIT}(?![a-z])"
_DURATION = re.compile(rf"\s*(?:{_PART}[\s,]*(?:and\s+)?)+", re.I)
_IN_WORDS = re.compile(
    r"\b(?:(?:again|retry\w*|wait\w*|resets?|available|allowed|back)\b[^.\n]{0,60}?\b(?:in|after|for|within)\b:?\s+"
    r"|wait\s+|(?:cool-?down|estimated[ _]time|eta)\b\W{1,4})"
    r"(?:about |approximately |at least |another )?"
    rf"((?:{_PART}[\s,]*(?:and\s+)?)+|(?:an?|one) (?:second|minute|hour)\b)",
    re.I,
)
_AS_FIELD = re.compile(r"\bretry[-_ ]?after['\"]?\s*[:=]\s*['\"]?(\d+(?:\.\d+)?)(?![\w:-])", re.I)
_MOST = 366 * 86400.0  # what is longer is no wait


def asked_wait(headers: Mapping[str, str], data: object, message: str, *, limited: bool) -> float | None:
    """Seconds that a server asks to wait; None where it does not say.

    :param headers: of the response.
    :param data: the decoded body, or None.
    :param message: the server's words.
    :param limited: whether it is about a limit of requests (429), so that the headers that say when the limit is
        reset count.
    """
    given = {name.lower(): value for name, value in (*_inner_headers(data), *headers.items())}
    for name, value in given.items():
        if name.endswith("retry-after-ms") and (found := _number(value)) is not None:
            return found / 1000
    told = (_moment(value) for name, value in given.items() if name.endswith(("retry-after", "retry-after-seconds")))
    for wait in (next(filter(_is_told, told), None), _of_data(data), _of_words(message)):
        if wait is not None:
            return wait
    return _of_resets(given) if limited else None


def _is_told(wait: float | None) -> bool:
    return wait is not None


def _inner_headers(data: object) -> list[tuple[str, str]]:
    """Headers of the provider that a gateway (OpenRouter) quotes in the body."""
    found = (each.get("headers") for each in _objects(data))
    return [(str(name), str(value)) for each in found if isinstance(each, Mapping) for name, value in each.items()]


def _of_data(data: object) -> float | None:
    """``retryDelay`` of Google's RetryInfo, or a field such as ``retry_after``."""
    for each in _objects(data):
        for name, value in each.items():
            word = str(name).lower().replace("_", "").replace("-", "")
            told = _plain(value.get("seconds") if isinstance(value, Mapping) else value)
            if word in _WAITS and (wait := _moment(told)) is not None:
                return wait
            if word in ("retryafterms", "retrydelayms") and (milliseconds := _number(told)) is not None:
                return milliseconds / 1000
    return None


_WAITS = ("retrydelay", "retryafter", "retryafterseconds", "retryin", "waitseconds", "estimatedtime")


def _plain(value: object) -> str | None:
    return str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None


def _objects(data: object, depth: int = 6) -> Iterator[Mapping[str, Any]]:
    """Every object in an error's data, the outer first; not deeper than errors are."""
    if isinstance(data, Mapping):
        yield data
    inner = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    for each in inner if depth else ():
        yield from _objects(each, depth - 1)


def _of_words(message: str) -> float | None:
    """Of a message such as "Please try again in 48.5s", "retry after 2m59s", "wait for 20 seconds"."""
    found = _IN_WORDS.search(message[:4000])
    if found is None:
        field = _AS_FIELD.search(message[:4000])
        return None if field is None else _moment(field[1])
    return _duration(re.sub(r"(?i)^(?:an?|one)\b", "1", found[1]))


def _of_resets(headers: Mapping[str, str]) -> float | None:
    """When the limit that is used up is reset: the longest of the kinds of which nothing remains.

    A kind of which something remains does not count; where no kind says what remains, the shortest counts.
    """
    spent: list[float] = []
    unknown: list[float] = []
    for name, value in headers.items():
        if "reset" not in name or "ratelimit" not in name.replace("rate-limit", "ratelimit"):
            continue
        wait = _moment(value)
        left = _number(headers.get(name.replace("reset-after", "reset").replace("reset", "remaining")))
        if wait is not None and left in (None, 0.0):
            (unknown if left is None else spent).append(wait)
    window = re.search(r"\b(?:t|reset)=(\d+)", headers.get("ratelimit", ""))
    if window is not None and re.search(r"\b(?:r|remaining)=0\b", headers["ratelimit"]):
        spent.append(float(window[1]))
    return max(spent) if spent else min(unknown, default=None)


def _moment(value: str | None) -> float | None:
    """Seconds from now: a number, a duration, seconds or milliseconds of the epoch, or a date."""
    if value is None:
        return None
    number = _number(re.sub(r"^([\d.]+),.*", r"\1", value))  # a proxy may have joined two headers
    if number is not None:
        if number > 1e11:
            number /= 1000
        wait = number - time.time() if number > 1e9 else number
        return max(0.0, wait) if wait < _MOST else None
    seconds = _duration(value)
    return _until(value) if seconds is None else seconds


def _duration(value: str) -> float | None:
    if _DURATION.fullmatch(value) is None:
        return None
    parts = re.findall(_PART, value, re.I)
    seconds = sum(
        float(number) * _UNITS["ms" if unit.lower().startswith(("ms", "milli")) else unit[0].lower()]
        for number, unit in parts
    )
    return seconds if seconds < _MOST else None


def _until(value: str) -> float | None:
    try:
        date = datetime.fromisoformat(value) if value[:4].isdigit() else parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) and number >= 0 else None
