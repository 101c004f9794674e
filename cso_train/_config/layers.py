"""Defaults < preset < YAML file < command line, with the origin of each value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, get_origin

from pydantic import TypeAdapter, ValidationError

from cso_train._config.presets import Preset, load_preset
from cso_train._config.settings import TrainConfig, check_names
from cso_train.errors import PresetError, TrainConfigError
from mctsdialog._arguments import checked
from mctsdialog.errors import shown
from mctsdialog.files import SettingsRefusal, parse_json, read_settings, write_settings

_PROGRAM = "the program"
"""The origin of settings that a program gives."""

_MAPPINGS = ("chat_template_kwargs", "trainer", "lora")  # settings of other libraries, passed on

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Resolved:
    """A run's settings, and where each came from.

    :ivar config: the settings, everything set that the method uses.
    :ivar origins: name to "default", "preset NAME", the file's name, "command line", or "the program".
    :ivar preset: the preset's name, where there was one.
    """

    config: TrainConfig
    origins: Mapping[str, str]
    preset: str | None = None

    def short(self) -> str:
        """What the run is, and every setting that is not its default, with its origin, as YAML."""
        shown = ("model", "method", "lora", "data", "output_dir")
        values = {
            name: value
            for name, value in self.config.model_dump().items()
            if name in shown or self.origins[name] != "default"
        }
        return write_settings(values, self.origins, {}) + "# the other settings have their defaults\n"

    @classmethod
    def of(cls, config: TrainConfig) -> Self:
        """The settings of a program, everything set that the method uses."""
        given = config.model_fields_set
        return cls(
            config.resolve(), {name: _PROGRAM if name in given else "default" for name in type(config).model_fields}
        )

    def to_yaml(self) -> str:
        """The settings as YAML that reads back the same, each with its origin in a comment behind it."""
        why = "full-parameter training" if not self.config.lora else self.config.method
        unused = {
            name: f"not used by {why if name.startswith(('lora', 'merge')) else self.config.method}"
            for name in self.config.unused()
        }
        return write_settings(self.config.model_dump(), self.origins, unused)


@dataclass(frozen=True)
class _Layer:
    origin: str
    values: Mapping[str, Any]
    file: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)


@checked("preset")
def resolve_config(
    preset: str | None = None,
    yaml_file: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Resolved:
    """Merge defaults, preset, file, command line and settings: ``resolve_config("smollm2", max_steps=2)``.

    Later ones win. Text is converted to the type of the setting: "5e-7", which YAML reads as text, becomes a number,
    "a,b" a list, and "none" None if the setting allows it.

    :param preset: name of a preset. It takes precedence over the key ``preset`` of the file.
    :param yaml_file: a flat YAML file of settings.
    :param overrides: the settings given on the command line.
    :param settings: settings of :class:`TrainConfig`, by name, which take precedence over all others.
    :raises PresetError: if there is no such preset, or it is for another model, method or kind of training.
    :raises TrainConfigError: for any other mistake, with file and line if it is in the file.
    """
    if not isinstance(preset, str | None):
        hint = "; settings are given by name: resolve_config(**settings)" if isinstance(preset, Mapping) else ""
        raise TrainConfigError(f"preset must be the name of a preset, not {shown(preset)}{hint}", field="preset")
    file = _file_layer(yaml_file)
    chosen = _preset(preset, file)
    values = {name: value for name, value in file.values.items() if name != "preset"}
    layers = [
        _Layer(f"preset {chosen.name}", chosen.values) if chosen else _Layer("preset", {}),
        replace(file, values=values),
        _Layer("command line", dict(overrides or {})),
        _Layer(_PROGRAM, settings),
    ]
    merged: dict[str, Any] = {}
    source: dict[str, _Layer] = {}
    for layer in layers:
        with _placed(layer):
            check_names(layer.values)
        for name, value in layer.values.items():
            merged[name], source[name] = _typed(name, value), layer
    config = _built(merged, source, chosen)
    origins = {name: source[name].origin if name in source else "default" for name in TrainConfig.model_fields}
    return Resolved(config, origins, chosen.name if chosen else None)


def _file_layer(path: str | Path | None) -> _Layer:
    if path is None:
        return _Layer("file", {})
    settings = read_settings(path, mappings=_MAPPINGS, refusal=refusal_of(path))
    return _Layer(str(path), settings.values, Path(path), settings.lines)


def refusal_of(path: str | Path) -> SettingsRefusal:
    """What makes the errors of a file of settings."""
    return lambda reason, line, field: TrainConfigError(reason, file=path, line=line, field=field)


def _preset(name: str | None, file: _Layer) -> Preset | None:
    if name is not None:
        return load_preset(name)
    named = file.values.get("preset")
    with _placed(file, "preset"):
        return None if named is None else load_preset(str(named))


def _built(merged: dict[str, Any], source: Mapping[str, _Layer], preset: Preset | None) -> TrainConfig:
    try:
        if preset is not None:
            preset.check(merged)
        return TrainConfig(**merged).resolve()
    except TrainConfigError as error:
        layer = source.get(error.field or "")
        if layer is None:
            raise
        raise _with_place(error, layer, error.field) from error


@contextmanager
def _placed(layer: _Layer, field: str | None = None) -> Iterator[None]:
    """Errors of the block name the layer."""
    try:
        yield
    except TrainConfigError as error:
        raise _with_place(error, layer, field or error.field) from error


def _with_place(error: TrainConfigError, layer: _Layer, field: str | None) -> TrainConfigError:
    """The same error, with the file and line or the layer to blame."""
    line = layer.lines.get(field or "")
    reason = error.reason if layer.file is not None or layer.origin == _PROGRAM else f"{layer.origin}: {error.reason}"
    if isinstance(error, PresetError):
        return PresetError(error.reason, preset=error.preset, field=field, file=layer.file, line=line)
    return TrainConfigError(reason, field=field, file=layer.file, line=line)


def _typed(name: str, value: Any) -> Any:
    """A value as its setting's type wants it; as it came, where no reading fits."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    kind: Any = TrainConfig.model_fields[name].annotation
    adapter = TypeAdapter(kind)
    for reading in _readings(value):
        with suppress(ValidationError, ValueError, KeyError, TypeError):
            return adapter.validate_python(reading(value.strip()), strict=True)
    return _items(value) if get_origin(kind) is tuple else value  # so that the error is about the items


def _readings(text: str) -> list[Callable[[str], Any]]:
    """How a text may be read, the likeliest first."""
    empty = text.strip().lower() in ("", "none", "null")
    return [
        lambda _: text,
        *([lambda _: None, lambda _: ()] if empty else []),
        int,
        float,
        lambda word: _WORDS[word.lower()],
        _mapping,
        _items,
        lambda items: tuple(map(float, _items(items))),
    ]


def _mapping(text: str) -> dict[str, Any]:
    """A JSON object, as the command line takes settings of other libraries."""
    found = parse_json(text)
    if not isinstance(found, dict):
        raise TypeError("is no object")
    return found


def _items(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(","))
