"""What is released: both distributions and what is in them, the API as type checkers see it, the citation."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
VERSION = PROJECT["version"]
PACKAGES = ("mctsdialog", "cso_train")
PROGRAM = ROOT / "tests" / "typed_program.py"


def run(*words, folder, **variables):
    """Run a program of this environment without this checkout on its path."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env=environment | variables, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture(scope="session")
def distributions(tmp_path_factory):
    """The sdist, and the wheel that is built from it; built once, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    done = run("build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def code_of(package):
    """The files of a package in this checkout."""
    found = (file for file in (ROOT / package).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(ROOT).as_posix() for file in found}


@pytest.mark.timeout(300)
def test_twine_finds_nothing_wrong(distributions):
    done = run("twine", "check", "--strict", *distributions, folder=distributions[0].parent, NO_COLOR="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


@pytest.mark.timeout(300)
def test_the_wheel_holds_both_packages_and_their_data_and_nothing_else(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = set(wheel.namelist())
        metadata = Parser().parsestr(wheel.read(f"mctsdialog-{VERSION}.dist-info/METADATA").decode())
        commands = wheel.read(f"mctsdialog-{VERSION}.dist-info/entry_points.txt").decode()
    about = {name for name in names if name.split("/")[0] == f"mctsdialog-{VERSION}.dist-info"}
    assert names - about == code_of("mctsdialog") | code_of("cso_train")
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert any(name.endswith("licenses/LICENSE") for name in about)
    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == ("mctsdialog", VERSION, "MIT")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "mctsdialog = mctsdialog.cli:main" in commands


@pytest.mark.timeout(300)
def test_the_sdist_holds_what_a_checkout_needs_and_nothing_else(distributions):
    with tarfile.open(distributions[0]) as sdist:
        names = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    files = {"pyproject.toml", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile"}
    files |= {"SECURITY.md", "mkdocs.yml"}
    made = {"PKG-INFO", ".gitignore"}
    assert files <= names
    assert code_of("mctsdialog") | code_of("cso_train") <= names
    folders = {name.split("/")[0] for name in names if "/" in name}
    assert folders == {*PACKAGES, "tests", "docs", "examples", "benchmarks"}
    assert {name for name in names if "/" not in name} == files | made
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".so", ".gguf"))]


@pytest.fixture(scope="session")
def outside(distributions, tmp_path_factory):
    """A folder with a user's program and an environment that has the wheel, and all others from this one."""
    folder = tmp_path_factory.mktemp("outside")
    venv.create(folder / "environment", with_pip=False, symlinks=os.name != "nt")
    scheme = {"base": str(folder / "environment"), "platbase": str(folder / "environment")}
    packages = Path(sysconfig.get_path("purelib", vars=scheme))
    with zipfile.ZipFile(distributions[1]) as wheel:
        wheel.extractall(packages)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    shutil.copy(PROGRAM, folder / "program.py")
    python = folder / "environment" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return folder, python


@pytest.mark.timeout(300)
def test_mypy_understands_the_installed_package(outside):
    folder, python = outside
    # what the API does not show is not followed: it would be half of the work
    unseen = ["IPython", "matplotlib", "networkx", "numpy", "prompt_toolkit", "rich", "tornado", "trio", "_pytest"]
    unseen = f"[mypy-{','.join(f'{name}.*' for name in unseen)}]\nfollow_imports = skip\n"
    (folder / "mypy.ini").write_text(f"[mypy]\nstrict = true\n{unseen}", "utf-8")
    done = run("mypy", "--python-executable", python, "program.py", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_pyright_understands_the_installed_package(outside):
    folder, python = outside
    settings = {
        "include": ["program.py"],
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": True,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    offline = {"PYRIGHT_PYTHON_USE_BUNDLED_PYRIGHT": "1", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = run("pyright", "--pythonpath", python, "--project", folder, folder=folder, **offline)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors" in done.stdout


def test_the_citation_is_of_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (VERSION, PROJECT["license"])
    (paper,) = citation["references"]
    assert paper["title"].startswith("Chain of Strategy Optimization")
    assert len(paper["authors"]) == 12


def test_the_changelog_has_this_version_on_top():
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines() if line.startswith("## ")]
    assert headings[0] == f"## {VERSION}"
