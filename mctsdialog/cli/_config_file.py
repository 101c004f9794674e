"""``--config``: the options of a command from a YAML file, and the file that says what a run was made from."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mctsdialog.cli.exits import BAD_INPUT, Failure, errors_as_exits
from mctsdialog.cli.keys import shown_choice
from mctsdialog.files import FileSettings, read_settings, write_settings
from mctsdialog.llm._address import server_address, shown_address
from mctsdialog.text import visible_line

F = TypeVar("F", bound=Callable[..., Any])

_MAPPINGS = ("setting", "extra")
_NOT_KEPT = {"extra": "may hold a secret, so it is not written here"}
_OF_ONE_RUN = ("config", "help", "dry_run", "restart", "verbose")
"""Options that no file has: what they ask for is of one command alone."""


def with_config_file(command: F) -> F:
    """The option ``--config``: values of a YAML file, below those of the command line."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="Read options from a YAML file, one per line as in 'max_iterations: 50', and FILES as 'files: [...]'. The "
        "command line takes precedence. OUT/config.yaml of an earlier run works.",
    )(command)


def key_of(parameter: click.Parameter) -> str:
    """The name of an option or argument in a file."""
    long = [each for each in parameter.opts if each.startswith("--")]
    name = long[0] if isinstance(parameter, click.Option) and long else str(parameter.name)
    return name.lstrip("-").replace("-", "_")


def _settable(command: click.Command) -> dict[str, click.Parameter]:
    return {key_of(each): each for each in command.params if key_of(each) not in _OF_ONE_RUN}


def _read(ctx: click.Context, _: click.Parameter, file: Path | None) -> None:
    if file is None:
        return
    with errors_as_exits():
        found = read_settings(file, mappings=_MAPPINGS)
    known = _settable(ctx.command)
    values: dict[str, Any] = {}
    for key, value in found.values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            meant = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"
            raise _refused(file, found, key, f"there is no option of this name{meant}")
        if value is not None:
            parameter = known[key]
            try:
                values[str(parameter.name)] = _value(ctx, parameter, value)
            except (ValueError, click.BadParameter) as error:
                reason = error.message if isinstance(error, click.BadParameter) else str(error)
                raise _refused(file, found, key, reason) from error
    ctx.default_map = {**(ctx.default_map or {}), **values}


def _refused(file: Path, found: FileSettings, key: str, reason: str) -> Failure:
    return Failure(visible_line(f"{file}: line {found.lines[key]}: {key}: {reason}"), BAD_INPUT)


def _value(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A value as click takes it for an option's default.

    :raises ValueError: for a value of another kind than the option's.
    :raises click.BadParameter: for one that the option refuses.
    """
    if getattr(parameter, "is_flag", False):
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {value!r:.40}")
        return value
    many = getattr(parameter, "multiple", False) or parameter.nargs != 1
    if isinstance(value, dict):
        texts = [json.dumps(value)] if key_of(parameter) == "extra" else _pairs(value)
    elif isinstance(value, list) and not many:
        raise ValueError("takes one value, not a list")
    else:
        texts = [_text(each) for each in (value if isinstance(value, list) else [value])]
    given: Any = tuple(texts) if many else texts[0]
    converted = parameter.type_cast_value(ctx, given)
    if parameter.callback is not None:
        parameter.callback(ctx, parameter, converted)
    return given


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be text or a number, not {value!r:.40}")
    return str(value)


def _pairs(values: Mapping[Any, Any]) -> list[str]:
    return [f"{name}={json.dumps(value, default=str)}" for name, value in values.items()]


def resolved_yaml(ctx: click.Context, config: Mapping[str, Any]) -> str:
    """Every option that has a value, with where it came from, as a file that ``--config`` reads. It holds no secret.

    :param config: the values of the options that a config was made from, by field.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for key, parameter in _settable(ctx.command).items():
        name = str(parameter.name)
        field = name.removeprefix("config_")
        value = config[field] if name.startswith("config_") else ctx.params[name]
        if value is None or value in ((), {}):
            continue
        if key in _NOT_KEPT:
            left_out[key] = _NOT_KEPT[key]
            continue
        values[key] = _plain(key, value)
        origins[key] = _origin(ctx, name)
    return write_settings(values, origins, left_out)


def _origin(ctx: click.Context, name: str) -> str:
    source = ctx.get_parameter_source(name)
    known = {ParameterSource.COMMANDLINE: "command line", ParameterSource.DEFAULT_MAP: "file"}
    return known.get(source, "default") if source is not None else "default"


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(key, each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str):
        return "".join(_without_password(key, value))
    return value


def _without_password(key: str, value: str) -> Iterator[str]:
    """An option's value with its address less user, password and query."""
    if key == "base_url":
        yield shown_address(server_address(value)[0])
    elif key.endswith("_model"):
        yield shown_choice(value)
    elif key in ("api_key_env", "header") and "://" in value:
        parts = value.rsplit("=", 2 if key == "header" else 1)
        yield "=".join([shown_address(server_address(parts[0])[0]), *parts[1:]])
    else:
        yield value
