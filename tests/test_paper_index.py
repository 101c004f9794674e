"""Every name in the page that leads from the paper to the code exists."""

import ast
import re
from pathlib import Path

import pytest

from mctsdialog._search import SearchConfig
from mctsdialog.dialogue import ESC
from mctsdialog.preferences import PreferenceConfig

ROOT = Path(__file__).resolve().parents[1]
INDEX = (ROOT / "docs" / "paper.md").read_text("utf-8")
NAMES = sorted(set(re.findall(r"`((?:mctsdialog|cso_train)\.[\w.]+)`", INDEX)))
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", INDEX)))


def defined(body):
    """Names that a module or class defines, with what defines them."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node) for target in node.targets if isinstance(target, ast.Name))


def exists(name):
    """Whether a module, or what is defined in one, has the name; nothing is imported."""
    place, parts = ROOT, name.split(".")
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    file = place / "__init__.py"
    if parts and (place / f"{parts[0]}.py").is_file():
        file = place / f"{parts.pop(0)}.py"
    if not file.is_file():
        return False
    node = ast.parse(file.read_text("utf-8"))
    for each in node.body if parts else ():
        if isinstance(each, ast.ImportFrom) and parts[0] in {alias.name for alias in each.names}:  # re-exported
            return exists(".".join([each.module, *parts]))
    for part in parts:
        node = dict(defined(getattr(node, "body", ()))).get(part)
        if node is None:
            return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_the_code_is_there(name):
    assert exists(name)


@pytest.mark.parametrize("name", TESTS)
def test_the_test_is_there(name):
    file, _, function = name.partition("::")
    assert function in dict(defined(ast.parse((ROOT / file).read_text("utf-8")).body))


def test_what_is_not_there_is_found_out():
    assert exists("mctsdialog.algorithms._rules.pucb")
    assert exists("mctsdialog.SearchConfig.horizon")
    assert not exists("mctsdialog.SearchConfig.horizons")
    assert not exists("mctsdialog.algorithms._rules.pucbs")
    assert not exists("mctsdialog.algorithms._cso.CSO.choose")
    assert not exists("mctsdialog.nowhere.pucb")


def test_the_index_is_whole():
    equations = re.findall(r"^\| \*\*\((\d)\)(?: to \((\d)\))?\*\*", INDEX, re.MULTILINE)
    covered = [number for first, last in equations for number in range(int(first), int(last or first) + 1)]
    assert covered == list(range(1, 10))
    said = set(map(int, re.findall(r"(?<=Table )\d+", INDEX)))
    for listed in re.findall(r"Tables ([\d, and to]+)", INDEX):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", listed):
            said |= set(range(int(first), int(last or first) + 1))
    assert said == set(range(1, 16)), sorted(set(range(1, 16)) - said)
    assert len(NAMES) > 40
    assert len(TESTS) > 30


def test_the_numbers_on_the_page_are_the_defaults():
    search, data = SearchConfig(), PreferenceConfig()
    rows = dict(
        re.findall(r"^\| (.+?) \| (.+?) \| `mctsdialog\.[\w.]+`", INDEX.split("## Hyper-parameters")[1], re.MULTILINE)
    )
    assert rows["c = 1 (F.1)"] == f"{search.c:g}"
    assert rows["b = -3 (F.1)"] == f"{search.bias:g}"
    assert rows["theta = 0.5 (F.1)"] == f"{data.theta:g}"
    assert rows["alpha = 7 (F.1)"] == "weights " + ", ".join(f"{weight:g}" for weight in ESC.weights.values())
    assert rows["simulation for some steps (3.1.4), silent"] == f"H = {search.horizon}"
    assert rows["softmax over the scores (Appendix A), silent"] == f"T = {search.prior_temperature:g}"
    assert rows["a predefined number of iterations (3.2), silent"] == str(search.max_iterations)
    ends = f"{search.min_ends} after {search.min_iterations} iterations, or {search.max_ends}"
    assert rows["enough termination nodes (3.2), silent"] == ends
    assert rows["visits of a gold node, silent"] == str(search.gold_visits)
    assert rows["visits of a valid path's end, silent"] == str(data.min_visits)
