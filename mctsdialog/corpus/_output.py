"""The folder of a corpus: trees, journals, the index of what is finished, a summary; and one search into it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from anyio import to_thread
from pydantic import TypeAdapter

from mctsdialog._arguments import checked
from mctsdialog._search import SearchConfig
from mctsdialog._search.run import search_within
from mctsdialog._settings import lasting
from mctsdialog.corpus._record import TreeRecord
from mctsdialog.dialogue import ESC, Domain, Scenario
from mctsdialog.export import save_graphml, save_tree
from mctsdialog.files import digested_stem, earlier_stem, file_stem, inside, remove_file
from mctsdialog.roles import RoleHealth, Roles, check_roles
from mctsdialog.tree import Tree

_LONGEST_HEAD = 2**24  # bytes of the lines that say whose file it is


@checked()
@dataclass(frozen=True)
class Output:
    """The folder of a corpus.

    :param folder: with ``trees``, ``journals`` and ``cache`` in it.
    :param shard: whose index and summary are written; trees are shared by all shards.
    :param max_calls: most calls to roles for one tree of the folder, over all resumes, 1 or more; None for any number.
    """

    folder: Path
    shard: tuple[int, int] | None = None
    max_calls: int | None = None

    def tree(self, dialogue_id: str) -> Path:
        """The tree's JSON file; its GraphML stands beside it.

        :raises DataError: for a symbolic link in its place, as for all other paths.
        """
        return self.files(dialogue_id)[1]

    def journal(self, dialogue_id: str) -> Path:
        """The journal that a search resumes from."""
        return self.files(dialogue_id)[0]

    def files(self, dialogue_id: str) -> tuple[Path, Path]:
        """The dialogue's journal and tree."""
        stem = self._stem(dialogue_id)
        return self._journal(stem), self._tree(stem)

    def _tree(self, stem: str) -> Path:
        inside(self.folder, f"trees/{stem}.graphml")
        return inside(self.folder, f"trees/{stem}.json")

    def _journal(self, stem: str) -> Path:
        return inside(self.folder, f"journals/{stem}.jsonl")

    def _stem(self, dialogue_id: str) -> str:
        """The name of a dialogue's files: the one that they have, or a free one.

        Version 0.1 gave other names, some of them to two ids. Its files are used where they say that they are this
        dialogue's, and left alone otherwise.
        """
        stem, other = file_stem(dialogue_id), digested_stem(dialogue_id)
        owners: dict[str, str | None] = {}
        for name in dict.fromkeys((stem, earlier_stem(dialogue_id), other)):
            owners[name] = self._owner(name)
            if owners[name] == dialogue_id:
                return name
        return stem if owners[stem] is None else other

    def _owner(self, stem: str) -> str | None:
        """The id that the journal of this name says, or else the tree; None where neither does."""
        tree, owner = self._tree(stem), owner_of_journal(self._journal(stem))
        return _owner_of_tree(tree) if owner is None and tree.is_file() else owner

    @property
    def cache(self) -> Path:
        """The cache of replies."""
        return inside(self.folder, "cache")

    @property
    def settings(self) -> Path:
        """What the last command searched with, as YAML."""
        return inside(self.folder, f"config{self._suffix}.yaml")

    @property
    def summary(self) -> Path:
        """What a run found, as JSON."""
        return inside(self.folder, f"summary{self._suffix}.json")

    @property
    def index(self) -> Path:
        """What is finished, a line a tree."""
        return inside(self.folder, f"finished{self._suffix}.jsonl")

    @property
    def progress(self) -> Path:
        """How far a run is, as JSON; there while it runs."""
        return inside(self.folder, f"progress{self._suffix}.json")

    @property
    def stop(self) -> Path:
        """A file by which anybody stops all runs in the folder cleanly, whatever it holds."""
        return inside(self.folder, "stop")

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
        on_share: Callable[[float], object] = lambda share: None,
    ) -> TreeRecord:
        """Search one dialogue into the folder, resuming from its journal.

        :param restart: start over, without the journal.
        :param on_progress: called with the tree after each iteration.
        :param on_share: called then with how far the search is, 0 to 1, by the limit that it is nearest to.
        :raises MctsDialogError: as :func:`mctsdialog.search` does.
        :raises OSError: if a file cannot be written.
        """
        began = time.monotonic()
        journal, file = self.files(start.id)
        if restart:
            remove_file(self.folder, journal.relative_to(self.folder).as_posix())
        tree, limited = await search_within(
            start,
            roles,
            config,
            journal=journal,
            max_calls=self.max_calls,
            on_progress=on_progress,
            over_resumes=True,
            on_share=on_share,
        )
        health = await to_thread.run_sync(_save, tree, file)
        best = tree.best_path()
        return TreeRecord(
            start.id,
            "stopped" if (tree.stop_reason or "").startswith("budget") and not limited else "done",
            nodes=len(tree),
            ends=tree.ends,
            iterations=tree.iterations,
            best=best.value if best else None,
            stop_reason=tree.stop_reason,
            seconds=time.monotonic() - began,
            closed=tree.closed(),
            health=health,
        )


def _save(tree: Tree, file: Path) -> RoleHealth:
    save_tree(tree, file)
    save_graphml(tree, file.with_suffix(".graphml"))
    return check_roles(tree)


def owner_of_journal(path: Path, field: Literal["dialogue", "scenario"] = "dialogue") -> str | None:
    """The id that a journal's first line names; None if there is none.

    :param field: where a journal of this kind has it: "dialogue" of a search, "scenario" of preference data.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return _id_in(file.readline(_LONGEST_HEAD), "record", field)


def _owner_of_tree(path: Path) -> str | None:
    """The id of the scenario that a tree's file names; it has a line of its own near the beginning."""
    with path.open("rb") as file:
        for _ in range(5):
            line = file.readline(_LONGEST_HEAD)
            if line.startswith(b'"scenario": '):
                return _id_in(b"{%s}" % line.rstrip(b",\n"), "scenario")
    return None


def _id_in(text: bytes, *path: str) -> str | None:
    try:
        found = json.loads(text.decode("utf-8", "surrogatepass"))
        for name in (*path, "id"):
            found = found[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None


class Fingerprints:
    """What decides finished trees of one configuration, as 32 hexadecimal digits."""

    def __init__(self, config: SearchConfig, max_calls: int | None = None) -> None:
        self._config = lasting(config) | ({} if max_calls is None else {"max_calls": max_calls})
        self._domains: dict[int, tuple[Domain, str]] = {}  # a domain has no hash; holding it keeps its id

    def of(self, start: Scenario, roles: Roles) -> str:
        """Dialogue, domain, settings, and roles where they are known."""
        domain = roles.domain or ESC
        if id(domain) not in self._domains:
            self._domains[id(domain)] = (domain, _digest(lasting(domain)))
        dialogue = _adapter(type(start)).dump_python(start, mode="json")
        return _digest([dialogue, self._domains[id(domain)][1], self._config, _without_addresses(roles.provenance)])


def _without_addresses(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the roles' replies, less where their servers are: these may move."""
    return {
        role: {name: value for name, value in known.items() if name != "identity"}
        if isinstance(known, Mapping)
        else known
        for role, known in provenance.items()
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


@lru_cache
def _adapter(kind: type[Scenario]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
