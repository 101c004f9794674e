"""Maps over files whose form is known in part: a map changes the parts that it names, and nothing else."""

import pytest

from mctsdialog.dialogue import inspect_dialogues, read_dialogues
from mctsdialog.errors import DialogueError

ROWS = [
    ("1", "client", "I am sad.", ""),
    ("1", "therapist", "Since when?", "Question"),
    ("2", "client", "I am tired.", ""),
    ("2", "therapist", "I hear you.", "Others"),
    ("2", "client", "Thank you.", ""),
]
TURNS = [
    [("seeker", "I am sad.", None), ("supporter", "Since when?", "Question")],
    [("seeker", "I am tired.", None), ("supporter", "I hear you.", "Others"), ("seeker", "Thank you.", None)],
]


@pytest.fixture
def table(write):
    def make(head, rows=ROWS):
        return write("\n".join([head, *(",".join(row) for row in rows)]), "d.csv")

    return make


def turns(dialogues):
    return [[(turn.speaker, turn.text, turn.strategy) for turn in each.turns] for each in dialogues]


@pytest.mark.parametrize(
    ("head", "keys"),
    [
        ("ticket,speaker,text,strategy", "dialogue=ticket"),
        ("ticket,speaker,text,strategy", "id=ticket"),
        ("ticket,speaker,text,strategy", "dialogue=ticket,speaker=speaker,text=text"),
        ("Ticket,Speaker,Text,Strategy", "dialogue=Ticket"),
        ("Dialogue_ID,Speaker,Text,Strategy", "dialogue=Dialogue_ID"),
        ("conversation_id,who,text,strategy", "speaker=who"),
        ("conversation_id,Who,Text,strategy", "speaker=Who"),
        ("conversation_id,speaker,says,strategy", "text=says"),
        ("conversation_id,speaker,text,tactic", "strategy=tactic"),
        ("ticket,who,says,strategy", "dialogue=ticket,speaker=who,text=says"),
        ("ticket,who,says,tactic", "dialogue=ticket,speaker=who,text=says|said,strategy=tactic"),
    ],
)
def test_a_map_names_the_columns_that_are_not_known(head, keys, table):
    found = read_dialogues(table(head), map=keys, domain="esconv")
    assert turns(found) == TURNS
    assert [each.id for each in found] == ["1", "2"]
    assert not found.report.keys_ignored
    assert not found.report.ungrouped_rows


@pytest.mark.parametrize(
    ("keys", "part", "key"),
    [
        ("dialogue=nonsense", "dialogue", "'nonsense'"),
        ("speaker=nobody", "speaker", "'nobody'"),
        ("text=a|b", "text", "'a' or 'b'"),
        ("dialogue=conversation_id,strategy=act", "strategy", "'act'"),
    ],
)
def test_a_column_that_is_not_there_is_an_error_that_names_those_that_are(keys, part, key, table):
    with pytest.raises(DialogueError) as caught:
        read_dialogues(table("conversation_id,speaker,text,strategy"), map=keys, domain="esconv")
    assert caught.value.field == "map"
    assert f"no row has the column {key}, which the map names ({part}=...)" in str(caught.value)
    assert "the columns are conversation_id, speaker, text, strategy" in str(caught.value)


def test_a_key_that_is_not_there_is_an_error_for_whole_dialogues_too(write):
    talk = [{"who": "client", "says": "I am sad."}, {"who": "therapist", "says": "Since when?", "strategy": "Question"}]
    path = write([{"nr": 7, "talk": talk}])
    found = read_dialogues(path, map="turns=talk,speaker=who,text=says,id=nr", domain="esconv")
    assert (turns(found), found[0].id) == (TURNS[:1], "7")  # the strategy has its usual key
    with pytest.raises(DialogueError, match=r"no dialogue or turn has the key 'act'.*the keys are nr, talk, who, says"):
        read_dialogues(path, map="turns=talk,speaker=who,text=says,strategy=act", domain="esconv")
    with pytest.raises(DialogueError, match=r"has the key 'talks', which the map names \(turns=\.\.\.\)"):
        read_dialogues(path, map="turns=talks,speaker=who,text=says", domain="esconv")


def test_a_key_of_the_last_turn_alone_will_do(write):
    talks = [[{"who": "client", "says": "a"}, {"who": "therapist", "says": "b"}] for _ in range(3)]
    talks[-1][-1]["act"] = "Question"
    path = write([{"talk": talk} for talk in talks])
    found = read_dialogues(path, map="turns=talk,speaker=who,text=says,strategy=act", domain="esconv")
    assert found.report.kept == 1


def test_a_map_over_a_data_sets_form_changes_one_part(write):
    dialog = [
        {"speaker": "seeker", "content": "I am sad."},
        {"speaker": "supporter", "content": "x", "edited": "Since when?", "annotation": {"strategy": "Question"}},
    ]
    path = write([{"problem_type": "Work", "situation": "My job.", "dialog": dialog}])
    found = read_dialogues(path, map="text=edited|content")
    assert turns(found) == TURNS[:1]
    assert (found[0].scene, found[0].description, found.domain.name) == ("Work", "My job.", "esconv")
    assert inspect_dialogues(path, map="text=edited|content").format == "esconv"


def test_a_table_that_is_not_recognised_is_told_the_parts_of_a_table(table):
    with pytest.raises(DialogueError) as caught:
        read_dialogues(table("conversation_id,who,text,strategy"))
    assert "map='dialogue=...,speaker=...,text=...,strategy=...'" in str(caught.value)
    assert "turns=" not in str(caught.value)


def test_rows_that_no_known_column_groups_are_reported(table):
    report = read_dialogues(table("ticket,speaker,text,strategy"), domain="esconv").report
    assert (report.kept, report.ungrouped_rows) == (1, {"ticket": 5})
    assert (
        "5 rows read as one dialogue (if ticket tells dialogues apart: --map dialogue=ticket)" in report.in_one_line()
    )
    assert "(--map dialogue=COLUMN): 5\n  5 x ticket" in str(report)
    assert report.to_dict()["ungrouped_rows"] == {"ticket": 5}


@pytest.mark.parametrize(
    "column",
    [
        ["a", "b", "c", "d", "e"],  # a number of the row, or a time
        ["a", "a", "a", "a", "a"],
        ["a", "a", "b", "b", "a"],  # comes back: a side
        ["a", "a", "b", "", ""],
    ],
)
def test_a_column_that_tells_no_dialogues_apart_is_not_reported(column, table):
    rows = [(value, *row[1:]) for value, row in zip(column, ROWS, strict=True)]
    report = read_dialogues(table("extra,speaker,text,strategy", rows), domain="esconv").report
    assert (report.kept, report.ungrouped_rows) == (1, {})
