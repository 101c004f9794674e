"""What the search itself costs, in time and memory, against the number of iterations: roles that answer at once.

Ours has its journal on; much exploration (c = 50) keeps the depth the same for every size, so that nearly every
iteration generates, expands and simulates anew. The peers (python benchmarks/peers.py) run as in peer_runs.py, each in
a process of its own, in turn with ours, up to the first size that takes them longer than --patience. An iteration of
ours takes about ten calls to roles, of treequest and OpenSpiel one, of llm-reasoners one a level; all answer at once.
Memory is what Python's allocators gave, by tracemalloc, in runs apart: the most at any time, and for ours what the tree
takes in the end, beside its texts.
Run: python benchmarks/overhead.py [--out FILE] [--runs N] [--measure time memory]
"""

import argparse
import gc
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import anyio
import common
import one_tree
import peers

import mctsdialog

PEERS = ("treequest-serial", "llm-reasoners-iterations", "open_spiel")
NAMES = [strategy.name for strategy in mctsdialog.get_domain("esc").strategies]


class Seeker:
    """Ends every dialogue at a fixed depth, so that trees grow no deeper with more iterations."""

    def __init__(self, depth):
        self.turns = 2 * depth

    async def reply(self, history, /):
        return None if len(history) >= self.turns else f"I am not sure about number {len(history)}."


class Supporter:
    async def reply(self, history, strategy, /):
        return f"Let us look at number {len(history)} by {strategy}."


class Strategist:
    async def score(self, history, /):
        return {name: (7 * index + len(history)) % 11 for index, name in enumerate(NAMES)}


class Judge:
    async def judge(self, history, /):
        key = len(history) + len(history[-1].strategy)
        return mctsdialog.JudgeScores(key % 5, key * 3 % 5, 2, key * 7 % 5)


async def one_search(iterations, depth, journal):
    roles = mctsdialog.Roles(Seeker(depth), Supporter(), Strategist(), Judge())
    config = mctsdialog.SearchConfig(max_iterations=iterations, min_iterations=iterations, max_ends=10**9, c=50.0)
    tree = await mctsdialog.search(mctsdialog.Scenario(id="benchmark"), roles, config, journal=journal)
    assert tree.iterations == iterations
    return tree


def ours(iterations, depth, *, memory):
    """Seconds and nodes of one search, or its memory."""
    with tempfile.TemporaryDirectory() as folder:
        gc.collect()
        if memory:
            tracemalloc.start()
        began = time.perf_counter()
        tree = anyio.run(one_search, iterations, depth, Path(folder) / "journal.jsonl")
        seconds = time.perf_counter() - began
    if not memory:
        return {"seconds": seconds, "nodes": len(tree)}
    gc.collect()
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"most": most, "beside_text": (held - size_of_texts(tree)) / len(tree)}


def size_of_texts(tree):
    """Bytes of the utterances in a tree."""
    texts = {}
    for node in tree:
        for holder in (node, *(node.rollout.steps if getattr(node, "rollout", None) else ())):
            for text in (getattr(holder, "supporter", None), getattr(holder, "seeker", None)):
                texts[id(text)] = 0 if text is None else sys.getsizeof(text)
    return sum(texts.values())


def peer(python, name, iterations, *, memory, patience):
    """What was found, and the seconds that the peer took."""
    found = one_tree.peer(python, name, iterations, 0.0, 1, 0.0, memory=memory, timeout=30 * patience)
    kept = {"most": found["bytes"]} if memory else {"seconds": found["seconds"], "nodes": found["nodes"]}
    return kept, found["seconds"]


def measure(arguments):
    """Rows by system and size: sizes outside, systems inside, so that runs are interleaved."""
    python = arguments.peers / "bin" / "python"
    names = ["mctsdialog", *(PEERS if python.exists() else ())]
    rows = {}
    for what in arguments.measure:
        memory, going_on = what == "memory", list(names)
        for size in arguments.sizes:
            for name in going_on[:]:
                samples = []
                for _ in range(1 if memory else arguments.runs):
                    if name == "mctsdialog":
                        samples.append(ours(size, arguments.depth, memory=memory))
                        continue
                    found, took = peer(str(python), name, size, memory=memory, patience=arguments.patience)
                    samples.append(found)
                    if took > arguments.patience:
                        going_on.remove(name)
                        break
                row = rows.setdefault((name, size), {"system": name, "iterations": size})
                row.update(common.medians(samples))
    return sorted(rows.values(), key=lambda row: (names.index(row["system"]), row["iterations"]))


def completed(row):
    """A row with the figures that follow from the others."""
    each = 1000 * row["seconds"] / row["iterations"] if "seconds" in row else None
    return {**row, "each": each, "mb": row["most"] / 1e6 if "most" in row else None}


COLUMNS = {
    "system": ("system", "s"),
    "iterations": ("iterations", ",d"),
    "nodes": ("nodes", ",.0f"),
    "seconds": ("seconds", ".3f"),
    "ms an iteration": ("each", ".3f"),
    "MB at most": ("mb", ".1f"),
    "bytes a node beside text": ("beside_text", ".0f"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--runs", type=int, default=3, help="interleaved runs of each size; the medians count")
    parser.add_argument("--sizes", type=int, nargs="+", default=[400, 800, 1600, 3200, 6400, 12800, 25600])
    parser.add_argument("--depth", type=int, default=6, help="supporter turns after which every dialogue of ours ends")
    parser.add_argument("--measure", choices=["time", "memory"], nargs="+", default=["time", "memory"])
    parser.add_argument(
        "--patience", type=float, default=10.0, help="seconds of a size after which a peer goes no further"
    )
    parser.add_argument("--peers", type=Path, default=peers.VENV, help="the peers' environment")
    arguments = parser.parse_args()
    rows = [completed(row) for row in measure(arguments)]
    print(common.table(rows, COLUMNS))
    common.write(arguments.out, rows=rows)


if __name__ == "__main__":
    main()
