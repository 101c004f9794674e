"""The algorithms of a search, and what people need who write one: ask and tell over a tree, trials as data, the rules.

``SearchConfig(algorithm="calibrated")`` takes one by its name. A subclass of :class:`Algorithm`, or of
:class:`BatchSearch`, that is :func:`register`-ed works everywhere: in search, corpus, ``plan``, on Ray, and on resume.
"""

from mctsdialog._public import publish as _publish
from mctsdialog.algorithms._base import Algorithm, register
from mctsdialog.algorithms._batch import BatchSearch, Request
from mctsdialog.algorithms._beam import Beam, BeamSettings
from mctsdialog.algorithms._best_of_n import BestOfN, BestOfNSettings
from mctsdialog.algorithms._calibrated import Calibrated, CalibratedSettings
from mctsdialog.algorithms._calibration import Calibration, calibrate
from mctsdialog.algorithms._cso import CSO, most_calls, most_calls_by_role, own_visits
from mctsdialog.algorithms._halving import Halving, HalvingSettings
from mctsdialog.algorithms._registry import algorithm_names, get_algorithm
from mctsdialog.algorithms._rules import pucb, running_mean, uniform
from mctsdialog.algorithms._trial import (
    Closure,
    Exchange,
    Growth,
    Judged,
    Opened,
    Outcome,
    Scored,
    Simulation,
    Spoken,
    Trial,
)

__all__ = [
    "CSO",
    "Algorithm",
    "BatchSearch",
    "Beam",
    "BeamSettings",
    "BestOfN",
    "BestOfNSettings",
    "Calibrated",
    "CalibratedSettings",
    "Calibration",
    "Closure",
    "Exchange",
    "Growth",
    "Halving",
    "HalvingSettings",
    "Judged",
    "Opened",
    "Outcome",
    "Request",
    "Scored",
    "Simulation",
    "Spoken",
    "Trial",
    "algorithm_names",
    "calibrate",
    "get_algorithm",
    "most_calls",
    "most_calls_by_role",
    "own_visits",
    "pucb",
    "register",
    "running_mean",
    "uniform",
]

_publish(globals())
