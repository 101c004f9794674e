"""Where the response cache keeps its entries: a diskcache folder, opened with suspicion.

diskcache reads pickles, follows file names in its table, and takes every row of its Settings table as an attribute
or a PRAGMA. A cache may come from a stranger, so: a folder is checked before diskcache sees it, values are text in
SQLite alone, nothing is ever unpickled, and no file is opened or removed on the database's word.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NoReturn, Protocol

import diskcache

from mctsdialog.errors import CacheError, ConfigError, DataError, MctsDialogError
from mctsdialog.files import inside, write_atomically
from mctsdialog.llm.layers._cache_check import advice, bounded, check_database, database_file, text_or_bytes

_LOCK_SECONDS = 30.0
_SETTINGS: dict[str, Any] = {
    **diskcache.DEFAULT_SETTINGS,
    "eviction_policy": "none",  # every reply was paid for
    "cull_limit": 0,
    "size_limit": 2**62,
    "disk_min_file_size": 2**40,
    "disk_pickle_protocol": 0,
}
_MARK = "replies.txt"
_MARK_TEXT = "The folder of this file is a response cache of mctsdialog. To remove replies, remove the whole folder.\n"
_STEPS_PER_BYTE = 10  # of SQLite's machine, for a statement on all entries

_FAULTS = (sqlite3.Error, diskcache.Timeout, UnicodeDecodeError)  # the last where SQLite quotes what is no UTF-8
_MADE_UP = (*_FAULTS, ArithmeticError, TypeError, ValueError)  # where the cache's own counts are read
_OUTER = frozenset(  # errors of SQLite that are no damage
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


class CorruptEntry:
    """Stands for a stored value that is refused."""


CORRUPT = CorruptEntry()


class Store(Protocol):
    """Text by key."""

    def get(self, key: str) -> str | CorruptEntry | None:
        """The text stored under ``key``, None, or :data:`CORRUPT` for a value that is no text."""
        ...

    def put(self, entries: Mapping[str, str]) -> None:
        """Store texts by their keys, all or none."""
        ...

    def clear(self) -> int:
        """Remove everything; how many entries there were."""
        ...

    def size(self) -> tuple[int, int]:
        """How many entries, and bytes on disk."""
        ...

    def close(self) -> None:
        """Close the database."""
        ...


class TextDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """diskcache's conversions, for text keys and text values in SQLite and nothing else."""

    def __init__(self, directory: str, **_settings: object) -> None:
        super().__init__(directory, min_file_size=2**40, pickle_protocol=0)

    def put(self, key: object) -> tuple[str, bool]:
        """A key as it is stored."""
        if not isinstance(key, str):
            raise TypeError("cache keys are text")
        return key, True

    def get(self, key: object, raw: object) -> object:
        """A key as it was stored."""
        return key if isinstance(key, str) and raw else ""

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, str]:
        """The columns size, mode, filename and value."""
        if not isinstance(value, str) or read:
            raise TypeError("cache values are text")
        return 0, diskcache.core.MODE_RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> str | CorruptEntry:
        """A value as it was stored; :data:`CORRUPT` for a pickle, a file, or anything but text."""
        return _text(mode, filename, value) if not read else CORRUPT

    def remove(self, file_path: str) -> None:
        """Do nothing: no entry has a file, whatever the database says."""


def _text(mode: object, filename: object, value: object) -> str | CorruptEntry:
    whole = mode == diskcache.core.MODE_RAW and filename is None and isinstance(value, str)
    return value if whole and isinstance(value, str) else CORRUPT


class _Cache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """diskcache, which here takes text that is not UTF-8 as bytes: so it is one refused entry, and no error."""

    @property
    def _con(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._con
        connection.text_factory = text_or_bytes
        return connection


class DiskStore:
    """A store on diskcache; safe to share between threads and processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        database, mark = database_file(directory), inside(directory, _MARK)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if os.path.expandvars(directory) != str(directory):  # diskcache would open another folder than was checked
                raise ConfigError(f"{directory}: a cache's path cannot hold a variable", field="cache")
            if database.exists() and database.stat().st_size:
                # Open as diskcache will, for writing: only so a journal beside the file is applied before the check.
                with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True)) as connection:
                    check_database(connection, database)
            elif database.exists() and mark.exists():  # without a mark, another process is making it just now
                raise CacheError(f"its database is empty; {advice(directory)}", file=database)
            self._cache = _Cache(str(directory), timeout=_LOCK_SECONDS, disk=TextDisk, **_SETTINGS)
            if not mark.exists():
                write_atomically(mark, _MARK_TEXT)
        except MctsDialogError:
            raise
        except (OSError, *_MADE_UP) as error:  # diskcache unpacks its settings as they come
            _refuse(directory, error)

    def get(self, key: str) -> str | CorruptEntry | None:
        """The text under ``key``."""
        try:
            found: str | CorruptEntry | None = self._cache.get(key)
        except _FAULTS as error:
            _refuse(self.directory, error)
        return found

    def put(self, entries: Mapping[str, str]) -> None:
        """Store texts in one transaction.

        :raises DataError: when they cannot be written (disk full, locked); a paid reply is not lost in silence.
        """
        try:
            with self._cache.transact():
                for key, value in entries.items():
                    self._cache.set(key, value)
        except _FAULTS as error:
            _refuse(self.directory, error)

    def clear(self) -> int:
        """Remove everything."""
        try:
            with bounded(self._cache._con, self._cache.volume() * _STEPS_PER_BYTE):
                return int(self._cache.clear())
        except _MADE_UP as error:
            _refuse(self.directory, error)

    def size(self) -> tuple[int, int]:
        """Entries and bytes."""
        try:
            return len(self._cache), int(self._cache.volume())
        except _MADE_UP as error:
            _refuse(self.directory, error)

    def close(self) -> None:
        """Close this thread's connection."""
        self._cache.close()


class ReadOnlyStore:
    """A store that is read and never written, not even its settings; works on a read-only file system."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._database = database_file(directory)
        self._lock = threading.Lock()
        if not self._database.is_file():
            raise ConfigError(f"{directory}: holds no response cache to replay", field="cache")
        try:
            self._connection = _open_read_only(self._database)
            with ExitStack() as on_error:
                on_error.callback(self._connection.close)
                check_database(self._connection, self._database, whole=True)
                self._connection.text_factory = text_or_bytes
                on_error.pop_all()
        except (OSError, *_FAULTS) as error:
            _refuse(directory, error)

    def get(self, key: str) -> str | CorruptEntry | None:
        """The text under ``key``."""
        rows = self._select("SELECT mode, filename, value FROM Cache WHERE key = ? AND raw = 1", key)
        return _text(*rows[0]) if rows else None

    def put(self, entries: Mapping[str, str]) -> None:
        """Refuse."""
        raise ConfigError(f"{self.directory}: opened for reading only", field="cache")

    def clear(self) -> int:
        """Refuse."""
        raise ConfigError(f"{self.directory}: opened for reading only", field="cache")

    def size(self) -> tuple[int, int]:
        """Entries and bytes."""
        size = self._database.stat().st_size
        with bounded(self._connection, size * _STEPS_PER_BYTE):
            return int(self._select("SELECT count(*) FROM Cache")[0][0]), size

    def _select(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(query, parameters).fetchall()
        except _FAULTS as error:
            _refuse(self.directory, error)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


def _refuse(directory: Path, error: Exception) -> NoReturn:
    if isinstance(error, OSError):
        reason = f"{directory}: cannot be used as a response cache: {error.strerror or error}"
        raise ConfigError(reason, field="cache") from error
    what = "the response cache cannot be read or written"
    if isinstance(error, diskcache.Timeout):
        raise DataError(f"{what}: locked by another process", file=directory) from error
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _OUTER:
        raise DataError(f"{what}: {error}", file=directory) from error
    raise CacheError(f"{what}: {error}; {advice(directory)}", file=directory) from error


def _open_read_only(database: Path) -> sqlite3.Connection:
    """A connection that cannot write; ``immutable`` where SQLite may not even make its shared-memory file."""
    uri = database.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, check_same_thread=False, timeout=_LOCK_SECONDS)
    try:
        with bounded(connection):
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.OperationalError:
        connection.close()
        connection = sqlite3.connect(f"{uri}?immutable=1", uri=True, check_same_thread=False)
    return connection
