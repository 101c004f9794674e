"""The memory that a run needs, told before its model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cso_train._config import TrainConfig
from cso_train._deepspeed.config import import_deepspeed
from cso_train._deepspeed.plan import Plan
from cso_train.errors import MemoryNeedError, TrainConfigError, TrainModelError
from mctsdialog._arguments import checked

_ROOM = 0.85  # a device fuller than this with model states alone has little room for activations
_LOADING = 1.5  # DeepSpeed's own factor for what a host needs beside the states it keeps
_GIB = 2**30
_DEVICE_HELP = (
    "what helps: lora, zero_stage 3, offload optimizer or parameters, precompute_reference, more GPUs, a smaller model"
)
_HOST_HELP = "what helps: lora, offload none, precompute_reference, fewer processes on the machine, a smaller model"


@dataclass(frozen=True)
class ParameterCount:
    """How large a model is, in parameters; tied ones count once.

    :ivar total: all of them, the adapters' not among them.
    :ivar trainable: those that the run trains: all, or the adapters'.
    :ivar largest: those of the largest single layer.
    """

    total: int
    trainable: int
    largest: int


@dataclass(frozen=True)
class MemoryEstimate:
    """The memory that a run's model states need: parameters, gradients, optimiser, reference. Activations are extra.

    :ivar device_bytes: of each GPU; 0 where the run is on the CPU.
    :ivar host_bytes: of each machine's host, with DeepSpeed's allowance for loading and buffers.
    :ivar host_least: the part of it that the run cannot do without.
    :ivar parts: what the bytes of one device (or of one process on the CPU) are for.
    """

    device_bytes: int
    host_bytes: int
    host_least: int
    parts: Mapping[str, int]

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_size(size)}" for name, size in self.parts.items() if size)
        device = f"each GPU {_size(self.device_bytes)}" if self.device_bytes else "no GPU"
        return f"estimated memory of model states: {device}, host up to {_size(self.host_bytes)} ({parts})"


def count_parameters(config: TrainConfig, location: str, **options: Any) -> ParameterCount:
    """Count a model's parameters from its configuration; no weights are loaded, none downloaded.

    :param location: hub name or folder.
    :param options: of transformers' ``from_pretrained``: ``gguf_file``, ``revision``, ``trust_remote_code``.
    :raises TrainModelError: if the model's configuration cannot be read.
    :raises TrainConfigError: if the adapters' targets are not in the model.
    """
    model = _empty_model(config.model, location, options)
    parameters = {id(parameter): parameter.numel() for parameter in model.parameters()}
    layers = [sum(parameter.numel() for parameter in module.parameters(recurse=False)) for module in model.modules()]
    total = sum(parameters.values())
    trainable = _adapter_parameters(model, config.resolve()) if config.lora else total
    return ParameterCount(total, trainable, max(layers))


def _empty_model(name: str, location: str, options: dict[str, Any]) -> Any:
    """The model without weights, on torch's meta device."""
    import torch  # noqa: PLC0415
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415

    make: Any = AutoModelForCausalLM.from_config
    try:
        about = AutoConfig.from_pretrained(location, **options)
        about.__dict__.pop("quantization_config", None)  # what is trained is not quantised
        with torch.device("meta"):
            model = make(about, trust_remote_code=options.get("trust_remote_code", False))
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise TrainModelError(f"its configuration cannot be read: {reason}", model=name) from error
    model.tie_weights()
    return model


def _adapter_parameters(model: Any, config: TrainConfig) -> int:
    """Parameters of LoRA's two matrices in each module that it targets, as PEFT chooses them."""
    from torch import nn  # noqa: PLC0415
    from transformers.pytorch_utils import Conv1D  # noqa: PLC0415

    head = model.get_output_embeddings()
    targets, rank = config.lora_targets or (), config.lora_rank or 0
    found = 0
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | Conv1D):
            continue
        named = any(name == target or name.endswith(f".{target}") for target in targets)
        if named or (targets == ("all-linear",) and module is not head):
            found += rank * sum(module.weight.shape)
    if not found:
        names = sorted(
            {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        )
        reason = (
            f"lora_targets: none of {', '.join(targets)} is a linear module of the model; there are {', '.join(names)}"
        )
        raise TrainConfigError(reason, field="lora_targets")
    return found


@checked()
def memory_estimate(count: ParameterCount, config: TrainConfig, plan: Plan) -> MemoryEstimate:
    """What the model states need, by DeepSpeed's own estimator for what is trained, with the frozen weights added.

    Beyond the estimator, which knows ZeRO-2 and 3 in 16-bit with everything trained: frozen weights under LoRA; the
    reference model; stages 0 and 1; fp32; and runs without DeepSpeed (16 bytes for each trained parameter).
    """
    width = 2 if plan.weights == "bf16" else 4
    shared = plan.world_size if plan.stage == 3 else 1
    frozen = int(_frozen_width(config, width) * count.total) if config.lora else 0
    host_frozen = frozen // plan.nodes if config.offload == "parameters" else 0
    parts = {
        "trained": _trained_bytes(count, config, plan) + _wider(count.trainable, width, plan),
        "frozen": 0 if host_frozen else frozen // shared,
        "reference": width * count.total // shared if config.reference_model else 0,
    }
    process = sum(parts.values())
    kept = (_host_bytes_of(count, config, plan, 1.0) if config.offload != "none" else 0) + host_frozen
    loading = int(_host_bytes_of(count, config, plan, _LOADING)) + int(_LOADING * host_frozen)
    if plan.stage != 3:
        loading += frozen * plan.local_world_size
    if plan.on_gpu:
        return MemoryEstimate(process, max(kept, loading), kept, parts)
    needed = process * plan.local_world_size + kept
    return MemoryEstimate(0, max(needed, loading), needed, parts)


def _frozen_width(config: TrainConfig, width: int) -> float:
    """Bytes of a frozen weight: of QLoRA the quantised ones, with a fifth more for scales and what stays in 16-bit."""
    given = config.lora.get("quantization") if isinstance(config.lora, dict) else None
    if not isinstance(given, dict):
        return width
    return 0.6 if given.get("load_in_4bit") else 1.2


def _trained_bytes(count: ParameterCount, config: TrainConfig, plan: Plan) -> int:
    """Bytes of one device for what is trained, in 16-bit."""
    trained, offloaded = count.trainable, config.offload != "none"
    if plan.stage is None:
        return 16 * trained  # weight, gradient and AdamW's two moments, 4 bytes each
    if plan.stage == 3:
        return _zero3(count, config, plan, _LOADING)[1]
    devices = (plan.local_world_size, plan.nodes) if plan.stage > 0 else (1, 1)
    device = _zero2(trained, devices, offloaded=offloaded, factor=_LOADING)[1]
    whole_gradients = 2 * trained * (plan.world_size - 1) // plan.world_size if plan.stage == 1 else 0
    return device + whole_gradients


def _wider(trained: int, width: int, plan: Plan) -> int:
    """What 4-byte weights and gradients take beyond the estimator's 2-byte ones."""
    if plan.stage is None:
        return 0
    share = plan.world_size if plan.stage > 0 else 1
    whole = trained // share if plan.stage == 3 else trained
    return (width - 2) * (whole + trained // share)


def _host_bytes_of(count: ParameterCount, config: TrainConfig, plan: Plan, factor: float) -> int:
    if plan.stage is None:
        return 4 * count.trainable * plan.local_world_size
    if plan.stage == 3:
        return _zero3(count, config, plan, factor)[0]
    devices = (plan.local_world_size, plan.nodes)
    return _zero2(count.trainable, devices, offloaded=config.offload != "none", factor=factor)[0]


def _zero2(parameters: int, devices: tuple[int, int], *, offloaded: bool, factor: float) -> tuple[int, int]:
    """DeepSpeed's estimate for ZeRO-2: bytes of the host and of each device."""
    import_deepspeed()
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs  # noqa: PLC0415

    local, nodes = devices
    host, device = estimate_zero2_model_states_mem_needs(
        parameters, num_gpus_per_node=local, num_nodes=nodes, cpu_offload=offloaded, additional_buffer_factor=factor
    )
    return host, device


def _zero3(count: ParameterCount, config: TrainConfig, plan: Plan, factor: float) -> tuple[int, int]:
    """DeepSpeed's estimate for ZeRO-3: bytes of the host and of each device."""
    import_deepspeed()
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs  # noqa: PLC0415

    host, device, _ = estimate_zero3_model_states_mem_needs(
        count.trainable,
        count.largest,
        num_gpus_per_node=plan.local_world_size,
        num_nodes=plan.nodes,
        cpu_offload=config.offload != "none",
        cpu_offload_params=config.offload == "parameters",
        zero_init=True,
        additional_buffer_factor=factor,
    )
    return host, device


@checked()
def check_fits(estimate: MemoryEstimate, device_bytes: int | None, host_bytes: int | None) -> tuple[str, ...]:
    """See that a run's model states fit, before its model is loaded.

    :param device_bytes: memory of one GPU, None where unknown.
    :param host_bytes: memory of the host, None where unknown.
    :return: warnings: where they fit, but with little room.
    :raises MemoryNeedError: if they cannot fit, with what would help.
    """
    places = (
        ("device", estimate.device_bytes, estimate.device_bytes, device_bytes, _DEVICE_HELP),
        ("host", estimate.host_least, estimate.host_bytes, host_bytes, _HOST_HELP),
    )
    warned = []
    for place, least, most, available, remedy in places:
        if available is None:
            continue
        needs = f"the run needs {_size(least)} of {place} memory for its model states alone"
        if least > available:
            message = f"{needs}, and there are {_size(available)}; {remedy}"
            raise MemoryNeedError(message, place=place, needed=least, available=available)
        if least > _ROOM * available:
            warned.append(f"{needs} of {_size(available)}: there may be too little left for activations")
        elif most > available:
            warned.append(f"loading the model may need up to {_size(most)} of {place} memory, of {_size(available)}")
    return tuple(warned)


def _size(count: int) -> str:
    return f"{count / _GIB:.2f} GiB" if count < 100 * _GIB else f"{count / _GIB:.0f} GiB"
