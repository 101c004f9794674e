"""A newcomer with a domain of their own: every command that is suggested to them works as it is printed."""

import csv
import json
import shlex

import pytest
from click.testing import CliRunner

from mctsdialog import get_domain
from mctsdialog.cli import main
from mctsdialog.dialogue import inspect_dialogues, load_domain
from mctsdialog.studio import ChatDesk

CARE = {
    "name": "customer-care",
    "title": "Customer service",
    "strategies": {
        "strategies": [
            {"name": "Ask for details", "description": "Ask for a fact that is needed."},
            {"name": "Apologise", "description": "Say sorry for the trouble."},
            {"name": "Offer a solution", "description": "Offer a step that solves the problem."},
        ],
        "aliases": {"Apologize": "Apologise"},
    },
    "seeker": {"name": "customer"},
    "supporter": {"name": "agent"},
    "rubric": [{"name": "resolution", "levels": ["none", "a step", "solved"]}],
    "weights": {"resolution": 1.0},
}
TURNS = [
    ("c1", "customer", "My parcel is not here.", None),
    ("c1", "agent", "Could you give me the order number?", "Ask for details"),
    ("c1", "customer", "It is 4471.", None),
    ("c1", "agent", "I can send it again, today.", "Offer a solution"),
    ("c2", "customer", "I was charged twice.", None),
    ("c2", "agent", "I am sorry about that.", "Apologise"),
    ("c2", "customer", "Will I get it back?", None),
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """An empty folder whose name needs quotes, with a domain in it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my files"
    folder.mkdir()
    (folder / "care.json").write_text(json.dumps(CARE), encoding="utf-8")
    return folder


@pytest.fixture
def table(files):
    """Writes a table: the columns that are named, in their order, of the turns."""

    def write(columns="conversation_id,speaker,text,strategy", turns=TURNS, name="talks.csv"):
        path = files / name
        with path.open("w", encoding="utf-8", newline="") as file:
            names = columns.split(",")
            rows = csv.writer(file)
            rows.writerow(names)
            rows.writerows(turn[: len(names)] for turn in turns)
        return "my files/" + name

    return write


DOMAIN = ("--domain", "my files/care.json")


def command(*words, **env):
    done = CliRunner().invoke(main, [*map(str, words)], env=env)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def suggested(output):
    """The command that is suggested, as the shell reads it, without the program's name."""
    (line,) = [line for line in output.splitlines() if line.startswith("Next: ")]
    program, *words = shlex.split(line.removeprefix("Next: "))
    assert program == "mctsdialog"
    return words


def reads(words):
    """What reading gives that a suggested search does; no model is asked."""
    assert words[0] == "search"
    code, output = command("estimate", *words[1:], "--model", "stub", "--base-url", "http://127.0.0.1:9/v1")
    assert code == 0, output
    return output


@pytest.mark.parametrize("domain", [DOMAIN, ("--domain", "ESC"), ()])
def test_what_inspect_and_label_suggest_can_be_typed(domain, table, stub_server):
    code, output = command("inspect", table("conversation_id,speaker,text"), *domain)
    assert code == 0, output
    words = suggested(output)
    assert words[0] == "label"
    model = ("--model", "stub", "--base-url", stub_server.url, "--out", "my files/out")
    code, output = command(*words, *model, OPENAI_API_KEY="k")
    assert code == 0, output
    words = suggested(output)
    assert "my files/out/dialogues.jsonl" in words
    assert "2 of 2 dialogues kept" in reads(words)


def test_what_inspect_suggests_for_labelled_dialogues_can_be_typed(table):
    code, output = command("inspect", table(), *DOMAIN)
    assert code == 0, output
    words = suggested(output)
    assert words == ["search", "my files/talks.csv", "--format", "rows", *DOMAIN]
    assert "2 of 2 dialogues kept" in reads(words)


def test_a_map_is_in_the_suggested_command(table):
    keys = "speaker=who|whoever,text=says,strategy=act,dialogue=nr"
    code, output = command("inspect", table("nr,who,says,act"), "--map", keys, *DOMAIN)
    assert code == 0, output
    words = suggested(output)
    assert words == ["search", "my files/talks.csv", "--format", "rows", "--map", keys, *DOMAIN]
    assert "2 of 2 dialogues kept" in reads(words)


def test_a_form_that_a_map_alone_describes_has_no_name_in_the_suggested_command(files):
    talk = [{"who": who, "says": said, "act": label} for _, who, said, label in TURNS[:4]]
    (files / "talks.json").write_text(json.dumps([{"chat_log": talk}]), encoding="utf-8")
    keys = "turns=chat_log,speaker=who,text=says,strategy=act"
    code, output = command("inspect", "my files/talks.json", "--map", keys, *DOMAIN)
    assert code == 0, output
    words = suggested(output)
    assert words == ["search", "my files/talks.json", "--map", keys, *DOMAIN]
    assert "1 of 1 dialogues kept" in reads(words)


def test_a_domain_made_in_python_has_no_file_to_name(files, table):
    made = load_domain(files / "care.json")
    assert inspect_dialogues(table(), domain=made).advice.endswith("--domain DOMAIN.json")
    changed = get_domain("esc").with_weights(empathy=2.0)
    assert inspect_dialogues(table(), domain=changed).advice.endswith("--domain DOMAIN.json")
    assert inspect_dialogues(table(), domain=get_domain("mi")).advice.endswith("--domain mi")


def test_the_studio_names_the_domains_file(files):
    def desk(given):
        return ChatDesk(files, load_domain(files / "care.json"), None, domain_file=given).about()["command"]

    assert shlex.split(desk("my files/care.json"))[1:] == ["search", str(files / "dialogues.jsonl"), *DOMAIN]
    assert desk(None).endswith("--domain DOMAIN.json")
