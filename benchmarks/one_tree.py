"""One tree with many calls under way: wall time against the ideal, and against the peers, on the same model: a sleep.

A node costs one call here and for the peers: the supporter's; the other roles answer at once. The ideal keeps all calls
in flight from the first to the last. Calls take the same time each, or (± spread) a log-normal one of the same mean, as
replies of different length do. A call is wasted where its result is in no node. A second table has all four roles wait,
with a simulation of one round, at most as many calls in flight, and equal calls answered at once, as the response cache
does. A sleep lasts longer than was asked for, on an event loop by up to a millisecond; so the share of the ideal is
given a second time, by what sleeps last where nothing else is done. Peers run in their own environment (python
benchmarks/peers.py), each in a process of its own, in turn with ours; medians count.
Run: python benchmarks/one_tree.py [--out FILE] [--runs N] [--nodes N] [--peers DIR]
"""

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import anyio
import common
import peer_runs
import peers

import mctsdialog

NAMES = [strategy.name for strategy in mctsdialog.get_domain("esc").strategies]
PARALLEL, SERIAL = ("treequest", "open_spiel"), ("treequest-serial", "llm-reasoners")


class Model:
    """A sleep; counts calls, and equal ones."""

    def __init__(self, latency, spread, most=None):
        self.draw = peer_runs.latencies(latency, spread)
        self.count, self.asked, self.seen, self.memory = 0, 0.0, set(), most is not None
        self.slots = anyio.CapacityLimiter(most) if most else contextlib.nullcontext()

    async def call(self, *key):
        if self.memory and key in self.seen:
            return
        self.count += 1
        self.seen.add(key)
        seconds = next(self.draw)
        self.asked += seconds
        async with self.slots:
            await anyio.sleep(seconds)


def roles_of(model, *, all_wait):
    """Roles whose replies are functions of the history; the supporter's call the model, or all four's."""

    async def wait(role, history, *more):
        if all_wait or role == "supporter":
            await model.call(role, tuple(turn.text for turn in history), *more)

    class Seeker:
        async def reply(self, history, /):
            await wait("seeker", history)
            return f"And then, at {len(history)}?" if len(history) < 16 else None

    class Supporter:
        async def reply(self, history, strategy, /):
            await wait("supporter", history, strategy)
            return f"{len(history)} by {strategy}"

    class Strategist:
        async def score(self, history, /):
            await wait("strategist", history)
            return {name: zlib.crc32(f"{history[-1].text} {len(history)} {name}".encode()) % 11 for name in NAMES}

    class Judge:
        async def judge(self, history, /):
            await wait("judge", history)
            key = zlib.crc32("|".join(turn.text for turn in history).encode())
            return mctsdialog.JudgeScores(key % 5, key // 5 % 5, key // 25 % 5, key // 125 % 5)

    return mctsdialog.Roles(Seeker(), Supporter(), Strategist(), Judge())


async def ours(nodes, latency, at_once, *, spread=0.0, all_wait=False):
    """One search until about so many nodes have their text."""
    model = Model(latency, spread, at_once if all_wait else None)
    config = mctsdialog.SearchConfig(
        max_iterations=nodes // 2, min_iterations=nodes, max_ends=10**9, horizon=int(all_wait), parallelism=at_once
    )
    began = time.perf_counter()
    start = mctsdialog.Scenario(id="benchmark")
    tree = await mctsdialog.search(start, roles_of(model, all_wait=all_wait), config)
    seconds = time.perf_counter() - began
    kept = sum(getattr(node, "supporter", None) is not None for node in tree)

    equal = model.count - len(model.seen)
    return {"seconds": seconds, "calls": model.count, "nodes": kept, "equal": equal, "asked": model.asked}


async def _tasks_sleep(latency, at_once, note):
    async def sleep():
        for _ in range(10):
            began = time.perf_counter()
            await anyio.sleep(latency)
            note(time.perf_counter() - began)

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(sleep)


def _threads_sleep(latency, at_once, note):
    def sleep(_):
        began = time.perf_counter()
        time.sleep(latency)
        note(time.perf_counter() - began)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(sleep, range(10 * at_once)))


def lengthening(latency, at_once, *, threads):
    """How much longer than asked for a sleep lasts beside others, in threads or in tasks that do nothing else."""
    slept = []
    if threads:
        _threads_sleep(latency, at_once, slept.append)
    else:
        anyio.run(_tasks_sleep, latency, at_once, slept.append)
    return statistics.median(slept) / latency


def peer(python, name, nodes, latency, at_once, spread, *, memory=False, timeout=120):
    script = str(Path(__file__).with_name("peer_runs.py"))
    words = [name, "--nodes", str(nodes), "--latency", str(latency), "--at-once", str(at_once)]
    words += ["--spread", str(spread), *(["--memory"] if memory else [])]
    done = subprocess.run([python, script, *words], capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    return {**found, "equal": found["calls"] - found["nodes"]}


def row_of(name, latency, spread, at_once, samples):
    found = common.medians(samples)
    useful = found["asked"] * (found["calls"] - found["equal"]) / found["calls"] / at_once / found["seconds"]
    return {
        "system": name,
        "latency": f"{1000 * latency:.0f}" + (" ± spread" if spread else ""),
        "at_once": at_once,
        **found,
        "useful": useful,
        "slept": useful * lengthening(latency, at_once, threads=name != "mctsdialog"),
        "calls_per_node": found["calls"] / found["nodes"],
        "per_node": 1000 * found["seconds"] / found["nodes"],
    }


def measure(arguments):
    python = arguments.peers / "bin" / "python"
    known = python.exists()
    rows = []
    for latency, spread, at_once in itertools.product(arguments.latency, (0.0, 0.5), arguments.at_once):
        names = [*(PARALLEL if known else ()), *(SERIAL if known and at_once == 1 else ())]
        samples = {name: [] for name in ("mctsdialog", *names)}
        for _ in range(arguments.runs):
            for name, found in samples.items():
                if name == "mctsdialog":
                    found.append(anyio.run(partial(ours, spread=spread), arguments.nodes, latency, at_once))
                else:
                    found.append(peer(str(python), name, arguments.nodes, latency, at_once, spread))
        rows += [row_of(name, latency, spread, at_once, found) for name, found in samples.items()]
    return rows


def measure_all_roles(arguments):
    rows = []
    for latency, spread, at_once in itertools.product(arguments.latency[:1], (0.0, 0.5), arguments.at_once):
        search = partial(ours, spread=spread, all_wait=True)
        samples = [anyio.run(search, arguments.nodes, latency, at_once) for _ in range(arguments.runs)]
        rows.append(row_of("mctsdialog", latency, spread, at_once, samples))
    return rows


COLUMNS = {
    "system": ("system", "s"),
    "latency, ms": ("latency", "s"),
    "in flight": ("at_once", "d"),
    "seconds": ("seconds", ".3f"),
    "calls": ("calls", ".0f"),
    "nodes": ("nodes", ".0f"),
    "calls a node": ("calls_per_node", ".2f"),
    "wasted calls": ("equal", ".0f"),
    "useful, of the ideal": ("useful", ".2f"),
    "by idle sleeps": ("slept", ".2f"),
    "ms a node": ("per_node", ".2f"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--runs", type=int, default=3, help="interleaved runs; the medians count")
    parser.add_argument("--nodes", type=int, default=200, help="nodes with text, about")
    parser.add_argument("--latency", type=float, nargs="+", default=[0.01, 0.05], help="of a call, in seconds")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4, 16, 32], help="calls in flight")
    parser.add_argument("--peers", type=Path, default=peers.VENV, help="the peers' environment")
    arguments = parser.parse_args()
    rows = measure(arguments)
    print(common.table(rows, COLUMNS))
    if not (arguments.peers / "bin" / "python").exists():
        print(f"\nThe peers were not run: there is no {arguments.peers}; make it by python benchmarks/peers.py")
    every = measure_all_roles(arguments)
    print("\nAll four roles wait:\n\n" + common.table(every, COLUMNS))
    common.write(arguments.out, rows=rows, all_roles=every)


if __name__ == "__main__":
    main()
