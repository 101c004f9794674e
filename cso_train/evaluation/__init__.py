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
from cso_train.evaluation.metrics import (
    Evaluation,
    Interval,
    StrategyScore,
    bootstrap_interval,
    evaluate_replies,
    strategy_scores,
)
from cso_train.evaluation.plots import confusion_figure, preference_figure, save_plots, strategy_figure
from cso_train.evaluation.rouge import rouge_l
from cso_train.evaluation.table import json_table, latex_table, markdown_table, strategy_table

__all__ = [
    "Bias",
    "Comparison",
    "ComparisonIntervals",
    "Evaluation",
    "Interval",
    "StrategyScore",
    "bootstrap_interval",
    "cohen_kappa",
    "cohen_kappa_interval",
    "compare",
    "compare_intervals",
    "confusion_figure",
    "evaluate_replies",
    "fleiss_kappa",
    "fleiss_kappa_interval",
    "json_table",
    "latex_table",
    "markdown_table",
    "preference_bias",
    "preference_figure",
    "raw_counts",
    "rouge_l",
    "save_plots",
    "strategy_figure",
    "strategy_scores",
    "strategy_table",
]
