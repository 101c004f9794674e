"""Both memory modes of training on trees: the peak memory and the time of a step on one tree of many tokens.

Each figure is of a process of its own: SimPO of SmolLM2-135M with LoRA, one step of all pairs of the tree. "pack" takes
the whole tree as one pack, with gradient checkpointing; "path" goes through it path by path, in pieces of 256 tokens.
Modes are compared by their process's seconds on the CPU, which other work on the machine changes least; on a GPU by the
clock.
Run: python benchmarks/packing_memory.py [--out FILE]
"""

import argparse
import sys

import common
import packing
import packing_data

# shape -> (what it is, turns of a dialogue, rejected replies of a turn)
SHAPES = {
    "long": ("dialogues of 54 turns, 7 rejected replies each", 54, 7.0),
    "paper": ("dialogues of the paper's shape", packing_data.TURNS, packing_data.REJECTED),
}
COLUMNS = {
    "tree": ("what", ""),
    "memory": ("mode", ""),
    "tokens": ("tree_tokens", ".0f"),
    "pairs": ("pairs", "d"),
    "step, s": ("step", ".0f"),
    "on the CPU, s": ("processor", ".0f"),
    "times pack's": ("slower", ".2f"),
    "before the step, GB": ("memory_before", ".2f"),
    "peak memory, GB": ("memory", ".2f"),
    "of pack's": ("share", ".2f"),
}
PACK = {"packing_memory": "pack", "gradient_checkpointing": True}
PATH = {"packing_memory": "path"}
FIXED = {"method": "simpo", "packing": "tree", "sampler": "dialogues", "max_length": 8192, "max_completion_tokens": 128}


def measured(arguments, shape, count, mode):
    """The figures of one step on the tree of some dialogues."""
    title, turns, rejected = SHAPES[shape]
    rows = [row for tree in packing_data.dialogues(count, turns, rejected) for row in tree]
    settings = {**FIXED, **(PATH if mode == "path" else PACK), "batch_size": len(rows)}
    told = argparse.Namespace(**{**vars(arguments), "batch": len(rows)})
    told.pack_tokens = arguments.pack_tokens if mode == "path" else sys.maxsize
    figures = packing.measure(told, rows, settings)
    row = {"what": f"{count} {title}" if count > 1 else f"one of the {title}", "shape": shape, "mode": mode, **figures}
    pairs = figures["pairs"]
    row |= {"tree_tokens": figures["tokens"] * pairs, "step": figures["train"] * pairs}
    row["processor"] = figures["processor"] * pairs
    print({name: value for name, value in row.items() if name != "log"}, file=sys.stderr, flush=True)
    return row


def compared(arguments, shape, count):
    """Both modes on one tree, and how they compare."""
    clock = "processor" if arguments.device == "cpu" else "step"
    found = [measured(arguments, shape, count, mode) for mode in arguments.modes for _ in range(arguments.repeats)]
    best = [min((row for row in found if row["mode"] == mode), key=lambda row: row[clock]) for mode in arguments.modes]
    pack = next((row for row in best if row["mode"] == "pack"), None)
    for row in best if pack is not None else ():
        row |= {"slower": row[clock] / pack[clock], "share": row["memory"] / pack["memory"]}
        row["apart"] = abs(row["log"][0]["loss"] - pack["log"][0]["loss"])
    return best


def main():
    parser = packing.command(__doc__, "of path mode: a piece has a sixteenth of them")
    parser.add_argument("--modes", nargs="+", choices=("pack", "path"), default=["pack", "path"])
    parser.add_argument("--repeats", type=int, default=1, help="of each; the quickest counts")
    parser.add_argument("--long", type=int, nargs="*", default=[1], help="numbers of long dialogues in a tree")
    parser.add_argument("--paper", type=int, nargs="*", default=[11], help="numbers of dialogues of the paper's shape")
    parser.add_argument("--large", type=int, nargs="*", default=[55], help="as --paper, for path mode alone")
    arguments = parser.parse_args()
    rows = [row for shape in SHAPES for count in getattr(arguments, shape) for row in compared(arguments, shape, count)]
    rows += [measured(arguments, "paper", count, "path") for count in arguments.large]
    print(common.table(rows, COLUMNS), flush=True)
    common.write(arguments.out, model=arguments.model, device=arguments.device, rows=rows)


if __name__ == "__main__":
    main()
