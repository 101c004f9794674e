"""Whole runs of a small model by the command: checked, resumed, saved; and one clear error for bad input."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from click.testing import CliRunner

from cso_train.cli import main

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
psutil = pytest.importorskip("psutil")
safe_open = pytest.importorskip("safetensors").safe_open

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # the libraries' own warnings

BASE = {
    "--max-length": "256",
    "--max-completion-tokens": "64",
    "--batch-size": "4",
    "--logging-steps": "1",
    "--learning-rate": "1e-3",
    "--epochs": "2",
    "--save-steps": "2",
    "--packing": "none",
}

TREES = {"packing": "tree", "packing_memory": "pack", "pack_tokens": "60", "max_grad_norm": "0"}
BY_PATH = {**TREES, "packing_memory": "path", "pack_tokens": "320"}


@pytest.fixture
def command(tiny_folder, preference_file, tmp_path):
    """The words of a training command; settings as ``name="value"``."""

    def command(out="out", launcher=(), **settings):
        words = [sys.executable, *(launcher or ("-m",)), "cso_train", "train"]
        given = {
            **BASE,
            "--model": str(tiny_folder),
            "--data": str(preference_file),
            "--output-dir": str(tmp_path / out),
        }
        given |= {f"--{name.replace('_', '-')}": value for name, value in settings.items()}
        for name, value in given.items():
            words += [name] if value is True else [name, str(value)]
        return words

    return command


def run(words, **options):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=False, env=environment, **options)
    launched = "launch" in " ".join(words) or "torch.distributed.run" in words
    assert "Traceback" not in done.stderr or launched, done.stderr[-3000:]
    return done


def interrupted(words, folder, **options):
    """The exit code of a run that is sent Ctrl-C after its first metrics, and what it says."""
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, **options)
    deadline = time.monotonic() + 200
    while not (folder / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    return process.returncode, err


def tensor_shapes(folder):
    """Shape by name of a model's weights."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  # no mapping


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return {entry["step"]: entry["loss"] for entry in map(json.loads, lines) if "loss" in entry}


def test_a_run_leaves_a_model_a_card_curves_and_a_manifest(command, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = {"merge_adapter": "true", "eval_fraction": "0.25", "method": "dpo", "packing": "auto"}
    done = run(command(**settings))
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^step 1/\d+: loss 0\.6931, margin 0\.000, accuracy \d\.\d\d, \S+ s a step(, \d+:\d\d:\d\d left)?$",
        done.stdout,
        re.MULTILINE,
    )
    assert re.search(r"^step \d+/\d+: eval_loss \d\.\d{4}, ", done.stdout, re.MULTILINE)
    assert "{" not in done.stdout  # no dictionaries
    assert "%|" not in done.stdout + done.stderr  # and no bars: this is no terminal
    out = tmp_path / "out"
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["config"]["method"] == "dpo"
    assert manifest["origins"]["learning_rate"] == "command line"
    assert manifest["packing"] == "tree"
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [entry["eval_rewards/accuracies"] for entry in logged if "eval_loss" in entry]
    assert manifest["data"]["rows"] == 12
    assert manifest["versions"]["trl"]
    assert manifest["steps"] == 6
    assert sorted(losses(out)) == [1, 2, 3, 4, 5, 6]
    assert "Intended use" in (out / "model" / "README.md").read_text("utf-8")
    assert not list(out.glob(".*"))
    base = AutoModelForCausalLM.from_pretrained(json.loads(json.dumps(manifest["config"]["model"])))
    adapted = PeftModel.from_pretrained(base, out / "model")
    merged = AutoModelForCausalLM.from_pretrained(out / "merged")
    tokenizer = AutoTokenizer.from_pretrained(out / "merged")
    ids = torch.tensor([tokenizer.encode("I am tired.")])
    with torch.no_grad():
        assert torch.allclose(adapted(ids).logits, merged(ids).logits, atol=1e-4)
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = run(command(**settings))
    assert again.returncode == 0, again.stderr
    assert "this run is finished" in again.stderr
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == written
    other = run(command())
    assert other.returncode == 1
    assert "holds another run" in other.stderr


@pytest.mark.parametrize(
    ("method", "packing"), [("sft", "none"), ("kto", "none"), ("simpo", "none"), ("sft", "tree"), ("kto", "tree")]
)
def test_other_methods_run_too(command, tmp_path, method, packing, sft_file):
    data = {"data": sft_file} if method == "sft" else {}
    done = run(command(method=method, lora="false", max_steps="2", packing=packing, **data))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "settings", [{}, {"packing": "tree", "lora": "false", "pack_tokens": "60"}], ids=["pairs", "trees"]
)
def test_a_killed_run_goes_on_with_the_losses_of_an_undisturbed_one(command, tmp_path, settings):
    assert run(command(out="whole", **settings)).returncode == 0
    process = subprocess.Popen(
        command(out="killed", **settings),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    folder = tmp_path / "killed"
    deadline = time.monotonic() + 200
    while not list(folder.glob("checkpoints/checkpoint-*/trainer_state.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (folder / "manifest.json").exists()
    done = run(command(out="killed", **settings))
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stderr
    assert losses(folder) == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


def test_ctrl_c_saves_and_the_same_command_goes_on(command, tmp_path):
    code, err = interrupted(command(epochs="200", save_steps="1000"), tmp_path / "out")
    assert code == 130
    assert "the same command resumes" in err
    assert list((tmp_path / "out").glob("checkpoints/checkpoint-*/trainer_state.json"))
    assert not (tmp_path / "out" / "model").exists()


def test_a_folder_of_another_run_is_left_alone(command, tmp_path):
    assert run(command(max_steps="1")).returncode == 0
    (tmp_path / "out" / "manifest.json").unlink()
    done = run(command(max_steps="1", learning_rate="1e-4"))
    assert done.returncode == 1
    assert "holds another run" in done.stderr
    assert run([*command(max_steps="1", learning_rate="1e-4"), "--restart"]).returncode == 0
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.txt").write_text("words")
    done = run(command(out="thesis"))
    assert done.returncode == 1
    assert "holds other files" in done.stderr
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "absent.jsonl"}, "absent.jsonl: there is no such file"),
        ({"method": "ppo"}, "method"),
        ({"model": "./absent"}, "./absent: there is no such file or folder"),
        ({"preset": "llama3.1-8b-lora-dpo"}, "is of the model"),
        ({"preset": "llama9-8b-lora-dpo"}, "llama9-8b-lora-dpo"),
        ({"gamma": "1.0"}, "dpo does not use it"),
        ({"max_length": "10", "max_completion_tokens": "5"}, "no row fits"),
        ({"zero_stage": "1", "offload": "parameters"}, "offload"),
        ({"per_device_batch_size": "3"}, "no multiple of 3"),
        ({"precision": "bf16"}, "bf16"),
        ({"report_to": "notepad"}, "report_to: Input should be 'tensorboard', 'wandb' or 'trackio'"),
        ({"report_to": "wandb"}, "wandb is not installed; pip install wandb"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(command, tmp_path, monkeypatch, settings, message):
    if torch.cuda.is_available() and "precision" in settings:
        pytest.skip("this machine has bf16")
    if settings.get("report_to") == "wandb" and importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed")
    monkeypatch.chdir(tmp_path)
    words = command(**settings)
    done = CliRunner().invoke(main, words[words.index("train") :])
    assert done.exit_code in (1, 2)
    assert isinstance(done.exception, SystemExit)
    assert message in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "out").exists()


def test_what_the_launcher_deepspeed_says_is_taken():
    words = [sys.executable, "-m", "cso_train", "--local_rank=0", "config", "presets"]
    assert "llama3.1-8b-lora-dpo" in run(words).stdout


@pytest.mark.parametrize(("lora", "limit"), [("false", 100_000), ("true", 60_000)], ids=["model", "optimiser"])
def test_a_disk_that_takes_no_more_is_told_and_leaves_nothing_that_looks_whole(command, tmp_path, lora, limit):
    resource = pytest.importorskip("resource")
    words, out = command(max_steps="2", save_steps="1", lora=lora), tmp_path / "out"
    done = run(words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"Error: {out}: cannot be written (")
    assert "MiB free" in last
    assert not list(out.glob("checkpoints/*/trainer_state.json"))
    assert not (out / "model").exists()
    assert not (out / "manifest.json").exists()
    again = run(words)
    assert again.returncode == 0, again.stderr
    assert (out / "manifest.json").is_file()


LAUNCHERS = {
    "torchrun": ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"),
    "deepspeed": ("-m", "deepspeed.launcher.runner", "--num_accelerators", "2", "--module"),
    "accelerate": (
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no", "-m"),
    ),
}
CPU = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}


def kill_all(process):
    """A process and all that it started, by SIGKILL."""
    every = [process, *psutil.Process(process.pid).children(recursive=True)]
    for each in every:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def test_two_processes_that_are_killed_go_on_under_another_launcher(command, tmp_path):
    pytest.importorskip("deepspeed")
    assert run(command(out="one")).returncode == 0
    parts = {"out": "two", "per_device_batch_size": "2", "zero_stage": "2"}
    words = command(launcher=LAUNCHERS["deepspeed"], **parts)
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=CPU)
    folder = tmp_path / "two"
    deadline = time.monotonic() + 200
    while not list(folder.glob("checkpoints/checkpoint-*/trainer_state.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    kill_all(process)
    assert not (folder / "manifest.json").exists()
    done = run(command(launcher=LAUNCHERS["accelerate"], **parts))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resuming from" in done.stderr
    assert losses(folder) == pytest.approx(losses(tmp_path / "one"), rel=2e-3)
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["world_size"] == 2


def test_ctrl_c_ends_two_processes_at_the_same_step(command, tmp_path):
    words = command(launcher=LAUNCHERS["torchrun"], epochs="200", save_steps="1000", per_device_batch_size="2")
    code, err = interrupted(words, tmp_path / "out", env=CPU)
    assert code != 0
    assert "the same command resumes" in err
    (state,) = (tmp_path / "out").glob("checkpoints/checkpoint-*/trainer_state.json")
    assert {path.name for path in state.parent.glob("rng_state_*.pth")} == {"rng_state_0.pth", "rng_state_1.pth"}
    assert not (tmp_path / "out" / "model").exists()


# Runs the command and tells how its process ends: it leaves the others, and the interpreter is not taken down, where
# a thread that still serves them would abort it.
WATCHED = """
import runpy
import torch.distributed as dist

class Last:
    def __del__(self):
        print("taken down", flush=True)

def leave():
    left()
    print("left the others", flush=True)

last, left, dist.destroy_process_group = Last(), dist.destroy_process_group, leave
runpy.run_module("cso_train", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("stage", "lora", "packing"),
    [
        ("2", "true", {}),
        ("3", "false", {}),
        ("3", "true", TREES),
        ("none", "true", BY_PATH),
        ("2", "false", BY_PATH),
    ],
)
def test_two_processes_have_the_losses_of_one(command, tiny_folder, tmp_path, stage, lora, packing):
    pytest.importorskip("deepspeed")
    assert run(command(out="one", max_steps="4", lora=lora, **packing)).returncode == 0
    parts = {"zero_stage": stage, "per_device_batch_size": "2", **packing}
    parts |= {"merge_adapter": "true"} if lora == "true" else {}
    words = command(out="two", launcher=LAUNCHERS["torchrun"][:-1], max_steps="4", lora=lora, **parts)
    (tmp_path / "watched.py").write_text(WATCHED)
    words[words.index("cso_train")] = str(tmp_path / "watched.py")
    done = run(words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("left the others") == 2, done.stdout
    assert "taken down" not in done.stdout
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert two == pytest.approx(one, rel=2e-3)
    manifest = json.loads((tmp_path / "two" / "manifest.json").read_text("utf-8"))
    assert (manifest["zero_stage"], manifest["world_size"]) == (None if stage == "none" else int(stage), 2)
    if lora == "true":  # whole, though under ZeRO-3 no process had it whole
        shapes = tensor_shapes(tmp_path / "two" / "merged")
        assert shapes == tensor_shapes(tiny_folder)
    saved = "adapter_model.safetensors" if lora == "true" else "model.safetensors"
    assert (tmp_path / "two" / "model" / saved).stat().st_size == pytest.approx(
        (tmp_path / "one" / "model" / saved).stat().st_size, rel=0.02
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"zero_stage": "3"}, "ZeRO-3: every pass gathers all weights"), ({"lora_dropout": "0.1"}, "dropout: the second")],
)
def test_what_cannot_be_passed_through_twice_is_refused(command, settings, reason):
    pytest.importorskip("deepspeed")
    done = run(command(**BY_PATH, **settings))
    assert done.returncode != 0
    assert f"packing_memory: path does not go with {reason}" in done.stderr


@pytest.mark.model
def test_a_gguf_file_is_trained_whole_even_under_zero_3_and_its_adapter_names_it(command, embedded_model, tmp_path):
    pytest.importorskip("gguf")
    pytest.importorskip("deepspeed")
    done = run(command(model="smollm2", zero_stage="3", max_steps="1", batch_size="2"))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "model" / "adapter_config.json").read_text("utf-8")
    assert json.loads(text)["base_model_name_or_path"] == "smollm2"
    assert "Could not find a config file" not in done.stderr
    assert str(embedded_model.parent) not in text + (tmp_path / "out" / "model" / "README.md").read_text("utf-8")
