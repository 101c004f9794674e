"""A long run in small: a corpus against a server that fails in every way, killed with -9 on the way, ends complete.

The server answers 5 % of the calls with 429 and 2 % with 500, resets 1 %, lets 1 % hang, and replies nonsense to 2 %.
The command is killed at random moments and begun again. Then every dialogue must have its tree, and the server must
not have been asked again for what it had answered, but for the replies that were on their way at a kill.
Run: python benchmarks/soak.py [--out FILE] [--dialogues N] [--kills N]
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
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


def until_killed(words, seconds, log):
    """Begin the command and kill it after so long."""
    process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def to_the_end(words, log):
    """The last run: its exit code and its memory over time, a sample a second."""
    process, memory = subprocess.Popen(words, stdout=log, stderr=log), []
    while process.poll() is None:
        memory.append(resident(process))
        time.sleep(1)
    return process.returncode, memory


def measure(arguments):
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name, stub_server.running(arguments.latency, faults=True) as url:
        folder = Path(name)
        made = list(throughput.dialogues(arguments.dialogues))
        mctsdialog.write_dialogues(folder / "corpus.jsonl", made, domain="esc")
        words, kills = command(folder, url, arguments), 0
        os.environ.setdefault("OPENAI_API_KEY", "none")
        began = time.monotonic()
        with (folder / "log.txt").open("w") as log:
            while kills < arguments.kills and until_killed(words, draw.uniform(*arguments.between), log):
                kills += 1
            code, memory = to_the_end(words, log)
            for _ in range(3):  # a dialogue that met too many faults in a row is tried again
                if code == 1:
                    code, more = to_the_end(words, log)
                    memory += more
        totals = stub_server.totals_of(url)
        summary = json.loads((folder / "out" / "summary.json").read_text("utf-8"))
        trees = [mctsdialog.load_tree(path) for path in (folder / "out" / "trees").glob("*.json")]
        for tree in trees:
            tree.check()
        whole = sum(tree.iterations == arguments.iterations for tree in trees)
        last = memory[len(memory) // 2 :] or [0.0]
        return {
            "dialogues": arguments.dialogues,
            "trees": whole,
            "kills": kills,
            "exit": code,
            "seconds": time.monotonic() - began,
            "calls": totals["calls"],
            "completed": totals["completed"],
            "repeated": totals["repeated"],
            "faults": sum(totals["kinds"].values()),
            "kinds": totals["kinds"],
            "complete": summary["complete"],
            "memory_first": memory[min(5, len(memory) - 1)] if memory else 0.0,
            "memory_last": max(last),
        }


COLUMNS = {
    "dialogues": ("dialogues", "d"),
    "whole trees": ("trees", "d"),
    "kills": ("kills", "d"),
    "seconds": ("seconds", ".0f"),
    "calls": ("calls", "d"),
    "faults met": ("faults", "d"),
    "answered": ("completed", "d"),
    "asked again": ("repeated", "d"),
    "MB after 5 s": ("memory_first", ".0f"),
    "MB at most later": ("memory_last", ".0f"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--dialogues", type=int, default=500)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--between", type=float, nargs=2, default=[4.0, 10.0], help="seconds from a start to its kill")
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
