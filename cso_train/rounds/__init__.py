"""Search, train, and search again with the trained model as supporter and strategist.

The command is ``python -m cso_train rounds CONFIG``; in Python, call :func:`run_rounds`. ``_config`` has the settings,
``_held`` lets a model hold whole dialogues, ``_run`` runs the stages, and ``_table`` writes the results.
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
