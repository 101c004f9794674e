"""What the benchmarks have in common: medians, commands bounded in time, a Markdown table, JSON with the machine."""

import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

METHODS = {
    "seeker": ("reply",),
    "supporter": ("reply",),
    "strategist": ("score",),
    "judge": ("judge", "judge_again"),
}


class Before:
    """A role before whose every call something is awaited; it has the methods that the role has."""

    def __init__(self, role: Any, methods: Sequence[str], first: Callable[[], Awaitable[None]]) -> None:
        self._role, self._methods, self._first = role, methods, first
        self.draws_differ = getattr(role, "draws_differ", True)
        for name in methods:
            if hasattr(role, name):
                setattr(self, name, self._after(getattr(role, name)))

    def for_scenario(self, scenario):
        return Before(self._role.for_scenario(scenario), self._methods, self._first)

    def _after(self, method):
        async def call(*arguments):
            await self._first()
            return await method(*arguments)

        return call


def roles_after(roles, first):
    """The roles, ``first`` awaited before every call."""
    return replace(roles, **{name: Before(getattr(roles, name), methods, first) for name, methods in METHODS.items()})


def medians(samples):
    """The median of each figure over samples, each a dictionary of numbers."""
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}


def run(words, limit=None, **options):
    """Run a command and keep what it prints. Its process group ends with it, and with us.

    :param limit: the seconds it may take; past them its exit status is 124 or, if it did not stop at once, 137.
    :param options: of :class:`subprocess.Popen`.
    """
    bounded = [] if limit is None else ["timeout", "--kill-after=5", f"{limit:.0f}"]  # holds even if we are killed
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as errors:  # no pipe to wait for
        process = subprocess.Popen([*bounded, *words], stdout=printed, stderr=errors, start_new_session=True, **options)
        try:
            status = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        printed.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(words, status, printed.read(), errors.read())


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
