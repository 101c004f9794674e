"""Memory and time of streaming many dialogues, for each form that streams.

    python benchmarks/reading.py --dialogues 200000

Each form is written to a file of invented dialogues and streamed through by a process of its own, whose peak of
resident memory is measured (VmHWM). The whole is checked once and read once, as a search does.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SAID = (
    ("seeker", "I have been so tired since the move, and nobody here knows me.", None),
    ("supporter", "That sounds lonely. What do you miss most about the place before?", "Question"),
    ("seeker", "My friends. We met every week, and now I only see them on a screen.", None),
    ("supporter", "You found friends there once, and that is a strength of yours.", "Affirmation and Reassurance"),
)
LIMIT = 200  # MB


def named(number: int) -> list[tuple[str, str, str | None]]:
    return [(speaker, f"{text} ({number})", label) for speaker, text, label in SAID]


def esconv(number: int) -> Any:
    turns = [
        {"speaker": speaker, "content": text, "annotation": {"strategy": label} if label else {}}
        for speaker, text, label in named(number)
    ]
    return {"problem_type": "moving", "situation": "A new town.", "survey_score": {}, "dialog": turns}


def extes(number: int) -> Any:
    turns = [{"User": t} if s == "seeker" else {"AI Strategy": k, "AI": t} for s, t, k in named(number)]
    return {"scene": "moving", "description": "A new town.", "content": turns}


def chat(number: int) -> Any:
    turns = [{"speaker": s, "text": t, **({"strategy": k} if k else {})} for s, t, k in named(number)]
    return {"id": f"d{number}", "domain": "esconv", "turns": turns}


def messages(number: int) -> Any:
    role = {"seeker": "user", "supporter": "assistant"}
    return {"messages": [{"role": role[s], "content": t, "strategy": k} for s, t, k in named(number)]}


def sharegpt(number: int) -> Any:
    role = {"seeker": "human", "supporter": "gpt"}
    return {"conversations": [{"from": role[s], "value": t, "strategy": k} for s, t, k in named(number)]}


def augesc(number: int) -> Any:
    return [["usr" if s == "seeker" else "sys", t] for s, t, _ in named(number)]


def write_lines(path: Path, item: Callable[[int], Any], count: int) -> None:
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        for number in range(count):
            file.write(json.dumps(item(number)) + "\n")


def write_table(path: Path, count: int) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["dialogue_id", "speaker", "text", "strategy"])
        for number in range(count):
            rows.writerows([f"d{number}", s, t, k or ""] for s, t, k in named(number))


def write_parquet(path: Path, count: int) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    def chunks() -> Iterator[Any]:
        for first in range(0, count, 5000):
            yield pa.Table.from_pylist([messages(n) for n in range(first, min(count, first + 5000))])

    parts = chunks()
    first = next(parts)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


FORMS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "chat lines": ("d.jsonl", lambda path, count: write_lines(path, chat, count)),
    "ESConv lines": ("d.jsonl", lambda path, count: write_lines(path, esconv, count)),
    "ExTES lines": ("d.jsonl", lambda path, count: write_lines(path, extes, count)),
    "message lines": ("d.jsonl", lambda path, count: write_lines(path, messages, count)),
    "ShareGPT lines": ("d.jsonl", lambda path, count: write_lines(path, sharegpt, count)),
    "AugESC lines": ("d.txt", lambda path, count: write_lines(path, augesc, count)),
    "ESConv lines, gzip": ("d.jsonl.gz", lambda path, count: write_lines(path, esconv, count)),
    "CSV, a turn a row": ("d.csv", write_table),
    "Parquet": ("d.parquet", write_parquet),
}

READ = """
import sys, time
from mctsdialog.dialogue import stream_dialogues
began = time.monotonic()
stream = stream_dialogues(sys.argv[1], domain="esconv", unlabelled=True)
count = sum(1 for _ in stream)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
print(count, peak, time.monotonic() - began)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=200_000)
    parser.add_argument("--form", action="append", choices=list(FORMS))
    options = parser.parse_args()
    over = 0
    print(f"{'form':<20} {'dialogues':>9} {'file MB':>8} {'peak MB':>8} {'s':>6}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.form or FORMS:
            file, write = FORMS[name]
            path = Path(folder) / file
            write(path, options.dialogues)
            began = time.monotonic()
            done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
            count, peak, seconds = io.StringIO(done.stdout).read().split()
            size = path.stat().st_size / 1e6
            print(f"{name:<20} {int(count):>9} {size:>8.1f} {float(peak):>8.1f} {float(seconds):>6.1f}", flush=True)
            over += float(peak) > LIMIT or int(count) != options.dialogues
            path.unlink()
            assert time.monotonic() - began < 600
    print("all below" if not over else f"{over} forms above", f"{LIMIT} MB")
    return int(over > 0)


if __name__ == "__main__":
    sys.exit(main())
