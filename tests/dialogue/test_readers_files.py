import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.dialogue import ESC, READERS, DialogueSet, ReadReport, read_dialogues
from mctsdialog.dialogue.readers._common import Draft, Reader, Utterance
from mctsdialog.errors import ConfigError, DialogueError, DomainError

EXTES = {"scene": "s", "description": "d", "content": [{"User": "a"}, {"AI": "b", "AI Strategy": "Affirmation"}]}
ESCONV = {"dialog": [{"speaker": "usr", "text": "a"}, {"speaker": "sys", "text": "b", "strategy": "Question"}]}
CHAT = {"turns": [{"speaker": "seeker", "text": "a"}, {"speaker": "supporter", "text": "b", "strategy": "Affirmation"}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (" \n ", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\xff\xfe[\x00]\x00", "is not UTF-8 at byte 0"),
        (b"PK\x03\x04\x14\x00\x06\x00\xff", "is a damaged spreadsheet or zip archive"),
        ("[1, 2", "is not JSON"),
        ("nonsense", "is not JSON"),
        ("[]", "the list is empty"),
        ('"text"', "must hold a list of dialogues, not text"),
        ("3", "must hold a list of dialogues, not a number"),
        ("null", "must hold a list of dialogues, not null"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ("[" + "9" * 5000 + "]", "is not JSON: Exceeds the limit"),
        ("[3, 4]", r"cannot be told .*first is: a number.*map="),
        ('[{"foo": 1, "bar": 2}]', r"keys foo, bar\); say which key holds what: map="),
        (json.dumps({"a": [EXTES], "b": [EXTES]}), "several lists of dialogues.* items=a or items=b"),
        (json.dumps({"a": 1}), "cannot be told"),
        (json.dumps([EXTES, ESCONV]), r"different formats \(extes, esconv\)"),
    ],
    ids=range(19),
)
def test_files_that_hold_no_dialogues(write, content, message):
    path = write(content)
    for lenient in (False, True):
        with pytest.raises(DialogueError, match=message) as caught:
            read_dialogues(path, lenient=lenient)
        assert caught.value.file == str(path)


@pytest.mark.parametrize(
    ("name", "message"), [("absent.json", "no such file"), (".", "is a folder"), ("a\0b", "cannot be read")]
)
def test_paths_that_are_no_file(tmp_path, name, message):
    with pytest.raises(DialogueError, match=message):
        read_dialogues(tmp_path / name)


def test_a_byte_order_mark_and_a_text_path(write):
    path = write(b"\xef\xbb\xbf" + json.dumps([EXTES]).encode())
    assert len(read_dialogues(str(path))) == 1


@pytest.mark.parametrize(
    ("item", "domain"), [(EXTES, "esc"), (ESCONV, "esconv"), (CHAT, "esc"), ({"scene": "only"}, "esc")]
)
def test_the_format_is_told_from_the_items(write, item, domain):
    for found in (
        read_dialogues(write([item])),
        read_dialogues(write([item, item], "d.jsonl")),
        read_dialogues(write(item, "one.json")),
    ):
        assert found.domain.name == domain
        assert len(found) in (1, 2)


def test_a_format_can_be_named(write):
    with pytest.raises(DialogueError, match="content"):
        read_dialogues(write([CHAT]), format="extes")
    with pytest.raises(DialogueError, match="unknown key"):
        read_dialogues(write([EXTES]), format="chat")
    with pytest.raises(ConfigError, match="no format 'csv'"):
        read_dialogues(write([CHAT]), format="csv")
    with pytest.raises(DomainError, match="esconv"):
        read_dialogues(write([CHAT]), domain="escon")


def test_items_that_are_not_objects(write):
    path = write([EXTES, 3, None, [EXTES]])
    with pytest.raises(DialogueError, match="item 1: must be an object, not a number"):
        read_dialogues(path)
    found = read_dialogues(path, lenient=True)
    assert (len(found), found.report.malformed) == (1, 3)


@pytest.mark.parametrize(
    ("given", "id"),
    [
        ({"id": "x"}, "x"),
        ({"id": 7}, "7"),
        ({"conv_id": "c"}, "c"),
        ({"dialogue_id": 0}, "0"),
        ({"ID": " x "}, "x"),
        ({"id": ""}, "d-0000"),
        ({"id": None}, "d-0000"),
        ({"id": True}, "true"),
        ({"id": 1.5}, "1.5"),
        ({"id": 1.0}, "1.0"),
        ({"id": ["x"]}, "d-0000"),
        ({"id": float("nan")}, "d-0000"),
        ({"id": 10**400}, str(10**400)),
        ({"id": "", "conv_id": "c"}, "c"),
    ],
)
def test_ids(write, given, id):
    found = read_dialogues(write([{**EXTES, **given}]))
    assert found[0].id == id
    lost = id == "d-0000" and given["id"] not in ("", None)
    assert found.report.keys_ignored == ({"id": 1} if lost else {})


def test_duplicate_ids(write):
    path = write([{**EXTES, "id": "x"}, {**EXTES, "id": "x"}, {**EXTES, "id": "x-2"}])
    with pytest.raises(DialogueError, match="item 1: id: 'x' is the id of an earlier item"):
        read_dialogues(path)
    found = read_dialogues(path, lenient=True)
    assert [dialogue.id for dialogue in found] == ["x", "x-2", "x-2-2"]
    assert found.report.ids_renamed == 2


def test_duplicate_keys_the_last_wins(write):
    path = write('[{"content": [], "content": [{"User": "a"}, {"AI": "x", "AI": "b", "strategy": "Affirmation"}]}]')
    found = read_dialogues(path)
    assert [turn.text for turn in found[0].turns] == ["a", "b"]
    assert found.report.keys_repeated == {"content": 1, "AI": 1}


def test_the_set_is_an_immutable_sequence(write):
    found = read_dialogues(write([EXTES, EXTES, EXTES]))
    assert isinstance(found, DialogueSet)
    assert found[-1].id == "d-0002"
    assert found[1:] == tuple(found)[1:]
    assert found[0] in found
    assert repr(found) == "DialogueSet(3 dialogues of domain 'esc')"
    with pytest.raises(AttributeError):
        found.dialogues = ()
    assert tuple(pickle.loads(pickle.dumps(found))) == tuple(found)


def test_the_report_as_text_and_as_data(write):
    bad = {**EXTES, "content": [{"User": 1}]}
    dropped = {**EXTES, "content": [{"User": "a"}, {"User": "b"}, {"AI": "x"}, None]}
    variant = {**EXTES, "content": [{"User": ""}, {"User": "b"}, {"AI": "x", "strategy": "offer hope"}], "extra": 1}
    report = read_dialogues(write([EXTES, bad, dropped, variant]), lenient=True).report
    text = str(report)
    assert text.startswith("2 of 4 dialogues kept\n")
    for line in (
        "dialogues dropped: 1",
        "  1 x no supporter turn left",
        "supporter turns dropped: 1",
        "seeker turns dropped: 1",
        "  1 x offer hope -> Affirmation",
        "turns merged: 1",
        "empty entries: 1",
        "malformed items skipped: 1",
        "  1 x extra",
    ):
        assert line in text.splitlines()
    assert "content[0].User: must be text, not a number" in text
    assert json.loads(json.dumps(report.to_dict())) == {
        "items": 4,
        "kept": 2,
        "dialogues_dropped": {"no supporter turn left": 1},
        "supporter_turns_dropped": {"no strategy": 1},
        "seeker_turns_dropped": {"no text": 1},
        "labels_normalised": [{"from": "offer hope", "to": "Affirmation", "count": 1}],
        "further_labels": {},
        "turns_merged": 1,
        "empty_entries": 1,
        "keys_ignored": {"extra": 1},
        "keys_repeated": {},
        "ungrouped_rows": {},
        "unknown_labels": {},
        "did_you_mean": {},
        "system_messages": 0,
        "ids_renamed": 0,
        "malformed": 1,
        "messages": list(report.messages),
    }
    assert report.to_dict().keys() == set(ReadReport.__dataclass_fields__)


def test_a_report_stays_readable(write):
    entries = [{"AI": "x", "strategy": f"label {index} " + "y" * 500} for index in range(30)]
    bad = [{**EXTES, "content": 5}] * 50
    report = read_dialogues(write([{**EXTES, "content": entries}, *bad, EXTES]), lenient=True).report
    assert len(report.supporter_turns_dropped) == 30
    assert max(map(len, report.supporter_turns_dropped)) < 100
    assert "  and 20 more" in str(report).splitlines()
    assert (report.malformed, len(report.messages)) == (50, 20)


# whatever a file holds, the only error is DialogueError

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = (
    "User AI AI_Strategy strategy content dialog turns messages speaker role text annotation scene description id "
    "domain source problem_type response conversations from value also rows events agent data utterance interlocutor B4"
)
keys = st.text(max_size=3) | st.sampled_from(KEYS.split())
words = st.sampled_from(
    ["seeker", "supporter", "user", "assistant", "system", "usr", "sys", "Affirmation", "Question", "Others", "esc"]
)
JSON = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=25,
)
formats = st.sampled_from(["auto", *READERS])


def read_or_none(path, **options):
    try:
        return read_dialogues(path, **options)
    except DialogueError as error:
        assert error.file == str(path)  # noqa: PT017  # not every input is an error
        return None


def check_sound(found):
    assert found.report.kept == len(found)
    lost = sum(found.report.dialogues_dropped.values()) + found.report.malformed
    assert found.report.items == len(found) + lost
    assert len({dialogue.id for dialogue in found}) == len(found)
    for dialogue in found:
        assert dialogue.id
        assert dialogue.source
        for before, after in zip(dialogue.turns, dialogue.turns[1:], strict=False):
            assert before.speaker != after.speaker
        for turn in dialogue.turns:
            assert turn.text == turn.text.strip() != ""
            assert (turn.strategy in found.domain.strategies.names) is (turn.speaker == "supporter")
    str(found.report).encode()
    json.dumps(found.report.to_dict())


@given(value=JSON | st.lists(JSON, min_size=1, max_size=4), format=formats, lenient=st.booleans())
def test_any_json(tmp_path_factory, value, format, lenient):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    found = read_or_none(path, format=format, lenient=lenient)
    if found is not None:
        check_sound(found)


@given(content=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")), format=formats)
def test_any_bytes(tmp_path_factory, content, format):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    read_or_none(path, format=format)


text_or_not = st.text(max_size=8) | st.none()
labels = st.sampled_from(["Affirmation", "offer hope", "Others", "Hypnosis", "", None])
entries = st.one_of(
    st.fixed_dictionaries({"User": text_or_not}),
    st.fixed_dictionaries({"AI Strategy": labels, "AI": text_or_not}),
    st.fixed_dictionaries({"AI": st.fixed_dictionaries({"Response": text_or_not, "strategy": labels})}),
    st.fixed_dictionaries({"User": text_or_not, "AI": text_or_not, "strategy": labels}),
    st.just({}),
    st.none(),
)


@given(contents=st.lists(st.lists(entries, max_size=10), min_size=1, max_size=3))
def test_any_irregular_extes_dialogue(tmp_path_factory, contents):
    path = tmp_path_factory.getbasetemp() / "irregular.json"
    path.write_text(json.dumps([{"content": content} for content in contents]), encoding="utf-8")
    found = read_dialogues(path, lenient=True)
    check_sound(found)
    if not found.report.malformed and not found.report.dialogues_dropped:
        said = sum(key in ("User", "AI") for content in contents for entry in content for key in entry or {})
        report = found.report
        lost = sum(report.supporter_turns_dropped.values()) + sum(report.seeker_turns_dropped.values())
        assert said == sum(len(dialogue.turns) for dialogue in found) + lost + report.turns_merged


def test_a_reader_of_ones_own_is_one_object(write, monkeypatch):
    def read(item, context):
        said = [context.text(line, "lines") for line in item["lines"]]
        sides = ("seeker", "supporter")
        labels = ("", "Affirmation")
        turns = [Utterance(sides[at % 2], text, labels[at % 2]) for at, text in enumerate(said)]
        return Draft(tuple(turns), scene=context.text(item.get("about"), "about"))

    monkeypatch.setitem(READERS, "lines", Reader("lines", read, recognises=lambda item: "lines" in item, domain=ESC))
    file = write([{"about": "Work", "lines": ["Hello.", "You can do it.", "Thanks."]}])
    for name in ("auto", "lines"):
        (found,) = read_dialogues(file, format=name)
        assert found.scene == "Work"
        assert [turn.strategy for turn in found.turns] == [None, "Affirmation", None]
    with pytest.raises(ConfigError, match=r"no format .line.; there are .*esconv, chat, extes"):
        read_dialogues(file, format="line")


def test_one_of_a_thing_is_told_in_the_singular():
    one = ReadReport(
        items=1, kept=1, turns_merged=1, empty_entries=1, keys_ignored={"x": 1}, malformed=1, ids_renamed=1
    )
    told = "1 of 1 dialogue kept; 1 malformed; 1 turn merged; 1 empty entry; 1 key ignored; 1 id renamed (-v says more)"
    assert one.in_one_line() == told
    assert (
        ReadReport(items=2, kept=2, empty_entries=2).in_one_line().startswith("2 of 2 dialogues kept; 2 empty entries")
    )
