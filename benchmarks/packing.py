"""Training on trees against TRL's DPOTrainer: pairs a second, tokens and memory, on data of the paper's shape.

Each figure is of a process of its own: the same rows' shape, model, adapters and global batch, the time of whole
optimiser steps, and of the reference's log-probabilities. --variants losses compares the losses that use more than
pairs: on the same dialogues as "dialogues", in steps of as many turns as its pairs come from. Pairs a second are then
those pairs: one for each rejected reply. Run: python benchmarks/packing.py [--out FILE]
"""

import argparse
import json
import os
import random
import shlex
import sys
import tempfile
from pathlib import Path

import common
import packing_data

COLUMNS = {
    "what": ("what", ""),
    "pairs": ("pairs", ".0f"),
    "steps": ("updates", "d"),
    "pairs/s": ("rate", ".3f"),
    "times TRL": ("speedup", ".1f"),
    "step: s a pair": ("train", ".3f"),
    "reference: s a pair": ("reference", ".3f"),
    "tokens a pair": ("tokens", ".0f"),
    "fewer tokens": ("token_ratio", ".1f"),
    "peak memory, GB": ("memory", ".2f"),
}
WORKER = Path(__file__).with_name("packing_worker.py")
TRL = {"packing": "none", "precompute_reference": True, "gradient_checkpointing": False, "per_device_batch_size": 1}
TREE = {"packing": "tree", "gradient_checkpointing": False}
VARIANTS = {
    "trl": ("TRL as it is set by default", {"packing": "none", "per_device_batch_size": 4}),
    "trl-best": ("TRL at its best", TRL),
    "pairs": ("trees, pairs", {**TREE, "sampler": "pairs"}),
    "dialogues": ("trees, dialogues", {**TREE, "sampler": "dialogues"}),
    "checkpointed": ("trees, dialogues, checkpointing", {"packing": "tree", "sampler": "dialogues"}),
}
# loss -> (what it is, settings, what its rows are made of the pairs)
LOSSES = {
    "dpo-nll": ("dpo, nll_weight 1", {"method": "dpo", "nll_weight": 1.0}, list),
    "odpo": ("odpo", {"method": "odpo"}, packing_data.valued),
    "infonca": ("infonca", {"method": "infonca"}, packing_data.turns_of),
    "nca": ("nca", {"method": "nca"}, packing_data.turns_of),
    "refuel": ("refuel", {"method": "refuel"}, packing_data.turns_of),
    "distill": ("distill", {"method": "distill"}, packing_data.turns_of),
}
PER_PAIR = ("train", "processor", "reference", "reference_processor", "tokens")


class WorkerError(SystemExit):
    """A worker ended without figures.

    :ivar status: its exit status; 124 where its time was up.
    """

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


def measure(arguments, rows, settings, *, limit=None, **given):
    """The figures of one worker.

    :param limit: the seconds it may take; None for any number.
    :param given: what else it is told.
    :raises WorkerError: where it fails.
    """
    environment = {**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(arguments.threads)}
    if arguments.device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    common_settings = {
        "model": arguments.model,
        "batch_size": min(arguments.batch, len(rows)),
        "pack_tokens": arguments.pack_tokens,
        "epochs": 1,
    }
    with tempfile.TemporaryDirectory() as folder:
        file, data = Path(folder) / "given.json", Path(folder) / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        told = {"rows": str(data), "settings": {**common_settings, **settings}, "device": arguments.device, **given}
        file.write_text(json.dumps(told), "utf-8")
        words = [*shlex.split(arguments.launcher), sys.executable, str(WORKER), str(file)]
        done = common.run(words, limit, env=environment)
        if done.returncode:
            raise WorkerError(f"{settings}: {done.stderr[-3000:] or 'it printed no error'}", done.returncode)
        return json.loads(file.with_name("figures.json").read_bytes())


# -- what is compared ------------------------------------------------------------------------------------------


def size(row):
    return len(row["prompt"])


def compare(arguments):
    """Every variant on data of the paper's shape."""
    trees = packing_data.dialogues(arguments.dialogues)
    rows = [row for tree in trees for row in tree]
    generator = random.Random(1)
    generator.shuffle(rows)
    count = arguments.batch * arguments.steps
    few = packing_data.sample(trees, max(1, round(count * len(trees) / len(rows))), len)
    together = [row for tree in few for row in tree]
    found = []
    for name in chosen_variants(arguments.variants):
        if name in LOSSES:
            what, figures = f"trees, {LOSSES[name][0]}", measured_loss(arguments, together, name)
        else:
            what, settings = VARIANTS[name]
            apart = arguments.trl_pairs if name.startswith("trl") else count if name == "pairs" else None
            chosen = together if apart is None else packing_data.sample(rows, apart, size)
            figures = measure(arguments, chosen, settings)
        if arguments.cpu_seconds:
            figures |= {"train": figures["processor"], "reference": figures["reference_processor"]}
        found.append({"what": what, "name": name, "updates": len(figures["steps"]), **figures})
        print(f"{what}: {found[-1]}", file=sys.stderr, flush=True)
    by_name = {row["name"]: row for row in found}
    if "pairs" in by_name and "dialogues" in by_name:  # the table is made dialogue by dialogue with either sampler
        by_name["pairs"]["reference"] = by_name["dialogues"]["reference"]
    return with_ratios(found)


def chosen_variants(names):
    """The variants, with each loss for "losses"."""
    return [each for name in names for each in (LOSSES if name == "losses" else (name,))]


def measured_loss(arguments, pairs, name):
    """A loss's figures for each pair of the data that its rows are made of."""
    _, settings, made_of = LOSSES[name]
    rows = made_of(pairs)
    share = len(rows) / len(pairs)
    told = argparse.Namespace(**{**vars(arguments), "batch": max(1, round(arguments.batch * share))})
    figures = measure(told, rows, {**VARIANTS["dialogues"][1], **settings})
    return {**figures, **{key: figures[key] * share for key in PER_PAIR}, "pairs": figures["pairs"] / share}


def with_ratios(rows):
    """Pairs a second with the reference counted in, for one epoch, and against the quickest of TRL's."""
    for row in rows:
        row["rate"] = 1 / (row["train"] + row["reference"])
    trl = [row for row in rows if row["name"].startswith("trl")]
    if trl:
        best = max(trl, key=lambda row: row["rate"])
        for row in rows:
            row["speedup"], row["token_ratio"] = row["rate"] / best["rate"], best["tokens"] / row["tokens"]
    return rows


def sweep(arguments, name):
    """Trees and TRL against the turns of a dialogue, or the rejected replies of a turn."""
    found = []
    for value in getattr(arguments, name):
        trees = packing_data.dialogues(8, **{name: value})
        pairs = sorted((row for tree in trees for row in tree), key=size)
        few = packing_data.sample(trees, 2, len)
        ours = measure(arguments, [row for tree in few for row in tree], VARIANTS["dialogues"][1])
        theirs = measure(arguments, packing_data.sample(pairs, arguments.sweep_pairs, size), VARIANTS["trl-best"][1])
        both = with_ratios([{"name": "trl-best", **theirs}, {"name": "dialogues", **ours}])
        ratios = {key: both[1][key] for key in ("speedup", "token_ratio")}
        found.append({"value": value, "trl": both[0]["rate"], "rate": both[1]["rate"], **ratios})
    return found


def sizes(arguments):
    """Both samplers against the most tokens of a pack."""
    found = []
    for budget in arguments.budgets:
        given = argparse.Namespace(**{**vars(arguments), "pack_tokens": budget})
        given.variants = ["pairs", "dialogues"]
        found += [{"budget": budget, **row} for row in compare(given)]
    return found


def command(description, pack_tokens):
    """The options that every benchmark of packing has.

    :param pack_tokens: what the setting means there.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--model", default="smollm2", help="as cso_train's --model")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of a measured process")
    parser.add_argument("--launcher", default="", help="words before a measured process, such as 'taskset -c 0,1'")
    parser.add_argument("--pack-tokens", type=int, default=4096, help=pack_tokens)
    return parser


def main():
    parser = command(__doc__, "most tokens of a pack")
    parser.add_argument("--dialogues", type=int, default=packing_data.DIALOGUES, help="in the data that pairs are of")
    parser.add_argument("--batch", type=int, default=32, help="pairs of an optimiser step")
    parser.add_argument("--steps", type=int, default=4, help="optimiser steps on trees")
    parser.add_argument("--trl-pairs", type=int, default=32, help="pairs that TRL is timed on, one step where no more")
    names = [*VARIANTS, *LOSSES, "losses"]
    parser.add_argument(
        "--variants", nargs="+", default=list(VARIANTS), choices=names, metavar="VARIANT", help=", ".join(names)
    )
    words = "time by the process's seconds on the CPU: for one thread on a machine that does other work"
    parser.add_argument("--cpu-seconds", action="store_true", help=words)
    parser.add_argument("--turns", type=int, nargs="*", default=[2, 4, 8, 12])
    parser.add_argument("--rejected", type=int, nargs="*", default=[1, 2, 4, 7])
    parser.add_argument("--budgets", type=int, nargs="*", default=[], help="pack sizes to compare")
    parser.add_argument("--sweep-pairs", type=int, default=8, help="pairs that TRL is timed on in the sweeps")
    arguments = parser.parse_args()
    figures = {"rows": compare(arguments)}
    print(common.table(figures["rows"], COLUMNS), flush=True)
    if arguments.budgets:
        figures["budgets"] = sizes(arguments)
        own = {title: each for title, each in COLUMNS.items() if each[0] not in ("speedup", "token_ratio")}
        columns = {"pack_tokens": ("budget", "d"), **own}
        print("\n" + common.table(figures["budgets"], columns), flush=True)
    for name, title in (("turns", "turns a dialogue"), ("rejected", "rejected replies a turn")):
        if getattr(arguments, name):
            figures[name] = sweep(arguments, name)
            columns = {title: ("value", "d"), "TRL: pairs/s": ("trl", ".3f"), "trees: pairs/s": ("rate", ".3f")}
            columns |= {"times": ("speedup", ".1f"), "fewer tokens": ("token_ratio", ".1f")}
            print("\n" + common.table(figures[name], columns), flush=True)
    common.write(arguments.out, model=arguments.model, device=arguments.device, **figures)


if __name__ == "__main__":
    main()
