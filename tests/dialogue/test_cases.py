"""Files as people have them (``../shared/cases``, where it is): what each must give, and more of their kinds."""

import csv
import gzip
import json
import zipfile
from pathlib import Path

import pytest

from mctsdialog.dialogue import ESCONV, KeyMap, get_domain, read_dialogues, stream_dialogues
from mctsdialog.errors import ConfigError, DialogueError

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


@pytest.fixture
def case():
    """The path of a case; the test is skipped where there are none."""

    def find(name):
        if not CASES.is_dir():
            pytest.skip(f"no cases at {CASES}")
        return CASES / name

    return find


def plain(dialogue):
    return [(turn.speaker, turn.text, turn.strategy) for turn in dialogue.turns]


ALL_KEPT = {"dialogues_dropped": {}, "supporter_turns_dropped": {}}
LOST = {"dialogues_dropped": {"no supporter turn left": 1}}


@pytest.mark.parametrize(
    ("name", "kept", "counts"),
    [
        ("11-bare-messages/smile.json", 0, {**LOST, "supporter_turns_dropped": {"no strategy": 1}}),
        ("12-openai-bare/one.json", 1, ALL_KEPT),
        ("12-openai-bare/many.json", 1, ALL_KEPT),
        ("14-augesc-lists/augesc.txt", 0, {"supporter_turns_dropped": {"no strategy": 2}}),
        ("14-augesc-lists/augesc.jsonl", 0, {"supporter_turns_dropped": {"no strategy": 2}}),
        ("15-esconv-plus-scene/in.json", 1, {"keys_ignored": {"experience_type": 1, "emotion_type": 1}}),
        ("16-soulchat/in.json", 0, {"supporter_turns_dropped": {"no strategy": 1}, "keys_ignored": {}}),
        ("16-soulchat/notopic.json", 0, LOST),
        ("18-json-oddities/dupkey.jsonl", 1, {"keys_repeated": {"turns": 1}}),
        ("18-json-oddities/u2028.jsonl", 2, ALL_KEPT),
        ("20-multilabel/joined.json", 1, {"further_labels": {"Reflection of Feelings": 1}}),
        ("20-multilabel/list.json", 1, {"further_labels": {"Others": 1}}),
        ("20-multilabel/number.json", 1, {"supporter_turns_dropped": {"unknown strategy: 2": 1}}),
        ("22-containers/in.csv", 1, ALL_KEPT),
        ("22-containers/in.jsonl.gz", 1, ALL_KEPT),
        ("23-hf-text-column/in.jsonl", 1, ALL_KEPT),
        ("24-null-speaker/annomi.json", 1, {"keys_ignored": {"utterance_id": 2, "annotation": 1, "quality": 1}}),
        ("24-null-speaker/annotation_text.json", 1, {"further_labels": {"Question": 1}}),
        ("24-null-speaker/conversations_sharegpt.json", 0, LOST),
        ("24-null-speaker/dialogue_key.json", 1, ALL_KEPT),
        ("49-other-formats/empathetic.json", 0, LOST),
        ("49-other-formats/extes_assistant.json", 1, ALL_KEPT),
        ("49-other-formats/extes_single.json", 1, ALL_KEPT),
        ("49-other-formats/extes_strategies_many.json", 1, {"further_labels": {"Affirmation": 1}}),
        ("49-other-formats/extes_wrapped.json", 1, ALL_KEPT),
        ("49-other-formats/human_ai.json", 0, LOST),
        ("49-other-formats/multiwoz.json", 0, {"keys_ignored": {"turn_id": 2, "services": 1}}),
        ("49-other-formats/name_key.json", 1, {"keys_ignored": {"name": 1}}),
        ("49-other-formats/parts.json", 1, ALL_KEPT),
        ("49-other-formats/roles_upper.json", 1, ALL_KEPT),
        ("49-other-formats/sharegpt_inner.json", 0, LOST),
    ],
)
def test_what_a_case_gives(case, name, kept, counts):
    for read in (read_dialogues, stream_dialogues):
        report = read(case(name)).report
        assert report.kept == kept
        for field, expected in counts.items():
            assert getattr(report, field) == expected
    unlabelled = read_dialogues(case(name), unlabelled=True)
    assert len(unlabelled) == unlabelled.report.items


@pytest.mark.parametrize(
    ("name", "item", "message"),
    [
        ("13-broken-json/comma_pairs.json", "line 33", "is not JSON.*',' stands; a comma and a second value follow"),
        ("13-broken-json/two_objects.json", "line 34", "is not JSON.*'{' stands; a second value follows the first"),
        ("13-broken-json/single_trailing_comma.json", "line 33", "is not JSON.*remove the comma before it"),
        ("18-json-oddities/bigint.jsonl", "line 1", "is not JSON: Exceeds the limit .*write so long a number as text"),
        ("18-json-oddities/comments.jsonl", "line 1", "is not JSON.*JSON has no comments"),
        ("18-json-oddities/ctrl.json", "line 1", r"is not JSON.*tab or line end inside a text"),
        ("18-json-oddities/nan.jsonl", "line 1", "description: must be text, not a number"),
        ("18-json-oddities/sameid.jsonl", "line 2", "id: '1' is the id of an earlier item"),
        ("22-containers/in.yaml", None, "looks like YAML"),
        ("22-containers/in.parquet", None, "not a sound Parquet file"),
        ("49-other-formats/sharegpt_two.json", 1, "id: 'x' is the id of an earlier item"),
    ],
)
def test_how_a_case_is_refused(case, name, item, message):
    with pytest.raises(DialogueError, match=message) as caught:
        read_dialogues(case(name))
    assert caught.value.item == item


def test_ids_that_are_numbers_and_truth_values(case):
    assert [each.id for each in read_dialogues(case("18-json-oddities/floatid.jsonl"))] == ["1.0", "true"]


def test_esconv_with_a_scene_of_its_own(case):
    (found,) = read_dialogues(case("15-esconv-plus-scene/in.json"))
    assert (found.id, found.scene, found.description) == ("d7", "Job crisis", "The post may be cut next month.")
    assert found.source == "my notes"


# more of each kind, in our own words

SIDES = {"seeker": "I am sad.", "supporter": "I hear you."}
SAID = [("seeker", "I am sad.", None), ("supporter", "I hear you.", "Question")]


def esconv(*dialog, **more):
    return {"dialog": list(dialog), **more}


SAD = {"speaker": "seeker", "content": "I am sad."}
HEARD = {"speaker": "supporter", "content": "I hear you.", "annotation": {"strategy": "Question"}}


def test_every_key_that_is_not_read_is_counted(write):
    turn = {**SAD, "annotation": {"feedback": "5"}, "time": 3}
    reply = {**HEARD, "annotation": {"strategy": "Question", "by": "x"}, "text": "another"}
    found = read_dialogues(write([esconv(turn, reply, scene="s", problem_type="p", buyer="3", empty=None)]))
    assert found[0].scene == "p"
    counted = {"annotation": 1, "time": 1, "annotation.by": 1, "text": 1, "scene": 1, "buyer": 1}
    assert found.report.keys_ignored == counted


def test_text_where_content_is_null(write):
    (found,) = read_dialogues(write([esconv({**SAD, "content": None, "text": "I am sad."}, HEARD)]))
    assert plain(found) == SAID


def test_the_label_of_a_seeker_is_counted(write):
    report = read_dialogues(write([esconv({**SAD, "strategy": "Question"}, HEARD)])).report
    assert report.keys_ignored == {"strategy": 1}


@pytest.mark.parametrize(
    ("speaker", "message"),
    [
        (None, "is null, which names neither side"),
        ("", "is blank, which names neither side"),
        ("Ann", "is 'Ann', which names neither side; say whose it is: seeker=Ann or supporter=Ann in the map"),
        ([], "must be text, not a list"),
    ],
)
def test_a_speaker_that_cannot_be_told(write, speaker, message):
    with pytest.raises(DialogueError, match=rf"dialog\[0\].speaker: {message}"):
        read_dialogues(write([esconv({**SAD, "speaker": speaker})]))
    with pytest.raises(DialogueError, match=r"dialog\[0\].speaker: is missing"):
        read_dialogues(write([esconv({"content": "x"})]))


@pytest.mark.parametrize(
    ("label", "strategy", "also", "further"),
    [
        (["Question", "Information"], "Question", ("Information",), {"Information": 1}),
        (["Question", "Question"], "Question", (), {}),
        (["Sorcery", "Question"], "Question", (), {"Sorcery": 1}),
        ("[Question]", "Question", (), {}),
        ("【Question】", "Question", (), {}),
        ("Question/Information", "Question", ("Information",), {"Information": 1}),
        ("Question + Sorcery", "Question", (), {"Sorcery": 1}),
        ("Question、Information", "Question", ("Information",), {"Information": 1}),
        ("Question and Information", "Question", ("Information",), {"Information": 1}),
        ("Affirmation and Reassurance", "Affirmation and Reassurance", (), {}),
        ("Restatement or Paraphrasing, Question", "Restatement or Paraphrasing", ("Question",), {"Question": 1}),
        ("['Question', 'Information']", "Question", ("Information",), {"Information": 1}),
    ],
)
def test_several_labels_of_a_turn(write, label, strategy, also, further):
    found = read_dialogues(write([esconv(SAD, {**HEARD, "annotation": {"strategy": label}})]))
    assert (found[0].turns[1].strategy, found[0].turns[1].also) == (strategy, also)
    assert found.report.further_labels == further


def test_merged_turns_keep_the_label_of_the_longer_part_in_characters(write):
    parts = [("嗯？", "Question"), ("你已经做得很好了，这么多年的经验不会消失。", "Affirmation and Reassurance")]
    replies = [{"speaker": "支持者", "content": text, "annotation": {"strategy": name}} for text, name in parts]
    found = read_dialogues(write([esconv({"speaker": "求助者", "content": "你好。"}, *replies)]))
    assert found[0].turns[1].text == "嗯？你已经做得很好了，这么多年的经验不会消失。"
    assert (found[0].turns[1].strategy, found[0].turns[1].also) == ("Affirmation and Reassurance", ("Question",))
    assert (found.report.turns_merged, found.report.further_labels) == (1, {"Question": 1})


def messages(*pairs, role="role", content="content"):
    return [{role: speaker, content: text, **more} for speaker, text, *rest in pairs for more in (rest or [{}])]


LABEL = {"strategy": "Question"}
SHAREGPT = messages(("human", "I am sad."), ("gpt", "I hear you.", LABEL), role="from", content="value")
OPENAI = messages(("system", "Be kind."), ("user", "I am sad."), ("assistant", "I hear you.", LABEL))
CRAIGSLIST = {
    "uuid": "c1",
    "scenario": {
        "category": "phone",
        "kbs": [
            {"personal": {"Role": "seller"}, "item": {"Title": "Old phone", "Price": 90}},
            {"personal": {"Role": "buyer"}, "item": {"Title": "Old phone"}},
        ],
    },
    "events": [
        {"agent": 0, "action": "message", "data": "I am sad."},
        {"agent": 1, "action": "message", "data": "I hear you.", "metadata": {"intent": "inquiry", "price": 4}},
        {"agent": 0, "action": "accept", "data": None},
    ],
}
COLUMNS = {
    "agent_info": {"Role": ["seller", "buyer"], "Target": [1.0, 2.0]},
    "agent_turn": [0, 1],
    "utterance": ["I am sad.", "I hear you."],
    "dialogue_acts": {"intent": ["intro", "inquiry"], "price": [-1, -1]},
    "items": {"Category": ["phone"], "Title": ["Old phone"]},
}
ASKED = [SAID[0], ("supporter", "I hear you.", "Ask a question")]
FORMS = {
    "sharegpt": ({"conversations": SHAREGPT}, "esconv", SAID),
    "sharegpt roles": ({"conversations": OPENAI}, "esconv", SAID),
    "sharegpt bare": ([SHAREGPT], "esconv", SAID),
    "openai": ({"messages": OPENAI}, "esconv", SAID),
    "openai bare": ([OPENAI], "esconv", SAID),
    "openai under turns": ({"turns": OPENAI}, "esconv", SAID),
    "text column": ({"text": json.dumps(esconv(SAD, HEARD))}, None, SAID),
    "dialog as text": ({"dialog": json.dumps([SAD, HEARD]), "n": 1}, None, SAID),
    "multiwoz": (
        {
            "turns": messages(
                ("USER", "I am sad."), ("SYSTEM", "I hear you.", LABEL), role="speaker", content="utterance"
            )
        },
        "esconv",
        SAID,
    ),
    "craigslist": (CRAIGSLIST, None, ASKED),
    "craigslist columns": (COLUMNS, None, ASKED),
    "ppdpp bargaining": (
        {
            "item_name": "Old phone",
            "seller_price": 9,
            "buyer_price": 4,
            "dialog": [
                {"speaker": "usr", "text": "I am sad."},
                {"speaker": "sys", "text": "I hear you.", "strategy": "ask a question"},
            ],
        },
        None,
        ASKED,
    ),
    "annomi": (
        {
            "dialog": [
                {"interlocutor": "client", "content": "I am sad."},
                {"interlocutor": "therapist", "content": "I hear you.", "annotation": "question"},
            ]
        },
        None,
        SAID,
    ),
    "extes by other names": (
        {"content": [{"User": "I am sad."}, {"Assistant": "I hear you.", "Assistant Strategy": "Question"}]},
        "esconv",
        SAID,
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("file", ["d.json", "d.jsonl", "one.json", "d.jsonl.gz", "d.txt"])
def test_a_form_is_read_from_any_container(write, name, file):
    value, domain, expected = FORMS[name]
    if file == "one.json":
        path = write(value if isinstance(value, dict) else value[0], file)
    elif file == "d.json":
        path = write([value] if isinstance(value, dict) else value)
    else:
        lines = "".join(json.dumps(value if isinstance(value, dict) else value[0]) + "\n" for _ in range(2))
        lines = lines.replace('"uuid": "c1"', '"uuid": "c2"', 1)
        path = write(gzip.compress(lines.encode(), mtime=0) if file.endswith("gz") else lines, file)
    found = read_dialogues(path, domain=domain)
    assert len(found) == (2 if file in ("d.jsonl", "d.jsonl.gz", "d.txt") else 1)
    assert plain(found[0]) == expected


def test_prices_and_events_of_bargaining_are_counted(write):
    found = read_dialogues(write([CRAIGSLIST]))
    assert (found.domain.name, found[0].id, found[0].scene, found[0].description) == (
        "bargaining",
        "c1",
        "phone",
        "Old phone",
    )
    assert found.report.empty_entries == 1
    assert found.report.keys_ignored["metadata.price"] == 1


P4G = "\n".join(
    [
        ",B2,B4,Turn,Unit,er_label_1,ee_label_1,er_label_2,ee_label_2",
        "0,d1,0,0,Do you know the charity?,source-related-inquiry,,personal-story,",
        "1,d1,1,0,No.,,other,,",
        "2,d2,1,0,Hello,,greeting,,",
        '3,d2,0,1,"It helps, truly.",logical-appeal,,,',
    ]
)


@pytest.mark.parametrize("packed", [False, True])
def test_persuasion_for_good_as_a_table(write, packed):
    path = write(gzip.compress(P4G.encode(), mtime=0), "p4g.csv.gz") if packed else write(P4G, "p4g.csv")
    found = read_dialogues(path)
    assert found.domain.name == "persuasion"
    assert [each.id for each in found] == ["d1", "d2"]
    assert plain(found[1])[1] == ("supporter", "It helps, truly.", "Logical appeal")
    assert found[0].turns[0].also == ("Personal story",)
    assert found.report.further_labels == {"Personal story": 1}


def test_a_spreadsheet(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in csv.reader(P4G.splitlines()):
        book.active.append([int(cell) if cell.isdecimal() else cell or None for cell in row])
    book.save(tmp_path / "p4g.xlsx")
    found = read_dialogues(tmp_path / "p4g.xlsx")
    assert [each.id for each in found] == ["d1", "d2"]
    assert plain(found[1])[1] == ("supporter", "It helps, truly.", "Logical appeal")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("d.json", "[]")
    with pytest.raises(DialogueError, match="is a zip archive; unpack it"):
        read_dialogues(tmp_path / "d.zip")


def test_persuasion_for_good_itself(data):
    pytest.importorskip("openpyxl")
    file = data / "p4g" / "300_dialog.xlsx"
    if not file.is_file():
        pytest.skip(f"no PersuasionForGood at {file}")
    found = read_dialogues(file)
    assert found.domain.name == "persuasion"
    assert found.report.items == 300
    assert len(found) > 250


def test_annomi_as_a_table(write):
    lines = [
        "transcript_id\tmi_quality\ttopic\tinterlocutor\tutterance_text\tmain_therapist_behaviour",
        "7\thigh\tsmoking\ttherapist\tWhat brings you here?\tquestion",
        "7\thigh\tsmoking\tclient\tI want to stop.\tn/a",
    ]
    (found,) = read_dialogues(write("\n".join(lines), "annomi.tsv"))
    assert (found.id, found.scene) == ("7", "smoking")
    assert plain(found) == [("supporter", "What brings you here?", "Question"), ("seeker", "I want to stop.", None)]


def test_a_message_a_line_is_one_conversation(write):
    lines = "".join(json.dumps(each) + "\n" for each in OPENAI)
    (found,) = read_dialogues(write(lines, "d.jsonl"), domain=ESCONV)
    assert plain(found) == SAID


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist([esconv(SAD, HEARD), esconv(SAD, HEARD)])
    parquet.write_table(table, tmp_path / "no suffix")
    for read in (read_dialogues, stream_dialogues):
        found = list(read(tmp_path / "no suffix"))
        assert [plain(each) for each in found] == [SAID, SAID]


def test_lines_of_python_literals(write):
    found = read_dialogues(write(f"{esconv(SAD, HEARD)!r}\n" * 2, "train.txt"))
    assert [plain(each) for each in found] == [SAID, SAID]


@pytest.mark.parametrize(
    "value",
    [
        {"data": [esconv(SAD, HEARD)], "version": "1"},
        {"train": [esconv(SAD, HEARD)], "test": []},
        {"a": esconv(SAD, HEARD), "b": esconv(SAD, HEARD)},
        {"data": {"train": [esconv(SAD, HEARD)]}},
        {"conversations": [esconv(SAD, HEARD)]},
    ],
)
def test_objects_that_wrap_dialogues(write, value):
    found = read_dialogues(write(value))
    assert plain(found[0]) == SAID
    assert found[0].id == ("a" if "a" in value else "d-0000")
    assert found.report.keys_ignored == ({"version (of the file)": 1} if "version" in value else {})


def test_a_map_reads_what_no_form_knows(write):
    talk = [{"who": "A", "says": "I am sad."}, {"who": "B", "says": "I hear you.", "act": "Question"}]
    item = {"key": "k1", "talk": talk}
    text = "turns=talk,speaker=who,text=says|said,strategy=act,id=key,seeker=A,supporter=B"
    with pytest.raises(DialogueError, match=r"keys key, talk\); say which key holds what: map="):
        read_dialogues(write([item]))
    for keys in (text, KeyMap.parse(text)):
        found = read_dialogues(write([item]), map=keys, domain="esconv")
        assert (plain(found[0]), found[0].id, found.report.keys_ignored) == (SAID, "k1", {})
    wrapped = read_dialogues(write({"x": [item], "y": [item]}), map=f"items=y,{text}", domain="esconv")
    assert plain(wrapped[0]) == SAID


def test_a_map_over_a_known_form_names_its_speakers(write):
    talk = [{**SAD, "speaker": "Ann"}, {**HEARD, "speaker": "Bob"}]
    found = read_dialogues(write([esconv(*talk)]), map="seeker=Ann,supporter=Bob")
    assert plain(found[0]) == SAID


def test_a_map_for_a_table(write):
    table = "nr;wer;satz;art\n1;A;I am sad.;\n1;B;I hear you.;Question\n2;A;x;\n2;B;y;Question"
    keys = "speaker=wer,text=satz,strategy=art,dialogue=nr,seeker=A,supporter=B"
    found = read_dialogues(write(table, "d.csv"), map=keys, domain="esconv")
    assert ([each.id for each in found], plain(found[0])) == (["1", "2"], SAID)


@pytest.mark.parametrize("text", ["", "turns", "turn=x", "turns=", "turns=a,turns=b"])
def test_a_malformed_map(write, text):
    with pytest.raises(ConfigError, match="a map is PART=KEY"):
        read_dialogues(write([esconv(SAD, HEARD)]), map=text)


def test_texts_that_alternate(write):
    item = {"lines": ["I am sad.", "I hear you."]}
    found = read_dialogues(write([item]), map="turns=lines,speaker=alternate,text=x", unlabelled=True)
    assert plain(found[0]) == [SAID[0], ("supporter", "I hear you.", None)]


def test_a_transform_sees_every_dialogue(write):
    def mask(dialogue):
        if dialogue.scene == "private":
            return None
        return dialogue.model_copy(update={"description": dialogue.description.replace("Ann", "[name]")})

    path = write([esconv(SAD, HEARD, situation="Ann left."), esconv(SAD, HEARD, problem_type="private")])
    for read in (read_dialogues, stream_dialogues):
        found = read(path, transform=mask)
        assert [each.description for each in found] == ["[name] left."]
        assert found.report.dialogues_dropped == {"left out by the transform": 1}
    with pytest.raises(ConfigError, match="a transform returns a Dialogue or None, not text"):
        read_dialogues(path, transform=lambda dialogue: "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "is a damaged spreadsheet or zip archive"),
        (b"BZh91AY", "is a bzip2 file"),
        (b"\x80\x04\x95", "is a Python pickle, which can run code and is never read"),
        ("我很难过。我该怎么办？".encode("gb18030"), "not UTF-8 at byte 0.*GB18030"),
        (gzip.compress(b"x" * 150_000_000, mtime=0), "has a line of more than"),
        (gzip.compress(b"[" + (b" " * 1000 + b"\n") * 140_000, mtime=0), "unpacks to more than .* of one JSON value"),
        (gzip.compress(b'[{"dialog": []}]', mtime=0)[:-12], "is a damaged gzip file"),
        (gzip.compress(b"", mtime=0), "is empty"),
        ('{"a": 1}\n{"a": }\n', "line 2: is not JSON: Expecting value at column 7, where '}' stands"),
        ('[\n {"a": 1},\n {"a": \'x\', "b": true}\n]', "line 3: is not JSON.*double quotation marks"),
        ('[\n {"a": 1},\n {"a": "x"', "line 3: is not JSON.*the rest was cut off"),
        ("name,text\nx,y,z\n", "line 2: has 3 cells; there are 2 columns"),
        ("scene: Work\ndescription: x\n", "looks like YAML"),
        ('[\n{"a": 1}\n{"b": 2}\n]', "line 3: is not JSON.*a comma is missing before it"),
        ('[{"a": "so "called" x"}]', "line 1: is not JSON.*a quotation mark inside a text"),
        ('[{"a": "so', "line 1: is not JSON.*Unterminated string starting at column 8.*has no end"),
        ("<!DOCTYPE html><html>", "a web page or XML; download the file itself"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", r"a pointer to it \(Git LFS\)"),
        ("Client: I am sad.\nTherapist: I hear you.\n", "a plain transcript; save it as a table"),
        ("a,b\n1,2\n", r"keys a, b\); say which key holds what"),
    ],
)
def test_what_is_refused_says_what_it_is(write, content, message):
    with pytest.raises(DialogueError, match=message):
        read_dialogues(write(content, "d.json"))


def test_a_folder_is_read_file_by_file(tmp_path, write):
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    write([esconv(SAD, HEARD)], "set/data/b.json")
    write([esconv(SAD, HEARD, id="x"), esconv(SAD, {})], "set/data/a.jsonl")
    write({"features": []}, "set/dataset_info.json")
    with pytest.raises(DialogueError, match=r"data/a\.jsonl: line 2: dialog\[1\].speaker: is missing"):
        read_dialogues(tmp_path / "set")
    found = read_dialogues(tmp_path / "set", lenient=True)
    assert [each.id for each in found] == ["x", "set-0002"]
    (folder / "b.json").write_text("[")
    with pytest.raises(DialogueError, match=r"b\.json: line 1: is not JSON"):
        read_dialogues(tmp_path / "set", lenient=True)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(DialogueError, match="is a folder without files of dialogues"):
        read_dialogues(tmp_path / "set")


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.parquet", "d.gz", "d"])
@pytest.mark.parametrize("indent", [None, 1])
def test_the_name_of_a_file_does_not_count(tmp_path, name, indent):
    path = tmp_path / name
    path.write_text(json.dumps([esconv(SAD, HEARD)] * 2, indent=indent))
    assert [plain(each) for each in read_dialogues(path)] == [SAID, SAID]


@pytest.mark.parametrize("head", ["Dialogue_ID,Speaker,Text,Strategy", "dialogue id,SPEAKER,Text ,strategy"])
def test_columns_in_any_letter_case(write, head):
    found = read_dialogues(
        write(f"{head}\nd1,Seeker:,I am sad.,\nd1,Supporter,I hear you.,Question\n", "d.csv"), domain=ESCONV
    )
    assert (plain(found[0]), found[0].id) == (SAID, "d1")


def test_keys_in_any_letter_case(write):
    item = {"Conversations": [{"From": "human", "Value": "I am sad."}, {"From": "gpt", "Value": "I hear you."}]}
    assert plain(read_dialogues(write([item]), unlabelled=True)[0])[1] == ("supporter", "I hear you.", None)


EXCHANGES = [
    {"conversation": [{"system": "Be kind.", "input": "I am sad.", "output": "I hear you.", "strategy": "Question"}]},
    {"instruction": "I am sad.", "input": "", "output": "I hear you.", "history": []},
    {"prompt": "b", "response": "c", "history": [["I am sad.", "I hear you."]]},
]


@pytest.mark.parametrize("item", EXCHANGES, ids=["xtuner", "alpaca", "chatglm"])
def test_what_one_side_says_with_the_answer(write, item):
    found = read_dialogues(write([item]), domain=ESCONV, unlabelled=True)
    assert [each[:2] for each in plain(found[0])[:2]] == [each[:2] for each in SAID]
    assert found.report.system_messages == ("conversation" in item)
    assert found.report.keys_ignored == {}


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference pairs, not dialogues"),
        ({"conversations": [{"from": "human", "value": "a"}], "chosen": {}, "rejected": {}}, "preference pairs, not"),
        ({"instruction": "a", "input": "", "output": "b"}, r"instructions with answers \(Alpaca\), not dialogues"),
        ({"question": "a", "answer": "b"}, "questions with answers"),
        ({"schema": "mctsdialog.tree", "nodes": []}, "conversation trees of mctsdialog"),
    ],
)
def test_data_of_another_kind_is_named(write, item, what):
    with pytest.raises(DialogueError, match=what):
        read_dialogues(write([item]))


def test_columns_that_json_has_not_are_counted(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"dialog": [[SAD], [SAD]], "when": pa.array([1, 2], pa.timestamp("s"))})
    pq.write_table(table, tmp_path / "d.parquet")
    found = read_dialogues(tmp_path / "d.parquet", unlabelled=True)
    assert found.report.keys_ignored == {"when": 2}


def test_several_labels_under_the_keys_of_multiesc(write):
    reply = {
        "speaker": "sys",
        "text": "I hear you.",
        "strategy": "Question",
        "all_strategy": ["Question", "Information"],
    }
    found = read_dialogues(write([esconv(SAD, reply)]))
    assert (found[0].turns[1].strategy, found[0].turns[1].also) == ("Question", ("Information",))


def test_chinese_dialogues_and_labels(case):
    (found,) = read_dialogues(case("17-chinese-esconv/zh_labels.json"))
    assert found.turns[0].text == "你好。我的岗位可能被裁。"
    assert found.turns[1].text == "嗯？你已经做得很好了，这么多年的经验不会消失，换一个地方也会有人看重你。"
    assert found.turns[1].strategy == "肯定与安慰"
    (found,) = read_dialogues(case("17-chinese-esconv/zh_speakers.json"))
    assert plain(found)[1] == ("supporter", "什么时候知道结果？", "提问")
    assert get_domain("esconv-zh").strategies.resolve("Question") == "提问"


def test_messages_of_tools_are_counted(write):
    talk = [*OPENAI[:2], {"role": "tool", "content": "17 degrees"}, OPENAI[2]]
    found = read_dialogues(write([{"messages": talk}]), domain=ESCONV)
    assert (plain(found[0]), found.report.system_messages) == (SAID, 2)


def test_turns_under_another_key(write):
    talk = [
        {"speaker": "client", "utterance": "I am sad."},
        {"speaker": "counselor", "utterance": "I hear you.", "label": "Question"},
    ]
    found = read_dialogues(write([{"utterances": talk}, {"transcript": talk}]), domain=ESCONV)
    assert [plain(each) for each in found] == [SAID, SAID]
