"""What every reader begins with: regular files, JSON of a bounded shape."""

import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cso_train.evaluation._sheets as sheets
import mctsdialog
from cso_train.evaluation._evaluate import join_tables
from cso_train.evaluation._sheets import SheetKey, read_pair_sheet
from mctsdialog.dialogue import load_domain
from mctsdialog.files import MAX_KEYS, open_input, parse_foreign_json, parse_json, read_input, read_settings
from mctsdialog.preferences import load_preferences, read_rows, read_trees

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=VALUES, ascii=st.booleans())
def test_what_json_writes_is_read_back(value, ascii):
    text = json.dumps(value, ensure_ascii=ascii)
    assert parse_foreign_json(text) == value
    assert parse_json(text) == parse_json(b"\xef\xbb\xbf" + text.encode()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": [1, NaN]}', r"^a\[1\] is no number$"),
        ('{"a": {"b": -Infinity}}', "^a.b is a number above 1.8e308$"),
        ("1e999", "^the whole is a number above"),
        ('{"a": 1' + "0" * 400 + "}", "^a is a number above"),
        ("1" * 5000, "out of range"),
        ("[" * 5_000_000, "recursion limit"),
        ('{"a":' * 300 + "1" + "}" * 300, "recursion limit"),
        ('"\\ud800"', "hex escape"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b"\xff\xfe1\x00", "not UTF-8 at byte 0"),
        ("", "EOF"),
        ("1 2", "trailing"),
        ("{" + ", ".join(f'"{key}": 1' for key in range(MAX_KEYS + 1)) + "}", f"an object has {MAX_KEYS + 1} keys"),
    ],
)
def test_what_no_reader_can_use_is_one_short_message(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 200


def test_foreign_json_may_hold_what_python_writes_but_no_endless_nesting():
    assert parse_foreign_json('["\\ud800", Infinity]') == ["\ud800", float("inf")]
    for depth in (201, 500, 100_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_foreign_json('["\\ud800",' + "[" * depth + "]" * depth + "]")


READERS = {
    "tree.json": mctsdialog.load_tree,
    "dialogues.json": mctsdialog.read_dialogues,
    "dialogues.jsonl": lambda path: list(mctsdialog.dialogue.stream_dialogues(path)),
    "domain.json": load_domain,
    "rows.jsonl": lambda path: list(read_rows(path)),
    "rows.parquet": lambda path: list(read_rows(path)),
    "dataset.json": lambda path: load_preferences(path.parent),
    "trees.json": read_trees,
    "settings.yaml": read_settings,
    "evaluation.json": lambda path: join_tables([path]),
    "key.json": lambda path: SheetKey.read(path, "pairwise"),
    "sheet.csv": lambda path: read_pair_sheet(path, sheets.SheetKey("pairwise", "x", {"a": "b"}, (), (), {})),
}


@pytest.mark.parametrize("name", READERS)
def test_pipes_devices_sockets_and_folders_are_one_clear_error_everywhere(tmp_path, make_pipe, name):
    make_pipe(tmp_path / "pipe" / name) if (tmp_path / "pipe").mkdir() is None else None
    (tmp_path / "folder" / name).mkdir(parents=True)
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / name).symlink_to("/dev/zero")
    (tmp_path / "socket").mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(tmp_path / "socket", os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/{name}")
        os.close(here)
        for kind, said in {"pipe": "is a pipe", "device": "is a device", "folder": "folder", "socket": ""}.items():
            path = tmp_path / kind / name
            if kind == "folder" and name == "trees.json":
                continue  # a folder of trees
            with pytest.raises(ValueError, match=f"{kind}.*{said}"):
                READERS[name](path)


def test_standard_input_is_read_where_it_is_a_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[1]")
    with path.open("rb") as file:
        assert read_input(f"/dev/fd/{file.fileno()}") == b"[1]"
    with pytest.raises(OSError, match="no system accepts such a path"):
        open_input("a\0b")
