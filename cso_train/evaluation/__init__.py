"""How good a model's strategies and replies are (paper section 5)."""

from typing import TYPE_CHECKING

from cso_train.evaluation._agreement import (
    Comparison,
    ComparisonIntervals,
    cohen_kappa_interval,
    compare,
    compare_intervals,
    fleiss_kappa_interval,
    raw_counts,
)
from cso_train.evaluation._bias import Bias, preference_bias
from cso_train.evaluation._contexts import TestCase, build_test_set, read_test_set, write_test_set
from cso_train.evaluation._difference import Difference, difference, difference_table
from cso_train.evaluation._evaluate import BASELINES, Baseline, evaluate, write_report
from cso_train.evaluation._intervals import Interval, bootstrap_interval
from cso_train.evaluation._metrics import (
    Evaluation,
    LenientScores,
    Outcome,
    StrategyScore,
    evaluate_replies,
    macro_f1,
    strategy_scores,
    weighted_f1,
)
from cso_train.evaluation._pairwise import PairToJudge, PairwiseJudge, compare_replies
from cso_train.evaluation._parse import parse_leniently
from cso_train.evaluation._plots import confusion_figure, preference_figure, strategy_figure, write_plots
from cso_train.evaluation._ratings import RatingJudge, ReplyToRate, rate_replies
from cso_train.evaluation._replies import Replies, ServerReplies, TransformersReplies
from cso_train.evaluation._rouge import rouge_l
from cso_train.evaluation._sheets import read_pair_sheet, read_rating_sheet, write_pair_sheet, write_rating_sheet
from cso_train.evaluation._table import json_table, latex_table, markdown_table, strategy_table
from mctsdialog._moved import moved_names
from mctsdialog._public import publish
from mctsdialog.agreement import cohen_kappa, fleiss_kappa

__all__ = [
    "BASELINES",
    "Baseline",
    "Bias",
    "Comparison",
    "ComparisonIntervals",
    "Difference",
    "Evaluation",
    "Interval",
    "LenientScores",
    "Outcome",
    "PairToJudge",
    "PairwiseJudge",
    "RatingJudge",
    "Replies",
    "ReplyToRate",
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
    "compare_replies",
    "confusion_figure",
    "difference",
    "difference_table",
    "evaluate",
    "evaluate_replies",
    "fleiss_kappa",
    "fleiss_kappa_interval",
    "json_table",
    "latex_table",
    "macro_f1",
    "markdown_table",
    "parse_leniently",
    "preference_bias",
    "preference_figure",
    "rate_replies",
    "raw_counts",
    "read_pair_sheet",
    "read_rating_sheet",
    "read_test_set",
    "rouge_l",
    "strategy_figure",
    "strategy_scores",
    "strategy_table",
    "weighted_f1",
    "write_pair_sheet",
    "write_plots",
    "write_rating_sheet",
    "write_report",
    "write_test_set",
]

publish(globals())

if not TYPE_CHECKING:
    __getattr__ = moved_names(__name__)
