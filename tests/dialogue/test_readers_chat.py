import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.dialogue import (
    ESC,
    ESCONV,
    PERSUASION,
    Dialogue,
    Turn,
    read_dialogues,
    sample_dialogues,
    write_dialogues,
)
from mctsdialog.errors import DialogueError

GOOD = [
    {"speaker": "seeker", "text": "I am new here."},
    {"speaker": "supporter", "text": "That is hard.", "strategy": "Affirmation"},
]


def test_turns(write):
    path = write([{"id": "one", "scene": "s", "description": "d", "turns": GOOD}, {"turns": GOOD}], "chat.jsonl")
    found = read_dialogues(path)
    assert found.domain is ESC
    assert [dialogue.id for dialogue in found] == ["one", "chat-0001"]
    assert found[0] == Dialogue(
        id="one",
        scene="s",
        description="d",
        source="chat.jsonl",
        turns=(Turn("seeker", "I am new here."), Turn("supporter", "That is hard.", "Affirmation")),
    )


def test_messages(write):
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "strategy": "offer hope"},
        {"role": "assistant", "content": "c"},
    ]
    found = read_dialogues(write([{"messages": messages}], "d.jsonl"))
    assert [(t.speaker, t.text, t.strategy) for t in found[0].turns] == [
        ("seeker", "a", None),
        ("supporter", "b", "Affirmation"),
    ]
    assert found.report.system_messages == 1
    assert found.report.supporter_turns_dropped == {"no strategy": 1}


def test_a_line_without_turns_is_a_scenario(write):
    path = write(
        [{"scene": "s"}, {"description": "d", "turns": []}, {"scene": "s", "turns": GOOD[:1]}],
        "d.jsonl",
    )
    found = read_dialogues(path)
    assert [len(dialogue.turns) for dialogue in found] == [0, 0, 1]
    assert found[0].scenario.scene == "s"


def test_a_dialogue_that_lost_a_side_is_dropped(write):
    lines = [
        {"turns": [GOOD[0], {"speaker": "supporter", "text": "x"}]},
        {"turns": GOOD[1:]},
        {"turns": [{"speaker": "seeker", "text": " "}, GOOD[1]]},
    ]
    report = read_dialogues(write(lines, "d.jsonl")).report
    assert report.kept == 0
    assert report.dialogues_dropped == {"no supporter turn left": 1, "no seeker turn left": 2}


def test_blank_lines_windows_ends_and_line_separators_inside_text(write):
    line = json.dumps({"turns": [{"speaker": "seeker", "text": "a\u2028b"}]}, ensure_ascii=False)
    found = read_dialogues(write(f"\n{line}\r\n  \n{line}\n\n".encode(), "d.jsonl"))
    assert [dialogue.turns[0].text for dialogue in found] == ["a\u2028b"] * 2


def test_the_domain_that_the_lines_name(write):
    persuasion = {"domain": "persuasion", "turns": [GOOD[0], {**GOOD[1], "strategy": "logical-appeal"}]}
    found = read_dialogues(write([persuasion, {**persuasion, "domain": None}], "d.jsonl"))
    assert found.domain is PERSUASION
    assert found[0].turns[1].strategy == "Logical appeal"
    assert read_dialogues(write([persuasion], "d.jsonl"), domain="esc").domain is ESC
    with pytest.raises(DialogueError, match=r"different domains \(esc, persuasion\)"):
        read_dialogues(write([{**persuasion, "domain": "esc"}, persuasion], "d.jsonl"))
    with pytest.raises(DialogueError, match=r"no built-in domain 'mine'.*domain=") as caught:
        read_dialogues(write([{**persuasion, "domain": "mine"}], "d.jsonl"))
    assert caught.value.field == "domain"


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ({"turns": GOOD, "mood": 1}, "mood", "unknown key; there are id"),
        ({"turns": [{**GOOD[0], "mood": 1}]}, "turns[0].mood", "unknown key; there are speaker"),
    ],
)
def test_unknown_keys_are_named_or_counted(write, line, field, message):
    path = write([{"turns": GOOD}, line], "d.jsonl")
    with pytest.raises(DialogueError, match=message) as caught:
        read_dialogues(path)
    assert (caught.value.item, caught.value.field) == ("line 2", field)
    lenient = read_dialogues(path, lenient=True)
    assert len(lenient) == 2
    assert lenient.report.keys_ignored == {"mood": 1}
    assert lenient.report.malformed == 0


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({"turns": {}}, "turns"),
        ({"turns": "x"}, "turns"),
        ({"turns": [3]}, "turns[0]"),
        ({"turns": [{"speaker": "user", "text": "a"}]}, "turns[0].speaker"),
        ({"turns": [{"speaker": ["seeker"], "text": "a"}]}, "turns[0].speaker"),
        ({"turns": [{"speaker": "seeker"}]}, "turns[0].text"),
        ({"turns": [{"speaker": "seeker", "text": 1}]}, "turns[0].text"),
        ({"turns": [{"speaker": "seeker", "text": "a", "strategy": "Affirmation"}]}, "turns[0].strategy"),
        ({"turns": [{"speaker": "supporter", "text": "a", "strategy": {"x": 1}}]}, "turns[0].strategy"),
        ({"turns": [{"text": "a"}]}, "turns[0].speaker"),
        ({"turns": GOOD, "messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "narrator", "content": "b"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": "a"}, {"content": "b"}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"turns": GOOD, "scene": 1}, "scene"),
        ({"turns": GOOD, "source": 1}, "source"),
        ({"turns": GOOD, "domain": 1}, "domain"),
        ({"turns": GOOD, "id": "half \ud83d"}, "id"),
    ],
)
def test_malformed_lines(write, line, field):
    path = write([{"turns": GOOD}, line], "d.jsonl")
    with pytest.raises(DialogueError) as caught:
        read_dialogues(path)
    assert (caught.value.file, caught.value.item, caught.value.field) == (str(path), "line 2", field)
    assert read_dialogues(path, lenient=True).report.malformed == 1


def test_a_line_that_is_not_json(write):
    path = write(json.dumps({"turns": GOOD}) + "\n{oops\n" + json.dumps({"turns": GOOD}) + "\n", "d.jsonl")
    with pytest.raises(DialogueError, match="line 2: is not JSON"):
        read_dialogues(path)
    lenient = read_dialogues(path, lenient=True)
    assert [dialogue.id for dialogue in lenient] == ["d-0000", "d-0002"]
    assert lenient.report.malformed == 1


def test_a_json_list_of_chat_items_is_read_as_well(write):
    assert len(read_dialogues(write([{"turns": GOOD}, {"scene": "s"}], "d.json"))) == 2


def test_real_openings_without_labels_are_dropped_with_counts(data):
    file = data / "extes" / "extes_prefixes.json"
    if not file.is_file():
        pytest.skip(f"no ExTES openings at {file}")
    report = read_dialogues(file).report
    assert (report.items, report.kept) == (400, 0)
    assert report.dialogues_dropped == {"no supporter turn left": 400}
    assert report.supporter_turns_dropped == {"no strategy": 1950}


# writing


def test_what_is_written_is_read_back(tmp_path):
    samples = sample_dialogues()
    path = write_dialogues(tmp_path / "out.jsonl", samples)
    assert path == tmp_path / "out.jsonl"
    back = read_dialogues(path)
    assert tuple(back) == tuple(samples)
    assert back.domain is ESC
    assert not back.report.labels_normalised
    assert os.listdir(tmp_path) == ["out.jsonl"]  # noqa: PTH208  # names are enough


def test_the_domain_is_written_where_it_is_known(tmp_path):
    dialogue = Dialogue(id="a", turns=(Turn("seeker", "a"), Turn("supporter", "b", "Question")))
    for domain in ("esconv", ESCONV):
        write_dialogues(tmp_path / "out.jsonl", [dialogue], domain=domain)
        assert read_dialogues(tmp_path / "out.jsonl").domain is ESCONV
    write_dialogues(tmp_path / "out.jsonl", [dialogue])
    assert "domain" not in (tmp_path / "out.jsonl").read_text()


@pytest.mark.parametrize(
    ("dialogues", "message"),
    [
        (
            [Dialogue(turns=(Turn("seeker", "a"), Turn("supporter", "b")))],
            r"turns\[1\].strategy: a supporter turn needs",
        ),
        ([Dialogue(turns=(Turn("supporter", "b", "Affirmation"),))], "the seeker says nothing"),
        ([Dialogue(id="x"), Dialogue(id="x")], "item 1: id: two dialogues"),
        ([Dialogue(turns=(Turn("seeker", "\ud83d"),))], "surrogate"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, dialogues, message):
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(DialogueError, match=message):
        write_dialogues(path, dialogues)
    assert path.read_text() == "old"


def test_turns_without_a_strategy_are_written_and_read_where_that_is_asked_for(tmp_path):
    dialogue = Dialogue(id="a", turns=(Turn("seeker", "Hi."), Turn("supporter", "Hello."), Turn("seeker", "Well.")))
    with pytest.raises(DialogueError, match="needs a strategy"):
        write_dialogues(tmp_path / "out.jsonl", [dialogue])
    path = write_dialogues(tmp_path / "out.jsonl", [dialogue], unlabelled=True)
    assert read_dialogues(path, unlabelled=True)[0].turns == dialogue.turns


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "out.jsonl"
    path.write_text("old")

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DialogueError, match="cannot be written: No space left"):
        write_dialogues(path, sample_dialogues())
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("name", [".", "a\0b"])
def test_a_place_that_cannot_be_written(tmp_path, name):
    with pytest.raises(DialogueError, match="cannot be written"):
        write_dialogues(tmp_path / name, sample_dialogues())


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
loose = st.text(st.characters(exclude_categories=["Cs"])).map(str.strip)


@st.composite
def conversations(draw):
    length = draw(st.integers(0, 6))
    first = draw(st.sampled_from(["seeker", "supporter"])) if length > 1 else "seeker"
    other = {"seeker": "supporter", "supporter": "seeker"}
    speakers = [first if index % 2 == 0 else other[first] for index in range(length)]
    return tuple(
        Turn(side, draw(texts), draw(st.sampled_from(ESC.strategies.names)) if side == "supporter" else None)
        for side in speakers
    )


dialogue_lists = st.lists(
    st.builds(Dialogue, scene=loose, description=loose, id=texts, source=texts, turns=conversations()),
    min_size=1,
    max_size=4,
    unique_by=lambda dialogue: dialogue.id,
)


@given(dialogues=dialogue_lists)
def test_any_dialogues_survive_the_round_trip(tmp_path_factory, dialogues):
    path = write_dialogues(tmp_path_factory.getbasetemp() / "round.jsonl", dialogues)
    back = read_dialogues(path, format="chat")
    assert list(back) == dialogues
    assert back.report.kept == len(dialogues)
