"""Exit codes, and how errors leave the command."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from mctsdialog._text import visible_line
from mctsdialog.cli.terminal import echo
from mctsdialog.errors import (
    MctsDialogError,
    ModelAccountError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
    ReplyError,
    TooManyFailuresError,
)

OK = 0
FAILED = 1
BAD_INPUT = 2
BUDGET_SPENT = 3
INTERRUPTED = 130

EPILOG = """\b
Exit codes:
  0    done
  1    a model, a role or the disk failed
  2    wrong usage or bad input
  3    a budget was spent; the same command goes on, with a new budget
  130  interrupted; the same command goes on
"""


class Failure(click.ClickException):
    """One clear line on standard error and an exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Ctrl-C ends the command with a message and 130; so does SIGTERM, which schedulers send before they kill."""
    with _sigterm_as_ctrl_c():
        try:
            yield
        except KeyboardInterrupt:
            echo(f"\n{message}", err=True)
            sys.exit(INTERRUPTED)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    def on_sigterm(_: int, frame: FrameType | None) -> None:
        on_ctrl_c = signal.getsignal(signal.SIGINT)  # the event loop's own, while one runs
        if not callable(on_ctrl_c):
            raise KeyboardInterrupt
        on_ctrl_c(signal.SIGINT, frame)

    if threading.current_thread() is not threading.main_thread():  # where none can be heard
        yield
        return
    before = signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


_OF_SERVERS = (ModelRequestError, ModelAccountError, ModelResponseError, ModelUnavailableError, ReplyError)
_DOCTOR = "mctsdialog doctor --model ... shows what the server takes and what the model replies"


def doctor_hint(*errors: str) -> str:
    """The command to look with after errors of servers and of what models reply; "" where there is none among them.

    :param errors: as reports have them, ``Class: message``.
    """
    names = {kind.__name__ for kind in _OF_SERVERS}
    return _DOCTOR if any(error.partition(":")[0] in names for error in errors) else ""


@contextmanager
def errors_as_exits() -> Iterator[None]:
    """Errors of the package and of the disk as one line each: bad input exits with 2, what failed with 1.

    After one of a server comes a line that names the command to look with.
    """
    try:
        yield
    except MctsDialogError as error:
        code = BAD_INPUT if isinstance(error, ValueError) else FAILED  # ConfigError and DataError are ValueErrors
        kind = error.last if isinstance(error, TooManyFailuresError) else type(error).__name__
        raise Failure("\n".join(filter(None, [visible_line(str(error)), doctor_hint(kind)])), code) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise Failure(f"{place}{error.strerror or error}") from error
