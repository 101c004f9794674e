"""What a training run is made from. An unknown key fails, with the nearest name."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cso_train.errors import TrainConfigError


class TrainConfig(BaseModel):
    """The settings of one run; defaults are the paper's where it has them (Appendix F.2, Table 13).

    :raises TrainConfigError: for an unknown key or a value out of range, naming it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    method: Literal["sft", "dpo", "ipo", "simpo", "kto", "orpo"] = Field("dpo", description="training method")
    epochs: int = Field(3, ge=1, description="passes over the data, 1 or more")
    batch_size: int = Field(32, ge=1, description="global batch in rows, 1 or more")
    learning_rate: float = Field(1e-6, gt=0.0, description="peak learning rate, above 0")
    beta: float = Field(0.1, gt=0.0, description="strength of the reference in the loss (eqs. 7 and 8), above 0")
    max_completion_tokens: int = Field(512, ge=1, description="longest completion in tokens, 1 or more")
    lora: bool = Field(True, description="low-rank adapters instead of all parameters")
    seed: int = Field(0, ge=0, description="seed of every random choice, 0 or more")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _config_error(error) from error


def _config_error(error: ValidationError) -> TrainConfigError:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return TrainConfigError(f"{field}: {first['msg']} (given: {first['input']!r})", field=field)
    near = difflib.get_close_matches(field, TrainConfig.model_fields, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(TrainConfig.model_fields)}"
    return TrainConfigError(f"unknown setting {field!r}{hint}", field=field)
