"""Rows of other trainers, and rows that say a thing twice or take it back."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cso_train._data import TrainingData, leaks, load_data, seed_of, trained_seeds
from cso_train.errors import TrainDataError
from mctsdialog import DataError

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


def said(text, role="assistant"):
    return {"role": role, "content": text}


USER = said("I am sad.", "user")
GOOD, BAD = said("(Emotional Validation) That is hard."), said("(Affirmation) Cheer up.")


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


PAIR = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": USER["content"], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": USER["content"], "chosen": GOOD["content"], "rejected": BAD["content"]},
        {"instruction": USER["content"], "input": "", "chosen": GOOD["content"], "rejected": BAD["content"]},
        {
            "conversations": [{"from": "human", "value": USER["content"]}],
            "chosen": {"from": "gpt", "value": GOOD["content"]},
            "rejected": {"from": "gpt", "value": BAD["content"]},
        },
        PAIR,
    ],
    ids=["implicit", "prompt twice", "texts", "alpaca", "sharegpt", "trl"],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_pairs_of_other_programs_are_read(tmp_path, row, suffix):
    file = write(tmp_path / f"rows{suffix}", row)
    (read,) = load_data([file], "preference").rows
    assert {name: read[name] for name in PAIR} == PAIR
    assert [each["label"] for each in load_data([file], "unpaired").rows] == [True, False]
    assert len(trained_seeds(file)) == 1


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "completion": [GOOD]},
        {"prompt": USER["content"], "completion": GOOD["content"]},
        {"instruction": USER["content"], "output": GOOD["content"]},
    ],
)
def test_prompts_and_completions_serve_for_sft(tmp_path, row):
    (read,) = load_data([write(tmp_path / "rows.jsonl", row)], "sft").rows
    assert (read["prompt"], read["completion"]) == ([USER], [GOOD])


def test_conversations_of_sharegpt_serve_for_sft_with_their_system_prompt(tmp_path):
    row = {
        "system": "Listen.",
        "conversations": [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "(Affirmation) Good."}],
    }
    (read,) = load_data([write(tmp_path / "rows.jsonl", row)], "sft").rows
    assert [each["role"] for each in read["messages"]] == ["system", "user", "assistant"]


def test_rows_in_a_file_named_json_are_no_trees(tmp_path):
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([PAIR, {**PAIR, "prompt": [said("Hello.", "user")]}], indent=1), "utf-8")
    assert len(load_data([listed], "preference").rows) == 2
    lines = write(tmp_path / "lines.json", PAIR, {**PAIR, "prompt": [said("Hello.", "user")]})
    assert load_data([lines], "preference").rows == load_data([listed], "preference").rows
    broken = tmp_path / "broken.json"
    broken.write_text('{"prompt": [', "utf-8")
    with pytest.raises(DataError, match=r"broken.json.*not JSON"):
        load_data([broken], "preference")


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
@pytest.mark.parametrize("file", sorted(CASES.glob("3[0-9]-*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_cases_that_people_have_are_read(file):
    assert len(load_data([file], "preference").rows) == 1


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"chosen": [GOOD], "rejected": [BAD]}, "prompt"),
        ({"chosen": "Good.", "rejected": "Bad."}, "prompt"),
        ({"chosen": [USER, GOOD], "rejected": [USER, BAD, USER]}, "rejected"),
        ({"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "chosen"),
        ({"instruction": "Hi.", "chosen": 1, "rejected": "a"}, "chosen"),
        ({"conversations": [{"from": "human", "value": 3}], "chosen": [GOOD], "rejected": [BAD]}, "prompt[0].content"),
    ],
)
def test_what_is_no_pair_is_named_by_its_field(tmp_path, row, field):
    with pytest.raises(TrainDataError) as caught:
        load_data([write(tmp_path / "rows.jsonl", row)], "preference")
    assert caught.value.field == field or (field == "chosen" and "no known form" in str(caught.value))


FOREIGN = (
    {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    {"prompt": "Hi.", "chosen": "a", "rejected": "b", "provenance": {"tree": "t", "chosen_value": 1.0}},
    {"instruction": "Hi.", "input": "x", "history": [["a", "b"]], "system": "s", "output": "c"},
    {"system": "s", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    {"conversations": [{"from": "human", "value": "a"}], "chosen": {"from": "gpt", "value": "b"}, "rejected": BAD},
    {"prompt": [USER], "completion": [GOOD], "label": True},
    {"messages": [USER], "chosen": "a", "reject": "b"},
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoilt_row_is_one_error_or_rows(spoilt, tmp_path_factory, data):
    file = tmp_path_factory.mktemp("f") / data.draw(st.sampled_from(["rows.jsonl", "rows.json"]))
    file.write_text(spoilt(data, data.draw(st.sampled_from(FOREIGN))) + "\n", "utf-8")
    for kind in ("preference", "unpaired", "sft"):
        with suppress(TrainDataError, DataError):
            rows = load_data([file], kind).rows
            assert leaks(TrainingData(kind, rows), TrainingData(kind, rows)) == len(rows)
    with suppress(TrainDataError, DataError):
        trained_seeds(file)


def test_twins_and_pairs_of_one_reply_are_left_out_with_a_count(tmp_path):
    spaced = said(GOOD["content"] + " ")
    rows = [
        {**PAIR, "rejected": [GOOD]},
        {**PAIR, "rejected": [spaced]},
        PAIR,
        {**PAIR, "chosen": [spaced]},
        {**PAIR, "chosen": [BAD], "rejected": [GOOD]},
    ]
    data = load_data([write(tmp_path / "rows.jsonl", *rows)], "preference")
    assert [row["chosen"] for row in data.rows] == [[GOOD]]
    assert data.warnings == {
        "pairs left out whose chosen reply is the rejected one": 2,
        "exact duplicates left out": 1,
        "pairs left out that prefer what an earlier pair rejects to what it chooses": 1,
    }


def test_a_reply_that_is_labelled_both_ways_is_left_out_the_second_time(tmp_path):
    row = {"prompt": [USER], "completion": [GOOD], "label": True}
    data = load_data([write(tmp_path / "rows.jsonl", row, {**row, "label": False})], "unpaired")
    assert [each["label"] for each in data.rows] == [True]
    assert sum(data.warnings.values()) == 1


# -- seed dialogues ---------------------------------------------------------------------------------------------------


def greeted(number, *, depth):
    """A row of a dialogue that begins as all others do."""
    turns = [said("Hi.", "user"), said(f"(Affirmation) Tell me, {number}."), said(f"Case {number}.", "user")]
    if depth == 1:
        return {**PAIR, "prompt": turns[:1], "chosen": turns[1:2]}
    return {**PAIR, "prompt": turns}


def test_dialogues_that_begin_with_the_same_greeting_are_several(tmp_path):
    rows = [greeted(number, depth=depth) for number in range(6) for depth in (1, 2)]
    data = load_data([write(tmp_path / "rows.jsonl", *rows)], "preference")
    assert len({row["seed"] for row in data.rows}) == 6
    train, held = data.split(0.34, seed=0)
    assert (len(train.rows), len(held.rows)) == (8, 4)
    assert leaks(train, held) == 0
    assert leaks(data, held) == 4


def test_an_opening_that_tells_the_dialogue_is_enough():
    long = said("I lost my job on Friday and my rent is due next week.", "user")
    one, other = ({"prompt": [long, said(text), USER], "chosen": [GOOD]} for text in ("A.", "B."))
    assert seed_of(one) == seed_of(other)


def test_all_rows_of_a_tree_are_of_one_dialogue(tmp_path):
    rows = [{**greeted(number, depth=2), "provenance": {"tree": f"tree-{number // 2}"}} for number in range(6)]
    data = load_data([write(tmp_path / "rows.jsonl", *rows)], "preference")
    assert len({row["seed"] for row in data.rows}) == 3
    again = load_data([write(tmp_path / "a.jsonl", *rows[:1]), write(tmp_path / "b.jsonl", *rows[1:2])], "preference")
    assert len({row["seed"] for row in again.rows}) == 2  # trees of one name in two files are two


def test_rows_without_what_the_reader_adds_are_split_too():
    rows = tuple(greeted(number, depth=2) for number in range(4))
    train, held = TrainingData("preference", rows).split(0.25, seed=0)
    assert (len(train.rows), len(held.rows)) == (3, 1)
