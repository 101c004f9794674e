"""Settings in YAML files: read with their lines, written with their origins."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mctsdialog.errors import DataError, MctsDialogError
from mctsdialog.files._inputs import read_input
from mctsdialog.text import visible_line

_MOST_BYTES = 256 * 1024  # the time that YAML's numbers and scanning take grows with the square of their length
_MOST_WHOLE = 2**63

SettingsRefusal: TypeAlias = Callable[[str, int | None, str | None], Exception]
"""Makes the error of a reason, a line and a setting."""


@dataclass(frozen=True)
class FileSettings:
    """What a file says.

    :ivar values: name to value, as YAML reads it.
    :ivar lines: name to line, from 1.
    """

    values: dict[str, Any]
    lines: dict[str, int]


def read_settings(
    path: str | Path, *, mappings: Collection[str] = (), refusal: SettingsRefusal | None = None
) -> FileSettings:
    """Read a flat YAML mapping of settings. An empty file has none.

    A value is a scalar or a list of scalars. YAML's tags and anchors build nothing but plain values.

    :param mappings: the settings whose values may be mappings.
    :param refusal: makes the error; a :class:`~mctsdialog.errors.DataError` by default.
    :raises DataError: for a file that cannot be read, is no such mapping, or has a key twice; with the line.
    """
    return _reader(path, mappings, refusal).read(_Reader.settings)


def read_document(path: str | Path, *, refusal: SettingsRefusal | None = None) -> FileSettings:
    """Read a YAML mapping of any depth, without aliases; the lines are by dotted name ("systems.0.kind").

    :param refusal: makes the error; a :class:`~mctsdialog.errors.DataError` by default.
    :raises DataError: for a file that cannot be read, is no such mapping, or has a key twice; with the line.
    """
    return _reader(path, (), refusal).read(_Reader.document)


def _reader(path: str | Path, mappings: Collection[str], refusal: SettingsRefusal | None) -> _Reader:
    def place(reason: str, line: int | None = None, field: str | None = None) -> Exception:
        if refusal is not None:
            return refusal(reason, line, field)
        return DataError(reason, file=path, item=None if line is None else f"line {line}")

    try:
        content = read_input(Path(path).expanduser())
    except OSError as error:
        raise place(f"cannot be read: {error.strerror or error}") from error
    except RuntimeError as error:  # of a home that nobody has
        raise place(str(error)) from error
    if len(content) > _MOST_BYTES:
        raise place(f"has {len(content)} bytes; a file of settings has {_MOST_BYTES} at most")
    try:
        return _Reader(content.decode("utf-8-sig"), mappings, place)
    except UnicodeDecodeError as error:
        raise place("not UTF-8 text") from error


def write_settings(values: Mapping[str, Any], origins: Mapping[str, str], unused: Mapping[str, str]) -> str:
    """A YAML text of the values, the origin of each behind it as a comment; what is unused stands as a comment.

    :param unused: name to the reason why it is not used.
    """
    lines = [
        f"{_line(name, value)}  # {_comment(origins[name])}" for name, value in values.items() if name not in unused
    ]
    return "\n".join([*lines, *(f"# {name}: {_comment(reason)}" for name, reason in unused.items()), ""])


class _Reader:
    """Reads one file."""

    def __init__(self, text: str, mappings: Collection[str], place: Callable[..., Exception]) -> None:
        import yaml  # noqa: PLC0415  # slow to import; a plain import stays light

        self._yaml, self._text, self._mappings, self._place = yaml, text, mappings, place

    def read(self, build: Callable[[_Reader, Any], FileSettings]) -> FileSettings:
        yaml = self._yaml
        try:
            self._loader = yaml.SafeLoader(self._text)
            try:
                return build(self, self._loader.get_single_node())
            finally:
                self._loader.dispose()
        except yaml.MarkedYAMLError as error:
            line = None if error.problem_mark is None else error.problem_mark.line + 1
            raise self._place(f"not YAML: {error.problem}", line) from error
        except (yaml.YAMLError, OverflowError, RuntimeError, ValueError) as error:  # of depth
            if isinstance(error, MctsDialogError):  # ours
                raise
            raise self._place(f"not YAML: {error}") from error

    def settings(self, root: Any) -> FileSettings:
        """A flat mapping."""
        yaml, found = self._yaml, FileSettings({}, {})
        if root is None or root.tag == "tag:yaml.org,2002:null":
            return found
        if not isinstance(root, yaml.MappingNode):
            raise self._refused("settings are `name: value`, one a line", root)
        for key, value in root.value:
            name = self._value(key) if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str):
                raise self._refused(f"a setting's name is text (given: {reprlib.repr(key.value)})", key)
            if name in found.values:
                raise self._refused(f"{name} stands here and in line {found.lines[name]}", key, name)
            items = value.value if isinstance(value, yaml.SequenceNode) else [value]
            if name not in self._mappings and not all(isinstance(item, yaml.ScalarNode) for item in items):
                raise self._refused(f"{name}: a value is a scalar or a list of scalars", value, name)
            found.values[name] = self._value(value, name)
            found.lines[name] = key.start_mark.line + 1
        return found

    def document(self, root: Any) -> FileSettings:
        """A mapping of any depth."""
        if not isinstance(root, self._yaml.MappingNode):
            raise self._place("must be a mapping, `name: value`")
        lines: dict[str, int] = {}
        return FileSettings(self._built(root, "", lines, set()), lines)

    def _built(self, node: Any, place: str, lines: dict[str, int], seen: set[int]) -> Any:
        yaml = self._yaml
        if id(node) in seen:
            raise self._refused(f"{place}: an alias; write the value out where it is used", node, place)
        if isinstance(node, yaml.ScalarNode):
            return self._value(node, place)
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self._built(each, f"{place}.{at}", lines, seen) for at, each in enumerate(node.value)]
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = self._value(key) if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str) or key.tag == "tag:yaml.org,2002:merge":
                raise self._refused(f"a name is text (given: {reprlib.repr(key.value)})", key, place)
            dotted = f"{place}.{name}" if place else name
            if name in found:
                raise self._refused(f"{dotted} stands here and in line {lines[dotted]}", key, dotted)
            lines[dotted] = key.start_mark.line + 1
            found[name] = self._built(value, dotted, lines, seen)
        return found

    def _value(self, node: Any, field: str | None = None) -> Any:
        try:
            value = self._loader.construct_object(node, deep=True)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # whatever PyYAML meets
            raise self._refused(
                f"the value is no {visible_line(node.tag.rpartition(':')[2])[:40]}", node, field
            ) from error
        if field is not None and isinstance(value, int) and abs(value) > _MOST_WHOLE:
            raise self._refused(f"{field}: a whole number has 64 bits at most", node, field)
        return value

    def _refused(self, reason: str, node: Any, field: str | None = None) -> Exception:
        return self._place(reason, node.start_mark.line + 1, field)


def _line(name: str, value: Any) -> str:
    import yaml  # noqa: PLC0415

    plain = list(value) if isinstance(value, tuple) else value
    # Quoted, text stays on one line, and no word of it is taken for a number or a boolean.
    style = '"' if isinstance(plain, str) and not plain.isalnum() else None
    text: str = yaml.safe_dump(plain, default_flow_style=True, default_style=style, width=2**31)
    return f"{name}: {text.removesuffix('...' + chr(10)).strip()}"


def _comment(text: str) -> str:
    return visible_line(" ".join(text.split()))
