"""What a run leaves and goes on from: journals, the index of finished trees, the cache of replies."""

import contextlib
import json
import os
import re
import sqlite3
import zlib
from functools import partial
from pathlib import Path

import anyio

import mctsdialog
from fuzz_parts import mutate
from fuzz_parts.guard import BrokenPromiseError
from fuzz_parts.kinds import Kind
from fuzz_parts.seeds import PAIRS, SHORT, WORLD, scripted, search_words
from mctsdialog.corpus import Output
from mctsdialog.llm import Completion

# -- journals ------------------------------------------------------------------------------------------------------

_PREFIX, _MIDDLE = b'{"crc":"', b'","record":'
_FIELDS = (
    "type", "node", "seeker", "supporter", "scores", "steps", "judgements", "reward", "strategy", "digest", "turn",
    "ended", "growth", "number", "trial", "leaf", "dialogue", "config", "roles", "domain",
)  # fmt: skip


_START = len(_PREFIX) + 8 + len(_MIDDLE)


def _sealed(body, crc=None):
    return b"%s%08x%s%s}" % (_PREFIX, zlib.crc32(body) if crc is None else crc, _MIDDLE, body)


def _record(draw, line):
    """A line with another record, most often with the checksum that it should have."""
    if not line.startswith(_PREFIX) or draw.random() < 0.1:
        return mutate.mutate_bytes(draw, line)
    try:
        value = json.loads(line[_START:-1])
    except (ValueError, RecursionError):
        return mutate.mutate_bytes(draw, line)
    body = mutate.encoded(mutate.mutate_json(draw, value, _FIELDS))
    return _sealed(body, None if draw.random() < 0.9 else draw.randrange(2**32))


def _journal(draw, data, others):
    if draw.random() < 0.2:
        return mutate.mutate_bytes(draw, data, others)
    head, *rest = data.splitlines()
    if draw.random() < 0.1:
        return mutate.mutate_lines(draw, [head, *rest], _record)
    return head + b"\n" + mutate.mutate_lines(draw, rest, _record)


def write_search_journal(draw, seeds):
    number = draw.choice((0, 1))
    others = [seeds[f"search-{1 - number}.jsonl"]]
    Path("run/journals").mkdir(parents=True)
    Path("run/journals/one.jsonl").write_bytes(_journal(draw, seeds[f"{seeds.run}/journals/one.jsonl"], others))
    Path("journal.jsonl").write_bytes(_journal(draw, seeds[f"search-{number}.jsonl"], others))
    return {"number": number, "deterministic": draw.random() < 0.1}


def read_search_journal(seeds, how):
    start = WORLD.dialogue(WORLD.scenario(0)) if how["number"] == 0 else WORLD.scenario(1)
    config = mctsdialog.SearchConfig(max_iterations=15, min_iterations=15, horizon=2, gold_visits=3)
    tree = anyio.run(partial(mctsdialog.search, start, WORLD.roles(), config, journal="journal.jsonl"))
    tree.check()
    mctsdialog.save_tree(tree, "tree.json")
    mctsdialog.load_tree("tree.json")
    mctsdialog.export.to_graphml(tree)
    mctsdialog.preferences.read_trees("tree.json", PAIRS)


def search_journal_words(draw, seeds, how):
    Path("messages.jsonl").write_bytes(seeds["messages.jsonl"])
    restart = ["--restart"] if draw.random() < 0.1 else []
    words = ["search", "messages.jsonl", "--out", "run", "--limit", "1", *restart, *search_words(seeds.url)]
    return "mctsdialog", [*words, "--max-iterations", "3", "--min-iterations", "3"]


def write_probe_journal(draw, seeds):
    name = draw.choice(seeds.names("probes-*.jsonl", "random-*.jsonl"))
    Path("journal.jsonl").write_bytes(_journal(draw, seeds[name], [seeds["search-0.jsonl"]]))
    return {"name": name}


def read_probe_journal(seeds, how):
    kind, number, *theta = how["name"].removesuffix(".jsonl").split("-")
    tree = mctsdialog.load_tree(seeds.folder / "trees" / f"tree-{number}.json")
    if kind == "random":
        record, _ = anyio.run(
            partial(mctsdialog.preferences.random_record, tree, WORLD.roles(), PAIRS, journal="journal.jsonl")
        )
        mctsdialog.preferences.TreeRecord.from_json(json.dumps(record.to_dict()))
        return
    config = mctsdialog.preferences.PreferenceConfig(theta=float(theta[0]), min_visits=1)
    anyio.run(partial(mctsdialog.preferences.probe_siblings, tree, WORLD.roles(), config, journal="journal.jsonl"))
    tree.check()
    mctsdialog.save_tree(tree, "tree.json")
    mctsdialog.load_tree("tree.json")


def probe_journal_words(draw, seeds, how):
    kind, number, *theta = how["name"].removesuffix(".jsonl").split("-")
    Path("tree.json").write_bytes(seeds[f"trees/tree-{number}.json"])
    Path("work/journals").mkdir(parents=True)
    head, gap, rest = Path("journal.jsonl").read_bytes().partition(b"\n")
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        value = json.loads(head[_START:-1]) | {"roles": {}}  # roles that are not known are not compared
        head = _sealed(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    name = "random" if kind == "random" else "siblings"
    Path(f"work/journals/tree.{name}.jsonl").write_bytes(head + gap + rest)
    words = ["preferences", "tree.json", "--work", "work", "--theta", *(theta or ["0.3"]), "--min-visits", "1"]
    ask = ["--random"] if kind == "random" else ["--siblings", "all"]
    return "mctsdialog", [*words, *search_words(seeds.url)[:8], *ask]


# -- the index -----------------------------------------------------------------------------------------------------


def write_index(draw, seeds):
    files = {
        f"run{name.removeprefix(seeds.run)}": seeds[name]
        for name in seeds.names(*(f"{seeds.run}/{each}" for each in ("*.json*", "trees/*", "journals/*")))
    }
    for name, data in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    index = files["run/finished.jsonl"]
    kind = draw.random()
    if kind < 0.7:
        data = (
            mutate.mutate_bytes(draw, index)
            if kind < 0.1
            else mutate.mutate_lines(draw, index.splitlines(), _index_line)
        )
        Path("run/finished.jsonl").write_bytes(data)
    for _ in range(draw.choice((0, 1, 2)) if kind < 0.7 else 2):
        name = draw.choice(list(files))
        _damage(draw, Path(name), files[name])
    if draw.random() < 0.1:
        Path("run/finished-1-of-2.jsonl").write_bytes(draw.choice((b"", b"\xff", b"[" * 30_000, index)))
    return {"restart": draw.random() < 0.1, "forged": kind < 0.7}


def _index_line(draw, line):
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return mutate.mutate_bytes(draw, line)
    fields = ("id", "status", "nodes", "fingerprint", "best", "error", "stop_reason", "files", ".json", ".graphml")
    return mutate.encoded(_changed(draw, value, fields, ""))


def _changed(draw, value, fields, about):
    """Another value, most often with the checksum that it should have."""
    has_checksum = isinstance(value, dict) and value.pop("crc", None) is not None
    text = mutate.mutate_json(draw, value, fields)
    return mutate.sealed(text, about) if has_checksum and draw.random() < 0.9 else text


def _damage(draw, path, data):
    """Cut, empty, zero, replace or remove a file of the run."""
    if path.is_symlink() or not path.is_file():
        return
    kind = draw.randrange(9)
    if kind == 0:
        path.write_bytes(data[: draw.randrange(len(data) + 1)])
    elif kind == 1:
        path.write_bytes(b"")
    elif kind == 2:
        path.write_bytes(bytes(len(data)))
    elif kind == 3:
        path.unlink()
    elif kind == 4:
        path.unlink()
        path.symlink_to(draw.choice(("../../../outside/important.txt", "one.json", path.name, "/dev/null")))
    elif kind == 5:
        path.unlink()
        path.mkdir()
    elif kind == 6:
        path.with_name(f".{path.name}.abc123.tmp").write_bytes(data[:100])
    else:
        path.write_bytes(mutate.mutate_bytes(draw, data))


def read_index(seeds, how):
    starts = mctsdialog.read_dialogues(seeds.folder / "messages.jsonl")[:2]
    roles = mctsdialog.Roles.from_model(scripted(), domain=mctsdialog.get_domain("esc"))
    options = {"out": "run", "concurrency": 1, "restart": how["restart"]}
    report = anyio.run(partial(mctsdialog.search_corpus, starts, lambda start: roles, SHORT, **options))
    str(report)
    failed = {record.id for record in report.failures}
    if report.done + report.skipped + len(failed) != len(starts):
        raise BrokenPromiseError("the report does not count every dialogue")
    for start in starts:
        if start.id not in failed:
            _see_whole(seeds, Output(Path("run")).tree(start.id), undisturbed=not how["forged"])


_ADDRESS = re.compile(rb",\s*(?:\"|&quot;)identity(?:\"|&quot;):\s*(?:\"|&quot;)[^\"&]*(?:\"|&quot;)")


def _see_whole(seeds, file, *, undisturbed):
    """See that a finished tree can be read, and where no line of the index was forged, that it is what it was."""
    try:
        mctsdialog.load_tree(file)
    except mctsdialog.MctsDialogError as error:
        raise BrokenPromiseError("a tree that counts as finished cannot be read") from error
    for each in (file, file.with_suffix(".graphml")):
        # the seeds were made at a server, whose address their roles have
        if undisturbed and _ADDRESS.sub(b"", each.read_bytes()) != _ADDRESS.sub(b"", seeds[str(each)]):
            raise BrokenPromiseError(f"{each.suffix} of a finished tree is not what it was before the damage")


def index_words(draw, seeds, how):
    Path("messages.jsonl").write_bytes(seeds["messages.jsonl"])
    restart = ["--restart"] if how["restart"] else []
    return "mctsdialog", ["search", "messages.jsonl", "--out", "run", *restart, *search_words(seeds.url)]


# -- the cache -----------------------------------------------------------------------------------------------------

_ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
_SQL = (
    "UPDATE Cache SET {column} = {value}",
    "UPDATE Cache SET mode = {number}, filename = '../../outside/important.txt'",
    "UPDATE Cache SET mode = 4, value = {pickle}", "UPDATE Settings SET value = {value} WHERE key = '{setting}'",
    "INSERT OR REPLACE INTO Settings VALUES ('{setting}', {value})", "DELETE FROM Settings WHERE key = '{setting}'",
    "DELETE FROM Settings", "DROP TRIGGER {trigger}",
    "DROP TRIGGER {trigger}; CREATE TRIGGER {trigger} AFTER {event} ON Cache FOR EACH ROW BEGIN {body}; END",
    "CREATE TRIGGER t AFTER {event} ON {table} BEGIN {body}; END", "CREATE VIEW v AS {endless}",
    "ALTER TABLE Cache RENAME TO old; CREATE VIEW Cache AS SELECT *, ({endless}) AS more FROM old",
    "ALTER TABLE Settings RENAME TO old; CREATE VIEW Settings AS SELECT key, ({endless}) AS value FROM old",
    "ALTER TABLE Cache RENAME COLUMN {column} TO worth",
    "ALTER TABLE Cache ADD COLUMN more TEXT GENERATED ALWAYS AS (hex(zeroblob(100000000))) VIRTUAL",
    "ALTER TABLE Settings RENAME COLUMN value TO was; ALTER TABLE Settings ADD COLUMN value {generated}",
    "INSERT OR IGNORE INTO Settings {many} SELECT 'k' || x, x FROM c", "DROP TABLE {table}",
    "DROP INDEX Cache_key_raw",
    "DROP INDEX Cache_key_raw; CREATE UNIQUE INDEX Cache_key_raw ON Cache (key, raw, hex(zeroblob(20000)))",
    "CREATE TABLE more (x)", "PRAGMA user_version = {number}; PRAGMA page_size = 65536; VACUUM",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'TEXT', {value}) WHERE type = 'table'",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = rootpage + 1",
    "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE type = '{object}'", "PRAGMA journal_mode = DELETE",
    "PRAGMA journal_mode = WAL; UPDATE Cache SET value = 'x'",
)  # fmt: skip
_WORDS = {
    "column": ["mode", "filename", "value", "key", "raw", "size", "expire_time", "store_time"],
    "trigger": [
        f"Settings_{name}" for name in ("count_insert", "count_delete", "size_insert", "size_update", "size_delete")
    ],
    "event": ["INSERT", "UPDATE", "DELETE"],
    "table": ["Cache", "Settings"],
    "object": ["index", "trigger", "table"],
    "number": ["2", "3", "4", "99", "-1"],
    "value": [
        "NULL",
        "0",
        "-1",
        "9e999",
        "'x'",
        "'../../outside/important.txt'",
        "zeroblob(100)",
        "9223372036854775807",
    ],
    "body": [_ENDLESS, "UPDATE Cache SET value = 'x'", "DELETE FROM Settings", "SELECT RAISE(ABORT, 'no')"],
    "setting": [
        *(
            "count",
            "size",
            "hits",
            "misses",
            "cull_limit",
            "size_limit",
            "statistics",
            "disk_min_file_size",
            "tag_index",
        ),
        *(
            "eviction_policy",
            "sqlite_mmap_size",
            "sqlite_cache_size",
            "sqlite_journal_mode",
            "sqlite_auto_vacuum",
            "nosuch",
        ),
    ],
    "generated": ["TEXT GENERATED ALWAYS AS (hex(zeroblob(300000000))) VIRTUAL"],
    "many": ["WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 20000)"],
    "endless": [_ENDLESS],
    "pickle": ["x'" + b"cos\nsystem\n(S'touch ../outside/owned'\ntR.".hex() + "'"],
}


def _statement(draw):
    """SQL that a stranger may have run on the database."""
    return draw.choice(_SQL).format(**{name: draw.choice(words) for name, words in _WORDS.items()})


def _entry(draw, key, text):
    """A stored reply, changed."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return "x"
    if draw.random() < 0.2:
        return mutate.string(draw, str(text))
    return _changed(draw, value, ("v", "text", "model", "usage", "latency", "finish_reason", "good"), str(key))


def write_cache(draw, seeds):
    folder = Path("run/cache")
    folder.mkdir(parents=True)
    database, kind = folder / "cache.db", draw.random()
    if kind < 0.35:
        database.write_bytes(mutate.mutate_bytes(draw, seeds["cache/cache.db"], [seeds["extes.json"]]))
    elif kind < 0.4:
        _odd_file(draw, seeds, database)
    else:
        database.write_bytes(seeds["cache/cache.db"])
        with contextlib.closing(sqlite3.connect(database)) as connection:
            _change(draw, connection, entries=kind < 0.65)
    if draw.random() < 0.05:
        for suffix in ("-wal", "-shm", "-journal"):
            Path(f"{database}{suffix}").write_bytes(
                draw.choice((b"", b"x" * 5000, draw.randbytes(4096), seeds["cache/cache.db"]))
            )
    return {"mode": draw.choice(("read-write", "read-only")), "clear": draw.random() < 0.2}


def _change(draw, connection, *, entries):
    connection.execute("PRAGMA synchronous = OFF")
    steps = iter(range(20))
    connection.set_progress_handler(lambda: next(steps, None) is None, 10_000)  # what has no end is for the reader
    for _ in range(draw.choice((1, 1, 2, 3))):
        with contextlib.suppress(sqlite3.Error, UnicodeError):
            if not entries:
                statement = _statement(draw)
                connection.executescript(statement)
                if "zeroblob" in statement:
                    break  # more would be computed here what is meant for the reader
                continue
            rows = connection.execute("SELECT rowid, key, value FROM Cache ORDER BY rowid").fetchall()
            for at, key, text in draw.sample(rows, min(len(rows), draw.choice((1, 5, 1000)))):
                value = _entry(draw, key, text)
                value = mutate.encoded(value) if draw.random() < 0.1 else value
                with contextlib.suppress(UnicodeError):
                    connection.execute("UPDATE Cache SET value = ? WHERE rowid = ?", (value, at))
    with contextlib.suppress(sqlite3.Error):
        connection.commit()


def _odd_file(draw, seeds, database):
    kind = draw.randrange(6)
    if kind == 0:
        database.write_bytes(seeds["cache/cache.db"][: draw.randrange(9000)])
    elif kind == 1:
        database.mkdir()
    elif kind == 2:
        os.mkfifo(database)
    elif kind == 3:
        database.symlink_to("../../../outside/important.txt")
    elif kind == 4:
        database.symlink_to("/dev/zero")
    else:
        database.write_bytes(
            draw.choice((b"", b"\0" * 8192, seeds["extes.json"], b"SQLite format 3\0" + b"\xff" * 5000))
        )


def _keys(seeds):
    with contextlib.closing(sqlite3.connect(f"file:{seeds.folder}/cache/cache.db?immutable=1", uri=True)) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM Cache ORDER BY rowid").fetchall()]


_known = []


def read_cache(seeds, how):
    keys = _known or _known.extend(_keys(seeds)) or _known
    with mctsdialog.ResponseCache("run/cache", mode=how["mode"]) as cache:
        for key in (*keys[:12], "nosuch"):
            entry = cache.lookup(key)
            if entry is not None:
                json.dumps([entry.completion.text, entry.completion.usage.total_tokens, entry.completion.latency])
        cache.info()
        if how["mode"] == "read-write":
            request = mctsdialog.llm.ChatRequest((mctsdialog.llm.Message("user", "x"),))
            cache.keep("stub", request, Completion("new", model="stub"))
            found = cache.fetch("stub", request)
            if found is not None and found.text != "new":
                raise BrokenPromiseError("a reply that was kept comes back as another")
            if how["clear"]:
                cache.clear()


def cache_words(draw, seeds, how):
    if how["clear"]:
        return "mctsdialog", draw.choice((["cache", "stats", "run/cache"], ["cache", "clear", "run/cache", "--yes"]))
    Path("messages.jsonl").write_bytes(seeds["messages.jsonl"])
    replay = ["--replay"] if how["mode"] == "read-only" else []
    return "mctsdialog", ["search", "messages.jsonl", "--out", "run", "--limit", "1", *replay, *search_words(seeds.url)]


KINDS = (
    Kind("journal", write_search_journal, read_search_journal, search_journal_words),
    Kind("probes", write_probe_journal, read_probe_journal, probe_journal_words),
    Kind("index", write_index, read_index, index_words),
    Kind("cache", write_cache, read_cache, cache_words),
)
