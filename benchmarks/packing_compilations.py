"""How often FlexAttention is compiled in an epoch on trees, the packs of the reference's log-probabilities included.

The data has the shape of the paper's, its tokens are those of a real model, and the packs are those that a run would
have. Attention is called as in a model's layer, with one head of width 1, and a backend that counts what it should
compile and gives zeros: it needs no GPU. Run: python benchmarks/packing_compilations.py [--out FILE]
"""

import argparse
import json
import tempfile
from pathlib import Path

import common
import packing_data
import torch

import cso_train._run.prepare
import cso_train._run.training
from cso_train import resolve_config
from cso_train.packing import _flex
from cso_train.packing._trie import token_tree

COLUMNS = {
    "sampler": ("sampler", ""),
    "pairs": ("pairs", "d"),
    "steps": ("steps", "d"),
    "packs": ("packs", "d"),
    "different lengths": ("lengths", "d"),
    "tokens of the longest": ("longest", "d"),
    "compilations": ("compilations", "d"),
    "for packs of up to": ("rungs", ""),
}


@torch._dynamo.register_backend(name="zeros")
def zeros(graph, inputs):
    """A backend of torch.compile: what it gives has the shapes of what the graph would."""
    made = next(node for node in graph.graph.nodes if node.op == "output").args[0]
    shapes = [tuple(node.meta["example_value"].shape) for node in made]
    return lambda *given: tuple(torch.zeros(shape) for shape in shapes)


def packs_of_an_epoch(arguments, sampler, folder):
    """(pairs, steps, trees of all packs of an epoch and of the reference)."""
    data = folder / "rows.jsonl"
    rows = [row for tree in packing_data.dialogues(arguments.dialogues) for row in tree]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    given = {"model": arguments.model, "data": str(data), "packing": "tree", "sampler": sampler, "epochs": 1}
    given |= {"batch_size": arguments.batch, "pack_tokens": arguments.pack_tokens, "zero_stage": "none"}
    prepared = cso_train._run.prepare.prepare(resolve_config(None, None, given).config, lambda line: None)
    trainer, _ = cso_train._run.training.make_trainer(prepared, folder / sampler)
    planner, rows = trainer.objective.planner("train"), trainer.objective.rows["train"]
    order = planner.order(0)
    packs = [pack for number in range(planner.steps) for pack in planner.step(order, number).packs]
    packs += planner.everything()
    trees = [token_tree([reply.ids for row in pack for reply in rows[row].replies]) for pack in packs]
    return len(rows), planner.steps, trees


def counted(arguments, sampler, folder):
    """How often attention is compiled for the packs of an epoch."""
    pairs, steps, trees = packs_of_an_epoch(arguments, sampler, folder)
    torch.compiler.reset()
    _flex._compiled_attention.cache_clear()
    _flex.compiled.clear()
    for tree in trees:
        states = torch.ones(1, 1, len(tree), 1)
        mask = _flex.block_mask(tree, None, states.device)
        with torch.no_grad():  # on a CPU it has no backward pass; on a GPU one graph serves both
            _flex.tree_flex_attention(None, states, states, states, mask, scaling=1.0)
    lengths = [len(tree) for tree in trees]
    row = {"sampler": sampler, "pairs": pairs, "steps": steps, "packs": len(trees), "lengths": len(set(lengths))}
    rungs = ", ".join(map(str, sorted(_flex.compiled)))
    return {**row, "longest": max(lengths), "compilations": len(_flex.compiled), "rungs": rungs}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--model", default="smollm2", help="as cso_train's --model")
    parser.add_argument("--dialogues", type=int, default=packing_data.DIALOGUES)
    parser.add_argument("--batch", type=int, default=32, help="pairs of an optimiser step")
    parser.add_argument("--pack-tokens", type=int, default=4096, help="most tokens of a pack")
    parser.add_argument("--samplers", nargs="+", choices=("pairs", "dialogues"), default=["pairs", "dialogues"])
    arguments = parser.parse_args()
    _flex.backend = "zeros"
    with tempfile.TemporaryDirectory() as folder:
        rows = [counted(arguments, sampler, Path(folder)) for sampler in arguments.samplers]
    print(common.table(rows, COLUMNS))
    common.write(arguments.out, rows=rows)


if __name__ == "__main__":
    main()
