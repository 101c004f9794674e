"""What people see: progress in two lines, trees in columns, help in groups, at 60, 80 and 120 columns."""

import io
import re

import anyio
import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console

import cso_train.cli
import mctsdialog
from mctsdialog.cli import main
from mctsdialog.cli._progress import LiveProgress
from mctsdialog.cli._tree import tree_view
from mctsdialog.export._words import stop_words

WIDTHS = pytest.mark.parametrize("width", [60, 80, 120])


def invoke(*words, **environment):
    result = CliRunner(env=environment).invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture
def tree(domain, gold, hash_roles):
    config = mctsdialog.SearchConfig(max_iterations=25, min_iterations=25)
    return anyio.run(mctsdialog.search, gold, hash_roles(domain.strategies.names).roles(domain), config)


@pytest.fixture
def screen(monkeypatch):
    def made(width):
        console = Console(width=width, file=io.StringIO(), force_terminal=True)
        monkeypatch.setattr("mctsdialog.cli._progress.Console", lambda stderr: console)
        return console

    return made


@WIDTHS
def test_progress_is_two_lines_that_fit(screen, width):
    console = screen(width)
    spent = ["cost 1.23 of 5", "12.5 calls/s", "cache 41%", "123,456 calls", "98.7M tokens", "8 open", "64 in flight"]
    progress = LiveProgress("trees", 1200, lambda: spent)
    progress.overall(completed=345, total=1200, eta=45296.0)
    with console.capture() as captured:
        console.print(progress._lines())
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in captured.get().splitlines()]
    assert len(lines) == 2
    assert all(cell_len(line) <= width for line in lines)
    assert "345/1200 trees  12:34:56 left" in lines[0]
    assert "━" in lines[0]
    assert lines[1].startswith("cost 1.23 of 5  12.5 calls/s  cache 41%")


def test_a_line_that_does_not_fit_loses_its_last_parts(screen):
    console = screen(22)
    progress = LiveProgress("trees", 12, lambda: ["cost 1.23 of 5", "12.5 calls/s", "cache 41%"])
    with console.capture() as captured:
        console.print(progress._lines())
    assert "cost 1.23 of 5" in captured.get()
    assert "calls/s" not in captured.get()


def test_the_time_left_of_a_single_tree_follows_its_iterations(screen, monkeypatch):
    screen(80)
    now = [100.0]
    monkeypatch.setattr("mctsdialog.cli._progress.time.monotonic", lambda: now[0])
    progress = LiveProgress("trees", 1, list)
    now[0] += 30.0
    assert "left" not in progress.summary()
    progress.update("a", 25, 100)
    assert "0:01:30 left" in progress.summary()
    progress.overall(completed=0, total=1, eta=None, in_progress=0.25)
    assert "left" not in progress.summary(), "a run that does not know makes no guess"


@WIDTHS
def test_a_tree_has_columns_and_breaks_no_word(tree, tmp_path, width):
    file = mctsdialog.save_tree(tree, tmp_path / "tree.json") or tmp_path / "tree.json"
    output = invoke("show", file, "--full", COLUMNS=str(width)).output
    lines = output.splitlines()
    assert all(cell_len(line) <= width for line in lines[2:])
    rows = [line for line in lines if re.match(r" [+-]\d\.\d\d +\d+  ", line)]
    assert len(rows) == sum(node.type != "unexpanded" for node in tree)
    words = set(re.findall(r"\w+", output))
    for node in tree:
        if node.type != "unexpanded" and node.id:
            assert set(re.findall(r"\w+", node.supporter)) <= words


def test_strategies_have_their_colours_in_a_terminal(tree, monkeypatch):
    lines = list(tree_view(tree, tree.root, unexpanded=False, max_depth=1, full=False))
    spans = [span.style for line in lines for span in line.spans]
    colours = mctsdialog._colours.strategy_colours(tree.domain.strategies.names)
    assert any(colours[name] in str(style) for name in tree.domain.strategies.names for style in spans)
    for line in lines:
        for span in line.spans:
            if " on #" in str(span.style):
                assert re.fullmatch(r"\(\w+\)", line.plain[span.start : span.end]), "only the name is coloured"


def test_a_chain_of_ten_thousand_nodes_is_shown(domain):
    tree = mctsdialog.Tree(mctsdialog.Scenario(id="deep"), domain, [mctsdialog.Turn("seeker", "Hello.")])
    scores, node = dict.fromkeys(domain.strategies.names, 1.0), 0
    priors = {name: 1 / len(scores) for name in scores}
    for _ in range(10_000):
        node = tree.expand(node, scores, priors)[0]
        tree.speak(node, "Say.", "Hear.")
    lines = list(tree_view(tree, tree.root, unexpanded=False, max_depth=None, full=False))
    assert len(lines) > 10_000
    assert max(len(line.plain) for line in lines) < 400


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("max_iterations", "stopped after 200 iterations"),
        ("budget: money", "stopped after 200 iterations: its money was spent"),
        (None, "not finished after 200 iterations"),
        ("else\x1b", "stopped after 200 iterations: else\\x1b"),
    ],
)
def test_why_a_search_stopped_is_said_in_words(reason, words):
    assert stop_words(reason, 200) == words


def each_command(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from each_command(command, (*path, name))
        else:
            yield (*path, name), command


EVERY = [("mctsdialog", *each) for each in each_command(main)] + [
    ("cso-train", *each) for each in each_command(cso_train.cli.main)
]


@pytest.mark.parametrize(("program", "path", "command"), EVERY, ids=[" ".join((p, *c)) for p, c, _ in EVERY])
def test_every_command_says_its_exit_codes(program, path, command):
    group = main if program == "mctsdialog" else cso_train.cli.main
    shown = CliRunner().invoke(group, [*path, "--help"]).output
    assert "Exit codes:" in shown
    assert "bad input" in shown


def test_options_stand_in_groups_with_examples():
    shown = invoke("search", "--help", COLUMNS="100").output
    places = [
        shown.index(f"\n{title}:\n")
        for title in ("Examples", "Data", "Model", "Search", "Budget", "Resume", "Output", "Scale")
    ]
    assert places == sorted(places)
    assert "RANGE" not in shown
    assert "x>=" not in shown
    budget = shown[shown.index("\nBudget:") : shown.index("\nResume:")]
    for option in ("--max-money", "--max-calls-per-tree", "--dry-run", "--price"):
        assert option in budget


@pytest.mark.parametrize("name", sorted(name for name, each in main.commands.items() if getattr(each, "examples", "")))
def test_examples_in_the_help_are_commands(name):
    for line in main.commands[name].examples.strip().splitlines():
        program, command, *words = line.split()
        assert (program, command) == ("mctsdialog", name)
        options = {each for parameter in main.commands[name].params for each in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


# -- a folder of trees -----------------------------------------------------------------------------------------------


def test_a_folder_becomes_pages_and_a_list(tree, tmp_path):
    for name in ("a", "b c#?"):
        mctsdialog.save_tree(tree, tmp_path / "out" / "trees" / f"{name}.json")
    done = invoke("view", tmp_path / "out")
    assert (done.exit_code, done.output.strip()) == (0, str(tmp_path / "out" / "index.html"))
    page = (tmp_path / "out" / "index.html").read_text()
    links = re.findall(r'href="\./([^"]+)"', page)
    assert links == ["trees/a.html", "trees/b%20c%23%3F.html"]
    assert (tmp_path / "out" / "trees" / "b c#?.html").is_file()
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert f"{tree.best_path().value:+.2f}" in page
    assert invoke("view", tmp_path / "out", "--out", tmp_path / "pages").exit_code == 0
    assert sorted(each.name for each in (tmp_path / "pages").iterdir()) == ["a.html", "b c#?.html", "index.html"]
    mctsdialog.save_tree(tree, tmp_path / "out" / "trees" / "index.json")
    clash = invoke("view", tmp_path / "out", "--out", tmp_path / "pages")
    assert (clash.exit_code, "written over" in clash.output) == (2, True)


def test_the_list_takes_texts_as_data(domain):
    evil = "<script>alert(1)</script>\x1b&\"'"
    tree = mctsdialog.Tree(mctsdialog.Scenario(id=evil, description=evil), domain, [mctsdialog.Turn("seeker", evil)])
    from mctsdialog.export._index import Listed, index_page

    page = index_page([Listed.of(tree, "x.html")])
    assert "<script" not in page
    assert "\x1b" not in page
    assert "not finished after 0 iterations" in page
    assert "none yet" in page


# -- training --------------------------------------------------------------------------------------------------------


def test_training_prints_its_settings_once_and_only_after_the_data_was_read(tmp_path):
    pytest.importorskip("torch")
    words = ["train", "--data", str(tmp_path / "missing.jsonl"), "--output-dir", str(tmp_path / "run"), "--beta", "0.3"]
    done = CliRunner().invoke(cso_train.cli.main, words)
    assert done.exit_code == 2
    assert done.output.startswith("Error: ")
    assert "beta" not in done.output
    told = cso_train.cli._Told(cso_train.resolve_config(beta=0.3, output_dir=str(tmp_path / "run")))
    with CliRunner().isolation() as (_, err, _):
        told("the first line")
        told("the second line")
        shown = err.getvalue().decode()
    assert shown.count("beta: 0.3") == 1
    assert "learning_rate" not in shown, "it has its default"
    assert shown.index("beta") < shown.index("the first line") < shown.index("the second line")


def test_the_first_help_says_of_every_command_what_it_does_and_cuts_nothing():
    shown = invoke("--help").output
    assert "..." not in shown.split("Options:")[1]
    assert all(cell_len(line) <= 80 for line in shown.splitlines())
    for name in main.commands:
        assert re.search(rf"^  {name}  +\w", shown, re.MULTILINE), name
    assert shown.index("Start here:") < shown.index("  search  ") < shown.index("  preferences  ")
