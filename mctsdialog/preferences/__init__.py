"""Trees to preference data: valid paths, pairs, ESC-Pro and its relatives."""

from typing import TYPE_CHECKING

from mctsdialog._moved import moved_names as _moved_names
from mctsdialog._public import publish as _publish
from mctsdialog.preferences._config import PreferenceConfig
from mctsdialog.preferences._dataset import DatasetBuilder, PreferenceDataset, PreferenceReport
from mctsdialog.preferences._extract import gold_dialogue, preference_pairs, tree_record, valid_paths
from mctsdialog.preferences._generate import Generated, probe_siblings, random_record
from mctsdialog.preferences._prompts import chat_messages, parse_reply, spoken, system_prompt
from mctsdialog.preferences._read import load_preferences, load_trees, read_rows, read_trees, tree_files
from mctsdialog.preferences._record import PairReview, PreferencePair, RecordNode, RecordPolicy, RecordTurn, TreeRecord
from mctsdialog.preferences._reviews import Review, ReviewReport, read_reviews
from mctsdialog.preferences._rows import ALL_FORMATS, FORMATS, TOOL_FORMATS
from mctsdialog.preferences._write import push_to_hub, to_dataset, write_dataset
from mctsdialog.tree import PathRule

__all__ = [
    "ALL_FORMATS",
    "FORMATS",
    "TOOL_FORMATS",
    "DatasetBuilder",
    "Generated",
    "PairReview",
    "PathRule",
    "PreferenceConfig",
    "PreferenceDataset",
    "PreferencePair",
    "PreferenceReport",
    "RecordNode",
    "RecordPolicy",
    "RecordTurn",
    "Review",
    "ReviewReport",
    "TreeRecord",
    "chat_messages",
    "gold_dialogue",
    "load_preferences",
    "load_trees",
    "parse_reply",
    "preference_pairs",
    "probe_siblings",
    "push_to_hub",
    "random_record",
    "read_reviews",
    "read_rows",
    "read_trees",
    "spoken",
    "system_prompt",
    "to_dataset",
    "tree_files",
    "tree_record",
    "valid_paths",
    "write_dataset",
]

_publish(globals())

if not TYPE_CHECKING:
    __getattr__ = _moved_names(__name__)
