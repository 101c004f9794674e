"""The training methods, thin over TRL's trainers."""

from cso_train.methods.trainers import METHODS, build_trainer, training_settings

__all__ = ["METHODS", "build_trainer", "training_settings"]
