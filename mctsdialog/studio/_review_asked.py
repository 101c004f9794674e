"""What the page of the review sends; nothing in it is trusted."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from mctsdialog.preferences._reviews import MAX_TEXT

Shown: TypeAlias = Literal["open", "mine", "flagged", "disagreed"]
Answer: TypeAlias = Literal["left", "right", "tie", "reject", "flag"]


class _Asked(BaseModel):
    """What every request says."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    reviewer: str = Field(min_length=1, max_length=60, pattern=r"\S")


class Filters(BaseModel):
    """Which pairs a reviewer wants to see.

    :param shown: those that are still to be reviewed, that the reviewer has decided, that somebody flagged, or that
        reviewers disagree about.
    :param strategy: of one of the two replies; None for any.
    :param confidence: least and most; pairs without one are left out where one of the two is given.
    :param margin: least and most difference of Q, likewise.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    shown: Shown = "open"
    strategy: str | None = Field(default=None, max_length=200)
    confidence: tuple[float | None, float | None] = (None, None)
    margin: tuple[float | None, float | None] = (None, None)


class QueueAsked(_Asked):
    """A page wants pairs.

    :param have: keys of those that it holds already, and of those whose decision is still on its way.
    :param count: how many it wants.
    :param after: index of the last pair that it was given; the search goes on from there, and round.
    """

    filters: Filters = Filters()
    have: list[str] = Field(default_factory=list, max_length=500)
    count: int = Field(default=3, ge=0, le=10)
    after: int = Field(default=-1, ge=-1)
    blind: bool = False


class Decided(_Asked):
    """A reviewer has decided about a pair.

    :param left: the left reply as edited; None where it is left as it was. And ``right``.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    answer: Answer
    reason: str | None = Field(default=None, max_length=MAX_TEXT)
    left: str | None = Field(default=None, max_length=MAX_TEXT)
    right: str | None = Field(default=None, max_length=MAX_TEXT)
    blind: bool = False
    seconds: float | None = Field(default=None, ge=0, le=1e7)


class UndoAsked(_Asked):
    """A reviewer takes the last decision back."""

    id: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    blind: bool = False
