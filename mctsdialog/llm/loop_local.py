"""Values that belong to an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from anyio.lowlevel import RunVar
from sniffio import thread_local

T = TypeVar("T")


class LoopLocal(Generic[T]):
    """One value for each event loop, made when it is first asked for there.

    It is an anyio run variable that remembers what it gave last, as it is asked several times in every model call.

    :param make: makes the value; called inside the loop.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: RunVar[T] = RunVar("value")
        self._last: tuple[asyncio.AbstractEventLoop, T] | None = None

    def get(self) -> T:
        """The value of the event loop that runs now."""
        loop = None if thread_local.name is not None else asyncio._get_running_loop()  # trio's may run inside asyncio's
        last = self._last
        if last is not None and last[0] is loop:
            return last[1]
        try:
            value = self._values.get()
        except LookupError:
            value = self._make()
            self._values.set(value)
        self._last = None if loop is None else (loop, value)
        return value
