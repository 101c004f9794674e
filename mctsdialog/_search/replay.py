"""The tree of a search as its journal tells it, while another process goes on with the search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mctsdialog._search.run import Tape
from mctsdialog._search.seeding import GoldPath, Start
from mctsdialog.algorithms._base import Algorithm
from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.dialogue import Dialogue, Domain, Scenario, Turn
from mctsdialog.errors import ConfigError, JournalError, MctsDialogError
from mctsdialog.files import first_fault
from mctsdialog.journal import read_journal_from
from mctsdialog.tree import Tree


class JournalReplay:
    """Follows a journal; reading it changes nothing in it.

    :param path: of a journal, there or not yet.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._offset = 0
        self._start: Start
        self._config: SearchConfig
        self._domain: Domain | None = None
        self._roles: Mapping[str, Any] = {}
        self._algorithm: Algorithm | None = None
        self._tape: Tape
        self._scores: dict[int, dict[str, float]] = {}
        self._refused: dict[int, str] = {}
        self._gold: GoldPath
        self._known: dict[int, list[dict[str, Any]]] = {}  # of a deterministic search: trials in the order of numbers
        self._next = 0

    @property
    def tree(self) -> Tree | None:
        """The tree as it was at the last update; None before it has a root."""
        return None if self._algorithm is None else self._algorithm.tree

    def update(self) -> bool:
        """Read what was appended since the last time.

        :returns: whether there was anything.
        :raises JournalError: for a journal that cannot be read, or whose records fit no tree.
        """
        records, self._offset = read_journal_from(self._path, self._offset)
        for record in records:
            try:
                self._take_in(record)
            except JournalError:
                raise
            except (MctsDialogError, ValueError, KeyError, TypeError) as error:
                raise JournalError(f"a record on it does not fit the tree: {error}", file=self._path) from error
        if records and self._algorithm is not None:
            self._algorithm.finish()
        return bool(records)

    def _take_in(self, record: dict[str, Any]) -> None:
        if self._domain is None:
            self._read_header(record)
        elif record.get("type") == "opening":
            self._tape.add(record)
            self._tape.next("opening")
            self._plant((*self._start.opening, Turn("seeker", self._tape.text(record, "seeker"))))
        elif self._algorithm is None:
            raise JournalError("has a trial before the dialogue has begun", file=self._path)
        elif record.get("type") == "gold":
            self._tape.add(record)
            scores, refused = self._tape.gold_scores()
            self._scores |= scores
            self._refused |= refused
            self._gold.lay(self._scores)
            self._gold.close(self._refused)
        else:
            for each in self._in_order(record):
                self._tape.add(each)
            self._tape.replay(self._algorithm)

    def _read_header(self, header: Mapping[str, Any]) -> None:
        dialogue, config = header.get("dialogue"), header.get("config")
        if not isinstance(dialogue, dict) or not isinstance(config, dict):
            raise JournalError("is not the journal of a search", file=self._path)
        try:
            kind = TypeAdapter[Scenario](Dialogue if "turns" in dialogue else Scenario)
            start = kind.validate_json(json.dumps(dialogue))
            domain = Domain.model_validate_json(json.dumps(header.get("domain")))
        except ValidationError as error:
            raise JournalError(f"its header cannot be read: {first_fault(error)[1]}", file=self._path) from error
        try:
            self._config = SearchConfig(**config)
        except ConfigError as error:
            raise JournalError(f"its header cannot be read: {error}", file=self._path, field="config") from error
        self._start = Start.of(start, domain)
        self._domain, self._roles = domain, header.get("roles") or {}
        self._tape = Tape(None, domain, path=self._path)
        if self._start.opening and self._start.opening[-1].speaker == "seeker":
            self._plant(self._start.opening)

    def _plant(self, opening: tuple[Turn, ...]) -> None:
        assert self._domain is not None
        tree = Tree(self._start.scenario, self._domain, opening)
        tree.config, tree.roles = self._config.recorded(), dict(self._roles)
        self._algorithm = self._config.kind(tree, self._config, max_calls=None, can_rejudge=False)
        self._gold = GoldPath(self._algorithm, self._start.gold)

    def _in_order(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """The records that can be replayed now: a deterministic search commits its trials in the order of numbers."""
        if not self._config.deterministic:
            return [record]
        if record.get("type") == "limits":  # what to ask next is of no concern here
            return []
        self._known.setdefault(int(record["number"]), []).append(record)
        found: list[dict[str, Any]] = []
        while self._next in self._known:
            found += self._known.pop(self._next)
            self._next += 1
        return found
