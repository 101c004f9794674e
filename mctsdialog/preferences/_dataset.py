"""Many trees as one preference dataset: ESC-Pro and its relatives (paper sections 3.2, 5.1 and 5.4)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Dialogue, Domain
from mctsdialog.errors import ConfigError, DataError
from mctsdialog.preferences._config import PreferenceConfig
from mctsdialog.preferences._extract import Extraction
from mctsdialog.preferences._futures import Futures, SearchedTree, searched_tree
from mctsdialog.preferences._policy import calibration_of
from mctsdialog.preferences._prompts import system_prompt
from mctsdialog.preferences._record import PreferencePair, TreeRecord
from mctsdialog.preferences._reviews import (
    Review,
    ReviewReport,
    combined,
    pair_keys,
    report_of,
    reviewed,
    standing,
)
from mctsdialog.roles import RoleHealth, check_roles
from mctsdialog.text import visible_line
from mctsdialog.tree import Tree


@dataclass(frozen=True)
class PreferenceReport:
    """What became of the trees.

    :param trees: how many there were.
    :param without_path: trees without a valid path, by reason.
    :param counts: turns and pairs, and how many pairs were left out, by reason.
    :param closed: nodes that models or their providers refused for good, and so in no pair, by reason.
    :param unreadable: files that a lenient reader skipped, with what was wrong.
    """

    trees: int = 0
    without_path: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    closed: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.trees} trees, {self.trees - sum(self.without_path.values())} with a valid path"]
        lines += [f"  {count} without: {reason}" for reason, count in sorted(self.without_path.items())]
        found = self.counts.get("pairs found", 0)
        lines.append(
            f"turns on valid paths: {self.counts.get('turns', 0)}, "
            f"{self.counts.get('turns without a rejected sibling', 0)} of them without a rejected sibling"
        )
        gone = {name: count for name, count in self.counts.items() if name not in _FOUND and count}
        lines.append(f"pairs: {found - sum(gone.values())} of {found} kept")
        lines += [f"  {count} left out: {name}" for name, count in gone.items()]
        if self.closed:
            reasons = ", ".join(f"{visible_line(name)} {count}" for name, count in sorted(self.closed.items()))
            lines.append(f"closed nodes, in no pair: {sum(self.closed.values())} ({reasons})")
        if self.unreadable:
            lines.append(f"files skipped: {len(self.unreadable)}")
            lines += [f"  {visible_line(each)}" for each in self.unreadable]
        return "\n".join(lines)


_FOUND = ("turns", "turns without a rejected sibling", "pairs found")
"""What is counted beside the pairs that are left out."""


@checked()
@dataclass(frozen=True)
class PreferenceDataset:
    """Preference data extracted from trees of one domain; create it with :meth:`from_trees`.

    :param records: one record per tree; a tree without a valid path has a record without nodes.
    :param domain: the trees' domain.
    :param config: the rules for valid paths and pairs.
    :param report: counts of trees, paths and pairs; empty for splits, subsets and loaded data.
    :param health: counts of the roles' health check over all trees of the data; splits and subsets keep those of the
        whole.
    :param reviews: people's decisions about the pairs, also of the whole data; None if nobody reviewed them.
    """

    records: tuple[TreeRecord, ...]
    domain: Domain
    config: PreferenceConfig
    report: PreferenceReport = PreferenceReport()
    health: RoleHealth = field(default_factory=RoleHealth)
    reviews: ReviewReport | None = None

    def __repr__(self) -> str:
        pairs = sum(len(record.pairs) for record in self.records)
        return f"PreferenceDataset(domain={self.domain.name!r}, trees={len(self.records)}, pairs={pairs})"

    @classmethod
    @checked()
    def from_trees(cls, trees: Iterable[Tree], config: PreferenceConfig | None = None) -> PreferenceDataset:
        """Extract the pairs of all trees, without exact duplicates.

        :param trees: any iterable, read one by one; only records are kept in memory.
        :raises DataError: if there is no tree, or the trees have different domains.
        :raises ConfigError: if theta is outside the range of the judge's rewards.
        """
        builder = DatasetBuilder(config or PreferenceConfig())
        for tree in trees:
            builder.add(tree)
        return builder.build()

    def pairs(self) -> Iterator[PreferencePair]:
        """The pairs (paper eq. 6)."""
        for record in self.records:
            yield from record.expand()

    def paths(self) -> Iterator[tuple[TreeRecord, int]]:
        """The valid paths as (record, id of the end node), without duplicate conversations."""
        seen: set[bytes] = set()
        for record in self.records:
            digests = record.digests()
            for end in record.ends:
                if digests[end] not in seen:
                    seen.add(digests[end])
                    yield record, end

    def dialogues(self) -> Iterator[Dialogue]:
        """The valid paths as dialogues, without duplicates: ESC-Pro-SFT (paper section 5.1)."""
        return (record.dialogue(end) for record, end in self.paths())

    def seeds(self) -> list[Dialogue]:
        """The gold dialogues that the trees started from, each once."""
        seeds: dict[tuple[object, ...], Dialogue] = {}
        for record in self.records:
            dialogue = record.seed_dialogue()
            if dialogue is not None:
                seeds.setdefault((dialogue.scene, dialogue.description, dialogue.turns), dialogue)
        return list(seeds.values())

    @checked()
    def replace(self, records: Sequence[TreeRecord]) -> PreferenceDataset:
        """A dataset with other records and the same domain and config."""
        return PreferenceDataset(tuple(records), self.domain, self.config, health=self.health, reviews=self.reviews)

    @checked()
    def with_reviews(self, reviews: Iterable[Review]) -> PreferenceDataset:
        """Apply people's decisions about the pairs; pairs without a review stay unchanged.

        The last decision of each reviewer counts; with several reviewers, the decision of more than half. Accepted
        pairs stay, and swapped pairs exchange their replies. Edited pairs get the edited words, keep the original in
        their provenance, and lose confidence, Q and N. Pairs that are a tie, rejected, flagged or disputed are left
        out. A dialogue through the chosen reply of a rejected or flagged pair is left out of ``dialogues()``.

        :param reviews: the result of :func:`read_reviews`, or several of them joined.
        :returns: the data with :attr:`reviews`; its report counts the pairs left out.
        """
        decided = standing(reviews)
        together = {pair: combined(list(each.values())) for pair, each in decided.items()}
        records, left_out, here = [], Counter[str](), set[str]()
        for record in self.records:
            here.update(key for _, key in pair_keys(record) if key in decided)
            made, gone = reviewed(record, together)
            records.append(made)
            left_out.update(gone)
        summary = report_of({pair: decided[pair] for pair in decided if pair in here}, len(decided) - len(here))
        report = replace(self.report, counts={**self.report.counts, **left_out}) if self.report.trees else self.report
        return replace(self, records=tuple(records), report=report, reviews=summary)

    @checked()
    def subset(self, dialogues: int) -> PreferenceDataset:
        """Draw this many valid paths by the config's seed, with their pairs (paper section 5.4).

        Smaller subsets are contained in larger ones of the same seed.

        :raises ConfigError: if there are fewer.
        """
        ends = [(record, end) for record in self.records for end in record.ends]
        if not 1 <= dialogues <= len(ends):
            raise ConfigError(f"a subset of {dialogues} dialogues; there are {len(ends)}", field="subset")
        ends.sort(key=lambda item: self._rank("subset", item[0].id, str(item[1])))
        drawn: dict[int, list[int]] = {}
        for record, end in ends[:dialogues]:
            drawn.setdefault(id(record), []).append(end)
        return self.replace([each.restricted(drawn[id(each)]) for each in self.records if id(each) in drawn])

    @checked()
    def split(self, parts: Mapping[str, float]) -> dict[str, PreferenceDataset]:
        """Split by seed dialogue, at random by the config's seed: all trees of a seed dialogue go to the same part.

        Trees share a seed dialogue if they have the same id, or the same scene, description and opening.

        :param parts: fractions by name, above 0, which sum to 1. They apply to the seeds with a valid path, and every
            part gets at least one of them; seeds without a valid path go to the first part.
        :raises ConfigError: for other fractions, or with fewer seeds than parts.
        """
        check_parts(parts)
        ranked = sorted(self._seed_groups(), key=lambda group: self._rank("split", *group[0]))
        groups = [places for _, places in ranked if any(self.records[place].nodes for place in places)]
        if len(groups) < len(parts):
            message = f"{len(groups)} seed dialogues with a valid path cannot be split into {len(parts)} parts"
            raise ConfigError(message, field="split")
        part_of = dict.fromkeys(range(len(self.records)), next(iter(parts)))
        for name, size in _sizes(parts, len(groups)).items():
            part_of |= {place: name for places in groups[:size] for place in places}
            groups = groups[size:]
        return {
            name: self.replace([record for place, record in enumerate(self.records) if part_of[place] == name])
            for name in parts
        }

    def _seed_groups(self) -> list[tuple[tuple[str, ...], list[int]]]:
        """Places of the records by seed dialogue, with a name for each group that no other has."""
        graph: nx.Graph[Any] = nx.Graph()
        for place, record in enumerate(self.records):
            start = json.dumps([record.scenario.scene, record.scenario.description, *map(_turn, record.opening)])
            graph.add_edge(place, ("id", record.id))
            graph.add_edge(place, ("start", start))
        groups = []
        for component in nx.connected_components(graph):
            name = min(key for key in component if not isinstance(key, int))
            groups.append((name, sorted(key for key in component if isinstance(key, int))))
        return groups

    def _rank(self, *parts: str) -> bytes:
        """A number that orders what is drawn from, by seed alone and not by what else is there."""
        return hashlib.blake2b(json.dumps([self.config.seed, *parts]).encode()).digest()


def check_parts(parts: Mapping[str, float]) -> None:
    """See that the fractions of a split are above 0 and sum to 1.

    :raises ConfigError: if they do not.
    """
    if not parts or min(parts.values()) <= 0 or abs(sum(parts.values()) - 1) > 1e-6:
        shown = ", ".join(f"{name}={fraction:g}" for name, fraction in parts.items())
        raise ConfigError(f"fractions of a split must be above 0 and sum to 1, not {shown or 'none'}", field="split")


def _turn(turn: Any) -> list[str]:
    return [turn.speaker, turn.text]


def _sizes(parts: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers near the fractions of ``total``, 1 or more each, that sum to it."""
    sizes = {name: max(1, int(fraction * total)) for name, fraction in parts.items()}

    def shortfall(name: str) -> float:
        return parts[name] * total - sizes[name]

    while sum(sizes.values()) < total:
        sizes[max(sizes, key=shortfall)] += 1
    while sum(sizes.values()) > total:
        sizes[min((name for name in sizes if sizes[name] > 1), key=shortfall)] -= 1
    return sizes


@checked()
class DatasetBuilder:
    """Makes a dataset of trees that come one after another.

    :param config: what counts as a valid path and as a pair.
    """

    def __init__(self, config: PreferenceConfig) -> None:
        self._config = config
        self._records: list[TreeRecord] = []
        self._searched: list[SearchedTree] = []
        self._seen: set[bytes] = set()
        self._counts: Counter[str] = Counter()
        self._without: Counter[str] = Counter()
        self._closed: Counter[str] = Counter()
        self._health = RoleHealth()
        self._first: tuple[Domain, str] | None = None

    @checked()
    def add(self, tree: Tree, record: TreeRecord | None = None) -> TreeRecord:
        """Take in a tree; exact duplicates of earlier trees' pairs go.

        :param record: the tree's record where it is made already (with random replies); its pairs stay as they are.
        :returns: the tree's record.
        :raises DataError: for a tree of another domain than the first.
        :raises ConfigError: for a theta that is no reward of the tree's judge.
        """
        self._check_domain(tree)
        extraction = Extraction(tree, self._config, self._seen)
        if extraction.paths.reason is not None:
            self._without[extraction.paths.reason] += 1
        if record is None:
            record = extraction.record()
            self._counts.update(extraction.counts)
        else:
            self._counts["turns"] += sum(1 for _ in extraction.paths.families())
            self._counts["pairs found"] += len(record.pairs)
        self._closed.update(tree.closed())
        self._records.append(record)
        self._searched.append(searched_tree(tree, calibration_of(tree)))
        self._health += check_roles(tree)
        return record

    def build(self, unreadable: Sequence[str] = ()) -> PreferenceDataset:
        """The dataset of all trees so far.

        With enough turns of calibrated searches, the worth of a turn's strategies (:class:`RecordPolicy`) is fitted to
        all trees; otherwise it is what the turn's own tree found.

        :param unreadable: for the report: files that were skipped, with what was wrong.
        :raises DataError: if there was no tree.
        """
        if self._first is None:
            raise DataError("there are no trees to make a dataset of")
        counts = [dict(each) for each in (self._without, self._counts, self._closed)]
        report = PreferenceReport(len(self._records), counts[0], counts[1], tuple(unreadable), counts[2])
        return PreferenceDataset(tuple(self._fitted()), self._first[0], self._config, report, self._health)

    def _fitted(self) -> Iterator[TreeRecord]:
        if not Futures.enough(self._searched):
            yield from self._records
            return
        futures = Futures(self._searched)
        for record, searched in zip(self._records, self._searched, strict=True):
            policies = (
                futures.policy(policy, searched.turns[policy.parent]) if policy.parent in searched.turns else policy
                for policy in record.policies
            )
            yield replace(record, policies=tuple(policies))

    def _check_domain(self, tree: Tree) -> None:
        if self._first is None:
            self._first = (tree.domain, tree.id)
        domain, first = self._first
        if domain.name == tree.domain.name and system_prompt(domain) == system_prompt(tree.domain):
            return
        other = tree.domain.name if tree.domain.name != domain.name else f"another {domain.name!r}"
        raise DataError(
            f"is of domain {other}, but tree {first!r} is of {domain.name}; make a dataset of each domain apart",
            item=f"tree {tree.id!r}",
            field="domain",
        )
