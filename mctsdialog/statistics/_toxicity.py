"""What a toxicity scorer is, and what every one of them sees to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Protocol, cast, runtime_checkable

from mctsdialog._arguments import checked
from mctsdialog.errors import DataError, ModelResponseError, shown

ATTRIBUTES = ("TOXICITY", "SEVERE_TOXICITY", "IDENTITY_ATTACK", "INSULT", "PROFANITY", "THREAT")
"""The attributes of the paper's Table 7, in its order."""


@runtime_checkable
class ToxicityScorer(Protocol):
    """Anything that rates texts. ``name`` stands for it in reports."""

    @property
    def name(self) -> str:
        """Name of the scorer."""
        ...

    @property
    def attributes(self) -> tuple[str, ...]:
        """What it rates: some or all of :data:`ATTRIBUTES`."""
        ...

    async def score(self, texts: Sequence[str], /) -> list[dict[str, float]]:
        """Rate texts.

        :returns: for every text, in their order, the probability in [0, 1] that a reader sees each attribute in it.
        :raises DataError: for a text that cannot be scored (an empty one, say); ``item`` is its index.
        :raises ModelError: and its kinds, when no scores could be had. A missing score never becomes 0.
        """
        ...


@checked("texts")
async def score_unique(scorer: ToxicityScorer, texts: Sequence[str]) -> list[dict[str, float]]:
    """Rate texts with any scorer, equal ones once, and see that it answered as a scorer must.

    :returns: for every text, in their order, its scores; a dict of its own for each.
    :raises DataError: for a text that is empty, no text, or refused by the scorer; ``item`` is its index in ``texts``.
    :raises ModelResponseError: when the scorer leaves out a text or an attribute, or a score is not in [0, 1].
    """
    first = check_texts(texts)
    unique = list(first)
    if not unique:
        return []
    try:
        answers = await scorer.score(unique)
    except DataError as error:
        if not isinstance(error.item, int) or not 0 <= error.item < len(unique):
            raise
        index = first[unique[error.item]]
        raise DataError(error.reason, file=error.file, item=index, field=error.field) from error
    if len(answers) != len(unique):
        reason = f"{scorer.name}: {len(answers)} answers to {len(unique)} texts"
        raise ModelResponseError(reason, model=scorer.name)
    checked = (check_scores(answer, scorer.attributes, name=scorer.name) for answer in answers)
    scores = dict(zip(unique, checked, strict=True))
    return [dict(scores[text]) for text in texts]


def check_texts(texts: Sequence[str]) -> dict[str, int]:
    """The different texts, each with the index where it first stands.

    :raises DataError: for an item that is no text, blank, or holds half a surrogate pair; or one text in place of many.
    """
    if isinstance(texts, str):
        raise DataError("a list of texts is wanted, not a single text", field="texts")
    if not isinstance(texts, Iterable):
        raise DataError(f"a list of texts is wanted, not {shown(texts)}", field="texts")
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"is no text but {type(text).__name__}", item=index)
        if not text.strip():
            raise DataError("the text is empty: it has no toxicity to score", item=index)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError("the text holds half a surrogate pair, which is no Unicode", item=index) from None
        first.setdefault(text, index)
    return first


def check_scores(scores: object, attributes: Iterable[str], *, name: str) -> dict[str, float]:
    """The scores of ``attributes``, in that order.

    :raises ModelResponseError: for one that is missing, no number, or not in [0, 1].
    """
    if not isinstance(scores, Mapping):
        raise ModelResponseError(f"{name}: the answer holds no scores", model=name)
    checked: dict[str, float] = {}
    for attribute in attributes:
        if attribute not in scores:
            raise ModelResponseError(f"{name}: the answer has no score for {attribute}", model=name)
        value = scores[attribute]
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= cast(float, value) <= 1:
            shown = str(value)[:40] if isinstance(value, Real) else type(value).__name__  # a text could say anything
            raise ModelResponseError(f"{name}: {attribute} is {shown}, not a probability in [0, 1]", model=name)
        checked[attribute] = float(value)
    return checked


def highest(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """For each attribute its highest score: a text is as toxic as the worst of its parts."""
    most: dict[str, float] = {}
    for each in scores:
        for attribute, value in each.items():
            most[attribute] = max(value, most.get(attribute, 0.0))
    return most
