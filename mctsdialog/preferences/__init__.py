"""Trees to preference data: valid paths, pairs, ESC-Pro and its relatives, and their statistics."""

from mctsdialog.preferences.config import PathRule, PreferenceConfig
from mctsdialog.preferences.dataset import DatasetBuilder, PreferenceDataset, PreferenceReport
from mctsdialog.preferences.extract import preference_pairs, tree_record
from mctsdialog.preferences.generate import Generated, probe_siblings, random_record
from mctsdialog.preferences.paths import gold_dialogue, valid_paths
from mctsdialog.preferences.plots import save_plots
from mctsdialog.preferences.prompts import chat_messages, parse_reply, spoken, system_prompt
from mctsdialog.preferences.read import load_preferences, read_rows, read_trees, tree_files
from mctsdialog.preferences.record import PreferencePair, RecordNode, TreeRecord
from mctsdialog.preferences.rows import FORMATS
from mctsdialog.preferences.statistics import DatasetStatistics, ToxicityTable, dataset_statistics, toxicity_table
from mctsdialog.preferences.toxicity import LocalToxicityScorer, ToxicityScorer
from mctsdialog.preferences.write import to_dataset, write_dataset

__all__ = [
    "FORMATS",
    "DatasetBuilder",
    "DatasetStatistics",
    "Generated",
    "LocalToxicityScorer",
    "PathRule",
    "PreferenceConfig",
    "PreferenceDataset",
    "PreferencePair",
    "PreferenceReport",
    "RecordNode",
    "ToxicityScorer",
    "ToxicityTable",
    "TreeRecord",
    "chat_messages",
    "dataset_statistics",
    "gold_dialogue",
    "load_preferences",
    "parse_reply",
    "preference_pairs",
    "probe_siblings",
    "random_record",
    "read_rows",
    "read_trees",
    "save_plots",
    "spoken",
    "system_prompt",
    "to_dataset",
    "toxicity_table",
    "tree_files",
    "tree_record",
    "valid_paths",
    "write_dataset",
]
