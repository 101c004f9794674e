"""Preference data that somebody else made: tree records, rows, manifests and Parquet."""

import datetime
import decimal
import io
import json
import random
import struct

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctsdialog
from cso_train import load_data
from cso_train.errors import TrainDataError
from mctsdialog.errors import DataError
from mctsdialog.preferences import FORMATS, PreferenceConfig, PreferenceDataset, TreeRecord, load_preferences, read_rows
from mctsdialog.preferences import write_dataset as write

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def dataset(domain_maker, gold, hash_roles):
    domain = domain_maker()
    config = mctsdialog.SearchConfig(max_iterations=40, min_iterations=40, bias=0.0)

    async def main():
        return await mctsdialog.search(gold, hash_roles(domain.strategies.names).roles(domain), config, domain=domain)

    return PreferenceDataset.from_trees([anyio.run(main)], PreferenceConfig(theta=2.0, min_visits=1))


def used(data):
    """Everything that is done with records."""
    for form in FORMATS.values():
        for row in form.rows(data):
            json.dumps(row, allow_nan=False).encode()
    data.seeds()
    data.subset(1) if list(data.paths()) else None


@settings(max_examples=250)
@given(data=st.data())
def test_a_spoilt_record_is_one_error_or_serves_every_form(dataset, spoilt, data):
    (record,) = dataset.records
    try:
        found = TreeRecord.from_json(spoilt(data, record.to_dict()), file="r.jsonl", item="line 1")
    except DataError as error:
        assert str(error).startswith("r.jsonl: line 1: ")  # noqa: PT017
        assert len(str(error)) < 2000  # noqa: PT017
    else:
        used(PreferenceDataset((found,), dataset.domain, dataset.config))


@settings(max_examples=150)
@given(data=st.data())
def test_a_spoilt_manifest_is_one_error(dataset, spoilt, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("d") / "data"
    write({"train": dataset}, folder, formats=["tree"])
    manifest = folder / "dataset.json"
    manifest.write_text(spoilt(data, json.loads(manifest.read_text())))
    try:
        load_preferences(folder)
    except (DataError, mctsdialog.errors.ConfigError) as error:
        assert str(error).startswith(str(folder))  # noqa: PT017
        assert len(str(error)) < 2500  # noqa: PT017


@settings(max_examples=250)
@given(data=st.data(), form=st.sampled_from(["preference", "unpaired", "sft", "research", "tree"]))
def test_a_spoilt_row_is_one_error_or_trains(dataset, spoilt, tmp_path_factory, data, form):
    row = json.loads(json.dumps(next(FORMATS[form].rows(dataset))))
    path = tmp_path_factory.mktemp("r") / "rows.jsonl"
    path.write_text(spoilt(data, row) + "\n")
    kind = "sft" if form == "sft" else "unpaired" if form == "unpaired" else "preference"
    try:
        load_data([path], kind, domain=dataset.domain)
    except (TrainDataError, DataError) as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        assert len(str(error)) < 2000  # noqa: PT017


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opening": [{"speaker": "seeker", "text": "a", "strategy": None}] * 2}, "opening: turns 0 and 1 are both"),
        ({"opening": [{"speaker": "seeker", "text": "a", "strategy": "Ask"}]}, "opening: turn 0: a seeker turn has no"),
        ({"opening": [{"speaker": "seeker", "text": " ", "strategy": None}]}, "opening: turn 0: the text is blank"),
        ({"seed": [{"speaker": "supporter", "text": " ", "strategy": "Ask"}]}, "seed: turn 0: the text is blank"),
    ],
)
def test_turns_that_are_no_conversation_are_named(dataset, change, message):
    with pytest.raises(DataError, match=message):
        TreeRecord.from_dict({**dataset.records[0].to_dict(), **change})


def parquet(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([b"a"]), "binary"),
        (pa.array([datetime.date(2020, 1, 1)]), "date32"),
        (pa.array([datetime.datetime(2020, 1, 1)]), "timestamp"),
        (pa.array([datetime.time(1, 2)]), "time64"),
        (pa.array([decimal.Decimal("1.5")]), "decimal128"),
        (pa.array([1.5], pa.float16()), "halffloat"),
        (pa.array([{"b": b"a"}]), "binary"),
        (pa.array([[{"b": [b"a"]}]]), "binary"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "map"),
    ],
)
def test_a_column_that_json_has_not_is_named_with_its_type(tmp_path, column, kind):
    path = parquet(tmp_path / "a.parquet", {"fine": ["x"], "prompt": column})
    with pytest.raises(DataError, match=rf"a\.parquet: column 'prompt[.\[\]b]*': is of type {kind}"):
        list(read_rows(path))


def test_columns_of_plain_types_are_read(tmp_path):
    rows = [{"a": "x", "b": 2**62, "c": 1.5, "d": True, "e": None, "f": [{"g": ["y", None]}]}] * 3
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert list(read_rows(tmp_path / "a.parquet")) == rows


def test_texts_that_are_not_utf8_and_numbers_that_are_none_are_named(tmp_path):
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(struct.pack("<ii", 0, 1)), pa.py_buffer(b"\xff")])
    with pytest.raises(DataError, match=r"column 'prompt': cannot be read: .*utf-8"):
        list(read_rows(parquet(tmp_path / "a.parquet", {"prompt": bad})))
    with pytest.raises(DataError, match=r"line 1: not JSON: prompt\[0\] is no number"):
        list(read_rows(parquet(tmp_path / "b.parquet", {"prompt": [[float("nan")]]})))


def test_small_parquet_files_that_stand_for_gigabytes_take_bounded_time_and_memory(tmp_path, bounded):
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 4500, pa.int32()), pa.array(["a" * 1_000_000]))
    nulls, many = pa.nulls(20_000_000, pa.string()), pa.array([0, 20_000_000], pa.int32())
    columns = {
        "text": text,
        "nulls": nulls,
        "list": pa.ListArray.from_arrays(many, nulls),
        "rows": pa.array(["x"] * 1_000_000),
    }
    for name, column in columns.items():
        parquet(tmp_path / f"{name}.parquet", {"prompt": column}, compression="zstd")
    files = sorted(tmp_path.iterdir())
    assert max(file.stat().st_size for file in files) < 100_000
    code = "from mctsdialog.preferences import read_rows\nreturn sum(1 for _ in read_rows(path))"
    said = bounded(code, *files)
    assert all(line.startswith("DataError") and "write it in" in line for line in said)


def deep_schema(depth):
    """A file whose only column lies in so many others: pyarrow overflows its stack on it."""
    element = b"\x48\x01a\x15\x02\x00"  # name, one child
    leaf = b"\x15\x02\x38\x01a\x00"
    schema = element * depth + leaf
    footer = b"\x15\x02\x19\xfc" + varint(depth + 1) + schema + b"\x16\x00\x19\x0c\x00"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize("depth", [101, 5000, 100_000])
def test_columns_nested_without_end_are_refused_before_pyarrow_sees_them(tmp_path, depth):
    path = tmp_path / "a.parquet"
    path.write_bytes(deep_schema(depth))
    with pytest.raises(DataError, match=r"not a sound Parquet file: .*nested more than 100 deep"):
        list(read_rows(path))


def test_damaged_parquet_is_one_error_or_rows(tmp_path, dataset):
    """In this process: an abort of pyarrow's would end the tests."""
    made = io.BytesIO()
    rows = list(FORMATS["preference"].rows(dataset))[:20]
    pq.write_table(pa.Table.from_pylist(rows), made, compression="zstd")
    whole, path, errors, draw = made.getvalue(), tmp_path / "a.parquet", 0, random.Random(0)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3])):
            start = 0 if draw.random() < 0.3 else max(0, len(data) - 3000)
            data[draw.randrange(start, len(data))] = draw.choice([0, 1, 127, 128, 255, draw.randrange(256)])
        path.write_bytes(data[: draw.choice([len(data)] * 9 + [draw.randrange(len(data))])])
        try:
            list(read_rows(path))
        except DataError as error:
            errors += 1
            assert str(error).startswith(str(path))  # noqa: PT017
            assert len(str(error)) < 2000  # noqa: PT017
    assert errors > 100
