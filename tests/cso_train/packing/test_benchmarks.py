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
def test_an_epoch_in_three_ways(tmp_path):
    words = ["--seeds", "1", "--scenarios", "8", "--rounds", "3", "--iterations", "60", "--speech-steps", "2"]
    figures = figures_of("packing_epoch.py", [*words, "--width", "16"], tmp_path)
    assert [row["way"] for row in figures["rows"]] == ["pair by pair", "trees, pairs", "trees, dialogues"]
    assert len({row["steps"] for row in figures["rows"]}) == 1
