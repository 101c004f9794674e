"""An append-only log of one run, a line a record, synced, that survives a kill at any byte.

The first line says what the run is; the others hold what was paid for: of a search the opening, the scores at gold
turns and one record a trial ("closed" where a model refused it), of probes one a reply. Reading it rebuilds the very
same tree.
A line is ``{"crc": "xxxxxxxx", "record": ...}``; the CRC-32 is of the record's own bytes.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from mctsdialog.errors import JournalError, JournalMismatchError
from mctsdialog.files import check_regular, lock_file, open_input, parse_json, sync_folder

FORMAT = "mctsdialog.journal"
VERSION = 1

Differences: TypeAlias = dict[str, tuple[object, object]]
"""What a header has and what was expected, by dotted name."""

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # for a device, which is refused once it is open
_SYNC = getattr(os, "fdatasync", os.fsync)
_PREFIX = b'{"crc":"'
_MIDDLE = b'","record":'


def _encode(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return b"%s%08x%s%s}\n" % (_PREFIX, zlib.crc32(body), _MIDDLE, body)


def _decode(line: bytes) -> dict[str, Any] | None:
    """The record of a line, or None where the line is not whole."""
    start = len(_PREFIX) + 8 + len(_MIDDLE)
    body = line[start:-2]
    if not line.endswith(b"}\n") or line != b"%s%08x%s%s}\n" % (_PREFIX, zlib.crc32(body), _MIDDLE, body):
        return None
    try:
        record = parse_json(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class Journal:
    """A journal that is open for appending. Only one process may have it open.

    :param path: the file; made, with its folders, where it is absent.
    :param header: what the run is, JSON values; ``"roles"`` says what is known of its roles.
    :param compare: what differs between a file's header and this one, so that the file is another run's.
    :param what: what the run is, in messages: "search", "arena".
    :raises JournalMismatchError: if anything differs so.
    :raises JournalError: if it cannot be read or written, is open elsewhere, or is damaged before its end.
    """

    def __init__(
        self,
        path: str | Path,
        header: Mapping[str, Any],
        *,
        compare: Callable[[Mapping[str, Any], Mapping[str, Any]], Differences],
        what: str = "search",
    ) -> None:
        self.path, self._what = Path(path), what
        self.roles: Mapping[str, Any] = header.get("roles") or {}
        """What is known of the roles that the journal was begun with."""
        self._header = {"format": FORMAT, "version": VERSION, **header}
        self._differences = compare
        self._descriptor = -1
        self.records: list[dict[str, Any]] = []
        """The records that were there, header aside, until :meth:`drop_records`."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, _FLAGS | _NO_WAIT, 0o666)
            self._syncer = _Syncer(self._descriptor)
            check_regular(self._descriptor, self.path)
            self._lock()
            self._recover()
        except OSError as error:
            self.close()
            raise JournalError(f"cannot be opened: {error.strerror or error}", file=self.path) from error
        except BaseException:
            self.close()
            raise

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record. A killed process loses nothing of it.

        The disk is synced at once too, beside the search, so that a power cut loses milliseconds at most.

        :raises JournalError: if writing or syncing fails, a full disk for instance; what was written before stays.
        """
        line = _encode(record)
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._descriptor, view) :]
            self._syncer.request()
        except OSError as error:
            raise JournalError(f"cannot be written: {error.strerror or error}", file=self.path) from error

    def drop_records(self) -> None:
        """Free the records that were read."""
        self.records = []

    def close(self) -> None:
        """Wait until all is on the disk and close the file. Again: nothing.

        :raises JournalError: if the last record did not reach the disk.
        """
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            self._syncer.stop()
        except OSError as error:
            raise JournalError(f"cannot be written: {error.strerror or error}", file=self.path) from error
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _lock(self) -> None:
        if not lock_file(self._descriptor):
            raise JournalError(f"is open in another {self._what}; wait for it or stop it", file=self.path)

    def _recover(self) -> None:
        """Read what is whole, cut off a torn end, and check or write the header."""
        end = 0
        header: dict[str, Any] | None = None
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            for number, (line, record) in enumerate(_lines(file), start=1):
                if record is None:
                    if header is None and not (line.startswith(_PREFIX) or _PREFIX.startswith(line)):
                        raise JournalError("is not a journal; choose another file", file=self.path)
                    if file.read(1):
                        raise JournalError(
                            f"is damaged, and not only at its end; move the file away to start this {self._what} over",
                            file=self.path,
                            item=f"line {number}",
                        )
                    break
                end += len(line)
                if header is None:
                    header = record
                    self._compare(header)
                else:
                    self.records.append(record)
        os.ftruncate(self._descriptor, end)
        os.lseek(self._descriptor, end, os.SEEK_SET)
        if header is None:
            self.append(self._header)
            sync_folder(self.path.parent)

    def _compare(self, found: Mapping[str, Any]) -> None:
        roles = found.get("roles") or self.roles
        if not isinstance(roles, Mapping):
            message = f"its header says its roles in another form; move the file away to start this {self._what} over"
            raise JournalError(message, file=self.path, item="line 1", field="roles")
        self.roles = roles
        differences = self._differences(found, json.loads(json.dumps(self._header)))
        if not differences:
            return
        lines = [_said(field, was, now) for field, (was, now) in differences.items()]
        shown = "; ".join(lines[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
        raise JournalMismatchError(
            f"belongs to another {self._what}: {shown}",
            file=self.path,
            differences=differences,
        )


def _said(field: str, was: object, now: object) -> str:
    """A difference in words. Of long texts it shows where they begin to differ."""
    if isinstance(was, str) and isinstance(now, str):
        same = next((at for at, (one, other) in enumerate(zip(was, now, strict=False)) if one != other), 0)
        start = max(0, same - 20)
        was, now = (f"…{each[start:]}" if start else each for each in (was, now))
    return f"{field}: {was!r:.80} there, {now!r:.80} now"


class _Syncer:
    """Syncs a file in a thread of its own: waiting for the disk would hold up the event loop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._wanted = threading.Event()
        self._stopping = False
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def request(self) -> None:
        """Have what was written so far synced.

        :raises OSError: if an earlier sync failed.
        """
        if self._error is not None:
            raise self._error
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
            self._thread.start()
        self._wanted.set()

    def stop(self) -> None:
        """Wait for the last sync and end the thread.

        :raises OSError: if a sync failed.
        """
        self._stopping = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while self._error is None:
            self._wanted.wait()
            self._wanted.clear()
            stopping = self._stopping
            try:
                _SYNC(self._descriptor)
            except OSError as error:
                self._error = error
            if stopping:
                return


def _lines(file: Any) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    for line in file:
        yield line, _decode(line)


def read_header(path: Path) -> dict[str, Any] | None:
    """The header of a journal; None if there is none. Opening the journal says what is wrong with it."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return _decode(file.readline())
    except OSError:
        return None


def read_journal(path: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the records of a journal, up to the first line that is not whole. Nothing is changed.

    :raises JournalError: if it cannot be read, or is no journal.
    """
    records: list[dict[str, Any]] = []
    try:
        with Path(path).open("rb") as file:
            for _, record in _lines(file):
                if record is None:
                    break
                records.append(record)
    except OSError as error:
        raise JournalError(f"cannot be read: {error.strerror or error}", file=path) from error
    if not records or records[0].get("format") != FORMAT:
        raise JournalError("is not a journal", file=path)
    return records[0], records[1:]


def read_journal_from(path: str | Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """What was appended to a journal since it was last read: whole records, its header the first of all.

    :param offset: where reading ended the last time; 0 at first.
    :returns: the records, and where reading ended now. A line that is being written is left for the next time.
    :raises JournalError: if it cannot be read.
    """
    records: list[dict[str, Any]] = []
    try:
        with open_input(path) as file:
            file.seek(offset)
            for line, record in _lines(file):
                if record is None:
                    break
                offset += len(line)
                records.append(record)
    except OSError as error:
        raise JournalError(f"cannot be read: {error.strerror or error}", file=path) from error
    return records, offset
