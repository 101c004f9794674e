"""What is checked before weights are loaded: data, batch, DeepSpeed, memory, chat template."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cso_train._chat import ChatFormat
from cso_train._config import TrainConfig
from cso_train._data import TrainingData, data_paths, leaks, load_data, load_sets
from cso_train._deepspeed import (
    Machine,
    Plan,
    check_fits,
    count_parameters,
    deepspeed_config,
    memory_estimate,
    plan_run,
    world_from_environment,
)
from cso_train._fit import fit
from cso_train._models import ModelSource, load_model, load_tokenizer, model_type
from cso_train._run.sources import check_sources
from cso_train._trainer import fields_beyond_trees, further_arguments, lora_config, quantization
from cso_train.errors import TrainConfigError
from cso_train.methods import METHODS
from cso_train.packing._attention import PACKABLE, attention_kernel, check_packable
from cso_train.packing._trainer import DROPOUT, ZERO_3

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prepared:
    """A run that was checked and can begin."""

    config: TrainConfig
    plan: Plan
    deepspeed: dict[str, Any] | None
    source: ModelSource
    attention: str | None
    tokenizer: PreTrainedTokenizerBase
    train: TrainingData
    evaluation: TrainingData | None


def prepare(config: TrainConfig, say: Callable[[str], object]) -> Prepared:
    """Everything that can go wrong before weights are loaded: data, batch, DeepSpeed, memory, chat template."""
    check_sources(config)
    assert config.data is not None
    _check_trackers(config)
    kind = METHODS[config.method].kind
    train_data = load_sets(data_paths(config.data), kind, config.data_weights, config.seed)
    evaluation = None
    if config.eval_data is not None:
        evaluation = load_data([config.eval_data], kind, split="test")
    elif config.eval_fraction:
        train_data, evaluation = train_data.split(config.eval_fraction, config.seed)
    world, local = world_from_environment()
    machine = Machine.here()
    if not machine.gpus:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed, which trl imports, warns of it otherwise
    source = ModelSource.of(config.model)
    options: dict[str, Any] = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    _check_libraries(config, source)
    config, kernel = _packing(config, model_type(source, **options), machine)
    plan = plan_run(config, machine, world_size=world, local_world_size=local)
    _check_path(config, plan)
    deepspeed = deepspeed_config(config, plan)
    estimate = memory_estimate(count_parameters(config, source.location, **source.options(**options)), config, plan)
    say(str(estimate))
    for warning in check_fits(estimate, machine.device_bytes, machine.host_bytes):
        say(f"warning: {warning}")
    tokenizer = load_tokenizer(source, **options)
    chat = ChatFormat.of(tokenizer, config.chat_template_kwargs)
    shared = 0 if evaluation is None else leaks(train_data, evaluation)  # before prompts lose their beginnings
    train_data = fit(chat, train_data, config.max_length, config.max_completion_tokens)
    if evaluation is not None:
        evaluation = fit(chat, evaluation, config.max_length, config.max_completion_tokens)
    _report_data(chat, train_data, evaluation, say, packed=config.packing == "tree", shared=shared)
    return Prepared(config, plan, deepspeed, source, kernel, tokenizer, train_data, evaluation)


def _packing(config: TrainConfig, architecture: str, machine: Machine) -> tuple[TrainConfig, str | None]:
    """The settings with packing decided, and the attention implementation to load the model with."""
    on_gpu = machine.gpus > 0
    beyond = fields_beyond_trees(config) if config.trainer else []
    if isinstance(config.lora, dict) and "quantization" in config.lora:
        beyond.append("quantization")
    alone = config.build_method().trees_alone
    if alone is not None and beyond:
        reason = f"{config.method} is trained on trees alone, without {', '.join(beyond)}"
        raise TrainConfigError(f"packing: {reason}; take packing tree", field="packing")
    if alone is not None:
        config = config.replace(packing="tree")
    if beyond and config.packing == "tree":
        message = f"trees compute the loss by themselves, without {', '.join(beyond)}; take packing none"
        raise TrainConfigError(f"packing: {message}", field="packing")
    if config.packing == "auto":
        trees = architecture in PACKABLE and config.attention != "flash_attention_2" and not beyond
        config = config.replace(packing="tree" if trees else "none")
    elif config.packing == "tree":
        check_packable(architecture)
    return config, attention_kernel(config.attention, architecture, packed=config.packing == "tree", on_gpu=on_gpu)


def _check_path(config: TrainConfig, plan: Plan) -> None:
    """See that a tree can be passed through twice, where that was asked for."""
    if config.packing != "tree" or config.packing_memory != "path":
        return
    reason = ZERO_3 if plan.stage == 3 else DROPOUT if config.lora_dropout else None
    if reason is not None:
        raise TrainConfigError(f"packing_memory: path {reason}; take pack", field="packing_memory")


def _check_libraries(config: TrainConfig, source: ModelSource) -> None:
    """Have TRL and peft say what they have against the settings that are passed on to them."""
    _check_packages(further_arguments(config))
    if config.lora:
        lora_config(config)
        quantization(config)
    if source.adapter is not None and not config.lora:
        message = f"{config.model} are adapters: train them on with lora, or merge them first (--merge-adapter true)"
        raise TrainConfigError(f"lora: {message}", field="lora")


def _check_packages(passed: Mapping[str, Any]) -> None:
    """See that the packages are installed that fields of TRL's config need: else it is told once a model is loaded."""
    trackers = passed.get("report_to") or []
    optimiser = str(passed.get("optim", ""))
    needed = {
        **{f"report_to {each}": each for each in _NAMED_ALIKE if each in str(trackers)},
        **({"use_liger_kernel": "liger_kernel"} if passed.get("use_liger_kernel") else {}),
        **({f"optim {optimiser}": "bitsandbytes"} if "8bit" in optimiser or "bnb" in optimiser else {}),
    }
    for field, package in needed.items():
        if importlib.util.find_spec(package) is None:
            raise TrainConfigError(f"trainer.{field}: {package} is not installed", field="trainer")


_NAMED_ALIKE = ("clearml", "comet_ml", "dvclive", "mlflow", "neptune", "swanlab", "tensorboard", "trackio", "wandb")
"""Trackers of transformers whose package has their name."""


def _check_trackers(config: TrainConfig) -> None:
    for tracker in config.report_to:
        if importlib.util.find_spec(tracker) is None:
            raise TrainConfigError(f"report_to: {tracker} is not installed; pip install {tracker}", field="report_to")


def _report_data(
    chat: ChatFormat,
    train_data: TrainingData,
    evaluation: TrainingData | None,
    say: Callable[[str], object],
    *,
    packed: bool,
    shared: int,
) -> None:
    held = "" if evaluation is None else f", {len(evaluation.rows)} for evaluation"
    say(f"{len(train_data.rows)} {train_data.kind} rows{held}{', on trees' if packed else ''}")
    if chat.system == "merged":
        say("warning: the chat template has no system role; the system prompt goes into the first user message")
    for what, count in train_data.warnings.items():
        if count:
            say(f"warning: {count} {what}")
    if shared:
        say(f"warning: {shared} evaluation rows are of dialogues that are trained on; split by seed dialogue")


def model_loader(prepared: Prepared, *, whole: bool = False) -> Callable[[], PreTrainedModel]:
    """Loads the run's model in the format of its weights.

    :param whole: whether it is to be merged, and so not quantised.
    """
    import torch  # noqa: PLC0415  # heavy

    config = prepared.config
    quantised = None if whole else quantization(config)
    return partial(
        load_model,
        prepared.source,
        **({} if quantised is None else {"quantization_config": quantised}),
        dtype=torch.bfloat16 if prepared.plan.weights == "bf16" else torch.float32,
        attention=prepared.attention,
        revision=config.revision,
        trust_remote_code=config.trust_remote_code,
    )


@contextmanager
def unpartitioned(settings: Any) -> Iterator[None]:
    """Load a model whole even under ZeRO-3, where transformers would load each process's part: GGUF is dequantised."""
    from transformers.integrations import deepspeed  # noqa: PLC0415  # heavy

    deepspeed.unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if (holder := getattr(settings, "hf_deepspeed_config", None)) is not None:
            deepspeed.set_hf_deepspeed_config(holder)  # type: ignore[no-untyped-call]
