"""What a run does on its machines: stage, precision, the batch in parts. Decided before anything is loaded."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cso_train._config import TrainConfig, accumulation_steps, device_batch
from cso_train.errors import TrainConfigError
from cso_train.methods import METHODS
from mctsdialog._arguments import checked

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@checked()
@dataclass(frozen=True)
class Machine:
    """What a machine has to train on.

    :ivar gpus: number of GPUs; 0 is training on the CPU.
    :ivar device_bytes: memory of one GPU, where known.
    :ivar host_bytes: memory of the host, where known: all of it, or what this container may use.
    :ivar bf16: whether the GPUs compute in bf16. A CPU trains in fp32.
    """

    gpus: int = 0
    device_bytes: int | None = None
    host_bytes: int | None = None
    bf16: bool = False

    @classmethod
    def here(cls) -> Machine:
        """This machine, asked through torch."""
        import torch  # noqa: PLC0415

        if not torch.cuda.is_available():
            return cls(host_bytes=_host_bytes())
        memory = min(torch.cuda.get_device_properties(n).total_memory for n in range(torch.cuda.device_count()))
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return cls(torch.cuda.device_count(), memory, _host_bytes(), bf16)


@dataclass(frozen=True)
class Plan:
    """What a run does on its machines; every number fits the others.

    :ivar stage: ZeRO stage, or None for a run without DeepSpeed.
    :ivar precision: "bf16" or "fp32": the format that is computed in.
    :ivar weights: the format to load the model in. Without DeepSpeed, which keeps a copy in fp32, parameters that are
        trained stand in fp32: at learning rates like 1e-6 bf16 rounds most updates away.
    :ivar on_gpu: whether the processes compute on GPUs.
    :ivar world_size: number of processes, each with its device.
    :ivar local_world_size: how many of them are on one machine.
    :ivar per_device_batch_size: rows of one device at once.
    :ivar accumulation: parts of one optimiser step that the trainer's loop sees; packed steps are one, of all rows.
    """

    stage: int | None
    precision: Literal["bf16", "fp32"]
    weights: Literal["bf16", "fp32"]
    on_gpu: bool
    world_size: int
    local_world_size: int
    per_device_batch_size: int
    accumulation: int

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.world_size // self.local_world_size


def world_from_environment(environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Number of processes, in all and on this machine, as torchrun and deepspeed announce them; 1 and 1 without.

    :raises TrainConfigError: for a variable that is no number, or numbers that cannot be.
    """
    given = os.environ if environment is None else environment
    try:
        world = int(given.get("WORLD_SIZE", "1"))
        local = int(given.get("LOCAL_WORLD_SIZE", given.get("LOCAL_SIZE", str(world))))
    except ValueError as error:
        raise TrainConfigError(f"WORLD_SIZE or LOCAL_WORLD_SIZE in the environment: {error}") from error
    if local < 1 or world < 1 or world % local:
        raise TrainConfigError(f"{world} processes (WORLD_SIZE) cannot be {local} on each machine (LOCAL_WORLD_SIZE)")
    return world, local


def single_process_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that DeepSpeed wants of a launcher, for one process that none started; empty where one did.

    Without them DeepSpeed would look for MPI. They are returned, not set.
    """
    given = os.environ if environment is None else environment
    if "WORLD_SIZE" in given or "RANK" in given:
        return {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    return {**one, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


@checked()
def plan_run(
    config: TrainConfig, machine: Machine, *, world_size: int = 1, local_world_size: int | None = None
) -> Plan:
    """Decide stage, precision and batch for a machine.

    ZeRO-2 is the paper's (Appendix F.2) and the default on GPUs and for several processes; one process on the CPU
    does without DeepSpeed.

    :raises TrainConfigError: for bf16 where it is not supported, or a batch that cannot be divided.
    """
    local = world_size if local_world_size is None else local_world_size
    if config.precision == "bf16" and not machine.bf16:
        what = "these GPUs do not compute in it" if machine.gpus else "training on the CPU is in fp32"
        raise TrainConfigError(f"precision: no bf16 here, {what}; take auto or fp32", field="precision")
    if machine.gpus and local > machine.gpus:
        raise TrainConfigError(f"world_size: {local} processes on a machine with {machine.gpus} GPUs")
    least = METHODS[config.method].min_rows
    rows = config.per_device_batch_size or device_batch(config.batch_size, world_size, least=least)
    stage = _stage(config, on_gpu=machine.gpus > 0, world_size=world_size)
    half = machine.bf16 and config.precision != "fp32"
    return Plan(
        stage=stage,
        precision="bf16" if half else "fp32",
        weights="bf16" if half and (config.lora or stage is not None) else "fp32",
        on_gpu=machine.gpus > 0,
        world_size=world_size,
        local_world_size=local,
        per_device_batch_size=rows,
        accumulation=1 if config.packing == "tree" else accumulation_steps(config.batch_size, rows, world_size),
    )


def _stage(config: TrainConfig, *, on_gpu: bool, world_size: int) -> int | None:
    if config.zero_stage == "none":
        return None
    if config.zero_stage != "auto":
        return config.zero_stage
    if not on_gpu and world_size == 1 and config.offload == "none":
        return None
    return 3 if config.offload == "parameters" else 2


def _host_bytes() -> int | None:
    """Memory of this host, or less where its control group has less."""
    found = []
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in _CGROUPS:
        with suppress(OSError, ValueError):
            found.append(int(Path(file).read_text("ascii")))  # "max" is no number, and no limit
    return min(found, default=None)
