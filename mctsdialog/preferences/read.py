"""Reading trees from files and folders, and datasets that were written from them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mctsdialog.dialogue import Domain
from mctsdialog.errors import ConfigError, DataError
from mctsdialog.preferences.config import PreferenceConfig
from mctsdialog.preferences.dataset import DatasetBuilder, PreferenceDataset
from mctsdialog.preferences.record import TreeRecord
from mctsdialog.preferences.rows import FORMATS
from mctsdialog.tree import Tree, load_tree

MANIFEST = "dataset.json"
MANIFEST_SCHEMA = "mctsdialog.preferences"

PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""A split's name, and so its file's."""

_PLACE = re.compile(rf"(?:{'|'.join(FORMATS)})(?:-[1-9][0-9]*)?/{PART.pattern}\.(?:jsonl|parquet)")


def tree_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The tree files that paths name: a file is itself; a folder, its ``*.json``, or those in its ``trees``.

    :param paths: one, or several.
    :raises DataError: for a path that is not there, and a folder without such files.
    """
    files: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if not path.is_dir():
            if not path.is_file():
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

    :raises DataError: where there is none, or it is not one.
    """
    file = Path(folder) / MANIFEST
    try:
        manifest = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"is no manifest of a preference dataset: {error}", file=file) from error
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or manifest.get("schema") != MANIFEST_SCHEMA:
        raise DataError(f'is no manifest of a preference dataset: "schema" must be {MANIFEST_SCHEMA!r}', file=file)
    for name in files:
        if not _PLACE.fullmatch(name):
            message = f"names a file outside its folder, or none of a dataset (FORM/SPLIT.jsonl): {name!r}"
            raise DataError(message, file=file, field="files")
    return dict(manifest)


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
        domain = Domain.model_validate_json(json.dumps(manifest.get("domain")))
        config = PreferenceConfig(**dict(manifest.get("config") or {}))
    except (ValidationError, ConfigError, TypeError, ValueError) as error:
        raise DataError(f"its domain or config is malformed: {error}", file=folder / MANIFEST) from error
    places = [Path(name) for name in manifest["files"] if Path(name).parent.as_posix() == "tree"]
    if not places:
        raise DataError("holds no tree records; write them with the form 'tree'", file=folder)
    return {place.stem: PreferenceDataset(tuple(_records(folder / place)), domain, config) for place in places}


def _records(path: Path) -> Iterator[TreeRecord]:
    for number, row in _raw_rows(path):
        yield TreeRecord.from_json(row, file=str(path), item=f"line {number}")


def read_rows(path: str | Path) -> Iterator[Any]:
    """The rows of a file of JSON lines (``.jsonl``) or Parquet (``.parquet``), as JSON values; blank lines are none.

    :raises DataError: for another suffix, a file that cannot be read, and a line that is not JSON.
    :raises ConfigError: for Parquet where pyarrow is not installed.
    """
    path = Path(path)
    for number, row in _raw_rows(path):
        try:
            yield json.loads(row)
        except (ValueError, RecursionError) as error:
            raise DataError(f"not JSON: {error}", file=path, item=f"line {number}") from error


def _raw_rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """Rows as JSON text with their numbers, from 1; blank lines are counted and left out."""
    if not path.exists():
        raise DataError("there is no such file or folder", file=path)
    if path.suffix not in _READERS:
        raise DataError(f"is no file of rows: its name must end in {' or '.join(_READERS)}", file=path)
    try:
        yield from ((number, row) for number, row in enumerate(_READERS[path.suffix](path), start=1) if row.strip())
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error


def _json_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _parquet_rows(path: Path) -> Iterator[bytes]:
    try:
        import pyarrow as pa  # noqa: PLC0415  # optional
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install pyarrow", field="file_type") from error
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    yield json.dumps(row).encode()
    except pa.ArrowInvalid as error:
        raise DataError(f"is not a sound Parquet file: {error}", file=path) from error


_READERS: dict[str, Callable[[Path], Iterator[bytes]]] = {".jsonl": _json_lines, ".parquet": _parquet_rows}
