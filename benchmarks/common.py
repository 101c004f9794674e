"""What the benchmarks have in common: medians of interleaved runs, a Markdown table, JSON with the machine."""

import json
import os
import platform
import statistics
import sys
from pathlib import Path


def medians(samples):
    """The median of each figure over samples, each a dictionary of numbers."""
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}


def table(rows, columns):
    """Rows as Markdown. ``columns``: title -> (key, format)."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = [("–" if row.get(key) is None else format(row[key], form)) for key, form in columns.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine():
    """Where figures come from."""
    model = ""
    if (cpus := Path("/proc/cpuinfo")).exists():
        lines = cpus.read_text("utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {"python": sys.version.split()[0], "system": platform.system(), "cpu": model, "cores": os.cpu_count()}


def write(path, **figures):
    """Figures as JSON, with the machine."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n", "utf-8")
