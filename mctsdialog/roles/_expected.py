"""Expected scores: what a judge would give on average, by the probabilities of the digits that it wrote."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from mctsdialog.llm import TokenLogprobs

# A JSON string and, where it is a key with a number of one digit, that digit. Strings are read one after another, so
# that nothing inside a string is taken for a key.
_VALUES = re.compile(r'("(?:[^"\\]|\\.)*")(?:\s*:\s*"?\s*([0-9])(?![0-9]))?', re.DOTALL)
_DIGIT = re.compile(r"([^0-9]*)([0-9])([^0-9]*)", re.DOTALL)
_AFTER = frozenset(' \t\r\n",}]')  # what may follow a digit in its token; a point would begin a fraction


def expected_scores(
    tokens: Sequence[TokenLogprobs], said: str, scores: Mapping[str, float], best: int
) -> dict[str, float]:
    """The expectation of each score over the digits from 0 to ``best``, by their probabilities at its place.

    :param tokens: of the whole reply.
    :param said: the part of it that holds the scores.
    :param scores: as they were read out of ``said``.
    :raises ValueError: if the place of a score cannot be told.
    """
    start = "".join(token.text for token in tokens).rfind(said)
    if start < 0:
        raise ValueError("the log-probabilities belong to another text than the reply")
    ends = list(accumulate(len(token.text) for token in tokens))
    places: dict[str, list[tuple[int, str]]] = {}
    for name, place, digit in _digits(said):
        places.setdefault(name, []).append((start + place, digit))
    expected = {}
    for name, score in scores.items():
        found = places.get(name.strip().casefold(), [])
        if len(found) != 1 or int(found[0][1]) != score:
            raise ValueError(f"the place of the score for {name!r} cannot be told; reply with plain JSON alone")
        place = found[0][0]
        expected[name] = _expectation(tokens[bisect_right(ends, place)], name, best)
    return expected


def _digits(said: str) -> Iterator[tuple[str, int, str]]:
    """(key, place, digit) of every key in the text that has a number of one digit."""
    for found in _VALUES.finditer(said):
        if found[2] is None:
            continue
        try:
            key = json.loads(found[1])
        except ValueError:
            continue
        yield key.strip().casefold(), found.start(2), found[2]


def _expectation(token: TokenLogprobs, name: str, best: int) -> float:
    written = _DIGIT.fullmatch(token.text)
    if written is None:
        raise ValueError(f"the score for {name!r} shares its token with another number")
    found = [(int(written[2]), token.logprob)]
    for text, logprob in dict(token.top).items():
        other = _DIGIT.fullmatch(text)
        if text == token.text or other is None or _before(other) != _before(written):
            continue
        if int(other[2]) <= best and _AFTER.issuperset(other[3]):
            found.append((int(other[2]), logprob))
    likeliest = max(logprob for _, logprob in found)
    chances = [(digit, math.exp(logprob - likeliest)) for digit, logprob in found]
    total = math.fsum(chance for _, chance in chances)
    return min(float(best), math.fsum(digit * chance for digit, chance in chances) / total)


def _before(token: re.Match[str]) -> str:
    """What stands before the digit, without spaces and quotation marks, which change nothing."""
    return "".join(token[1].split()).replace('"', "")
