"""Docstrings as the site shows them: their cross-references become links, their ``::`` the colon that it stands for."""

import re
from collections.abc import Iterator
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|data|func|meth):`(~?)([\w.]+)`")


class SphinxRoles(griffe.Extension):
    """Turns ``:class:`Tree``` into a link to its place in the reference, or into code where it has none."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Rewrite the object's docstring, once."""
        if obj.docstring is not None:
            text = _ROLE.sub(lambda match: _link(obj, *match.groups()), obj.docstring.value)
            text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
            if obj.is_class and "__init__" not in obj.members:  # a model of pydantic: its fields are its parameters
                text = re.sub(r"^:param ", ":ivar ", text, flags=re.MULTILINE)
            obj.docstring.value = text

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Show models of pydantic as the other classes: their fields say all that their own form would repeat."""
        for each in _classes(pkg):
            each.extra["mkdocstrings"].pop("template", None)


def _link(obj: griffe.Object, short: str, name: str) -> str:
    shown = name.rpartition(".")[2] if short else name
    try:
        target = name if name.startswith(("mctsdialog.", "cso_train.")) else obj.resolve(name)
    except griffe.NameResolutionError:
        target = f"{obj.path}.{name}" if obj.is_class else name
    return f'<autoref optional identifier="{target}"><code>{shown}</code></autoref>'


def _classes(module: griffe.Module) -> Iterator[griffe.Class]:
    yield from (each for each in module.classes.values() if not each.is_alias)
    for each in module.modules.values():
        if not each.is_alias:
            yield from _classes(each)
