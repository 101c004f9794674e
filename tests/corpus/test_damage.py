"""Files of a corpus that were damaged, or that version 0.1 wrote: nothing damaged counts as whole, nothing is lost."""

import json
import os
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.corpus import Output, TreeRecord
from mctsdialog.corpus._finished import FinishedIndex
from mctsdialog.errors import DataError, JournalError
from mctsdialog.files import earlier_stem, file_stem, seal

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

CONFIG = mctsdialog.SearchConfig(max_iterations=4, min_iterations=4, horizon=1)


@pytest.fixture
def functions(domain, hash_roles):
    return hash_roles(domain.strategies.names)


@pytest.fixture
def search(gold, functions, domain, tmp_path):
    """Searches dialogues of some ids into ``tmp_path / "o"``; the calls of the last time are in ``functions``."""

    async def search(*ids, **settings):
        functions.calls.clear()
        dialogues = [gold.model_copy(update={"id": name, "scene": f"Scene of {name!r}"}) for name in ids]
        return await mctsdialog.search_corpus(
            dialogues, lambda start: functions.roles(domain), CONFIG, out=tmp_path / "o", **settings
        )

    return search


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "trees").iterdir()}


def flip(path):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


DAMAGE = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a bit flipped": flip,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "removed": lambda path: path.unlink(),
    "another tree": lambda path: path.write_bytes((path.parent / f"b{path.suffix}").read_bytes()),
}


@pytest.mark.parametrize("suffix", [".json", ".graphml"])
@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_tree_is_rebuilt_without_a_call_and_named(search, functions, tmp_path, damage, suffix):
    await search("a", "b")
    before = contents(tmp_path / "o")
    DAMAGE[damage](tmp_path / "o" / "trees" / f"a{suffix}")
    again = await search("a", "b")
    assert contents(tmp_path / "o") == before
    assert functions.calls == []
    assert again.complete
    assert again.damaged == [f"trees/a{suffix}"]
    assert json.loads((tmp_path / "o" / "summary.json").read_text("utf-8"))["damaged"] == again.damaged
    third = await search("a", "b")
    assert (third.skipped, third.damaged) == (2, [])


def old_line(line):
    """A line as version 0.1 wrote it."""
    found = json.loads(line)
    return json.dumps({name: value for name, value in found.items() if name not in ("files", "crc", "health")}).encode()


async def test_an_index_of_version_0_1_is_read_and_its_trees_are_looked_at_once(
    search, functions, tmp_path, monkeypatch
):
    await search("a", "b", "c")
    before = contents(tmp_path / "o")
    index = tmp_path / "o" / "finished.jsonl"
    index.write_bytes(b"\n".join(map(old_line, index.read_bytes().splitlines())) + b"\n")
    (tmp_path / "o" / "trees" / "b.json").write_bytes(before["b.json"][:-20])
    (tmp_path / "o" / "trees" / "c.json").write_bytes(before["a.json"])
    again = await search("a", "b", "c")
    assert functions.calls == []
    assert (again.skipped, again.damaged) == (1, ["trees/b.json", "trees/c.json"])
    assert contents(tmp_path / "o") == before
    monkeypatch.setattr("mctsdialog.corpus._finished.load_tree", lambda path: pytest.fail("looked at again"))
    third = await search("a", "b", "c")
    assert (third.skipped, third.damaged) == (3, [])


WRONG = [
    {"id": 3}, {"id": None}, {"status": "failed"}, {"status": ["done"]}, {"nodes": "1"}, {"nodes": -1},
    {"nodes": True}, {"nodes": 10**400}, {"ends": 1.0}, {"iterations": None}, {"best": "high"}, {"best": [1]},
    {"best": float("nan")}, {"best": float("inf")}, {"best": 10**400}, {"stop_reason": 1}, {"error": {}},
    {"seconds": None}, {"seconds": "1"}, {"fingerprint": 1}, {"fingerprint": None},
]  # fmt: skip


LINES = [
    b"[" * 200_000,
    b'{"a":' * 100_000,
    bytes(999),
    b"\xff\xfe{}",
    b"1" * 5000,
    b"[1]",
    b"null",
    b'"x"',
    b"{}",
    b"{",
]


@pytest.mark.parametrize("old", [True, False])
async def test_lines_of_wrong_types_or_none_at_all_are_counted_and_removed(search, functions, tmp_path, old):
    await search("a", "b")
    index = tmp_path / "o" / "finished.jsonl"
    first, second = index.read_bytes().splitlines(keepends=True)
    found = json.loads(first)
    found.pop("crc")
    if old:
        found.pop("files")
    changed = [json.dumps(found | {"id": "c"} | change) for change in WRONG]
    lines = [text.encode() if old else seal(text).encode() for text in changed] + LINES
    index.write_bytes(first + b"\n".join(lines) + b"\n" + second[:-1])
    again = await search("a", "b")
    assert (again.skipped, again.damaged) == (2, [f"finished.jsonl: {len(lines)} lines"])
    assert index.read_bytes() == first + second
    assert (await search("a", "b")).damaged == []
    index.write_bytes(lines[0])
    third = await search("a", "b")
    assert (third.done, third.damaged, functions.calls) == (2, ["finished.jsonl: 1 line"], [])


async def test_every_changed_byte_of_a_line_is_found(search, tmp_path):
    await search("a")
    index = tmp_path / "o" / "finished.jsonl"
    whole = index.read_bytes()

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, len(whole) - 2), st.integers(1, 255))
    def look(place, change):
        index.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
        with FinishedIndex(Output(tmp_path / "o")) as found:
            assert "a" not in found
            assert found.damaged

    look()


async def test_what_kills_left_is_swept_and_other_files_stay(search, tmp_path):
    await search("a")
    trees = tmp_path / "o" / "trees"
    left = [trees / ".a.json.0123456789abcdef.tmp", trees / ".a.graphml.ab_cd012.tmp"]
    left += [tmp_path / "o" / ".summary.json.0123456789abcdef.tmp", tmp_path / "o" / ".finished.jsonl.ab_cd012.tmp"]
    other = [trees / ".notes.0123456789abcdef.tmp", trees / "mine.tmp"]
    for path in (*left, *other):
        path.write_text("whole tree")
    await search("a")
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in other)


# -- names ---------------------------------------------------------------------------------------------------------

IDS = ["a/b", "a_b-c14cddc0", "Abc", "abc", "CON", "-x", "", "é", "e\u0301", file_stem("a/b"), "x.json", "x"]


async def test_every_id_has_files_of_its_own(search, functions, tmp_path):
    made = await search(*IDS)
    assert made.trees == len(IDS) == len(list((tmp_path / "o" / "trees").glob("*.json")))
    found = {mctsdialog.load_tree(path).id for path in (tmp_path / "o" / "trees").glob("*.json")}
    assert found == set(IDS)
    assert (await search(*IDS)).skipped == len(IDS)
    assert functions.calls == []


def as_version_0_1(folder, *ids):
    """Rename the files of these ids as version 0.1 named them."""
    for name in ids:
        for place, suffix in (("trees", "json"), ("trees", "graphml"), ("journals", "jsonl")):
            (folder / place / f"{file_stem(name)}.{suffix}").rename(folder / place / f"{earlier_stem(name)}.{suffix}")
    index = folder / "finished.jsonl"
    index.write_bytes(b"\n".join(map(old_line, index.read_bytes().splitlines())) + b"\n")


async def test_files_of_version_0_1_keep_their_names(search, functions, tmp_path):
    ids = ["Abc", "a/b", "é", ""]
    await search(*ids)
    as_version_0_1(tmp_path / "o", *ids)
    before = contents(tmp_path / "o")
    assert "Abc.json" in before
    again = await search(*ids)
    assert (again.skipped, functions.calls, again.damaged) == (4, [], [])
    (tmp_path / "o" / "trees" / "Abc.json").write_bytes(b"")
    third = await search(*ids)
    assert (third.done, functions.calls, third.damaged) == (1, [], ["trees/Abc.json"])
    assert contents(tmp_path / "o") == before
    anew = await search(*ids, restart=True)
    assert anew.done == 4
    assert set(contents(tmp_path / "o")) == set(before)


async def test_an_id_never_takes_a_file_of_version_0_1_that_is_anothers(search, functions, tmp_path):
    await search("a/b")
    as_version_0_1(tmp_path / "o", "a/b")
    before = contents(tmp_path / "o")
    assert set(before) == {"a_b-c14cddc0.json", "a_b-c14cddc0.graphml"}
    again = await search("a/b", "a_b-c14cddc0")
    assert (again.skipped, again.done) == (1, 1)
    after = contents(tmp_path / "o")
    assert {name: after[name] for name in before} == before
    assert (await search("a_b-c14cddc0", "a/b")).skipped == 2
    assert functions.calls == []


async def test_a_foreign_file_under_an_ids_name_is_left_alone(search, tmp_path):
    await search("b")
    foreign = contents(tmp_path / "o")["b.json"]
    (tmp_path / "o" / "trees" / "a.json").write_bytes(foreign)
    made = await search("a", "b")
    assert (made.done, made.skipped) == (1, 1)
    assert contents(tmp_path / "o")["a.json"] == foreign
    assert len(list((tmp_path / "o" / "trees").glob("a-*.json"))) == 1


# -- links ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["trees", "journals", "finished.jsonl", "summary.json", "trees/a.json", "journals/a.jsonl"]
)
@pytest.mark.parametrize("restart", [False, True])
async def test_links_inside_the_folder_are_neither_written_through_nor_removed(search, tmp_path, name, restart):
    victim = tmp_path / "victim"
    if "." in name:
        victim.write_text("mine")
    else:
        victim.mkdir()
        (victim / "a.json").write_text("mine")
    link = tmp_path / "o" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    failed = None
    try:
        failed = (await search("a", restart=restart)).failures[0].error
    except (DataError, JournalError) as error:
        failed = str(error)
    assert "symbolic link" in failed
    assert link.is_symlink()
    assert [path.read_text() for path in tmp_path.glob("victim*/**/*.json")] == (["mine"] if victim.is_dir() else [])
    assert victim.is_dir() or victim.read_text() == "mine"


async def test_a_folder_that_is_a_link_itself_is_used(search, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "o").symlink_to(tmp_path / "real")
    assert (await search("a")).complete
    assert (tmp_path / "real" / "trees" / "a.json").is_file()


async def test_a_record_keeps_the_marks_of_its_files_out_of_its_own_values(tmp_path):
    record = TreeRecord("a", "done", nodes=1)
    with FinishedIndex(Output(tmp_path)) as index:
        index.add(record, "f")
    line = json.loads((tmp_path / "finished.jsonl").read_text("utf-8"))
    assert {name: line[name] for name in asdict(record)} == asdict(record)
    assert line["files"] == {}
