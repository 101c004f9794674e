"""Kills and damage: a search killed with -9 again and again, its files damaged in between, ends as if nothing had been.

After every kill, some of the trees, the index or the cache are damaged: a bit flipped, bytes changed, cut, zeroed or
emptied. The same command runs again; where it says that the cache is damaged, its folder is removed, as it says.
Checked are: that the trees at the end are those of a run without kills and damage, byte for byte; that every damaged
file of a tree that the index has is named in the log of the run that mends it; that no temporary file is left.
Journals are not damaged: one that is damaged before its end is an error that names its line, and its dialogue fails
until the file is moved away.
Run: python benchmarks/damage.py [--out FILE] [--dialogues N] [--kills N]
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import common
import soak
import stub_server
import throughput

import mctsdialog
from mctsdialog.corpus._finished import _decode
from mctsdialog.files import mark_of


def flip(data, draw):
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def change(data, draw):
    for _ in range(draw.randint(1, 50)):
        data[draw.randrange(len(data))] = draw.randrange(256)


def cut(data, draw):
    del data[draw.randrange(len(data)) :]


def zero(data, draw):
    start = draw.randrange(len(data))
    end = min(len(data), start + draw.randint(1, 4096))
    data[start:end] = bytes(end - start)


def empty(data, draw):
    data.clear()


WAYS = (flip, change, cut, zero, empty)


def damage(out, draw):
    """Damage some files; what was done, as (kind of file, way)."""
    done = []
    for _ in range(draw.randint(1, 3)):
        kind = draw.choices(["tree", "index", "cache"], [4, 2, 1])[0]
        trees = sorted([*out.glob("trees/*.json"), *out.glob("trees/*.graphml")])
        files = {"tree": trees, "index": [out / "finished.jsonl"], "cache": [out / "cache" / "cache.db"]}[kind]
        files = [file for file in files if file.is_file() and file.stat().st_size]
        if files:
            file, way = draw.choice(files), draw.choice(WAYS)
            data = bytearray(file.read_bytes())
            way(data, draw)
            file.write_bytes(data)
            done.append((kind, way.__name__))
    return done


def wrong_files(out):
    """Files of trees that are not as the index says."""
    index = out / "finished.jsonl"
    lines = map(_decode, index.read_bytes().splitlines()) if index.is_file() else []
    last = {line.record.id: line for line in lines if line is not None}
    return {
        f"trees/{name}{suffix}"
        for name, line in last.items()
        for suffix, mark in line.files.items()
        if mark_of(out / "trees" / f"{name}{suffix}") != tuple(mark)
    }


def run(words, log, url, calls=None):
    """Run the command, and kill it once it has made so many calls. The exit code."""
    most = None if calls is None else stub_server.totals_of(url)["calls"] + calls
    with log.open("ab") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file)
        while most is not None and process.poll() is None:
            if stub_server.totals_of(url)["calls"] >= most:
                process.kill()
            time.sleep(0.01)
        return process.wait()


def run_all(words, out, arguments, log, url):
    """Runs that are killed, their files damaged after each, then runs to the end."""
    draw, counts, code = random.Random(arguments.seed), Counter(), None
    kinds, wrong = Counter(), set()
    while code is None or counts["tries"] < 4:
        kill = counts["kills"] + counts["ended before the kill"] < arguments.kills
        said = log.stat().st_size if log.exists() else 0
        code = run(words, log, url, draw.randint(*arguments.between) if kill else None)
        lines = log.read_bytes()[said:].decode("utf-8", "replace")
        named = {line.rpartition(": ")[2] for line in lines.splitlines() if line.startswith("damaged, and rebuilt: ")}
        left = wrong_files(out)
        counts["named"] += len(named)
        counts["mended unnamed"] += len(wrong - left - named)
        counts["index lines named"] += sum("finished.jsonl" in line for line in lines.splitlines())
        if code == 2 and "remove the folder" in lines:
            shutil.rmtree(out / "cache")
            counts["caches removed"] += 1
        elif code == -signal.SIGKILL:
            counts["kills"] += 1
        elif kill:
            counts["ended before the kill"] += 1
        elif code:
            counts["tries"] += 1
        else:
            return code, counts, kinds
        if kill and (code == -signal.SIGKILL or code == 0):
            kinds.update(damage(out, draw))
        wrong = wrong_files(out)
    return code, counts, kinds


def trees(out):
    return {path.name: path.read_bytes() for path in (out / "trees").iterdir()}


def measure(arguments):
    with tempfile.TemporaryDirectory() as name, stub_server.running(arguments.latency) as url:
        folder = Path(name)
        corpus = folder / "corpus.jsonl"
        mctsdialog.dialogue.write_dialogues(corpus, list(throughput.dialogues(arguments.dialogues)), domain="esc")
        os.environ.setdefault("OPENAI_API_KEY", "none")
        words = soak.command(folder, url, arguments)
        undisturbed = run([*words, "--out", str(folder / "whole")], folder / "whole.txt", url)
        calls, began = stub_server.totals_of(url)["calls"], time.monotonic()
        code, counts, kinds = run_all(words, folder / "out", arguments, folder / "disturbed.txt", url)
        if code or undisturbed:
            sys.stderr.write((folder / "disturbed.txt").read_text("utf-8", "replace")[-2000:])
        same = trees(folder / "whole") == trees(folder / "out") if not (code or undisturbed) else False
        return {
            "dialogues": arguments.dialogues,
            "exit": code,
            "same": same,
            "kills": counts["kills"],
            "damaged": sum(kinds.values()),
            "kinds": {f"{kind}: {way}": count for (kind, way), count in sorted(kinds.items())},
            "named": counts["named"],
            "unnamed": counts["mended unnamed"],
            "caches": counts["caches removed"],
            "ended": counts["ended before the kill"],
            "left": len(list((folder / "out").rglob(".*.tmp"))),
            "calls_whole": calls,
            "calls": stub_server.totals_of(url)["calls"] - calls,
            "seconds": time.monotonic() - began,
        }


COLUMNS = {
    "dialogues": ("dialogues", "d"),
    "kills": ("kills", "d"),
    "runs that ended before their kill": ("ended", "d"),
    "files damaged": ("damaged", "d"),
    "named in the log": ("named", "d"),
    "mended unnamed": ("unnamed", "d"),
    "caches removed": ("caches", "d"),
    "temporary files left": ("left", "d"),
    "calls": ("calls", "d"),
    "calls undisturbed": ("calls_whole", "d"),
    "seconds": ("seconds", ".0f"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--dialogues", type=int, default=400)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--between", type=int, nargs=2, default=[1, 600], help="calls of a run before its kill")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    row = measure(arguments)
    print(common.table([row], COLUMNS))
    print(f"\ntrees as in the undisturbed run: {'yes' if row['same'] else 'NO'}")
    for what, count in row["kinds"].items():
        print(f"  {count:4}  {what}")
    common.write(arguments.out, **row)
    if row["exit"] or not row["same"] or row["unnamed"] or row["left"]:
        sys.exit(
            f"exit code {row['exit']}, the same trees: {row['same']}, {row['unnamed']} unnamed, {row['left']} left"
        )


if __name__ == "__main__":
    main()
