"""Trees as a table, a row a node: for DuckDB, pandas, Polars and the like."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mctsdialog._arguments import checked
from mctsdialog.files import atomic_file
from mctsdialog.files._arrow import write_parquet
from mctsdialog.tree import ExpandedNode, RootNode, SpokenNode, StrategyNode, Tree, UnexpandedNode

NODE_TYPES: dict[str, Any] = {
    "tree": "string",
    "domain": "string",
    "scene": "string",
    "description": "string",
    "node": "int64",
    "parent": "int64",
    "depth": "int64",
    "type": "string",
    "strategy": "string",
    "score": "float64",
    "prior": "float64",
    "value": "float64",
    "visits": "int64",
    "reward": "float64",
    "supporter": "string",
    "seeker": "string",
    "gold": "bool",
    "probe": "bool",
    "closed": "string",
}
"""The columns and their types. What a node does not have is null, such as the parent of the root."""


def node_rows(tree: Tree) -> Iterator[dict[str, Any]]:
    """The nodes of a tree in order of id, with the columns of :data:`NODE_TYPES`.

    The root's ``seeker`` is the last seeker turn of the opening. ``reward`` is that of the node's own rollout.
    """
    about = {
        "tree": tree.id,
        "domain": tree.domain.name,
        "scene": tree.scenario.scene,
        "description": tree.scenario.description,
    }
    depths: list[int] = []
    for node in tree:
        depths.append(0 if node.parent < 0 else depths[node.parent] + 1)
        row = {**dict.fromkeys(NODE_TYPES), **about, "node": node.id, "depth": depths[-1], "type": node.type}
        row["closed"] = node.closed
        if isinstance(node, StrategyNode):
            score = None if math.isnan(node.score) else node.score
            row |= {"parent": node.parent, "strategy": node.strategy, "score": score, "prior": node.prior}
        if not isinstance(node, UnexpandedNode):
            row |= {"value": node.value, "visits": node.visits}
        if isinstance(node, RootNode):
            row["seeker"] = next((turn.text for turn in reversed(node.turns) if turn.speaker == "seeker"), None)
        if isinstance(node, SpokenNode):
            row |= {"supporter": node.supporter, "gold": node.gold, "probe": node.probe}
            row["reward"] = None if node.rollout is None else node.rollout.reward
        if isinstance(node, ExpandedNode):
            row["seeker"] = node.seeker
        yield row


@checked()
def save_parquet(trees: Tree | Iterable[Tree], path: str | Path) -> Path:
    """Write the nodes of one or many trees as one Parquet file, a row a node, in one step.

    :param trees: read one after another.
    :raises ConfigError: if pyarrow is not installed.
    :raises OSError: if the file cannot be written.
    """
    each = [trees] if isinstance(trees, Tree) else trees
    with atomic_file(path) as file:
        write_parquet(file, (row for tree in each for row in node_rows(tree)), NODE_TYPES)
    return Path(path)
