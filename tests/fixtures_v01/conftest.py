"""What version 0.1 wrote (``tests/fixtures/v0.1``), copied to where a test may write, and who spoke at that time."""

import importlib.util
import json
import math
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "v0.1"


@pytest.fixture(scope="session")
def players():
    """The module of frozen answers."""
    spec = importlib.util.spec_from_file_location("players_v01", FIXTURES / "players.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def expected():
    """What should come of the fixtures, as version 0.1 found it."""
    return json.loads((FIXTURES / "expected.json").read_text("utf-8"))


@pytest.fixture
def take(tmp_path, monkeypatch):
    """Copies parts of the fixtures into the working directory, under the names that the runs of 0.1 knew them by."""
    monkeypatch.chdir(tmp_path)

    def take(*names):
        for name in names:
            source, target = FIXTURES / name, tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        return tmp_path

    return take


@pytest.fixture
def server(stub_server, players):
    """A server that answers as it did when the fixtures were made; at another address."""
    stub_server.reply = lambda body, number: players.served(body)
    stub_server.marks = lambda: sorted(players.mark(players.messages_of(body)) for body in stub_server.requests)
    return stub_server


@pytest.fixture
def run():
    """Runs a command as a user types it, in this process."""

    def run(command, *words, code=0):
        done = CliRunner().invoke(command, [str(word) for word in words], env={"COLUMNS": "200"})
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture(scope="session")
def holds():
    """Asserts that data holds all of older data: more keys may have come, nothing may be missing or changed."""

    def holds(new, old, place=""):
        if isinstance(old, dict):
            assert isinstance(new, dict), place
            for key, value in old.items():
                assert key in new, f"{place}.{key} is gone"
                holds(new[key], value, f"{place}.{key}")
        elif isinstance(old, list):
            assert isinstance(new, list | tuple), place
            assert len(new) == len(old), place
            for index, (each, was) in enumerate(zip(new, old, strict=True)):
                holds(each, was, f"{place}[{index}]")
        elif isinstance(old, float):
            assert math.isclose(new, old, rel_tol=1e-9, abs_tol=1e-12), f"{place}: {new} was {old}"
        else:
            assert new == old, f"{place}: {new!r} was {old!r}"

    return holds


@pytest.fixture(scope="session")
def state():
    """What tells whether files were written to: content and time, by name."""

    def state(*folders):
        files = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    return state


@pytest.fixture(scope="session")
def lines():
    """The rows of a file of JSON lines."""
    return lambda path: [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
