"""What a seeker with an inner state is, to searches and to scored conversations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mctsdialog.dialogue import Turn
from mctsdialog.errors import ConfigError


@dataclass(frozen=True, slots=True)
class InnerState:
    """What goes on in a seeker before it speaks.

    :param emotion: how it feels, from 0 (the worst) to 100 (at ease).
    :param need_met: how far its hidden need is met, from 0 to 100.
    :param thought: what it thinks of the supporter's last turn; never part of a turn.
    :raises ConfigError: for a number out of range.
    """

    emotion: float
    need_met: float
    thought: str = ""

    def __post_init__(self) -> None:
        for name in ("emotion", "need_met"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 100):
                raise ConfigError(f"{name} is a number from 0 to 100", field=name)


@dataclass(frozen=True, slots=True)
class Response:
    """What a seeker does after a supporter's turn, or at the beginning.

    :param text: what it says; None if it ends the conversation.
    :param state: its inner state at that moment.
    """

    text: str | None
    state: InnerState


@runtime_checkable
class FeelingSeeker(Protocol):
    """A seeker that also tells its inner state. It is a :class:`~mctsdialog.Seeker`, so searches can use it."""

    async def reply(self, history: Sequence[Turn], /) -> str | None:
        """The next utterance, or None to end the conversation."""
        ...

    async def respond(self, history: Sequence[Turn], states: Sequence[InnerState] = (), /) -> Response:
        """The next utterance with the state behind it.

        :param states: at the seeker's earlier turns, where they are known.
        """
        ...
