"""Training with turn-level preference optimisation on conversation trees that mctsdialog searched.

``python -m cso_train train`` is the way in; from Python it is :func:`cso_train.run.train` with the settings that
:func:`resolve_config` gives. Importing this package imports neither torch nor transformers.
"""

from cso_train.config import (
    Preset,
    Resolved,
    TrainConfig,
    accumulation_steps,
    load_preset,
    preset_names,
    resolve_config,
)
from cso_train.errors import (
    CsoTrainError,
    MemoryNeedError,
    PresetError,
    TrainConfigError,
    TrainDataError,
    TrainModelError,
)
from cso_train.zero import (
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
    "TrainConfig",
    "TrainConfigError",
    "TrainDataError",
    "TrainModelError",
    "accumulation_steps",
    "check_fits",
    "count_parameters",
    "deepspeed_config",
    "load_preset",
    "memory_estimate",
    "plan_run",
    "preset_names",
    "resolve_config",
]
