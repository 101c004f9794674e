"""Settings in YAML files: read with their lines, written with their origins."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cso_train.errors import TrainConfigError
from mctsdialog.files import read_input
from mctsdialog.text import visible_line

_MOST_BYTES = 256 * 1024  # the time that YAML's numbers and scanning take grows with the square of their length
_MOST_WHOLE = 2**63
_MAPPINGS = ("chat_template_kwargs", "trainer", "lora")  # settings of other libraries, passed on


@dataclass(frozen=True)
class FileSettings:
    """What a file says.

    :ivar values: name to value, as YAML reads it.
    :ivar lines: name to line, from 1.
    """

    values: dict[str, Any]
    lines: dict[str, int]


def read_settings(path: str | Path, mappings: Collection[str] = _MAPPINGS) -> FileSettings:
    """Read a flat YAML mapping of settings. An empty file has none.

    :param mappings: names of settings that may be mappings.

    A value is a scalar or a list of scalars; settings that are passed on to a library are mappings. YAML's tags and
    anchors build nothing but plain values.

    :raises TrainConfigError: for a file that cannot be read, is no such mapping, or has a key twice; with the line.
    """
    import yaml  # noqa: PLC0415 - comes with the extra `train`; a plain import stays light

    try:
        content = read_input(Path(path).expanduser())
        if len(content) > _MOST_BYTES:
            raise TrainConfigError(f"has {len(content)} bytes; a file of settings has {_MOST_BYTES} at most", file=path)
        loader = yaml.SafeLoader(content.decode("utf-8-sig"))
        try:
            return _settings(loader, loader.get_single_node(), path, mappings)
        finally:
            loader.dispose()
    except OSError as error:
        raise TrainConfigError(f"cannot be read: {error.strerror or error}", file=path) from error
    except UnicodeDecodeError as error:
        raise TrainConfigError("not UTF-8 text", file=path) from error
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise TrainConfigError(f"not YAML: {error.problem}", file=path, line=line) from error
    except TrainConfigError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError, RuntimeError) as error:  # of a home that nobody has; of depth
        raise TrainConfigError(f"not YAML: {error}", file=path) from error


def write_settings(values: Mapping[str, Any], origins: Mapping[str, str], unused: Mapping[str, str]) -> str:
    """A YAML text of the values, the origin of each behind it as a comment; what is unused stands as a comment.

    :param unused: name to the reason why it is not used.
    """
    lines = [
        f"{_line(name, value)}  # {_comment(origins[name])}" for name, value in values.items() if name not in unused
    ]
    return "\n".join([*lines, *(f"# {name}: {_comment(reason)}" for name, reason in unused.items()), ""])


def _settings(loader: Any, root: Any, path: str | Path, mappings: Collection[str]) -> FileSettings:
    import yaml  # noqa: PLC0415

    found = FileSettings({}, {})
    if root is None or root.tag == "tag:yaml.org,2002:null":
        return found
    if not isinstance(root, yaml.MappingNode):
        _refuse("settings are `name: value`, one a line", path, root)
    for key, value in root.value:
        name = _value(loader, key, path) if isinstance(key, yaml.ScalarNode) else None
        if not isinstance(name, str):
            _refuse(f"a setting's name is text (given: {reprlib.repr(key.value)})", path, key)
        if name in found.values:
            _refuse(f"{name} stands here and in line {found.lines[name]}", path, key, name)
        items = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if name not in mappings and not all(isinstance(item, yaml.ScalarNode) for item in items):
            _refuse(f"{name}: a value is a scalar or a list of scalars", path, value, name)
        found.values[name] = _value(loader, value, path, name)
        if isinstance(found.values[name], int) and abs(found.values[name]) > _MOST_WHOLE:
            _refuse(f"{name}: a whole number has 64 bits at most", path, value, name)
        found.lines[name] = key.start_mark.line + 1
    return found


def _value(loader: Any, node: Any, path: str | Path, field: str | None = None) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # whatever PyYAML meets there
        _refuse(f"the value is no {visible_line(node.tag.rpartition(':')[2])[:40]}", path, node, field)


def _refuse(reason: str, path: str | Path, node: Any, field: str | None = None) -> NoReturn:
    raise TrainConfigError(reason, file=path, line=node.start_mark.line + 1, field=field)


def _line(name: str, value: Any) -> str:
    import yaml  # noqa: PLC0415

    plain = list(value) if isinstance(value, tuple) else value
    # Quoted, text stays on one line, and no word of it is taken for a number or a boolean.
    style = '"' if isinstance(plain, str) and not plain.isalnum() else None
    text: str = yaml.safe_dump(plain, default_flow_style=True, default_style=style, width=2**31)
    return f"{name}: {text.removesuffix('...' + chr(10)).strip()}"


def _comment(text: str) -> str:
    return visible_line(" ".join(text.split()))
