"""``pairwise`` and ``rate`` as they are typed: models and people as raters, figures, clear errors."""

import csv
import io
import json

import pytest
from click.testing import CliRunner

from cso_train.cli import main

HISTORY = [
    {"role": "system", "content": "Choose."},
    {"role": "user", "content": "I am tired."},
]


@pytest.fixture
def replies(tmp_path):
    """What 'evaluate' writes of two models: one says more."""
    rows = [
        {
            "id": f"d/{place}",
            "prompt": HISTORY,
            "gold": {"strategy": "Affirmation", "text": f"Gold {place}."},
            "replies": {"long": f"(Affirmation) Well done, well done {place}.", "short": f"Yes {place}."},
        }
        for place in range(4)
    ]
    path = tmp_path / "replies.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def run(*words, code=0):
    done = CliRunner().invoke(main, list(map(str, words)), env={"OPENAI_API_KEY": "sk-secret"})
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def judge(body, number):
    """Prefers the longer answer; rates by length."""
    text = body["messages"][1]["content"]
    criteria = body["response_format"]["json_schema"]["schema"]["required"]
    if "Answer B" in text:
        one, other = text.split("Answer A: ")[1].split("\n\nAnswer B: ")
        return json.dumps(dict.fromkeys(criteria, "A" if len(one) > len(other) else "B"))
    words = text.split("Answer: ")[1].split("\n")[0].split()
    return json.dumps(dict.fromkeys(criteria, 5 if len(words) > 3 else 2))


@pytest.fixture
def judges(stub_server, tmp_path):
    """Words of the command line for a judge, and where the figures go."""
    stub_server.reply = judge
    return ["--model", "judge", "--server", stub_server.url, "--out", tmp_path / "out"]


def test_two_models_compared_and_the_answers_kept(stub_server, replies, judges, tmp_path):
    words = ["pairwise", "--replies", replies, "--first", "long", "--second", "short", *judges]
    done = run(*words)
    assert "| acceptance | 100.00 (100.0 to 100.0) | 0.00 (0.0 to 0.0)" in done.output
    found = json.loads((tmp_path / "out" / "pairwise.json").read_text("utf-8"))
    assert found["criteria"]["acceptance"]["win"]["value"] == 1
    lines = (tmp_path / "out" / "verdicts.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0])["judge"]["outcomes"]["acceptance"] == "win"
    assert len(stub_server.requests) == 8
    assert "Affirmation" not in json.dumps(stub_server.requests)  # the judge sees the words alone
    assert run(*words).output == done.output
    assert len(stub_server.requests) == 8
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"sk-secret" not in file.read_bytes()


def test_several_judges_and_repeats_agree_or_not(stub_server, replies, judges):
    words = ["pairwise", "--replies", replies, "--first", "long", "--second", "short", *judges]
    done = run(*words, "--model", f"other@{stub_server.url}", "--repeats", 2)
    for name in ("judge repeat 1", "judge repeat 2", f"other@{stub_server.url} repeat 2"):
        assert name in done.output
    assert "| 1.00 (1.00 to 1.00) |" in done.output
    assert len(stub_server.requests) == 32
    assert {body["model"] for body in stub_server.requests} == {"judge", "other"}
    assert {body["temperature"] for body in stub_server.requests} == {1.0}


def test_preferred_against_rejected_by_the_rubric(preference_file, judges):
    done = run("pairwise", "--data", preference_file, *judges, "--limit", 3)
    assert "chosen vs. rejected" in done.output
    assert "| empathy |" in done.output
    assert "3 pairs" in done.output


def test_ratings_of_models_and_of_preference_data(replies, preference_file, judges, tmp_path):
    done = run("rate", "--replies", replies, *judges)
    assert "| | gold | long | short | κ |" in done.output
    assert "| Sat | 2.00 (2.00 to 2.00) | 5.00 (5.00 to 5.00) | 2.00 (2.00 to 2.00) | – |" in done.output
    assert "4 name no strategy" in done.output  # of the short ones
    assert json.loads((tmp_path / "out" / "ratings.json").read_text("utf-8"))["groups"]["gold"] == 4
    assert "| | preferred | non-preferred | κ |" in run("rate", "--data", preference_file, *judges).output


def answer(path, copy, cells):
    """A copy of a sheet with the cells that a function gives for each row."""
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(row | cells(row) for row in rows)
    copy.write_bytes(text.getvalue().encode())
    return copy


def test_people_judge_pairs_on_sheets(replies, tmp_path):
    names = ["--first", "long", "--second", "short"]
    done = run("pairwise", "--replies", replies, *names, "--sheet", tmp_path / "people")
    assert [line.rsplit("/", 1)[1] for line in done.output.split()] == ["sheet.csv", "instructions.txt", "key.json"]
    criteria = ("acceptance", "effectiveness", "sensitivity", "satisfaction")

    def longer(row):
        return dict.fromkeys(criteria, "A" if len(row["answer A"]) > len(row["answer B"]) else "B")

    sheet = tmp_path / "people" / "sheet.csv"
    ann = answer(sheet, tmp_path / "ann.csv", longer)
    bob = answer(sheet, tmp_path / "bob.csv", lambda row: longer(row) | {"acceptance": "tie"})
    key = ["--key", tmp_path / "people" / "key.json", "--out", tmp_path / "out"]
    done = run("pairwise", "--sheets", ann, "--sheets", bob, *key)
    assert "long vs. short" in done.output
    assert (
        "| acceptance | 50.00 (50.0 to 50.0) | 0.00 (0.0 to 0.0) | 50.00 (50.0 to 50.0) | – | – | 0.00" in done.output
    )
    assert "| satisfaction | 100.00" in done.output
    done = run("pairwise", "--sheets", replies, *key, code=2)
    assert "has no column 'item'" in done.output


def test_people_rate_on_sheets(replies, tmp_path):
    run("rate", "--replies", replies, "--sheet", tmp_path / "people")
    sheet = answer(
        tmp_path / "people" / "sheet.csv",
        tmp_path / "ann.csv",
        lambda row: {"acceptance": "3", "effectiveness": "4", "sensitivity": "5" if "well" in row["answer"] else "2"},
    )
    key = ["--key", tmp_path / "people" / "key.json", "--out", tmp_path / "out"]
    done = run("rate", "--sheets", sheet, *key)
    assert "| Sat | 3.00 (3.00 to 3.00) | 4.00 (4.00 to 4.00) | 3.00 (3.00 to 3.00) | – |" in done.output


def test_a_sheet_that_nobody_filled_is_told(replies, tmp_path):
    run("rate", "--replies", replies, "--sheet", tmp_path / "people")
    sheet = tmp_path / "people" / "sheet.csv"
    key = ["--key", tmp_path / "people" / "key.json", "--out", tmp_path / "out"]
    done = run("rate", "--sheets", sheet, *key, code=2)
    assert f"Error: {sheet}: nothing is written into its columns acceptance, effectiveness" in done.output


@pytest.mark.parametrize("command", [["pairwise", "--first", "long", "--second", "short"], ["rate"]])
def test_a_judge_of_whom_no_answer_can_be_read_is_a_failure(stub_server, replies, judges, command, tmp_path):
    stub_server.reply = lambda body, number: "I would rather not say."
    done = run(*command, "--replies", replies, *judges, code=1)
    assert "Error: no answer of a judge could be read" in done.output
    assert list((tmp_path / "out").glob("*.md"))


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("pairwise", ("--replies", "FILE"), "give --model, or --sheet, or --sheets with --key"),
        ("rate", ("--replies", "FILE", "--model", "m", "--sheet", "x"), "give --model, or --sheet"),
        ("rate", ("--sheets", "FILE"), "--sheets and --key go together"),
        ("rate", ("--sheets", "FILE", "--key", "FILE", "--data", "FILE"), "read by their key alone"),
        ("rate", ("--sheets", "FILE", "--key", "FILE"), "this is no key of a sheet"),
        ("pairwise", ("--model", "m", "--server", "URL"), "give --replies or --data"),
        ("pairwise", ("--replies", "FILE", "--model", "m", "--server", "URL"), "needs --first and --second"),
        (
            "pairwise",
            ("--replies", "FILE", "--first", "long", "--second", "other", "--model", "m", "--server", "URL"),
            "row 1: has no reply of 'other'; there are: long, short",
        ),
        ("rate", ("--replies", "EMPTY", "--model", "m", "--server", "URL"), "has no rows"),
        ("rate", ("--data", "FILE", "--model", "m", "--server", "URL"), "replies.jsonl"),
        ("rate", ("--replies", "absent", "--model", "m", "--server", "URL"), "absent"),
    ],
)
def test_bad_input_is_one_clear_line(replies, tmp_path, command, words, message):
    (tmp_path / "empty.jsonl").write_text("")
    named = {"FILE": replies, "EMPTY": tmp_path / "empty.jsonl", "URL": "http://127.0.0.1:1/v1"}
    done = run(command, *(named.get(word, word) for word in words), "--out", tmp_path / "out", code=2)
    assert message in done.output
    assert done.output.strip().splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "out").exists()


def test_openai_without_a_key_is_told(replies, tmp_path, monkeypatch):
    monkeypatch.delenv("ABSENT_KEY", raising=False)
    done = run("rate", "--replies", replies, "--model", "m", "--api-key-env", "ABSENT_KEY", code=2)
    assert "set ABSENT_KEY to your key, or name another server with --server" in done.output
