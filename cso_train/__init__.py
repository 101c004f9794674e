"""Training with turn-level preference optimisation on conversation trees that mctsdialog searched.

``python -m cso_train train`` is the command; from Python it is :func:`train` with the settings that
:func:`resolve_config` gives. A training method is one file in :mod:`cso_train.methods`. Importing this package imports
neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cso_train.errors import (
    CsoTrainError,
    MemoryNeedError,
    PresetError,
    RunError,
    TrainConfigError,
    TrainDataError,
    TrainModelError,
)
from mctsdialog._public import show_as

if TYPE_CHECKING:
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
    from cso_train._run.folder import RunResult
    from cso_train._run.training import train
    from cso_train._serving import TrainedSupporter
    from cso_train.evaluation import evaluate

_PLACES = {
    "_config": "Preset Resolved TrainConfig accumulation_steps load_preset preset_names resolve_config",
    "_data": "TrainingData load_data",
    "_deepspeed": "Machine MemoryEstimate ParameterCount Plan check_fits count_parameters deepspeed_config"
    " memory_estimate plan_run",
    "_models": "load_for_answers",
    "_run.folder": "RunResult",
    "_run.training": "train",
    "_serving": "TrainedSupporter",
    "evaluation": "evaluate",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}

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


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    if value.__module__.startswith(f"{__name__}._"):
        show_as(__name__, value)  # where users find it
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
