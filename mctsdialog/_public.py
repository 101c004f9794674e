"""What a package re-exports is shown as the package's own: ``mctsdialog.Tree``, not ``mctsdialog.tree._tree.Tree``."""

from __future__ import annotations

import dataclasses
import inspect
from types import FunctionType
from typing import Any


def publish(namespace: dict[str, Any]) -> None:
    """Give the names in a module's ``__all__`` that module as their ``__module__``.

    Those of another public package of ours keep theirs.

    :param namespace: the module's ``globals()``, once everything is imported.
    """
    package: str = namespace["__name__"]
    inner = (f"{package}.", f"{package.partition('.')[0]}._")
    for name in namespace["__all__"]:
        each = namespace[name]
        if isinstance(each, type | FunctionType) and each.__module__.startswith(inner):
            show_as(package, each)


def show_as(package: str, each: Any) -> None:
    """Give a class or function a package as its ``__module__``."""
    if isinstance(each, type):
        _resolve_annotations(each)
    each.__module__ = package


def _resolve_annotations(kind: type) -> None:
    """Evaluate annotations that are text: ``typing`` and pydantic would look their names up in ``__module__``."""
    if "__annotations__" in vars(kind):
        kind.__annotations__ = inspect.get_annotations(kind, eval_str=True)
        if dataclasses.is_dataclass(kind):
            for field in dataclasses.fields(kind):
                field.type = kind.__annotations__.get(field.name, field.type)
