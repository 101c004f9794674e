"""Progress on standard error, in a terminal; elsewhere neither our bars nor the libraries'."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mctsdialog.text import visible_line

_NAME = 20  # columns of what is counted, so that the line fits into 60


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for as long as the block runs.

    :param what: what is counted.
    :returns: a function to call with (done, all).
    """
    console = Console(stderr=True)
    columns = (BarColumn(bar_width=14), MofNCompleteColumn(), TimeRemainingColumn(elapsed_when_finished=True))
    text = TextColumn("{task.description}", markup=False)
    with Progress(text, *columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(_shortened(visible_line(what)), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """In a log or a notebook, no bars of transformers and datasets; nowhere their warnings of names to come."""
    import datasets  # noqa: PLC0415  # heavy
    from transformers.utils import logging  # noqa: PLC0415  # heavy

    quiet = not sys.stderr.isatty()
    of_transformers = quiet and logging.is_progress_bar_enabled()
    of_datasets = quiet and not datasets.are_progress_bars_disabled()
    if of_transformers:
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if of_datasets:
        datasets.disable_progress_bars()
    # Where GGUF was read before, `import transformers.modeling_...` binds no attribute of the lazy module.
    gguf: Any = import_module("transformers.modeling_gguf_pytorch_utils")
    bar = getattr(gguf, "tqdm", None)  # its own, which no switch of transformers reaches
    if quiet and bar is not None:
        gguf.tqdm = partial(bar, disable=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if bar is not None:
            gguf.tqdm = bar
        if of_transformers:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        if of_datasets:
            datasets.enable_progress_bars()
