"""Output folders of searches, watched from outside: index, journals, progress and summary are read, nothing is changed.

The one file that is written is ``stop``, by which a run ends itself.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mctsdialog._search.replay import JournalReplay
from mctsdialog.corpus import Output
from mctsdialog.corpus._output import owner_of_journal
from mctsdialog.errors import DataError, JournalError, MctsDialogError
from mctsdialog.export import load_tree, to_html
from mctsdialog.files import open_input, parse_json, read_input, write_atomically
from mctsdialog.roles import RoleHealth
from mctsdialog.tree import Tree

_RECENT = 10.0  # seconds after which a run that says nothing is taken for ended
_REPLAYS = 4  # trees that are followed at once
_FIELDS = ("iterations", "nodes", "ends", "best", "seconds")
_COSTS = ("calls", "prompt_tokens", "completion_tokens", "money")


class StopAsked(BaseModel):
    """Somebody stops a run."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: int = Field(ge=0)


class Run:
    """One output folder.

    :param folder: of a search, or with trees alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._output = Output(folder)
        self._lock = threading.Lock()
        self._read: dict[Path, int] = {}
        self._journals: dict[Path, tuple[int, int]] = {}  # bytes and lines read
        self._health: dict[str, RoleHealth] = {}
        self._names: dict[str, str] = {}
        self._replays: OrderedDict[str, JournalReplay] = OrderedDict()
        self._bad_lines = 0
        self._done: set[str] = set()  # stems of the trees that the index has
        self.rows: dict[str, dict[str, Any]] = {}

    # -- the whole run ------------------------------------------------------------------------------------------------

    def refresh(self) -> dict[str, Any]:
        """How far the run is; the rows of its trees are brought up to date."""
        with self._lock:
            self._read_indexes()
            for path in (self.folder / "journals").glob("*.jsonl"):
                self._look_at(path)
            for path in (self.folder / "trees").glob("*.json"):
                if not path.name.startswith("."):
                    self._row(path.stem)
            now = time.time()
            progress = [each for each in map(_json, self.folder.glob("progress*.json")) if each]
            alive = [each for each in progress if now - _number(each.get("time")) < _RECENT]
            summaries = [each for each in map(_json, self.folder.glob("summary*.json")) if each]
            health = sum(self._health.values(), RoleHealth())
            running = bool(alive)
            return {
                "folder": str(self.folder),
                "running": running,
                "stopping": running and (self.folder / "stop").exists(),
                "progress": _sum(alive, ("total", "done", "skipped", "failed", "open")) if alive else None,
                "seconds_left": max((_number(each.get("eta")) for each in alive), default=0.0) or None,
                "calls_per_second": sum(_number(each.get("calls_per_second")) for each in alive),
                "cost": _sum(alive or summaries, _COSTS),
                "cost_by": [part for each in summaries for part in each.get("costs") or ()] if not alive else [],
                "stop_reason": None if alive else next((each.get("stop_reason") for each in summaries), None),
                "failures": [each for found in summaries for each in found.get("failures") or ()],
                "finished": sum(row["state"] == "done" for row in self.rows.values()),
                "warnings": list(health.warnings),
                "bad_lines": self._bad_lines,
            }

    def stop(self) -> None:
        """Have the run end itself: all that it searched is kept.

        :raises DataError: where no run is at work in the folder.
        """
        if not self.refresh()["running"]:
            raise DataError("no search is running in this folder", file=self.folder)
        write_atomically(self._output.stop, "Stopped from the studio.\n")

    def _row(self, stem: str) -> dict[str, Any]:
        return self.rows.setdefault(stem, {"stem": stem, "id": stem, "state": "tree"})

    def _read_indexes(self) -> None:
        for path in sorted(self.folder.glob("finished*.jsonl")):
            self._read_index(path)

    def _read_index(self, path: Path) -> None:
        """The trees that were finished since the last time."""
        try:
            with open_input(path) as file:
                offset = self._read.get(path, 0)
                if file.seek(0, 2) < offset:
                    offset = 0
                file.seek(offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    offset += len(line)
                    self._finished(line)
                self._read[path] = offset
        except OSError:
            return  # it is being made, or was taken away

    def _finished(self, line: bytes) -> None:
        try:
            content = parse_json(line)
            name = str(content["id"])
            if isinstance(content.get("health"), dict):
                self._health[name] = RoleHealth.from_dict(content["health"])
        except (ValueError, KeyError, TypeError, ValidationError):
            self._bad_lines += 1
            return
        if name not in self._names:
            self._names[name] = self._output.tree(name).stem
        self._done.add(self._names[name])
        known = {field: content.get(field) for field in _FIELDS}
        closed = content.get("closed")
        self._row(self._names[name]).update(
            id=name, state="done", closed=sum(closed.values()) if isinstance(closed, dict) else 0, **known
        )

    def _look_at(self, journal: Path) -> None:
        """How many steps a journal has, a line each, and whether a search goes on with it."""
        row = self._row(journal.stem)
        try:
            size, changed = journal.stat().st_size, journal.stat().st_mtime
            read, lines = self._journals.get(journal, (0, 0))
            if size < read:
                read = lines = 0
            if size > read:
                with open_input(journal) as file:
                    file.seek(read)
                    while chunk := file.read(2**20):
                        lines, read = lines + chunk.count(b"\n"), read + len(chunk)
                self._journals[journal] = (read, lines)
        except OSError:
            return
        row["steps"] = max(0, lines - 1)
        if row["state"] == "tree":
            row["id"] = owner_of_journal(journal) or journal.stem
        done = journal.stem in self._done
        if time.time() - changed < _RECENT and not (done and self._saved(journal)):
            row["state"] = "searching"
        else:
            row["state"] = "done" if done else "begun"

    def _saved(self, journal: Path) -> bool:
        """Whether the tree's file is as new as its journal: a longer search goes on with a finished tree."""
        try:
            return (self.folder / "trees" / f"{journal.stem}.json").stat().st_mtime >= journal.stat().st_mtime
        except OSError:
            return False

    # -- one tree -----------------------------------------------------------------------------------------------------

    def version(self, stem: str) -> dict[str, Any]:
        """What tells whether a tree has changed; an empty version before it has a root.

        :raises DataError: for a tree that is not there.
        """
        with self._lock:
            tree, journalled = self._tree(stem)
            state = self.rows[stem]["state"]
            if tree is None:
                return {"version": "", "state": state, "iterations": 0}
            version = f"{int(journalled)}-{tree.iterations}-{len(tree)}"
            return {"version": version, "state": state, "iterations": tree.iterations}

    def follow(self, stem: str) -> dict[str, Any]:
        """The same after a look at what is new of this tree alone: cheaper than a look at the whole run.

        :raises DataError: for a tree that is not there.
        """
        with self._lock:
            if stem in self.rows:
                self._read_indexes()
                journal = self.folder / "journals" / f"{stem}.jsonl"
                if journal.is_file():
                    self._look_at(journal)
        return self.version(stem)

    def page(self, stem: str) -> str:
        """The page that shows a tree: the stand-alone one.

        :raises DataError: for a tree that is not there.
        """
        with self._lock:
            tree = self._tree(stem)[0]
            if tree is None:
                raise DataError("this search has not begun its tree yet", file=self.folder, item=stem)
            return to_html(tree)  # while nobody goes on with it

    def _tree(self, stem: str) -> tuple[Tree | None, bool]:
        """A tree, and whether it comes from its journal, which may grow; None before it has a root."""
        row = self.rows.get(stem)
        if row is None:
            raise DataError("there is no such tree in this folder", file=self.folder, item=stem[:100])
        file, journal = self.folder / "trees" / f"{stem}.json", self.folder / "journals" / f"{stem}.jsonl"
        done = file.is_file() and stem in self._done
        if journal.is_file() and not (done and self._saved(journal)):
            try:
                tree = self._replayed(stem, journal)
            except JournalError:
                if not done:
                    raise
                tree = None
            # in a copied folder a finished tree's journal may be newer than its file, and hold nothing more
            if tree is not None and (
                not done or row["state"] == "searching" or tree.iterations > _number(row.get("iterations"))
            ):
                return tree, True
        if not file.is_file():
            return None, True
        return load_tree(file), False

    def _replayed(self, stem: str, journal: Path) -> Tree | None:
        replay = self._replays.pop(stem, None) or JournalReplay(journal)
        replay.update()
        self._replays[stem] = replay
        while len(self._replays) > _REPLAYS:
            self._replays.popitem(last=False)
        return replay.tree


def run_at(runs: list[Run], number: int) -> Run:
    """The run of that number.

    :raises DataError: where there is none.
    """
    if not 0 <= number < len(runs):
        raise DataError("there is no such run here; was the studio started with other folders?", field="run")
    return runs[number]


def _json(path: Path) -> dict[str, Any] | None:
    """An object in a file that another process writes; None where it is none, or just gone."""
    try:
        content = parse_json(read_input(path))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _sum(parts: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, float]:
    return {name: sum(_number(each.get(name)) for each in parts) for name in names}


class Changes:
    """What is new of all runs since the last look: their states, and the rows that changed."""

    def __init__(self, runs: list[Run]) -> None:
        self._runs = runs
        self._sent: dict[tuple[int, str], str] = {}
        self._state = ""

    def look(self) -> str | None:
        """The news as JSON; None without any."""
        states, rows = [], []
        for number, run in enumerate(self._runs):
            try:
                states.append(run.refresh())
            except MctsDialogError as error:
                states.append({"folder": str(run.folder), "error": str(error)})
            for stem, row in list(run.rows.items()):
                text = json.dumps(row)
                if self._sent.get((number, stem)) != text:
                    self._sent[number, stem] = text
                    rows.append({"run": number, **row})
        state = json.dumps(states)
        if state == self._state and not rows:
            return None
        self._state = state
        return json.dumps({"runs": states, "rows": rows})
