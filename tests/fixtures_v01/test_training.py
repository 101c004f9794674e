"""Training runs of version 0.1: resumed to their losses, their reference tables reused; and its data trained on."""

import json
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from cso_train._models import load_for_answers  # noqa: E402
from cso_train.cli import main  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the libraries' own warnings
RUNS = ("lora", "full")


@pytest.fixture(autouse=True)
def alone(monkeypatch, take):
    """One process on the CPU without a network; what training needs beside its folder."""
    for name, value in {"HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu", "TRL_EXPERIMENTAL_SILENCE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    take("training", "preferences")


def losses(folder):
    rows = map(json.loads, Path(folder, "metrics.jsonl").read_text("utf-8").splitlines())
    return {str(row["step"]): row["loss"] for row in rows if "loss" in row}


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_resumes_to_the_losses_of_an_undisturbed_one_and_reuses_its_table(run, expected, name):
    known, folder = expected["training"][name], f"training/{name}"
    table = Path(folder, "checkpoints", "reference.safetensors")
    kept, steps = (table.read_bytes(), table.stat().st_mtime_ns), losses(folder)
    assert set(steps) == {"1", "2"}
    done = run(main, *known["command"], "--output-dir", folder)
    assert f"resuming from {folder}/checkpoints/checkpoint-2" in done.stderr.replace(os.sep, "/")
    assert (table.read_bytes(), table.stat().st_mtime_ns) == kept  # a table that is computed is written
    found = losses(folder)
    assert {step: found[step] for step in steps} == steps  # not done again
    assert found == pytest.approx(known["losses"], rel=1e-4)
    assert Path(folder, "manifest.json").is_file()
    assert Path(folder, "model", "adapter_model.safetensors" if name == "lora" else "model.safetensors").is_file()


def test_a_table_that_is_gone_is_told_and_not_made_from_another_model(run, expected):
    Path("training/full/checkpoints/reference.safetensors").unlink()
    done = run(main, *expected["training"]["full"]["command"], "--output-dir", "training/full", code=1)
    assert "the reference's log-probabilities are gone" in done.output


@pytest.mark.parametrize("settings", [True, False], ids=["options", "config.yaml"])
def test_a_finished_run_is_left_as_it_is(run, expected, state, settings):
    words = (
        expected["training"]["lora"]["command"] if settings else ["train", "--config", "training/finished/config.yaml"]
    )
    before = state("training/finished")
    done = run(main, *words, "--output-dir", "training/finished")
    assert "this run is finished" in done.stderr
    loss = json.loads(Path("training/finished/manifest.json").read_text("utf-8"))["loss"]
    assert f"4 steps, mean loss {loss:.4f}" in done.output
    assert state("training/finished") == before


def test_its_model_answers_and_is_not_the_one_it_began_as():
    base, tokenizer = load_for_answers("training/model")
    trained, _ = load_for_answers("training/model", adapter="training/finished/model")
    ids = torch.tensor([tokenizer.encode("I am tired.")])
    with torch.no_grad():
        assert not torch.allclose(base(ids).logits, trained(ids).logits)
    own = load_for_answers("training/model")[1]
    assert own.decode(own.encode("Grüße 😮")) == "Grüße 😮"


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("ipo", "preferences/jsonl/research/train.jsonl"),
        ("kto", "preferences/parquet/unpaired/train.parquet"),
        ("sft", "preferences/parquet/sft/train.parquet"),
        ("dpo", "preferences/jsonl/tree/train.jsonl"),
        ("dpo", "preferences/random/preference/train.jsonl"),
        ("dpo", "search/finished/trees"),
    ],
)
def test_its_data_is_trained_on(take, run, method, data):
    take("search/finished")
    words = ("--model", "training/model", "--data", data, "--method", method, "--max-steps", 1, "--logging-steps", 1)
    more = ("--batch-size", 2, "--max-length", 3000, "--max-completion-tokens", 128, "--output-dir", "out")
    run(main, "train", *words, *more)
    assert losses("out")["1"] > 0
