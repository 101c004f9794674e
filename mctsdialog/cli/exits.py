"""Exit codes, and how errors leave the command."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import anyio
import click

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
from mctsdialog.text import visible_line

T = TypeVar("T")

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
  3    a budget was spent; the same command resumes, with a new budget
  130  interrupted; the same command resumes
"""


_PLAIN_EPILOG = """\b
Exit codes:
  0  done
  1  a file could not be written, or nothing was found
  2  wrong usage or bad input
"""


def document_exits(group: click.Group) -> None:
    """Give every command below a group that says no exit codes those of a command that calls no model."""
    for command in group.commands.values():
        if isinstance(command, click.Group):
            document_exits(command)
        elif command.epilog is None:
            command.epilog = _PLAIN_EPILOG


class Failure(click.ClickException):
    """One clear line on standard error and an exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click reads it from the instance


@contextmanager
def interruptible(message: str) -> Iterator[Interrupts]:
    """Ctrl-C ends the command with a message and 130; so does SIGTERM, which schedulers send before they kill.

    What comes while the command cleans up does not disturb it: SIGTERM is ignored, a second Ctrl-C ends it at once.
    """
    heard = Interrupts(message)
    try:
        with heard.sigterm():
            yield heard
    except KeyboardInterrupt:
        heard.ignore()
        echo(f"\n{message}", err=True)
        sys.exit(INTERRUPTED)


class Interrupts:
    """The signals that one command hears.

    :param message: what to say where it is interrupted.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self._on_ctrl_c: Any = signal.default_int_handler
        self._heard = False

    def run(self, main: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run an async function in an event loop of its own, as :func:`anyio.run` does."""

        async def watched() -> T:
            with self._ctrl_c():
                return await main(*arguments)

        return anyio.run(watched)

    @contextmanager
    def sigterm(self) -> Iterator[None]:
        """SIGTERM is taken as Ctrl-C is."""
        if not _can_listen():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._hear)
        try:
            yield
        finally:
            if not self._heard:
                signal.signal(signal.SIGTERM, before)

    @contextmanager
    def _ctrl_c(self) -> Iterator[None]:
        """Ctrl-C goes to the event loop once: a second one would tear its clean-up apart."""
        loops = signal.getsignal(signal.SIGINT)
        if not _can_listen() or not callable(loops):  # in the background a shell has Ctrl-C ignored
            yield
            return
        self._on_ctrl_c = loops
        signal.signal(signal.SIGINT, self._hear)
        try:
            yield
        finally:
            if not self._heard:
                signal.signal(signal.SIGINT, loops)
                self._on_ctrl_c = signal.default_int_handler

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if not self._heard:
            self._heard = True
            self._on_ctrl_c(signal.SIGINT, frame)
        elif number == signal.SIGINT:
            os.write(2, f"\n{self._message}\n".encode())
            os._exit(INTERRUPTED)

    def ignore(self) -> None:
        """Let nothing disturb the end, the interpreter's own included."""
        self._heard = True
        if _can_listen():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)


def _can_listen() -> bool:
    return threading.current_thread() is threading.main_thread()


_OF_SERVERS = (ModelRequestError, ModelAccountError, ModelResponseError, ModelUnavailableError, ReplyError)
_DOCTOR = "mctsdialog doctor --model ... shows what the server takes and what the model replies"


def doctor_hint(*errors: str) -> str:
    """The command to look with after errors of servers and of what models reply; "" if there is none among them.

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
    except BrokenPipeError:  # who read the output has left; click ends the command
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise Failure(f"{place}{error.strerror or error}") from error
