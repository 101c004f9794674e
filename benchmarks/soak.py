"""A long run in small: a corpus against a server that fails in every way, killed with -9 on the way, ends complete.

The server answers 5 % of the calls with 429 and 2 % with 500, resets 1 %, lets 1 % hang, and sends bad JSON for 2 %.
The command is killed at random moments and begun again. Looked at are, after every kill and at the end: that trees once
finished stay as they are; that no reply which had reached the cache is asked for again (those on their way at a kill
are lost and may be); that memory does not grow with the trees that are done.
Run: python benchmarks/soak.py [--out FILE] [--dialogues N] [--kills N]
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import common
import stub_server
import throughput

import mctsdialog


def command(folder, url, arguments):
    words = ["search", str(folder / "corpus.jsonl"), "--model", "stub", "--base-url", url, "--out", str(folder / "out")]
    settings = {
        "concurrency": arguments.slots,
        "timeout": 2,
        "max-iterations": arguments.iterations,
        "min-iterations": arguments.iterations,
        "max-ends": 10**6,
        "horizon": 1,
        "max-failures": 10**6,
    }
    words += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "mctsdialog", *words]


def resident(process):
    """Megabytes of memory that a process has now."""
    lines = Path(f"/proc/{process.pid}/status").read_text("utf-8").splitlines()
    line = next((line for line in lines if line.startswith("VmRSS")), "VmRSS: 0 kB")
    return int(line.split()[1]) / 1024


def run(words, log, seconds=None):
    """Run the command and kill it after so long. Its exit code, and its memory, a sample a second."""
    process, memory, began = subprocess.Popen(words, stdout=log, stderr=log), [], time.monotonic()
    while process.poll() is None:
        if seconds is not None and time.monotonic() - began > seconds:
            process.send_signal(signal.SIGKILL)
            process.wait()
            break
        memory.append(resident(process))
        time.sleep(min(1.0, seconds or 1.0))
    return process.returncode, memory


class Ledger:
    """What must last from one run to the next."""

    def __init__(self, out, url):
        self.out, self.url = out, url
        self.finished, self.touched = {}, set()
        self.lost = self.repeated = self.unexplained = 0

    def look(self):
        """After a run: finished trees that are gone or were written again, and replies that were asked for again."""
        self.touched |= {name for name, before in self.finished.items() if before != self._inode(name)}
        index = self.out / "finished.jsonl"
        lines = index.read_bytes().splitlines() if index.is_file() else []
        names = [json.loads(line)["id"] for line in lines if line.endswith(b"}")]
        self.finished.update({name: self._inode(name) for name in names if name not in self.finished})
        totals = stub_server.totals_of(self.url)
        again = totals["repeated"] - self.repeated
        self.unexplained += max(0, again - self.lost)  # lost: at the kill before
        self.repeated = totals["repeated"]
        self.lost = totals["completed"] - totals["repeated"] - self._kept()

    def _inode(self, name):
        tree = self.out / "trees" / f"{name}.json"
        return tree.stat().st_ino if tree.is_file() else None

    def _kept(self):
        """Good replies in the cache."""
        database = self.out / "cache" / "cache.db"
        if not database.is_file():
            return 0
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute("SELECT count(*) FROM Cache WHERE value LIKE '%\"good\": true%'").fetchone()[0]


def run_all(words, arguments, ledger, log):
    """Runs that are killed, then runs to the end. The kills, the last exit code, and the memory of each run."""
    draw = random.Random(arguments.seed)
    kills, memories, code, tries = 0, [], None, 0
    while code is None or (code == 1 and tries < 4):  # a dialogue that met too many faults in a row is tried again
        killed = kills < arguments.kills
        code, memory = run(words, log, draw.uniform(*arguments.between) if killed else None)
        memories.append(memory)
        ledger.look()
        if code == -signal.SIGKILL:
            kills, code = kills + 1, None
        else:
            tries += 1
    return kills, code, memories


def measure(arguments):
    with tempfile.TemporaryDirectory() as name, stub_server.running(arguments.latency, faults=True) as url:
        folder = Path(name)
        made = list(throughput.dialogues(arguments.dialogues))
        mctsdialog.dialogue.write_dialogues(folder / "corpus.jsonl", made, domain="esc")
        os.environ.setdefault("OPENAI_API_KEY", "none")
        ledger, began = Ledger(folder / "out", url), time.monotonic()
        with (folder / "log.txt").open("w") as log:
            kills, code, memories = run_all(command(folder, url, arguments), arguments, ledger, log)
        seconds, totals = time.monotonic() - began, stub_server.totals_of(url)
        if code:
            sys.stderr.write((folder / "log.txt").read_text("utf-8", "replace")[-2000:])
        summary = json.loads((folder / "out" / "summary.json").read_text("utf-8"))
        return {
            "dialogues": arguments.dialogues,
            "trees": whole_trees(folder / "out" / "trees", arguments.iterations),
            "kills": kills,
            "exit": code,
            "seconds": seconds,
            "calls": totals["calls"],
            "completed": totals["completed"],
            "faults": sum(totals["kinds"].values()),
            "kinds": totals["kinds"],
            "repeated": ledger.repeated,
            "unexplained": ledger.unexplained,
            "rewritten": len(ledger.touched),
            "complete": summary["complete"],
            "memory": memories,
            **memory_figures(max(memories, key=len)),
        }


def whole_trees(folder, iterations):
    """How many trees hold all their iterations; each is checked."""
    count = 0
    for path in folder.glob("*.json"):
        tree = mctsdialog.load_tree(path)
        tree.check()
        count += tree.iterations == iterations
    return count


def memory_figures(samples):
    """The median of each quarter of a run, its start (imports, first trees) left out."""
    kept = samples[min(5, len(samples) // 2) :]
    size = max(1, len(kept) // 4)
    quarters = [kept[size * number :][:size] or kept[-1:] for number in range(4)]
    return {f"mb_{number}": statistics.median(part) for number, part in enumerate(quarters, 1)}


COLUMNS = {
    "dialogues": ("dialogues", "d"),
    "whole trees": ("trees", "d"),
    "kills": ("kills", "d"),
    "seconds": ("seconds", ".0f"),
    "calls": ("calls", "d"),
    "faults met": ("faults", "d"),
    "answered": ("completed", "d"),
    "answered again": ("repeated", "d"),
    "of them kept before": ("unexplained", "d"),
    "finished trees touched": ("rewritten", "d"),
    "MB, first quarter": ("mb_1", ".0f"),
    "second": ("mb_2", ".0f"),
    "third": ("mb_3", ".0f"),
    "last": ("mb_4", ".0f"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--dialogues", type=int, default=500)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--between", type=float, nargs=2, default=[2.0, 6.0], help="seconds from a start to its kill")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    row = measure(arguments)
    print(common.table([row], COLUMNS))
    common.write(arguments.out, **row)
    if row["exit"] != 0 or row["trees"] != row["dialogues"] or not row["complete"]:
        sys.exit(f"not complete: exit code {row['exit']}, {row['trees']} of {row['dialogues']} trees")


if __name__ == "__main__":
    main()
