"""What is installed is what users get."""

import ast
import importlib
import importlib.metadata
import re
import sys
import tomllib
import types
import typing
from pathlib import Path

import pydantic
import pytest

import cso_train
import mctsdialog

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_version_and_extras():
    assert mctsdialog.__version__ == importlib.metadata.version("mctsdialog") == PROJECT["version"]
    assert set(PROJECT["optional-dependencies"]) == {"local", "train", "ray", "studio", "notebook", "dev"}
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
        assert error.__name__ in mctsdialog.errors.__doc__
    at_the_root = {error for error in errors if error.__name__ in mctsdialog.__all__}
    assert at_the_root == {
        getattr(mctsdialog, name) for name in ("MctsDialogError", "DataError", "ModelError", "ReplyError")
    }
    assert not {name for name in mctsdialog.__all__ if name.endswith("Error")} - {error.__name__ for error in errors}


PARTS = ("corpus", "dialogue", "export", "llm", "preferences", "roles", "statistics", "tree", "worlds")
PACKAGES = ["mctsdialog", *(f"mctsdialog.{name}" for name in PARTS)]


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_exports_is_shown_as_its_own(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        each = getattr(module, name)
        if isinstance(each, type | types.FunctionType) and each.__module__ != "builtins":
            home = each.__module__
            assert getattr(sys.modules[home], each.__name__) is each  # which pickling of classes by name needs, too
            assert home == "mctsdialog" or home in PACKAGES, f"{name} is shown as {home}.{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_annotations_of_public_classes_can_be_read(package):
    """Typing and pydantic look names in annotations up in the module that a class says it is of."""
    module = importlib.import_module(package)
    for kind in (each for each in map(vars(module).get, module.__all__) if isinstance(each, type)):
        typing.get_type_hints(kind, include_extras=True)
        if issubclass(kind, pydantic.BaseModel):
            made = type(kind.__name__, (kind,), {"__module__": __name__, "__annotations__": {"more": int}, "more": 1})
            assert made.model_json_schema(mode="serialization")["properties"]["more"]["type"] == "integer"


def test_the_root_fits_in_a_head():
    assert len(mctsdialog.__all__) <= 45
    assert repr(mctsdialog.Tree) == "<class 'mctsdialog.Tree'>"


def test_public_data_classes_serve_as_types_of_pydantic():
    reply = pydantic.TypeAdapter(mctsdialog.Turn).validate_python({"speaker": "seeker", "text": "Hi."})
    assert reply == mctsdialog.Turn("seeker", "Hi.")
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
    optional = {"xllamacpp", "huggingface_hub", "starlette"}
    missing = imported - set(sys.stdlib_module_names) - declared - own - optional
    assert not missing, missing
