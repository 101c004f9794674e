"""How good a model's strategies and replies are (paper section 5)."""

from cso_train.evaluation.bias import Bias, preference_bias
from cso_train.evaluation.metrics import (
    Evaluation,
    Interval,
    StrategyScore,
    evaluate_replies,
    strategy_scores,
)
from cso_train.evaluation.rouge import rouge_l

__all__ = [
    "Bias",
    "Evaluation",
    "Interval",
    "StrategyScore",
    "evaluate_replies",
    "preference_bias",
    "rouge_l",
    "strategy_scores",
]
