"""Writing files so that a reader never sees half of one, and only one process writes at a time."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not on Windows, where a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_LONGEST_NAME = 200  # bytes of the name that a temporary name holds; with what stands around it, below 255
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?:[0-9a-f]{16}|[a-z0-9_]{8})\.tmp", re.DOTALL)  # the latter of version 0.1


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A new file to write piece by piece; it takes the place of ``path`` when the block is left without an error.

    A crash or a power cut leaves the old file or the new one, never a part. Missing folders are made. A symbolic link
    at ``path`` is replaced, not followed. The new file has the mode that the system gives new files.

    :raises OSError: when the file cannot be written; nothing is left behind then.
    """
    target = Path(path)
    if not target.name:
        raise IsADirectoryError(errno.EISDIR, "this is a folder, not the name of a file", str(path))
    _make_folder(target.parent)
    temporary, descriptor = _open_temporary(target)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                temporary.replace(target)  # while it is locked: a sweep would take it for a leftover
        if fcntl is None:
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_atomically(path: str | Path, content: str | bytes) -> Path:
    """Write ``content`` to ``path`` in one step, as :func:`atomic_file` does. Text is written as UTF-8.

    :raises OSError: when the file cannot be written; nothing is left behind then.
    """
    with atomic_file(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
    return Path(path)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can do that."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder to write into, but not to list
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such call
            raise
    finally:
        os.close(descriptor)


def sync_files(folder: Path) -> None:
    """Bring all files below a folder to the disk, as they were written by somebody else.

    :raises OSError: if that fails.
    """
    if os.name != "posix":
        return
    for place, _, names in os.walk(folder):
        for name in names:
            with (Path(place) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


def sweep(folder: Path, *suffixes: str) -> int:
    """Remove the temporary files that killed writers left in a folder. Files that are being written stay.

    :param suffixes: how the names of the files that are written there end.
    :returns: how many were removed.
    """
    count = 0
    for path in folder.glob(".*.tmp"):
        found = _TEMPORARY.fullmatch(path.name)
        if found is not None and found["name"].endswith(suffixes) and path.is_file() and not path.is_symlink():
            with suppress(OSError):  # it is another user's, or open on Windows
                count += _remove_leftover(path)
    return count


def _remove_leftover(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        free = lock_file(descriptor)
        if free and fcntl is not None:
            path.unlink()
    finally:
        os.close(descriptor)
    if fcntl is None:
        path.unlink()
    return free


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they outlast a power cut."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _open_temporary(target: Path) -> tuple[Path, int]:
    """A new file beside ``target``, locked for as long as it is open."""
    name = target.name.encode("utf-8", "surrogateescape")[:_LONGEST_NAME].decode("utf-8", "ignore")
    while True:
        path = target.with_name(f".{name}.{secrets.token_hex(8)}.tmp")
        with suppress(FileExistsError):
            descriptor = os.open(path, _FLAGS | _BINARY, 0o666)
            if _locked(descriptor):
                return path, descriptor
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Lock a new file; False where a sweep came first."""
    try:
        if not lock_file(descriptor):
            return False
    except OSError:  # a file system without locks, where nothing is swept
        return True
    return os.fstat(descriptor).st_nlink > 0


def lock_file(descriptor: int) -> bool:
    """Take an open file for this process alone, until it is closed; False where another process has it.

    On Windows files are not locked, and this is True.

    :raises OSError: if the file system has no locks.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
