"""Search, train on, search again: rounds in which the trained model plays the supporter and the strategist.

``python -m cso_train rounds CONFIG`` is the command; :func:`run_rounds` the same from Python. Of the modules,
``_config`` has the settings, ``_held`` has a model hold whole dialogues, ``_run`` goes through the stages, and
``_table`` writes what came out.
"""

from cso_train.rounds._config import RoundsConfig, read_rounds_config
from cso_train.rounds._held import HeldDialogue, hold_dialogues
from cso_train.rounds._run import Round, RoundsResult, run_rounds
from mctsdialog._public import publish as _publish

__all__ = [
    "HeldDialogue",
    "Round",
    "RoundsConfig",
    "RoundsResult",
    "hold_dialogues",
    "read_rounds_config",
    "run_rounds",
]

_publish(globals())
