"""How quick the studio is on much data: trees and preference pairs, two reviewers at once in headless Chromium.

Prints, as a Markdown table, how long the command reads before it listens, how long the first page of the review takes
from the start of navigation until a pair is shown, how long a key takes until the next pair is painted, and how long
the server takes for a decision and for the next pairs.
Run: python benchmarks/studio.py [--out FILE] [--trees N] [--pairs N] [--reviewed N]
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
import time
import urllib.request
from pathlib import Path

import common
from playwright.sync_api import sync_playwright

import mctsdialog
from mctsdialog import Scenario, Turn
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
    keys = [people[number % 2][0].evaluate(NEXT, 150) for number in range(reviewed)]
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
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--reviewed", type=int, default=50, help="pairs that the two review by keyboard")
    arguments = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("this needs Chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        pairs = write_data(Path(folder) / "data", arguments.trees, arguments.pairs)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        studio = Studio(Path(folder) / "data")
        try:
            row = {"pairs": pairs, **measure(studio, browser, arguments.reviewed)}
        finally:
            studio.end()
        version = browser.version
        browser.close()
    print(common.table([row], COLUMNS))
    print(f"\nChromium {version}, headless, 1366 x 768; {arguments.reviewed} pairs by key, 150 ms to think.")
    common.write(arguments.out, rows=[row], chromium=version)


if __name__ == "__main__":
    main()
