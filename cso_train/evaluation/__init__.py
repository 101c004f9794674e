"""How good a model's strategies and replies are (paper section 5)."""

from cso_train.evaluation.agreement import (
    Comparison,
    ComparisonIntervals,
    cohen_kappa,
    cohen_kappa_interval,
    compare,
    compare_intervals,
    fleiss_kappa,
    fleiss_kappa_interval,
    raw_counts,
)
from cso_train.evaluation.bias import Bias, preference_bias
from cso_train.evaluation.contexts import TestCase, build_test_set, read_test_set, write_test_set
from cso_train.evaluation.metrics import (
    Evaluation,
    Interval,
    StrategyScore,
    bootstrap_interval,
    evaluate_replies,
    strategy_scores,
)
from cso_train.evaluation.plots import confusion_figure, preference_figure, save_plots, strategy_figure
from cso_train.evaluation.replies import Replies, ServerReplies, TransformersReplies
from cso_train.evaluation.rouge import rouge_l
from cso_train.evaluation.run import BASELINES, Baseline, evaluate_model, write_report
from cso_train.evaluation.table import json_table, latex_table, markdown_table, strategy_table

__all__ = [
    "BASELINES",
    "Baseline",
    "Bias",
    "Comparison",
    "ComparisonIntervals",
    "Evaluation",
    "Interval",
    "Replies",
    "ServerReplies",
    "StrategyScore",
    "TestCase",
    "TransformersReplies",
    "bootstrap_interval",
    "build_test_set",
    "cohen_kappa",
    "cohen_kappa_interval",
    "compare",
    "compare_intervals",
    "confusion_figure",
    "evaluate_model",
    "evaluate_replies",
    "fleiss_kappa",
    "fleiss_kappa_interval",
    "json_table",
    "latex_table",
    "markdown_table",
    "preference_bias",
    "preference_figure",
    "raw_counts",
    "read_test_set",
    "rouge_l",
    "save_plots",
    "strategy_figure",
    "strategy_scores",
    "strategy_table",
    "write_report",
    "write_test_set",
]
