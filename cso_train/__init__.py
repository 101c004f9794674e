"""Training with turn-level preference optimisation on conversation trees that mctsdialog searched.

This release holds the configuration of a run and its errors; the training methods are to come.
"""

from cso_train.config import TrainConfig
from cso_train.errors import CsoTrainError, TrainConfigError

__all__ = ["CsoTrainError", "TrainConfig", "TrainConfigError"]
