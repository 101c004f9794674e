"""What a run over a corpus did: while it goes on, and at its end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from mctsdialog._arguments import checked
from mctsdialog.corpus._record import TreeRecord
from mctsdialog.files import write_atomically
from mctsdialog.llm import Budget, Meter, Price, Tally
from mctsdialog.llm.layers._budget import cost, price_of
from mctsdialog.roles import RoleHealth

SCHEMA = "mctsdialog.corpus_summary"
VERSION = 1


@dataclass(frozen=True)
class Counts:
    """What model calls have cost so far.

    :param calls: calls that went out, with the attempts of retried ones.
    :param failures: of them, those that failed.
    :param in_flight: in flight.
    :param prompt_tokens: read, and ``completion_tokens`` written, as they were billed.
    :param money: by the budget's prices; 0 without any.
    :param tallies: calls and tokens by role and model.
    """

    calls: int = 0
    failures: int = 0
    in_flight: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0
    tallies: Mapping[tuple[str, str], Tally] = field(default_factory=dict)

    @classmethod
    @checked()
    def of(cls, meter: Meter | None, budget: Budget | None = None) -> Self:
        """What a meter has counted, and a budget's money."""
        meter = meter or Meter()
        return cls(
            meter.calls,
            meter.failures,
            meter.in_flight,
            meter.usage.prompt_tokens,
            meter.usage.completion_tokens,
            0.0 if budget is None else budget.used.money,
            meter.snapshot().tallies,
        )

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return self._with(other, 1)

    def since(self, before: Counts) -> Counts:
        """What came after ``before``; what is in flight stays."""
        return replace(self._with(before, -1), in_flight=self.in_flight)

    def _with(self, other: Counts, sign: int) -> Counts:
        numbers = [each.name for each in fields(Counts) if each.name != "tallies"]
        sums = {name: getattr(self, name) + sign * getattr(other, name) for name in numbers}
        tallies, none = dict(self.tallies), Tally()
        for key, tally in other.tallies.items():
            before = tallies.get(key, none)
            tallies[key] = before + tally if sign > 0 else before - tally
        return Counts(**sums, tallies={key: tally for key, tally in tallies.items() if tally != none})

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.prompt_tokens + self.completion_tokens

    def parts(self, prices: Mapping[str, Price]) -> list[dict[str, Any]]:
        """The costs by role and model, as JSON data; money is None for a model without a price."""
        rows = []
        for (role, model), tally in sorted(self.tallies.items()):
            price = price_of(prices, model)
            rows.append(
                {
                    "role": role or None,
                    "model": model,
                    "calls": tally.calls,
                    "failed_calls": tally.failures,
                    **asdict(tally.usage),
                    "money": None if price is None else cost(tally.usage, price),
                }
            )
        return rows


@dataclass(frozen=True)
class CorpusProgress:
    """How far a run is.

    :param total: dialogues of this run; None if it is not known.
    :param done: trees finished in this run; ``skipped``, finished before; ``failed``; ``open``, in progress.
    :param seconds: since its beginning.
    :param calls_per_second: of the last seconds.
    :param eta: seconds to its end at the pace so far; None if it cannot be estimated.
    :param counts: what model calls have cost.
    :param open_share: how far the open trees are, 0 to 1 each, added up; 0 if the searches run elsewhere.
    :param ended: the trees that ended since the last time, those that were skipped left out.
    """

    total: int | None
    done: int
    skipped: int
    failed: int
    open: int
    seconds: float
    calls_per_second: float
    eta: float | None
    counts: Counts
    ended: tuple[TreeRecord, ...] = ()
    open_share: float = 0.0

    def write(self, path: Path) -> Path:
        """Write it as JSON, with the time, for others to see how far the run is.

        :raises OSError: if that fails.
        """
        values = {
            "schema": "mctsdialog.corpus_progress",
            "version": 1,
            "time": time.time(),
            **{name: getattr(self, name) for name in ("total", "done", "skipped", "failed", "open", "seconds", "eta")},
            "calls_per_second": self.calls_per_second,
            "calls": self.counts.calls,
            "prompt_tokens": self.counts.prompt_tokens,
            "completion_tokens": self.counts.completion_tokens,
            "money": self.counts.money,
        }
        return write_atomically(path, json.dumps(values) + "\n")


@dataclass
class CorpusReport:
    """What a run found. Numbers of trees, nodes, ends and iterations include what was finished before.

    :param out: the folder.
    :param shard: (i, n), or None.
    :param config: the settings of the searches.
    :param roles: what decides the roles' replies, by domain.
    :param done: trees finished in this run; ``skipped``, finished before; ``stopped``, by a budget; ``not_begun``,
        for which no budget was left.
    :param failures: dialogues that failed.
    :param damaged: files of finished trees that were damaged or missing, and lines of an index that cannot be read.
        Their trees were rebuilt from the journals.
    :param closed: branches of all trees that models or their providers refused for good, by reason, and dialogues whose
        beginning was refused.
    :param best: the tree with the best path, of those in which anything was generated.
    :param health: what the health check of the roles has counted in these trees.
    :param stop_reason: why it ended before all was done; None if it did not.
    :param counts: what model calls have cost in this run.
    :param seconds: of this run.
    :param prices: money per million tokens, by model.
    :param removed: by role, what this run took out of utterances beside labels: "echoes" of the prompt, further "turns"
        and "paragraphs".
    """

    out: Path
    shard: tuple[int, int] | None
    config: Mapping[str, Any]
    roles: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    done: int = 0
    skipped: int = 0
    stopped: int = 0
    not_begun: int = 0
    failures: list[TreeRecord] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    nodes: int = 0
    ends: int = 0
    iterations: int = 0
    closed: Counter[str] = field(default_factory=Counter)
    best: TreeRecord | None = None
    health: RoleHealth = field(default_factory=RoleHealth)
    stop_reason: str | None = None
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    prices: Mapping[str, Price] = field(default_factory=dict)
    removed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def trees(self) -> int:
        """Trees in the folder that this run made or found."""
        return self.done + self.skipped + self.stopped

    @property
    def complete(self) -> bool:
        """Whether every dialogue has its finished tree."""
        return not (self.failures or self.stopped or self.not_begun or self.stop_reason)

    def add(self, record: TreeRecord) -> None:
        """Count what became of a dialogue."""
        self.closed.update(record.closed)
        if record.status == "failed":
            self.failures.append(record)
            return
        name = record.status.replace(" ", "_")
        setattr(self, name, getattr(self, name) + 1)
        self.nodes += record.nodes
        self.ends += record.ends
        self.iterations += record.iterations
        if record.health is not None:
            self.health += record.health
        found = record.best is not None and record.iterations  # else it has its gold dialogue alone
        if record.best is not None and found and (self.best is None or record.best > (self.best.best or 0.0)):
            self.best = record

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "shard": None if self.shard is None else f"{self.shard[0]}/{self.shard[1]}",
            "complete": self.complete,
            "stop_reason": self.stop_reason,
            "trees": {
                "done": self.done,
                "skipped": self.skipped,
                "stopped": self.stopped,
                "not_begun": self.not_begun,
                "failed": len(self.failures),
            },
            "failures": [{"id": each.id, "error": each.error} for each in self.failures],
            "damaged": self.damaged,
            "nodes": self.nodes,
            "ends": self.ends,
            "iterations": self.iterations,
            "closed": dict(self.closed),
            "best": None if self.best is None else {"id": self.best.id, "mean_q": self.best.best},
            "health": self._health(),
            "calls": self.counts.calls,
            "failed_calls": self.counts.failures,
            "prompt_tokens": self.counts.prompt_tokens,
            "completion_tokens": self.counts.completion_tokens,
            "money": self.counts.money,
            "costs": self.counts.parts(self.prices),
            "seconds": round(self.seconds, 3),
            "removed": {role: dict(kinds) for role, kinds in self.removed.items()},
            "config": dict(self.config),
            "roles": {name: dict(each) for name, each in self.roles.items()},
        }

    def _health(self) -> dict[str, Any]:
        noise = self.health.judge_noise
        return {
            "warnings": list(self.health.warnings),
            "judge_noise": None if noise is None else asdict(noise),
            **self.health.to_dict(),
        }

    def write(self, path: Path) -> Path:
        """Write it as JSON.

        :raises OSError: if that fails; an older file is then left as it is.
        """
        return write_atomically(path, json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n")
