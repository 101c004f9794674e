"""Modules import only from lower floors, and the plain import stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = {
    "mctsdialog.text": -1,
    "mctsdialog.segments": -1,
    "mctsdialog._moved": -1,
    "mctsdialog._public": -1,
    "mctsdialog.errors": 0,
    "mctsdialog.files": 0.5,
    "mctsdialog._colours": 0,
    "mctsdialog._arguments": 0.3,
    "mctsdialog._sync": 0.5,
    "mctsdialog._settings": 0.5,  # a mezzanine: what many floors are made from
    "mctsdialog._repr": 0.5,
    "mctsdialog.concurrency": 0.5,
    "mctsdialog.agreement": 0.5,
    "mctsdialog.dialogue": 1,
    "mctsdialog.llm": 2,
    "mctsdialog.tree": 2,
    "mctsdialog.roles": 3,
    "mctsdialog.journal": 1,
    "mctsdialog._search": 4,
    "mctsdialog.algorithms": 3.5,
    "mctsdialog.preferences": 5,
    "mctsdialog.figures": 1,
    "mctsdialog.statistics": 5.3,
    "mctsdialog.worlds": 5,
    "mctsdialog.seekers": 5.1,
    "mctsdialog.export": 5,
    "mctsdialog.corpus": 5.5,  # writes trees by the export
    "mctsdialog.studio": 5.8,
    "mctsdialog.cli": 6,
    "mctsdialog.__main__": 7,
    "mctsdialog": 6,
    "cso_train.errors": 0,
    "cso_train._progress": 0,
    "cso_train.methods": 0.5,
    "cso_train._config": 1,
    "cso_train._forms": 0.8,
    "cso_train._template": 0.5,
    "cso_train._data": 1,
    "cso_train._curves": 1,
    "cso_train._chat": 2,
    "cso_train._fit": 2.5,
    "cso_train._pretokenised": 2,
    "cso_train._callbacks": 2,
    "cso_train._models": 2,
    "cso_train._deepspeed": 2,
    "cso_train.packing": 2.5,
    "cso_train._trainer": 3,
    "cso_train.evaluation": 3,
    "cso_train.arena": 4.5,
    "cso_train._card": 4,
    "cso_train._serving": 4,
    "cso_train._run": 5,
    "cso_train.rounds": 5.5,
    "cso_train.cli": 6,
    "cso_train.__main__": 7,
    "cso_train": 6,
}


def part(module):
    """The part of the house that a module belongs to."""
    pieces = module.split(".")
    return ".".join(pieces[:2]) if ".".join(pieces[:2]) in FLOORS else pieces[0]


def imports(file, known=FLOORS):
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module


def modules():
    for package in ("mctsdialog", "cso_train"):
        for file in sorted((ROOT / package).rglob("*.py")):
            pieces = list(file.relative_to(ROOT).with_suffix("").parts)
            yield ".".join(pieces[:-1] if pieces[-1] == "__init__" else pieces), file


@pytest.mark.parametrize(("module", "file"), [pytest.param(*each, id=each[0]) for each in modules()])
def test_a_module_imports_only_from_lower_floors(module, file):
    own = part(module)
    for imported in imports(file):
        if imported.split(".")[0] not in ("mctsdialog", "cso_train"):
            continue
        other = part(imported)
        assert other in FLOORS, f"{imported} has no floor"
        if module.startswith("mctsdialog"):
            assert imported.startswith("mctsdialog"), f"{module} imports {imported}"
        elif imported.startswith("mctsdialog"):
            continue
        assert other == own or FLOORS[other] < FLOORS[own], f"{module} imports {imported}"


def test_every_module_has_a_floor():
    assert {part(module) for module, _ in modules()} <= set(FLOORS)


def test_the_plain_import_stays_light():
    heavy = ["torch", "transformers", "matplotlib", "ray", "xllamacpp", "huggingface_hub", "trio", "llama_cpp"]
    heavy += ["starlette", "uvicorn"]
    code = f"import sys, mctsdialog; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cso_train_imports_public_names_of_mctsdialog_alone():
    # how both packages show their own names and refuse arguments
    shared = ("mctsdialog._arguments", "mctsdialog._moved", "mctsdialog._public")
    for module, file in modules():
        if not module.startswith("cso_train"):
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module.split(".")[0] == "mctsdialog"
                and node.module not in shared
            ):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                assert not [name for name in names if name.startswith("_")], f"{module} imports {'.'.join(names)}"


def test_no_module_imports_itself_by_way_of_others():
    files = dict(modules())
    graph = {module: set(imports(file, files)) - {module} for module, file in files.items()}
    while free := [module for module, names in graph.items() if not names & graph.keys()]:
        for module in free:
            del graph[module]
    assert not graph
