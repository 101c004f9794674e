"""Every benchmark runs, with small sizes, so that none rots; figures are not looked at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"

SMALL = {
    "overhead.py": ["--runs", "1", "--sizes", "20", "40"],
    "throughput.py": ["--runs", "1", "--slots", "8", "--latency", "0.005", "--dialogues", "3", "--iterations", "1"],
    "one_tree.py": ["--runs", "1", "--nodes", "20", "--latency", "0.002", "--at-once", "4", "--peers", "none"],
    "calls.py": ["--seeds", "1", "--iterations", "5"],
    "parallel_quality.py": ["--seeds", "2", "--iterations", "20", "--calls", "100", "--rounds", "2", "--at-once", "4"],
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs_and_writes_its_figures(name, tmp_path):
    words = [sys.executable, str(FOLDER / name), *SMALL[name], "--out", str(tmp_path / "figures.json")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False, cwd=FOLDER)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "|---|" in done.stdout
    assert "machine" in json.loads((tmp_path / "figures.json").read_text("utf-8"))


@pytest.mark.timeout(180)
def test_a_short_soak_ends_complete(tmp_path):
    words = [sys.executable, str(FOLDER / "soak.py"), "--dialogues", "12", "--kills", "2", "--between", "3", "4"]
    words += ["--iterations", "2", "--out", str(tmp_path / "figures.json")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=170, check=False, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    figures = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert figures["complete"] is True
    assert figures["repeated"] <= 32 * figures["kills"]
