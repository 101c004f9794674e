"""Sheets for people: blind and shuffled, the same from a seed, read back whatever program saved them."""

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cso_train.errors import TrainDataError
from cso_train.evaluation import PairToJudge, ReplyToRate
from cso_train.evaluation._judging import dialogue_of
from cso_train.evaluation._sheets import (
    SheetKey,
    _plain,
    _safe,
    items_of,
    read_pair_sheet,
    read_rating_sheet,
    sheet_dialogues,
    write_pair_sheet,
    write_rating_sheet,
)

CRITERIA = {"warmth": "Which is warmer?", "use": "Which is of more use?"}
NAMES = ("the secret system", "another secret")
PAIRS = [PairToJudge((f"Seeker: I am {place}.",), f"better {place}", f"worse {place}") for place in range(12)]
ITEMS = [ReplyToRate(f"secret {place % 2}", (f"Seeker: {place}",), f"reply {place}") for place in range(6)]
ITEMS += [ReplyToRate("secret 0", ("Seeker: hm",), "well", "Affirmation")]
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


def table(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(path, answer, **form):
    """Write an answer into every row: a mapping of the row to cells; None leaves the row as it is."""
    rows = table(path)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), **form)
    writer.writeheader()
    for row in rows:
        writer.writerow(row | (answer(row) or {}))
    path.write_bytes(text.getvalue().encode())


def pair_sheet(folder, pairs=PAIRS, seed=0):
    sheet, _, key = write_pair_sheet(folder, pairs, CRITERIA, names=NAMES, seed=seed)
    return sheet, SheetKey.read(key, "pairwise")


def prefer_better(row):
    return {"warmth": "A" if row["answer A"].startswith("better") else "b", "use": " TIE "}


def test_a_person_sees_no_names_and_each_system_first_about_as_often(tmp_path):
    sheet, key = pair_sheet(tmp_path, PAIRS * 5)
    assert b"secret" not in sheet.read_bytes()
    assert b"secret" not in (tmp_path / "instructions.txt").read_bytes()
    rows = table(sheet)
    first = sum(row["answer A"].startswith("better") for row in rows)
    assert 20 <= first <= 40
    assert [row["answer A"][-1] for row in rows] != [pair.first[-1] for pair in PAIRS * 5]
    assert sorted(key.places) == list(range(60))
    assert all(row["warmth"] == row["use"] == "" for row in rows)


def test_the_same_seed_makes_the_same_sheet(tmp_path):
    one, two, other = (pair_sheet(tmp_path / str(place), seed=seed)[0] for place, seed in enumerate((1, 1, 2)))
    assert one.read_bytes() == two.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("form", [{}, {"delimiter": ";"}, {"delimiter": "\t"}, {"lineterminator": "\n"}])
def test_what_a_person_says_comes_back_in_the_order_of_the_pairs(tmp_path, form):
    sheet, key = pair_sheet(tmp_path)
    fill(sheet, lambda row: prefer_better(row) if "3" not in row["answer A"] else None, **form)
    found = read_pair_sheet(sheet, key)
    assert found[3] is None
    for place in (0, 1, 2, 4, 11):
        assert found[place].outcomes == {"warmth": "win", "use": "tie"}
        assert found[place].verdicts is None


def test_a_criterion_that_was_left_empty_is_not_there(tmp_path):
    sheet, key = pair_sheet(tmp_path)
    fill(sheet, lambda row: {"use": "A" if row["answer A"].startswith("worse") else "B"})
    assert {tuple(each.outcomes.items()) for each in read_pair_sheet(sheet, key)} == {(("use", "lose"),)}


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=5), st.integers(0, 9))
def test_any_text_survives_the_sheet(tmp_path_factory, words, seed):
    pairs = [PairToJudge((f"Seeker: {text}",), first, second) for text, first, second in words]
    folder = tmp_path_factory.mktemp("sheet")
    sheet, key = pair_sheet(folder, pairs, seed)
    rows = table(sheet)
    for row, place, swapped in zip(rows, key.places, key.swapped, strict=True):
        shown = (row["answer B"], row["answer A"]) if swapped else (row["answer A"], row["answer B"])
        for cell, text in zip(shown, (pairs[place].first, pairs[place].second), strict=True):
            assert _plain(cell) == text
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"))
    fill(sheet, lambda row: {"warmth": "tie"})
    assert all(each.outcomes == {"warmth": "tie"} for each in read_pair_sheet(sheet, key))


tricky = st.text(st.sampled_from("=+-@＝＋－＠'\"ab;,| \t\r\n\v\x85\u2028\u00a0\u3000\u200b\ufeff"), max_size=12)


@given(st.one_of(tricky, texts))
def test_reading_undoes_what_neutralised_formulas(text):
    assert _plain(_safe(text)) == text
    lines = re.split("[\n\r\v\x85\u2028;\t]", _safe(text))
    runs = [line for line in lines if line.lstrip(' \u00a0\u3000\u200b\ufeff"').startswith(tuple("=+-@＝＋－＠"))]
    assert runs == []


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("＝1+1", "'＝1+1"),
        (" \u200b@x", "' \u200b@x"),
        ("well\n=cmd|'/c calc'!A1", "well\n'=cmd|'/c calc'!A1"),
        ("well;=1", "well;'=1"),
        ("'=1", "''=1"),
        ("\tx", "'\tx"),
        ("a = b - c, +1", "a = b - c, +1"),
    ],
)
def test_a_formula_is_text_wherever_a_cell_may_begin(text, written):
    assert _safe(text) == written


@pytest.mark.parametrize("written", [lambda name: name, _safe], ids=["0.1", "now"])
def test_criteria_that_look_like_formulas_are_read_back(tmp_path, written):
    criteria = {"=warm": "Which is warmer?", "'+use": "Which is of more use?"}
    sheet, _, key = write_pair_sheet(tmp_path, PAIRS, criteria, names=NAMES, seed=0)
    header, rows = sheet.read_text("utf-8-sig").split("\n", 1)
    assert header.rstrip().split(",")[-2:] == ["'=warm", "''+use"]
    header = header.replace("'=warm", written("=warm")).replace("''+use", written("'+use"))
    sheet.write_text(header + "\n" + rows.replace(",,\n", ",A,tie\n"), "utf-8")
    found = read_pair_sheet(sheet, SheetKey.read(key, "pairwise"))
    assert all(set(each.outcomes) == {"=warm", "'+use"} for each in found)


def test_ratings_come_back_with_their_groups(tmp_path):
    sheet, _, key_file = write_rating_sheet(tmp_path, ITEMS, seed=4)
    assert b"secret" not in sheet.read_bytes()
    cells = {"acceptance": "3", "effectiveness": "4,0", "sensitivity": "5.0", "alignment": "2"}
    fill(sheet, lambda row: cells if row["answer"] != "reply 2" else None)
    key = SheetKey.read(key_file, "rate")
    found = read_rating_sheet(sheet, key)
    assert [each.group for each in items_of(key)] == [item.group for item in ITEMS]
    assert found[2] is None
    assert found[0] == {"acceptance": 3, "effectiveness": 4, "sensitivity": 5}  # no strategy, no alignment
    assert found[6]["alignment"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("warmth", "cold"), "has no column 'warmth'"),
        (lambda text: text.replace(",,\r\n", ",C,\r\n", 1), 'warmth: must be "A", "B" or "tie", or empty, not \'C\''),
        (lambda text: text + text.splitlines()[-1], "is there twice"),
        (lambda text: text.replace("-1,", "-99,"), "is it another sheet's"),
        (lambda text: text + '"', "is no CSV file"),
        (lambda text: "", "is empty"),
    ],
)
def test_a_wrong_sheet_is_told_by_file_item_and_column(tmp_path, change, message):
    sheet, key = pair_sheet(tmp_path)
    text = sheet.read_bytes().decode("utf-8-sig")
    assert change(text) != text
    sheet.write_bytes(change(text).encode())
    with pytest.raises(TrainDataError) as caught:
        read_pair_sheet(sheet, key)
    assert message in str(caught.value)
    assert str(sheet) in str(caught.value)


def test_files_that_are_no_sheet(tmp_path):
    sheet, key = pair_sheet(tmp_path)
    sheet.write_bytes("ä".encode("latin-1"))
    with pytest.raises(TrainDataError, match="is not UTF-8"):
        read_pair_sheet(sheet, key)
    with pytest.raises(TrainDataError, match="cannot be read"):
        read_pair_sheet(tmp_path / "none.csv", key)


def test_files_that_are_no_key(tmp_path):
    pair_sheet(tmp_path)
    path = tmp_path / "key.json"
    with pytest.raises(TrainDataError, match="no key of a sheet for 'rate'"):
        SheetKey.read(path, "rate")
    found = json.loads(path.read_text("utf-8"))
    for wrong in (found | {"items": found["items"][1:]}, {**found, "criteria": 3}, [], {"schema": 1}):
        path.write_text(json.dumps(wrong), "utf-8")
        with pytest.raises(TrainDataError, match="no key of a sheet"):
            SheetKey.read(path, "pairwise")
    with pytest.raises(TrainDataError, match="cannot be read"):
        SheetKey.read(tmp_path / "none.json", "rate")


def test_a_key_of_ratings_needs_a_group_for_every_reply(tmp_path):
    path = write_rating_sheet(tmp_path, ITEMS, seed=0)[2]
    found = json.loads(path.read_text("utf-8"))
    found["about"]["groups"].pop()
    path.write_text(json.dumps(found), "utf-8")
    with pytest.raises(TrainDataError, match="not complete"):
        SheetKey.read(path, "rate")


def test_a_filled_in_sheet_tells_its_dialogues(tmp_path):
    histories = [(f"Seeker: {place // 2}", "Supporter: b", "Seeker: c", f"Supporter: {place}") for place in range(6)]
    pairs = [PairToJudge(history, "x", "y") for history in histories]
    write_pair_sheet(tmp_path, pairs, {"all": "Which?"}, names=("one", "two"), seed=3)
    key = SheetKey.read(tmp_path / "key.json", "pairwise")
    found = sheet_dialogues(tmp_path / "sheet.csv", key)
    assert found == [dialogue_of(history) for history in histories]
    assert len(set(found)) == 3
    text = (tmp_path / "sheet.csv").read_text("utf-8").replace("conversation", "talk")
    (tmp_path / "sheet.csv").write_text(text, "utf-8")
    assert sheet_dialogues(tmp_path / "sheet.csv", key) is None
