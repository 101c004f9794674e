"""The settings of preference extraction. Defaults are the paper's (section 3.2, Appendix F.1)."""

from __future__ import annotations

from pydantic import Field

from mctsdialog._search import SearchConfig
from mctsdialog._settings import Settings
from mctsdialog.errors import ConfigError, DataError
from mctsdialog.tree import MAX_PATHS, PathRule, Tree, ValidPaths, reward_range


class PreferenceConfig(Settings):
    """What counts as a valid path and as a pair.

    :raises ConfigError: for a value out of range or an unknown field, naming it.
    """

    theta: float = Field(
        default=0.5,
        description="least Q of a node on a valid path; rejected siblings are below it (eqs. 5 and 6); not used "
        "for trees with posteriors",
    )
    min_visits: int = Field(default=2, ge=0, description="least N of a valid path's end node, 0 or more")
    path_rule: PathRule = Field(
        default="all",
        description="nodes that must reach theta: 'all' on the path including the root, or only its 'end'",
    )
    min_margin: float | None = Field(
        default=None, description="keep only pairs whose Q(chosen) - Q(rejected) is above this"
    )
    max_paths: int = Field(
        default=MAX_PATHS,
        ge=1,
        description="for trees with posteriors: number of best whole paths that are valid, 1 or more",
    )
    min_confidence: float = Field(
        default=0.6,
        ge=0.0,
        lt=1.0,
        description="for trees with posteriors: least probability that the chosen reply is better",
    )
    max_per_turn: int | None = Field(default=None, ge=1, description="most pairs per turn, drawn at random, 1 or more")
    max_per_tree: int | None = Field(default=None, ge=1, description="most pairs per tree, drawn at random, 1 or more")
    seed: int = Field(default=0, description="seed of all random draws: caps, splits, subsets, random strategies")

    def valid_paths(self, tree: Tree) -> ValidPaths:
        """The valid paths of a tree by these settings.

        :raises ConfigError: for a theta that is no reward of the tree's judge, with the range.
        :raises DataError: for a tree from a file whose settings are none of a search.
        """
        search_config(tree)
        low, high = reward_range(tree)
        if not low <= self.theta <= high:
            raise ConfigError(
                f"theta {self.theta:g} is outside the rewards of tree {tree.id!r}, {low:g} to {high:g}, which are the "
                f"rubric's levels plus the search's bias; choose a theta among them, or search with another bias",
                field="theta",
            )
        return ValidPaths(tree, self.theta, self.min_visits, self.path_rule, max_paths=self.max_paths)


def search_config(tree: Tree) -> SearchConfig:
    """The settings that the tree was searched with; the defaults for a tree that no search grew.

    :raises DataError: for a tree from a file whose settings are none of a search.
    """
    try:
        return SearchConfig(**{name: tree.config[name] for name in SearchConfig.model_fields if name in tree.config})
    except ConfigError as error:
        raise DataError(str(error), item=f"tree {tree.id!r}", field="config") from error
