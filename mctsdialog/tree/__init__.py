"""The conversation tree: four node types, statistics, invariants, and its form as plain data."""

from typing import TYPE_CHECKING

from mctsdialog._moved import moved_names as _moved_names
from mctsdialog._public import publish as _publish
from mctsdialog.tree._document import SCHEMA_VERSION, TreeDocument, document_to_tree, json_schema, tree_to_document
from mctsdialog.tree._json_file import load_tree, save_tree
from mctsdialog.tree._nodes import (
    MOST_REASON,
    EndNode,
    ExpandedNode,
    Node,
    NodeType,
    Rollout,
    RolloutStep,
    RootNode,
    SpokenNode,
    StrategyNode,
    UnexpandedNode,
    shared_scores,
)
from mctsdialog.tree._paths import MAX_PATHS, Family, PathRule, ValidPaths, check_path_settings, reward_range
from mctsdialog.tree._tree import INVARIANTS, BestPath, Tree

__all__ = [
    "INVARIANTS",
    "MAX_PATHS",
    "MOST_REASON",
    "SCHEMA_VERSION",
    "BestPath",
    "EndNode",
    "ExpandedNode",
    "Family",
    "Node",
    "NodeType",
    "PathRule",
    "Rollout",
    "RolloutStep",
    "RootNode",
    "SpokenNode",
    "StrategyNode",
    "Tree",
    "TreeDocument",
    "UnexpandedNode",
    "ValidPaths",
    "check_path_settings",
    "document_to_tree",
    "json_schema",
    "load_tree",
    "reward_range",
    "save_tree",
    "shared_scores",
    "tree_to_document",
]

_publish(globals())

if not TYPE_CHECKING:
    __getattr__ = _moved_names(__name__)
