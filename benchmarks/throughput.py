"""How much of a model server the whole stack keeps busy: 64 dialogues against a stub, beside bare aiohttp.

Ours is everything that a user runs: search_corpus, the roles' prompts, cache on disk, journals, limits, retries, the
HTTP client. Bare aiohttp makes as many calls with bodies of such a run, by as many workers without a pause. Both run
in turn, in this process, against a server in another; medians count.
Run: python benchmarks/throughput.py [--out FILE] [--runs N] [--slots N ...] [--latency SECONDS]
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import anyio
import common
import stub_server

import mctsdialog
from mctsdialog.llm._wire import request_body
from mctsdialog.llm.base import ModelLayer


class Recorder(ModelLayer):
    """Keeps the bodies of the first requests."""

    def __init__(self, inner, most=2000):
        super().__init__(inner)
        self.bodies, self.most = [], most

    async def complete(self, request):
        if len(self.bodies) < self.most:
            self.bodies.append(request_body("stub", request))
        return await self.inner.complete(request)


def dialogues(count):
    """So many dialogues of the samples' shape, each with another beginning, so that no two ask for the same."""
    samples = mctsdialog.sample_dialogues()
    for number in range(count):
        sample = samples[number % len(samples)]
        first, *rest = sample.turns
        turns = (replace(first, text=f"{first.text} ({number})"), *rest)
        yield sample.model_copy(update={"id": f"d{number}", "scene": f"{sample.scene} ({number})", "turns": turns})


async def ours(url, slots, arguments, recorder=None):
    config = mctsdialog.SearchConfig(
        max_iterations=arguments.iterations, min_iterations=arguments.iterations, parallelism=arguments.parallelism
    )
    meter, limits = mctsdialog.llm.Meter(), mctsdialog.llm.Limits(slots)
    with tempfile.TemporaryDirectory() as folder:
        async with mctsdialog.OpenAIChat("stub", base_url=url, api_key="", max_connections=slots) as chat:
            inner = chat if recorder is None else recorder(chat)
            with mctsdialog.ResponseCache(Path(folder) / "cache") as cache:
                stack = mctsdialog.build_stack(inner, cache=cache, limits=limits, meter=meter)
                roles = mctsdialog.Roles.from_model(stack)
                began, worked = time.perf_counter(), time.process_time()
                report = await mctsdialog.search_corpus(
                    dialogues(arguments.dialogues),
                    lambda start: roles,
                    config,
                    out=folder,
                    concurrency=arguments.open_trees * arguments.parallelism or limits,
                    meter=meter,
                )
                seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    assert report.complete, report.failures[:1]
    return meter.calls, seconds, cpu, inner


async def bare(url, slots, bodies, calls):
    left = iter(range(calls))
    connector = aiohttp.TCPConnector(limit=slots)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def work():
            for number in left:
                async with session.post(f"{url}/chat/completions", json=bodies[number % len(bodies)]) as reply:
                    await reply.json()

        began, worked = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as group:
            for _ in range(slots):
                group.start_soon(work)
        return time.perf_counter() - began, time.process_time() - worked


async def measure(arguments):
    rows = []
    kept = []

    def recorder(chat):
        kept.append(Recorder(chat))
        return kept[0]

    with stub_server.running(0.001) as url:
        small = argparse.Namespace(**{**vars(arguments), "dialogues": 4})
        await ours(url, 64, small, recorder)
    bodies = kept[0].bodies
    for slots in arguments.slots:
        samples = []
        for _ in range(arguments.runs):
            with stub_server.running(arguments.latency) as url:
                calls, seconds, cpu, _ = await ours(url, slots, arguments)
                bare_seconds, bare_cpu = await bare(url, slots, bodies, calls)
            samples.append(
                {
                    "calls": calls,
                    "rate": calls / seconds,
                    "bare": calls / bare_seconds,
                    "ratio": bare_seconds / seconds,
                    "cpu": 1000 * cpu / calls,
                    "bare_cpu": 1000 * bare_cpu / calls,
                    "used": calls * arguments.latency / (seconds * slots),
                }
            )
        rows.append({"slots": slots, **common.medians(samples)})
    return rows


COLUMNS = {
    "slots": ("slots", "d"),
    "calls": ("calls", ".0f"),
    "calls/s": ("rate", ".1f"),
    "bare aiohttp": ("bare", ".1f"),
    "ratio": ("ratio", ".3f"),
    "CPU ms a call": ("cpu", ".2f"),
    "bare": ("bare_cpu", ".2f"),
    "slots in use": ("used", ".3f"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--runs", type=int, default=3, help="interleaved runs; the medians count")
    parser.add_argument("--slots", type=int, nargs="+", default=[32, 128, 256])
    parser.add_argument("--latency", type=float, default=0.2, help="of the server, in seconds")
    parser.add_argument("--dialogues", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=4, help="of each tree")
    parser.add_argument("--parallelism", type=int, default=4, help="trials at once in a tree")
    parser.add_argument("--open-trees", type=int, default=0, help="trees at once; 0 lets the run choose")
    arguments = parser.parse_args()
    rows = anyio.run(measure, arguments)
    print(common.table(rows, COLUMNS))
    common.write(arguments.out, rows=rows, latency=arguments.latency)


if __name__ == "__main__":
    main()
