"""Every error that cso_train raises on purpose.

The tree::

    CsoTrainError
    └── TrainConfigError        a run's configuration is wrong (carries field)
"""

from __future__ import annotations


class CsoTrainError(Exception):
    """Root of every error raised on purpose by this package."""


class TrainConfigError(CsoTrainError, ValueError):
    """A run's configuration is wrong: an unknown key, a value out of range, two keys that contradict.

    :param field: the key to blame, where there is one.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
