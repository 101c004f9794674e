"""The settings of a search. Defaults are the paper's (Appendix F.1), or else the design's."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mctsdialog._settings import Settings, lasting
from mctsdialog.algorithms._registry import get_algorithm
from mctsdialog.errors import ConfigError

STOPPING_FIELDS = frozenset({"max_iterations", "min_iterations", "min_ends", "max_ends"})
"""Fields that say when to stop. They change no trial, so a search may be resumed with others."""


class SearchConfig(Settings):
    """Settings of a search. The defaults are the paper's.

    :raises ConfigError: for a value out of range or an unknown field, naming it.
    """

    c: float = Field(default=1.0, ge=0.0, description="exploration weight in PUCB (eq. 1), 0 or more")
    prior_temperature: float = Field(
        default=5.0, gt=0.0, description="temperature T of the softmax over strategy scores, above 0"
    )
    bias: float = Field(
        default=-3.0,
        ge=-1e9,
        le=1e9,
        description="b: reward = weighted mean of the judge's scores + b (eq. 2)",
    )
    horizon: int = Field(default=4, ge=0, description="H: most simulated rounds after a new node, 0 or more")
    gold_visits: int = Field(default=100, ge=0, description="N that a gold node starts with, 0 or more")
    gold_prior: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="prior of a gold strategy that the strategist left out, in [0, 1)"
    )
    max_iterations: int = Field(default=200, ge=0, description="stop after this many iterations, 0 or more")
    min_iterations: int = Field(
        default=100, ge=0, description="may stop after this many iterations if min_ends is reached, 0 or more"
    )
    min_ends: int = Field(
        default=1, ge=0, description="may stop with this many end nodes if min_iterations is reached, 0 or more"
    )
    max_ends: int = Field(default=25, ge=1, description="may stop with this many end nodes, 1 or more")
    parallelism: int = Field(default=1, ge=1, description="concurrent trials in one tree, 1 or more")
    deterministic: bool = Field(
        default=False,
        description="commit trials in the order they started, so equal replies give the same tree at any speed",
    )

    algorithm: str = Field(default="cso", description="name of the algorithm; 'cso' is the paper's search")
    settings: dict[str, Any] = Field(default={}, description="the algorithm's own settings, by name")

    def model_post_init(self, context: Any, /) -> None:
        """See that there is such an algorithm, and that its settings are sound.

        :raises ConfigError: naming what is wrong.
        """
        kind = self.kind
        try:
            kind.Settings(**self.settings)
        except ConfigError as error:
            raise ConfigError(str(error).partition(": ")[2] or str(error), field=f"settings.{error.field}") from error

    def __hash__(self) -> int:
        return hash(tuple(value for name, value in self if name != "settings"))  # a dict has no hash

    @property
    def kind(self) -> type[Any]:
        """The class of the algorithm, a subclass of :class:`mctsdialog.algorithms.Algorithm`."""
        return get_algorithm(self.algorithm)

    @property
    def own(self) -> Any:
        """The algorithm's own settings, as its class has them."""
        return self.kind.Settings(**self.settings)

    def recorded(self) -> dict[str, Any]:
        """The settings as a tree keeps them: JSON values, those of other algorithms than the paper's only where set."""
        return lasting(self)  # type: ignore[no-any-return]

    def defining(self) -> dict[str, Any]:
        """Settings that must not change when a search resumes, without the stopping fields."""
        left_out = set() if self.deterministic else {"parallelism"}
        return {name: value for name, value in lasting(self).items() if name not in left_out}
