"""The fuzzer: its short form finds nothing, and it does find what it looks for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import anyio
import click
import pytest

import mctsdialog
from mctsdialog.files import write_atomically

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer watches its processes as Linux lets it")
pytest.importorskip("pyarrow")
pytest.importorskip("yaml")


@pytest.mark.timeout(170)
def test_some_mutated_files_of_every_kind_are_accepted_or_refused(tmp_path):
    words = [sys.executable, str(FOLDER / "fuzz.py"), "--count", "25", "--commands", "2", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=160, check=False, cwd=FOLDER)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    ways = re.findall(r"^\| [a-z-]+ \| (function|command) \| (\d+) \|", done.stdout, re.MULTILINE)
    assert ways.count(("function", "25")) >= 21
    assert ways.count(("command", "2")) >= 19


# -- what it finds -------------------------------------------------------------------------------------------------


@pytest.fixture
def outcome(monkeypatch, tmp_path):
    """What the fuzzer says of a case; ``outcome(read)`` of a function, ``outcome(command=main)`` of a command."""
    monkeypatch.syspath_prepend(str(FOLDER))
    from fuzz_parts import commands, guard, kinds, pool

    for module in (commands, guard, pool):
        monkeypatch.setattr(module, "SECONDS", 1.5)
    monkeypatch.setattr(pool, "_GRACE", 0.5)

    def outcome(read=None, command=None):
        monkeypatch.setitem(commands.MAINS, "main", (command, "main"))
        kind = kinds.Kind(
            "x", lambda draw, seeds: None, lambda seeds, how: read(), lambda draw, seeds, how: ("main", [])
        )
        found = []
        chunk = pool.Chunk("x", "function" if read else "command", (0,))
        told = pool.Pool({"x": kind}, None, 0, 1, tmp_path, lambda chunk, number, result: found.append(result.outcome))
        told.run([chunk])
        return found

    yield outcome
    for name in [name for name in sys.modules if name.partition(".")[0] in ("fuzz_parts", "stub_server")]:
        del sys.modules[name]


def spin():
    while True:
        pass


def asked(reply):
    """Call ``reply`` where the package calls a model."""
    model = mctsdialog.ScriptedModel(lambda request: reply() or "x")
    anyio.run(model.complete, mctsdialog.llm.ChatRequest((mctsdialog.llm.Message("user", "x"),)))


def write_through_a_link():
    Path("link").symlink_to("../outside")
    write_atomically("link/important.txt", "x")


def refuse(message):
    raise click.UsageError(message)


FUNCTIONS = {
    "nothing": (lambda: None, "accepted"),
    "inside": (lambda: write_atomically("a/b.txt", "x"), "accepted"),
    "clean": (lambda: mctsdialog.load_tree("nosuch.json"), "refused"),
    "bug": (lambda: {}["x"], "traceback"),
    "endless": (spin, "hang"),
    "endless in C": (lambda: sum(range(10**12)), "hang"),
    "large": (lambda: len(b"x" * 700_000_000), "memory"),
    "very large": (lambda: len(b"x" * 10**10), "memory"),
    "dies": (lambda: os._exit(0), "crash"),
    "long message": (lambda: refuse("x" * 30_000), "message"),
    "writes outside": (lambda: write_atomically("../outside/important.txt", "x"), "outside"),
    "writes through a link": (write_through_a_link, "outside"),
    "writes unseen": (lambda: subprocess.run(["touch", "../outside/new"], check=True), "outside"),
    "removes outside": (lambda: asked(lambda: Path("../outside/important.txt").unlink()), "outside"),
    "reads outside": (lambda: mctsdialog.load_tree("../outside/important.txt"), "outside"),
    "writes at home": (lambda: write_atomically(Path.home() / "x", "x"), "outside"),
    "runs a command": (lambda: asked(lambda: os.system("true")), "code"),
    "unpickles": (lambda: asked(lambda: __import__("pickle").loads(b"cos\ngetcwd\n(tR.")), "code"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("read", "expected"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_every_outcome_of_a_function_is_told_from_the_others(outcome, read, expected):
    assert outcome(read) == [expected]


def fail(message, code=2):
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)


COMMANDS = {
    "nothing": (lambda: None, "accepted"),
    "clean": (lambda: fail("no"), "refused"),
    "bug": (lambda: {}["x"], "traceback"),
    "endless": (spin, "hang"),
    "silent": (lambda: sys.exit(2), "exit"),
    "unknown code": (lambda: fail("no", 7), "exit"),
    "two errors": (lambda: fail("no\nError: no"), "exit"),
    "escape": (lambda: click.echo("\x1b[2J"), "control"),
    "bidirectional": (lambda: fail("\u202e"), "control"),
    "surrogate": (lambda: click.echo("\ud800"), "traceback"),
    "large": (lambda: len(b"x" * 700_000_000), "memory"),
    "writes outside": (lambda: write_atomically("../outside/important.txt", "x"), "outside"),
    "writes at home": (lambda: write_atomically(Path.home() / "x", "x"), "outside"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("command", "expected"), COMMANDS.values(), ids=COMMANDS)
def test_every_outcome_of_a_command_is_told_from_the_others(outcome, command, expected):
    assert outcome(command=click.command()(command)) == [expected]


# -- what it draws -------------------------------------------------------------------------------------------------


def test_a_case_is_drawn_again_by_its_number(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from fuzz_parts import mutate, pool, templates

    chunk = pool.Chunk("tree", "function", ())

    def drawn(number):
        draw = chunk.draw(0, number)
        value = {"a": [1, {"b": "text"}, None], "c": {"d": 1.5}}
        return (
            mutate.mutate_json(draw, value),
            mutate.mutate_bytes(draw, b"abc" * 50),
            templates.template(draw, "judge"),
        )

    assert [drawn(number) for number in range(200)] == [drawn(number) for number in range(200)]
    assert len({drawn(number) for number in range(200)}) > 190
