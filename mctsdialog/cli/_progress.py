"""Progress of long work: a live display in a terminal, plain lines elsewhere; both on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from mctsdialog.text import one_line, visible
from mctsdialog.tree import Tree

_BEST_PATH_EVERY = 2.0  # seconds; it reads the whole tree
_SHOWN = 6  # items under way that have a line


class LiveProgress:
    """Shows all items, those that are worked on, and what all of them cost so far.

    :param what: what the items are ("dialogues").
    :param total: how many there are; None where that is not known.
    :param cost: what was spent so far, in a line.
    """

    def __init__(self, what: str, total: int | None, cost: Callable[[], str]) -> None:
        self._what, self._total, self.cost = what, total, cost
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
        self._shown: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        self._all = self._progress.add_task(self._what, total=self._total, numbers="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, name: str, completed: int, total: int, numbers: str = "") -> None:
        """So many steps of an item are done. The first few items that are under way at once have a line each."""
        if not self.live:
            return
        if name not in self._shown and len(self._shown) < _SHOWN:
            self._shown[name] = self._progress.add_task(one_line(name)[:40], total=total, numbers="")
        if name in self._shown:
            self._progress.update(self._shown[name], completed=completed, total=total, numbers=numbers)

    def overall(self, *, completed: int | None = None, total: int | None = None, numbers: str = "") -> None:
        """How many items are done, and what all of it has cost so far."""
        if self._all is not None:
            shown = f"{numbers}  {self.cost()}" if numbers else self.cost()
            self._progress.update(self._all, completed=completed, total=total, numbers=shown)

    def done(self, name: str, line: str) -> None:
        """An item is done, or failed: keep one line about it."""
        if name in self._shown:
            self._progress.remove_task(self._shown.pop(name))
        if self._all is not None:
            self._progress.update(self._all, advance=1, numbers=self.cost())
        self.note(f"{one_line(name)}: {line}")

    def note(self, line: str) -> None:
        """Keep a line above the display."""
        self._progress.console.print(Text(visible(line)), soft_wrap=True)


class TreeProgress:
    """Searches in a live display: nodes, ends, and from time to time the best path."""

    def __init__(self, progress: LiveProgress) -> None:
        self._progress = progress
        self._best: dict[str, tuple[float, str]] = {}

    def update(self, name: str, tree: Tree) -> None:
        """An iteration is done."""
        if not self._progress.live:
            return
        at, shown = self._best.get(name, (0.0, ""))
        if time.monotonic() - at >= _BEST_PATH_EVERY:
            best = tree.best_path()
            shown = f"  best {best.value:+.2f}" if best else ""
            self._best[name] = (time.monotonic(), shown)
        numbers = f"{len(tree)} nodes  {tree.ends} ends{shown}"
        self._progress.update(name, tree.iterations, tree.config["max_iterations"], numbers)

    def drop(self, name: str) -> None:
        """A search has ended."""
        self._best.pop(name, None)
