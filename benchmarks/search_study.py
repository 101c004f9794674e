"""The algorithms of the search in simulated worlds: regret, and the paired difference to the beam.

Regret is what the true worth of the recommended dialogue lacks of the scenario's best, on the judge's scale; intervals
are 95 %, and differences are paired by scenario. The beam that all are compared with is told how long dialogues are;
the package's own finds out. Scenarios below 1,000 are for reporting; tune on others.
Run: python benchmarks/search_study.py [--scenarios 0-49] [--algorithms beam calibrated] [--worlds ...] [--out FILE]
"""

import argparse
import math
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import common
from study_parts.ablation import ABLATIONS
from study_parts.searching import ALGORITHMS, WAYS, measured

import mctsdialog
from mctsdialog import SearchConfig
from mctsdialog.dialogue import Turn
from mctsdialog.errors import ConfigError
from mctsdialog.worlds import World, strategies_of
from mctsdialog.worlds._state import draw, effect

PLAN_CALLS = (8, 16, 32, 64, 128, 200)
BASELINE = "beam, told the rounds"
KNOWN = WAYS | ABLATIONS


@dataclass(frozen=True)
class Rated:
    """A strategist that rates by another rule than the world's own."""

    inner: Any
    world: World
    rule: str

    def for_scenario(self, scenario):
        return replace(self, inner=self.inner.for_scenario(scenario))

    async def score(self, history):
        scores = await self.inner.score(history)
        if self.rule == "adverse":
            return {name: max(0.0, 8.0 - score) for name, score in scores.items()}
        key = (self.world.seed, self.inner.scenario.id, *strategies_of(history))
        return {name: float(int(11 * draw("rand", name, *key))) for name in scores}


@dataclass(frozen=True)
class OddWorld(World):
    """A world whose strategist rates at random, or highly what fails."""

    rule: str = "random"

    def roles(self):
        roles = super().roles()
        return replace(roles, strategist=Rated(roles.strategist, self, self.rule))


@dataclass(frozen=True)
class LateWorld(World):
    """A world whose helpful turns are not welcome when they are said: they pay by the state that they lead to."""

    def true_scores(self, state, strategy):
        *others, fit = super().true_scores(state, strategy)
        return *others, min(fit, 1) if effect(state, strategy).progress >= 0.5 else fit


WORLDS = {
    "World(7)": World(7),
    "World(8)": World(8),
    "16 rounds": World(7, rounds=16),
    "judge noise 0.5": World(7, judge_noise=0.5),
    "judge noise 0": World(7, judge_noise=0.0),
    "strategist at random": OddWorld(7, rule="random"),
    "strategist adverse": OddWorld(7, bias=0.0, rule="adverse"),
}
"""Those of the acceptance table."""

OTHERS = {
    "World(9)": World(9),
    "strategist noise 0": World(7, strategist_noise=0.0),
    "strategist noise 0.8": World(7, strategist_noise=0.8),
    "strategist without bias": World(7, bias=0.0),
    "4 rounds": World(7, rounds=4),
    "turns pay later": LateWorld(7),
}

COLUMNS = {
    "world": ("world", "s"),
    "calls": ("calls", ",d"),
    "algorithm": ("algorithm", "s"),
    "regret": ("regret", ".3f"),
    "less the beam's": ("difference", "s"),
    "used": ("used", ",.0f"),
    "s each": ("seconds", ".2f"),
}


def budgets(world):
    return (250, 1000, 4000) if world.rounds < 16 else (500, 1000, 4000)


def regrets(way, world, calls, numbers):
    """(regret, calls used) of each scenario, and the seconds that one took."""

    async def run():
        return [await measured(KNOWN[way], world, number, calls) for number in numbers]

    begun = time.perf_counter()
    rows = anyio.run(run)
    took = (time.perf_counter() - begun) / len(rows)
    return [row["best"] - row["worth"] for row in rows], statistics.fmean(row["calls"] for row in rows), took


def half_interval(values):
    return 1.96 * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def rows_of(name, world, calls, ways, numbers):
    """A row for each way, the baseline first."""
    base = None
    for way in (BASELINE, *ways):
        found, used, took = regrets(way, world, calls, numbers)
        base = base or found
        less = [one - other for one, other in zip(found, base, strict=True)]
        row = {"world": name, "calls": calls, "algorithm": way, "regret": statistics.fmean(found)}
        row |= {"interval": half_interval(found), "used": used, "seconds": took, "all": found}
        if way != BASELINE:
            row["less"] = statistics.fmean(less), half_interval(less)
            row["difference"] = "{:+.3f} ± {:.3f}".format(*row["less"])
        yield row


# -- plans ---------------------------------------------------------------------------------------------------------


def best_after(world, scenario, strategy):
    """The greatest total reward of a dialogue of the scenario that begins with a strategy."""
    start = world.start(scenario)
    worth = {world.step(scenario, 0, start, strategy): world.reward(start, strategy)}
    for number in range(1, world.rounds):
        after = {}
        for state, total in worth.items():
            for name in world.domain.strategies.names:
                then = world.step(scenario, number, state, name)
                after[then] = max(after.get(then, -math.inf), total + world.reward(state, name))
        worth = after
    return max(worth.values())


async def planned(algorithm, world, number, calls):
    """What the best dialogue that begins as planned lacks in total of the scenario's best; None without a plan."""
    scenario = world.scenario(number)
    said = await world.roles().bind(scenario).seeker.reply(())
    limits = dict.fromkeys(("max_iterations", "min_iterations", "max_ends"), 10**9)
    config = SearchConfig(algorithm=algorithm, **limits)
    try:
        history = (Turn("seeker", said),)
        found = await mctsdialog.plan(history, world.roles(), config, scenario=scenario, max_calls=calls)
    except ConfigError:  # the paper's trial takes more calls
        return None
    return world.best_value(scenario) * world.rounds - best_after(world, scenario, found.strategy)


def plan_rows(name, world, algorithms, numbers, budgets):
    """One row a budget: the mean regret of the first turn by algorithm, with its interval."""
    for calls in budgets:
        row = {"world": name, "calls": calls}
        for algorithm in algorithms:
            found = [anyio.run(planned, algorithm, world, number, calls) for number in numbers]
            if None not in found:
                row[algorithm] = f"{statistics.fmean(found):.2f} ± {half_interval(found):.2f}"
        yield row


def summary(rows):
    """One line a world: the regrets at each budget, by way."""
    ways = dict.fromkeys(row["algorithm"] for row in rows)
    found = {}
    for row in rows:
        found.setdefault(row["world"], {}).setdefault(row["algorithm"], []).append(f"{row['regret']:.3f}")
    columns = {"world": ("world", "s")} | {way: (way, "s") for way in ways}
    lines = [{"world": name} | {way: " / ".join(each) for way, each in by.items()} for name, by in found.items()]
    return common.table(lines, columns)


def numbers_of(text):
    """Scenarios: "0-49", or "7"."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main():
    known = WORLDS | OTHERS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=numbers_of, default=range(50), help="FIRST-LAST (default: 0-49)")
    parser.add_argument("--algorithms", nargs="+", choices=KNOWN, default=ALGORITHMS, help="default: the package's")
    parser.add_argument("--worlds", nargs="+", choices=known, default=tuple(WORLDS), help="default: those of the table")
    parser.add_argument(
        "--calls", nargs="+", type=int, help="budgets (default: 250 1000 4000; 16 rounds: 500 at least)"
    )
    parser.add_argument(
        "--plan", action="store_true", help="plans of the first turn by 8 to 200 calls, no whole search"
    )
    parser.add_argument("--quick", action="store_true", help="two scenarios and one small budget: for tests")
    parser.add_argument("--out", type=Path, help="file for the figures as JSON")
    arguments = parser.parse_args()
    numbers = arguments.scenarios[:2] if arguments.quick else arguments.scenarios
    rows = []
    if arguments.plan:
        algorithms = [name for name in arguments.algorithms if name in ALGORITHMS]
        columns = {
            name: (name, form) for name, form in (("world", "s"), ("calls", "d"), *((n, "s") for n in algorithms))
        }
        for name in arguments.worlds:
            calls = arguments.calls or ((8, 40) if arguments.quick else PLAN_CALLS)
            rows += plan_rows(name, known[name], algorithms, numbers, calls)
            common.write(arguments.out, scenarios=list(numbers), plans=rows)
        print(f"Regret of the planned turn, in total reward\n\n{common.table(rows, columns)}")
        return
    for name in arguments.worlds:
        for calls in budgets(known[name])[:1] if arguments.quick else arguments.calls or budgets(known[name]):
            new = list(rows_of(name, known[name], calls, arguments.algorithms, numbers))
            print(common.table(new, COLUMNS), flush=True)
            rows += new
            common.write(arguments.out, scenarios=list(numbers), rows=rows)
    print(f"\nRegret at each budget, scenarios {numbers[0]} to {numbers[-1]}\n\n{summary(rows)}")


if __name__ == "__main__":
    main()
