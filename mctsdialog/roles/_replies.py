"""Reading what models reply: scores out of JSON, and utterances without a model's habits around them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mctsdialog.dialogue import Domain, StrategySet
from mctsdialog.errors import shown
from mctsdialog.roles._checks import checked_judgement, checked_scores, checked_text
from mctsdialog.roles._objects import last_object
from mctsdialog.roles._utterance import Labels, has_end_token, read_utterance

__all__ = ["is_end", "last_object", "parse_judgement", "parse_scores", "parse_utterance", "read_utterance"]

_WHOLE_NUMBER = re.compile(r"\s*(\d{1,3})(?:\.0*)?\s*")
_NUMBER_LIKE = re.compile(r"\s*[-+~]?\d")


def parse_scores(text: str, strategies: StrategySet) -> dict[str, float]:
    """A strategist's reply: a whole number from 0 to 10 for every strategy of the set.

    :raises ValueError: saying what is wrong, in words that a model can act on.
    """
    scores = checked_scores(_whole_numbers(last_object(text, strategies.names, _is_score)), strategies)
    missing = [name for name in strategies.names if name not in scores]
    if missing:
        raise ValueError(f"there is no rating for {', '.join(missing)}")
    return scores


def parse_judgement(text: str, domain: Domain) -> dict[str, float]:
    """A judge's reply: a whole number for every criterion of the rubric.

    :raises ValueError: saying what is wrong, in words that a model can act on.
    """
    scores = checked_judgement(_whole_numbers(last_object(text, domain.criteria, _is_score)), domain)
    return dict(zip(domain.criteria, scores, strict=True))


def parse_utterance(text: str, names: Iterable[str], *, cut: bool = False) -> str:
    """An utterance without what models put around it.

    :param names: names of either side and of strategies, as they may stand in front.
    :param cut: whether a length limit cut the reply; it is then taken up to its last whole sentence.
    :raises ValueError: if nothing is left.
    """
    names = tuple(names)
    return checked_text(read_utterance(text, Labels(own=names, other=names), cut=cut).text)


def is_end(text: str) -> bool:
    """Whether a seeker's reply ends the dialogue."""
    return has_end_token(text)


def _is_score(value: Any) -> bool:
    """Whether a value is meant as a score, in whatever form."""
    return type(value) is int or (_is_plain(value) and _NUMBER_LIKE.match(str(value)) is not None)


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _whole_numbers(scores: Mapping[str, Any]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for key, value in scores.items():
        if type(value) is int and 0 <= value < 1000:  # as nearly always
            numbers[key] = value
            continue
        plain = isinstance(value, int | float | str) and not isinstance(value, bool)
        match = _WHOLE_NUMBER.fullmatch(str(value)) if plain else None
        if match is None:
            raise ValueError(f"the value of {shown(key)} must be a whole number, not {shown(value)}")
        numbers[key] = int(match[1])
    return numbers
