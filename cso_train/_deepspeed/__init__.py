"""DeepSpeed: its configuration made by code, and the memory that a run needs, before a model is loaded.

:func:`plan_run` decides once what the machines let a run do; :func:`deepspeed_config` and :func:`memory_estimate`
follow from that. torch, transformers and deepspeed are imported when they are needed.
"""

from cso_train._deepspeed.config import check_deepspeed_config, deepspeed_config, import_deepspeed
from cso_train._deepspeed.memory import MemoryEstimate, ParameterCount, check_fits, count_parameters, memory_estimate
from cso_train._deepspeed.plan import Machine, Plan, plan_run, single_process_environment, world_from_environment

__all__ = [
    "Machine",
    "MemoryEstimate",
    "ParameterCount",
    "Plan",
    "check_deepspeed_config",
    "check_fits",
    "count_parameters",
    "deepspeed_config",
    "import_deepspeed",
    "memory_estimate",
    "plan_run",
    "single_process_environment",
    "world_from_environment",
]
