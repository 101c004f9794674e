"""A preference dataset on disk: JSON lines or Parquet, a manifest, and a card, in the layout that hubs expect.

``OUT/README.md`` (the card), ``OUT/dataset.json`` (the manifest) and ``OUT/FORM/SPLIT.jsonl`` for every form.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

from mctsdialog._arguments import checked
from mctsdialog._moved import renamed_arguments
from mctsdialog.errors import ConfigError, DataError
from mctsdialog.files import atomic_file, folded, inside, remove_file, sweep, write_atomically
from mctsdialog.files._arrow import arrow, arrow_schema, write_parquet
from mctsdialog.preferences._card import dataset_card
from mctsdialog.preferences._config import PreferenceConfig
from mctsdialog.preferences._dataset import PreferenceDataset, PreferenceReport
from mctsdialog.preferences._read import MANIFEST, MANIFEST_SCHEMA, PART, read_manifest
from mctsdialog.preferences._rows import ALL_FORMATS, FORMATS, Row, RowFormat
from mctsdialog.preferences._twins import without_twins

if TYPE_CHECKING:
    import datasets

FileType: TypeAlias = Literal["jsonl", "parquet"]
"""Files as JSON lines, or as Parquet (needs pyarrow)."""

_log = logging.getLogger("mctsdialog.preferences")


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

    Pairs whose two replies are the same, and those that say the opposite of an earlier pair of their split, are left
    out; manifest and card say how many. Files that an earlier call wrote to the folder and this one does not are
    removed, so that splits never mix.

    :param splits: data by name of the split ("train", "test").
    :param folder: made where it is absent.
    :param formats: forms to write, see :data:`ALL_FORMATS`; by default :data:`FORMATS`.
    :param file_type: "jsonl" or "parquet".
    :param license: for the card: an identifier as hubs have them ("cc-by-nc-4.0"); None writes "unknown".
    :param subsets: also write the first split's subsets of so many dialogues (paper section 5.4), as ``FORM-N``.
    :returns: rows by file, relative to the folder.
    :raises ConfigError: for an unknown form, a split whose name is no file name, a subset that is too large, or Parquet
        without pyarrow.
    :raises DataError: for a folder that holds something else, a symbolic link in it, a manifest that names other files
        than a dataset has, or a text that UTF-8 cannot hold.
    :raises OSError: if a file cannot be written.
    """
    if not splits:
        raise ConfigError("there are no splits to write", field="splits")
    unknown = [name for name in formats if name not in ALL_FORMATS]
    if unknown or not formats:
        raise ConfigError(f"formats are {', '.join(ALL_FORMATS)}, not {', '.join(unknown) or 'none'}", field="formats")
    out = Path(folder)
    if file_type not in _WRITERS:
        raise ConfigError(f"file_type must be jsonl or parquet, not {file_type!r}", field="file_type")
    if file_type == "parquet":
        arrow()
    _check_names(splits)
    sweep(out, MANIFEST, "README.md")
    splits, twins = _without_twins(splits)
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
    _write_manifest(out, splits, planned, license, twins, complete=False)
    files = {
        f"{place}.{file_type}": _write_part(inside(out, f"{place}.{file_type}"), name, part, file_type)
        for place, (name, part) in parts.items()
    }
    if set(formats) - {"sft", "tree", "turns"} and not any(next(data.pairs(), None) for data in splits.values()):
        _log.warning("%s: there are no pairs in this dataset; %s", out, _why_empty(splits))
    write_atomically(
        inside(out, "README.md"), dataset_card(splits, {k: v["rows"] for k, v in files.items()}, license, twins)
    )
    for stale in old - set(files):
        remove_file(out, stale)
    _write_manifest(out, splits, files, license, twins, complete=True)
    return {place: entry["rows"] for place, entry in files.items()}


def _without_twins(
    splits: Mapping[str, PreferenceDataset],
) -> tuple[dict[str, PreferenceDataset], dict[str, int]]:
    cleaned = {name: without_twins(data) for name, data in splits.items()}
    left_out: Counter[str] = Counter()
    for _, twins in cleaned.values():
        left_out.update(twins)
    return {name: data for name, (data, _) in cleaned.items()}, dict(left_out)


def _why_empty(splits: Mapping[str, PreferenceDataset]) -> str:
    reports = [data.report for data in splits.values() if data.report.trees]
    if not reports:  # parts of a dataset have none
        return "the report of the whole dataset says why: print(dataset.report)"
    lines = [line.strip() for report in reports for line in str(report).splitlines()]
    return "; ".join([*lines, *_advice(reports, next(iter(splits.values())).config)])


def _advice(reports: Sequence[PreferenceReport], config: PreferenceConfig) -> Iterator[str]:
    """What would let more pairs through."""
    counts: Counter[str] = sum((Counter(report.counts) for report in reports), Counter())
    if counts["confidence too low"]:
        yield f"a min_confidence below {config.min_confidence:g} keeps more of them"
    if counts["margin too small"]:
        yield f"a min_margin below {config.min_margin:g} keeps more of them"
    if not counts["pairs found"] and counts["turns"]:
        yield (
            f"more replies are rejected at a theta above {config.theta:g}, after a longer search, or with rejected "
            "siblings that are generated (--siblings 1, in Python probe_siblings)"
        )
    elif not counts["pairs found"]:
        yield f"more paths are valid at a theta below {config.theta:g}, with fewer min_visits, or after a longer search"


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
    out: Path,
    splits: Mapping[str, PreferenceDataset],
    files: Mapping[str, Any],
    license: str | None,
    twins: Mapping[str, int],
    *,
    complete: bool,
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
        **({} if first.reviews is None else {"reviews": first.reviews.to_dict()}),
        **({"left_out": dict(twins)} if twins else {}),
        **({} if complete else {"complete": False}),
        "files": dict(files),
    }
    write_atomically(inside(out, MANIFEST), json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")


def _write_part(path: Path, name: RowFormat, data: PreferenceDataset, file_type: FileType) -> dict[str, Any]:
    try:
        with atomic_file(path) as file:
            rows = _WRITERS[file_type](file, ALL_FORMATS[name].rows(data), ALL_FORMATS[name].types)
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


_WRITERS: dict[str, Callable[[BinaryIO, Iterator[Row], Mapping[str, Any]], int]] = {
    "jsonl": _write_jsonl,
    "parquet": write_parquet,
}


@checked()
def to_dataset(data: PreferenceDataset, form: RowFormat = "preference") -> datasets.Dataset:
    """The rows of a form as a Hugging Face dataset in memory.

    :raises ConfigError: for an unknown form, or where the package ``datasets`` is not installed.
    """
    if form not in ALL_FORMATS:
        raise ConfigError(f"formats are {', '.join(ALL_FORMATS)}, not {form!r}", field="form")
    try:
        import datasets as hf  # noqa: PLC0415  # optional
    except ImportError as error:
        raise ConfigError('this needs the package datasets: pip install "mctsdialog[train]"', field="form") from error
    pa, _ = arrow()
    rows = list(ALL_FORMATS[form].rows(data))
    return hf.Dataset(pa.Table.from_pylist(rows, schema=arrow_schema(ALL_FORMATS[form].types)))


@checked()
def push_to_hub(folder: str | Path, name: str, *, private: bool = True) -> str:
    """Upload a written dataset to the Hugging Face hub, with its card; it is made where it is absent.

    The key is the one that ``huggingface_hub`` finds (``hf auth login``, or the variable HF_TOKEN).

    :param folder: as :func:`write_dataset` wrote it.
    :param name: of the dataset on the hub, ``owner/name``.
    :param private: whether a new one can be seen by its owner alone. One that is there stays as it is.
    :returns: its address.
    :raises DataError: for a folder that holds no complete dataset, and where the hub refuses it.
    :raises ConfigError: if the package ``huggingface_hub`` is not installed.
    """
    manifest = read_manifest(folder)
    if not manifest.get("complete", True):
        raise DataError("was not written to its end; write the dataset again", file=Path(folder) / MANIFEST)
    try:
        from huggingface_hub import HfApi  # noqa: PLC0415  # optional
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError  # noqa: PLC0415
    except ImportError as error:
        message = 'this needs the package huggingface_hub: pip install "mctsdialog[local]"'
        raise ConfigError(message, field="push_to_hub") from error
    files = [MANIFEST, "README.md", *manifest["files"]]
    try:
        api = HfApi()
        place = api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=place.repo_id,
            folder_path=str(folder),
            repo_type="dataset",
            allow_patterns=files,
            commit_message="Preference data of mctsdialog",
        )
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"could not be uploaded as {name!r}: {reason}", file=folder) from error
    return str(place)
