"""Preference data: folders with a manifest, rows in every form, tree records, Parquet."""

import datetime
import decimal
import json
from pathlib import Path

import mctsdialog
from cso_train._data import leaks, load_data, trained_seeds
from fuzz_parts import mutate
from fuzz_parts.kinds import Kind
from fuzz_parts.seeds import PAIRS
from mctsdialog.preferences import FORMATS

_FORMS = ("preference", "unpaired", "sft", "research", "tree")
_FIELDS = (
    "prompt", "chosen", "rejected", "reject", "completion", "label", "messages", "role", "content", "provenance",
    "nodes", "pairs", "parent", "id", "seeker", "supporter", "strategy", "opening", "seed", "polarity", "value",
    "schema", "version", "strategies",
)  # fmt: skip


# -- manifests -----------------------------------------------------------------------------------------------------


def write_manifest(draw, seeds):
    source = draw.choice(("dataset", "dataset", "parquet"))
    seeds.copy(source, Path("data"))
    manifest = Path("data/dataset.json")
    if draw.random() < 0.15:
        manifest.write_bytes(mutate.mutate_bytes(draw, manifest.read_bytes()))
    elif draw.random() < 0.6:
        value = json.loads(manifest.read_bytes())
        _point_elsewhere(draw, value)
        manifest.write_text(json.dumps(value), "utf-8")
    else:
        fields = ("files", "schema", "version", "config", "domain", "licence", "rows", "sha256", "theta", "templates")
        manifest.write_bytes(mutate.encoded(mutate.mutate_json(draw, json.loads(manifest.read_bytes()), fields)))
    if draw.random() < 0.6:
        _links(draw)
    return {"use": draw.choice(("load", "write", "write", "train"))}


def _point_elsewhere(draw, manifest):
    files = manifest["files"]
    absolute = str(Path("../outside").resolve())  # the folder beside the case's
    for _ in range(draw.choice((1, 2, 3))):
        name = draw.choice((
            "../outside/important.txt", "../../outside/important.txt", f"{absolute}/important.txt",
            "link/important.txt", "link/sub/important.txt", "tree/../../../outside/important.txt",
            "./../outside/train.jsonl", "preference/train.jsonl", "tree/link.jsonl", "link", "", ".", "..",
            "README.md", "dataset.json", "a\0b", "\ud800", "tree/" + "x" * 300, "~/x", "tree\\..\\x",
            "tree/other.jsonl", "tree/dev.jsonl", "important.txt", "/dev/zero", "tree//train.jsonl",
            "tree/./train.jsonl",
        ))  # fmt: skip
        files[name] = draw.choice(({"rows": 1, "sha256": "0" * 64}, None, {}, 1))


def _links(draw):
    outside = Path("../outside").resolve()
    for _ in range(draw.choice((1, 1, 2))):
        kind = draw.randrange(6)
        if kind == 0:
            path, target = Path("data/link"), outside
        elif kind == 1:
            path, target = Path("data", draw.choice(_FORMS)), outside
        elif kind == 2:
            path, target = Path("data", draw.choice(_FORMS), "train.jsonl"), outside / "train.jsonl"
        elif kind == 3:
            path, target = Path("data/README.md"), outside / "important.txt"
        elif kind == 4:
            path, target = Path("data/dataset.json"), outside / "dataset.json"
        else:
            path, target = (
                Path("data", draw.choice(_FORMS), "test.jsonl"),
                Path(draw.choice(("/dev/zero", "/dev/full", "test.jsonl"))),
            )
        _remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_symlink():
            path.symlink_to(target)


def _remove(path):
    if path.parent.is_symlink():
        return
    if path.is_dir() and not path.is_symlink():
        for each in path.iterdir():
            _remove(each)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


_trees = []


def _seed_trees(seeds):
    if not _trees:
        _trees.append(mctsdialog.preferences.read_trees(seeds.folder / "trees", PAIRS))
    return _trees[0]


def read_manifest(seeds, how):
    if how["use"] == "write":
        mctsdialog.write_dataset({"train": _seed_trees(seeds)}, "data", formats=("sft", "tree"))
    elif how["use"] == "load":
        _use(mctsdialog.preferences.load_preferences("data"))
    else:
        load_data(["data"], "preference")


def _use(splits):
    for data in splits.values():
        for form in FORMATS.values():
            list(form.rows(data))
        str(mctsdialog.statistics.dataset_statistics(data))
        mctsdialog.write_dataset({"train": data}, "copy")


def manifest_words(draw, seeds, how):
    if how["use"] == "write":
        seeds.copy("trees", Path("trees"))
        form = draw.choice(([], ["--file-type", "parquet"], ["--format", "sft"]))
        return "mctsdialog", ["preferences", "trees", "--out", "data", "--theta", "0.3", "--min-visits", "1", *form]
    if how["use"] == "load":
        return "mctsdialog", ["stats", "data", "--no-figures", "--out", draw.choice(("statistics", "data"))]
    return "cso_train", ["pairwise", "--data", "data", "--sheet", "sheet"]


# -- rows ----------------------------------------------------------------------------------------------------------


def _changed(draw, line):
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return mutate.mutate_bytes(draw, line)
    return mutate.encoded(mutate.mutate_json(draw, value, _FIELDS))


def write_rows(draw, seeds, forms=_FORMS[:4]):
    form = draw.choice(forms)
    name = f"dataset/{form}/train.jsonl"
    lines = seeds.lines(name)[:4]
    if draw.random() < 0.2:
        data = mutate.mutate_bytes(draw, b"\n".join(lines), [seeds["dataset/sft/train.jsonl"]])
    else:
        data = mutate.mutate_lines(draw, lines, _changed)
    Path("rows.jsonl").write_bytes(data)
    own = {"preference": "preference", "unpaired": "unpaired", "sft": "sft"}.get(form)
    kind = own if own and draw.random() < 0.8 else draw.choice(("preference", "unpaired", "sft"))
    return {"kind": kind, "file": "rows.jsonl"}


def read_rows(seeds, how):
    data = load_data([how["file"]], how["kind"])
    str(data.digest)
    leaks(data, data)
    data.shuffled(1)
    trained_seeds(how["file"])
    if len(data.rows) > 1:
        data.split(0.5, 0)


def rows_words(draw, seeds, how):
    kind = draw.randrange(3)
    if kind == 0:
        Path("chat.jsonl").write_bytes(seeds["chat.jsonl"])
        return "cso_train", ["testset", "chat.jsonl", "--exclude", how["file"], "--out", "test.jsonl", "--least", "1"]
    return "cso_train", [("pairwise", "rate")[kind - 1], "--data", how["file"], "--sheet", "sheet"]


def write_records(draw, seeds):
    how = write_rows(draw, seeds, ("tree",))
    Path("data/tree").mkdir(parents=True)
    Path("rows.jsonl").rename("data/tree/train.jsonl")
    value = seeds.json("dataset/dataset.json")
    value["files"] = {"tree/train.jsonl": value["files"]["tree/train.jsonl"]}
    Path("data/dataset.json").write_text(json.dumps(value), "utf-8")
    return how | {"file": "data/tree/train.jsonl", "use": draw.choice(("load", "train"))}


def read_records(seeds, how):
    if how["use"] == "load":
        _use(mctsdialog.preferences.load_preferences("data"))
    else:
        read_rows(seeds, how)


def records_words(draw, seeds, how):
    if how["use"] == "load":
        return "mctsdialog", ["stats", "data", "--no-figures"]
    return rows_words(draw, seeds, how)


# -- Parquet -------------------------------------------------------------------------------------------------------


def write_parquet(draw, seeds):
    form = draw.choice(_FORMS)
    Path("data", form).mkdir(parents=True)
    path = Path("data", form, "train.parquet")
    seed = seeds[f"parquet/{form}/train.parquet"]
    if draw.random() < 0.5:
        path.write_bytes(mutate.mutate_bytes(draw, seed, [seeds["parquet/sft/train.parquet"]]))
    else:
        path.write_bytes(_table(draw, seeds.lines(f"dataset/{form}/train.jsonl")[:3], form) or seed)
    value = seeds.json("parquet/dataset.json")
    value["files"] = {f"{form}/train.parquet": {"rows": 1, "sha256": ""}}
    Path("data/dataset.json").write_text(json.dumps(value), "utf-8")
    kind = {"preference": "preference", "unpaired": "unpaired", "sft": "sft"}.get(
        form, draw.choice(("preference", "sft"))
    )
    return {"kind": kind, "file": str(path), "use": draw.choice(("load", "train")) if form == "tree" else "train"}


def _table(draw, lines, form):
    """Rows with a column of another type, or mutated rows as Arrow sees them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [json.loads(line) for line in lines]
    if draw.random() < 0.4:
        try:
            rows = [json.loads(mutate.mutate_json(draw, row, _FIELDS)) for row in rows]
            rows = [row for row in rows if isinstance(row, dict)]
        except (ValueError, RecursionError):
            return None
    try:
        table = pa.Table.from_pylist(rows)
        if not table.column_names:
            return None
        name = draw.choice(table.column_names) if draw.random() < 0.8 else "more"
        column = _column(draw, pa, table.num_rows)
        if name in table.column_names:
            if draw.random() < 0.1:
                table = table.append_column(name, column)  # the name twice
            else:
                table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
        sink = pa.BufferOutputStream()
        compression = draw.choice(("none", "snappy", "zstd", "gzip"))
        pq.write_table(table, sink, compression=compression)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, KeyError, RecursionError, NotImplementedError):
        return None
    return sink.getvalue().to_pybytes()


def _column(draw, pa, count):
    kind = draw.randrange(18)
    if kind == 0:
        return pa.array([b"\xff\xfe"] * count, pa.binary())
    if kind == 1:
        return pa.array([datetime.date(2020, 1, 1)] * count)
    if kind == 2:
        return pa.array([datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)] * count)
    if kind == 3:
        return pa.array([decimal.Decimal("1.50")] * count)
    if kind == 4:
        return pa.array([float("nan")] * count)
    if kind == 5:
        return pa.array([datetime.timedelta(1)] * count)
    if kind == 6:
        offsets = pa.array([0, *range(2, 2 * count + 2, 2)], pa.int32())
        return pa.Array.from_buffers(
            pa.string(), count, [None, offsets.buffers()[1], pa.py_buffer(b"\xff\xfe" * count)]
        )
    if kind == 7:
        return pa.array([[("a", 1), ("a", 2)]] * count, pa.map_(pa.string(), pa.int64()))
    if kind == 8:
        return pa.nulls(count)
    if kind == 9:
        return pa.array(["x"] * count).dictionary_encode()
    if kind == 10:
        return pa.array([[b"\x00"]] * count, pa.list_(pa.binary()))
    if kind == 11:
        return pa.array([{"role": b"x", "content": None}] * count)
    if kind == 12:
        return pa.array(["a" * 300_000] * count).dictionary_encode()
    if kind == 13:
        return pa.array([datetime.time(1)] * count)
    if kind == 14:
        return pa.array([2**63] * count, pa.uint64())
    if kind == 15:
        return pa.array([-(2**62)] * count, pa.timestamp("s"))
    if kind == 16:
        return pa.array([[[[[["x"]]]]]] * count)
    value = mutate.hostile(draw)
    return pa.array([value if not isinstance(value, mutate.Raw) else "x"] * count)


def read_parquet(seeds, how):
    if how["use"] == "load":
        _use(mctsdialog.preferences.load_preferences("data"))
    else:
        read_rows(seeds, how)


KINDS = (
    Kind("manifest", write_manifest, read_manifest, manifest_words),
    Kind("rows", write_rows, read_rows, rows_words),
    Kind("records", write_records, read_records, records_words),
    Kind("parquet", write_parquet, read_parquet, records_words),
)
