"""Training rows: preference records in any of their forms, or searched trees, checked before a model is loaded."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

from cso_train.errors import TrainDataError
from cso_train.methods import Kind
from mctsdialog import Domain, PreferenceDataset, get_domain
from mctsdialog._arguments import checked
from mctsdialog.preferences import (
    FORMATS,
    PreferenceConfig,
    TreeRecord,
    load_preferences,
    parse_reply,
    read_rows,
    read_trees,
    system_prompt,
)

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class TrainingData:
    """Rows for a method, and what is known of them.

    :param kind: what the rows are.
    :param rows: ``prompt``/``chosen``/``rejected``, ``prompt``/``completion``/``label``, or ``messages``: lists of
        ``{"role", "content"}``. Pairs have ``values``, those of their two replies, where the data says them.
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
            sha.update(_key(row).encode() + b"\n")
        return sha.hexdigest()

    def split(self, fraction: float, seed: int) -> tuple[TrainingData, TrainingData]:
        """(training, evaluation) rows, split by seed dialogue.

        :param fraction: of the seed dialogues for evaluation, in (0, 1).
        :raises TrainDataError: where there are fewer than two seed dialogues.
        """
        seeds = sorted({seed_of(row) for row in self.rows}, key=lambda each: _rank(seed, each))
        if len(seeds) < 2:
            raise TrainDataError(f"{len(seeds)} seed dialogue cannot be split for evaluation; set eval_fraction to 0")
        held = set(seeds[: max(1, min(len(seeds) - 1, round(fraction * len(seeds))))])
        parts = [tuple(row for row in self.rows if (seed_of(row) in held) is out) for out in (False, True)]
        return self._with(parts[0]), TrainingData(self.kind, parts[1], self.strategies)

    def shuffled(self, seed: int) -> TrainingData:
        """The same rows in an order of chance."""
        order = list(self.rows)
        random.Random(seed).shuffle(order)  # noqa: S311  # no secret
        return self._with(tuple(order))

    def _with(self, rows: tuple[Row, ...]) -> TrainingData:
        return TrainingData(self.kind, rows, self.strategies, self.warnings)


def seed_of(row: Row) -> str:
    """What tells the row's seed dialogue from others: how the conversation begins, up to the seeker's first turn."""
    messages = row.get("prompt") or row["messages"]
    opening = []
    for message in messages:
        if message["role"] != "system":
            opening.append(message["content"])
        if message["role"] == "user":
            break
    return json.dumps(opening)


def leaks(train: TrainingData, test: TrainingData) -> int:
    """How many rows of ``test`` begin as a row of ``train`` does."""
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
    return frozenset(seed_of(row) for row in load_data([source], kind).rows)


def _kind_of_file(path: Path) -> Kind:
    """What the first row serves for."""
    first = next(iter(read_rows(path)), None)
    if not isinstance(first, dict) or first.get("schema") == "mctsdialog.tree_record":
        return "sft"
    found = _kind_of(first, _Place(str(path), "line 1"))
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
    """Rows for training from whatever the paths hold.

    :param paths: one, or several: a dataset's folder, files of rows (JSON lines or Parquet) in any form, or tree files
        and folders.
    :param kind: what the method trains on. Pairs serve as unpaired rows, split in two; tree records serve as all.
    :param preferences: how pairs are extracted from trees.
    :param domain: whose strategies count for rows that do not say; ESC by default.
    :param split: of a dataset's folder.
    :raises TrainDataError: for a row that is malformed or of a kind that does not serve, naming file, line and field;
        and where no row is left.
    :raises mctsdialog.DataError: for files that cannot be read.
    """
    reader = _Reader(kind, get_domain(domain) if isinstance(domain, str) else domain or get_domain("esc"))
    paths = [paths] if isinstance(paths, str | Path) else paths
    sources = [Path(path) for path in paths]
    trees = [path for path in sources if _is_tree_source(path)]
    if trees:
        config = preferences or PreferenceConfig()
        reader.add_dataset(read_trees(trees, config))
    for path in sources:
        if path not in trees:
            reader.add_path(path, split)
    return reader.data(paths)


def _is_tree_source(path: Path) -> bool:
    return path.suffix == ".json" or (path.is_dir() and not (path / "dataset.json").is_file())


class _Reader:
    def __init__(self, kind: Kind, domain: Domain) -> None:
        self._kind = kind
        self._domain = domain
        self._rows: list[Row] = []
        self._seen: set[str] = set()
        self._strategies: tuple[str, ...] = domain.strategies.names
        self._warnings: Counter[str] = Counter()

    def data(self, paths: Sequence[str | Path]) -> TrainingData:
        if not self._rows:
            shown = ", ".join(map(str, paths))
            found = "; ".join(f"{count} {what}" for what, count in self._warnings.items())
            message = f"{shown}: there are no {self._kind} rows to train on" + (f" ({found})" if found else "")
            raise TrainDataError(message)
        return TrainingData(self._kind, tuple(self._rows), self._strategies, dict(self._warnings))

    def add_dataset(self, dataset: PreferenceDataset) -> None:
        """Rows of records."""
        self._domain, self._strategies = dataset.domain, dataset.domain.strategies.names
        for number, row in enumerate(FORMATS[self._kind].rows(dataset), start=1):
            self._add(row, _Place("trees", f"row {number}"))

    def add_path(self, path: Path, split: str) -> None:
        """Rows of a dataset's folder or of a file."""
        if path.is_dir():
            splits = load_preferences(path)
            if split not in splits:
                message = f"has no split {split!r}; there are {', '.join(splits)}"
                raise TrainDataError(message, file=path, field="split")
            self.add_dataset(splits[split])
            return
        records: list[TreeRecord] = []
        for number, row in enumerate(read_rows(path), start=1):
            place = _Place(str(path), f"line {number}")
            if not isinstance(row, dict):
                raise place.error(f"must be an object, not {type(row).__name__}")
            if row.get("schema") == "mctsdialog.tree_record":
                records.append(TreeRecord.from_dict(row, file=str(path), item=place.item))
                continue
            for each in self._converted(row, place):
                self._add(each, place)
        if records:
            self.add_dataset(PreferenceDataset(tuple(records), self._domain, PreferenceConfig()))
            self._strategies = records[0].strategies

    def _converted(self, row: Row, place: _Place) -> Iterator[Row]:
        """The row as rows of the kind that is wanted."""
        found = _kind_of(row, place)
        if found == "research":
            row, found = _from_research(row, self._domain, place), "preference"
        if found == self._kind:
            yield row
        elif (found, self._kind) == ("preference", "unpaired"):
            for side, label in (("chosen", True), ("rejected", False)):
                yield {"prompt": row["prompt"], "completion": row[side], "label": label}
        else:
            raise place.error(f"is a row of kind {found}, which does not serve for {self._kind} training")

    def _add(self, row: Row, place: _Place) -> None:
        clean = _CHECKS[self._kind](row, place)
        key = _key(clean)
        if key in self._seen:
            self._warnings["exact duplicates left out"] += 1
        elif self._kind == "preference" and clean["chosen"] == clean["rejected"]:
            self._warnings["pairs left out whose chosen reply is the rejected one"] += 1
        else:
            self._seen.add(key)
            self._rows.append(clean)
            self._count_strategies(clean)

    def _count_strategies(self, row: Row) -> None:
        replies = [row[key][0] for key in ("chosen", "rejected", "completion") if key in row]
        replies += [message for message in row.get("messages", ()) if message["role"] == "assistant"]
        for reply in replies:
            if parse_reply(reply["content"], self._domain.strategies)[0] is None:
                self._warnings["replies without a strategy of the domain"] += 1


@dataclass(frozen=True)
class _Place:
    file: str
    item: str

    def error(self, message: str, field: str | None = None) -> TrainDataError:
        return TrainDataError(message, file=self.file, item=self.item, field=field)


def _kind_of(row: Row, place: _Place) -> str:
    if {"prompt", "chosen", "rejected"} <= row.keys():
        return "preference"
    if {"prompt", "completion", "label"} <= row.keys():
        return "unpaired"
    if {"messages", "chosen", "reject"} <= row.keys():
        return "research"
    if "messages" in row:
        return "sft"
    keys = ", ".join(map(repr, list(row)[:8])) or "none"
    wanted = "prompt/chosen/rejected, prompt/completion/label, messages, or messages/chosen/reject"
    raise place.error(f"is of no known form: it has the keys {keys}; a row has {wanted}")


def _from_research(row: Row, domain: Domain, place: _Place) -> Row:
    messages = _messages(row["messages"], place, "messages")
    if not messages or messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system_prompt(domain)}, *messages]
    sides = {}
    for key, name in (("chosen", "chosen"), ("reject", "rejected")):
        text = row[key]
        if not isinstance(text, str) or not text.strip():
            raise place.error("must be a text that is not empty", key)
        sides[name] = [{"role": "assistant", "content": text}]
    return {"prompt": messages, **sides}


def _messages(value: object, place: _Place, name: str) -> list[dict[str, str]]:
    if not isinstance(value, list):
        raise place.error(f"must be a list of messages, not {type(value).__name__}", name)
    return [_message(each, place, f"{name}[{index}]") for index, each in enumerate(value)]


def _message(value: object, place: _Place, name: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise place.error(f"must be an object with role and content, not {type(value).__name__}", name)
    role, content = value.get("role"), value.get("content")
    if role not in ("system", "user", "assistant"):
        raise place.error(f"must be system, user or assistant, not {role!r:.40}", f"{name}.role")
    if not isinstance(content, str) or not content.strip():
        raise place.error("must be a text that is not empty", f"{name}.content")
    return {"role": role, "content": content}


def _checked_turns(messages: list[dict[str, str]], place: _Place, name: str, last: str) -> list[dict[str, str]]:
    """A system message at the start alone, the sides alternating, ``last`` at the end."""
    for index, message in enumerate(messages):
        if message["role"] == "system" and index:
            raise place.error("a system message may only come first", f"{name}[{index}].role")
        if index and messages[index - 1]["role"] == message["role"]:
            raise place.error(f"follows another message of the {message['role']}", f"{name}[{index}].role")
    if not messages or messages[-1]["role"] != last:
        raise place.error(f"must end with a message of the {last}", name)
    return messages


def _reply(row: Row, key: str, place: _Place) -> list[dict[str, str]]:
    messages = _messages(row[key], place, key)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise place.error("must be one message of the assistant", key)
    return messages


def _prompt(row: Row, place: _Place) -> list[dict[str, str]]:
    return _checked_turns(_messages(row["prompt"], place, "prompt"), place, "prompt", "user")


def checked_prompt(value: object, file: str | Path, item: str) -> list[dict[str, str]]:
    """A conversation that ends with the user: messages of role and content, the sides alternating.

    :raises TrainDataError: for anything else, naming file, item and field.
    """
    return _prompt({"prompt": value}, _Place(str(file), item))


def _check_preference(row: Row, place: _Place) -> Row:
    sides = {key: _reply(row, key, place) for key in ("chosen", "rejected")}
    return {"prompt": _prompt(row, place), **sides, **_values(row)}


def _values(row: Row) -> Row:
    """What the search found the two replies to be worth, where the row's provenance says so."""
    about = row.get("provenance")
    if not isinstance(about, dict):
        return {}
    sides = [about.get(f"{side}_value") for side in ("chosen", "rejected")]
    found = [float(each) for each in sides if isinstance(each, int | float) and math.isfinite(each)]
    return {"values": found} if len(found) == len(sides) else {}


def _check_unpaired(row: Row, place: _Place) -> Row:
    if not isinstance(row["label"], bool):
        raise place.error(f"must be true or false, not {row['label']!r:.40}", "label")
    return {"prompt": _prompt(row, place), "completion": _reply(row, "completion", place), "label": row["label"]}


def _check_sft(row: Row, place: _Place) -> Row:
    messages = _messages(row["messages"], place, "messages")
    return {"messages": _checked_turns(messages, place, "messages", "assistant")}


_CHECKS: dict[Kind, Callable[[Row, _Place], Row]] = {
    "preference": _check_preference,
    "unpaired": _check_unpaired,
    "sft": _check_sft,
}


def _key(row: Row) -> str:
    """What tells a row from others: its messages and label."""
    return json.dumps({name: value for name, value in row.items() if name != "values"}, sort_keys=True)


def _rank(seed: int, key: str) -> bytes:
    return hashlib.blake2b(json.dumps([seed, key]).encode()).digest()
