"""A cache of a stranger's making, or a damaged one: bounded, refused in one message, and never a wrong reply."""

import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mctsdialog.errors import CacheError, DataError
from mctsdialog.llm import CachedModel, ChatRequest, Completion, Message, ResponseCache, ScriptedModel, request_key

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

MODES: Any = ["read-write", "read-only"]
ENTRIES = 120


def asked(number: int) -> ChatRequest:
    return ChatRequest((Message("user", f"{number}"),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with entries, closed."""
    with ResponseCache(tmp_path / "c") as cache:
        for number in range(ENTRIES):
            cache.keep("m", asked(number), Completion(f"reply {number} " + "x" * (number * 7 % 300)))
    return tmp_path / "c"


def change_schema(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
SETTINGS_OF = "UPDATE sqlite_master SET sql = replace(sql, {}, {}) WHERE name = '{}'"
TRIGGER = "CREATE TRIGGER {} AFTER {} ON Cache BEGIN SELECT ({}); END"
STATISTICS = f"CREATE VIEW sqlite_stat1 AS {ENDLESS}"
HOSTILE_SCHEMAS: dict[str, list[str]] = {
    "a trigger of a known name": [
        "DROP TRIGGER Settings_count_insert",
        TRIGGER.format("Settings_count_insert", "INSERT", ENDLESS),
    ],
    "a trigger of a known name on updates": [
        "DROP TRIGGER Settings_size_update",
        TRIGGER.format("Settings_size_update", "UPDATE", ENDLESS),
    ],
    "a known trigger with one letter changed": [SETTINGS_OF.format("'+ 1'", "'+ 2'", "Settings_count_insert")],
    "a trigger on another table": [
        "DROP TRIGGER Settings_count_insert",
        f"CREATE TRIGGER Settings_count_insert AFTER INSERT ON Settings BEGIN SELECT ({ENDLESS}); END",
    ],
    "a generated column": [
        "DROP TABLE Cache",
        "CREATE TABLE Cache (rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, mode, value AS (zeroblob(1000000000)))",
    ],
    "a generated setting": ["DROP TABLE Settings", "CREATE TABLE Settings (key TEXT AS (zeroblob(1000000000)), value)"],
    "a default value": ["ALTER TABLE Cache ADD COLUMN extra TEXT DEFAULT 'x'"],
    "a check": [
        SETTINGS_OF.format("'value BLOB)'", "'value BLOB, CHECK (randomblob(100000000) IS NOT NULL))'", "Cache")
    ],
    "a view for the settings": [
        "DROP TABLE Settings",
        f"CREATE VIEW Settings (key, value) AS SELECT 'count', ({ENDLESS})",
    ],
    "a view for the entries": ["DROP TABLE Cache", f"CREATE VIEW Cache (key, raw) AS SELECT 1, ({ENDLESS})"],
    "an index over an expression": [
        "DROP INDEX Cache_expire_time",
        "CREATE INDEX Cache_expire_time ON Cache (hex(zeroblob(1000)))",
    ],
    "a partial index": [
        "DROP INDEX Cache_expire_time",
        "CREATE INDEX Cache_expire_time ON Cache (expire_time) WHERE length(hex(zeroblob(1000))) > 1",
    ],
    "an index of a known name over the settings": [
        "DROP INDEX Cache_expire_time",
        "CREATE INDEX Cache_expire_time ON Settings (value)",
    ],
    "a virtual table": ["DROP TABLE Cache", "CREATE VIRTUAL TABLE Cache USING fts4(key)"],
    "a table without rowid": [
        "DROP TABLE Settings",
        "CREATE TABLE Settings (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    ],
    "very many tables": [f"CREATE TABLE t{number} (a)" for number in range(3000)],
    "a very long statement": [
        "DROP TRIGGER Settings_count_insert",
        f"CREATE TRIGGER Settings_count_insert AFTER INSERT ON Cache BEGIN {'SELECT 1;' * 90_000} END",
    ],
    "a name that is no text": ["UPDATE sqlite_master SET name = x'ff' WHERE name = 'Cache_expire_time'"],
    "a statistics table that is a view": [
        f"INSERT INTO sqlite_master VALUES ('view', 'sqlite_stat1', 'sqlite_stat1', 0, '{STATISTICS}')"
    ],
}

USE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000))
from mctsdialog.errors import DataError
from mctsdialog.llm import ChatRequest, Completion, Message, ResponseCache
for mode in ("read-only", "read-write"):
    try:
        with ResponseCache(sys.argv[1], mode=mode) as cache:
            cache.info()
            if mode == "read-write":
                cache.keep("m", ChatRequest((Message("user", "new"),)), Completion("x"))
                cache.clear()
    except DataError as error:
        print(mode, type(error).__name__, error)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def used(folder: Path) -> tuple[list[str], float]:
    """What a use of the folder in a process of its own says in each mode, and the most memory in MB."""
    done = subprocess.run([sys.executable, "-c", USE, str(folder)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    *lines, peak = done.stdout.decode("utf-8", "replace").splitlines()
    return lines, int(peak) / 1024


@pytest.mark.parametrize("name", HOSTILE_SCHEMAS)
def test_a_schema_that_is_not_diskcaches_to_the_letter_is_refused(folder: Path, name: str) -> None:
    change_schema(folder, *HOSTILE_SCHEMAS[name])
    for mode in MODES:
        with pytest.raises(CacheError, match=f"remove the folder {folder}"):
            ResponseCache(folder, mode=mode)


def test_a_hostile_schema_that_lies_in_the_write_ahead_log_alone_is_refused(folder: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("DROP TRIGGER Settings_count_insert")
        connection.execute(TRIGGER.format("Settings_count_insert", "INSERT", ENDLESS))
        stolen = tmp_path / "stolen"
        stolen.mkdir()
        for path in folder.iterdir():
            (stolen / path.name).write_bytes(path.read_bytes())
    assert (stolen / "cache.db-wal").stat().st_size
    for mode in MODES:
        with pytest.raises(CacheError, match="Settings_count_insert"):
            ResponseCache(stolen, mode=mode)


def test_a_rollback_journal_cannot_have_a_file_removed(folder: Path, tmp_path: Path) -> None:
    """SQLite removes the file that a journal names as the one over it."""
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    magic, size = bytes.fromhex("d9d505f920a163d7"), 4096
    page, pages = (folder / "cache.db").read_bytes()[:size], (folder / "cache.db").stat().st_size // size
    header = [1, 0, pages, 512, size]  # records, nonce, pages of the database, sector, page
    record = [(1).to_bytes(4), page, sum(page[at] for at in range(size - 200, 0, -200)).to_bytes(4)]
    name = str(victim).encode()
    over = [(2**30 // size + 1).to_bytes(4), name, len(name).to_bytes(4), sum(name).to_bytes(4), magic]
    start = (magic + b"".join(number.to_bytes(4) for number in header)).ljust(512, b"\0")
    (folder / "cache.db-journal").write_bytes(b"".join([start, *record, *over]))
    for mode in MODES:
        with pytest.raises(DataError, match="names other files to remove"):
            ResponseCache(folder, mode=mode)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["cache.db", "cache.db-wal", "cache.db-shm", "cache.db-journal", "replies.txt"])
def test_links_in_a_cache_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim)
    with pytest.raises(DataError, match="symbolic link"):
        ResponseCache(folder)
    assert victim.read_bytes() == b"mine"


def test_a_pipe_in_place_of_the_database_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cache.db")
    with pytest.raises(DataError, match="is no file"):
        ResponseCache(tmp_path)


def page_graph(folder: Path, root: int) -> None:
    """Make a table's pages a graph: nineteen levels, each of which names the next one many times."""
    data = bytearray((folder / "cache.db").read_bytes())
    size = int.from_bytes(data[16:18])
    first = len(data) // size + 1
    for level in range(19):
        child = (first + level + 1).to_bytes(4)
        cells = b"".join(child + bytes([1]) for _ in range(400))  # a child and the rowid 1
        start = size - len(cells)
        pointers = b"".join((start + 5 * number).to_bytes(2) for number in range(400))
        header = bytes([5]) + bytes(2) + (400).to_bytes(2) + start.to_bytes(2) + bytes(1) + child
        page = bytearray((header + pointers).ljust(size, b"\0"))
        page[start:] = cells
        data += page
        if level == 0:
            data[(root - 1) * size : root * size] = page
    data += (bytes([13]) + bytes(7)).ljust(size, b"\0")
    data[28:32] = (len(data) // size).to_bytes(4)
    (folder / "cache.db").write_bytes(data)


@pytest.mark.parametrize("table", ["Cache", "Settings"])
def test_pages_that_form_a_graph_end_in_bounded_time_and_memory(folder: Path, table: str) -> None:
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    page_graph(folder, root)
    said, megabytes = used(folder)
    assert any("remove the folder" in line for line in said)
    assert megabytes < 500


def test_settings_that_are_out_of_range_are_refused(folder: Path) -> None:
    for value in ("'many'", "1e300", "9223372036854775807", "NULL", "x'00'"):
        with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
            connection.execute(f"UPDATE Settings SET value = {value} WHERE key = 'count'")
        for mode in MODES:
            with pytest.raises(CacheError, match="the setting 'count'"):
                ResponseCache(folder, mode=mode)


@pytest.mark.parametrize(
    "key", ["count", "size", "hits", "disk_min_file_size", "sqlite_synchronous", "eviction_policy"]
)
def test_a_setting_that_is_not_there_is_refused_or_made_anew(folder: Path, key: str) -> None:
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM Settings WHERE key = ?", [key])
    said = "remove the folder"
    try:
        with ResponseCache(folder) as cache:
            assert cache.lookup(request_key("m", asked(0))) is not None
    except CacheError as error:
        said = str(error)
    assert "remove the folder" in said


def test_a_size_that_its_settings_make_up_is_refused(folder: Path) -> None:
    with ResponseCache(folder) as cache:
        with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
            connection.execute("UPDATE Settings SET value = -1 WHERE key = 'count'")
        with pytest.raises(CacheError, match="remove the folder"):
            cache.info()


# -- damage --------------------------------------------------------------------------------------------------------


def set_value(folder: Path, number: int, value: object) -> None:
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        key = request_key("m", asked(number))
        assert connection.execute("UPDATE Cache SET value = ? WHERE key = ?", [value, key]).rowcount == 1


def stored(folder: Path, number: int) -> str:
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        row = connection.execute("SELECT value FROM Cache WHERE key = ?", [request_key("m", asked(number))]).fetchone()
    return str(row[0])


@pytest.mark.parametrize("column", ["value", "filename", "tag"])
async def test_an_entry_that_is_not_utf8_is_a_counted_miss(folder: Path, column: str) -> None:
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.execute(f"UPDATE Cache SET {column} = CAST(x'fffe80' AS TEXT) WHERE rowid = 1")
    script = ScriptedModel(lambda _request: "fresh", name="m")
    with ResponseCache(folder, mode="read-only") as replay:
        assert column == "tag" or replay.lookup(request_key("m", asked(0))) is None
    with ResponseCache(folder) as cache:
        model = CachedModel(script, cache)
        first = await model.complete(asked(0))
        assert (await model.complete(asked(0))).cached
        if column != "tag":
            assert first.text == "fresh"
            assert (cache.stats.corrupt, cache.stats.misses, cache.stats.hits) == (1, 1, 1)


async def test_a_reply_that_was_changed_or_is_anothers_is_a_counted_miss(folder: Path) -> None:
    set_value(folder, 1, stored(folder, 1).replace("reply 1", "reply l"))
    set_value(folder, 2, stored(folder, 3))
    set_value(folder, 4, stored(folder, 4)[:-1])
    with ResponseCache(folder) as cache:
        found = [cache.lookup(request_key("m", asked(number))) for number in range(6)]
        assert [entry is not None for entry in found] == [True, False, False, True, False, True]
        assert cache.stats.corrupt == 3


@pytest.mark.parametrize("latency", ["1" + "0" * 400, "-1", "1e300", "NaN"])
async def test_an_entry_with_an_impossible_latency_is_a_counted_miss(folder: Path, latency: str) -> None:
    values = {"v": 1, "model": "m", "text": "old", "finish_reason": "stop", "usage": [1, 2, 0], "latency": 0.5}
    set_value(folder, 1, json.dumps(values).replace("0.5", latency))
    with ResponseCache(folder) as cache:
        assert cache.lookup(request_key("m", asked(1))) is None
        assert cache.stats.corrupt == 1


def test_entries_of_version_0_1_are_served(folder: Path) -> None:
    values = {"v": 1, "model": "m", "text": "old", "finish_reason": "stop", "usage": [1, 2, 0], "latency": 0.5}
    set_value(folder, 0, json.dumps({**values, "good": True, "created": 1.5}))
    with ResponseCache(folder) as cache:
        entry = cache.lookup(request_key("m", asked(0)))
        assert entry is not None
        assert entry.completion.text == "old"


CUTS = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut in a page": lambda path: os.truncate(path, 5000),
    "cut between pages": lambda path: os.truncate(path, 8192),
    "cut in its header": lambda path: os.truncate(path, 50),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "no database": lambda path: path.write_text("hello " * 1000),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_database_is_one_message_that_says_what_to_remove(folder: Path, cut: str, mode: Any) -> None:
    CUTS[cut](folder / "cache.db")
    with pytest.raises(CacheError, match=f"remove the folder {folder}"):
        ResponseCache(folder, mode=mode)


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_gives_the_right_reply_a_miss_or_one_error(folder: Path, seed: int) -> None:
    draw, whole = random.Random(seed), (folder / "cache.db").read_bytes()
    ends = set()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(draw.choice([1, 1, 1, 3, 30])):
            place = draw.randrange(len(data))
            data[place : place + 1] = draw.choice([bytes([data[place] ^ 1 << draw.randrange(8)]), draw.randbytes(1)])
        if draw.random() < 0.2:
            start = draw.randrange(len(data))
            data[start : start + 4096] = bytes(len(data[start : start + 4096]))
        for suffix in ("-wal", "-shm"):
            (folder / f"cache.db{suffix}").unlink(missing_ok=True)
        (folder / "cache.db").write_bytes(data)
        try:
            with ResponseCache(folder, mode=draw.choice(MODES)) as cache:
                for number in range(ENTRIES):
                    entry = cache.lookup(request_key("m", asked(number)))
                    assert entry is None or entry.completion.text.startswith(f"reply {number} ")
                if cache.mode == "read-write":
                    cache.keep("m", asked(ENTRIES), Completion("x" * 3000))
                cache.info()
            ends.add("used")
        except DataError as error:
            ends.add("named" if str(folder) in str(error) else str(error))
    assert ends == {"used", "named"}
