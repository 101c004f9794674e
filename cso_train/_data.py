"""Training rows: preference records in any of their forms, or searched trees, checked before a model is loaded."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cso_train._forms import SIDES, Place, Row, checked_prompt, checked_row, converted, kind_of, plain, replies
from cso_train.errors import TrainDataError
from cso_train.methods import Kind
from mctsdialog import Domain, PreferenceDataset, get_domain
from mctsdialog._arguments import checked
from mctsdialog.files import parse_json, read_input
from mctsdialog.preferences import (
    ALL_FORMATS,
    PreferenceConfig,
    TreeRecord,
    load_preferences,
    parse_reply,
    read_rows,
    read_trees,
)

__all__ = [
    "SIDES",
    "Row",
    "TrainingData",
    "checked_prompt",
    "leaks",
    "load_data",
    "row_key",
    "seed_of",
    "trained_seeds",
]

_ABOUT = ("values", "weights", "policy", "seed", "copy")  # what is known of a row, beside its conversation


@dataclass(frozen=True)
class TrainingData:
    """Rows for a method, and what is known of them.

    :param kind: what the rows are.
    :param rows: ``prompt``/``chosen``/``rejected``, ``prompt``/``completion``/``label``, ``messages``,
        ``prompt``/``completion``, or ``prompt``/``replies``: lists of ``{"role", "content"}``. Pairs and turns have the
        ``values`` of their replies and ``weights`` by confidence, and turns a ``policy``, value by strategy, where the
        data says them; ``seed`` names the seed dialogue.
    :param strategies: names of the domain's strategies; empty where the source does not say.
    :param warnings: what was found and left out or left alone, with counts.
    """

    kind: Kind
    rows: tuple[Row, ...]
    strategies: tuple[str, ...] = ()
    warnings: Mapping[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over the conversations, for the manifest."""
        sha = hashlib.sha256()
        for row in self.rows:
            sha.update(json.dumps(_conversation(row), sort_keys=True).encode() + b"\n")
        return sha.hexdigest()

    def split(self, fraction: float, seed: int) -> tuple[TrainingData, TrainingData]:
        """(training, evaluation) rows, split by seed dialogue.

        :param fraction: of the seed dialogues for evaluation, in (0, 1).
        :raises TrainDataError: if there are fewer than two seed dialogues.
        """
        seeds = sorted(set(map(_seed, self.rows)), key=lambda each: _rank(seed, each))
        if len(seeds) < 2:
            raise TrainDataError(f"{len(seeds)} seed dialogue cannot be split for evaluation; set eval_fraction to 0")
        held = set(seeds[: max(1, min(len(seeds) - 1, round(fraction * len(seeds))))])
        parts = [tuple(row for row in self.rows if (_seed(row) in held) is out) for out in (False, True)]
        return self._with(parts[0]), TrainingData(self.kind, parts[1], self.strategies)

    def shuffled(self, seed: int) -> TrainingData:
        """The same rows in an order of chance."""
        order = list(self.rows)
        random.Random(seed).shuffle(order)  # noqa: S311  # no secret
        return self._with(tuple(order))

    def _with(self, rows: tuple[Row, ...]) -> TrainingData:
        return TrainingData(self.kind, rows, self.strategies, self.warnings)


_TELLING = 40  # characters; a shorter opening ("Hi", "Hello, I need help") is that of many dialogues


def seed_of(row: Row) -> str:
    """What tells the row's seed dialogue from others: how the conversation begins, up to the seeker's first turn.

    An opening of at most 40 characters tells nothing; the supporter's first reply is then a part of it: that of the
    conversation, or the reply that the row is about (the chosen one of a pair).
    """
    messages = [message for message in row.get("prompt") or row["messages"] if message["role"] != "system"]
    first = next((place for place, each in enumerate(messages) if each["role"] == "user"), len(messages) - 1)
    opening = [each["content"].strip() for each in messages[: first + 1]]
    if sum(map(len, opening)) <= _TELLING:
        own = [row[side][0] for side in SIDES if side in row] + [each[0] for each in row.get("replies", ())[:1]]
        said = messages[first + 1 : first + 2] or own
        opening += [each["content"].strip() for each in said[:1]]
    return json.dumps(opening)


def _seed(row: Row) -> str:
    """The row's seed dialogue as the reader found it."""
    return str(row["seed"]) if "seed" in row else seed_of(row)


def leaks(train: TrainingData, test: TrainingData) -> int:
    """How many rows of ``test`` begin as a row of ``train`` does. Rows whose prompts were cut begin as no other."""
    seeds = {seed_of(row) for row in train.rows}
    return sum(seed_of(row) in seeds for row in test.rows)


def trained_seeds(path: str | Path) -> frozenset[str]:
    """The seed dialogues, as :func:`seed_of` tells them, that training on a path would see.

    :param path: a dataset's folder (its training split), a file of rows in any form, or trees.
    :raises TrainDataError: and :class:`mctsdialog.DataError`, as :func:`load_data`.
    """
    source = Path(path)
    kind: Kind = "sft"
    if not source.is_dir() and not _is_tree_source(source):
        kind = _kind_of_file(source)
    rows = load_data([source], kind).rows  # of a tree, the first valid path says it: the gold one, where it is valid
    return frozenset(_seed(row) for row in rows if row.get("label", True))  # a rejected reply begins no dialogue


def _kind_of_file(path: Path) -> Kind:
    """What the first row serves for."""
    first = next(iter(read_rows(path)), None)
    if not isinstance(first, dict) or first.get("schema") == "mctsdialog.tree_record":
        return "sft"
    found = kind_of(plain(first), Place(str(path), "line 1"))
    return "preference" if found == "research" else cast("Kind", found)


@checked()
def load_data(
    paths: str | Path | Sequence[str | Path],
    kind: Kind = "preference",
    *,
    preferences: PreferenceConfig | None = None,
    domain: Domain | str | None = None,
    split: str = "train",
) -> TrainingData:
    """Load rows for training.

    :param paths: one path or several: a dataset's folder, files of rows (JSON lines, a JSON list, or Parquet) in any
        known format, or tree files and folders.
    :param kind: the kind of rows that the method needs. Pairs can be split into unpaired rows; tree records give any.
    :param preferences: how pairs are extracted from trees.
    :param domain: the domain of rows that do not name one. Default: ESC.
    :param split: which split of a dataset's folder.
    :raises TrainDataError: for a row that is malformed or of an unsuitable kind, naming file, line and field, and if no
        row is left.
    :raises mctsdialog.DataError: for files that cannot be read.
    """
    reader = _Reader(kind, get_domain(domain) if isinstance(domain, str) else domain or get_domain("esc"))
    paths = [paths] if isinstance(paths, str | Path) else paths
    sources = [Path(path) for path in paths]
    trees = [path for path in sources if _is_tree_source(path)]
    if trees:
        config = preferences or PreferenceConfig()
        reader.add_dataset(read_trees(trees, config), "trees")
    for path in sources:
        if path not in trees:
            reader.add_path(path, split)
    return reader.data(paths)


def data_paths(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """The data sets that a setting names: a list, or a text with commas that is no path by itself."""
    if isinstance(given, tuple):
        return given
    return (given,) if "," not in given or Path(given).exists() else tuple(each.strip() for each in given.split(","))


def load_sets(paths: Sequence[str], kind: Kind, weights: Sequence[float] | None = None, seed: int = 0) -> TrainingData:
    """The rows of several data sets, each as often as its weight says.

    A row that stands in two of them is of the first. A weight of 2.5 takes each row twice and draws half of them once
    more.

    :param weights: one for each path, 0 or more; None takes every row once.
    :param seed: of the draws.
    :raises TrainDataError: as :func:`load_data`, and for another number of weights.
    """
    if weights is None:
        return load_data(paths, kind)
    if len(weights) != len(paths):
        raise TrainDataError(f"{len(weights)} weights for {len(paths)} data sets", field="data_weights")
    generator, seen = random.Random(seed), set[str]()  # noqa: S311  # no secret
    rows, counts = list[Row](), Counter[str]()
    strategies: tuple[str, ...] = ()
    for path, weight in zip(paths, weights, strict=True):
        data = load_data([path], kind)
        counts.update(data.warnings)
        strategies = strategies or data.strategies
        own = [row for row in data.rows if row_key(row) not in seen]
        seen.update(map(row_key, own))
        counts["rows left out that an earlier data set has"] += len(data.rows) - len(own)
        drawn = generator.sample(range(len(own)), round((weight - int(weight)) * len(own)))
        for copy in range(int(weight) + 1):
            chosen = range(len(own)) if copy < int(weight) else sorted(drawn)
            rows += [{**own[place], "copy": copy} for place in chosen]
    return TrainingData(kind, tuple(rows), strategies, dict(counts))


def _is_tree_source(path: Path) -> bool:
    """Whether a path holds trees; the content of a ``.json`` file says so, for rows are kept in such files too."""
    if path.is_dir():
        return not (path / "dataset.json").is_file()
    if path.suffix != ".json" or not path.is_file():
        return False
    try:
        content = parse_json(read_input(path), checked=False)
    except (OSError, ValueError):
        return False
    rows = {"prompt", "messages", "conversations", "instruction", "replies", *SIDES}
    return isinstance(content, dict) and not (
        rows & content.keys() or content.get("schema") == "mctsdialog.tree_record"
    )


class _Reader:
    def __init__(self, kind: Kind, domain: Domain) -> None:
        self._kind = kind
        self._domain = domain
        self._rows: list[Row] = []
        self._seen: set[str] = set()
        self._same = _Groups()
        self._strategies: tuple[str, ...] = domain.strategies.names
        self._warnings: Counter[str] = Counter()

    def data(self, paths: Sequence[str | Path]) -> TrainingData:
        if not self._rows:
            shown = ", ".join(map(str, paths))
            found = "; ".join(f"{count} {what}" for what, count in self._warnings.items())
            message = f"{shown}: there are no {self._kind} rows to train on" + (f" ({found})" if found else "")
            raise TrainDataError(message)
        rows = tuple({**row, "seed": str(self._same.first(seed_of(row)))} for row in self._rows)
        return TrainingData(self._kind, rows, self._strategies, dict(self._warnings))

    def add_dataset(self, dataset: PreferenceDataset, source: str) -> None:
        """Rows of records."""
        self._domain, self._strategies = dataset.domain, dataset.domain.strategies.names
        for number, row in enumerate(ALL_FORMATS[self._kind].rows(dataset), start=1):
            self._add(row, Place(source, f"row {number}"))

    def add_path(self, path: Path, split: str) -> None:
        """Rows of a dataset's folder or of a file."""
        if path.is_dir():
            splits = load_preferences(path)
            if split not in splits:
                message = f"has no split {split!r}; there are {', '.join(splits)}"
                raise TrainDataError(message, file=path, field="split")
            self.add_dataset(splits[split], str(path))
            return
        records: list[TreeRecord] = []
        for number, row in enumerate(read_rows(path), start=1):
            place = Place(str(path), f"line {number}")
            if not isinstance(row, dict):
                raise place.error(f"must be an object, not {type(row).__name__}")
            if row.get("schema") == "mctsdialog.tree_record":
                records.append(TreeRecord.from_dict(row, file=str(path), item=place.item))
                continue
            for each in converted(row, self._kind, self._domain, place):
                self._add(each, place)
        if records:
            self.add_dataset(PreferenceDataset(tuple(records), self._domain, PreferenceConfig()), str(path))
            self._strategies = records[0].strategies

    def _add(self, row: Row, place: Place) -> None:
        clean = checked_row(row, self._kind, place)
        about = row.get("provenance")
        if isinstance(about, dict) and isinstance(about.get("tree"), str):  # all rows of a tree are of one dialogue
            self._same.join(seed_of(clean), (place.file, about["tree"]))
        key, twin = row_key(clean), row_key(_twin(clean))
        if self._kind == "preference" and key == twin:
            self._warnings["pairs left out whose chosen reply is the rejected one"] += 1
        elif key in self._seen:
            self._warnings["exact duplicates left out"] += 1
        elif twin in self._seen:
            self._warnings[_CONTRADICTIONS[self._kind]] += 1
        else:
            self._seen.add(key)
            self._rows.append(clean)
            self._count_strategies(clean)

    def _count_strategies(self, row: Row) -> None:
        for reply in replies(row):
            if parse_reply(reply["content"], self._domain.strategies)[0] is None:
                self._warnings["replies without a strategy of the domain"] += 1


_CONTRADICTIONS = {
    "preference": "pairs left out that prefer what an earlier pair rejects to what it chooses",
    "unpaired": "replies left out that an earlier row labels otherwise",
    "sft": "",
    "turns": "",
}


class _Groups:
    """Names that stand for the same thing."""

    def __init__(self) -> None:
        self._parents: dict[Hashable, Hashable] = {}

    def first(self, name: Hashable) -> Hashable:
        """The name that stands for a group."""
        while (parent := self._parents.get(name, name)) != name:
            self._parents[name] = self._parents.get(parent, parent)
            name = parent
        return name

    def join(self, seed: str, tree: tuple[str, str]) -> None:
        """Have a seed be of a tree's group, which is named after its first seed."""
        group, own = self.first(tree), self.first(seed)
        if group == tree:
            self._parents[tree] = own
        elif group != own:
            self._parents[own] = group


def row_key(row: Row) -> str:
    """What tells a row from others: its messages and label, but for space around a text."""

    def plain_text(value: Any) -> Any:
        if isinstance(value, list):
            return [
                plain_text(each) if isinstance(each, list) else {**each, "content": each["content"].strip()}
                for each in value
            ]
        return value

    return json.dumps({name: plain_text(value) for name, value in _conversation(row).items()}, sort_keys=True)


def _twin(row: Row) -> Row:
    """The row that says the opposite; a row that has none is its own twin."""
    if "chosen" in row:
        return {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
    return {**row, "label": not row["label"]} if "label" in row else row


def _conversation(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in _ABOUT}


def _rank(seed: int, key: str) -> bytes:
    return hashlib.blake2b(json.dumps([seed, key]).encode()).digest()
