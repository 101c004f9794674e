"""Every benchmark runs, with small sizes, so that none rots; figures are not looked at."""

import argparse
import importlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from mctsdialog import read_dialogues
from mctsdialog.llm import Completion, ScriptedModel, TokenLogprobs

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"

SMALL = {
    "overhead.py": ["--runs", "1", "--sizes", "20", "40"],
    "throughput.py": ["--runs", "1", "--slots", "8", "--latency", "0.005", "--dialogues", "3", "--iterations", "1"],
    "one_tree.py": ["--runs", "1", "--nodes", "20", "--latency", "0.002", "--at-once", "4", "--peers", "none"],
    "calls.py": ["--seeds", "1", "--iterations", "5"],
    "search_study.py": ["--quick", "--worlds", "World(7)", "strategist at random", "strategist adverse"],
    "arena_study.py": ["--quick"],
    "parallel_quality.py": ["--seeds", "2", "--iterations", "20", "--calls", "100", "--rounds", "2", "--at-once", "4"],
}
if shutil.which("chromium"):
    SMALL["studio.py"] = ["--trees", "2", "--pairs", "30", "--reviewed", "4", "--live", "4", "--nodes", "30"]


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


@pytest.mark.timeout(180)
def test_an_arena_that_is_killed_pays_for_nothing_twice(tmp_path):
    words = [sys.executable, str(FOLDER / "arena_kills.py"), "--cards", "2", "--repeats", "2", "--rounds", "2"]
    words += ["--out", str(tmp_path / "figures.json")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=170, check=False, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    figures = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert figures["kills"] == 3
    assert figures["answered twice"] == 0
    assert figures["same report"] is True


@pytest.mark.timeout(180)
def test_kills_and_damage_end_in_the_trees_of_an_undisturbed_run(tmp_path):
    words = [sys.executable, str(FOLDER / "damage.py"), "--dialogues", "16", "--kills", "5", "--between", "1", "120"]
    words += ["--iterations", "2", "--latency", "0.02", "--out", str(tmp_path / "figures.json")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=170, check=False, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    figures = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert figures["same"] is True
    assert figures["damaged"] > 0
    assert (figures["unnamed"], figures["left"]) == (0, 0)


def test_the_signal_of_a_judge_is_measured_by_both_scorings_out_of_the_same_replies(parts):
    benchmark = importlib.import_module("judge_signal")
    names = ("empathy", "information", "humanoid", "strategy")

    def answer(request):
        text = json.dumps(dict.fromkeys(names, 3))
        said = request.messages[-1].content
        high = 0.6 if len(said) % 2 else 0.9
        written = []
        for part in re.split(r"(\d)", text):
            chances = {part: high, "1": 1 - high} if part.isdigit() else {part: 1.0}
            top = tuple((each, math.log(chance)) for each, chance in chances.items())
            written.append(TokenLogprobs(part, top[0][1], top))
        return Completion(text, logprobs=tuple(written))

    model = ScriptedModel(answer)
    rows = anyio.run(lambda: benchmark.measure(model, 6, 0, say=lambda text: None))
    assert [(row["scores"], row["cases"]) for row in rows] == [("expected", 6), ("digits", 6)]
    assert rows[1]["equal"] == 6
    assert rows[0]["equal"] < 6
    assert model.calls == 12  # digits and expected scores come out of the same replies


def gpu_script(folder, *words):
    """The words and the environment of benchmarks/gpu.sh, with this Python."""
    (folder / "tmp").mkdir()
    paths = {"PYTHON": sys.executable, "PYTHONPATH": str(FOLDER.parent), "TMPDIR": str(folder / "tmp")}
    return ["bash", str(FOLDER / "gpu.sh"), *words], {**os.environ, **paths}


@pytest.mark.timeout(400)
def test_the_gpu_script_measures_tiny_models_on_the_cpu(tmp_path):
    pytest.importorskip("trl")
    words, environment = gpu_script(
        tmp_path, "run", "--cpu", "--tiny", "--parts", "1b", "zero", "path", "--out", str(tmp_path)
    )
    done = subprocess.run(words, capture_output=True, text=True, timeout=390, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    figures = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert figures["ended"] == "whole"
    rows = {row["name"]: row for part in figures["parts"].values() for row in part["rows"]}
    measured = {name: row for name, row in rows.items() if "rate" in row}
    assert set(measured) == {"trl-4", "sdpa", "plain", "zero-2", "pack", "path"}
    assert "backward" in rows["flex"]["left_out"]
    assert rows["trl-4"]["tokens"] > 2 * rows["sdpa"]["tokens"]
    for row in measured.values():
        assert min(row["rate"], row["memory"], row["reference"]) > 0
        assert max(row["gap"], row["apart"]) < 1e-4  # in fp32
        assert row["log"][-1]["loss"] < row["log"][0]["loss"]
    assert "| trees, SDPA |" in (tmp_path / "gpu.md").read_text("utf-8")
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.timeout(200)
def test_what_the_gpu_script_measured_survives_when_it_is_stopped(tmp_path):
    pytest.importorskip("trl")
    given = ("run", "--cpu", "--tiny", "--parts", "tests", "1b", "--out", str(tmp_path))
    words, environment = gpu_script(tmp_path, *given)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if "billion parameters" in line:  # the second part begins
                break
        process.terminate()
        process.stdout.read()
    assert process.returncode != 0
    figures = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert figures["ended"] == "cut off"
    outcome = figures["parts"]["tests"]["rows"][0]
    assert "skipped" in outcome["outcomes"] or "passed" in outcome["outcomes"]
    assert "cut off" in (tmp_path / "gpu.md").read_text("utf-8")
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "empty"], "no wheels in empty"),
        (["wheels", "--fast"], "unknown option"),
        (["wheels"], "needs a folder"),
    ],
)
def test_the_gpu_script_says_what_is_wrong_with_its_words(tmp_path, words, message):
    words, environment = gpu_script(tmp_path, *words)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


class FakeReport:
    """Keeps rows, with much time left."""

    left = 1000.0

    def __init__(self):
        self.rows = []

    def say(self, line):
        pass

    def add(self, part, title, row):
        self.rows.append(row)


def fake_figures(losses):
    log = [{"loss": loss, "logps/chosen": -10.0, "logps/rejected": -11.0} for loss in losses]
    return {"pairs": 8, "steps": [9.0, 1.0, 2.0, 3.0], "log": log, "tokens": 5, "memory": 1.0, "reference": 0.1}


@pytest.fixture
def measured_rows(monkeypatch, tmp_path):
    """What a part of the GPU's measurements comes to where its workers answer as a function does."""
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(str(FOLDER))
    gpu_run = importlib.import_module("gpu_run")
    packing = importlib.import_module("packing")

    def rows(answer):
        def measure(told, rows, settings, *, limit, random, **given):
            found = answer(settings, given)
            if isinstance(found, tuple):
                raise packing.WorkerError(*found)
            return found

        monkeypatch.setattr(packing, "measure", measure)
        report = FakeReport()
        arguments = argparse.Namespace(cpu=False, tiny=True, scratch=tmp_path)
        gpu_run.measure_part("8b", arguments, report)
        return {row["name"]: row for row in report.rows}, gpu_run

    return rows


def test_a_failed_measurement_is_kept_and_the_others_go_on(measured_rows):
    def answer(settings, given):
        if settings["packing"] == "none":
            return fake_figures([0.69, 0.68, 0.67, 0.66])
        if settings.get("attention") == "sdpa":
            return ("Traceback: it broke", 1)
        return fake_figures([0.69, 0.68, 0.67, 0.60])

    rows, gpu_run = measured_rows(answer)
    assert "it broke" in rows["sdpa"]["error"]
    assert rows["trl-2"]["step"] == 2.0  # the median without the first, which is the warm-up
    assert rows["trl-2"]["rate"] == pytest.approx(8 / 4 / 2.0)
    assert rows["flex"]["gap"] == pytest.approx(0.06)
    assert [name for name, row in rows.items() if gpu_run.is_wrong(row)] == ["sdpa", "flex"]
    assert gpu_run.is_wrong({"name": "flex", "kernel": "sdpa"})
    assert not gpu_run.is_wrong({"name": "flex", "kernel": "tree_flex"})


@pytest.mark.parametrize(
    ("said", "helps"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory.", lambda settings, given: settings["gradient_checkpointing"]),
        ("RuntimeError: cuDNN Frontend error", lambda settings, given: given == {"cudnn_sdpa": False}),
    ],
)
def test_what_a_gpu_may_be_short_of_is_tried_again_once(measured_rows, said, helps):
    tries = []

    def answer(settings, given):
        tries.append(settings)
        return fake_figures([0.69, 0.68, 0.67, 0.66]) if helps(settings, given) else (said, 1)

    rows, _ = measured_rows(answer)
    assert all("rate" in row and ", with" in row["what"] for row in rows.values())
    assert len(tries) == 2 * len(rows)
    rows, _ = measured_rows(lambda settings, given: (said, 1))
    assert all(said in row["error"] for row in rows.values())
    rows, _ = measured_rows(lambda settings, given: (said, 124))
    assert all("time was up" in row["error"] and ", with" not in row["what"] for row in rows.values())


@pytest.fixture(scope="module")
def parts():
    """Modules of the study by name; its folder is on the path as it is for the command."""
    sys.path.insert(0, str(FOLDER))
    yield lambda name: importlib.import_module(f"study_parts.{name}")
    sys.path.remove(str(FOLDER))


@pytest.mark.timeout(200)
def test_the_study_runs_and_goes_on_where_it_was(tmp_path):
    pytest.importorskip("trl")
    words = [sys.executable, str(FOLDER / "study.py"), "--preset", "tiny", "--out", str(tmp_path / "study")]
    first = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False, cwd=FOLDER)
    assert first.returncode == 0, first.stderr[-3000:]
    report = (tmp_path / "study" / "report.md").read_text("utf-8")
    assert "## Search quality" in report
    assert "### What holds here" in report
    assert "Left out: this preset has no run on real text." in report
    for figure in re.findall(r"\]\(([^)]+)\)", report):
        assert (tmp_path / "study" / figure).stat().st_size > 1000
    kept = (tmp_path / "study" / "results.jsonl").read_bytes()
    (tmp_path / "study" / "results.jsonl").write_bytes(kept + b'{"name": "cut off by a ki')
    again = subprocess.run([*words, "--parts", "search"], capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 0, again.stderr[-3000:]
    assert (tmp_path / "study" / "results.jsonl").read_bytes() == kept
    other = [*words[:3], "small", *words[4:], "--parts", "search"]
    refused = subprocess.run(other, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0
    assert "other sizes" in refused.stderr


def test_two_rounds_and_one_take_the_same_dialogues_and_steps(parts, tmp_path, monkeypatch):
    pytest.importorskip("trl")
    from types import SimpleNamespace

    presets, losses, rounds = parts("presets"), parts("losses"), parts("rounds")
    preset, runs = presets.PRESETS["losses"], []

    def run_rounds(config, say):
        dialogues = len(list(read_dialogues(config.dialogues))) - config.held
        runs.append((config.rounds, dialogues, config.train["max_steps"] * config.rounds))
        return SimpleNamespace(
            rounds=[SimpleNamespace(model=f"{config.rounds}-{number}") for number in range(config.rounds + 1)]
        )

    monkeypatch.setattr(rounds, "run_rounds", run_rounds)
    monkeypatch.setattr(losses.Losses, "model", lambda self, arm, seed: tmp_path / arm)
    monkeypatch.setattr(losses.Losses, "measured", lambda self, folder: {"said": [], "worth": [str(folder)]})
    found = rounds.Rounds(losses.Losses(parts("store").Store(tmp_path, preset), preset)).run()
    assert set(runs) == {(1, 30, 60), (2, 30, 60)}
    shown = {arm: [each["worth"][0] for each in seeds] for arm, seeds in found.items()}
    assert shown.pop("base") == [str(tmp_path / "base")] * 5
    assert shown == {"one round, half the data": ["2-1"] * 5, "one round": ["1-1"] * 5, "two rounds": ["2-2"] * 5}


@pytest.mark.anyio
async def test_ways_of_choosing_keep_to_their_calls_and_find_what_they_say(parts):
    from mctsdialog.worlds import World

    searching = parts("searching")
    world = World(3, rounds=4, judge_noise=0.0)
    for name, way in searching.WAYS.items():
        rows = [await searching.measured(way, world, number, 400) for number in range(6)]
        assert all(row["calls"] <= 400 for row in rows), name
        assert all(row["worth"] <= row["best"] + 1e-9 for row in rows), name
        for row in rows:  # without noise, the best of the whole dialogues that were judged is taken
            if name.startswith("best of n"):
                assert row["worth"] == pytest.approx(row["best_found"])


@pytest.mark.anyio
async def test_algorithms_see_a_judge_that_can_be_asked_again_and_every_call_counts(parts):
    """The roles of the study wrap the world's: what they can do must not get lost."""
    from mctsdialog.algorithms import CSO
    from mctsdialog.roles import RejudgingJudge
    from mctsdialog.worlds import World

    searching = parts("searching")
    case = searching.Case.of(World(3, rounds=4), 0, 400)
    assert isinstance(case.roles.judge, RejudgingJudge)
    assert isinstance(case.roles.bind(case.scenario).judge, RejudgingJudge)
    assert set(searching.ALGORITHMS) <= set(searching.WAYS)
    assert CSO.name in searching.ALGORITHMS
    await searching.by_name(case, "beam")
    assert 390 < case.calls.used <= 400


def test_the_strategists_of_odd_worlds_rate_as_they_are_said_to(parts):
    study, world = importlib.import_module("search_study"), parts("searching").World(7, bias=0.0)
    scenario = world.scenario(0)
    history = world.dialogue(scenario).turns[:5]

    def scores(other):
        return anyio.run(other.roles().bind(scenario).strategist.score, history)

    plain, adverse = scores(world), scores(study.OddWorld(7, bias=0.0, rule="adverse"))
    assert adverse == {name: max(0.0, 8.0 - score) for name, score in plain.items()}
    assert len(set(adverse.values())) > 1
    drawn = scores(study.OddWorld(7, rule="random"))
    assert drawn == scores(study.OddWorld(7, rule="random"))
    assert set(drawn) == set(plain)
    assert drawn not in (plain, adverse)


def test_plans_are_held_against_the_best_dialogue_that_begins_with_them(parts):
    study, world = importlib.import_module("search_study"), parts("searching").World(7, rounds=3)
    for scenario in world.scenarios(5):
        after = [study.best_after(world, scenario, name) for name in world.domain.strategies.names]
        assert max(after) == pytest.approx(3 * world.best_value(scenario))
        assert len(set(after)) > 1
    rows = list(study.plan_rows("w", world, ("cso", "beam"), range(2), (8, 60)))
    assert ["cso" in row for row in rows] == [False, True], "a trial of the paper's search takes more than 8 calls"
    assert all("±" in row["beam"] for row in rows)


@pytest.mark.anyio
async def test_a_wide_beam_finds_the_best_dialogue(parts):
    from mctsdialog.worlds import World

    searching = parts("searching")
    world = World(3, rounds=3, judge_noise=0.0)
    row = await searching.measured(searching.beam, world, 0, 1 + 24 + 2 * 24 * 64)
    assert row["worth"] == pytest.approx(row["best"])


def test_claims_are_told_from_chance(parts):
    from cso_train.evaluation import TestCase
    from mctsdialog import get_domain

    claims, domain = parts("claims"), get_domain("esc")
    names = domain.strategies.names
    cases = [TestCase(f"d{at // 4}/{at % 4}", (), names[at % 8], "text") for at in range(160)]
    right = [f"({case.strategy}) text" for case in cases]
    wrong = [f"({names[2]}) text"] * len(cases)
    half = [good if at % 3 else f"({names[at // 3 % 8]}) text" for at, good in enumerate(right)]
    comparer = claims.Comparer(cases, {"a": [right, half], "b": [wrong], "c": [half, right]}, domain)
    assert comparer.difference("a above b", "Q", "a", "b", 1).verdict == "holds"
    assert comparer.difference("a below b", "Q", "a", "b", -1).verdict == "does not hold"
    assert comparer.difference("a below b", "B", "a", "b", -1).verdict == "holds"
    same = comparer.difference("a above c", "Q", "a", "c", 1)
    assert same.verdict == "not decided"
    assert same.value == pytest.approx(0.0)


def test_pairs_are_held_against_the_truth(parts):
    import mctsdialog
    from mctsdialog.worlds import World

    training = parts("training")
    world = World(5, rounds=4)

    config = mctsdialog.SearchConfig(max_iterations=60, min_iterations=60, max_ends=10**9)
    tree = anyio.run(mctsdialog.search, world.dialogue(world.scenario(0)), world.roles(), config)
    dataset = mctsdialog.PreferenceDataset.from_trees([tree], mctsdialog.preferences.PreferenceConfig(theta=-0.4))
    found = training.quality(world, dataset)
    assert found["pairs"] == len(list(dataset.pairs())) > 0
    assert found["right"] > 0.5


def test_a_wavering_supporter_is_between_the_best_and_the_biased_one(parts):
    from mctsdialog.worlds import World, strategies_of

    searching = parts("searching")
    world = World(5)
    policies = {
        "best": lambda scenario: None,
        "wavering": lambda scenario: searching.wavering(world, scenario, 1.5),
        "biased": lambda scenario: searching.pleasing(world),
    }
    worth = {}
    for name, policy in policies.items():
        golds = [world.dialogue(scenario, policy(scenario)) for scenario in world.scenarios(40)]
        assert golds == [world.dialogue(scenario, policy(scenario)) for scenario in world.scenarios(40)]
        worth[name] = sum(world.value(gold, strategies_of(gold.turns)) for gold in golds)
    assert worth["best"] > worth["wavering"] > worth["biased"]
