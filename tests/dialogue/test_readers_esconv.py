import ast
import json

import pytest

from mctsdialog.dialogue import ESC, ESCONV, read_dialogues
from mctsdialog.errors import DialogueError


def turn(speaker, content, strategy=None):
    return {"speaker": speaker, "annotation": {} if strategy is None else {"strategy": strategy}, "content": content}


def item(*dialog, **more):
    return {"problem_type": "job crisis", "situation": "I lost my job.", "dialog": list(dialog), **more}


GOOD = (turn("seeker", "Hello\n"), turn("supporter", "Hi\n", "Question"))


def test_an_ordinary_dialogue(write):
    dialogues = read_dialogues(write([item(*GOOD, experience_type="x", survey_score={})]))
    assert dialogues.domain is ESCONV
    assert (dialogues[0].scene, dialogues[0].description) == ("job crisis", "I lost my job.")
    assert [(t.speaker, t.text, t.strategy) for t in dialogues[0].turns] == [
        ("seeker", "Hello", None),
        ("supporter", "Hi", "Question"),
    ]


@pytest.mark.parametrize("names", [("seeker", "supporter"), ("speaker", "listener"), ("usr", "sys"), ("User", "SYS")])
def test_the_speakers_have_several_names(write, names):
    found = read_dialogues(write([item(turn(names[0], "a"), turn(names[1], "b", "Question"))]))
    assert [t.speaker for t in found[0].turns] == ["seeker", "supporter"]


def test_text_and_strategy_as_copies_have_them(write):
    dialog = [{"speaker": "usr", "text": "a"}, {"speaker": "sys", "text": "b", "strategy": "Questions"}]
    found = read_dialogues(write([item(*dialog)]))
    assert found[0].turns[1].strategy == "Question"
    assert found.report.labels_normalised == {("Questions", "Question"): 1}


def test_others_is_a_strategy_here_but_not_in_the_papers_set(write):
    path = write([item(turn("seeker", "a"), turn("supporter", "b", "Other"))])
    assert read_dialogues(path)[0].turns[1].strategy == "Others"
    in_esc = read_dialogues(path, domain=ESC)
    assert len(in_esc) == 0
    assert in_esc.report.supporter_turns_dropped == {"strategy 'Others'": 1}


def test_turns_without_a_strategy_go(write):
    dialog = (
        turn("seeker", "a"),
        {"speaker": "supporter", "content": "x"},
        {"speaker": "supporter", "annotation": None, "content": "y"},
        turn("supporter", "z", ""),
        turn("seeker", None),
        None,
        turn("supporter", "b", "Information"),
        turn("seeker", "c", "Question"),
    )
    found = read_dialogues(write([item(*dialog)]))
    assert [t.text for t in found[0].turns] == ["a", "b", "c"]
    assert found.report.supporter_turns_dropped == {"no strategy": 3}
    assert found.report.seeker_turns_dropped == {"no text": 1}
    assert found.report.empty_entries == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dialog": [turn("narrator", "a")]}, "dialog[0].speaker"),
        ({"dialog": [{"content": "a"}]}, "dialog[0].speaker"),
        ({"dialog": [turn("seeker", 7)]}, "dialog[0].content"),
        ({"dialog": [{"speaker": "usr", "text": False}]}, "dialog[0].text"),
        ({"dialog": [{**turn("supporter", "a"), "annotation": True}]}, "dialog[0].annotation"),
        ({"dialog": [turn("supporter", "a", True)]}, "dialog[0].annotation.strategy"),
        ({"dialog": ["a"]}, "dialog[0]"),
        ({"dialog": {}}, "dialog"),
        ({"problem_type": 1}, "problem_type"),
        ({"situation": 1}, "situation"),
    ],
)
def test_malformed_items(write, change, field):
    path = write([item(*GOOD), {**item(*GOOD), **change}])
    with pytest.raises(DialogueError) as caught:
        read_dialogues(path)
    assert (caught.value.item, caught.value.field) == (1, field)
    assert read_dialogues(path, lenient=True).report.malformed == 1


def test_a_null_dialog_is_dropped_and_a_missing_one_is_an_error(write):
    assert read_dialogues(write([item(*GOOD), {"dialog": None}])).report.dialogues_dropped == {"no turns": 1}
    with pytest.raises(DialogueError, match="item 1: dialog: there is no such key"):
        read_dialogues(write([item(*GOOD), {"situation": "x"}]))


def test_the_failed_dialogues_of_esconv(data):
    file = data / "esconv" / "FailedESConv.json"
    if not file.is_file():
        pytest.skip(f"no ESConv at {file}")
    found = read_dialogues(file)
    assert len(found) == found.report.kept == found.report.items == 196
    assert not found.report.dialogues_dropped
    assert not found.report.supporter_turns_dropped
    assert found.report.labels_normalised["Questions", "Question"] == 520
    assert found.report.labels_normalised["Other", "Others"] == 400
    raw = sum(len(each["dialog"]) for each in json.loads(file.read_text(encoding="utf-8")))
    assert raw == sum(len(dialogue.turns) for dialogue in found) + found.report.turns_merged
    assert {t.strategy for d in found for t in d.turns} == {*ESCONV.strategies.names, None}
    assert len({dialogue.id for dialogue in found}) == 196
    assert not any(t.text != t.text.strip() for d in found for t in d.turns)


def test_the_test_split_as_ppdpp_has_it(data, write):
    file = data / "esconv" / "ppdpp-esc-test.txt"
    if not file.is_file():
        pytest.skip(f"no ESConv test split at {file}")
    items = [ast.literal_eval(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = read_dialogues(write(items))
    assert found.report.items == len(found) == 130
    assert not found.report.supporter_turns_dropped
