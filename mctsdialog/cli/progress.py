"""Progress of a search: a live display in a terminal, plain lines elsewhere; both on standard error."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from mctsdialog.cli.text import one_line
from mctsdialog.llm import Budget, Meter, ResponseCache
from mctsdialog.search import SearchConfig
from mctsdialog.tree import Tree

_BEST_PATH_EVERY = 2.0  # seconds; it reads the whole tree


class SearchProgress:
    """Shows the dialogue being searched and what all of them cost so far.

    :param total: how many dialogues there are.
    """

    def __init__(
        self, total: int, config: SearchConfig, meter: Meter, cache: ResponseCache | None, budget: Budget
    ) -> None:
        self._total, self._config = total, config
        self._meter, self._cache, self._budget = meter, cache, budget
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._console,
            disable=not self._live,
            transient=True,
        )
        self._all: TaskID | None = None
        self._one: TaskID | None = None
        self._best = ""
        self._best_at = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        self._all = self._progress.add_task("dialogues", total=self._total, numbers="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, name: str) -> None:
        """A dialogue begins."""
        self._best, self._best_at = "", 0.0
        self._one = self._progress.add_task(one_line(name)[:40], total=self._config.max_iterations, numbers="preparing")

    def update(self, tree: Tree) -> None:
        """An iteration is done."""
        if not self._live or self._one is None or self._all is None:
            return
        if time.monotonic() - self._best_at >= _BEST_PATH_EVERY:
            best = tree.best_path()
            self._best = "" if best is None else f"  best {best[1]:+.2f}"
            self._best_at = time.monotonic()
        numbers = f"{len(tree)} nodes  {tree.ends} ends{self._best}"
        self._progress.update(self._one, completed=tree.iterations, numbers=numbers)
        self._progress.update(self._all, numbers=self.cost())

    def done(self, line: str) -> None:
        """A dialogue is done, or failed: keep one line about it."""
        if self._one is not None:
            self._progress.remove_task(self._one)
            self._one = None
        if self._all is not None:
            self._progress.update(self._all, advance=1, numbers=self.cost())
        self.note(line)

    def note(self, line: str) -> None:
        """Keep a line above the display."""
        self._progress.console.print(Text(line), soft_wrap=True)

    def cost(self) -> str:
        """Calls, tokens, cache hits and money so far."""
        usage, spent = self._meter.usage, self._budget.used
        parts = [f"{self._meter.calls} calls", f"{usage.total_tokens} tokens"]
        if self._cache is not None:
            stats = self._cache.stats
            saved = f" ({stats.tokens_saved} tokens saved)" if stats.hits else ""
            parts.append(f"{stats.hits} cache hits{saved}")
        if spent.money:
            parts.append(f"cost {spent.money:.4f}")
        return "  ".join(parts)
