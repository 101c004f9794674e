"""Reading trees from files and folders, and datasets that were written from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain
from mctsdialog.errors import DataError
from mctsdialog.files import check_numbers, check_width, dotted, first_fault, open_input, parse_json, read_input
from mctsdialog.files._parquet import parquet_rows
from mctsdialog.preferences._config import PreferenceConfig
from mctsdialog.preferences._dataset import DatasetBuilder, PreferenceDataset
from mctsdialog.preferences._record import TreeRecord
from mctsdialog.preferences._reviews import ReviewReport
from mctsdialog.preferences._rows import ALL_FORMATS
from mctsdialog.roles import RoleHealth
from mctsdialog.tree import Tree, load_tree

MANIFEST = "dataset.json"
MANIFEST_SCHEMA = "mctsdialog.preferences"

PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""A split's name, and so its file's."""

_PLACE = re.compile(rf"(?:{'|'.join(ALL_FORMATS)})(?:-[1-9][0-9]*)?/{PART.pattern}\.(?:jsonl|parquet)")


@checked()
def tree_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The tree files that paths name: a file is itself; a folder, its ``*.json``, or those in its ``trees``.

    :param paths: one, or several.
    :raises DataError: for a path that is not there, and a folder without such files.
    """
    files: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if not path.is_dir():
            if not path.exists():
                raise DataError("there is no such file or folder", file=path)
            files.append(path)
            continue
        folder = path / "trees" if (path / "trees").is_dir() else path
        found = sorted(each for each in folder.glob("*.json") if not each.name.startswith("."))
        if not found:
            raise DataError("there are no trees (*.json) in this folder; make them with: mctsdialog search", file=path)
        files += found
    return list(dict.fromkeys(files))


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a dataset's folder.

    :raises DataError: if there is none, or it is not one.
    """
    file = Path(folder) / MANIFEST
    try:
        manifest = parse_json(read_input(file))
    except FileNotFoundError as error:
        reason = f"there is no dataset in this folder: no {MANIFEST}" if Path(folder).is_dir() else "no such folder"
        raise DataError(f"{reason}; write_dataset() makes one", file=folder) from error
    except (OSError, ValueError) as error:
        raise DataError(f"is no manifest of a preference dataset: {error}", file=file) from error
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or manifest.get("schema") != MANIFEST_SCHEMA:
        raise DataError(f'is no manifest of a preference dataset: "schema" must be {MANIFEST_SCHEMA!r}', file=file)
    for name in files:
        if not _PLACE.fullmatch(name):
            message = f"names a file outside its folder, or none of a dataset (FORM/SPLIT.jsonl): {name!r}"
            raise DataError(message, file=file, field="files")
    return dict(manifest)


@checked()
def read_trees(
    paths: str | Path | Iterable[str | Path], config: PreferenceConfig | None = None, *, lenient: bool = False
) -> PreferenceDataset:
    """The preference dataset of all trees that the paths name, see :func:`tree_files`.

    :param paths: one, or several.
    :param lenient: count tree files that cannot be read, in the report, instead of raising.
    :raises DataError: for a file that is no sound tree, and for trees of different domains, naming the file.
    :raises ConfigError: for a theta that is no reward of the trees' judge.
    """
    builder, unreadable = DatasetBuilder(config or PreferenceConfig()), list[str]()
    for file, tree in loaded_trees(tree_files(paths), unreadable if lenient else None):
        add_tree(builder, file, tree)
    return builder.build(unreadable)


@checked()
def load_trees(folder: str | Path | Iterable[str | Path]) -> Iterator[Tree]:
    """The trees in a folder, or in the output folder of a search, in the order of their names; one at a time.

    :param folder: one, or several; a tree file stands for itself.
    :raises DataError: at once for a path that is not there and a folder without trees; on the way for a file that is
        no sound tree, naming it.
    """
    files = tree_files(folder)
    return (tree for _, tree in loaded_trees(files))


def loaded_trees(files: Iterable[Path], unreadable: list[str] | None = None) -> Iterator[tuple[Path, Tree]]:
    """The trees of files, one after another.

    :param unreadable: takes what is wrong with files that cannot be read; None to raise it.
    :raises DataError: for a file that is no sound tree, unless they are collected.
    """
    for file in files:
        try:
            yield file, load_tree(file)
        except DataError as error:
            if unreadable is None:
                raise
            unreadable.append(str(error))


def add_tree(builder: DatasetBuilder, file: Path, tree: Tree, record: TreeRecord | None = None) -> None:
    """Add a tree that came from a file; an error names the file."""
    try:
        builder.add(tree, record)
    except DataError as error:
        raise DataError(error.reason, file=file, item=error.item, field=error.field) from error


@checked()
def load_preferences(folder: str | Path) -> dict[str, PreferenceDataset]:
    """The splits of a dataset that was written with its tree records.

    :returns: data by split, in the order written.
    :raises DataError: for a folder without a manifest or tree records,
        or a row that is not a sound record, naming file, line and field.
    :raises ConfigError: for Parquet files where pyarrow is not installed.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if not manifest.get("complete", True):  # version 0.1 did not say it
        raise DataError("was not written to its end; write the dataset again", file=folder / MANIFEST)
    try:
        domain = Domain.model_validate(manifest.get("domain"))
        config = PreferenceConfig(**dict(manifest.get("config") or {}))
    except ValidationError as error:
        place, message = first_fault(error)
        raise DataError(message, file=folder / MANIFEST, field=f"domain.{dotted(place)}".rstrip(".")) from error
    except (TypeError, ValueError) as error:
        raise DataError(f"is malformed: {error}", file=folder / MANIFEST, field="config") from error
    try:
        health = RoleHealth.from_dict(manifest.get("health", {}))  # version 0.1 had none
    except ValidationError as error:
        place, message = first_fault(error)
        raise DataError(message, file=folder / MANIFEST, field=f"health.{dotted(place)}".rstrip(".")) from error
    reviews = _reviews_of(manifest, folder / MANIFEST)
    places = [Path(name) for name in manifest["files"] if Path(name).parent.as_posix() == "tree"]
    if not places:
        raise DataError("holds no tree records; write them with the form 'tree'", file=folder)
    return {
        place.stem: PreferenceDataset(tuple(_records(folder / place)), domain, config, health=health, reviews=reviews)
        for place in places
    }


def _reviews_of(manifest: dict[str, Any], file: Path) -> ReviewReport | None:
    if "reviews" not in manifest:
        return None
    try:
        return ReviewReport.from_dict(manifest["reviews"])
    except ValidationError as error:
        place, message = first_fault(error)
        raise DataError(message, file=file, field=f"reviews.{dotted(place)}".rstrip(".")) from error


def _records(path: Path) -> Iterator[TreeRecord]:
    for number, row in _numbered_rows(path):
        yield TreeRecord.from_dict(row, file=str(path), item=f"line {number}")


@checked()
def read_rows(path: str | Path) -> Iterator[Any]:
    """The rows of a file of JSON lines (``.jsonl``), JSON (``.json``: a list, or lines) or Parquet (``.parquet``).

    They are JSON values; blank lines are skipped.

    :raises DataError: for another suffix, a file that cannot be read, and a line that is not JSON.
    :raises ConfigError: for Parquet where pyarrow is not installed.
    """
    for number, row in _numbered_rows(Path(path)):
        try:
            check_numbers(row)
        except ValueError as error:
            raise DataError(f"not JSON: {error}", file=path, item=f"line {number}") from error
        yield row


def _numbered_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Rows with their numbers, from 1; blank lines are counted and left out."""
    if not path.exists():
        raise DataError("there is no such file or folder", file=path)
    if path.suffix not in _READERS:
        raise DataError(f"is no file of rows: its name must end in {' or '.join(_READERS)}", file=path)
    try:
        yield from _READERS[path.suffix](path)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with open_input(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    row = parse_json(line, checked=False)
                    check_width(row)
                except ValueError as error:
                    raise DataError(f"not JSON: {error}", file=path, item=f"line {number}") from error
                yield number, row


def _json_file(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a file named ``.json``: a list of them, one alone, or one a line as in JSON lines."""
    try:
        content = parse_json(read_input(path), checked=False)
    except ValueError as error:
        lines = read_input(path).split(b"\n", 2)
        if len(lines) < 2 or not lines[0].lstrip().startswith(b"{") or not lines[1].lstrip().startswith(b"{"):
            raise DataError(f"not JSON: {error}", file=path) from error
        yield from _json_lines(path)
        return
    rows = content if isinstance(content, list) else [content]
    for number, row in enumerate(rows, start=1):
        try:
            check_width(row)
        except ValueError as error:
            raise DataError(f"not JSON: {error}", file=path, item=f"row {number}") from error
        yield number, row


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Any]]]] = {
    ".jsonl": _json_lines,
    ".json": _json_file,
    ".parquet": lambda path: enumerate(parquet_rows(path), start=1),
}
