"""An epoch of DPO pair by pair and on trees, with either sampler: where it ends, over some seeds.

The pairs are searched in a simulated world; a small Llama learns its language first, then the pairs, in each way from
the same start. Held-out loss and accuracy are of dialogues that nothing was trained on.
Run: python benchmarks/packing_epoch.py [--out FILE] [--seeds N] [--scenarios N]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import anyio
import common
from study_parts.presets import TrainingSizes
from study_parts.tiny_model import make_model

import mctsdialog
from cso_train import resolve_config, train
from mctsdialog.worlds import World

PREFERENCES = mctsdialog.preferences.PreferenceConfig(theta=-0.4)  # a world's rewards are mostly below 0
WAYS = {
    "pair by pair": {"packing": "none", "per_device_batch_size": 8},
    "trees, pairs": {"packing": "tree", "sampler": "pairs"},
    "trees, dialogues": {"packing": "tree", "sampler": "dialogues"},
}
COLUMNS = {
    "way": ("way", ""),
    "held-out loss": ("loss", ".4f"),
    "± over seeds": ("loss_spread", ".4f"),
    "held-out accuracy": ("accuracy", ".3f"),
    "± over seeds (accuracy)": ("accuracy_spread", ".3f"),
    "spread of a step's loss": ("noise", ".4f"),
    "seconds": ("seconds", ".0f"),
}


async def searched(count, rounds, iterations):
    """The trees of so many scenarios, each searched in a world."""
    world = World(rounds=rounds)
    config = mctsdialog.SearchConfig(max_iterations=iterations, min_iterations=iterations, max_ends=10**9)
    return [await mctsdialog.search(each, world.roles(), config) for each in world.scenarios(count)]


def write_data(folder, trees):
    """Pairs and dialogues of the trees, a quarter of which is held out."""
    cut = len(trees) * 3 // 4
    for name, part in (("train", trees[:cut]), ("test", trees[cut:])):
        records = tuple(mctsdialog.preferences.tree_record(tree, PREFERENCES) for tree in part)
        dataset = mctsdialog.PreferenceDataset(records, trees[0].domain, PREFERENCES)
        mctsdialog.write_dataset({"train": dataset}, folder / name, formats=["preference", "sft"])
    return folder / "{}" / "preference" / "train.jsonl", folder / "train" / "sft" / "train.jsonl"


def run(folder, **settings):
    """Train as the command does. Returns the log's lines and the seconds."""
    fixed = {"output_dir": str(folder), "lora": False, "gradient_checkpointing": False, "zero_stage": "none"}
    resolved = resolve_config(None, None, {**fixed, "logging_steps": 1, **settings})
    began = time.perf_counter()
    train(resolved, say=lambda line: None)
    seconds = time.perf_counter() - began
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines], seconds


def epoch(folder, base, rows, seed, arguments, way):
    """An epoch of DPO in one way: what is held out at its end, and how the steps' losses spread."""
    settings = {"method": "dpo", "epochs": 1, "beta": 0.1, "learning_rate": arguments.rate, "warmup_ratio": 0.1}
    data = {"model": str(base), "data": str(rows).format("train"), "eval_data": str(rows).format("test")}
    log, seconds = run(folder, seed=seed, **data, **settings, **WAYS[way])
    last = next(line for line in reversed(log) if "eval_loss" in line)
    steps = [line["loss"] for line in log if "loss" in line]
    return {
        "loss": last["eval_loss"],
        "accuracy": last["eval_rewards/accuracies"],
        "noise": statistics.pstdev(steps[len(steps) // 2 :]),
        "steps": len(steps),
        "seconds": seconds,
    }


def summary(way, found):
    """Means and standard deviations over seeds."""
    row = {"way": way, **{name: statistics.mean(each[name] for each in found) for name in found[0]}}
    for name in ("loss", "accuracy"):
        row[f"{name}_spread"] = statistics.stdev(each[name] for each in found) if len(found) > 1 else 0.0
    return row


def measure(arguments, folder):
    trees = anyio.run(searched, arguments.scenarios, arguments.rounds, arguments.iterations)
    rows, dialogues = write_data(folder, trees)
    texts = [message["content"] for line in dialogues.open() for message in json.loads(line)["messages"]]
    sizes = TrainingSizes(vocabulary=1500, hidden=arguments.width, layers=3)
    make_model(folder / "random", trees[0].domain, texts, sizes, 0)
    speech = {"method": "sft", "data": str(dialogues), "packing": "tree", "learning_rate": 3e-3, "epochs": 1000}
    run(folder / "sft", model=str(folder / "random"), max_steps=arguments.speech_steps, **speech)
    base = folder / "sft" / "model"
    pairs = {name: Path(str(rows).format(name)).read_text("utf-8").count("\n") for name in ("train", "test")}
    print(f"{pairs['train']} pairs, {pairs['test']} held out\n", flush=True)
    found = []
    for way in WAYS:
        ends = [epoch(folder / f"{way}-{seed}", base, rows, seed, arguments, way) for seed in range(arguments.seeds)]
        found.append(summary(way, ends))
    return pairs, found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenarios", type=int, default=80, help="trees searched; a quarter is held out")
    parser.add_argument("--rounds", type=int, default=4, help="supporter turns of a dialogue")
    parser.add_argument("--iterations", type=int, default=100, help="of a search")
    parser.add_argument("--width", type=int, default=64, help="of the model")
    parser.add_argument("--speech-steps", type=int, default=200, help="steps in which the model learns to speak")
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate of DPO")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs, found = measure(arguments, Path(folder))
    print(common.table(found, COLUMNS))
    common.write(arguments.out, pairs=pairs, rows=found)


if __name__ == "__main__":
    main()
