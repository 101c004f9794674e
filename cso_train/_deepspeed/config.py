"""DeepSpeed's configuration, made by code and checked by DeepSpeed's own rules."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cso_train._config import TrainConfig
from cso_train._deepspeed.plan import Plan
from cso_train.errors import TrainConfigError
from mctsdialog._arguments import checked

_BUCKET = 50_000_000  # elements sent at once: 100 MB in bf16, where DeepSpeed's default would take a gigabyte


@checked()
def deepspeed_config(config: TrainConfig, plan: Plan) -> dict[str, Any] | None:
    """DeepSpeed's configuration of the run, every value said, none "auto"; None for a run without DeepSpeed.

    The optimiser is the trainer's AdamW. With offload it runs on the host as torch's, which needs no compiler there.

    :raises TrainConfigError: if the numbers or the stage do not fit, or DeepSpeed itself refuses them.
    """
    if plan.stage is None:
        return None
    made = {
        "train_batch_size": plan.per_device_batch_size * plan.accumulation * plan.world_size,
        "train_micro_batch_size_per_gpu": plan.per_device_batch_size,
        "gradient_accumulation_steps": plan.accumulation,
        "gradient_clipping": config.max_grad_norm,
        "bf16": {"enabled": plan.precision == "bf16"},
        "zero_optimization": _zero_section(plan.stage, config.offload, pinned=plan.on_gpu),
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,  # the trainer logs
        "wall_clock_breakdown": False,
    }
    check_deepspeed_config(made, world_size=plan.world_size)
    return made


def _zero_section(stage: int, offload: str, *, pinned: bool) -> dict[str, Any]:
    section: dict[str, Any] = {"stage": stage}
    if stage > 0:
        section |= {
            "overlap_comm": pinned,  # streams of their own are a GPU's
            "contiguous_gradients": True,
            "reduce_bucket_size": _BUCKET,
            "allgather_bucket_size": _BUCKET,
        }
    if stage == 3:
        section |= {
            "stage3_prefetch_bucket_size": _BUCKET,
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    if offload != "none":
        section["offload_optimizer"] = {"device": "cpu", "pin_memory": pinned}
    if offload == "parameters":
        section["offload_param"] = {"device": "cpu", "pin_memory": pinned}
    return section


def check_deepspeed_config(made: Mapping[str, Any], *, world_size: int) -> None:
    """See that a configuration holds together, by DeepSpeed's own rules too, before a model is loaded.

    :raises TrainConfigError: if the batch's three numbers do not multiply, offload does not fit the stage, or
        DeepSpeed does not know a setting.
    """
    rows, steps = made["train_micro_batch_size_per_gpu"], made["gradient_accumulation_steps"]
    if made["train_batch_size"] != rows * steps * world_size:
        numbers = f"{rows} rows * {steps} steps * {world_size} devices"
        raise TrainConfigError(f"batch_size: {made['train_batch_size']} is not {numbers}", field="batch_size")
    zero = made["zero_optimization"]
    for section, stages in (("offload_optimizer", (1, 2, 3)), ("offload_param", (3,))):
        if section in zero and zero["stage"] not in stages:
            raise TrainConfigError(f"offload: {section} does not go with ZeRO stage {zero['stage']}", field="offload")
    import_deepspeed()
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig  # noqa: PLC0415

    try:
        DeepSpeedZeroConfig(**zero)
    except (ValidationError, AssertionError) as error:
        raise TrainConfigError(f"zero_stage: DeepSpeed refuses it: {error}", field="zero_stage") from error


def import_deepspeed() -> Any:
    """The module deepspeed, imported in silence, computing on the CPU where there is no GPU.

    DeepSpeed chooses its accelerator once, when it is imported, and warns where it finds none. Without a GPU, and where
    the user has not chosen, the environment variable DS_ACCELERATOR is set to "cpu", for child processes too.

    :raises TrainConfigError: if it is not installed.
    """
    if importlib.util.find_spec("deepspeed") is None:
        raise TrainConfigError("zero_stage: DeepSpeed is not installed; install mctsdialog[train]", field="zero_stage")
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import deepspeed  # noqa: PLC0415
    finally:
        logging.disable(before)
    return deepspeed
