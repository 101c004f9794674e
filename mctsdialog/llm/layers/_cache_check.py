"""Whether a folder's database is a response cache, looked at before anything in it is used.

A cache may come from a stranger, and SQLite does what a schema says: triggers, generated columns and expressions can
run for ever, a rollback journal can name a file to remove, pages can form a graph of exponential size. So the schema
must be diskcache's to the letter, and a statement that takes more steps than an honest database of its size is ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diskcache

from mctsdialog.errors import CacheError
from mctsdialog.files import inside

_KNOWN_SETTINGS = frozenset({*diskcache.DEFAULT_SETTINGS, "count", "size", "hits", "misses"})
_COUNTS = ("count", "size", "hits", "misses")
_MOST_COUNT = 2**53

_CHECK_STEPS = 100_000  # of SQLite's machine, for a statement on schema or settings: many times what it takes
_MOST_ROWS = 64
_LONGEST = 2**16  # of a value or an SQL text in them
_LENGTHS = (sqlite3.SQLITE_LIMIT_LENGTH, sqlite3.SQLITE_LIMIT_SQL_LENGTH)

_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # ends a rollback journal that names another file to remove


def _trigger(name: str, event: str, change: str, key: str) -> tuple[str, str, str, str]:
    body = f'UPDATE Settings SET value = value {change} WHERE key = "{key}"; END'  # noqa: S608  # is compared, not run
    sql = f"CREATE TRIGGER Settings_{name} AFTER {event} ON Cache FOR EACH ROW BEGIN {body}"
    return "trigger", f"Settings_{name}", "Cache", sql


def _index(name: str, columns: str, kind: str = "INDEX") -> tuple[str, str, str, str]:
    return "index", f"Cache_{name}", "Cache", f"CREATE {kind} Cache_{name} ON Cache{columns}"


_CACHE_TABLE = (
    "CREATE TABLE Cache ( rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL, "
    "access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0, "
    "filename TEXT, value BLOB)"
)
_SCHEMA: frozenset[tuple[object, ...]] = frozenset(
    {
        ("table", "Settings", "Settings", "CREATE TABLE Settings ( key TEXT NOT NULL UNIQUE, value)"),
        ("index", "sqlite_autoindex_Settings_1", "Settings", None),
        ("table", "Cache", "Cache", _CACHE_TABLE),
        ("table", "sqlite_stat1", "sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"),
        _index("key_raw", "(key, raw)", "UNIQUE INDEX"),
        _index("expire_time", " (expire_time)"),
        _index("store_time", " (store_time)"),
        _index("access_time", " (access_time)"),
        _index("access_count", " (access_count)"),
        _index("tag_rowid", "(tag, rowid)"),
        _trigger("count_insert", "INSERT", "+ 1", "count"),
        _trigger("count_delete", "DELETE", "- 1", "count"),
        _trigger("size_insert", "INSERT", "+ NEW.size", "size"),
        _trigger("size_update", "UPDATE", "+ NEW.size - OLD.size", "size"),
        _trigger("size_delete", "DELETE", "- OLD.size", "size"),
    }
)
"""Everything that diskcache makes, with its SQL: a name alone may stand for a trigger or column that runs for ever."""


def check_database(connection: sqlite3.Connection, database: Path, *, whole: bool = False) -> None:
    """Refuse a database that holds anything but what diskcache puts there.

    :param whole: its tables must be there; otherwise diskcache makes what is missing.
    :raises CacheError: for an unknown table, view, trigger, index or setting, one of another definition, or a value
        that is no number or plain word.
    :raises sqlite3.Error: when it is no database.
    """
    connection.text_factory = text_or_bytes
    before = [connection.setlimit(limit, _LONGEST) for limit in _LENGTHS]
    with bounded(connection):
        found = _rows(connection, "SELECT type, name, tbl_name, sql FROM sqlite_master", database)
        for row in found:
            if row not in _SCHEMA:
                what = f"not a response cache: it holds a {row[0]!s:.20} {row[1]!r:.60} that is not of its making"
                raise CacheError(f"{what}; {advice(database.parent)}", file=database)
        tables = {row[1] for row in found if row[0] == "table"}
        if whole and not {"Settings", "Cache"} <= tables:
            raise CacheError(f"not a response cache: it has no entries; {advice(database.parent)}", file=database)
        rows = _rows(connection, "SELECT key, value FROM Settings", database) if "Settings" in tables else []
    for name, value in rows:
        if name not in _KNOWN_SETTINGS or not _is_plain(name, value):
            what = f"not a response cache: it has the setting {str(name)[:60]!r}"
            raise CacheError(f"{what}; {advice(database.parent)}", file=database)
    for limit, value in zip(_LENGTHS, before, strict=True):
        connection.setlimit(limit, value)


def _rows(connection: sqlite3.Connection, query: str, database: Path) -> list[tuple[Any, ...]]:
    rows = connection.execute(f"{query} LIMIT {_MOST_ROWS + 1}").fetchall()
    if len(rows) > _MOST_ROWS:
        raise CacheError(f"not a response cache: it holds too much; {advice(database.parent)}", file=database)
    return rows


def _is_plain(name: str, value: object) -> bool:
    """Whether a setting's value is a number, or a plain word where that may be; a count, where it is one."""
    if name in _COUNTS:
        return isinstance(value, int) and abs(value) < _MOST_COUNT
    return isinstance(value, int) or (isinstance(value, str) and value.replace("-", "").isalnum())


def text_or_bytes(raw: bytes) -> str | bytes:
    """Text as it stands in a database; bytes where it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def advice(directory: Path) -> str:
    """What to do about a damaged cache."""
    return f"it is damaged: remove the folder {directory}, and its replies are asked for again"


def database_file(directory: Path) -> Path:
    """The database's file, without a symbolic link in its place or beside it, and nothing that SQLite would remove.

    :raises DataError: if there is one.
    """
    name = diskcache.core.DBNAME
    for suffix in ("-wal", "-shm", "-journal", ""):
        path = inside(directory, f"{name}{suffix}")
        if path.exists() and not path.is_file() and directory.is_dir():
            raise CacheError("is no file; name another folder for the cache", file=path)
    journal = directory / f"{name}-journal"
    if journal.is_file() and _last_bytes(journal) == _SUPER_JOURNAL:
        raise CacheError(f"names other files to remove; remove the folder {directory}", file=journal)
    return path


def _last_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_SUPER_JOURNAL)))
        return file.read(len(_SUPER_JOURNAL))


@contextmanager
def bounded(connection: sqlite3.Connection, steps: int = 0) -> Iterator[None]:
    """End a statement that takes many more steps of SQLite's machine than this, or than a schema's look takes."""
    left = steps // _CHECK_STEPS + 1

    def count() -> bool:
        nonlocal left
        left -= 1
        return left <= 0

    connection.set_progress_handler(count, _CHECK_STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
