"""What files, models and servers wrote acts on no terminal: a hostile text through every command and error class."""

import ast
import inspect
import io
import json
import logging
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import anyio
import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import cso_train.cli
import cso_train.errors
import mctsdialog
import mctsdialog.cli
import mctsdialog.errors
from cso_train._progress import progress_bar
from mctsdialog.cli._progress import LiveProgress
from mctsdialog.cli.terminal import Commands, echo
from mctsdialog.dialogue import DialogueSet, ReadReport, sample_dialogues_text
from mctsdialog.text import one_line, visible, visible_line
from mctsdialog.tree import tree_to_document

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {"mctsdialog": mctsdialog.cli.main, "cso_train": cso_train.cli.main}
EVIL = (
    "\x1b[2J\x1b]0;title\x07\x08\r\x7f\x9b31m\x85\u2028\u2029\u202edda\u2066\u200b\u200d\ufeff\u3164\U000e0041\U000e0101"
    "[red]:smile:[link=http://evil.example]"
)
IN_FILE_NAMES = EVIL.replace("//", "") + "\udc9b"


def acting(text, hidden=("\u3164", "\U000e0101")):
    """The characters of a text that a terminal acts on, and those that show nothing."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return [each for each in text if each not in "\n\t" and (unicodedata.category(each) in kinds or each in hidden)]


def commands(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


EVERY = [(program, path, command) for program, main in PROGRAMS.items() for path, command in commands(main)]
NAMED = pytest.mark.parametrize(("program", "path", "command"), EVERY, ids=[" ".join((p, *c)) for p, c, _ in EVERY])


def run(program, *words):
    done = CliRunner().invoke(PROGRAMS[program], [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    assert acting(done.output) == [], done.output
    return done.output


# -- one function ---------------------------------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=60))
def test_nothing_acts_that_was_made_visible(text):
    assert set(acting(visible(text))) <= set("\u200c\u200d")  # joiners, where they join
    assert acting(visible(text).replace("\u200c", "").replace("\u200d", "")) == []
    assert not set(visible_line(text)) & set("\n\t")
    visible(text).encode()


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs")), max_size=60))
def test_text_that_does_not_act_is_left_alone(text):
    hidden = set("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | {chr(code) for code in range(0xE0100, 0xE01F0)}
    if not hidden & set(text):
        assert visible(text) == text


@pytest.mark.parametrize("text", ["می‌خواهم", "क्‍ष", "👩‍👩‍👧", "❤️", "naïve\n\tçà", "“x” – 你好　"])
def test_writing_and_emoji_are_whole(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\u202e", r"\u202e"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("ad\u200dmin", r"ad\u200dmin"),
        ("\u200d", r"\u200d"),
        ("a\r\n", "a\\x0d\n"),
    ],
)
def test_what_acts_is_an_escape(text, shown):
    assert visible(text) == shown


def test_nothing_else_prints():
    """Only the terminal's module and the three progress displays write to a terminal."""
    allowed = {"terminal.py", "_progress.py", "_notebook.py"}
    found = []
    for package in ("mctsdialog", "cso_train"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Call) and file.name not in allowed:
                    called = ast.unparse(node.func)
                    if called == "print" or called.endswith(
                        ("click.echo", "secho", "click.confirm", "click.prompt", "stdout.write", "stderr.write")
                    ):
                        found.append(f"{file}: {called}")
    assert found == []


# -- every command --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Every file is in a folder of a hostile name."""
    folder = tmp_path / IN_FILE_NAMES.replace("\r", "")
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key-of-no-one")
    monkeypatch.setenv("MCTSDIALOG_MODEL", "none.gguf")  # no word here is to start the embedded model
    return folder


@NAMED
def test_a_hostile_word_in_every_place_of_a_command_line(program, path, command, place):
    run(program, *path, "--help")
    run(program, *path, EVIL)
    run(program, *path, f"--{EVIL}", "1")
    settings = "set_" if path == ("train",) else "-"  # of training: 'config show' takes them too
    for parameter in command.params:
        if (
            not parameter.name.startswith(settings)
            and parameter.opts[0].startswith("-")
            and not getattr(parameter, "is_flag", False)
        ):
            required = [EVIL] * sum(isinstance(each, click.Argument) for each in command.params)
            run(program, *path, parameter.opts[0], EVIL, *required)


def hostile_tree(domain_maker, gold, hash_roles):
    """A tree in which everything that is free text is hostile."""
    names = (f"Ask {EVIL}|", f"Comfort\n{EVIL}|", "Plan")
    domain = domain_maker(names).model_copy(update={"title": EVIL})
    turns = tuple(
        turn.model_copy(
            update={"text": f"{turn.text} {EVIL}", "strategy": None if turn.strategy is None else names[at % 2]}
        )
        if hasattr(turn, "model_copy")
        else mctsdialog.Turn(turn.speaker, f"{turn.text} {EVIL}", None if turn.strategy is None else names[at % 2])
        for at, turn in enumerate(gold.turns)
    )
    start = gold.model_copy(update={"id": f"id{EVIL}", "scene": EVIL, "description": EVIL, "turns": turns})
    roles = hash_roles(names, seed=1, end_one_in=4).roles(domain)
    config = mctsdialog.SearchConfig(max_iterations=25, min_iterations=25, horizon=1)
    tree = anyio.run(mctsdialog.search, start, roles, config)
    tree.stop_reason = f"because {EVIL}"
    return tree


@pytest.fixture
def tree(domain_maker, gold, hash_roles, place):
    return (
        mctsdialog.save_tree(hostile_tree(domain_maker, gold, hash_roles), place / "tree.json") or place / "tree.json"
    )


def test_trees(tree, place):
    shown = run("mctsdialog", "show", tree)
    assert r"because \x1b[2J" in shown
    for words in (["--full", "--unexpanded"], ["--best"], ["--node", 999]):
        run("mctsdialog", "show", tree, *words)
    for form in ("json", "graphml", "dot"):
        run("mctsdialog", "export", tree, "--format", form, "--out", place / "out")
    run("mctsdialog", "view", tree)
    run("mctsdialog", "view", place)
    run("mctsdialog", "view", place, "--out", place / "pages")
    loose = ("--theta", "-3", "--min-visits", "1", "--path-rule", "end")
    run("mctsdialog", "preferences", tree, *loose, "--out", place / "p", "--license", EVIL)
    run("mctsdialog", "stats", tree, *loose, "--no-figures", "--out", place / "s")
    run("mctsdialog", "stats", place / "p", "--no-figures", "--out", place / "s")
    broken = place / "broken.json"
    for old, new in (('"iterations"', json.dumps(EVIL)), ('"root"', json.dumps(EVIL)), ("{", "\x1b[2J{")):
        broken.write_text(tree.read_text("utf-8").replace(old, new, 1), "utf-8")
        assert "Error: " in run("mctsdialog", "show", broken)
        run("mctsdialog", "preferences", broken, tree, "--lenient", *loose, "--out", place / "q")


def test_what_a_notebook_prints(tree):
    grown = mctsdialog.load_tree(tree)
    dialogues = DialogueSet((), grown.domain, ReadReport(keys_ignored={EVIL: 1}, messages=(EVIL,)))
    shown = [grown, *grown.walk(grown.root), grown.domain, grown.scenario, dialogues, *grown.history(grown.root)]
    assert acting("".join(f"{each!r}{each}" for each in shown), hidden=()) == []
    assert acting(str(dialogues.report)) == []


def gold_file(place, **changes):
    dialogues = json.loads(sample_dialogues_text())[:2]
    file = place / "gold.json"
    file.write_text(json.dumps([{**dialogue, **changes} for dialogue in dialogues]), "utf-8")
    return file


EVIL_SCENES = {"scene": EVIL, "description": EVIL, EVIL: EVIL, "id": f"x{EVIL}"}
FEW = ("--max-iterations", 2, "--min-iterations", 2, "--horizon", 0, "--limit", 1, "--max-failures", 0)


@pytest.mark.parametrize(
    "said", [None, (400, {"error": {"message": EVIL}}), (401, {EVIL: EVIL}), (200, {"choices": [EVIL]}), EVIL]
)
def test_search(stub_server, place, said):
    if said is not None:
        stub_server.reply = lambda body, number: said
    else:
        stub_server.reply = lambda body, number: stub_server.good(body).replace("This", EVIL)
    words = ("--model", f"m{EVIL}", "--base-url", stub_server.url, "--out", place / "o", *FEW)
    if isinstance(said, tuple) and said[0] == 200:
        words = (*words, "--max-calls", 1)  # not made again for half a minute
    output = run("mctsdialog", "search", gold_file(place, **EVIL_SCENES), *words)
    assert r"\x1b[2J" in output


@pytest.mark.parametrize(
    "said", [EVIL, (429, {"error": {"code": "insufficient_quota", "message": EVIL}})], ids=["text", "error"]
)
def test_doctor(stub_server, place, said):
    stub_server.reply = lambda body, number: said
    output = run("mctsdialog", "doctor", "--model", f"m{EVIL}", "--base-url", stub_server.url, "-v")
    assert "\\x1b[2J" in output
    assert "cannot be played" in output


def test_labels_of_dialogues_in_the_reading_report(place):
    dialogues = json.loads(sample_dialogues_text())[:1]
    for turn in dialogues[0]["content"]:
        if "AI Strategy" in turn:
            turn["AI Strategy"] = EVIL
    file = place / "labels.json"
    file.write_text(json.dumps([*dialogues, {"content": EVIL}, {EVIL: 1}]), "utf-8")
    for words in ((), ("--lenient",)):
        run("mctsdialog", "search", file, *words)
        run("cso_train", "testset", file, *words, "--out", place / "t.jsonl", "--domain", "esc")
    words = ("--model", "m", "--replay")  # which is met after the dialogues are read
    assert "unknown strategy" in run("mctsdialog", "search", file, "--lenient", *words)
    assert "unknown strategy" in run("mctsdialog", "search", file, "--lenient", "--verbose", *words)
    assert "no dialogue is left" in run("mctsdialog", "estimate", file, "--lenient", *words)


def test_a_file_of_options(place):
    file = place / "run.yaml"
    for text in ("{0}: 1", "model: {0}", "max_iterations: {0}", "files: [{0}]", "setting: {{{0}: {0}}}", "{0}"):
        file.write_text(text.format(json.dumps(EVIL)), "utf-8")
        run("mctsdialog", "search", "--config", file, "--dry-run")
        run("mctsdialog", "estimate", gold_file(place, **EVIL_SCENES), "--config", file)


def test_domain_files(place, domain):
    made = domain.model_dump(mode="json")
    for changes in ({"title": EVIL, "name": EVIL}, {EVIL: EVIL}, {"weights": {EVIL: EVIL}}):
        (place / "domain.json").write_text(json.dumps(made | changes), "utf-8")
        run("mctsdialog", "search", gold_file(place), "--domain", place / "domain.json", "--local", place / "no.gguf")


def test_a_look_at_files_and_labels_for_them(stub_server, place):
    file = gold_file(place, **EVIL_SCENES)
    assert r"\x1b[2J" in run("mctsdialog", "inspect", file)
    run("mctsdialog", "inspect", file, "--map", f"turns={EVIL}")
    for content in ([{EVIL: EVIL}], EVIL, [{"messages": [{"role": EVIL, "content": EVIL}]}]):
        (place / "other.json").write_text(json.dumps(content), "utf-8")
        run("mctsdialog", "inspect", place / "other.json")
    for said in (EVIL, (400, {"error": {"message": EVIL}})):
        stub_server.reply = lambda body, number, said=said: said
        words = ("--model", f"m{EVIL}", "--base-url", stub_server.url, "--out", place / "labelled.jsonl")
        run("mctsdialog", "label", file, *words)


def test_a_calibration_and_a_demonstration(place, tree):
    content = tree_to_document(mctsdialog.load_tree(tree))
    content["calibration"] = {EVIL: EVIL}
    (place / "tree.json").write_text(json.dumps(content), "utf-8")
    run("mctsdialog", "calibrate", place / "tree.json", "--out", place / "c.json")
    (place / "c.json").write_text(json.dumps({EVIL: EVIL}), "utf-8")
    words = ("--algorithm", "calibrated", "--setting", f"calibration=@{place / 'c.json'}")
    run("mctsdialog", "search", gold_file(place), *words)
    run("mctsdialog", "search", gold_file(place), "--setting", f"{EVIL}={EVIL}", "--algorithm", EVIL)
    run("mctsdialog", "demo", "--out", place / "demo")


def test_the_studio(place, tree):
    reviews = place / "reviews.jsonl"
    for line in (EVIL, json.dumps({EVIL: EVIL}), json.dumps({"schema": "mctsdialog.review", "version": 1, EVIL: EVIL})):
        reviews.write_text(f"{line}\n", "utf-8")
        assert "Error: " in run("mctsdialog", "preferences", tree, "--reviews", reviews, "--out", place / "r")
        assert "Error: " in run("mctsdialog", "studio", place / EVIL)
    (place / "s").mkdir()
    (place / "s" / "sheet.csv").write_text(f"item,{EVIL}\n", "utf-8")
    assert "Error: " in run("mctsdialog", "studio", place / "s")


def test_caches_and_samples(place):
    run("mctsdialog", "sample", place / "s.json")
    run("mctsdialog", "domains", EVIL)
    domain = mctsdialog.get_domain("esc").model_dump(mode="json")
    texts = {
        "title": EVIL,
        "seeker": {"name": EVIL},
        "strategies": {"strategies": [{"name": "x", "description": EVIL}]},
    }
    (place / "domain.json").write_text(json.dumps({**domain, **texts}), "utf-8")
    assert "Strategies" in run("mctsdialog", "domains", place / "domain.json")
    run("mctsdialog", "domains", place / "domain.json", "--json")
    run("mctsdialog", "cache", "stats", place)
    with mctsdialog.ResponseCache(place / "cache"):
        pass
    run("mctsdialog", "cache", "stats", place / "cache")
    run("mctsdialog", "cache", "clear", place / "cache")


def test_settings_of_a_run(place):
    file = place / "settings.yaml"
    for text in (
        "run_name: {}",
        "{}: 1",
        "method: {}",
        "preset: {}",
        "report_to: [{}]",
        "learning_rate: {}",
        "data: {}",
    ):
        file.write_text(text.format(json.dumps(EVIL)), "utf-8")
        run("cso_train", "config", "show", "--config", file)
        run("cso_train", "train", "--config", file, "--output-dir", place / "run")
    run("cso_train", "config", "presets")


def test_data_and_models_to_train_on(place):
    pytest.importorskip("torch")
    rows = place / "rows.jsonl"
    for row in ({EVIL: EVIL}, {"prompt": EVIL, "chosen": EVIL, "rejected": EVIL}, EVIL):
        rows.write_text(json.dumps(row) + "\n", "utf-8")
        run("cso_train", "train", "--data", rows, "--output-dir", place / "run", "--model", EVIL)
        run("cso_train", "pairwise", "--data", rows, "--model", "m", "--server", "http://127.0.0.1:1/v1")
        run("cso_train", "rate", "--data", rows, "--model", "m", "--server", "http://127.0.0.1:1/v1")


def test_rounds(place):
    pytest.importorskip("torch")
    file, evil = place / "rounds.yaml", json.dumps(EVIL)
    given = {"model": EVIL, "dialogues": str(place / "none.json"), "partners": f"world:7{EVIL}"}
    for changes in ({}, {EVIL: 1}, {"rounds": EVIL}, {"train": {EVIL: EVIL}}, {"search": {"algorithm": EVIL}}):
        file.write_text(json.dumps({**given, **changes}), "utf-8")  # JSON is YAML
        run("cso_train", "rounds", file)
    for text in (evil, f"model: {evil}\nmodel: {evil}", f"{evil}: [{evil}", EVIL):
        file.write_text(text, "utf-8")
        run("cso_train", "rounds", file)
    dialogues = place / "dialogues.json"
    dialogues.write_text(json.dumps([{EVIL: EVIL}]), "utf-8")
    file.write_text(json.dumps({**given, "dialogues": str(dialogues)}), "utf-8")
    run("cso_train", "rounds", file)
    run("cso_train", "rounds", place / f"none{EVIL}")


def replies_file(place):
    row = {
        "id": EVIL,
        "prompt": [{"role": "user", "content": EVIL}],
        "gold": {"strategy": EVIL, "text": EVIL},
        "replies": {f"a{EVIL}": EVIL, "b": f"(Affirmation) {EVIL}"},
    }
    (place / "replies.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    return place / "replies.jsonl"


def test_judges(stub_server, place):
    replies = replies_file(place)
    names = ("--replies", replies, "--first", f"a{EVIL}", "--second", "b", "--out", place / "out")
    judges = ("--server", stub_server.url, "--model", f"judge{EVIL}")
    for said in (EVIL, (400, {"error": {"message": EVIL}})):
        stub_server.reply = lambda body, number, said=said: said
        run("cso_train", "pairwise", *names, *judges)
        run("cso_train", "rate", "--replies", replies, *judges, "--out", place / "out")
    stub_server.reply = lambda body, number: json.dumps(
        dict.fromkeys(body["response_format"]["json_schema"]["schema"]["required"], "A" if "A: " in str(body) else 3)
    )
    assert r"\x1b[2J" in run("cso_train", "pairwise", *names, *judges)
    assert r"\x1b[2J" in run("cso_train", "rate", "--replies", replies, *judges, "--out", place / "out")
    run("cso_train", "pairwise", *names[:4], "--second", EVIL, *judges)


def test_sheets(place):
    replies = replies_file(place)
    run("cso_train", "rate", "--replies", replies, "--sheet", place / "people")
    key, sheet = place / "people" / "key.json", place / "people" / "sheet.csv"
    for text in (f"item,{EVIL}\n", f"item,acceptance,effectiveness,sensitivity,alignment\n{EVIL},1,1,1,1\n", EVIL):
        sheet.write_text(text, "utf-8")
        run("cso_train", "rate", "--sheets", sheet, "--key", key)
    for changes in ({"kind": EVIL}, {"criteria": {EVIL: EVIL}}, {EVIL: EVIL}, {"items": EVIL}, {"code": EVIL}):
        key.write_text(json.dumps(json.loads(key.read_text("utf-8")) | changes), "utf-8")
        run("cso_train", "rate", "--sheets", sheet, "--key", key)


def test_evaluations(stub_server, place):
    pytest.importorskip("torch")
    row = {
        "id": f"{EVIL}/1",
        "prompt": [{"role": "user", "content": EVIL}],
        "strategy": "Affirmation",
        "text": EVIL,
    }
    test = place / "test.jsonl"
    test.write_text(json.dumps(row) + "\n", "utf-8")
    stub_server.reply = lambda body, number: f"(Affirmation) {EVIL}"
    models = ("--model", f"a{EVIL}", "--model", f"b{EVIL}", "--server", stub_server.url)
    output = run("cso_train", "evaluate", "--test", test, *models, "--out", place / "e", "--no-figures")
    assert r"\x1b[2J" in output
    run("cso_train", "table", place / "e" / "evaluation.json", "--out", place / "t", "--no-figures")
    run("cso_train", "table", *[place / "e" / "evaluation.json"] * 2, "--out", place / "t", "--no-figures")
    for changed in (row | {"strategy": EVIL}, row | {EVIL: EVIL}, {EVIL: 1}):
        test.write_text(json.dumps(changed) + "\n", "utf-8")
        run("cso_train", "evaluate", "--test", test, *models, "--out", place / "e")
    (place / "evaluation.json").write_text(json.dumps({EVIL: {EVIL: EVIL}}), "utf-8")
    run("cso_train", "table", place / "evaluation.json")


def test_an_arena(stub_server, place):
    pytest.importorskip("yaml")
    card = {"id": f"c{EVIL}", "scene": EVIL, "description": EVIL} | dict.fromkeys(
        ("persona", "background", "goal", "hidden_need", "expression"), EVIL
    )
    (place / "cards.jsonl").write_text(json.dumps(card), "utf-8")
    config = {
        "systems": {
            f"s{EVIL}": {"kind": "model", "model": f"m{EVIL}"},
            "script": {"kind": "script", "lines": [EVIL], "strategy": EVIL},
        },
        "seeker": {"model": f"m{EVIL}"},
        "judges": {f"j{EVIL}": {"model": f"j{EVIL}"}},
        "cards": str(place / "cards.jsonl"),
        "rounds": 1,
        "resamples": 5,
    }
    file = place / "arena.yaml"
    words = (file, "--server", stub_server.url, "--no-figures")
    file.write_text(json.dumps(config), "utf-8")
    for at, said in enumerate((EVIL, (400, {"error": {"message": EVIL}}))):
        stub_server.reply = lambda body, number, said=said: said
        run("cso_train", "arena", *words, "--out", place / f"a{at}")

    def speaks(body, number):
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        if schema is None:
            return EVIL
        values = {"thought": EVIL, "says": EVIL, "emotion": 3, "need_met": 4}
        return json.dumps({name: values.get(name, of.get("enum", [2])[0]) for name, of in schema["properties"].items()})

    stub_server.reply = speaks
    assert r"\x1b[2J" in run("cso_train", "arena", *words, "--out", place / "a3")
    for changed in ({EVIL: EVIL}, config | {EVIL: 1}, config | {"systems": {EVIL: {"kind": EVIL}}}, EVIL):
        file.write_text(json.dumps(changed), "utf-8")
        run("cso_train", "arena", *words, "--out", place / "a4")
    (place / "cards.jsonl").write_text(json.dumps(card | {EVIL: EVIL}), "utf-8")
    file.write_text(json.dumps(config), "utf-8")
    assert "Error: " in run("cso_train", "arena", *words, "--out", place / "a5")


COVERED = {
    *(
        ("mctsdialog", name)
        for name in ("search", "doctor", "preferences", "stats", "export", "show", "view", "sample", "domains")
    ),
    *(("mctsdialog", name) for name in ("inspect", "label", "calibrate", "demo", "estimate", "studio")),
    *(("mctsdialog", "cache", name) for name in ("stats", "clear")),
    *(("cso_train", name) for name in ("train", "testset", "evaluate", "table", "pairwise", "rate", "arena", "rounds")),
    *(("cso_train", "config", name) for name in ("show", "presets")),
}


def test_no_command_is_forgotten():
    """A new command needs a test of its own above."""
    assert {(program, *path) for program, path, _ in EVERY} == COVERED


# -- every error class ------------------------------------------------------------------------------------------------


def error_classes():
    for module in (mctsdialog.errors, cso_train.errors):
        for name, kind in vars(module).items():
            if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == module.__name__:
                yield pytest.param(kind, id=name)


@pytest.mark.parametrize("kind", list(error_classes()))
def test_no_error_acts(kind):
    values = {"str": EVIL + "\ud800", "int": 1, "float": 1.0, "Path": Path(IN_FILE_NAMES), "dict": {EVIL: (EVIL, EVIL)}}
    values |= {"Any": None, "Literal": "refusal", "bool": True}
    parameters = [
        each
        for each in inspect.signature(kind.__init__).parameters.values()
        if each.name not in ("self", "args", "kwargs")
    ]
    words, named = [], {}
    for each in parameters:
        value = values[str(each.annotation).split(" ")[0].split("[")[0]]
        (words.append(value) if each.kind is each.POSITIONAL_OR_KEYWORD else named.update({each.name: value}))
    error = kind(*(words or [EVIL]), **named)
    if not issubclass(kind, Warning):
        assert acting(str(error)) == []
    assert acting(repr(error), hidden=()) == []
    if isinstance(error, mctsdialog.errors.MctsDialogError):
        error.add_note("x")
        assert acting(str(mctsdialog.errors.first_error(ExceptionGroup("g", [error, error])))) == []


def test_warnings_logs_and_tracebacks(caplog):
    @click.group(cls=Commands)
    def main():
        pass

    @main.command()
    def warn():
        click.echo(warnings.formatwarning(EVIL, UserWarning, EVIL, 1, EVIL))
        logging.getLogger("mctsdialog.x").warning("%s said %s", EVIL, EVIL)
        try:
            raise RuntimeError(EVIL)
        except RuntimeError:
            logging.getLogger("mctsdialog.x").exception("failed")
        raise click.ClickException(EVIL)

    before = warnings.formatwarning, logging.getLogRecordFactory()
    done = CliRunner().invoke(main, ["warn"])
    assert "UserWarning" in done.output
    assert acting(done.output + caplog.text) == []
    assert "RuntimeError" in caplog.text
    assert (warnings.formatwarning, logging.getLogRecordFactory()) == before


def test_a_crash_of_the_program_itself_is_printed_clean(tmp_path):
    code = (
        "import click; from mctsdialog.cli.terminal import Commands\n"
        "@click.group(cls=Commands)\ndef main(): pass\n"
        "@main.command()\ndef crash(): raise RuntimeError('\\x1b[2J')\n"
        "main(['crash'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert r"RuntimeError: \x1b[2J" in done.stderr
    assert acting(done.stderr) == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_cannot_show_a_character_gets_an_escape(encoding):
    @click.command()
    def main():
        echo(f"κ {EVIL}")
        echo(f"κ {EVIL}", err=True)

    done = CliRunner(charset=encoding).invoke(main, [])
    assert done.exit_code == 0
    assert acting(done.output) == []


def test_live_displays_show_names_as_they_are(monkeypatch):
    """Markup and emoji codes in names are text; the display's own control codes are rich's."""
    console = Console(record=True, width=1000, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr("mctsdialog.cli._progress.Console", lambda stderr: console)
    with LiveProgress("trees", 1, lambda: [f"cost {EVIL}"]) as progress:
        progress.note(f"x {EVIL}")
        progress.update(f"y {EVIL}", 1, 2)
    text = console.export_text()
    assert acting(text) == []
    assert "[red]:smile:[link=http://evil.example]" in text
    assert acting(one_line(EVIL)) == []
    with progress_bar(EVIL) as show:
        show(1, 2)
