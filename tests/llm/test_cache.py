"""The response cache: what is kept, what is served, and what a hostile folder cannot do."""

import json
import os
import pickle
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import diskcache
import pytest

from mctsdialog.errors import CacheMissError, ConfigError, DataError, ModelUnavailableError
from mctsdialog.llm import (
    CachedModel,
    Completion,
    Price,
    ResponseCache,
    ScriptedModel,
    SingleFlight,
    Usage,
    request_key,
)
from mctsdialog.llm.base import former_keys

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def numbers(text: str) -> None:
    if not text.isdigit():
        raise ValueError("not a number")


async def test_a_reply_is_paid_once(tmp_path: Path, ask: Any) -> None:
    usage = Usage(1_000_000, 500_000, 400_000)
    script = ScriptedModel([Completion("7", usage=usage, latency=2.0, model="scripted")])
    prices = {"scripted": Price(1.0, 4.0, cached_input=0.5)}
    with ResponseCache(tmp_path / "c", prices=prices) as cache:
        model = CachedModel(script, cache)
        first = await model.complete(ask())
        second = await model.complete(ask())
        assert cache.stats.money_saved == pytest.approx(0.6 + 0.2 + 2.0)
        assert (cache.stats.hits, cache.stats.misses, cache.stats.stored) == (1, 1, 1)
        assert cache.stats.tokens_saved == 1_500_000
        assert cache.info().entries == 1
        assert cache.info().size > 0
    assert (first.cached, second.cached) == (False, True)
    assert second == first.as_cached()
    with ResponseCache(tmp_path / "c") as cache:  # a new process
        assert (await CachedModel(script, cache).complete(ask())).text == "7"
        assert cache.clear() == 1
        assert cache.info().entries == 0


async def test_bad_replies_are_misses_but_replayed(tmp_path: Path, ask: Any) -> None:
    script = ScriptedModel([Completion("cut", "length"), "words", "7", Completion("8", "length")])
    with ResponseCache(tmp_path) as cache:
        model = CachedModel(script, cache)
        await model.complete(ask(accept=numbers))
        await model.complete(ask(accept=numbers))
        with ResponseCache(tmp_path, mode="read-only") as replay:
            assert (await CachedModel(script, replay).complete(ask())).text == "words"
        assert (await model.complete(ask(accept=numbers))).text == "7"
        assert (await model.complete(ask(accept=numbers))).text == "7"
        assert script.calls == 3
        assert (cache.stats.stored, cache.stats.bad) == (3, 2)
        cache.keep(model.name, ask(), Completion("9", "length"))
        assert (await model.complete(ask())).text == "7"  # the good one stayed


async def test_a_hit_must_still_be_accepted(tmp_path: Path, ask: Any) -> None:
    script = ScriptedModel(["words", "7"])
    with ResponseCache(tmp_path) as cache:
        model = CachedModel(script, cache)
        await model.complete(ask())
        assert (await model.complete(ask(accept=numbers))).text == "7"
        assert (await model.complete(ask())).text == "7"


async def test_a_failed_call_stores_nothing(tmp_path: Path, ask: Any) -> None:
    with ResponseCache(tmp_path) as cache:
        with pytest.raises(ModelUnavailableError):
            await CachedModel(ScriptedModel([ModelUnavailableError("x")]), cache).complete(ask())
        assert cache.info().entries == 0


async def test_replay_writes_nothing_and_misses_loudly(tmp_path: Path, ask: Any) -> None:
    with ResponseCache(tmp_path) as cache:
        await CachedModel(ScriptedModel(["7"]), cache).complete(ask())
    before = (tmp_path / "cache.db").read_bytes()
    script = ScriptedModel([])
    with ResponseCache(tmp_path, mode="read-only") as cache:
        model = CachedModel(script, cache)
        assert (await model.complete(ask())).text == "7"
        with pytest.raises(CacheMissError) as caught:
            await model.complete(ask("new"))
        assert caught.value.key == request_key("scripted", ask("new"))
        assert cache.info().entries == 1
        with pytest.raises(ConfigError):
            cache.clear()
    assert script.calls == 0
    assert (tmp_path / "cache.db").read_bytes() == before


async def test_odd_text_survives(tmp_path: Path, ask: Any) -> None:
    text = "a\x00b \ud83d é 你好 " + "x" * 200_000
    with ResponseCache(tmp_path) as cache:
        model = CachedModel(ScriptedModel([text]), cache)
        await model.complete(ask())
        assert (await model.complete(ask())).text == text
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir())[0] == "cache.db"
    assert not list(tmp_path.rglob("*.val"))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def plant(folder: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.execute(sql, values)


INSERT = "INSERT INTO Cache(key, raw, mode, filename, value, size) VALUES (?, ?, ?, ?, ?, 1)"


@pytest.mark.parametrize("mode", ["read-write", "read-only"])
async def test_hostile_rows_are_misses(mode: Any, tmp_path: Path, ask: Any) -> None:
    folder, mark, victim = tmp_path / "c", tmp_path / "mark", tmp_path / "victim.txt"
    victim.write_text(json.dumps({"v": 1}))
    ResponseCache(folder).close()
    bomb = pickle.dumps(Bomb(mark))
    (folder / "bomb.val").write_bytes(bomb)
    good = {"v": 1, "model": "m", "text": "t", "finish_reason": "stop", "usage": [1, 1, 0], "latency": 0, "good": True}
    rows: list[tuple[Any, ...]] = [
        (1, 4, None, bomb),
        (1, 4, "bomb.val", None),
        (1, 3, "../victim.txt", None),
        (1, 2, str(victim), None),
        (1, 1, None, bomb),
        (1, 1, None, 7),
        (1, 1, None, "not json"),
        (1, 1, None, "[" * 100_000),
        *((1, 1, None, json.dumps({**good, **change})) for change in (
            {"v": 3}, {"v": 2}, {"v": True}, {"v": "1"}, {"v": []}, {"thought": 1}, {"owner": 1}, {"text": 3},
            {"usage": [1, 1, 0, 0]}, {"usage": [1]}, {"usage": [1, -1, 0]}, {"usage": [True, 1, 1]},
            {"finish_reason": "x"}, {"finish_reason": []}, {"good": 1}, {"latency": "x"}, {"model": None},
        )),
    ]  # fmt: skip
    requests = [ask(f"{index}") for index in range(len(rows))]
    for request, row in zip(requests, rows, strict=True):
        plant(folder, INSERT, request_key("scripted", request), *row)
    plant(folder, INSERT, bomb, 0, 4, "../victim.txt", bomb)  # a pickled key, too
    with ResponseCache(folder, mode=mode) as cache:
        model = CachedModel(ScriptedModel(lambda _request: "fresh"), cache)
        for request in requests:
            if mode == "read-only":
                with pytest.raises(CacheMissError):
                    await model.complete(request)
            else:
                assert (await model.complete(request)).text == "fresh"
                assert (await model.complete(request)).cached
        assert cache.stats.corrupt == len(rows)
        if mode == "read-write":
            assert cache.clear() == len(rows) + 1
    assert not mark.exists()
    assert victim.exists()


@pytest.mark.parametrize("mode", ["read-write", "read-only"])
@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("INSERT OR REPLACE INTO Settings VALUES ('disk_min_file_size', ?)", pickle.dumps(1)),
        ("INSERT OR REPLACE INTO Settings VALUES ('_disk', ?)", "x"),
        ("INSERT OR REPLACE INTO Settings VALUES ('sqlite_temp_store_directory', ?)", "tmp"),
        ("INSERT OR REPLACE INTO Settings VALUES ('sqlite_journal_mode', ?)", "wal; ATTACH 'x' AS y"),
        ("CREATE TABLE extra AS SELECT ? AS a", 1),
        ("CREATE TRIGGER boom AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END", None),
    ],
)
def test_a_folder_with_anything_else_is_refused(sql: str, value: Any, mode: Any, tmp_path: Path) -> None:
    ResponseCache(tmp_path).close()
    plant(tmp_path, sql, *([] if value is None else [value]))
    with pytest.raises(DataError, match="not a response cache"):
        ResponseCache(tmp_path, mode=mode)


def test_weak_settings_are_overruled(tmp_path: Path, ask: Any) -> None:
    with diskcache.Cache(str(tmp_path), eviction_policy="least-recently-used", size_limit=1, disk_min_file_size=0):
        pass
    with ResponseCache(tmp_path) as cache:
        for index in range(50):
            cache.keep("m", ask(f"{index}"), Completion("x" * 1000))
        assert cache.info().entries == 50
    assert not list(tmp_path.rglob("*.val"))


def test_a_variable_in_the_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", "other")  # diskcache would open ./other
    with pytest.raises(ConfigError, match="variable"):
        ResponseCache(tmp_path / "$ELSEWHERE")


async def test_a_thought_is_kept_beside_the_reply(tmp_path: Path, ask: Any) -> None:
    given = Completion("7", usage=Usage(1, 9, 0, 8), model="m", thought="Is it </end/>?")
    with ResponseCache(tmp_path) as cache:
        model = CachedModel(ScriptedModel([given]), cache)
        await model.complete(ask(accept=numbers))
        assert await model.complete(ask(accept=numbers)) == given.as_cached()


OLD = {"v": 1, "model": "m", "finish_reason": "stop", "usage": [1, 9, 0], "latency": 0, "good": True}
A, B = "m@https://a.example/v1", "m@https://b.example/v1"


def old_cache(folder: Path, *entries: tuple[Any, str]) -> Path:
    """A cache as version 0.1 left it."""
    ResponseCache(folder).close()
    for request, text in entries:
        plant(folder, INSERT, former_keys("m", request)[0], 1, 1, None, json.dumps({**OLD, "text": text}))
    return folder


def at(identity: str, cache: ResponseCache, *replies: str) -> CachedModel:
    return CachedModel(ScriptedModel(replies, name="m", identity=identity), cache)


async def test_two_servers_with_one_model_name_do_not_answer_for_each_other(tmp_path: Path, ask: Any) -> None:
    with ResponseCache(tmp_path) as cache:
        one, two = at(A, cache, "1"), at(B, cache, "2")
        for _ in range(2):
            assert (await one.complete(ask())).text == "1"
            assert (await two.complete(ask())).text == "2"
        assert cache.info().entries == 2
    with ResponseCache(tmp_path, mode="read-only") as cache:
        assert [(await at(each, cache).complete(ask())).text for each in (A, B)] == ["1", "2"]
        with pytest.raises(CacheMissError, match="server"):
            await at("m", cache).complete(ask())
    flights = [SingleFlight(ScriptedModel([each], identity=each, latency=0.01)) for each in (A, B)]
    assert [(await each.complete(ask())).text for each in flights] == [A, B]


async def test_an_entry_of_version_0_1_belongs_to_the_first_server_that_uses_it(tmp_path: Path, ask: Any) -> None:
    old_cache(tmp_path, (ask("x"), "old x"), (ask("y"), "old y"))
    with ResponseCache(tmp_path) as cache:
        assert (await at(A, cache).complete(ask("x"))).text == "old x"
        assert (await at(B, cache, "new x").complete(ask("x"))).text == "new x"
        assert (await at(B, cache).complete(ask("y"))).text == "old y"
        assert cache.stats.hits == 2
    with ResponseCache(tmp_path) as cache:  # a new process
        assert (await at(A, cache).complete(ask("x"))).text == "old x"
        assert (await at(B, cache).complete(ask("x"))).text == "new x"
        assert (await at(A, cache, "new y").complete(ask("y"))).text == "new y"
        assert cache.stats.hits == 2


async def test_a_replay_takes_entries_of_version_0_1_and_writes_nothing(tmp_path: Path, ask: Any) -> None:
    old_cache(tmp_path, (ask("x"), "old x"), (ask("y"), "old y"))
    with ResponseCache(tmp_path) as cache:
        await at(A, cache).complete(ask("y"))
    before = (tmp_path / "cache.db").read_bytes()
    with ResponseCache(tmp_path, mode="read-only") as cache:
        assert [(await at(each, cache).complete(ask("x"))).text for each in (A, B, "m")] == ["old x"] * 3
        with pytest.raises(CacheMissError):
            await at(B, cache).complete(ask("y"))  # it is known to be of the other
    assert (tmp_path / "cache.db").read_bytes() == before


async def test_a_reply_of_version_0_1_is_read_anew(tmp_path: Path, ask: Any) -> None:
    """It was stored as the server gave it, thoughts and all, and counted as good."""
    old_cache(tmp_path, (ask("x"), "<think>5, I think</think>7"), (ask("y"), "<think>"), (ask("z"), "five"))
    with ResponseCache(tmp_path) as cache:
        found = await at("m", cache).complete(ask("x", accept=numbers))
        assert (found.text, found.thought, found.cached) == ("7", "5, I think", True)
        assert (await at("m", cache).complete(ask("x", accept=numbers))).thought == "5, I think"
        assert (await at("m", cache, "8").complete(ask("y", accept=numbers))).text == "8"
        assert (await at("m", cache, "9").complete(ask("z", accept=numbers))).text == "9"


async def test_an_utterance_of_version_0_1_was_asked_for_with_a_stop(tmp_path: Path, ask: Any) -> None:
    then = replace(ask(), sampling=replace(ask().sampling, stop=("\n\n",)))
    old_cache(tmp_path / "default", (then, "old"))
    old_cache(tmp_path / "own", (ask(), "own"))
    now = replace(ask(), first_paragraph=True, prompt_version=2)
    for folder, text in (("default", "old"), ("own", "own")):
        with ResponseCache(tmp_path / folder) as cache:
            assert (await at(A, cache).complete(now)).text == text
            assert (await at(A, cache, "x").complete(replace(now, messages=(*now.messages, *now.messages)))).text == "x"


async def test_processes_share_a_cache(tmp_path: Path) -> None:
    program = f"""
import sys
from mctsdialog.llm import ChatRequest, Completion, Message, ResponseCache
with ResponseCache({str(tmp_path / "c")!r}) as cache:
    for index in range(100):
        cache.keep("m", ChatRequest((Message("user", str(index)),)), Completion(str(index)))
"""
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(anyio.run_process, [sys.executable, "-c", program])
    with ResponseCache(tmp_path / "c", mode="read-only") as cache:
        assert cache.info().entries == 100


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be used"):
        ResponseCache(tmp_path / "file")
    with pytest.raises(ConfigError, match="no response cache"):
        ResponseCache(tmp_path / "absent", mode="read-only")
    assert not (tmp_path / "absent").exists()
    with pytest.raises(ConfigError, match="mode"):
        ResponseCache(tmp_path / "absent", mode="append")  # type: ignore[arg-type]
    for mode in ("read-write", "read-only"):
        (tmp_path / "broken").mkdir(exist_ok=True)
        (tmp_path / "broken" / "cache.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
        with pytest.raises(DataError, match="cannot be read"):
            ResponseCache(tmp_path / "broken", mode=mode)  # type: ignore[arg-type]


async def test_replies_of_one_moment_are_written_together(tmp_path: Path, ask: Any, at_once: Any) -> None:
    """A good reply stays, whichever of two to one request comes first."""
    good, bad = Completion("7"), Completion("7 and", "length")
    with ResponseCache(tmp_path) as cache:
        database = cache._store._cache._con  # type: ignore[attr-defined]  # the connection that diskcache has
        begun: list[str] = []
        database.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)
        asks = [ask(f"{number // 2}") for number in range(40)]
        found = await at_once(
            cache.store, [("m", *each) for each in zip(asks, [good, bad, bad, good] * 10, strict=True)]
        )
        database.set_trace_callback(None)
        assert found == [None] * 40
        assert len(begun) == 1
        assert cache.info().entries == 20
        assert all(entry.good for entry in (cache.lookup(request_key("m", each)) for each in asks) if entry is not None)
        assert cache.stats.bad == 20


async def test_every_caller_is_told_that_nothing_was_written(tmp_path: Path, ask: Any, at_once: Any) -> None:
    cache = ResponseCache(tmp_path)
    cache.close()
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"cache.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "cache.db").mkdir()
    found = await at_once(cache.store, [("m", ask(name), Completion("x")) for name in "abc"])
    assert [type(error) for error in found] == [DataError] * 3


async def test_a_reply_is_written_though_its_caller_is_cancelled(tmp_path: Path, ask: Any) -> None:
    with ResponseCache(tmp_path) as cache:
        async with anyio.create_task_group() as group:
            group.start_soon(cache.store, "m", ask("leads"), Completion("x"))
            group.start_soon(cache.store, "m", ask("follows"), Completion("x"))
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert cache.info().entries == 2
