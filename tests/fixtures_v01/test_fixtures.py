"""The fixtures themselves: small, of no machine, listed, and made by version 0.1.0 alone."""

import importlib.util
import re
from pathlib import Path

import pytest

import mctsdialog

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "v0.1"
FILES = [path for path in FIXTURES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_they_are_small():
    assert max(path.stat().st_size for path in FILES) < 100_000
    assert sum(path.stat().st_size for path in FILES) < 1_500_000


def test_they_tell_of_no_machine_and_hold_no_arguments_as_a_pickle():
    for path in FILES:
        if path.suffix != ".py":
            assert not re.search(rb"/(work|tmp|root|home|Users)/|127\.0\.0\.1|localhost", path.read_bytes()), path
    assert not [path for path in FILES if path.name == "training_args.bin"]


def test_the_readme_lists_every_part():
    listed = set(re.findall(r"^\| `([^`/]+)", (FIXTURES / "README.md").read_text("utf-8"), re.MULTILINE))
    assert listed == {path.name for path in FIXTURES.iterdir()} - {"README.md", ".gitattributes", "__pycache__"}


def test_the_script_refuses_every_other_version(monkeypatch):
    pytest.importorskip("httpx")
    spec = importlib.util.spec_from_file_location("make_v01", FIXTURES / "make.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(mctsdialog, "__version__", "0.2.0")
    monkeypatch.setattr(script, "make", lambda: pytest.fail("it makes fixtures"))
    with pytest.raises(SystemExit, match=r"fixtures of version 0\.1\.0; 0\.2\.0 is installed"):
        script.main()
