"""The settings of rounds, in one YAML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from cso_train._config import Resolved, TrainConfig, resolve_config
from cso_train._config.layers import refusal_of
from cso_train.errors import TrainConfigError
from mctsdialog import SearchConfig
from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError
from mctsdialog.files import read_settings
from mctsdialog.preferences import PreferenceConfig

_WORLD = re.compile(r"world:(\d{1,9})")
_OURS = ("model", "data", "output_dir", "eval_data")


class RoundsConfig(BaseModel):
    """Settings of the rounds: what is searched, trained and evaluated in each.

    :raises TrainConfigError: for an unknown key or a value out of range, naming it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    model: str = Field(min_length=1, description="the model that the first round begins with, as train takes it")
    dialogues: str = Field(min_length=1, description="file of dialogues: searches grow from all but those held out")
    partners: str = Field(
        min_length=1,
        description="who plays seeker and judge: a model by name (gpt-4o-mini, groq/llama-3.3-70b-versatile), or "
        "world:SEED, a simulated world whose scenarios the dialogues are of",
    )
    domain: str = Field(default="esc", min_length=1, description="whose strategies count: a domain's name or file")
    server: str | None = Field(default=None, description="address of an OpenAI-compatible server with that model")
    rounds: int = Field(default=2, ge=1, le=100, description="how many, 1 to 100; each searches its share of dialogues")
    held: int = Field(default=20, ge=1, description="dialogues held out, the last of the file, 1 or more")
    held_turns: int = Field(default=12, ge=1, description="most supporter turns of a dialogue that is held, 1 or more")
    max_tokens: int = Field(default=128, ge=1, description="longest reply of the trained model in tokens, 1 or more")
    concurrency: int = Field(default=8, ge=1, description="calls to the partners at once, 1 or more")
    search: dict[str, JsonValue] = Field(
        default={"algorithm": "calibrated"}, description="settings of mctsdialog.SearchConfig"
    )
    preferences: dict[str, JsonValue] = Field(default_factory=dict, description="settings of PreferenceConfig")
    train: dict[str, JsonValue] = Field(default_factory=dict, description="settings of training, but for the paths")
    output_dir: str = Field(default="rounds", min_length=1, description="folder of all rounds")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise TrainConfigError(f"{field}: {first['msg']}", field=field) from error
        for name, check in {"search": self.search_config, "preferences": self.preference_config}.items():
            try:
                check()
            except ConfigError as error:
                raise TrainConfigError(f"{name}: {error}", field=name) from error
        for name in _OURS:
            if name in self.train:
                raise TrainConfigError(f"train.{name}: follows from the rounds; leave it out", field="train")
        self.training(self.model, "data", "run")
        if self.world is not None and self.server is not None:
            raise TrainConfigError("server: a world has none; leave it out", field="server")

    @property
    def world(self) -> int | None:
        """Seed of the partners' world; None where they are a model."""
        found = _WORLD.fullmatch(self.partners)
        return None if found is None else int(found.group(1))

    def search_config(self) -> SearchConfig:
        """How trees are searched."""
        return SearchConfig(**self.search)  # type: ignore[arg-type]  # checked there

    def preference_config(self) -> PreferenceConfig:
        """What counts as a pair."""
        return PreferenceConfig(**self.preferences)  # type: ignore[arg-type]  # checked there

    def training(self, model: str, data: str, output_dir: str) -> Resolved:
        """The settings of a round's training.

        :raises TrainConfigError: if they do not fit.
        """
        given: dict[str, Any] = {**self.train, "model": model, "data": data, "output_dir": output_dir}
        for name in TrainConfig.model_fields.keys() & given.keys():  # a list of YAML is a tuple of a run
            given[name] = tuple(value) if isinstance(value := given[name], list) else value
        return resolve_config(None, None, given)


@checked()
def read_rounds_config(path: str | Path) -> RoundsConfig:
    """Read the settings from a YAML file.

    :raises TrainConfigError: for a file that cannot be read or wrong settings, with file and line.
    """
    found = read_settings(path, mappings=("search", "preferences", "train"), refusal=refusal_of(path))
    try:
        return RoundsConfig(**found.values)
    except TrainConfigError as error:
        name = (error.field or "").partition(".")[0]
        raise TrainConfigError(error.reason, field=error.field, file=path, line=found.lines.get(name)) from error
