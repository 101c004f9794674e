"""How quick the studio is on much data, and how far its live pages are behind a running search.

Two reviewers at once in headless Chromium: how long the command reads before it listens, how long the first page of the
review takes from the start of navigation until a pair is shown, how long a key takes until the next pair is painted,
and how long the server takes for a decision and for the next pairs.

A search in a process of its own, watched on two pages: the time from a line being written to a search's journal until
the page of runs shows its step, and until the live tree shows its iteration. The same in a tree that has already grown.

Run: python benchmarks/studio.py [--out FILE] [--trees N] [--pairs N] [--reviewed N] [--live SECONDS] [--nodes N]
"""

import argparse
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import common
from playwright.sync_api import sync_playwright

import mctsdialog
from mctsdialog import Scenario, Turn
from mctsdialog._search.replay import JournalReplay
from mctsdialog.preferences import (
    PreferenceConfig,
    PreferenceDataset,
    RecordNode,
    TreeRecord,
    system_prompt,
    write_dataset,
)

SHOWN = "document.querySelector('#reply-left .text') !== null"
NEXT = """async (think) => {
    const frame = () => new Promise(requestAnimationFrame);
    const shown = () => document.querySelector("#reply-left .text");
    await new Promise((resolve) => setTimeout(resolve, think));
    const before = shown(), began = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "a", bubbles: true, cancelable: true }));
    while (shown() === before) await frame();
    await frame();
    return performance.now() - began;
}"""


def record(number, pairs, domain, generator):
    """A tree's record with so many pairs, ten turns deep at most."""
    names, nodes, found, open_nodes = domain.strategies.names, [], [], [(0, 0)]
    while len(found) < pairs:
        parent, depth = open_nodes[generator.randrange(len(open_nodes))]
        first = len(nodes) + 1
        for node, side, value in ((first, "chosen", 0.8), (first + 1, "rejected", generator.uniform(-3.0, 0.4))):
            words = f"That sounds hard, and it makes sense that it stays with you. What would help most now? ({node})"
            seeker = f"I am not sure yet, I have to think about it. ({node})" if side == "chosen" else None
            posterior = (value, generator.uniform(0.1, 0.9))
            nodes.append(
                RecordNode(node, parent, generator.choice(names), words, seeker, value, 3, False, side, posterior)
            )
        found.append((first, first + 1))
        if depth < 9:
            open_nodes.append((first, depth + 1))
    opening = (Turn("seeker", f"I have slept badly since the exam. ({number})"),)
    scenario = Scenario(scene="exam", description="Something is the matter.", id=f"tree-{number}")
    return TreeRecord(scenario, domain.name, names, system_prompt(domain), opening, None, tuple(nodes), tuple(found))


def write_data(folder, trees, pairs):
    """A dataset of so many trees and pairs; how many pairs there are."""
    domain, generator = mctsdialog.get_domain("esc"), random.Random(0)
    records = tuple(record(number, -(-pairs // trees), domain, generator) for number in range(trees))
    write_dataset({"train": PreferenceDataset(records, domain, PreferenceConfig())}, folder, formats=["tree"])
    return sum(len(each.pairs) for each in records)


class Studio:
    """The command in a process of its own."""

    def __init__(self, folder):
        began = time.monotonic()
        words = [sys.executable, "-u", "-m", "mctsdialog", "studio", str(folder), "--port", "0", "--twice", "0.1"]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if found := re.search(r"Studio: (\S+)/\?token=(\S+)", line):
                self.root, self.token = found.groups()
                break
        else:
            raise SystemExit("the studio did not start")
        self.reading = time.monotonic() - began
        cookies = urllib.request.HTTPCookieProcessor()
        self._opener = urllib.request.build_opener(cookies)
        self._opener.open(f"{self.root}/?token={self.token}").read()

    def ask(self, path, body):
        """The answer to a request, and its milliseconds."""
        headers = {"content-type": "application/json", "origin": self.root}
        request = urllib.request.Request(self.root + path, json.dumps(body).encode(), headers)
        began = time.perf_counter()
        answer = json.loads(self._opener.open(request).read())
        return answer, 1e3 * (time.perf_counter() - began)

    def end(self):
        self.process.terminate()
        self.process.wait(20)


def opened(browser, studio, name):
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    context.add_init_script(f"localStorage['studio-reviewer'] ??= '{json.dumps(name)}'")
    page = context.new_page()
    page.goto(f"{studio.root}/?token={studio.token}")
    page.goto(f"{studio.root}/review")
    for _ in range(3_000):
        if page.evaluate(SHOWN):
            return page, page.evaluate("performance.now()")
        time.sleep(0.01)
    raise SystemExit("no pair was shown")


def measure(studio, browser, reviewed):
    people = [opened(browser, studio, name) for name in ("Ana", "Ben")]
    keys = [people[number % 2][0].evaluate(NEXT, 350) for number in range(reviewed)]
    decides, queues = [], []
    for number in range(reviewed):
        got, took = studio.ask("/api/review/queue", {"reviewer": "Cy", "count": 1})
        queues.append(took)
        card = got["cards"][0]
        body = {"id": f"benchmark-{number:06}", "reviewer": "Cy", "key": card["key"], "answer": "left"}
        decides.append(studio.ask("/api/review/decide", body)[1])
    return {
        "reading": studio.reading,
        "first_page": max(first for _, first in people),
        "key": statistics.median(keys),
        "worst_key": max(keys),
        "queue": statistics.median(queues),
        "worst_queue": max(queues),
        "decide": statistics.median(decides),
        "worst_decide": max(decides),
    }


# -- a running search, watched ----------------------------------------------------------------------------------------

SEARCH = """
import sys, dataclasses, anyio
from mctsdialog import SearchConfig, search_corpus
from mctsdialog.worlds import World
folder, trials, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
class Slow:
    draws_differ = True
    def __init__(self, role): self._role = role
    def for_scenario(self, scenario): return Slow(self._role.for_scenario(scenario))
    def __getattr__(self, name):
        method = getattr(self._role, name)
        async def call(*arguments):
            await anyio.sleep(pause)
            return await method(*arguments)
        return call
world = World(7)
roles = world.roles()
names = ("seeker", "supporter", "strategist", "judge")
roles = dataclasses.replace(roles, **{name: Slow(getattr(roles, name)) for name in names})
config = SearchConfig(max_iterations=trials, min_iterations=trials, max_ends=trials, algorithm="calibrated")
starts = [world.scenario(number) for number in range(3)]
anyio.run(lambda: search_corpus(starts, roles, config, out=folder, concurrency=3))
"""
STEPS = """async (stem) => {
    window.seen = [];
    const look = () => {
        const row = [...document.querySelectorAll("#rows tr")].find((each) => each.innerHTML.includes(stem));
        const steps = row ? Number(row.children[2].textContent.replaceAll(",", "")) : 0;
        if (steps > (window.seen.at(-1)?.[1] ?? -1)) window.seen.push([Date.now() / 1e3, steps]);
        requestAnimationFrame(look);
    };
    look();
}"""
TREE = """async () => {
    window.seen = [];
    const look = () => {
        const version = new URL(document.querySelector("iframe.shown")?.src ?? "http://x").searchParams.get("version");
        const iterations = version ? Number(version.split("-")[1]) : 0;
        if (iterations > (window.seen.at(-1)?.[1] ?? 0)) window.seen.push([Date.now() / 1e3, iterations]);
        requestAnimationFrame(look);
    };
    look();
}"""


class Written:
    """When how many lines, and how many iterations, stood in a journal: looked at every few milliseconds."""

    def __init__(self, journal):
        self.steps, self.iterations = [], []
        self._journal, self._ended = journal, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self):
        replay, size, steps = JournalReplay(self._journal), 0, -1
        while not self._ended.wait(0.004):
            now, found = time.time(), self._journal.stat().st_size
            if found == size:
                continue
            with self._journal.open("rb") as file:
                file.seek(size)
                steps += file.read(found - size).count(b"\n")
            size = found
            replay.update()
            self.steps.append((now, steps))
            self.iterations.append((now, replay.tree.iterations if replay.tree else 0))

    def end(self):
        self._ended.set()
        self._thread.join()


def lags(written, seen):
    """Seconds from each change being written until it, or a later one, was shown; what came at the end is left out."""
    found = []
    for before, (then, count) in zip([(0, 0), *written], written, strict=False):
        if count > before[1] and then >= seen[0][0]:
            shown = next((at for at, number in seen if number >= count), None)
            found += [] if shown is None else [shown - then]
    return found


def live(folder, browser, seconds, nodes):
    """How far the pages are behind: of a run whose trees are small, or grown to so many nodes before."""

    def search(trials, pause):
        words = [sys.executable, "-c", SEARCH, str(folder), str(trials), str(pause)]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    if nodes:
        search(nodes, 0).wait()
    process, studio, written = search(nodes + 10_000, 0.05), None, None
    try:
        while not list(folder.glob("journals/*.jsonl")) or not (folder / "progress.json").exists():
            if process.poll() is not None:
                raise SystemExit("the search did not run")
            time.sleep(0.05)
        studio = Studio(folder)
        journal = min(folder.glob("journals/*.jsonl"))
        context = browser.new_context(viewport={"width": 1366, "height": 768})
        runs, tree = context.new_page(), context.new_page()
        runs.goto(f"{studio.root}/?token={studio.token}")
        runs.goto(f"{studio.root}/runs")
        tree.goto(f"{studio.root}/tree?run=0&stem={journal.stem}")
        runs.evaluate(STEPS, journal.stem)
        tree.evaluate(TREE)
        written = Written(journal)
        while not tree.evaluate("window.seen.length"):  # the first drawing is no lag
            time.sleep(0.1)
        time.sleep(seconds)
        shown = {"run page": runs.evaluate("window.seen"), "live tree": tree.evaluate("window.seen")}
    finally:
        process.terminate()
        process.wait()
        if studio is not None:
            studio.end()
        if written is not None:
            written.end()
    rows = []
    for page, of in (("run page", written.steps), ("live tree", written.iterations)):
        found = lags(of, shown[page])
        rows.append(
            {
                "page": page,
                "iterations": written.iterations[-1][1],
                "changes": len(found),
                "median": statistics.median(found) if found else None,
                "worst": max(found, default=None),
            }
        )
    return rows


LIVE_COLUMNS = {
    "page": ("page", "s"),
    "iterations at the end": ("iterations", ",d"),
    "changes": ("changes", ",d"),
    "median, s": ("median", ".2f"),
    "worst, s": ("worst", ".2f"),
}
COLUMNS = {
    "pairs": ("pairs", ",d"),
    "read, s": ("reading", ".1f"),
    "first page, ms": ("first_page", ".0f"),
    "key to next pair, ms": ("key", ".0f"),
    "worst": ("worst_key", ".0f"),
    "server: next pairs, ms": ("queue", ".0f"),
    "worst of them": ("worst_queue", ".0f"),
    "server: decision, ms": ("decide", ".0f"),
    "worst decision": ("worst_decide", ".0f"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=50_000, help="to review; 0 for none")
    parser.add_argument("--reviewed", type=int, default=50, help="pairs that the two review by keyboard")
    parser.add_argument("--live", type=float, default=60, help="seconds that running searches are watched; 0 for none")
    parser.add_argument("--nodes", type=int, default=2_000, help="nodes of the tree that has already grown")
    arguments = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("this needs Chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        row, watched = None, []
        if arguments.pairs:
            pairs = write_data(Path(folder) / "data", arguments.trees, arguments.pairs)
            studio = Studio(Path(folder) / "data")
            try:
                row = {"pairs": pairs, **measure(studio, browser, arguments.reviewed)}
            finally:
                studio.end()
        if arguments.live:
            for nodes in (0, arguments.nodes):
                watched += live(Path(folder) / f"run-{nodes}", browser, arguments.live, nodes)
        version = browser.version
        browser.close()
    print(f"Chromium {version}, headless, 1366 x 768; {arguments.reviewed} pairs by key, 350 ms to think.\n")
    for rows, columns in (([row] if row else [], COLUMNS), (watched, LIVE_COLUMNS)):
        if rows:
            print(common.table(rows, columns) + "\n")
    common.write(arguments.out, rows=[row] if row else [], live=watched, chromium=version)


if __name__ == "__main__":
    main()
