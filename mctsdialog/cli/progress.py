"""Progress of long work: a live display in a terminal, plain lines elsewhere; both on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from mctsdialog.cli.text import one_line
from mctsdialog.tree import Tree

_BEST_PATH_EVERY = 2.0  # seconds; it reads the whole tree


class LiveProgress:
    """Shows all items, the one that is worked on, and what all of them cost so far.

    :param what: what the items are ("dialogues").
    :param total: how many there are.
    :param cost: what was spent so far, in a line.
    """

    def __init__(self, what: str, total: int, cost: Callable[[], str]) -> None:
        self._what, self._total, self._cost = what, total, cost
        self._console = Console(stderr=True)
        self.live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._console,
            disable=not self.live,
            transient=True,
        )
        self._all: TaskID | None = None
        self._one: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        self._all = self._progress.add_task(self._what, total=self._total, numbers="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, name: str, total: int) -> None:
        """An item begins that has so many steps."""
        self._one = self._progress.add_task(one_line(name)[:40], total=total, numbers="preparing")

    def update(self, completed: int, total: int, numbers: str = "") -> None:
        """So many steps of the item are done."""
        if self.live and self._one is not None and self._all is not None:
            self._progress.update(self._one, completed=completed, total=total, numbers=numbers)
            self._progress.update(self._all, numbers=self._cost())

    def done(self, line: str) -> None:
        """The item is done, or failed: keep one line about it."""
        if self._one is not None:
            self._progress.remove_task(self._one)
            self._one = None
        if self._all is not None:
            self._progress.update(self._all, advance=1, numbers=self._cost())
        self.note(line)

    def note(self, line: str) -> None:
        """Keep a line above the display."""
        self._progress.console.print(Text(line), soft_wrap=True)


class TreeProgress:
    """One search in a live display: nodes, ends, and from time to time the best path."""

    def __init__(self, progress: LiveProgress) -> None:
        self._progress = progress
        self._best = ""
        self._best_at = 0.0

    def update(self, tree: Tree) -> None:
        """An iteration is done."""
        if not self._progress.live:
            return
        if time.monotonic() - self._best_at >= _BEST_PATH_EVERY:
            best = tree.best_path()
            self._best = "" if best is None else f"  best {best[1]:+.2f}"
            self._best_at = time.monotonic()
        numbers = f"{len(tree)} nodes  {tree.ends} ends{self._best}"
        self._progress.update(tree.iterations, tree.config["max_iterations"], numbers)
