"""The index of finished trees: a line a tree, with the marks that its files must have."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from io import BufferedRandom
from pathlib import Path
from typing import Any, Self
from xml.etree.ElementTree import ParseError

import networkx

from mctsdialog._search import SearchConfig
from mctsdialog.corpus._output import Output
from mctsdialog.corpus._record import TreeRecord
from mctsdialog.errors import JournalError, TreeFormatError
from mctsdialog.export import load_tree, save_graphml
from mctsdialog.files import Mark, inside, lock_file, mark_of, seal, sealed, sweep, write_atomically
from mctsdialog.roles import RoleHealth, check_roles
from mctsdialog.tree import Tree

_log = logging.getLogger("mctsdialog.corpus")

_NAME = re.compile(r"finished(-[0-9]+-of-[0-9]+)?\.jsonl")
_MOST = 2**53  # no count or number in an index is larger


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of an index.

    :param files: marks of the tree's files by suffix; None in a line of version 0.1, which kept none.
    """

    record: TreeRecord
    fingerprint: str
    files: Mapping[str, Mark] | None


class FinishedIndex:
    """Which trees are finished: read from all indexes in a folder, appended to the one of this run.

    Only one process may have an index open. While it is opened, what killed runs left half-written is removed.

    :raises JournalError: if it is open in another run, or cannot be read or written.
    :raises DataError: if it is a symbolic link.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._known: dict[str, _Line] = {}
        self._file: BufferedRandom | None = None
        self._writing = threading.Lock()
        self.damaged: list[str] = []
        """Files found damaged, relative to the folder, and how many lines of an index cannot be read."""
        try:
            output.folder.mkdir(parents=True, exist_ok=True)
            self._open()
            sweep(output.folder, ".json", ".jsonl")
            for name in ("trees", "journals", "cache"):
                inside(output.folder, name)
            sweep(output.folder / "trees", ".json", ".graphml")
            for path in sorted(output.folder.glob("finished*.jsonl")):
                if _NAME.fullmatch(path.name) and inside(output.folder, path.name).is_file():
                    self._read(path)
        except OSError as error:
            self.close()
            raise JournalError(f"cannot be opened: {error.strerror or error}", file=output.index) from error
        except BaseException:
            self.close()
            raise

    def __contains__(self, dialogue_id: str) -> bool:
        """Whether a dialogue is in an index; its tree may be another one's, or damaged."""
        return dialogue_id in self._known

    def find(self, dialogue_id: str, fingerprint: str) -> TreeRecord | None:
        """The record of a tree that is finished with this fingerprint, and whose file is whole.

        A file that is not whole is added to :attr:`damaged`. A damaged GraphML file is written again from the tree.

        :raises JournalError: if the index cannot be written.
        :raises OSError: if a file cannot be read or written.
        """
        line = self._known.get(dialogue_id)
        if line is None or line.fingerprint != fingerprint:
            return None
        file = self._output.tree(dialogue_id)
        graph = file.with_suffix(".graphml")
        whole, record = self._is_whole(file, line), line.record
        if whole and (line.files is None or mark_of(graph) != line.files.get(".graphml")):
            if line.files is not None:
                self._report(self._name(graph))
            tree = load_tree(file)
            if line.files is not None or not _is_graph_of(tree, graph):
                save_graphml(tree, graph)
            record = replace(record, health=check_roles(tree))
            self.add(record, fingerprint)
        if not whole:
            self._report(self._name(file))
        return record if whole else None

    def add(self, record: TreeRecord, fingerprint: str) -> None:
        """Append a finished tree, with the marks of its files; it is on the disk when this returns.

        :raises JournalError: if a file cannot be read, or writing fails.
        """
        assert self._file is not None
        try:
            file = self._output.tree(record.id)
            marks = {each.suffix: mark_of(each) for each in (file, file.with_suffix(".graphml"))}
            values = {"fingerprint": fingerprint, **asdict(record), "files": {k: v for k, v in marks.items() if v}}
            line = seal(json.dumps(values, ensure_ascii=False))
            with self._writing:
                self._file.write(line.encode("utf-8", "surrogatepass") + b"\n")
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise JournalError(f"cannot be written: {error.strerror or error}", file=self._output.index) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        self._file = self._output.index.open("a+b")
        if not lock_file(self._file.fileno()):
            message = "another run is at work in this folder; wait for it, or give each run a --shard of its own"
            raise JournalError(message, file=self._output.index)

    def _read(self, path: Path) -> None:
        """Take in an index. From this run's own, lines that cannot be read are removed."""
        whole, damaged, ended = [], 0, True
        with path.open("rb") as file:
            for line in file:
                found = _decode(line)
                if found is not None:
                    self._known[found.record.id] = found
                    whole.append(line.rstrip(b"\n") + b"\n")
                damaged += found is None
                ended = line.endswith(b"\n")
        if damaged:
            self._report(f"{path.name}: {damaged} line{'s' * (damaged != 1)}")
        if path == self._output.index and (damaged or not ended):
            write_atomically(path, b"".join(whole))
            self.close()
            self._open()

    def _is_whole(self, file: Path, line: _Line) -> bool:
        if line.files is not None:
            mark = mark_of(file)
            return mark is not None and mark == line.files.get(".json")
        try:
            return load_tree(file).id == line.record.id
        except TreeFormatError:
            return False

    def _report(self, what: str) -> None:
        self.damaged.append(what)
        _log.warning("damaged, and rebuilt: %s", what)

    def _name(self, file: Path) -> str:
        return file.relative_to(self._output.folder).as_posix()


def finished_ids(folder: Path, config: SearchConfig, max_calls: int | None = None) -> set[str]:
    """Ids of the dialogues whose trees an index of the folder calls finished; nothing is opened for writing.

    Trees that these limits would prolong are not among them.

    :raises OSError: if an index cannot be read.
    """
    found: dict[str, TreeRecord] = {}
    for path in sorted(folder.glob("finished*.jsonl")):
        if _NAME.fullmatch(path.name):
            with inside(folder, path.name).open("rb") as file:
                found |= {line.record.id: line.record for line in map(_decode, file) if line is not None}
    return {name for name, record in found.items() if not _may_grow(record, config, max_calls)}


def _may_grow(record: TreeRecord, config: SearchConfig, max_calls: int | None) -> bool:
    if record.stop_reason == "max_iterations":
        return record.iterations < config.max_iterations
    return record.stop_reason == "calls" and max_calls is None


def _is_graph_of(tree: Tree, file: Path) -> bool:
    """Whether a GraphML file, of which version 0.1 kept no mark, is whole: it has the tree's nodes."""
    try:
        return len(networkx.read_graphml(file)) == len(tree)
    except (OSError, ParseError, networkx.NetworkXException, ValueError, KeyError, AttributeError, TypeError):
        return False


def _decode(line: bytes) -> _Line | None:
    """A line of an index; None for one that a kill has torn, that is damaged, or that is not ours."""
    try:
        text = line.decode("utf-8", "surrogatepass").rstrip("\n")
        found = json.loads(text)
        if not isinstance(found, dict):
            return None
        found.setdefault("closed", {})  # version 0.1 counted neither
        found["health"] = None if found.get("health") is None else RoleHealth.from_dict(found["health"])
        record = TreeRecord(**{each.name: found[each.name] for each in fields(TreeRecord)})
        fingerprint = found["fingerprint"]
    except (ValueError, KeyError, RecursionError):
        return None
    files = None
    if "files" in found or "crc" in found:
        files = _marks(found.get("files")) if sealed(text) else None
        if files is None:
            return None
    return _Line(record, fingerprint, files) if _is_sound(record) and isinstance(fingerprint, str) else None


def _is_sound(record: TreeRecord) -> bool:
    """Whether every value is of its type and range."""
    counts = (record.nodes, record.ends, record.iterations)
    texts = (record.stop_reason, record.error)
    return (
        isinstance(record.id, str)
        and record.status == "done"
        and all(type(count) is int and 0 <= count < _MOST for count in counts)
        and all(text is None or isinstance(text, str) for text in texts)
        and isinstance(record.closed, dict)
        and all(type(count) is int and 0 <= count < _MOST for count in record.closed.values())
        and (record.best is None or _is_number(record.best))
        and _is_number(record.seconds)
    )


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and -_MOST < value < _MOST and math.isfinite(value)  # type: ignore[operator, arg-type]


def _marks(found: Any) -> dict[str, Mark] | None:
    if not isinstance(found, dict):
        return None
    marks: dict[str, Mark] = {}
    for suffix, mark in found.items():
        match mark:
            case [int(size), str(digest)]:
                marks[suffix] = (size, digest)
            case _:
                return None
    return marks
