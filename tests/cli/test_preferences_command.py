"""``mctsdialog preferences`` as a user runs it: trees in, a dataset out, and one clear error for bad input."""

import json
import os
import subprocess
import sys

import anyio
import pytest
from click.testing import CliRunner

import mctsdialog
from mctsdialog._search import SearchConfig
from mctsdialog.cli import main
from mctsdialog.text import markdown_line

SECRET = "sk-very-secret-key"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        done = CliRunner().invoke(main, ["preferences", *map(str, words)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    return run


def rows(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_one_command_makes_the_whole_dataset(run, folder, tmp_path):
    code, output = run(folder, "--split", "train=0.75,test=0.25", "--subset", 1, "--subset", 2, "--license", "mit")
    assert code == 0, output
    assert "4 trees, 3 with a valid path\n  1 without: root below theta" in output
    out = tmp_path / "preferences"
    for form in mctsdialog.preferences.FORMATS:
        for split in ("train", "test"):
            assert rows(out / form / f"{split}.jsonl")
    assert len(rows(out / "sft-2" / "train.jsonl")) == 2
    trees = [mctsdialog.load_tree(file) for file in sorted(folder.glob("*.json"))]
    pairs = [pair.provenance() for tree in trees for pair in mctsdialog.preference_pairs(tree)]
    written = [row["provenance"] for split in ("train", "test") for row in rows(out / "preference" / f"{split}.jsonl")]
    assert sorted(map(json.dumps, written)) == sorted(map(json.dumps, pairs))


def test_settings_reach_the_extraction(run, folder, tmp_path):
    loose = ("--theta", "-0.5", "--min-visits", "1", "--path-rule", "end")
    code, output = run(folder, *loose, "--max-per-tree", "3", "--format", "preference", "--format", "tree")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "preferences").iterdir()) == [
        "README.md",
        "dataset.json",
        "preference",
        "tree",
    ]
    config = json.loads((tmp_path / "preferences" / "dataset.json").read_text("utf-8"))["config"]
    assert (config["theta"], config["min_visits"], config["path_rule"], config["max_per_tree"]) == (-0.5, 1, "end", 3)
    assert len(rows(tmp_path / "preferences/preference/train.jsonl")) == 12
    assert "over the cap of a tree" in output


def test_parquet(run, folder, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    code, _ = run(folder, "--file-type", "parquet", "--format", "preference")
    assert code == 0
    assert parquet.read_table(tmp_path / "preferences/preference/train.parquet").num_rows > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("empty",), "empty: there are no trees"),
        (("absent",), "absent: there is no such file"),
        (("trees", "--theta", "1.5"), "theta 1.5 is outside the rewards of tree 'gold-0', -3 to 1"),
        (("trees", "--min-visits", "-1"), "min_visits"),
        (("trees", "--split", "train=0.9"), "sum to 1"),
        (("trees", "--split", "train"), "NAME=FRACTION"),
        (
            ("trees", "--split", "a=0.2,b=0.2,c=0.2,d=0.2,e=0.2"),
            "cannot be split into 5 parts",
        ),
        (("trees", "--subset", "999"), "a subset of 999 dialogues"),
        (("trees", "--siblings", "none"), "--siblings"),
        (("trees", "--siblings", "1", "--random"), "two different datasets"),
        (("trees", "--out", "trees"), "holds other files"),
        (("trees", "half.json"), "half.json: not JSON"),
        (("trees", "other.json"), "other.json: tree 'other': domain: is of domain esc"),
    ],
)
def test_bad_input_is_one_clear_line(run, folder, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "half.json").write_bytes((folder / "gold-0.json").read_bytes()[:1000])
    esc = mctsdialog.get_domain("esc")
    other = mctsdialog.Tree(mctsdialog.Scenario(id="other"), esc, [mctsdialog.Turn("seeker", "Hi.")])
    mctsdialog.save_tree(other, tmp_path / "other.json")
    code, output = run(*words)
    assert code == 2, output
    assert message in output
    assert output.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "preferences").exists()


def test_lenient_counts_what_cannot_be_read(run, folder, tmp_path):
    (tmp_path / "half.json").write_bytes((folder / "gold-0.json").read_bytes()[:1000])
    code, output = run("trees", "half.json", "--lenient")
    assert code == 0
    assert "files skipped: 1" in output
    assert "half.json: not JSON" in output


def test_trees_without_a_valid_path_are_told_and_nothing_is_written(run, folder, tmp_path):
    code, output = run(folder, "--theta", "1.0")
    assert code == 1
    assert "4 without" in output
    assert "no tree has a valid path" in output
    assert not (tmp_path / "preferences").exists()


@pytest.fixture
def esc_folder(tmp_path):
    """Two gold trees of the ESC domain that no search grew, so that every turn lacks a rejected sibling."""
    for dialogue in mctsdialog.sample_dialogues()[:2]:
        roles = mctsdialog.Roles.from_model(mctsdialog.ScriptedModel(lambda request: _scores()))
        tree = anyio.run(mctsdialog.search, dialogue, roles, SearchConfig(max_iterations=0))
        mctsdialog.save_tree(tree, tmp_path / "gold" / f"{dialogue.id}.json")
    return tmp_path / "gold"


def _scores():
    return json.dumps({strategy.name: 5 for strategy in mctsdialog.get_domain("esc").strategies})


@pytest.fixture
def call(tmp_path, stub_server):
    """The command in a process of its own, with models at the stub server."""

    def call(*words):
        command = [sys.executable, "-W", "error", "-m", "mctsdialog", "preferences", *map(str, words)]
        command += ["--model", "stub", "--base-url", stub_server.url]
        environment = {**os.environ, "OPENAI_API_KEY": SECRET, "COLUMNS": "200"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=100, check=False
        )
        assert "Traceback" not in done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    return call


def test_siblings_are_generated_once_and_the_dataset_has_their_pairs(call, esc_folder, tmp_path, stub_server):
    words = (esc_folder, "--siblings", 2, "--horizon", 0)
    code, out, err = call(*words)
    assert code == 0, err
    turns = sum(
        len(list(mctsdialog.preferences.tree_record(mctsdialog.load_tree(f)).nodes)) for f in esc_folder.glob("*.json")
    )
    assert len(stub_server.requests) == turns * 2 * 3  # supporter, judge and seeker of each sibling
    assert rows(tmp_path / "preferences/preference/train.jsonl")
    assert f"{turns * 6} calls" in out
    for file in (tmp_path / "preferences-work" / "trees").glob("*.json"):
        assert any(getattr(node, "probe", False) for node in mctsdialog.load_tree(file))
    before = (tmp_path / "preferences/preference/train.jsonl").read_bytes()
    code, _, err = call(esc_folder, "--siblings", 2, "--horizon", 1)
    assert code == 2
    assert "config.horizon" in err
    assert "choose another --work, or remove" in err
    code, out, _ = call(*words)
    assert code == 0
    assert len(stub_server.requests) == turns * 6
    assert "0 calls" in out
    assert (tmp_path / "preferences/preference/train.jsonl").read_bytes() == before
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


def test_a_spent_budget_writes_what_there_is_and_says_so(call, esc_folder, tmp_path):
    code, _, err = call(esc_folder, "--siblings", 1, "--horizon", 0, "--max-calls", 9)
    assert code == 3
    assert "budget: calls" in err
    assert (tmp_path / "preferences/dataset.json").exists()
    code, out, _ = call(esc_folder, "--siblings", 1, "--horizon", 0)
    assert code == 0
    assert "cache hits" in out


def test_random_pairs_call_the_supporter_alone(call, esc_folder, tmp_path, stub_server):
    code, _, err = call(esc_folder, "--random", "--seed", 3)
    assert code == 0, err
    turns = rows(tmp_path / "preferences/preference/train.jsonl")
    assert len(stub_server.requests) == len(turns) > 0
    for row in turns:
        origin = row["provenance"]
        assert origin["rejected_value"] is None
        assert origin["chosen_strategy"] != origin["rejected_strategy"]
        assert row["chosen"] != row["rejected"]


def test_roles_without_a_signal_are_warned_of_in_output_card_and_manifest(run, domain, gold, tmp_path):
    class Form:
        """Fills in the form."""

        async def judge(self, history):
            return {name: 4 - place for place, name in enumerate(domain.criteria)}

        async def score(self, history):
            return dict.fromkeys(domain.strategies.names, 5)

        async def reply(self, history, *strategy):
            return f"({len(history)}) {' '.join(strategy) or 'seeker'} says something of its own."

    roles = mctsdialog.Roles(Form(), Form(), Form(), Form(), domain=domain)
    tree = anyio.run(mctsdialog.search, gold, roles, SearchConfig(max_iterations=12))
    mctsdialog.save_tree(tree, tmp_path / "trees" / "tree.json")
    code, output = run("trees", "--min-visits", "0", "--theta", "-2")
    assert code == 0, output
    warnings = mctsdialog.roles.check_roles(tree).warnings
    assert any("pairs say only which turns were gold" in each for each in warnings)
    card = (tmp_path / "preferences" / "README.md").read_text("utf-8")
    assert "## Warnings" in card
    for warning in warnings:
        assert f"Warning: {warning}" in output
        assert f"- {markdown_line(warning)}" in card
    (data,) = mctsdialog.preferences.load_preferences(tmp_path / "preferences").values()
    assert data.health == mctsdialog.roles.check_roles(tree)
    mctsdialog.write_dataset({"train": data}, tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text("utf-8") == card


def test_journals_that_version_0_1_named_are_gone_on_with(call, esc_folder, tmp_path, stub_server):
    first, second = sorted(esc_folder.glob("*.json"))
    first.rename(esc_folder / "Abc.json")
    second.unlink()
    words = (esc_folder, "--siblings", 1, "--horizon", 0, "--no-cache")
    assert call(*words)[0] == 0
    work = tmp_path / "preferences-work"
    (journal,) = (work / "journals").iterdir()
    assert journal.name.startswith("Abc-")
    journal.rename(work / "journals" / "Abc.siblings.jsonl")
    (tree,) = (work / "trees").iterdir()
    whole = tree.read_bytes()
    tree.rename(work / "trees" / "Abc.json")
    asked = len(stub_server.requests)
    code, _, err = call(*words)
    assert code == 0, err
    assert len(stub_server.requests) == asked
    assert [path.read_bytes() for path in (work / "trees").iterdir()] == [whole]
    assert [path.name for path in (work / "journals").iterdir()] == ["Abc.siblings.jsonl"]


def test_trees_of_one_name_in_two_folders_have_work_of_their_own(call, esc_folder, tmp_path):
    first, second = sorted(esc_folder.glob("*.json"))
    (tmp_path / "other").mkdir()
    second.rename(tmp_path / "other" / first.name)
    code, _, err = call(esc_folder, tmp_path / "other", "--siblings", 1, "--horizon", 0)
    assert code == 0, err
    names = [path.stem for path in (tmp_path / "preferences-work" / "trees").glob("*.json")]
    assert len(names) == 2
    assert all(name.startswith(f"{first.stem}-") for name in names)


def test_data_of_other_settings_is_replaced_with_a_word(run, folder):
    assert "replacing" not in run(folder)[1]
    assert "replacing" not in run(folder)[1], "the same again"
    code, output = run(folder, "--theta", "0.2")
    assert code == 0
    assert "replacing the data in preferences, which had theta 0.5; another --out keeps it" in output
