"""Train dialogue models on preference data and on trees that mctsdialog searched, and evaluate them.

The command is ``python -m cso_train train``. In Python, call :func:`train` with settings from :func:`resolve_config`.
Each training method is one file in :mod:`cso_train.methods`. Importing this package imports neither torch nor
transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cso_train._config import (
    Preset,
    Resolved,
    TrainConfig,
    accumulation_steps,
    load_preset,
    preset_names,
    resolve_config,
)
from cso_train._data import TrainingData, load_data
from cso_train._deepspeed import (
    Machine,
    MemoryEstimate,
    ParameterCount,
    Plan,
    check_fits,
    count_parameters,
    deepspeed_config,
    memory_estimate,
    plan_run,
)
from cso_train._models import load_for_answers
from cso_train._serving import TrainedStrategist, TrainedSupporter
from cso_train.errors import (
    CsoTrainError,
    MemoryNeedError,
    PresetError,
    RunError,
    TrainConfigError,
    TrainDataError,
    TrainModelError,
)
from cso_train.evaluation import evaluate
from mctsdialog._public import publish

if TYPE_CHECKING:
    from cso_train._run.folder import RunResult
    from cso_train._run.training import train

__all__ = [
    "CsoTrainError",
    "Machine",
    "MemoryEstimate",
    "MemoryNeedError",
    "ParameterCount",
    "Plan",
    "Preset",
    "PresetError",
    "Resolved",
    "RunError",
    "RunResult",
    "TrainConfig",
    "TrainConfigError",
    "TrainDataError",
    "TrainModelError",
    "TrainedStrategist",
    "TrainedSupporter",
    "TrainingData",
    "accumulation_steps",
    "check_fits",
    "count_parameters",
    "deepspeed_config",
    "evaluate",
    "load_data",
    "load_for_answers",
    "load_preset",
    "memory_estimate",
    "plan_run",
    "preset_names",
    "resolve_config",
    "train",
]


_LAZY = {"RunResult": "cso_train._run.folder", "train": "cso_train._run.training"}  # they import torch
_PACKAGES = ("arena", "rounds")  # they stand above this one


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"cso_train.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(import_module(_LAZY[name]), name)
    publish({**globals(), "__all__": [name]})
    return globals()[name]


def __dir__() -> list[str]:
    return [*__all__, *_PACKAGES, "errors", "evaluation", "methods", "packing"]


publish({**globals(), "__all__": [name for name in __all__ if name not in _LAZY]})
