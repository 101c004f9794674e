"""Nothing is written or removed outside the folder that was named, whatever lies in it."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.errors import DataError
from mctsdialog.files import inside, remove_file, remove_folder

OUTSIDE = [
    "",
    ".",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "/etc/passwd",
    "//x",
    "a//b",
    "a/",
    "a\\b",
    "..\\x",
    "a/./b",
    "a\0",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("act", [inside, remove_file, remove_folder])
def test_a_name_that_leads_outside_is_refused(tmp_path, act, name):
    with pytest.raises(DataError, match="not the name of a file inside"):
        act(tmp_path / "o", name)


@given(st.text(st.sampled_from("./\\a\0:~"), max_size=9))
def test_what_is_accepted_lies_inside(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp()
    try:
        path = inside(root, name)
    except DataError:
        return
    assert path.resolve().is_relative_to(root.resolve())
    assert path.resolve() != root.resolve()


@pytest.fixture
def linked(tmp_path):
    """A folder with links to a victim's file and folder, and to nothing."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "important.txt").write_text("mine")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "link").symlink_to("../victim")
    (tmp_path / "o" / "file").symlink_to("../victim/important.txt")
    (tmp_path / "o" / "broken").symlink_to("nowhere")
    (tmp_path / "o" / "loop").symlink_to("loop")
    yield tmp_path / "o"
    assert (tmp_path / "victim" / "important.txt").read_text() == "mine"
    assert len(list((tmp_path / "victim").iterdir())) == 1
    assert {path.name for path in (tmp_path / "o").iterdir() if path.is_symlink()} >= {"link", "file", "broken"}


@pytest.mark.parametrize(
    "name", ["link", "link/important.txt", "link/new/deep.txt", "file", "broken", "broken/x", "loop"]
)
@pytest.mark.parametrize("act", [inside, remove_file, remove_folder])
def test_links_are_refused_and_stay(linked, act, name):
    with pytest.raises(DataError, match="symbolic link"):
        act(linked, name)


def test_what_lies_inside_is_removed_and_links_in_it_are_not_followed(linked):
    (linked / "sub").mkdir()
    (linked / "sub" / "link").symlink_to("../../victim")
    (linked / "x.json").write_text("{}")
    remove_file(linked, "x.json")
    remove_file(linked, "x.json")
    with pytest.raises(DataError, match="is a folder"):
        remove_file(linked, "sub")
    remove_folder(linked, "sub")
    remove_folder(linked, "sub")
    assert {path.name for path in linked.iterdir()} == {"link", "file", "broken", "loop"}


def test_a_folder_that_was_named_by_a_link_is_used(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "o").symlink_to("real")
    assert inside(tmp_path / "o", "a/b") == tmp_path / "o" / "a" / "b"


# -- every command -------------------------------------------------------------------------------------------------

OWN = {
    "preferences": ["preference", "preference/train.jsonl", "tree", "dataset.json", "README.md"],
    "stats": ["statistics.md", "statistics.json", "stages.png"],
    "export": ["x.graphml"],
    "search": ["trees", "journals", "cache", "cache/cache.db", "finished.jsonl", "summary.json", "trees/x.json"],
}


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tree_file(tmp_path_factory):
    import anyio

    import mctsdialog
    from mctsdialog.worlds import World

    world = World(3, rounds=2)
    config = mctsdialog.SearchConfig(max_iterations=6, min_iterations=6)
    tree = anyio.run(mctsdialog.search, world.dialogue(world.scenario(0)), world.roles(), config)
    return mctsdialog.save_tree(tree, tmp_path_factory.mktemp("trees") / "x.json")


def words(command, tree_file, folder):
    if command == "search":
        (folder / "gold.jsonl").write_text('{"id": "x", "turns": [{"speaker": "seeker", "text": "I am sad."}]}\n')
        settings = [
            "--domain",
            "esc",
            "--model",
            "none",
            "--base-url",
            "http://127.0.0.1:9/v1",
            "--max-iterations",
            "1",
        ]
        return ["search", str(folder / "gold.jsonl"), "--restart", *settings]
    return {
        "preferences": ["preferences", str(tree_file), "--theta", "-2.9", "--min-visits", "1"],
        "stats": ["stats", str(tree_file), "--theta", "-2.9", "--min-visits", "1"],
        "export": ["export", str(tree_file), "--format", "graphml"],
    }[command]


@pytest.mark.parametrize(("command", "name"), [(command, name) for command, names in OWN.items() for name in names])
def test_no_command_writes_or_removes_through_a_link(tree_file, tmp_path, command, name):
    from click.testing import CliRunner

    from mctsdialog.cli._main import main

    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.mkdir()
    (victim / "x.json").write_text("mine")
    (victim / "train.jsonl").write_text("mine")
    link = out / name
    link.parent.mkdir(parents=True)
    link.symlink_to(victim if "." not in name else victim / "x.json")
    if command == "preferences" and name != "dataset.json":
        manifest = {"schema": "mctsdialog.preferences", "version": 1, "files": {"preference/train.jsonl": {"rows": 1}}}
        (out / "dataset.json").write_text(json.dumps(manifest))
    before = snapshot(victim)
    done = CliRunner().invoke(main, [*words(command, tree_file, tmp_path), "--out", str(out)])
    assert done.exit_code in (1, 2), done.output
    assert isinstance(done.exception, SystemExit)
    assert "symbolic link" in done.stderr
    assert snapshot(victim) == before
    assert link.is_symlink()


HOSTILE = [
    "link/important.txt",
    "../victim/important.txt",
    "/etc/hosts",
    "preference/../../victim/important.txt",
    "",
    ".",
]
HOSTILE += ["preference", "dataset.json", "README.md", "preference\\train.jsonl", "..\\victim", "preference/train.txt"]
HOSTILE += ["preference/.jsonl", "preference/-x.jsonl", "preference/a/b.jsonl", "PREFERENCE/train.jsonl", "C:\\x.jsonl"]
HOSTILE += [
    "preference-0/train.jsonl",
    "preference/train.jsonl\n",
    "other/train.jsonl",
    "notes.jsonl",
    "preference/\u202e.jsonl",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_manifest_removes_only_what_a_dataset_has(linked, tree_file, tmp_path, name):
    from mctsdialog.preferences import PreferenceConfig, load_preferences, read_trees, write_dataset

    data = read_trees([tree_file], PreferenceConfig(theta=-2.9, min_visits=1))
    (linked / "notes.jsonl").write_text("mine")
    manifest = {"schema": "mctsdialog.preferences", "version": 1, "files": {name: {"rows": 1}}}
    (linked / "dataset.json").write_text(json.dumps(manifest))
    before = snapshot(tmp_path)
    for act in (lambda: write_dataset({"train": data}, linked), lambda: load_preferences(linked)):
        with pytest.raises(DataError, match="outside its folder, or none of a dataset"):
            act()
    assert snapshot(tmp_path) == before


KILLED = """
import os, signal, sys
from mctsdialog.preferences import PreferenceConfig, _write, read_trees, write_dataset
data = read_trees([sys.argv[1]], PreferenceConfig(theta=-2.9, min_visits=1))
write_dataset({"train": data, "test": data}, sys.argv[2], formats=["sft"])
_write.remove_file = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_dataset({"train": data}, sys.argv[2])
"""


def test_a_dataset_that_a_kill_left_half_is_refused_and_can_be_written_again(tree_file, tmp_path):
    from mctsdialog.preferences import PreferenceConfig, load_preferences, read_trees, write_dataset

    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, str(tree_file), str(out)], check=False, timeout=60)
    assert done.returncode == -9
    assert (out / "sft" / "test.jsonl").is_file()
    (out / "sft" / ".train.jsonl.0123456789abcdef.tmp").write_text("half")
    with pytest.raises(DataError, match="was not written to its end"):
        load_preferences(out)
    write_dataset({"train": read_trees([tree_file], PreferenceConfig(theta=-2.9, min_visits=1))}, out)
    assert [path.name for path in (out / "sft").iterdir()] == ["train.jsonl"]
    assert list(load_preferences(out)) == ["train"]
