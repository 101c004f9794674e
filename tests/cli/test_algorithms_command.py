"""The algorithms on the command line: the demonstration, a calibration, and a search that begins with it."""

import json
import re

import pytest

import mctsdialog
from mctsdialog.worlds import World


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_the_demonstration_finds_a_better_dialogue_and_shows_it(run, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    code, output = run("demo", "--scenario", 3)
    assert code == 0, output
    text = " ".join(output.split())
    alone, found = map(float, re.search(r"whole dialogue (\d\.\d\d) whole dialogue (\d\.\d\d)", text).groups())
    best = float(re.search(r"best possible dialogue of this scenario is worth (\d\.\d\d)", text)[1])
    assert alone < found <= best
    tree = mctsdialog.load_tree(tmp_path / "demo" / "tree.json")
    world = World(7)
    assert found == pytest.approx(world.value(world.scenario(3), tree.best_path().strategies) + 3.0, abs=0.005)
    assert best == pytest.approx(world.best_value(world.scenario(3)) + 3.0, abs=0.005)
    assert "over-rates Collaborative Planning" in text
    assert "chosen: " in text
    assert "rejected: " in text
    assert re.search(r"The search was better in (\d+) of 10", text)
    assert (tmp_path / "demo" / "tree.html").is_file()
    assert "mctsdialog show demo/tree.json --best" in output
    longest = len("Your own dialogues: mctsdialog search FILE --algorithm calibrated \\")
    assert max(map(len, output.splitlines())) <= max(int(columns), longest)


def test_a_calibration_is_learnt_from_trees_of_any_algorithm_and_taken_by_a_search(run, tmp_path):
    world = World(7, rounds=4)
    trees = tmp_path / "trees"
    for algorithm in ("cso", "calibrated"):
        config = mctsdialog.SearchConfig(algorithm=algorithm, max_iterations=30)
        tree = mctsdialog.run(mctsdialog.search(world.scenario(2), world.roles(), config, max_calls=200))
        mctsdialog.save_tree(tree, trees / f"{algorithm}.json")
    code, output = run("calibrate", trees)
    assert code == 0, output
    assert "2 trees" in output
    assert "the strategist over-rates" in output
    known = json.loads((tmp_path / "calibration.json").read_text())
    config = mctsdialog.SearchConfig(algorithm="calibrated", settings={"calibration": known})
    assert mctsdialog.run(mctsdialog.search(world.scenario(3), world.roles(), config, max_calls=60)).iterations
    assert run("calibrate", trees, "--out", trees)[0] != 0


def test_a_calibration_of_nothing_or_of_two_domains_is_an_error(run, domain, tmp_path):
    code, output = run("calibrate", tmp_path / "nowhere")
    assert (code, "nowhere" in output) == (4, True) or "no such" in output
    opening = [mctsdialog.Turn("seeker", "I cannot sleep.")]
    for name, kind in (("one", domain), ("two", mctsdialog.get_domain("esc"))):
        mctsdialog.save_tree(mctsdialog.Tree(mctsdialog.Scenario(id=name), kind, opening), tmp_path / f"{name}.json")
    code, output = run("calibrate", tmp_path / "one.json")
    assert code != 0
    assert "judged turn" in output
    code, output = run("calibrate", tmp_path / "one.json", tmp_path / "two.json")
    assert code != 0
    assert "other strategies" in output


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--setting", "max_rounds"), "NAME=VALUE"),
        (("--algorithm", "calibratd"), "did you mean 'calibrated'"),
        (("--algorithm", "calibrated", "--setting", "max_round=3"), "did you mean 'max_rounds'"),
        (("--algorithm", "calibrated", "--setting", "gold=perhaps"), "judged"),
        (("--algorithm", "calibrated", "--setting", "calibration=@nowhere.json"), "nowhere.json"),
        (("--setting", "max_rounds=3"), "no such setting"),
    ],
)
def test_a_setting_that_is_none_is_named(run, given, told):
    code, output = run("sample", "sample.json")
    assert code == 0
    code, output = run("search", "sample.json", *given)
    assert code != 0
    assert told in output
