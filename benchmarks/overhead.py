"""What the search itself costs: instant roles in this process, journal on.

Prints the time of 1,600 iterations and the time against the number of iterations at nearly constant depth (much
exploration, so that nearly every iteration generates, expands and simulates anew instead of going deeper) as a Markdown
table, and writes both as JSON. Run: python benchmarks/overhead.py [--out FILE] [--runs N]
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio

import mctsdialog

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
    began = time.perf_counter()
    tree = await mctsdialog.search(mctsdialog.Scenario(id="benchmark"), roles, config, journal=journal)
    seconds = time.perf_counter() - began
    assert tree.iterations == iterations
    return seconds, max(tree.depth(node) for node in tree), len(tree)


async def measure(runs, sizes, depth):
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            samples = []
            for run in range(runs):
                journal = Path(folder) / f"{size}-{run}.jsonl"
                samples.append(await one_search(size, depth, journal))
                journal.unlink()
            rows.append(
                {
                    "iterations": size,
                    "seconds": statistics.median(sample[0] for sample in samples),
                    "depth": samples[0][1],
                    "nodes": samples[0][2],
                }
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--runs", type=int, default=5, help="runs of each size; the median counts")
    parser.add_argument("--sizes", type=int, nargs="+", default=[400, 800, 1600, 3200, 6400])
    parser.add_argument("--depth", type=int, default=6, help="supporter turns after which every dialogue ends")
    arguments = parser.parse_args()
    rows = anyio.run(measure, arguments.runs, arguments.sizes, arguments.depth)
    print("| iterations | seconds | ms an iteration | nodes | depth |")
    print("|---|---|---|---|---|")
    for row in rows:
        each = 1000 * row["seconds"] / row["iterations"]
        print(f"| {row['iterations']} | {row['seconds']:.3f} | {each:.3f} | {row['nodes']} | {row['depth']} |")
    first, last = rows[0], rows[-1]
    growth = (last["seconds"] / first["seconds"]) / (last["iterations"] / first["iterations"])
    print(f"\nTime per iteration at {last['iterations']} against {first['iterations']}: {growth:.2f} times.")
    if arguments.out:
        machine = {"python": sys.version.split()[0], "system": platform.system(), "cpu": platform.machine()}
        arguments.out.write_text(json.dumps({"machine": machine, "rows": rows, "growth": growth}, indent=2) + "\n")


if __name__ == "__main__":
    main()
