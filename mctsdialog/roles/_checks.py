"""What a role may answer. A wrong answer raises; it never becomes a score or a turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mctsdialog.dialogue import Domain, StrategySet
from mctsdialog.errors import shown

MAX_STRATEGY_SCORE = 10.0


def checked_text(text: object) -> str:
    """``text`` without surrounding white space.

    :raises ValueError: for anything but text, and for blank text.
    """
    if not isinstance(text, str):
        raise ValueError(f"the reply must be text, not {type(text).__name__}")
    clean = text.strip()
    if not clean:
        raise ValueError("the reply is empty")
    if not clean.isascii():  # a lone surrogate cannot be written to any file
        clean = clean.encode("utf-8", "replace").decode("utf-8")
    return clean


def checked_scores(scores: object, strategies: StrategySet) -> dict[str, float]:
    """Strategy scores by the set's own names, in the set's order.

    Strategies may be left out, but not all of them.

    :raises ValueError: for an unknown or repeated name, or a score that is not a number from 0 to 10.
    """
    found: dict[str, float] = {}
    for name, score in _numbers(scores, MAX_STRATEGY_SCORE):
        resolved = strategies.resolve(name)
        if resolved is None:
            raise ValueError(f"there is no strategy {shown(name)}; there are {', '.join(strategies.names)}")
        if resolved in found:
            raise ValueError(f"strategy {resolved!r} is scored twice")
        found[resolved] = score
    if not found:
        raise ValueError("no strategy is scored")
    return {name: found[name] for name in strategies.names if name in found}


def checked_judgement(scores: object, domain: Domain) -> tuple[float, ...]:
    """Judge scores in the order of the domain's criteria.

    :raises ValueError: for a missing or unknown criterion, or a score that is not a number from 0 to the best.
    """
    given = {name.strip().casefold(): score for name, score in _numbers(scores, domain.max_score)}
    wanted = [name.casefold() for name in domain.criteria]
    if given.keys() != set(wanted):
        missing = [name for name in wanted if name not in given]
        unknown = sorted(given.keys() - set(wanted))
        raise ValueError(f"criteria missing: {missing or 'none'}; unknown: {shown(unknown) if unknown else 'none'}")
    return tuple(given[name] for name in wanted)


def _numbers(scores: object, best: float) -> Iterator[tuple[str, float]]:
    if not isinstance(scores, Mapping):
        raise ValueError(f"the scores must be a mapping, not {type(scores).__name__}")
    for name, score in scores.items():
        if not isinstance(name, str):
            raise ValueError(f"the key {shown(name)} must be text")
        number = isinstance(score, (int, float)) and not isinstance(score, bool)  # faster
        if not number and getattr(score, "ndim", None) == 0 and hasattr(score, "item"):
            score = score.item()  # noqa: PLW2901  # a number of NumPy or torch
            number = isinstance(score, (int, float)) and not isinstance(score, bool)
        if not (number and 0 <= score <= best):  # what is not finite does not lie there
            raise ValueError(f"the score of {shown(name)} must be a number from 0 to {best:g}, not {shown(score)}")
        yield name, float(score)
