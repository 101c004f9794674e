"""Training on one GPU, in parts that are each bounded in time. benchmarks/gpu.sh runs it; see docs/benchmarks.md.

Random Llamas of about 1 and 8 billion parameters learn rows of the paper's shape by DPO: TRL pair by pair against trees
by SDPA and by FlexAttention, and a large tree as one pack against path by path. Nothing is downloaded. The results are
written after every measurement.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import common
import packing
import packing_data
from study_parts.tiny_model import make_tokenizer

from mctsdialog.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "triton", "transformers", "trl", "peft", "accelerate", "datasets", "deepspeed", "numpy")
LEAST = 15  # seconds; with less left, nothing more is begun
CPU_PATIENCE = 4  # times the limits of a GPU: there the script is tried, and other work may be on the machine
VOCABULARY = 2400  # of the tokenizer: a pair then has about as many tokens as with that of a real model
LLAMA_1B = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128_256,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
LLAMA_8B = {
    **LLAMA_1B,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "head_dim": 128,
    "tie_word_embeddings": False,
}
SHORT = {**LLAMA_1B, "num_hidden_layers": 4}
TINY = {
    **LLAMA_1B,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 3000,
}

TREE = {**packing.TREE, "sampler": "dialogues"}
NO_FLASH = "FlashAttention 2 (the package flash_attn) is not installed"
NO_FLEX = "FlexAttention has no backward pass on the CPU"
TIMED_OUT = (124, 137)  # exit statuses
# what a variant is tried again with, by what its error says
SECOND_TRIES = {
    "out of memory": ("with checkpointing", {"gradient_checkpointing": True}, {}),
    "cudnn": ("without cuDNN's SDPA", {}, {"cudnn_sdpa": False}),
}


@dataclass(frozen=True)
class Variant:
    """One way to train, measured in a process of its own.

    :param limit: seconds it may take, the process's start included.
    """

    name: str
    what: str
    settings: dict
    limit: int = 60


def trl(at_once, **settings):
    words = "one pair" if at_once == 1 else f"{at_once} pairs"
    fixed = {**packing.TRL, "per_device_batch_size": at_once}
    return Variant(f"trl-{at_once}", f"TRL, {words} at once", {**fixed, **settings})


BY_PATH = Variant("path", "trees, path by path", {**TREE, "packing_memory": "path", "pack_tokens": 4096})
WHOLE = Variant("pack", "trees, one pack, checkpointing", {**TREE, "gradient_checkpointing": True}, limit=100)
SDPA = Variant("sdpa", "trees, SDPA", {**TREE, "attention": "sdpa"})
FLEX = Variant("flex", "trees, FlexAttention", TREE, limit=100)
FLASH = replace(trl(4, attention="flash_attention_2"), name="trl-flash", what="TRL, 4 pairs at once, FlashAttention 2")


@dataclass(frozen=True)
class Part:
    """Measurements that belong together: each has the same rows in every step, and so the same losses.

    :param pairs: of the data, which are the first ones of some dialogues.
    :param batch: pairs of an optimiser step; None for all, so that an epoch is a step.
    :param epochs: the first one is the warm-up where it is one step.
    :param tolerance: most that a step's loss, or relatively its log-probabilities, may differ from the first variant.
    """

    title: str
    model: dict
    variants: tuple[Variant, ...]
    settings: dict = field(default_factory=dict)
    pairs: int = 32
    batch: int | None = None
    epochs: int = 4
    pack_tokens: int = 4096
    tolerance: float = 0.02

    def tiny(self):
        """The same on a small model, quick on a CPU."""
        small = [replace(each, settings=_at_most(each.settings, "per_device_batch_size", 2)) for each in self.variants]
        batch = None if self.batch is None else 2
        title = f"{self.title} (a tiny one in its place)"
        fewer = {"pairs": 8, "batch": batch, "epochs": min(self.epochs, 3)}
        return replace(self, title=title, model=TINY, variants=tuple(small), **fewer)


def _at_most(settings, name, most):
    return {**settings, name: min(settings[name], most)} if name in settings else settings


FULL = {"lora": False, "learning_rate": 1e-5, **SDPA.settings}
MEASURED = {
    "1b": Part("DPO with LoRA, a Llama of 1.2 billion parameters", LLAMA_1B, (trl(4), FLASH, SDPA, FLEX)),
    "8b": Part(
        "DPO with LoRA, a Llama of 8 billion parameters",
        LLAMA_8B,
        (trl(2), SDPA, FLEX),
        epochs=3,
        pack_tokens=2048,
    ),
    "zero": Part(
        "ZeRO-2 on one device, all of 1.2 billion parameters trained",
        LLAMA_1B,
        (
            Variant("plain", "trees, SDPA, without DeepSpeed", FULL),
            Variant("zero-2", "trees, SDPA, ZeRO-2", {**FULL, "zero_stage": 2}),
        ),
        pairs=16,
        epochs=3,
    ),
    "fp32": Part(
        "The same losses in fp32, four of the layers",
        SHORT,
        (trl(4), SDPA, FLEX),
        {"precision": "fp32"},
        pairs=16,
        epochs=3,
        tolerance=1e-4,
    ),
    "packs": Part(
        "Packs of many lengths, a Llama of 1.2 billion parameters", LLAMA_1B, (FLEX, SDPA), pairs=96, batch=8, epochs=1
    ),
    "path": Part(
        "A tree that does not fit a pack, a Llama of 1.2 billion parameters",
        LLAMA_1B,
        (WHOLE, BY_PATH),
        {"packing_memory": "pack"},
        pairs=220,
        epochs=2,
        pack_tokens=32_768,
    ),
    "single": Part("TRL without padding, a Llama of 1.2 billion parameters", LLAMA_1B, (trl(1),)),
}
"""Parts by name."""
PARTS = ("1b", "tests", "8b", "path", "zero", "fp32", "packs", "single")
"""In the order in which they are measured: what matters most comes first."""
TESTS_LIMIT = 170

COLUMNS = {
    "what": ("what", ""),
    "pairs/s": ("rate", ".2f"),
    "step, s": ("step", ".3f"),
    "first step, s": ("first", ".2f"),
    "slowest other, s": ("slowest", ".3f"),
    "reference: s a pair": ("reference", ".4f"),
    "tokens a pair": ("tokens", ".0f"),
    "peak memory, GB": ("memory", ".2f"),
    "compilations": ("compilations", "d"),
    "kernel": ("kernel", ""),
    "last loss": ("loss", ".5f"),
    "largest difference of losses": ("gap", ".1e"),
    "of log-probabilities, relative": ("apart", ".1e"),
    "allowed": ("tolerance", ".0e"),
}


class Report:
    """What was found so far, in two files that are whole at any moment."""

    def __init__(self, folder, seconds):
        self._folder, self._began = folder, time.monotonic()
        self.seconds = seconds
        versions = {name: _version(name) for name in PACKAGES}
        self.found = {"machine": {**common.machine(), **versions}, "ended": "cut off", "seconds": 0.0, "parts": {}}
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def passed(self):
        return time.monotonic() - self._began

    @property
    def left(self):
        return self.seconds - self.passed

    def say(self, line):
        print(f"[{self.passed:5.0f} s] {line}", flush=True)

    def add(self, part, title, row):
        """Keep a row, and say what it says."""
        self.found["parts"].setdefault(part, {"title": title, "rows": []})["rows"].append(row)
        self.say(_line(row))
        self.write()

    def write(self):
        self.found["seconds"] = round(self.passed, 1)
        write_atomically(self._folder / "gpu.json", json.dumps(self.found, indent=1) + "\n")
        write_atomically(self._folder / "gpu.md", self.markdown())

    def markdown(self):
        machine = ", ".join(f"{name} {value}" for name, value in self.found["machine"].items() if value)
        lines = ["# Training on one GPU", "", machine, "", f"{self.found['seconds']:.0f} s, {self.found['ended']}"]
        for part in self.found["parts"].values():
            lines += ["", f"## {part['title']}", ""]
            measured = [row for row in part["rows"] if "rate" in row]
            lines += [common.table(measured, COLUMNS), ""] if measured else []
            lines += [f"- {_line(row)}" for row in part["rows"] if "rate" not in row]
        return "\n".join(lines) + "\n"


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _line(row):
    """What a row says, in one line; an error's last ones below it."""
    if "error" in row:
        return f"{row['what']}: failed: " + row["error"].strip()[-1500:].replace("\n", "\n    ")
    if "left_out" in row:
        return f"{row['what']}: left out: {row['left_out']}"
    if "outcomes" in row:
        return f"{row['what']}: " + "; ".join([row["outcomes"], *row["printed"]])
    cells = (f"{title} {format(row[key], form)}" for title, (key, form) in COLUMNS.items() if row.get(key) is not None)
    return "; ".join(cells).removeprefix("what ")


# -- models and rows -------------------------------------------------------------------------------------------


@cache
def trees(tiny):
    """Rows by dialogue."""
    return packing_data.dialogues(24, turns=2) if tiny else packing_data.dialogues(40)


def rows_of(part, tiny):
    """The first rows of as many dialogues as it takes, evenly over their sizes."""
    every = trees(tiny)
    mean = sum(map(len, every)) / len(every)
    few = packing_data.sample(every, min(len(every), 1 + round(part.pairs / mean)), len)
    return [row for tree in few for row in tree][: part.pairs]


def model_folder(scratch, part, tiny):
    """A folder with a model's configuration and a tokenizer; the weights are made at random where it is trained."""
    from transformers import LlamaConfig  # noqa: PLC0415  # heavy

    folder = scratch / "models" / f"{part.model['hidden_size']}-{part.model['num_hidden_layers']}"
    if not folder.is_dir():
        texts = {m["content"] for tree in trees(tiny) for row in tree for value in row.values() for m in value}
        make_tokenizer(sorted(texts), VOCABULARY).save_pretrained(folder)
        config = LlamaConfig(**part.model, pad_token_id=0, bos_token_id=None, eos_token_id=1)
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(folder)
    return folder


# -- what is measured ------------------------------------------------------------------------------------------


def measure_part(name, arguments, report):
    """Every variant of a part, each in a process of its own."""
    part = MEASURED[name].tiny() if arguments.tiny else MEASURED[name]
    report.say(part.title)
    base = None
    for variant in part.variants:
        row = measured(part, variant, arguments, report)
        base = base or row.get("log")
        if "log" in row and len(part.variants) > 1:
            row |= {**differences(row["log"], base), "tolerance": part.tolerance}
        report.add(name, part.title, row)


def measured(part, variant, arguments, report, *, again=False, **given):
    """A variant's figures, or why there are none."""
    row = {"name": variant.name, "what": variant.what}
    if reason := left_out(variant, arguments, report):
        return {**row, "left_out": reason}
    try:
        return {**row, **figures(part, variant, arguments, report, **given)}
    except packing.WorkerError as error:
        late = error.status in TIMED_OUT
        remedy = next((each for word, each in SECOND_TRIES.items() if word in str(error).lower()), None)
        if late or again or remedy is None:
            return {**row, "error": f"{'its time was up; ' if late else ''}{error}"}
    what, settings, given = remedy
    report.say(f"{variant.what}: failed; tried again {what}")
    other = replace(variant, what=f"{variant.what}, {what}", settings={**variant.settings, **settings})
    return measured(part, other, arguments, report, again=True, **given)


def left_out(variant, arguments, report):
    """Why a variant cannot be measured here; nothing where it can."""
    if report.left < LEAST:
        return "no time was left"
    if variant.name == "trl-flash" and importlib.util.find_spec("flash_attn") is None:
        return NO_FLASH
    return NO_FLEX if variant.name == "flex" and arguments.cpu else None


def figures(part, variant, arguments, report, **given):
    """Train some steps in a process of its own. The warm-up is in ``first`` and in nothing else."""
    rows = rows_of(part, arguments.tiny)
    told = argparse.Namespace(
        device="cpu" if arguments.cpu else "cuda",
        threads=1 if arguments.tiny else os.cpu_count(),
        launcher="",
        model=str(model_folder(arguments.scratch, part, arguments.tiny)),
        batch=part.batch or len(rows),
        pack_tokens=part.pack_tokens,
    )
    fixed = {"epochs": part.epochs, "lr_scheduler": "constant", "learning_rate": 5e-4}
    settings = {**fixed, **part.settings, **variant.settings}
    limit = min(variant.limit * (CPU_PATIENCE if arguments.cpu else 1), report.left - 3)
    found = packing.measure(told, rows, settings, limit=limit, random=True, **given)
    found["first"], *later = found["steps"]
    found |= {"step": statistics.median(later), "slowest": max(later), "loss": found["log"][-1]["loss"]}
    found["rate"] = found["pairs"] / len(found["steps"]) / found["step"]
    return found


def differences(log, base):
    """Most that two runs differ at the same step: in the loss, and relatively in a reply's mean log-probability."""
    steps = list(zip(log, base, strict=True))
    sides = ("logps/chosen", "logps/rejected")
    return {
        "gap": max(abs(one["loss"] - other["loss"]) for one, other in steps),
        "apart": max(abs(one[side] / other[side] - 1) for one, other in steps for side in sides),
    }


def is_wrong(row):
    """Whether a measurement failed, had another kernel than asked for, or other losses than it should have."""
    apart = "gap" in row and max(row["gap"], row["apart"]) > row["tolerance"]
    fell_back = row.get("name") == "flex" and row.get("kernel", "tree_flex") != "tree_flex"
    return "error" in row or apart or fell_back


def run_tests(arguments, report):
    """The tests marked gpu; where there is no GPU they are skipped, and that is said."""
    title = "The tests marked gpu"
    if report.left < LEAST:
        return report.add("tests", title, {"what": title, "left_out": "no time was left"})
    report.say(title)
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "-s", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
    words += ["-o", "addopts=--import-mode=importlib", "-o", "filterwarnings=default"]
    words += ["--basetemp", str(arguments.scratch / "tests"), str(ROOT / "tests" / "cso_train" / "test_gpu.py")]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    if arguments.cpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    done = common.run(words, min(TESTS_LIMIT, report.left - 3), cwd=ROOT, env=environment)
    outcomes = re.findall(r"\b(PASSED|FAILED|SKIPPED|ERROR)\b", done.stdout.partition("short test summary")[0])
    counted = ", ".join(f"{outcomes.count(each)} {each.lower()}" for each in dict.fromkeys(outcomes)) or "none ran"
    printed = re.findall(r"lora \w+, packing \w+: .*", done.stdout)
    row = {"what": title, "outcomes": counted + (" (they need a GPU)" if arguments.cpu else ""), "printed": printed}
    if done.returncode:
        ended = "its time was up" if done.returncode in TIMED_OUT else f"pytest ended with {done.returncode}"
        row["error"] = "\n".join([f"{counted}; {ended}", *printed, (done.stdout + done.stderr)[-1200:]])
    return report.add("tests", title, row)


# -- the machine -----------------------------------------------------------------------------------------------

LOOK = """
import json, torch
found = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "gpu": None}
if torch.cuda.is_available():
    gpu = torch.cuda.get_device_properties(0)
    found |= {"gpu": gpu.name, "gpu_gb": round(gpu.total_memory / 1e9, 1)}
print(json.dumps(found))
"""


LOOK_LIMIT = 120  # seconds


def look(arguments, report):
    """Name the GPU. This process never touches it itself."""
    done = common.run([sys.executable, "-c", LOOK], LOOK_LIMIT)
    if done.returncode in TIMED_OUT:
        raise SystemExit(
            f"PyTorch was not imported within {LOOK_LIMIT} s: the disk is slow, or other work keeps it busy"
        )
    if done.returncode:
        raise SystemExit(f"PyTorch does not work here: {done.stderr[-2000:]}")
    about = json.loads(done.stdout)
    if about["gpu"] is None and not arguments.cpu:
        raise SystemExit("there is no GPU here that this PyTorch can use; run with --cpu to try the script")
    if not arguments.cpu:
        report.found["machine"] |= about
    report.say(json.dumps(report.found["machine"]))


def environment(scratch):
    """No network, and every cache in our own folder: a home may be read-only."""
    folders = {
        "HF_HOME": "hf",
        "XDG_CACHE_HOME": "cache",
        "MPLCONFIGDIR": "matplotlib",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "TORCH_EXTENSIONS_DIR": "extensions",
        "TRITON_CACHE_DIR": "triton",
        "TMPDIR": "tmp",
    }
    found = {name: scratch / folder for name, folder in folders.items()}
    for folder in found.values():
        folder.mkdir(parents=True, exist_ok=True)
    lone = {"NCCL_SOCKET_IFNAME": "lo", "GLOO_SOCKET_IFNAME": "lo"}  # one process: nobody else is spoken to
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    # threads that wait leave the cores to others
    quiet = {
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "TQDM_DISABLE": "1",
    }
    return {**{name: str(folder) for name, folder in found.items()}, **lone, **offline, **quiet}


def run(arguments):
    report = Report(arguments.out, arguments.seconds)
    try:
        look(arguments, report)
        for name in arguments.parts:
            if name == "tests":
                run_tests(arguments, report)
            else:
                measure_part(name, arguments, report)
        report.found["ended"] = "whole"
    except SystemExit as stopped:
        if isinstance(stopped.code, str):  # an exit status means that the run was stopped from outside
            report.found["ended"] = stopped.code
        raise
    finally:
        report.write()
    print("\n" + report.markdown())
    rows = [row for part in report.found["parts"].values() for row in part["rows"]]
    return int(any(map(is_wrong, rows)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path(os.environ.get("OUT", "gpu-results")), help="folder of results"
    )
    parser.add_argument("--cpu", action="store_true", help="on the CPU, to try the script")
    parser.add_argument("--tiny", action="store_true", help="with tiny models and few rows")
    parser.add_argument("--seconds", type=float, default=480, help="what is not begun by then is left out")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--scratch", type=Path, help="folder for what is not kept; it is removed at the end")
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    arguments.scratch = (arguments.scratch or Path(tempfile.mkdtemp())).resolve()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        os.environ.update(environment(arguments.scratch))
        tempfile.tempdir = None  # it is asked for again, and found in the environment
        sys.exit(run(arguments))
    finally:
        shutil.rmtree(arguments.scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
