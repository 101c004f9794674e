"""A tree read from its journal is the tree that the search has, at every moment, and reading changes nothing."""

import anyio
import pytest

from mctsdialog import SearchConfig, search
from mctsdialog._search.replay import JournalReplay
from mctsdialog.errors import JournalError
from mctsdialog.tree import tree_to_document
from mctsdialog.worlds import World

WORLD = World(7)
SETTINGS = [
    {},
    {"parallelism": 4},
    {"parallelism": 4, "deterministic": True},
    {"algorithm": "calibrated"},
    {"algorithm": "calibrated", "parallelism": 3, "deterministic": True},
    {"algorithm": "beam"},
    {"algorithm": "best_of_n"},
    {"algorithm": "halving"},
]


def content(tree):
    document = tree_to_document(tree)
    return {name: value for name, value in document.items() if name not in ("stop_reason", "config")}


def grown(settings, journal, start=None, **more):
    """A searched tree."""
    config = SearchConfig(max_iterations=40, min_iterations=40, **settings)
    return anyio.run(lambda: search(start or WORLD.scenario(1), WORLD.roles(), config, journal=journal, **more))


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: "-".join(map(str, each.values())) or "paper")
@pytest.mark.parametrize("gold", [False, True])
def test_a_replayed_tree_is_the_searched_one(settings, gold, tmp_path):
    start = WORLD.dialogue(WORLD.scenario(2)) if gold else None
    tree = grown(settings, tmp_path / "j.jsonl", start)
    before = (tmp_path / "j.jsonl").read_bytes()
    replay = JournalReplay(tmp_path / "j.jsonl")
    assert replay.update()
    assert content(replay.tree) == content(tree)
    assert not replay.update()
    assert (tmp_path / "j.jsonl").read_bytes() == before


@pytest.mark.parametrize("settings", SETTINGS[:4], ids=lambda each: "-".join(map(str, each.values())) or "paper")
def test_it_follows_a_journal_that_grows_by_any_pieces(settings, tmp_path):
    tree = grown(settings, tmp_path / "j.jsonl", WORLD.dialogue(WORLD.scenario(2)))
    data = (tmp_path / "j.jsonl").read_bytes()
    file, replay, sizes = tmp_path / "growing.jsonl", JournalReplay(tmp_path / "growing.jsonl"), []
    for end in (*range(1, len(data), 701), len(data)):
        file.write_bytes(data[:end])
        replay.update()
        sizes.append(0 if replay.tree is None else len(replay.tree))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 5
    assert content(replay.tree) == content(tree)


def test_what_is_no_journal_of_a_search_is_one_error(tmp_path):
    with pytest.raises(JournalError, match="cannot be read"):
        JournalReplay(tmp_path / "absent.jsonl").update()
    file = tmp_path / "j.jsonl"
    file.write_text("not a journal\n", "utf-8")
    replay = JournalReplay(file)
    assert not replay.update()
    assert replay.tree is None
