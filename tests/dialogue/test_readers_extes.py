import pytest

from mctsdialog.dialogue import ESC, ESCONV, Turn, read_dialogues
from mctsdialog.errors import DialogueError

GOOD = [{"User": "I lost my job."}, {"AI Strategy": "Emotional Validation", "AI": "That hurts."}]


def item(*content, **more):
    return {"scene": "Work", "description": "Laid off.", "content": list(content), **more}


def turns(write, *content):
    """The turns of one dialogue of that content, and the report."""
    dialogues = read_dialogues(write([item(*content)]), format="extes")
    return [(turn.speaker, turn.text, turn.strategy) for turn in dialogues[0].turns], dialogues.report


def test_an_ordinary_dialogue(write):
    dialogues = read_dialogues(write([item(*GOOD)], "extes.json"))
    assert dialogues.domain is ESC
    assert len(dialogues) == 1
    dialogue = dialogues[0]
    assert (dialogue.scene, dialogue.description) == ("Work", "Laid off.")
    assert (dialogue.id, dialogue.source) == ("extes-0000", "extes.json")
    assert dialogue.turns == (
        Turn("seeker", "I lost my job."),
        Turn("supporter", "That hurts.", "Emotional Validation"),
    )
    assert (dialogues.report.items, dialogues.report.kept, dialogues.report.turns_merged) == (1, 1, 0)
    assert not dialogues.report.supporter_turns_dropped


@pytest.mark.parametrize("key", ["AI Strategy", "AI strategy", "strategy", "Strategy", "AI_STRATEGY", "aiStrategy"])
def test_the_key_of_the_strategy_varies(write, key):
    found, _ = turns(write, {"User": "a"}, {key: "Affirmation", "AI": "b"})
    assert found == [("seeker", "a", None), ("supporter", "b", "Affirmation")]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"AI": "x"}, "no strategy"),
        ({"AI Strategy": None, "AI": "x"}, "no strategy"),
        ({"AI Strategy": "", "AI": "x"}, "no strategy"),
        ({"AI Strategy": "  ", "AI": "x"}, "no strategy"),
        ({"AI Strategy": "Others", "AI": "x"}, "strategy 'Others'"),
        ({"AI Strategy": "other", "AI": "x"}, "strategy 'Others'"),
        ({"AI Strategy": "Hypnosis", "AI": "x"}, "unknown strategy: Hypnosis"),
        ({"AI Strategy": "Affirmation", "AI": ""}, "no text"),
        ({"AI Strategy": "Affirmation", "AI": None}, "no text"),
        ({"AI Strategy": "Affirmation", "AI": {"response": None}}, "no text"),
    ],
)
def test_supporter_turns_that_cannot_be_used_go_and_are_counted(write, entry, reason):
    found, report = turns(write, {"User": "a"}, entry, {"User": "b"}, {"strategy": "Affirmation", "AI": "c"})
    assert found == [("seeker", "a b", None), ("supporter", "c", "Affirmation")]
    assert report.supporter_turns_dropped == {reason: 1}
    assert report.turns_merged == 1


@pytest.mark.parametrize(
    "nested",
    [
        {"AI Strategy": "Offer hope", "Response": "b"},
        {"strategy": "Offer Hope", "response": " b\n"},
        {"AI_strategy": "offer hope", "AI": "b"},
        {"Strategy": "OFFER HOPE", "text": "b"},
    ],
)
def test_the_ai_may_be_an_object(write, nested):
    found, report = turns(write, {"User": "a"}, {"AI": nested})
    assert found == [("seeker", "a", None), ("supporter", "b", "Affirmation")]
    assert sum(report.labels_normalised.values()) == 1


def test_the_strategy_inside_the_object_goes_before_the_one_outside(write):
    inside = {"AI Strategy": "Offer Hope", "AI": {"strategy": "Share Information", "response": "b"}}
    outside = {"AI Strategy": "Offer Hope", "AI": {"strategy": "", "response": "b"}}
    assert turns(write, {"User": "a"}, inside)[0][1][2] == "Share Information"
    assert turns(write, {"User": "a"}, outside)[0][1][2] == "Affirmation"


def test_both_sides_in_one_entry_speak_in_the_order_of_the_keys(write):
    found, _ = turns(write, {"User": "a", "AI Strategy": "Affirmation", "AI": "b"})
    assert found == [("seeker", "a", None), ("supporter", "b", "Affirmation")]
    found, _ = turns(write, {"AI": "b", "AI Strategy": "Affirmation", "User": "a"})
    assert found == [("supporter", "b", "Affirmation"), ("seeker", "a", None)]
    found, report = turns(write, {"User": None, "AI Strategy": "Affirmation", "AI": "b"}, {"User": "a"})
    assert found == [("supporter", "b", "Affirmation"), ("seeker", "a", None)]
    assert report.seeker_turns_dropped == {"no text": 1}


def test_entries_in_which_nobody_speaks_are_counted(write):
    found, report = turns(write, *GOOD, {}, None, {"AI Strategy": "Affirmation"})
    assert len(found) == 2
    assert report.empty_entries == 3


def test_consecutive_turns_of_one_side_are_joined(write):
    found, report = turns(
        write,
        {"User": "a"},
        {"User": " b\n"},
        {"AI Strategy": "Affirmation", "AI": "one two three"},
        {"AI Strategy": "Share Information", "AI": "one two three four, and five"},
        {"AI Strategy": "Collaborative Planning", "AI": "fivesixseveneight"},
    )
    assert found == [
        ("seeker", "a b", None),
        ("supporter", "one two three one two three four, and five fivesixseveneight", "Share Information"),
    ]
    assert report.turns_merged == 3
    assert report.further_labels == {"Affirmation": 1, "Collaborative Planning": 1}


def test_supporter_first_and_seeker_last_are_kept(write):
    found, _ = turns(write, {"AI Strategy": "Affirmation", "AI": "hello"}, *GOOD, {"User": "bye"})
    assert [speaker for speaker, _, _ in found] == ["supporter", "seeker", "supporter", "seeker"]


def test_a_greeting_without_a_strategy_goes(write):
    found, report = turns(write, {"AI Strategy": "", "AI": "Hello!"}, *GOOD)
    assert [speaker for speaker, _, _ in found] == ["seeker", "supporter"]
    assert report.supporter_turns_dropped == {"no strategy": 1}


def test_content_may_be_an_object(write):
    numbered = item(content={"0": GOOD[0], "1": GOOD[1]})
    single = item(content={"User": "a", "AI": "b", "strategy": "Affirmation"})
    dialogues = read_dialogues(write([numbered, single]))
    assert [len(dialogue.turns) for dialogue in dialogues] == [2, 2]


def test_dialogues_with_nothing_to_search_go_with_a_reason(write):
    dialogues = read_dialogues(
        write(
            [
                item(content=None),
                item(),
                item(content={}),
                item({"User": "a"}),
                item({"User": "a"}, {"AI": "b"}),
                item({"AI": "b", "strategy": "Affirmation"}),
                item(*GOOD),
            ]
        )
    )
    assert [dialogue.id for dialogue in dialogues] == ["d-0006"]
    assert dialogues.report.dialogues_dropped == {"no turns": 3, "no supporter turn left": 2, "no seeker turn left": 1}


def test_labels_are_normalised_and_counted(write):
    path = write([item({"User": "a"}, {"AI": "b", "strategy": label}) for label in ("Suggest options", "AFFIRMATION")])
    dialogues = read_dialogues(path)
    assert [dialogue.turns[1].strategy for dialogue in dialogues] == ["Collaborative Planning", "Affirmation"]
    assert dialogues.report.labels_normalised == {
        ("Suggest options", "Collaborative Planning"): 1,
        ("AFFIRMATION", "Affirmation"): 1,
    }


def test_another_domain_may_be_given(write):
    path = write([item({"User": "a"}, {"AI": "b", "strategy": "Others"})])
    for domain in ("esconv", ESCONV):
        dialogues = read_dialogues(path, domain=domain)
        assert dialogues.domain is ESCONV
        assert dialogues[0].turns[1].strategy == "Others"


def test_keys_without_meaning_are_counted(write):
    found = read_dialogues(write([item({"User": "a", "Emotion": "sad"}, GOOD[1], topic="x"), item(*GOOD, topic="y")]))
    assert found.report.keys_ignored == {"topic": 2, "Emotion": 1}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"content": [GOOD[0], {"AI": 5}]}, "content[1].AI"),
        ({"content": [GOOD[0], GOOD[1], {"User": True}]}, "content[2].User"),
        ({"content": [{"User": float("nan")}]}, "content[0].User"),
        ({"content": [{"User": ["a"]}]}, "content[0].User"),
        ({"content": [{"User": {"text": "a"}}]}, "content[0].User"),
        ({"content": [{"AI": "a", "AI Strategy": True}]}, "content[0].AI Strategy"),
        ({"content": [{"AI": {"a": "b"}}]}, "content[0].AI"),
        ({"content": [{"AI": {"text": "b", "response": "c"}}]}, "content[0].AI"),
        ({"content": [{"AI": {"text": 1}}]}, "content[0].AI.text"),
        ({"content": [{"Human": "a"}]}, "content[0]"),
        ({"content": ["a"]}, "content[0]"),
        ({"content": {"0": 3}}, "content.0"),
        ({"content": "text"}, "content"),
        ({"content": False}, "content"),
        ({"scene": 3}, "scene"),
        ({"description": []}, "description"),
        ({"content": [{"User": "half an emoji \ud83d"}]}, "content[0].User"),
    ],
)
def test_malformed_items_are_one_error_or_skipped(write, change, field):
    path = write([item(*GOOD), {**item(), **change}, item(*GOOD)])
    with pytest.raises(DialogueError) as caught:
        read_dialogues(path)
    assert (caught.value.file, caught.value.item, caught.value.field) == (str(path), 1, field)
    lenient = read_dialogues(path, lenient=True)
    assert [dialogue.id for dialogue in lenient] == ["d-0000", "d-0002"]
    assert lenient.report.malformed == 1
    assert lenient.report.messages == (str(caught.value),)


def test_an_item_without_content(write):
    with pytest.raises(DialogueError, match="item 1: content: there is no such key"):
        read_dialogues(write([item(*GOOD), {"scene": "Work"}]))


def test_a_malformed_item_leaves_no_other_counts(write):
    bad = item({"User": "a"}, {"AI": "x"}, {"User": "b"}, {"AI": 3})
    report = read_dialogues(write([bad, item(*GOOD)]), lenient=True).report
    assert not report.supporter_turns_dropped
    assert report.turns_merged == 0


def test_keys_of_the_item_in_any_letter_case(write):
    dialogue = read_dialogues(write([{"Scene": "s", "DESCRIPTION": "d", "Content": GOOD}]))[0]
    assert (dialogue.scene, dialogue.description) == ("s", "d")
