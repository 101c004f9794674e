"""Names of version 0.1 that moved still work, and say where they are now."""

import importlib
import importlib.util
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import mctsdialog
from mctsdialog import _moved

ROOT = Path(__file__).resolve().parents[1]
OLD_ROOT = json.loads((ROOT / "tests" / "fixtures_v01" / "public_names.json").read_text("utf-8"))


def python(code, *options):
    """Run code in a fresh interpreter of its own; gives its output and what it warned."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout, done.stderr


def of(name):
    home, _, own = name.rpartition(".")
    return getattr(importlib.import_module(home), own)


@pytest.mark.parametrize("old", sorted(_moved.MOVED))
def test_a_moved_name_is_what_the_new_place_has_and_warns_once_in_the_callers_line(old):
    if old.startswith("cso_train."):
        pytest.importorskip("torch")
    home, _, own = old.rpartition(".")
    module = importlib.import_module(home)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = getattr(module, own)
    new = _moved.MOVED[old]
    assert found is of(new)
    (warning,) = told
    assert (warning.category, warning.filename) == (DeprecationWarning, __file__)
    assert str(warning.message) == f"{old} moved to {new}; the old way works until 0.3"


@pytest.mark.parametrize("old", ["mctsdialog", "mctsdialog.preferences"])
def test_what_is_removed_says_what_to_do(old):
    with pytest.raises(ImportError, match=r"use mctsdialog\.statistics\.LocalToxicityScorer or a scorer of your own"):
        exec(f"from {old} import PerspectiveScorer")
    with pytest.raises(ImportError, match=r"shuts down at the end of 2026"):
        _ = importlib.import_module(old).PerspectiveScorer


@pytest.mark.parametrize("package", OLD_ROOT)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_public_name_of_version_0_1_is_found(package):
    module = importlib.import_module(package)
    missing = {name for name in OLD_ROOT[package] if f"{package}.{name}" not in _moved.GONE and not found(module, name)}
    assert not missing


def found(module, name):
    return getattr(module, name, None) is not None


def test_from_import_warns_in_the_callers_line():
    code = "import warnings\nwarnings.simplefilter('always')\nfrom mctsdialog import Limits\nprint(Limits)"
    out, err = python(code)
    assert out == "<class 'mctsdialog.llm.Limits'>\n"
    assert "<string>:3: DeprecationWarning: mctsdialog.Limits moved to mctsdialog.llm.Limits" in err


def test_no_name_of_today_warns():
    code = "from mctsdialog import *; import mctsdialog.llm, mctsdialog.roles; print(sorted(mctsdialog.__all__)[0])"
    assert python(code, "-W", "error") == ("Budget\n", "")


def test_a_name_that_never_was_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mctsdialog' has no attribute 'serch'"):
        _ = mctsdialog.serch
    with pytest.raises(ImportError, match="cannot import name 'serch'"):
        exec("from mctsdialog import serch")


@pytest.fixture
def old_module(monkeypatch):
    """A module that moved, with a name that went elsewhere; a function has the module's name now."""
    monkeypatch.setattr(_moved, "MODULES", {"mctsdialog.plan": "mctsdialog.worlds"})
    monkeypatch.setattr(_moved, "MOVED", {"mctsdialog.plan.Way": "mctsdialog.Plan"})
    _moved.keep_old_modules()
    yield
    del sys.modules["mctsdialog.plan"]


def test_a_moved_module_is_imported_from_and_the_function_of_its_name_stays(old_module):
    with pytest.warns(DeprecationWarning, match=r"^mctsdialog\.plan\.World moved to mctsdialog\.worlds\.World; "):
        exec("from mctsdialog.plan import World")
    with pytest.warns(DeprecationWarning, match=r"mctsdialog\.plan\.Way moved to mctsdialog\.Plan"):
        exec("from mctsdialog.plan import Way")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import mctsdialog.plan as plan

        assert plan is mctsdialog.plan
        assert callable(plan)
        hasattr(sys.modules["mctsdialog.plan"], "__file__")  # walkers of sys.modules ask for such
    with pytest.raises(ImportError, match="cannot import name 'nowhere'"):
        exec("from mctsdialog.plan import nowhere")


@pytest.mark.parametrize(
    ("code", "new"),
    [
        ("from mctsdialog.llm.openai import OpenAIChat", "mctsdialog.OpenAIChat"),
        ("from mctsdialog.llm.cache import ResponseCache", "mctsdialog.ResponseCache"),
        ("import mctsdialog.dialogue.model; mctsdialog.dialogue.model.Dialogue", "mctsdialog.Dialogue"),
        ("import mctsdialog.tree.tree as tree; tree.Tree", "mctsdialog.Tree"),
        ("from mctsdialog.roles.llm import LLMJudge", "mctsdialog.roles.LLMJudge"),
        ("from mctsdialog.roles import llm; llm.LLMSeeker", "mctsdialog.roles.LLMSeeker"),
        ("from mctsdialog.llm.layers import build_stack", "mctsdialog.llm.build_stack"),
        ("from mctsdialog.preferences.toxicity.base import ToxicityScorer", "mctsdialog.statistics.ToxicityScorer"),
        ("from cso_train.evaluation.metrics import Evaluation", "cso_train.evaluation.Evaluation"),
        ("from cso_train.zero.plan import Machine", "cso_train.Machine"),
        ("import cso_train.config.settings as settings; settings.TrainConfig", "cso_train.TrainConfig"),
    ],
)
def test_names_of_former_modules_say_where_they_are_public(code, new):
    with pytest.warns(DeprecationWarning, match=rf"moved to {re.escape(new)}; the old way works"):
        exec(code)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DeprecationWarning):
            exec(code)


def test_former_modules_do_not_show_among_the_names_of_today():
    assert not {"model", "llm", "openai", "tree"} & {*dir(mctsdialog.dialogue), *dir(mctsdialog.roles)}
    assert importlib.util.find_spec("mctsdialog.llm.openai") is not None


def test_the_page_of_moved_names_is_up_to_date():
    page = (ROOT / "docs" / "migration.md").read_text("utf-8")
    sys.path.append(str(ROOT / "docs" / "hooks"))
    try:
        from moved import with_tables
    finally:
        sys.path.pop()
    assert page == with_tables(page), "run: python docs/hooks/moved.py"
    for old, new in _moved.MOVED.items():
        assert "._" in new or f"| `{old}` | `{new}` |" in page
    for old in (*_moved.MODULES, *_moved.GONE):
        assert f"| `{old}` |" in page


def test_renamed_arguments_work_and_warn():
    @_moved.renamed_arguments(licence="license")
    def write(data, *, license=None):
        """Write."""
        return data, license

    with pytest.warns(DeprecationWarning, match=r"write\(licence=\.\.\.\) is now .*write\(license=\.\.\.\)") as told:
        assert write(1, licence="mit") == (1, "mit")
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write(1, license="mit") == (1, "mit")
    assert write.__doc__ == "Write."
    with pytest.raises(TypeError, match=r"write\(\) got both license= and its old name licence="):
        write(1, licence="mit", license="mit")
