"""The YAML file of an arena."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cso_train._config.layers import refusal_of
from cso_train.arena._entrants import Prompting
from cso_train.errors import TrainConfigError
from cso_train.evaluation.protocols import PROTOCOLS, JudgedProtocol
from mctsdialog.errors import shown
from mctsdialog.files import dotted, first_fault, read_document
from mctsdialog.seekers import SeekerSetting

Name = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelSystem(_Part):
    """A model at a server that answers by itself."""

    kind: Literal["model"]
    model: Name = Field(description="NAME[@URL], PROVIDER/NAME, or 'local' for the embedded model")
    prompt: Prompting = Field(default="strategies", description="'strategies' (that models are trained on) or 'plain'")
    max_tokens: Count = Field(default=192, description="longest reply in tokens")
    temperature: float = Field(default=0.7, ge=0, le=10, description="of its replies")


class AdapterSystem(_Part):
    """A model that is loaded here, with or without the adapter that was trained for it."""

    kind: Literal["adapter"]
    base: Name = Field(default="smollm2", description="hub name, folder or GGUF file")
    adapter: Name | None = Field(default=None, description="folder of an adapter, such as run/model")
    prompt: Prompting = Field(default="strategies", description="as for a model")
    max_tokens: Count = Field(default=128, description="longest reply in tokens")
    temperature: float = Field(default=0.7, ge=0, le=10, description="of its replies")


class PlanSystem(_Part):
    """A search that plans each turn; in a simulated world without a model."""

    kind: Literal["plan"]
    model: Name | None = Field(default=None, description="plays the search's own roles; none in a world")
    calls: int = Field(default=32, ge=0, le=1_000_000, description="most calls to roles a turn; 0 searches nothing")
    algorithm: Name = Field(default="calibrated", description="of the search")
    settings: dict[str, Any] = Field(default={}, description="other settings of the search, by name")


class ScriptSystem(_Part):
    """Lines that are said in turn, whatever the seeker says."""

    kind: Literal["script"]
    lines: Annotated[list[Name], Field(min_length=1, max_length=1000)] = Field(description="what is said")
    strategy: Name | None = Field(default=None, description="that the turns are labelled with")


class PolicySystem(_Part):
    """A policy of a simulated world, which sees the true state."""

    kind: Literal["policy"]
    policy: Name = Field(default="best", description="best, pleasing, strategist, random, worst, or a strategy's name")
    slip: float = Field(default=0.0, ge=0, le=1, description="chance of a random strategy")


System = Annotated[ModelSystem | AdapterSystem | PlanSystem | ScriptSystem | PolicySystem, Field(discriminator="kind")]


class SeekerPart(_Part):
    """Who plays the seekers."""

    model: Name = Field(description="as for a system")
    setting: SeekerSetting = Field(default="card", description="card, cooperative, resistant or worst")


class JudgePart(_Part):
    """A judge."""

    model: Name = Field(description="as for a system")


class WorldPart(_Part):
    """A simulated world in place of models: seekers, policies, searches and judge are the world's."""

    seed: int = Field(default=7, ge=-(2**62), le=2**62, description="decides all that happens in it")
    judge_noise: float = Field(default=0.25, ge=0, le=1, description="chance that a score is one off")
    report_noise: float = Field(default=0.25, ge=0, le=1, description="chance that a seeker's level is told one off")
    cooperation: float = Field(default=1.0, ge=0, le=1, description="below 1 the seeker resists")


class BudgetPart(_Part):
    """Most that the models may spend."""

    calls: Annotated[int, Field(ge=0, le=10**12)] | None = None
    tokens: Annotated[int, Field(ge=0, le=10**15)] | None = None
    seconds: Annotated[float, Field(ge=0, le=1e9)] | None = None


class ArenaConfig(_Part):
    """What an arena is made of; see :func:`read_arena`."""

    systems: Annotated[dict[Name, System], Field(min_length=1, max_length=100)] = Field(description="by name")
    cards: Name | Count = Field(default="sample", description="a file, 'sample', or in a world how many")
    limit: Count | None = Field(default=None, description="only the first so many cards")
    domain: Name = Field(default="esc", description="name or file; sample cards are those of the domain")
    seeker: SeekerPart | None = Field(default=None, description="who plays the seekers; none in a world")
    judges: dict[Name, JudgePart] = Field(default={}, description="by name; a world has its own")
    world: WorldPart | None = Field(default=None, description="a simulated world in place of models")
    protocols: Annotated[list[Name], Field(min_length=1)] = Field(
        default=["interactive", "trajectory", "eia", "single_turn"], description="by which conversations are scored"
    )
    repeats: Count = Field(default=1, description="conversations of a system with each card")
    judge_repeats: Count = Field(default=1, description="how often each judge is asked the same")
    rounds: Annotated[int, Field(ge=1, le=1000)] = Field(default=8, description="most supporter turns")
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = Field(default=8, description="calls at once")
    success: float = Field(default=80.0, ge=0, le=100, description="emotion from which a conversation is a success")
    failure: float = Field(default=10.0, ge=0, le=100, description="emotion below which it is a failure")
    budget: BudgetPart = Field(default=BudgetPart(), description="most that the models may spend")
    resamples: Annotated[int, Field(ge=0, le=1_000_000)] = Field(default=1000, description="bootstrap samples")
    seed: int = Field(default=0, ge=-(2**62), le=2**62, description="of the intervals")

    @model_validator(mode="after")
    def _check(self) -> ArenaConfig:
        for name in self.protocols:
            if name not in PROTOCOLS:
                raise ValueError(f"there is no protocol {shown(name)}; there are {', '.join(PROTOCOLS)}")
        if len(set(self.protocols)) != len(self.protocols):
            raise ValueError("a protocol is there twice")
        for name, system in self.systems.items():
            if isinstance(system, PolicySystem) and self.world is None:
                raise ValueError(f"the system {shown(name)} is a policy of a world, and there is no world")
            if isinstance(system, PlanSystem) and (system.model is None) != (self.world is not None):
                raise ValueError(f"the system {shown(name)} needs a model; in a world it has none")
        fault = self._without_world() if self.world is None else self._with_world()
        if fault is not None:
            raise ValueError(fault)
        return self

    def _with_world(self) -> str | None:
        if self.seeker is not None or self.judges:
            return "a world has a seeker and a judge of its own; leave seeker and judges out"
        if isinstance(self.cards, str) and self.cards != "sample":
            return "in a world, cards is how many of its scenarios there are"
        return None

    def _without_world(self) -> str | None:
        if self.seeker is None:
            return "seeker is missing: the model that plays the seekers, or a world"
        if isinstance(self.cards, int):
            return "cards is a file, or 'sample'; use limit for how many"
        asking = [name for name in self.protocols if issubclass(PROTOCOLS[name], JudgedProtocol)]
        return f"the protocol {asking[0]} needs judges" if asking and not self.judges else None


def read_arena(path: str | Path) -> ArenaConfig:
    """The arena that a YAML file describes.

    :raises TrainConfigError: naming file, line and field: for a file that cannot be read, and settings that are
        unknown, of another type, out of range, or at odds with each other.
    """
    found = read_document(path, refusal=refusal_of(path))
    lines = found.lines
    try:
        return ArenaConfig(**found.values)
    except ValidationError as error:
        place, reason = first_fault(error)
        spot = _spot(place, lines)
        raise TrainConfigError(
            f"{spot}: {reason}" if spot else reason, file=path, line=lines.get(spot), field=spot or None
        ) from error


def _spot(place: tuple[int | str, ...], lines: dict[str, int]) -> str:
    """The dotted name of a place in the file: a fault's place also names the kind of a system."""
    found: list[str] = []
    for each in place:
        longer = ".".join([*found, str(each)])
        if longer in lines:
            found.append(str(each))
    return ".".join(found) or dotted(place)
