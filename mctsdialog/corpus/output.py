"""The folder of a corpus: trees, journals, the index of what is finished, a summary; and one search into it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from io import BufferedRandom
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from anyio import to_thread
from pydantic import TypeAdapter

from mctsdialog.dialogue import ESC, Domain, Scenario
from mctsdialog.errors import JournalError
from mctsdialog.export import save_graphml, save_tree
from mctsdialog.files import file_stem
from mctsdialog.roles import Roles
from mctsdialog.search import SearchConfig, search
from mctsdialog.tree import Tree

try:
    import fcntl
except ImportError:  # not on Windows, where two runs on one folder are not noticed
    fcntl = None  # type: ignore[assignment]

Status: TypeAlias = Literal["done", "stopped", "skipped", "failed", "not begun"]
"""What became of a dialogue: searched; stopped by a budget; finished before; failed; no budget left for it."""


@dataclass(frozen=True, slots=True)
class TreeRecord:
    """What became of one dialogue.

    :param id: the dialogue's.
    :param status: see :data:`Status`.
    :param nodes: nodes of its tree, and ``ends`` and ``iterations``; 0 without a tree.
    :param best: mean Q of the best path; None where no path has reached an end.
    :param stop_reason: why its search stopped.
    :param error: what it failed with.
    :param seconds: of its search.
    """

    id: str
    status: Status
    nodes: int = 0
    ends: int = 0
    iterations: int = 0
    best: float | None = None
    stop_reason: str | None = None
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Output:
    """The folder of a corpus.

    :param folder: with ``trees``, ``journals`` and ``cache`` in it.
    :param shard: whose index and summary are written; trees are shared by all shards.
    """

    folder: Path
    shard: tuple[int, int] | None = None

    def tree(self, dialogue_id: str) -> Path:
        """The tree's JSON file; its GraphML stands beside it."""
        return self.folder / "trees" / f"{file_stem(dialogue_id)}.json"

    def journal(self, dialogue_id: str) -> Path:
        """The journal that a search goes on from."""
        return self.folder / "journals" / f"{file_stem(dialogue_id)}.jsonl"

    @property
    def cache(self) -> Path:
        """The cache of replies."""
        return self.folder / "cache"

    @property
    def summary(self) -> Path:
        """What a run found, as JSON."""
        return self.folder / f"summary{self._suffix}.json"

    @property
    def index(self) -> Path:
        """What is finished, a line a tree."""
        return self.folder / f"finished{self._suffix}.jsonl"

    @property
    def _suffix(self) -> str:
        return "" if self.shard is None else f"-{self.shard[0]}-of-{self.shard[1]}"

    async def search(
        self,
        start: Scenario,
        roles: Roles,
        config: SearchConfig,
        *,
        restart: bool = False,
        on_progress: Callable[[Tree], object] | None = None,
    ) -> TreeRecord:
        """Search one dialogue into the folder, going on from its journal.

        :param restart: begin anew, without the journal.
        :raises MctsDialogError: as :func:`mctsdialog.search` does.
        :raises OSError: where a file cannot be written.
        """
        began = time.monotonic()
        journal, file = self.journal(start.id), self.tree(start.id)
        if restart:
            journal.unlink(missing_ok=True)
        tree = await search(start, roles, config, journal=journal, on_progress=on_progress)
        await to_thread.run_sync(_save, tree, file)
        best = tree.best_path()
        return TreeRecord(
            start.id,
            "stopped" if (tree.stop_reason or "").startswith("budget") else "done",
            nodes=len(tree),
            ends=tree.ends,
            iterations=tree.iterations,
            best=None if best is None else best[1],
            stop_reason=tree.stop_reason,
            seconds=time.monotonic() - began,
        )


def _save(tree: Tree, file: Path) -> None:
    save_tree(tree, file)
    save_graphml(tree, file.with_suffix(".graphml"))


class Fingerprints:
    """What decides finished trees of one configuration, as 32 hexadecimal digits."""

    def __init__(self, config: SearchConfig) -> None:
        self._config = config.model_dump()
        self._domains: dict[int, tuple[Domain, str]] = {}  # a domain has no hash; holding it keeps its id

    def of(self, start: Scenario, roles: Roles) -> str:
        """Dialogue, domain, settings, and roles where they are known."""
        domain = roles.domain or ESC
        if id(domain) not in self._domains:
            self._domains[id(domain)] = (domain, _digest(domain.model_dump(mode="json")))
        dialogue = _adapter(type(start)).dump_python(start, mode="json")
        return _digest([dialogue, self._domains[id(domain)][1], self._config, dict(roles.provenance)])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


@lru_cache
def _adapter(kind: type[Scenario]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class FinishedIndex:
    """Which trees are finished: read from all indexes in a folder, appended to the one of this run.

    Only one process may have an index open. A line that a kill has torn is left out.

    :raises JournalError: where it is open in another run, or cannot be read or written.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._known: dict[str, tuple[str, TreeRecord]] = {}
        self._file: BufferedRandom | None = None
        try:
            output.folder.mkdir(parents=True, exist_ok=True)
            self._file = output.index.open("a+b")
            self._lock()
            for path in sorted(output.folder.glob("finished*.jsonl")):
                self._read(path)
            self._begin_line()
        except OSError as error:
            self.close()
            raise JournalError(f"cannot be opened: {error.strerror or error}", file=output.index) from error
        except BaseException:
            self.close()
            raise

    def __contains__(self, dialogue_id: object) -> bool:
        """Whether a tree of this id was ever finished, whatever it was made with."""
        return dialogue_id in self._known

    def find(self, dialogue_id: str, fingerprint: str) -> TreeRecord | None:
        """The record of a tree that is finished with this fingerprint and still there."""
        known, record = self._known.get(dialogue_id, (None, None))
        if record is None or known != fingerprint or not self._output.tree(dialogue_id).is_file():
            return None
        return record

    def add(self, record: TreeRecord, fingerprint: str) -> None:
        """Append a finished tree.

        :raises JournalError: where writing fails.
        """
        assert self._file is not None
        line = json.dumps({"fingerprint": fingerprint, **asdict(record)}, ensure_ascii=False)
        try:
            self._file.write(line.encode("utf-8", "surrogatepass") + b"\n")
            self._file.flush()
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

    def _lock(self) -> None:
        if fcntl is None or self._file is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = "another run is at work in this folder; wait for it, or give each run a --shard of its own"
            raise JournalError(message, file=self._output.index) from error

    def _read(self, path: Path) -> None:
        names = [each.name for each in fields(TreeRecord)]
        for line in path.read_bytes().split(b"\n"):
            try:
                found = json.loads(line)
                record = TreeRecord(**{name: found[name] for name in names})
                self._known[record.id] = (str(found["fingerprint"]), record)
            except (ValueError, KeyError, TypeError):
                continue  # torn, or not ours: the tree is looked at again

    def _begin_line(self) -> None:
        """End a line that a kill has torn."""
        assert self._file is not None
        if self._file.seek(0, 2):
            self._file.seek(-1, 2)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
