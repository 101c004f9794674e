"""What preference extraction costs: trees of growing size, with many valid paths and many rejected siblings.

Prints the time to extract the record, to expand it into pairs, and to write and read it, as a Markdown table, and
writes the figures as JSON. Run: python benchmarks/preferences.py [--out FILE] [--runs N] [--sizes N ...]
"""

import argparse
import json
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import mctsdialog

NAMES = [strategy.name for strategy in mctsdialog.get_domain("esc").strategies]
MOST_DEPTH = 8


def make_tree(size):
    """A tree in which a third of the nodes are good, and which ends at depth 8."""
    generator = random.Random(size)
    scenario = mctsdialog.Scenario(scene="Work", description="Too much of it.", id=f"tree-{size}")
    tree = mctsdialog.Tree(scenario, mctsdialog.get_domain("esc"), [mctsdialog.Turn("seeker", "I am tired.")])
    tree.root.value, tree.root.visits = 0.9, size
    depths, waiting = {0: 0}, [0]
    priors = dict.fromkeys(NAMES, 1 / len(NAMES))
    while len(tree) < size:
        parent = waiting.pop(generator.randrange(len(waiting)))
        for child in tree.expand(parent, dict.fromkeys(NAMES, 5), priors):
            depths[child] = depths[parent] + 1
            end = depths[child] == MOST_DEPTH
            node = tree.speak(child, f"Let us look at number {child}, one step at a time.", None if end else "Yes.")
            node.visits, node.value = generator.randrange(1, 5), generator.choice((0.8, -0.5, -1.2))
            if not end and node.value > 0:
                waiting.append(child)
        waiting = waiting or [node.id for node in tree if node.type == "expanded" and not node.children]
    return tree


def timed(function):
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def one_run(tree, folder):
    extract, record = timed(lambda: mctsdialog.preferences.tree_record(tree))
    expand, pairs = timed(lambda: sum(1 for _ in record.expand()))
    dataset = mctsdialog.PreferenceDataset((record,), tree.domain, mctsdialog.preferences.PreferenceConfig())
    write, _ = timed(lambda: mctsdialog.write_dataset({"train": dataset}, folder, formats=["preference", "tree"]))
    read, _ = timed(lambda: mctsdialog.preferences.load_preferences(folder))
    return {"extract": extract, "expand": expand, "write": write, "read": read}, pairs, len(record.ends)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--runs", type=int, default=3, help="runs of each size; the median counts")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 400_000])
    arguments = parser.parse_args()
    rows = []
    print("| nodes | valid paths | pairs | extract s | µs a node | expand s | write s | read s |")
    print("|---|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        tree = make_tree(size)
        with tempfile.TemporaryDirectory() as folder:
            runs = [one_run(tree, folder) for _ in range(arguments.runs)]
        times = {name: statistics.median(run[0][name] for run in runs) for name in runs[0][0]}
        rows.append({"nodes": len(tree), "paths": runs[0][2], "pairs": runs[0][1], **times})
        print(
            f"| {len(tree)} | {runs[0][2]} | {runs[0][1]} | {times['extract']:.2f} | "
            f"{1e6 * times['extract'] / len(tree):.1f} | {times['expand']:.2f} | {times['write']:.2f} | "
            f"{times['read']:.2f} |",
            flush=True,
        )
    if arguments.out:
        machine = {"python": sys.version.split()[0], "system": platform.system(), "cpu": platform.machine()}
        arguments.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
