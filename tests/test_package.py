"""What is installed is what users get."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest

import cso_train
import mctsdialog

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_version_and_extras():
    assert mctsdialog.__version__ == importlib.metadata.version("mctsdialog") == PROJECT["version"]
    assert set(PROJECT["optional-dependencies"]) == {"local", "train", "ray", "notebook", "dev"}
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_a_plain_install_has_no_torch():
    names = " ".join(PROJECT["dependencies"])
    assert not any(heavy in names for heavy in ("torch", "transformers", "xllamacpp", "ray", "matplotlib"))


def test_public_names_exist_and_are_listed():
    for package in (mctsdialog, cso_train):
        assert list(package.__all__) == sorted(package.__all__)
        assert all(getattr(package, name) is not None for name in package.__all__)
    wanted = """search SearchConfig Tree RootNode UnexpandedNode ExpandedNode EndNode Dialogue Turn Strategy StrategySet
    Domain Roles Seeker Supporter Strategist Judge JudgeScores ChatModel OpenAIChat LocalChat ScriptedModel
    ResponseCache Budget read_dialogues sample_dialogues load_tree MctsDialogError"""
    assert set(wanted.split()) <= set(mctsdialog.__all__)


def test_every_error_is_public_and_in_the_tree_of_the_docstring():
    errors = [
        value
        for value in vars(mctsdialog.errors).values()
        if isinstance(value, type) and issubclass(value, mctsdialog.MctsDialogError)
    ]
    for error in errors:
        assert error.__name__ in mctsdialog.__all__
        assert error.__name__ in mctsdialog.errors.__doc__
    for error in cso_train.CsoTrainError.__subclasses__():
        assert error.__name__ in cso_train.errors.__doc__


def test_train_config_refuses_what_it_does_not_know():
    assert cso_train.TrainConfig().method == "dpo"
    with pytest.raises(cso_train.TrainConfigError, match="did you mean 'learning_rate'") as caught:
        cso_train.TrainConfig(learnin_rate=1e-6)
    assert caught.value.field == "learnin_rate"
    with pytest.raises(cso_train.TrainConfigError, match="epochs"):
        cso_train.TrainConfig(epochs=0)
    with pytest.raises(cso_train.TrainConfigError, match="method"):
        cso_train.TrainConfig(method="ppo")


def top_imports(node):
    """Names of packages imported when a module is imported: not in functions, not for the type checker alone."""
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(each, ast.If) and "TYPE_CHECKING" in ast.unparse(each.test):
            continue
        if isinstance(each, ast.Import):
            yield from (alias.name.split(".")[0] for alias in each.names)
        elif isinstance(each, ast.ImportFrom):
            yield (each.module or "").split(".")[0]
        yield from top_imports(each)


def test_what_the_plain_import_needs_is_declared():
    declared = {re.split(r"[<>=\[ ]", name)[0].replace("-", "_") for name in PROJECT["dependencies"]}
    imported = set()
    for file in (ROOT / "mctsdialog").rglob("*.py"):
        imported |= set(top_imports(ast.parse(file.read_text("utf-8"))))
    own = {"mctsdialog", "pydantic_core", ""}  # pydantic_core is pydantic's
    optional = {"xllamacpp", "huggingface_hub"}
    missing = imported - set(sys.stdlib_module_names) - declared - own - optional
    assert not missing, missing
