"""Files of dialogues and domains that somebody else made: one error or sound data, in bounded time and memory."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctsdialog.dialogue import ESC, load_domain, read_dialogues
from mctsdialog.errors import DialogueError, DomainError

EXTES = {
    "scene": "Work",
    "description": "Too much.",
    "content": [{"User": "I am tired."}, {"AI Strategy": "Emotional Validation", "AI": {"response": "That is hard."}}],
}
ESCONV = {
    "problem_type": "job",
    "situation": "Too much.",
    "dialog": [
        {"speaker": "seeker", "annotation": {}, "content": "I am tired."},
        {"speaker": "supporter", "annotation": {"strategy": "Question"}, "content": "What happened?"},
    ],
}
CHAT = {
    "id": "a",
    "scene": "Work",
    "turns": [
        {"speaker": "seeker", "text": "hi"},
        {"speaker": "supporter", "text": "yes", "strategy": "Emotional Validation"},
    ],
}
MESSAGES = {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}]}


@settings(max_examples=200)
@given(data=st.data(), kind=st.sampled_from([EXTES, ESCONV, CHAT, MESSAGES]), lenient=st.booleans())
def test_a_spoilt_item_is_one_error_or_is_counted(tmp_path_factory, spoilt, data, kind, lenient):
    path = tmp_path_factory.mktemp("d") / data.draw(st.sampled_from(["d.json", "d.jsonl"]), "name")
    text = spoilt(data, kind)
    sound = json.dumps({**kind, "id": "sound"})
    path.write_text(f"[{sound}, {text}]" if path.suffix == ".json" else f"{sound}\n{text}\n")
    try:
        found = read_dialogues(path, lenient=lenient)
    except DialogueError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        assert len(str(error)) < 2000  # noqa: PT017
    else:
        assert found.report.kept + found.report.malformed + sum(found.report.dialogues_dropped.values()) == 2
        [each.model_dump_json().encode() for each in found]


@settings(max_examples=200)
@given(data=st.data())
def test_a_spoilt_domain_is_one_error_or_a_domain(tmp_path_factory, spoilt, data):
    path = tmp_path_factory.mktemp("d") / "d.json"
    path.write_text(spoilt(data, json.loads(ESC.model_dump_json())))
    try:
        load_domain(path).model_dump_json().encode()
    except DomainError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        assert len(str(error)) < 2000  # noqa: PT017


def test_repeated_ids_are_renamed_in_linear_time(tmp_path, bounded):
    path = tmp_path / "d.jsonl"
    path.write_text((json.dumps(CHAT) + "\n") * 20_000)
    code = "from mctsdialog import read_dialogues\nfound = read_dialogues(path, lenient=True)\n"
    (said,) = bounded(
        code + "return [found.report.ids_renamed, found[1].id, found[19_999].id, len(set(map(id, found)))]", path
    )
    assert said == "[19999, 'a-2', 'a-20000', 20000]"


def test_renamed_ids_take_the_first_number_that_is_free(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(
        "".join(json.dumps({**CHAT, "id": name}) + "\n" for name in ["a", "a-3", "a", "a", "a-2", "a", "a-2"])
    )
    found = read_dialogues(path, lenient=True)
    assert [each.id for each in found] == ["a", "a-3", "a-2", "a-4", "a-2-2", "a-5", "a-2-3"]


def test_lenient_reading_gives_up_where_most_of_a_large_file_is_malformed(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(CHAT) + "\n" + "{\n" * 20_000)
    with pytest.raises(DialogueError, match=r"10000 of its first 10001 lines are not JSON; the last: .*line 10001"):
        read_dialogues(path, lenient=True)
    path.write_text(json.dumps(CHAT) + "\n" + '{"turns": 1}\n' * 20_000)
    with pytest.raises(
        DialogueError, match=r"10000 of its first 10001 items are malformed; the last: .*turns: must be"
    ):
        read_dialogues(path, lenient=True)


def test_hostile_files_below_5_mb_take_bounded_time_and_memory(tmp_path, bounded, repeat):
    texts = {
        "empty.json": repeat("[", "{}", "]"),
        "nulls.json": repeat("[", "null", "]"),
        "turns.json": repeat("[", '{"turns": 0}', "]"),
        "open.json": "[" * 4_900_000,
        "number.json": '[{"turns": ' + "1" * 4_900_000 + "}]",
        "speaker.json": '[{"turns": [{"speaker": "' + "x" * 4_900_000 + '"}]}]',
        "lines.jsonl": "{\n" * 2_400_000,
        "domains.jsonl": "".join(f'{{"domain": "{number}", "turns": []}}\n' for number in range(140_000)),
        "keys.jsonl": "".join(f'{{"k{number}": 1, "turns": [{{}}]}}\n' for number in range(150_000)),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    code = "from mctsdialog import read_dialogues\nreturn len(read_dialogues(path, lenient=True))"
    said = bounded(code, *(tmp_path / name for name in texts))
    kept = {"speaker.json": "0", "keys.jsonl": "0"}
    for name, line in zip(texts, said, strict=True):
        assert line == kept.get(name) or line.startswith("DialogueError: "), name


def test_a_set_has_a_bounded_number_of_strategies(tmp_path):
    path = tmp_path / "d.json"
    plain = json.loads(ESC.model_dump_json())
    plain["strategies"] = {"strategies": [{"name": f"s{number}"} for number in range(257)]}
    path.write_text(json.dumps(plain))
    with pytest.raises(DomainError, match=r"strategies.strategies: .*at most 256"):
        load_domain(path)


def test_names_have_a_bounded_length(tmp_path):
    path = tmp_path / "d.json"
    whole = ESC.model_dump_json()
    for place, begin in {
        "strategies": '"strategies":[{"name":"',
        "aliases": '"aliases":{"',
        "seeker": '"seeker":{"name":"',
    }.items():
        assert begin in whole
        path.write_text(whole.replace(begin, begin + "x" * 500))
        with pytest.raises(DomainError, match=rf"{place}.*at most 500 characters"):
            load_domain(path)


def test_hostile_domains_below_5_mb_take_bounded_time_and_memory(tmp_path, bounded, repeat):
    whole = ESC.model_dump_json()
    texts = {
        "strategies": whole.replace('"strategies":[', '"strategies":[' + repeat("", '{"name":1}', ",")),
        "levels": whole.replace('"levels":[', '"levels":[' + repeat("", "1", ",", size=4_000_000), 1),
        "keys": "{" + ", ".join(f'"{number:x}": 1' for number in range(350_000)) + "}",
        "aliases": whole.replace('"aliases":{', '"aliases":{' + ", ".join(f'"{n:x}": 1' for n in range(300_000)) + ","),
        "name": whole.replace('"esc"', '"' + "x" * 4_900_000 + ' "'),
        "deep": "[" * 4_900_000,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    said = bounded("from mctsdialog import load_domain\nreturn load_domain(path)", *(tmp_path / name for name in texts))
    assert [line.partition(":")[0] for line in said] == ["DomainError"] * len(texts)


def packed(kind):
    """A sound file of a kind, as bytes; the test is skipped where its package is not installed."""
    table = "dialogue_id,speaker,text,strategy\nd1,seeker,hi,\nd1,supporter,yes,Affirmation\n"
    buffer = io.BytesIO()
    if kind == "csv":
        return table.encode()
    if kind == "jsonl.gz":
        return gzip.compress(f"{json.dumps(ESCONV)}\n{json.dumps(ESCONV)}\n".encode())
    if kind == "xlsx":
        book = pytest.importorskip("openpyxl").Workbook()
        for row in csv.reader(table.splitlines()):
            book.active.append(row)
        book.save(buffer)
        return buffer.getvalue()
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist([ESCONV, ESCONV]), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["csv", "jsonl.gz", "parquet", "xlsx"])
@given(data=st.data(), lenient=st.booleans())
def test_damaged_files_of_every_container_are_one_error_or_are_read(tmp_path_factory, kind, data, lenient):
    content = bytearray(packed(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        piece = data.draw(st.binary(max_size=4) | st.sampled_from([b'"', b",", b"\n", b"\r", b"null", b"\x00", b"{"]))
        content[at : at + data.draw(st.integers(0, 6))] = piece
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    path.write_bytes(content)
    try:
        found = read_dialogues(path, lenient=lenient, unlabelled=True)
    except DialogueError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        assert len(str(error)) < 2000  # noqa: PT017
    else:
        [each.model_dump_json().encode() for each in found]
