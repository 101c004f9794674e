"""The benchmarks of packing run, with small sizes, so that they do not rot; figures of speed are not looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


def figures_of(name, words, folder):
    out = folder / "figures.json"
    words = [sys.executable, str(FOLDER / name), *words, "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=FOLDER, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "|---|" in done.stdout
    return json.loads(out.read_text("utf-8"))


@pytest.mark.timeout(240)
def test_trees_against_trl(tiny_folder, tmp_path):
    words = ["--model", str(tiny_folder), "--dialogues", "4", "--batch", "4", "--steps", "2", "--trl-pairs", "4"]
    words += ["--variants", "trl-best", "dialogues", "--turns", "--rejected", "--threads", "2"]
    trl, trees = figures_of("packing.py", words, tmp_path)["rows"]
    assert trl["name"] == "trl-best"
    assert trees["name"] == "dialogues"
    assert all(row[key] > 0 for row in (trl, trees) for key in ("train", "reference", "memory"))
    assert trees["token_ratio"] > 2


@pytest.mark.timeout(240)
def test_losses_over_turns_count_the_pairs_that_their_turns_come_from(tiny_folder, tmp_path):
    words = ["--model", str(tiny_folder), "--dialogues", "4", "--batch", "8", "--steps", "2", "--threads", "2"]
    words += ["--variants", "odpo", "distill", "--turns", "--rejected"]
    rows = {row["name"]: row for row in figures_of("packing.py", words, tmp_path)["rows"]}
    assert len({round(row["pairs"]) for row in rows.values()}) == 1
    assert len({row["updates"] for row in rows.values()}) == 1
    assert rows["distill"]["tokens"] > rows["odpo"]["tokens"]  # the same replies, and the strategies that were not said


@pytest.mark.timeout(240)
def test_both_memory_modes_on_one_tree(tiny_folder, tmp_path):
    words = [
        "--model",
        str(tiny_folder),
        "--long",
        "--paper",
        "1",
        "--large",
        "--pack-tokens",
        "1024",
        "--threads",
        "2",
    ]
    pack, path = figures_of("packing_memory.py", words, tmp_path)["rows"]
    assert (pack["mode"], path["mode"]) == ("pack", "path")
    assert pack["tree_tokens"] == path["tree_tokens"] > 1024
    assert path["apart"] < 1e-5
    assert 0 < path["memory_before"] <= path["memory"]


@pytest.mark.timeout(240)
def test_an_epoch_in_three_ways(tmp_path):
    words = ["--seeds", "1", "--scenarios", "8", "--rounds", "3", "--iterations", "60", "--speech-steps", "2"]
    figures = figures_of("packing_epoch.py", [*words, "--width", "16"], tmp_path)
    assert [row["way"] for row in figures["rows"]] == ["pair by pair", "trees, pairs", "trees, dialogues"]
    assert len({row["steps"] for row in figures["rows"]}) == 1
