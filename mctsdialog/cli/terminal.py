"""Where text leaves for the terminal or a pipe: what files, models and servers wrote is shown and acts on nothing.

Everything that the commands of both packages print goes through :func:`echo`, or through what :class:`Commands` sets up
for errors, warnings, logs and tracebacks; a test sees to it that nothing else prints.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from mctsdialog.errors import InsecureKeyWarning
from mctsdialog.text import visible

_OF_A_PIPE = 100  # columns


def echo(message: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a message, with characters that a terminal acts on, or that it cannot show, as escapes.

    :param err: to standard error.
    :param nl: end the line.
    """
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    text = visible(str(message)).encode(encoding, "backslashreplace").decode(encoding)
    click.echo(text, err=err, nl=nl)


def show(lines: Iterable[Text]) -> None:
    """Print lines with their colours, where the terminal has any; characters that it acts on are escapes.

    A pipe, and a terminal with NO_COLOR, get no colours.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        for line in lines:
            echo(line.plain)
        return
    for line in lines:
        clean = visible(line.plain)
        console.print(line if clean == line.plain else Text(clean), no_wrap=True, overflow="ignore", crop=False)


def screen() -> tuple[int, bool]:
    """How many columns a line has, and whether the lines of a table can be drawn. A pipe has 100, or COLUMNS."""
    console = Console()
    letters = (console.encoding or "").lower().startswith("utf")
    return (console.width if console.is_terminal else int(os.environ.get("COLUMNS") or _OF_A_PIPE)), letters


def confirm(question: str) -> None:
    """Ask on standard error, and end the command unless the answer is yes."""
    click.confirm(visible(question), abort=True, err=True)


class Commands(click.Group):
    """A group of commands whose errors, warnings, logs and tracebacks are printed as :func:`echo` prints."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the command line."""
        with _clean_errors():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _clean_errors(), _clean_messages():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does: a whole sentence, which says more than the cut one that click writes."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, first_sentence(self.commands[name])) for name in self.list_commands(ctx)])


def first_sentence(command: click.Command) -> str:
    """The first sentence of a command's help."""
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    return re.split(r"(?<=\w)[.;] ", paragraph, maxsplit=1)[0].rstrip(".") + "."


@contextmanager
def _clean_errors() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        message = visible(error.format_message())
        error.format_message = lambda: message  # type: ignore[method-assign]  # click's own quote what was typed
        raise


@contextmanager
def _clean_messages() -> Iterator[None]:
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print_traceback  # for good: it comes after the command
    format_warning, make_record = warnings.formatwarning, logging.getLogRecordFactory()

    def clean_warning(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if category is InsecureKeyWarning:
            return visible(f"Warning: {message}\n")
        return visible(format_warning(message, category, filename, lineno, line))

    warnings.formatwarning = clean_warning
    logging.setLogRecordFactory(_CleanRecord)
    try:
        yield
    finally:
        warnings.formatwarning = format_warning
        logging.setLogRecordFactory(make_record)


class _CleanRecord(logging.LogRecord):
    """A line of a log, whichever handler writes it."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        if self.exc_info and self.exc_info[0] is not None:
            self.exc_text = visible("".join(traceback.format_exception(*self.exc_info)).rstrip())

    def getMessage(self) -> str:  # noqa: N802  # logging's name
        """The message with its arguments."""
        return visible(super().getMessage())


def _print_traceback(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    echo("".join(traceback.format_exception(kind, error, place)), err=True, nl=False)
