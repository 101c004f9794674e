"""A preference dataset on disk: JSON lines or Parquet, a manifest, and a card, in the layout that hubs expect.

``OUT/README.md`` (the card), ``OUT/dataset.json`` (the manifest) and ``OUT/FORM/SPLIT.jsonl`` for every form.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

from mctsdialog._arguments import checked
from mctsdialog._moved import renamed_arguments
from mctsdialog.errors import ConfigError, DataError
from mctsdialog.files import atomic_file, folded, inside, remove_file, sweep, write_atomically
from mctsdialog.preferences._card import dataset_card
from mctsdialog.preferences._dataset import PreferenceDataset
from mctsdialog.preferences._read import MANIFEST, MANIFEST_SCHEMA, PART, read_manifest
from mctsdialog.preferences._rows import FORMATS, Row, RowFormat

if TYPE_CHECKING:
    import datasets
    import pyarrow

FileType: TypeAlias = Literal["jsonl", "parquet"]
"""Files as JSON lines, or as Parquet (needs pyarrow)."""

_log = logging.getLogger("mctsdialog.preferences")

_ROWS_AT_ONCE = 1000


@renamed_arguments(licence="license")
@checked()
def write_dataset(
    splits: Mapping[str, PreferenceDataset],
    folder: str | Path,
    *,
    formats: Sequence[RowFormat] = tuple(FORMATS),
    file_type: FileType = "jsonl",
    license: str | None = None,
    subsets: Sequence[int] = (),
) -> dict[str, int]:
    """Write a dataset with its card and manifest. Every file appears whole or not at all.

    Files that an earlier call wrote to the folder and this one does not are removed, so that splits never mix.

    :param splits: data by name of the split ("train", "test").
    :param folder: made where it is absent.
    :param formats: forms to write, see :data:`FORMATS`.
    :param file_type: "jsonl" or "parquet".
    :param license: for the card: an identifier as hubs have them ("cc-by-nc-4.0"); None writes "unknown".
    :param subsets: also write the first split's subsets of so many dialogues (paper section 5.4), as ``FORM-N``.
    :returns: rows by file, relative to the folder.
    :raises ConfigError: for an unknown form, a split whose name is no file name, a subset that is too large, or Parquet
        without pyarrow.
    :raises DataError: for a folder that holds something else, a symbolic link in it, a manifest that names other files
        than a dataset has, or a text that UTF-8 cannot hold.
    :raises OSError: where a file cannot be written.
    """
    if not splits:
        raise ConfigError("there are no splits to write", field="splits")
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError(f"formats are {', '.join(FORMATS)}, not {', '.join(unknown) or 'none'}", field="formats")
    out = Path(folder)
    if file_type not in _WRITERS:
        raise ConfigError(f"file_type must be jsonl or parquet, not {file_type!r}", field="file_type")
    if file_type == "parquet":
        _arrow()
    _check_names(splits)
    sweep(out, MANIFEST, "README.md")
    old = _earlier_files(out)
    parts = {f"{name}/{split}": (name, data) for name in formats for split, data in splits.items()}
    first, data = next(iter(splits.items()))
    for size in subsets:
        smaller = data.subset(size)
        parts |= {f"{name}-{size}/{first}": (name, smaller) for name in formats}
    planned: dict[str, Any] = {name: {} for name in (*old, *(f"{place}.{file_type}" for place in parts))}
    for name in (*planned, MANIFEST, "README.md"):
        inside(out, name)  # before anything is written
    for part in {name.partition("/")[0] for name in planned}:
        sweep(inside(out, part), ".jsonl", ".parquet")
    _write_manifest(out, splits, planned, license, False)
    files = {
        f"{place}.{file_type}": _write_part(inside(out, f"{place}.{file_type}"), name, part, file_type)
        for place, (name, part) in parts.items()
    }
    if set(formats) - {"sft", "tree"} and not any(next(data.pairs(), None) for data in splits.values()):
        _log.warning("%s: there are no pairs in this dataset; %s", out, _why_empty(splits))
    write_atomically(inside(out, "README.md"), dataset_card(splits, {k: v["rows"] for k, v in files.items()}, license))
    for stale in old - set(files):
        remove_file(out, stale)
    _write_manifest(out, splits, files, license, True)
    return {place: entry["rows"] for place, entry in files.items()}


def _why_empty(splits: Mapping[str, PreferenceDataset]) -> str:
    reports = [data.report for data in splits.values() if data.report.trees]
    if not reports:  # parts of a dataset have none
        return "the report of the whole dataset says why: print(dataset.report)"
    return "; ".join(line.strip() for report in reports for line in str(report).splitlines())


def _check_names(splits: Mapping[str, PreferenceDataset]) -> None:
    for name in splits:
        if not PART.fullmatch(name) or name.endswith("."):
            raise ConfigError(f"a split's name is of letters, digits and _, not {name!r}", field="splits")
    if len({folded(name) for name in splits}) < len(splits):
        raise ConfigError("names of splits must differ in more than case", field="splits")


def _earlier_files(out: Path) -> set[str]:
    """Files that an earlier call wrote here."""
    manifest = inside(out, MANIFEST)
    if not manifest.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise DataError("holds other files; choose a new or empty folder", file=out)
        return set()
    return set(read_manifest(out)["files"])


def _write_manifest(
    out: Path, splits: Mapping[str, PreferenceDataset], files: Mapping[str, Any], license: str | None, complete: bool
) -> None:
    """Write the manifest: first of what will be there, so that a killed call can be made again, and at last of all."""
    first = next(iter(splits.values()))
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "version": 1,
        "domain": first.domain.model_dump(mode="json"),
        "config": first.config.model_dump(mode="json"),
        "licence": license,
        "health": first.health.to_dict(),
        **({} if complete else {"complete": False}),
        "files": dict(files),
    }
    write_atomically(inside(out, MANIFEST), json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")


def _write_part(path: Path, name: RowFormat, data: PreferenceDataset, file_type: FileType) -> dict[str, Any]:
    try:
        with atomic_file(path) as file:
            rows = _WRITERS[file_type](file, FORMATS[name].rows(data), FORMATS[name].types)
    except UnicodeEncodeError as error:
        message = "a text holds half of a surrogate pair; repair the trees' encoding"
        raise DataError(message, file=path) from error
    with path.open("rb") as file:
        return {"rows": rows, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _write_jsonl(file: BinaryIO, rows: Iterator[Row], types: Mapping[str, Any]) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        count += 1
    return count


def _write_parquet(file: BinaryIO, rows: Iterator[Row], types: Mapping[str, Any]) -> int:
    pa, pq = _arrow()
    schema, count = arrow_schema(types), 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
            count += len(chunk)
    return count


_WRITERS: dict[str, Callable[[BinaryIO, Iterator[Row], Mapping[str, Any]], int]] = {
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415  # optional
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        message = 'Parquet needs pyarrow: pip install pyarrow, or "mctsdialog[train]"; JSON lines need nothing'
        raise ConfigError(message, field="file_type") from error
    return pa, pq


def arrow_schema(types: Mapping[str, Any]) -> pyarrow.Schema:
    """The Arrow schema of a form's types.

    :raises ConfigError: where pyarrow is not installed.
    """
    pa, _ = _arrow()

    def arrow(kind: Any) -> Any:
        if isinstance(kind, str):
            return {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}[kind]
        if isinstance(kind, list):
            return pa.list_(arrow(kind[0]))
        return pa.struct([pa.field(name, arrow(each)) for name, each in kind.items()])

    return pa.schema([pa.field(name, arrow(kind)) for name, kind in types.items()])


@checked()
def to_dataset(data: PreferenceDataset, form: RowFormat = "preference") -> datasets.Dataset:
    """The rows of a form as a Hugging Face dataset in memory.

    :raises ConfigError: for an unknown form, or where the package ``datasets`` is not installed.
    """
    if form not in FORMATS:
        raise ConfigError(f"formats are {', '.join(FORMATS)}, not {form!r}", field="form")
    try:
        import datasets as hf  # noqa: PLC0415  # optional
    except ImportError as error:
        raise ConfigError('this needs the package datasets: pip install "mctsdialog[train]"', field="form") from error
    pa, _ = _arrow()
    rows = list(FORMATS[form].rows(data))
    return hf.Dataset(pa.Table.from_pylist(rows, schema=arrow_schema(FORMATS[form].types)))
