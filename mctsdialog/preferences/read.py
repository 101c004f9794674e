"""Reading trees from files and folders, and datasets that were written from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mctsdialog.dialogue import Domain
from mctsdialog.errors import ConfigError, DataError
from mctsdialog.preferences.config import PreferenceConfig
from mctsdialog.preferences.dataset import PreferenceDataset
from mctsdialog.preferences.record import TreeRecord

MANIFEST = "dataset.json"
MANIFEST_SCHEMA = "mctsdialog.preferences"


def tree_files(paths: Iterable[str | Path]) -> list[Path]:
    """The tree files that the paths name: a file is itself; a folder, its ``*.json``, or those in its ``trees``.

    :raises DataError: for a path that is not there, and a folder without such files.
    """
    files: list[Path] = []
    for path in map(Path, paths):
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
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"names a file outside its folder: {name!r}", file=file, field="files")
    return dict(manifest)


def load_preferences(folder: str | Path) -> dict[str, PreferenceDataset]:
    """The splits of a dataset that was written with its tree records.

    :returns: data by split, in the order written.
    :raises DataError: for a folder without a manifest or tree records,
        or a row that is not a sound record, naming file, line and field.
    :raises ConfigError: for Parquet files where pyarrow is not installed.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
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
    try:
        rows = _READERS[path.suffix](path) if path.suffix in _READERS else iter(())
        for number, row in enumerate(rows, start=1):
            yield TreeRecord.from_json(row, file=str(path), item=f"line {number}")
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
