"""What many trials at once cost in quality: the best path's worth on simulated worlds, where the optimum is known.

Every call takes a random time of a few milliseconds, so that trials overlap and end out of order. Worth is the true
mean reward of the best path, on the judge's scale from 0 to 4 (that is, without eq. 2's bias); regret is what it lacks
of the best dialogue there is, by dynamic programming. At equal iterations, and at equal calls.
Run: python benchmarks/parallel_quality.py [--out FILE] [--seeds N] [--at-once K ...]
"""

import argparse
import random
import statistics
from pathlib import Path

import anyio
import common

import mctsdialog
from mctsdialog.worlds import World

SCALE = 3.0  # minus the bias


class Clock:
    def __init__(self, seed, most_calls):
        self.draw, self.calls, self.most = random.Random(seed), 0, most_calls

    async def wait(self):
        if self.most is not None and self.calls >= self.most:
            raise mctsdialog.errors.BudgetExceededError("calls", limit=self.most, used=self.calls)
        self.calls += 1
        await anyio.sleep(self.draw.uniform(0.0005, 0.002))


async def one(seed, at_once, arguments, most_calls):
    """(mean Q, true worth, optimum, iterations, calls) of one search."""
    world = World(seed, rounds=arguments.rounds)
    scenario = world.scenario(0)
    clock = Clock(seed, most_calls)
    roles = common.roles_after(world.roles(), clock.wait)
    iterations = 10**6 if most_calls else arguments.iterations
    config = mctsdialog.SearchConfig(
        max_iterations=iterations, min_iterations=iterations, max_ends=10**9, parallelism=at_once
    )
    tree = await mctsdialog.search(scenario, roles, config)
    best = tree.best_path()
    if not best:
        raise SystemExit(f"world {seed}: no whole dialogue after {clock.calls} calls; allow more with --calls")
    worth = world.value(scenario, best.strategies)
    return best.value + SCALE, worth + SCALE, world.best_value(scenario) + SCALE, tree.iterations, clock.calls


def row_of(at_once, budget, found, first):
    means, worths, optima, iterations, calls = (list(each) for each in zip(*found, strict=True))
    regrets = [best - worth for best, worth in zip(optima, worths, strict=True)]
    row = {
        "at_once": at_once,
        "budget": budget,
        "mean_q": statistics.mean(means),
        "worth": statistics.mean(worths),
        "regret": statistics.mean(regrets),
        "error": statistics.stdev(regrets) / len(regrets) ** 0.5,
        "iterations": statistics.mean(iterations),
        "calls": statistics.mean(calls),
    }
    row["share_q"] = row["mean_q"] / (first or row)["mean_q"]
    row["share"] = row["worth"] / (first or row)["worth"]
    return row


def measure(arguments):
    rows = []
    for budget, most_calls in (
        (f"{arguments.iterations} iterations", None),
        (f"{arguments.calls} calls", arguments.calls),
    ):
        first = None
        for at_once in arguments.at_once:
            found = [anyio.run(one, seed, at_once, arguments, most_calls) for seed in range(arguments.seeds)]
            rows.append(row_of(at_once, budget, found, first))
            first = first or rows[-1]
    return rows


COLUMNS = {
    "budget": ("budget", "s"),
    "in flight": ("at_once", "d"),
    "best path, mean Q + 3": ("mean_q", ".3f"),
    "of k = 1": ("share_q", ".1%"),
    "true worth": ("worth", ".3f"),
    "of k = 1 ": ("share", ".1%"),
    "regret": ("regret", ".3f"),
    "± s.e.": ("error", ".3f"),
    "iterations": ("iterations", ".0f"),
    "calls": ("calls", ".0f"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--seeds", type=int, default=20, help="worlds")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=4, help="supporter turns of a dialogue")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    arguments = parser.parse_args()
    rows = measure(arguments)
    print(common.table(rows, COLUMNS))
    common.write(arguments.out, rows=rows)


if __name__ == "__main__":
    main()
