"""What the settings of a search and of an extraction have in common: frozen, typed, and refused by name.

A setting that a later version adds must not make runs of an earlier one "another run": what identifies a run leaves it
out where it has its default (:func:`lasting`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, Never, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mctsdialog.errors import ConfigError, shown


class Settings(BaseModel):
    """A set of settings.

    :raises ConfigError: for a value out of range or an unknown field, naming it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, *unnamed: Never, **values: Any) -> None:
        if unnamed:
            kind = type(self).__name__
            raise ConfigError(f"{kind} takes its settings by name: {kind}({next(iter(type(self).model_fields))}=...)")
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            told = first.get("ctx", {}).get("error")
            if isinstance(told, ConfigError):
                raise ConfigError(f"{type(self).__name__}.{told.field}: {told}", field=told.field) from error
            reason = f"{first['msg']} (given: {shown(first['input'])})"
            if first["type"] == "extra_forbidden":
                reason = f"there is no such setting{_nearest(field, type(self).model_fields)}"
            raise ConfigError(f"{type(self).__name__}.{field}: {reason}", field=field) from error

    def __setattr__(self, name: str, value: Any) -> None:
        message = f"{type(self).__name__} cannot be changed; make another: config.replace({name}=...)"
        raise ConfigError(message, field=name)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return type(self)(**{**self.model_dump(), **changes})


_SYNONYMS = {
    "concurrency": "parallelism",
    "iterations": "max_iterations",
    "depth": "horizon",
    "temperature": "prior_temperature",
}


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(_SYNONYMS.get(name, name), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "SearchConfig": frozenset(
        {"c", "prior_temperature", "bias", "horizon", "gold_visits", "gold_prior", "max_iterations", "min_iterations"}
        | {"min_ends", "max_ends", "parallelism", "deterministic"}
    ),
    "Domain": frozenset({"name", "title", "strategies", "seeker", "supporter", "rubric", "weights", "templates"}),
    "StrategySet": frozenset({"strategies", "aliases"}),
    "Strategy": frozenset({"name", "description"}),
    "RoleDescription": frozenset({"name", "description"}),
    "Criterion": frozenset({"name", "description", "levels"}),
    "World": frozenset({"seed", "rounds", "judge_noise", "strategist_noise", "favourites", "bias"}),
}
"""The fields that version 0.1 had, by class. Names are never added: what is not here came later."""


def lasting_fields(settings: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a model's or data class's fields, without later ones that have their default."""
    first = next((FIELDS[kind.__name__] for kind in type(settings).__mro__ if kind.__name__ in FIELDS), frozenset())
    for name, default in _defaults(settings):
        value = getattr(settings, name)
        if name in first or value != default:
            yield name, value


def lasting(value: Any) -> Any:
    """Settings as JSON values, without later ones that have their default, at any depth."""
    if isinstance(value, BaseModel):
        return {name: lasting(each) for name, each in lasting_fields(value)}
    if isinstance(value, Mapping):
        return {name: lasting(each) for name, each in value.items()}
    return [lasting(each) for each in value] if isinstance(value, list | tuple) else value


def _defaults(settings: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(settings):
        for field in fields(settings):
            yield field.name, field.default if field.default_factory is MISSING else field.default_factory()
    else:
        for name, info in type(settings).model_fields.items():
            yield name, info.get_default(call_default_factory=True)
