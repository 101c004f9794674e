"""README, documentation and examples run as they stand."""

import gc
import json
import re
import shlex
from pathlib import Path

import click
import pytest

from mctsdialog.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def blocks(language):
    for page in PAGES:
        found = re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        for number, block in enumerate(found):
            marks = [pytest.mark.model, pytest.mark.timeout(300)] if "LocalChat" in block else []
            yield pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}", marks=marks)


@pytest.mark.parametrize("block", list(blocks("python")))
def test_python_blocks_run(block, tmp_path, monkeypatch, request):
    if request.node.get_closest_marker("model"):
        request.getfixturevalue("embedded_model")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, request.node.name, "exec"), {"__name__": "__main__"})
    gc.collect()


@pytest.mark.parametrize("block", list(blocks("bash")))
def test_commands_and_options_exist(block):
    for line in block.replace(".venv/bin/mctsdialog", "mctsdialog").splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] != "mctsdialog":
            continue
        command = main.commands[words[1]]
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words[2:] if word.startswith("--")} <= options, line


def test_make_targets_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for target in re.findall(r"^make ([a-z]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE):
        assert target in targets


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_option_has_help():
    for name, command in main.commands.items():
        assert command.help, name
        for option in command.params:
            assert isinstance(option, click.Argument) or option.help, f"{name} {option.name}"


@pytest.mark.model
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("notebook", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_run(notebook, tmp_path, embedded_model):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    content = nbformat.reads(notebook.read_text("utf-8"), as_version=4)
    nbformat.validate(content)
    client = nbclient.NotebookClient(content, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    shown = json.dumps([cell.get("outputs", []) for cell in content.cells])
    assert "mean Q" in shown


def test_training_commands_and_settings_exist():
    from cso_train.cli import main as training

    for page in PAGES:
        for line in re.findall(r"^.*-m cso_train .*$", page.read_text("utf-8"), re.MULTILINE):
            words = shlex.split(line.split("-m cso_train ", 1)[1].split(" > ")[0].split("`")[0], comments=True)
            command = training
            while words and words[0] in getattr(command, "commands", {}):
                command = command.commands[words.pop(0)]
            options = {name for parameter in command.params for name in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options, line
