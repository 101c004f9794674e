"""Evaluations of version 0.1: scored again without a call, judged again without a call, sheets read back."""

import json
from pathlib import Path

import pytest

from cso_train.cli import main
from cso_train.evaluation import _sheets as sheets
from cso_train.evaluation import read_test_set
from mctsdialog import load_domain

pytestmark = pytest.mark.timeout(60)
TABLES = ("evaluation.json", "pairwise.json", "ratings.json")
ROWS = ("replies.jsonl", "verdicts.jsonl", "scores.jsonl")


@pytest.fixture
def folder(take):
    """The evaluation, as it was left."""
    take("evaluation", "sheets", "domain.json", "dialogues.jsonl", "preferences")
    return Path("evaluation")


def table(path):
    return json.loads(Path(path).read_text("utf-8"))


def values(table):
    """A table without the ends of its intervals: since version 0.2 they are over dialogues."""
    if isinstance(table, dict):
        return {name: values(each) for name, each in table.items() if name not in ("low", "high")}
    return [values(each) for each in table] if isinstance(table, list) else table


def test_the_same_commands_make_the_same_tables_without_a_call(folder, run, server, expected, holds, lines, take):
    for command in expected["evaluation"]["commands"]:
        run(main, *command, "--server", server.url)
    assert server.requests == []
    folder.rename("now")
    take("evaluation")
    for name in TABLES:
        holds(values(table(f"now/{name}")), values(table(f"evaluation/{name}")), name)
    for name in ROWS:
        holds(lines(f"now/{name}"), lines(f"evaluation/{name}"), name)


def test_replies_are_judged_by_another_judge(folder, run, server, lines):
    words = ("--replies", "evaluation/replies.jsonl", "--domain", "domain.json", "--resamples", 20, "--out", "new")
    judge = ("--model", "other", "--server", server.url)
    run(main, "pairwise", *words, "--first", "base", "--second", "tuned", *judge)
    run(main, "rate", *words, *judge)
    rows = lines("evaluation/replies.jsonl")
    assert len(lines("new/verdicts.jsonl")) == len(rows)
    assert len(lines("new/scores.jsonl")) == len(rows) * 3  # two models and the gold reply
    assert {body["model"] for body in server.requests} == {"other"}


def test_a_table_is_joined_from_what_was_written(folder, run, holds):
    run(main, "table", "evaluation/evaluation.json", "--no-figures", "--out", "joined")
    holds(table("joined/evaluation.json"), table("evaluation/evaluation.json"))


def test_the_test_set_is_read_and_made_again(folder, run, lines, holds):
    rows = lines("evaluation/test.jsonl")
    cases = read_test_set("evaluation/test.jsonl", load_domain("domain.json"))
    assert [(case.id, list(case.prompt), case.strategy, case.text) for case in cases] == [
        (row["id"], row["prompt"], row["gold"]["strategy"], row["gold"]["text"]) for row in rows
    ]
    words = ("testset", "dialogues.jsonl", "--domain", "domain.json", "--least", 1)
    run(main, *words, "--out", "again.jsonl")
    holds(lines("again.jsonl"), rows)
    run(main, *words, "--exclude", "preferences/jsonl", "--out", "rest.jsonl")
    trained = {row["scenario"]["id"] for row in lines("preferences/jsonl/tree/train.jsonl")}
    assert {row["id"].rpartition("/")[0] for row in lines("rest.jsonl")} == {"work", "exam/2", "move"} - trained


@pytest.mark.parametrize("kind", ["pairwise", "rate"])
def test_sheets_are_read_back_to_the_same_agreement(folder, run, expected, holds, lines, take, kind):
    run(main, *expected["evaluation"]["sheets"][kind])
    Path("sheets", kind).rename("now")
    take(f"sheets/{kind}")
    name = "pairwise.json" if kind == "pairwise" else "ratings.json"
    holds(values(table(f"now/{name}")), values(table(f"sheets/{kind}/{name}")))
    said = "verdicts.jsonl" if kind == "pairwise" else "scores.jsonl"
    holds(lines(f"now/{said}"), lines(f"sheets/{kind}/{said}"))


def test_a_key_and_its_sheets_are_read_through_the_api(folder, lines):
    key = sheets.SheetKey.read("sheets/pairwise/key.json", "pairwise")
    known = table("sheets/pairwise/key.json")
    assert (key.code, dict(key.criteria), dict(key.about)) == (known["code"], known["criteria"], known["about"])
    assert [key.name(row) for row in range(len(key.places))] == [each["item"] for each in known["items"]]
    for person in ("ann", "bob"):
        found = sheets.read_pair_sheet(f"sheets/pairwise/{person}.csv", key)
        said = [row[f"sheets/pairwise/{person}.csv"] for row in lines("sheets/pairwise/verdicts.jsonl")]
        assert [each and dict(each.outcomes) for each in found] == [each and each["outcomes"] for each in said]
    rating = sheets.SheetKey.read("sheets/rate/key.json", "rate")
    assert {each.group for each in sheets.items_of(rating)} == {"gold", "base", "tuned"}


def test_the_same_sheet_is_made_again(folder, run):
    for kind, more in (("pairwise", ("--first", "base", "--second", "tuned")), ("rate", ())):
        words = ("--replies", "evaluation/replies.jsonl", "--domain", "domain.json", *more)
        run(main, kind, *words, "--sheet", f"new/{kind}")
        for name in ("sheet.csv", "key.json"):
            assert Path("new", kind, name).read_bytes() == Path("sheets", kind, name).read_bytes()
