"""What the settings of a search and of an extraction have in common: frozen, typed, and refused by name."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mctsdialog.errors import ConfigError, shown


class Settings(BaseModel):
    """A set of settings.

    :raises ConfigError: for a value out of range or an unknown field, naming it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ConfigError(
                f"{type(self).__name__}.{field}: {first['msg']} (given: {shown(first['input'])})", field=field
            ) from error

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return type(self)(**{**self.model_dump(), **changes})
