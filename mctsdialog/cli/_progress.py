"""Progress of long work: two lines in a terminal, plain lines elsewhere; both on standard error."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mctsdialog.text import one_line, visible

_BETWEEN = "  "
_LEAST_BAR = 10  # columns
_LEAST_SHARE = 0.02  # of all, before the time left is told by it


class LiveProgress:
    """Shows how much is done and how long the rest takes, and below it what was spent so far.

    Neither line is ever longer than the terminal is wide: of the second, what comes last is left out first.

    :param what: what the items are ("trees").
    :param total: how many there are; None if that is not known.
    :param spent: what was spent so far, in parts, the most important first.
    """

    def __init__(self, what: str, total: int | None, spent: Callable[[], Sequence[str]]) -> None:
        self._what, self._total, self._spent = what, total, spent
        self._done = 0
        self._open: dict[str, float] = {}
        self._eta: float | None = None
        self._in_progress: float | None = None
        self._began = time.monotonic()
        self._console = Console(stderr=True)
        self.live = self._console.is_terminal
        self._live = Live(get_renderable=self._lines, console=self._console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self.live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.live:
            self._live.stop()

    def update(self, name: str, completed: int, total: int) -> None:
        """So many steps of an item in progress are done."""
        self._open[name] = min(completed / total, 1.0) if total else 0.0

    def overall(self, *, completed: int, total: int | None, eta: float | None = None, in_progress: float = 0.0) -> None:
        """How many items are done, and the seconds left, where they are known; no other guess is made then.

        :param in_progress: how far the open items are, 0 to 1 each, added up.
        """
        self._done, self._total, self._eta, self._in_progress = completed, total, eta, in_progress

    def done(self, name: str, line: str, *, counted: bool = False) -> None:
        """An item is done, or failed: keep one line about it.

        :param counted: whether :meth:`overall` is told about it.
        """
        self._open.pop(name, None)
        self._done += not counted
        self.note(f"{one_line(name)}: {line}")

    def note(self, line: str) -> None:
        """Keep a line above the display."""
        self._console.print(Text(visible(line)), soft_wrap=not self.live)  # between words, where people read it

    def summary(self) -> str:
        """Both lines as one, for if there is no live display."""
        of = "" if self._total is None else f" of {self._total}"
        return _BETWEEN.join([f"{self._done}{of} {self._what}", *self._time_left(), *self._spent()])

    def _time_left(self) -> list[str]:
        """As it was told, or until an item is done by how far the open ones are."""
        left, share = self._eta, sum(self._open.values()) / (self._total or math.inf)
        if self._in_progress is None and not self._done and share >= _LEAST_SHARE:
            left = (time.monotonic() - self._began) * (1 - share) / share
        return [] if left is None else [f"{timedelta(seconds=round(left))} left"]

    def _lines(self) -> Group:
        """The two lines, as wide as the terminal at the most."""
        width = self._console.width
        counts = f"{self._done}/{'?' if self._total is None else self._total} {self._what}"
        numbers = _fitting([counts, *self._time_left()], width)
        first = Table.grid(padding=(0, 2), expand=False)
        room = width - cell_len(numbers) - len(_BETWEEN)
        if room >= _LEAST_BAR:
            first.add_row(self._bar(min(room, 40)), Text(numbers))
        else:
            first.add_row(Text(numbers))
        return Group(first, Text(_fitting(self._spent(), width), style="dim", no_wrap=True))

    def _bar(self, width: int) -> ProgressBar:
        completed = self._done + (self._in_progress or 0.0) + sum(self._open.values())
        return ProgressBar(total=self._total, completed=completed, width=width, pulse=self._total is None)


def _fitting(parts: Sequence[str], width: int) -> str:
    """As many of the parts, from the first on, as fit into one line."""
    line = ""
    for part in parts:
        longer = f"{line}{_BETWEEN}{one_line(part)}" if line else one_line(part)
        if cell_len(longer) > width:
            break
        line = longer
    return line
