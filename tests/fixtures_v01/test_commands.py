"""Folders of ``mctsdialog search`` and ``mctsdialog preferences`` of version 0.1, resumed by the same command."""

import json
from pathlib import Path

import pytest

from mctsdialog import load_tree
from mctsdialog.cli import main
from mctsdialog.corpus._output import Output

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def folder(take, server):
    """The search folders and their input; the words that name the server, which has another address now."""
    take("search", "domain.json", "dialogues.jsonl")
    return "--model", "stub", "--base-url", server.url


def check_trees(holds, folder, like="search/finished"):
    """The trees of a folder are those of another as it was written."""
    found, wanted = (
        {load_tree(path).id: json.loads(path.read_text("utf-8")) for path in Path(each, "trees").glob("*.json")}
        for each in (folder, like)
    )
    assert set(found) == set(wanted)
    for name, old in wanted.items():
        new = found[name]
        holds(new["nodes"], old["nodes"], name)
        assert (new["iterations"], new["stop_reason"]) == (old["iterations"], old["stop_reason"])


def test_a_half_finished_search_resumes_to_the_undisturbed_trees_by_the_missing_calls(
    folder, run, server, expected, holds, state, lines
):
    kept = state("search/half/trees")
    journal, begun = Path("search/half/journals/move.jsonl"), Path("search/half/journals/move.jsonl").read_bytes()
    done = run(main, *expected["search"]["command"], *folder, "--out", "search/half")
    assert server.marks() == expected["search"]["missing"]
    check_trees(holds, "search/half")
    assert journal.read_bytes().startswith(begun)
    assert journal.stat().st_size > len(begun)
    finished = Path("search/half/trees/work.json").absolute()
    assert any(state("search/half/trees")[path] == was for path, was in kept.items() if path.absolute() == finished)
    assert "3 trees" in done.output
    assert "1 finished before" in done.output
    assert {line["id"] for line in lines("search/half/finished.jsonl")} == {"work", "exam/2", "move"}
    assert json.loads(Path("search/half/summary.json").read_text("utf-8"))["complete"] is True


def test_a_finished_search_is_left_as_it_is_without_a_call(folder, run, server, expected, state):
    names = ("trees", "journals")
    before = state(*(f"search/finished/{name}" for name in names))
    index = Path("search/finished/finished.jsonl").read_bytes()
    done = run(main, *expected["search"]["command"], *folder, "--out", "search/finished")
    assert server.requests == []
    assert "3 finished before" in done.output
    assert state(*(f"search/finished/{name}" for name in names)) == before
    assert Path("search/finished/finished.jsonl").read_bytes().startswith(index)  # marks of the files are added


def test_a_finished_search_is_replayed_from_its_cache(folder, run, server, expected, holds, take):
    run(main, *expected["search"]["command"], *folder, "--out", "search/finished", "--restart", "--replay")
    assert server.requests == []
    Path("search/finished").rename("again")
    take("search/finished")
    check_trees(holds, "again")


@pytest.mark.parametrize("shard", [(), ("--shard", "1/2"), ("--shard", "2/2"), ("--shard", "1/3")])
def test_indexes_of_shards_are_read_whatever_part_is_searched_now(folder, run, server, expected, shard, state):
    before = state("search/sharded/trees")
    few = ("--max-iterations", 1, "--min-iterations", 1, "--no-cache")
    done = run(main, *expected["search"]["command"], *folder, *few, "--out", "search/sharded", *shard)
    assert server.requests == []
    assert "finished before" in done.output
    assert state("search/sharded/trees") == before


@pytest.mark.parametrize("kind", ["siblings", "random"])
def test_half_done_replies_are_resumed_by_the_missing_calls_to_the_same_data(
    take, run, server, expected, holds, lines, kind
):
    take("trees", "probing", "preferences")
    known = expected["probing"][kind]
    words = ("--model", "stub", "--base-url", server.url, "--out", "data", "--work", f"probing/{kind}")
    replies = Path(f"probing/{kind}/journals/gold.{kind}.jsonl").read_text("utf-8").count('"type":"reply"')
    done = run(main, *known["command"], *words)
    assert f" replies, {replies} from the journal" in done.output
    assert replies > 0
    assert server.marks() == known["missing"]
    files = sorted(path.relative_to(f"preferences/{kind}") for path in Path(f"preferences/{kind}").rglob("*.jsonl"))
    assert len(files) == 2
    for file in files:
        holds(lines(Path("data", file)), lines(Path(f"preferences/{kind}", file)))
    calls = len(server.requests)
    run(main, *known["command"], *words)
    assert len(server.requests) == calls
    if kind == "siblings":
        new, old = (
            json.loads(Path(each).read_text("utf-8"))
            for each in (f"probing/{kind}/trees/gold.json", "trees/probes.json")
        )
        holds(new["nodes"], old["nodes"])


def test_an_id_that_is_no_file_name_has_the_file_that_it_had(take):
    take("search/finished")
    assert Output(Path("search/finished")).tree("exam/2").is_file()
