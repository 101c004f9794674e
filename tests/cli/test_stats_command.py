"""``mctsdialog stats`` and ``mctsdialog view`` as a user runs them."""

import json
import sys

import pytest


def test_statistics_of_trees_and_of_their_dataset_are_the_same(run, folder, tmp_path):
    pytest.importorskip("matplotlib")
    code, output = run("stats", folder, "--out", "one")
    assert code == 0, output
    assert "Dialogues" in output
    assert run("preferences", folder, "--out", "data", "--split", "train=0.5,test=0.5")[0] == 0
    code, _ = run("stats", "data", "--out", "two", "--figure-format", "svg")
    assert code == 0
    one, two = (json.loads((tmp_path / name / "statistics.json").read_text("utf-8")) for name in ("one", "two"))
    assert one["sizes"] == two["sizes"]
    assert one["strategy_counts"] == two["strategy_counts"]
    assert (tmp_path / "one" / "statistics.md").read_text("utf-8").startswith("# Statistics")
    assert {path.name for path in (tmp_path / "one").glob("*.png")} >= {"stages.png", "values.png"}
    assert list((tmp_path / "two").glob("*.svg"))


def test_figures_can_be_left_out(run, folder, tmp_path):
    code, _ = run("stats", folder, "--no-figures", "--theta", "0.2")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "statistics").iterdir()) == ["statistics.json", "statistics.md"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("absent",), "absent: there is no such file"),
        (("trees", "--theta", "7"), "theta 7 is outside"),
        (("data", "--theta", "0.1"), "--theta: a written dataset is extracted already"),
        (("data", "trees"), "give it alone"),
        (("trees", "--toxicity-model", "x"), "--toxicity-model needs --toxicity local"),
        (("trees", "--toxicity", "perspective"), "use --toxicity local, or in Python a scorer of your own"),
        (("trees", "--toxicity", "local", "--toxicity-model", "./absent"), "absent"),
        (("half.json",), "half.json: not JSON"),
    ],
)
def test_bad_input_is_one_clear_line(run, folder, tmp_path, words, message):
    if "local" in words:
        pytest.importorskip("transformers")
    (tmp_path / "half.json").write_bytes((folder / "gold-0.json").read_bytes()[:1000])
    assert run("preferences", folder, "--out", "data")[0] == 0
    code, output = run("stats", *words)
    assert code in (1, 2), output
    assert message in output
    assert output.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "statistics" / "statistics.json").exists()


def test_view_writes_one_file_that_asks_for_nothing(run, folder, tmp_path):
    code, output = run("view", folder / "gold-0.json", "--theta", "0.1", "--min-visits", "1", "--path-rule", "end")
    assert code == 0, output
    page = (folder / "gold-0.html").read_text("utf-8")
    assert "default-src 'none'" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert run("view", folder / "gold-1.json", "--out", "page.html")[0] == 0
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("absent.json",), "absent.json"),
        (("trees/gold-0.json", "--theta", "9"), "theta 9 is outside the rewards"),
    ],
)
def test_view_refuses_bad_input(run, folder, words, message):
    code, output = run("view", *words)
    assert code == 2
    assert message in output


def test_view_opens_the_file_where_asked(run, folder, monkeypatch):
    opened = []
    monkeypatch.setattr("click.launch", lambda path: opened.append(path) or 0)
    assert run("view", folder / "gold-0.json", "--open")[0] == 0
    assert opened == [str(folder / "gold-0.html")]
    monkeypatch.setattr("click.launch", lambda path: 1)
    code, output = run("view", folder / "gold-0.json", "--open")
    assert code == 1
    assert "no browser could be started" in output


def test_without_matplotlib_the_files_are_named_and_the_extra_is_said(run, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, output = run("stats", folder)
    assert code == 2
    assert "statistics/statistics.md\nstatistics/statistics.json\n" in output
    message = 'the figures are missing: figures need matplotlib: pip install "mctsdialog[notebook]"'
    assert f"{message}. --no-figures does without" in output


@pytest.mark.parametrize("more", [(), ("--calls",), ("--best",)])
def test_a_node_that_is_not_there_is_bad_input_and_nothing_is_shown(run, folder, more):
    code, output = run("show", folder / "gold-0.json", "--node", 999, *more)
    assert (code, "nodes (" in output) == (2, False)
    assert "--node 999: there is no such node; ids go from 0 to " in output
