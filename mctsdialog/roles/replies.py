"""Reading what models reply: JSON that may be fenced, noisy or cut, and utterances with a model's habits around."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import json_repair

from mctsdialog.dialogue import Domain, StrategySet
from mctsdialog.errors import shown
from mctsdialog.roles.checks import checked_judgement, checked_scores, checked_text
from mctsdialog.roles.prompts import END_TOKEN

_SENTENCE_END = re.compile("[.!?\u2026][\"'\u201d\u2019)]*(?=\\s|$)")
_MOST_REPAIRED = 1500  # characters: the repair takes time with the square of their number
_MOST_OPENED = 50  # objects and lists
_MOST_LABEL = 500  # characters before an utterance that may be labels
_WHOLE_NUMBER = re.compile(r"\s*(\d{1,3})(?:\.0+)?\s*")


def parse_scores(text: str, strategies: StrategySet) -> dict[str, float]:
    """A strategist's reply: a whole number from 0 to 10 for every strategy of the set.

    :raises ValueError: saying what is wrong, in words that a model can act on.
    """
    scores = checked_scores(_whole_numbers(_object(text, strategies.names)), strategies)
    missing = [name for name in strategies.names if name not in scores]
    if missing:
        raise ValueError(f"there is no rating for {', '.join(missing)}")
    return scores


def parse_judgement(text: str, domain: Domain) -> dict[str, float]:
    """A judge's reply: a whole number for every criterion of the rubric.

    :raises ValueError: saying what is wrong, in words that a model can act on.
    """
    scores = checked_judgement(_whole_numbers(_object(text, domain.criteria)), domain)
    return dict(zip(domain.criteria, scores, strict=True))


def parse_utterance(text: str, names: Iterable[str], *, cut: bool = False) -> str:
    """An utterance without what models put around it: a speaker's name, quotation marks, the other side's turn.

    :param names: the speakers' names and the strategy's, as they may stand in front.
    :param cut: whether a length limit cut the reply; it is then taken up to its last whole sentence.
    :raises ValueError: where nothing is left.
    """
    before, other_turn = _label_patterns(tuple(names))
    label = before.match(text, 0, _MOST_LABEL)
    clean = other_turn.split(text[label.end() :] if label else text, maxsplit=1)[0].strip()
    if len(clean) > 1 and (clean[0], clean[-1]) in {('"', '"'), ("“", "”")} and '"' not in clean[1:-1]:
        clean = clean[1:-1]
    if cut:
        ends = [match.end() for match in _SENTENCE_END.finditer(clean)]
        if not ends:
            raise ValueError("the reply is too long; say it in one or two short sentences")
        clean = clean[: ends[-1]]
    return checked_text(clean)


@lru_cache(maxsize=64)
def _label_patterns(names: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What stands before an utterance, and what begins another's.

    What was matched is never matched in another way: a reply of many labels without a colon would take for ever.
    """
    labels = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    label = rf"[\[(*]*+(?:{labels})[\])*]*+\s*+"
    before = rf"\s*+(?:(?:{label})++:\**+\s*+|[\[(](?:{labels})[\])]:?\s*+)++"
    return re.compile(before, re.IGNORECASE), re.compile(rf"\n[^\S\n]*+(?:{label}){{1,8}}+:", re.IGNORECASE)


def is_end(text: str) -> bool:
    """Whether a seeker's reply ends the dialogue."""
    return END_TOKEN in "".join(text.split()).casefold()


def _object(text: str, keys: Iterable[str]) -> Mapping[Any, Any]:
    """The JSON object in a reply, itself or one level inside another."""
    found = parse_object(text)
    candidates: list[Any] = [found, *(found if isinstance(found, list) else [])]
    for candidate in list(candidates):
        if isinstance(candidate, Mapping):
            candidates.extend(candidate.values())
    wanted = {key.casefold() for key in keys}
    for candidate in candidates:
        if isinstance(candidate, Mapping) and any(str(key).strip().casefold() in wanted for key in candidate):
            return candidate
    raise ValueError("the reply has no JSON object with the keys that were asked for")


def parse_object(text: str) -> Any:
    """The first JSON object in a reply: as it stands where it is sound, else repaired where it is short.

    What stands before it is cut off, because the repair would take a ``#`` there for a comment.

    :raises ValueError: where there is none; it takes no longer for a reply that was made to be hard to read.
    """
    start = max(text.find("{"), 0)
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except (RecursionError, ValueError):
        pass
    if len(text) - start > _MOST_REPAIRED or text.count("{") + text.count("[") > _MOST_OPENED:
        raise ValueError("the reply is not JSON, and too long to be repaired")
    try:
        return json_repair.loads(text[start:])
    except (RecursionError, ValueError, LookupError) as error:  # some versions index beyond the end
        raise ValueError("the reply is not JSON") from error


def _whole_numbers(scores: Mapping[Any, Any]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for key, value in scores.items():
        plain = isinstance(value, int | float | str) and not isinstance(value, bool)
        match = _WHOLE_NUMBER.fullmatch(str(value)) if plain else None
        if match is None:
            raise ValueError(f"the value of {shown(key)} must be a whole number, not {shown(value)}")
        numbers[str(key)] = int(match[1])
    return numbers
