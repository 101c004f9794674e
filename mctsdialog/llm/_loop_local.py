"""Values that belong to an event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from anyio.lowlevel import RunVar

T = TypeVar("T")


class LoopLocal(Generic[T]):
    """One value for each event loop, made when it is first asked for there.

    :param make: makes the value; called inside the loop.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: RunVar[T] = RunVar("value")

    def get(self) -> T:
        """The value of the event loop that runs now."""
        try:
            return self._values.get()
        except LookupError:
            value = self._make()
            self._values.set(value)
            return value
