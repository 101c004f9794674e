"""A file of JSON lines to append to: a line that was acknowledged outlasts a kill of the process, and a power cut."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from mctsdialog.errors import DataError
from mctsdialog.files import check_regular, lock_file, sync_folder

_OPTIONAL: Final = ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY")  # not every system has them all
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | sum(getattr(os, name, 0) for name in _OPTIONAL)


class LineFile:
    """Lines that one process at a time appends to.

    :param path: made where it is absent. A last line without an end, which a killed process left, is not among
        ``lines``, and the first line that is appended takes its place.
    :raises DataError: where another process has it, or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._descriptor = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, _FLAGS, 0o666)
            check_regular(self._descriptor, path)
            if not _locked(self._descriptor):
                raise DataError("is open in another studio; close that one, or name another file", file=path)
            with os.fdopen(os.dup(self._descriptor), "rb") as file:
                file.seek(0)
                self.lines = file.readlines()
            if self.lines and not self.lines[-1].endswith(b"\n"):
                self.lines.pop()
            self._size = sum(map(len, self.lines))
            sync_folder(path.parent)
        except OSError as error:
            self.close()
            raise DataError(f"cannot be opened: {error.strerror or error}", file=path) from error
        except BaseException:
            self.close()
            raise

    def append(self, line: str) -> None:
        """Write a line and bring it to the disk.

        :raises OSError: where that fails; nothing of the line is left then.
        """
        data = line.encode()
        with self._lock:
            try:
                os.ftruncate(self._descriptor, self._size)
                view = memoryview(data)
                while view:
                    view = view[os.write(self._descriptor, view) :]
                os.fsync(self._descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                raise
            self._size += len(data)

    def close(self) -> None:
        """Close the file, for another process to have it. Calling it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _locked(descriptor: int) -> bool:
    try:
        return lock_file(descriptor)
    except OSError:  # a file system without locks
        return True
