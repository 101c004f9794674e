"""A newcomer with a domain of their own: every command that is suggested to them works as it is printed."""

import csv
import json
import shlex

import pytest
from click.testing import CliRunner

from mctsdialog import get_domain
from mctsdialog.cli import main
from mctsdialog.dialogue import inspect_dialogues, load_domain, read_dialogues
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
    assert "1 of 1 dialogue kept" in reads(words)


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


def test_a_search_without_labels_says_how_to_get_some(table):
    path = table("conversation_id,speaker,text")
    code, output = command("search", path, *DOMAIN, "--model", "stub", "--base-url", "http://127.0.0.1:9/v1")
    assert code == 2
    assert "no dialogue is left to search; the counts above say what was dropped and why" in output
    line = next(line for line in output.splitlines() if line.startswith("Its turns lack strategies: "))
    assert "alias" not in line
    suggestion = line.removeprefix("Its turns lack strategies: let a model label them: mctsdialog ")
    assert shlex.split(suggestion) == ["label", path, *DOMAIN]


def test_a_search_of_another_domains_labels_says_what_to_do(table):
    code, output = command("search", table(), "--domain", "esc", "--model", "stub", "--base-url", "http://127.0.0.1:9")
    assert code == 2
    assert "name the domain of the labels (--domain), give your domain aliases for them, or let a model" in output
    assert "2 x" not in output.replace("2 x no supporter turn left", "")  # three labels, each once
    assert "1 x unknown strategy: Offer a solution" in output


def test_a_search_of_no_dialogues_says_nothing_of_labels(files):
    (files / "none.json").write_text('[{"conversations": []}]', encoding="utf-8")
    code, output = command("search", "my files/none.json", "--model", "stub", "--base-url", "http://127.0.0.1:9/v1")
    assert code == 2
    assert "no dialogue is left to search" in output
    assert "mctsdialog label" not in output


SIDES = (("customer", None), ("agent", "Ask for detail"))
TYPOS = [*TURNS, *((f"d{n}", who, "x", label) for n in range(3) for who, label in SIDES)]


def test_a_label_with_a_typo_is_named_with_the_strategy_that_is_meant(table):
    more = [(f"e{n}", "agent", "x", label) for n, label in enumerate(["Refund", "Refund", "Sing", "Dance"])]
    path = table(turns=[*TYPOS, *more])
    code, output = command("inspect", path, *DOMAIN)
    assert code == 0, output
    assert "3 x unknown strategy: Ask for detail (did you mean 'Ask for details'?)" in output
    words = suggested(output)
    line = next(line for line in reads(words).splitlines() if "dialogues kept" in line)
    assert (
        "unknown strategies: 3 x Ask for detail (did you mean 'Ask for details'?), 2 x Refund, 1 x Sing and 1 more"
    ) in line


def test_an_alias_with_a_typo_names_its_strategy(table):
    path = table(turns=[*TURNS, ("c3", "customer", "x", None), ("c3", "agent", "x", "Apologizes")])
    report = inspect_dialogues(path, domain=load_domain("my files/care.json")).report
    assert report.unknown_labels == {"Apologizes": 1}
    assert report.did_you_mean == {"Apologizes": "Apologise"}


def test_labelling_names_unknown_labels_too(table, stub_server):
    model = ("--model", "stub", "--base-url", stub_server.url, "--out", "my files/out")
    code, output = command("label", table(turns=TYPOS), *DOMAIN, *model, OPENAI_API_KEY="k")
    assert code == 0, output
    assert "unknown strategies: 3 x Ask for detail (did you mean 'Ask for details'?)" in output


@pytest.fixture
def torn(table, files):
    """A table with an unquoted comma in its third row."""
    table()
    path = files / "talks.csv"
    path.write_text(path.read_text("utf-8").replace("It is 4471.", "It is 4471, I think, really."), encoding="utf-8")
    return "my files/talks.csv"


def test_malformed_lines_are_in_what_inspect_says_and_suggests(torn):
    code, output = command("inspect", torn, *DOMAIN)
    assert code == 0, output
    assert "line 4: has 6 cells; there are 4 columns; the dialogue that it is a row of is left out" in output
    assert "A search without --lenient stops at the first malformed item." in output
    words = suggested(output)
    assert words[-1] == "--lenient"
    assert "1 of 2 dialogues kept" in reads(words)
    code, output = command("estimate", *words[1:-1], "--model", "stub", "--base-url", "http://127.0.0.1:9/v1")
    assert code == 2
    assert "line 4: has 6 cells; there are 4 columns" in output


def test_a_dialogue_is_not_read_around_a_row_that_is_lost(torn):
    found = read_dialogues(torn, domain=load_domain("my files/care.json"), lenient=True)
    assert [each.id for each in found] == ["c2"]
    assert (found.report.items, found.report.malformed, found.report.ids_renamed) == (2, 1, 0)


def test_a_malformed_row_between_two_dialogues_takes_neither(table, files):
    table()
    path = files / "talks.csv"
    path.write_text(path.read_text("utf-8").replace("c2,customer", "c9,a,b,c,d\nc2,customer", 1), encoding="utf-8")
    found = read_dialogues(path, domain=load_domain("my files/care.json"), lenient=True)
    assert [each.id for each in found] == ["c1", "c2"]
    assert found.report.malformed == 1


def test_a_file_of_malformed_lines_alone_is_to_be_mended(table):
    turns = [(each, "Ann", said, label) for each, _, said, label in TURNS]
    code, output = command("inspect", table(turns=turns), *DOMAIN)
    assert code == 2
    assert "says" not in output.partition("Next: ")[2]
    assert "Next: mend what is malformed" in output


def care(**changes):
    return json.dumps({**CARE, **changes})


def test_a_domain_file_is_checked_and_shown(files):
    code, output = command("domains", "my files/care.json")
    assert code == 0, output
    assert output.startswith("customer-care: Customer service\nSeeker: customer; supporter: agent\n")
    assert "  Offer a solution: Offer a step that solves the problem.\n" in output
    assert "  resolution (weight 1)\n" in output
    assert json.loads(command("domains", "my files/care.json", "--json")[1])["weights"] == CARE["weights"]


@pytest.mark.parametrize(
    ("levels", "lines"),
    [
        (2, ["-3 to -2 with the", "no reply can reach", "--bias -0.25, which gives -0.25 to 0.75"]),
        (3, ["-3 to -1 with the", "no reply can reach", "--bias -1, which gives -1 to 1"]),
        (5, ["-3 to 1 with the"]),
        (6, ["-3 to 2 with the"]),
        (11, ["-3 to 7 with the", "even a middling reply, with 2, reaches", "--bias -7.5, which gives -7.5 to 2.5"]),
    ],
)
def test_the_rewards_of_a_domain_by_the_default_bias(levels, lines, files):
    rubric = [{"name": "resolution", "levels": [str(each) for each in range(levels)]}]
    (files / "care.json").write_text(care(rubric=rubric), encoding="utf-8")
    code, output = command("domains", "my files/care.json")
    assert code == 0, output
    shown = output.partition("Rewards\n")[2].splitlines()
    assert len(shown) == len(lines)
    assert all(line in each for line, each in zip(lines, shown, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (care(weights={}), "weights are for"),
        (care(templates={"judge": "{% block system %}{{ nobody }}{% endblock %}"}), "nobody"),
        ("{", "not JSON"),
    ],
)
def test_a_faulty_domain_file_is_one_error(text, message, files):
    (files / "care.json").write_text(text, encoding="utf-8")
    code, output = command("domains", "my files/care.json")
    assert code == 2, output
    assert message in output
    assert output.count("Error: ") == 1


def test_a_domain_file_that_is_not_there_is_said_to_be_a_file(files):
    code, output = command("domains", "car.json")
    assert code == 2
    assert "car.json: cannot be read: No such file" in output
    assert "did you mean" not in output
