"""The settings of one training run, typed, with their ranges and what they mean."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any, Literal, Never, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from cso_train.errors import TrainConfigError
from cso_train.methods import METHODS, Method

Tracker: TypeAlias = Literal["tensorboard", "wandb", "trackio"]
"""A service or format that a run's metrics are sent to."""

_LORA_DEFAULTS: dict[str, Any] = {
    "lora_rank": 8,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "lora_targets": ("all-linear",),
    "merge_adapter": False,
}

# What other trainers call these settings: a nearest name by spelling would not find them.
_OTHER_NAMES = {
    "accumulation_steps": "batch_size",
    "bf16": "precision",
    "deepspeed": "zero_stage",
    "desirable_weight": "chosen_weight",
    "gemma": "gamma",
    "gradient_accumulation_steps": "batch_size",
    "loss_type": "method",
    "lr": "learning_rate",
    "model_name_or_path": "model",
    "num_train_epochs": "epochs",
    "peft": "lora",
    "r": "lora_rank",
    "simpo_gamma": "gamma",
    "undesirable_weight": "rejected_weight",
    "use_peft": "lora",
    "warmup_steps": "warmup_ratio",
}


class TrainConfig(BaseModel):
    """The settings of a training run. Defaults are the paper's (Appendix F.2, Tables 13 and 14), else TRL's.

    Settings for LoRA only, or for some methods only, are None until :meth:`resolve` fills them in. Setting one that the
    run does not use is an error.

    :raises TrainConfigError: for an unknown setting, a value out of range or contradicting settings, naming them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    # the model
    model: str = Field(
        default="smollm2",
        min_length=1,
        description="hub name, local folder or GGUF file; 'smollm2' is the embedded SmolLM2-135M-Instruct",
    )
    revision: str | None = Field(
        default=None, description="branch, tag or commit of a model on the hub; default: the newest"
    )
    trust_remote_code: bool = Field(
        default=False, description="run code that comes with the model; use only for models you trust"
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        default="auto", description="attention kernel; 'auto' is the model's own default"
    )
    chat_template_kwargs: dict[str, JsonValue] | None = Field(
        default=None,
        description="variables of the model's chat template, such as {enable_thinking: true}; thinking is off by "
        "default",
    )

    # the method
    method: str = Field(default="dpo", description="training method")
    beta: float | None = Field(
        default=None,
        gt=0.0,
        description="weight of the preference term, above 0: strength of the reference in dpo, ipo and kto, scale of "
        "the reward in simpo, lambda in orpo, scale of log-ratios in odpo, infonca and nca [default: 0.1, simpo 2.0]",
    )
    gamma: float | None = Field(
        default=None,
        ge=0.0,
        description="simpo's target reward margin, 0 or more: the margin itself, not its ratio to beta [default: 0.5]",
    )
    chosen_weight: float | None = Field(
        default=None, gt=0.0, description="kto's weight of desirable completions, above 0 [default: 1.0]"
    )
    rejected_weight: float | None = Field(
        default=None, gt=0.0, description="kto's weight of undesirable completions, above 0 [default: 1.0]"
    )
    nll_weight: float | None = Field(
        default=None,
        ge=0.0,
        description="dpo and odpo: weight of the mean negative log-likelihood of the chosen reply's tokens, 0 or more; "
        "keeps small models naming strategies [default: 0]",
    )
    label_smoothing: float | None = Field(
        default=None,
        ge=0.0,
        lt=0.5,
        description="dpo: assumed share of wrongly labelled pairs, 0 to below 0.5 [default: 0]",
    )
    offset_weight: float | None = Field(
        default=None,
        ge=0.0,
        description="odpo: margin per unit of reward by which the chosen reply is better, 0 or more; 0 is dpo "
        "[default: 1.0]",
    )
    value_temperature: float | None = Field(
        default=None,
        gt=0.0,
        description="infonca, nca, distill: temperature of the target softmax(Q / T), in units of reward, "
        "above 0 [default: 0.5, distill 0.25]",
    )
    value_scale: float | None = Field(
        default=None,
        gt=0.0,
        description="refuel: nats of log-ratio per unit of reward, above 0 [default: 1.0]",
    )
    strategy_weight: float | None = Field(
        default=None, ge=0.0, description="weight of a reply's strategy name in the loss, 0 or more [default: 1.0]"
    )
    reply_weight: float | None = Field(
        default=None, ge=0.0, description="weight of a reply's words after its strategy, 0 or more [default: 1.0]"
    )
    confidence_weights: bool | None = Field(
        default=None,
        description="weight pairs or replies by the search's confidence, 2 * confidence - 1; needs trees with "
        "posteriors [default: false]",
    )
    precompute_reference: bool | None = Field(
        default=None,
        description="compute the reference model's probabilities once before training, so that no second model "
        "stays in memory [default: false]",
    )

    packing: Literal["auto", "tree", "none"] = Field(
        "auto",
        description="'tree' lays the rows of a step into prefix trees and computes what they have in common once: the "
        "same loss, several times faster; 'auto' does so for the architectures that it can",
    )
    sampler: Literal["pairs", "dialogues"] = Field(
        "pairs",
        description="how packing tree draws rows: 'pairs' shuffles them as without packing, 'dialogues' takes all rows "
        "of a dialogue one after the other, which packs most",
    )
    pack_tokens: int = Field(
        4096, ge=2, description="most tokens of one pack of packing tree, 2 or more; larger trees are cut"
    )
    packing_memory: Literal["auto", "pack", "path"] = Field(
        "auto",
        description="what bounds the memory of packing tree: 'pack' a pack, each row of a larger tree repeating its "
        "history; 'path' the longest path of a tree of any size and a sixteenth of pack_tokens, for another forward "
        "pass; 'auto' is path for steps whose packs would repeat much or do not hold a row",
    )

    # what is trained
    lora: bool | dict[str, JsonValue] = Field(
        default=True,
        description="train low-rank adapters instead of all parameters; takes fields of peft's LoraConfig too, such "
        "as {use_dora: true}; {quantization: {load_in_4bit: true}} is QLoRA (needs a GPU)",
    )
    lora_rank: int | None = Field(default=None, ge=1, description="rank of the adapters, 1 or more [default: 8]")
    lora_alpha: int | None = Field(
        default=None, ge=1, description="scale of the adapters, divided by the rank, 1 or more [default: 8]"
    )
    lora_dropout: float | None = Field(
        default=None, ge=0.0, lt=1.0, description="dropout before the adapters, from 0 to below 1 [default: 0]"
    )
    lora_targets: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="names of the modules with adapters; 'all-linear': every linear module except the output head "
        "[default: all-linear]",
    )
    merge_adapter: bool | None = Field(
        default=None,
        description="also save the whole model with the adapters merged in [default: false]",
    )

    trainer: dict[str, JsonValue] | None = Field(
        default=None,
        description="further fields of the method's TRL config, such as {optim: adafactor}; also takes "
        "early_stopping_patience and early_stopping_threshold of transformers' callback",
    )

    # the data
    data: str | tuple[str, ...] | None = Field(
        default=None,
        description="file or folder to train on, or a list of several (comma-separated on the command line)",
    )
    data_weights: tuple[float, ...] | None = Field(
        default=None,
        description="weight of each data set, 0 or more: 2 uses every row twice, 0.5 draws half of them",
    )
    eval_data: str | None = Field(default=None, description="file or folder to evaluate on during training")
    eval_fraction: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="share of the dialogues held out for evaluation, from 0 to below 1"
    )
    max_length: int = Field(
        default=2048, ge=2, description="longest prompt and completion together, in tokens, 2 or more"
    )
    max_completion_tokens: int = Field(default=512, ge=1, description="longest completion in tokens, 1 or more")

    # the optimisation
    epochs: int = Field(default=3, ge=1, description="passes over the data, 1 or more")
    max_steps: int | None = Field(
        default=None, ge=1, description="stop after this many optimiser steps; default: after all epochs"
    )
    batch_size: int = Field(
        default=32, ge=1, description="global batch: rows of one optimiser step over all devices, 1 or more"
    )
    per_device_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="rows per device and forward pass; default: the largest number up to 4 that fits the batch",
    )
    learning_rate: float = Field(default=1e-6, gt=0.0, description="peak learning rate, above 0")
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="schedule of the learning rate after warm-up"
    )
    warmup_ratio: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="share of the steps used for warm-up, from 0 to below 1",
    )
    weight_decay: float = Field(default=0.0, ge=0.0, description="AdamW's weight decay, 0 or more")
    max_grad_norm: float = Field(default=1.0, ge=0.0, description="gradients are clipped to this norm; 0 does not clip")
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of every random choice, from 0 to 4294967295")

    # memory and machines
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto", description="number format; 'auto' is bf16 on GPUs that support it, else fp32"
    )
    gradient_checkpointing: bool = Field(
        default=True, description="recompute activations in the backward pass: less memory, about 20 % slower"
    )
    zero_stage: Literal["auto", "none", 0, 1, 2, 3] = Field(
        default="auto",
        description="DeepSpeed's ZeRO stage; 'none' does not use DeepSpeed; 'auto' is 2 (3 with offload of "
        "parameters) on GPUs or with several processes, 'none' with one process on the CPU",
    )
    offload: Literal["none", "optimizer", "parameters"] = Field(
        default="none",
        description="what DeepSpeed keeps in host memory; 'parameters' (stage 3) includes the optimizer state",
    )

    # what is written
    output_dir: str = Field(
        default="cso-train-output", min_length=1, description="folder for the trained model and its manifest"
    )
    logging_steps: int = Field(default=10, ge=1, description="optimiser steps between log lines, 1 or more")
    eval_steps: int | None = Field(
        default=None, ge=1, description="optimiser steps between evaluations; default: after each epoch"
    )
    save_steps: int | None = Field(
        default=None, ge=1, description="optimiser steps between checkpoints; default: after each epoch"
    )
    save_total_limit: int | None = Field(
        default=2, ge=1, description="number of checkpoints to keep, 1 or more; None keeps all"
    )
    report_to: tuple[Tracker, ...] = Field(default=(), description="trackers that get the metrics, besides the log")
    run_name: str | None = Field(default=None, min_length=1, description="name of the run for the trackers")
    push_to_hub: str | None = Field(
        default=None,
        min_length=1,
        description="upload the model and its card to OWNER/NAME on the hub at the end; private if it is new",
    )

    def __init__(self, *unnamed: Never, **values: Any) -> None:
        if unnamed:
            raise TrainConfigError("TrainConfig takes its settings by name: TrainConfig(model=...)")
        check_names(values)
        if isinstance(values.get("lora"), dict):
            values = _with_own_names(values, values["lora"])
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _config_error(error) from error
        _check_unused(self)
        _check_combinations(self)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TrainConfigError(f"TrainConfig cannot be changed; make another: config.replace({name}=...)", field=name)

    @field_validator("method")
    @classmethod
    def _a_method_is_known(cls, value: str) -> str:
        if value not in METHODS:
            *others, last = map(repr, METHODS)
            raise PydanticCustomError("method", f"Input should be {', '.join(others)} or {last}")
        return value

    @field_validator("zero_stage", mode="before")
    @classmethod
    def _a_number_is_no_boolean(cls, value: object) -> object:
        # Python's False is 0, and YAML's `no` is False: nobody means ZeRO-0 by it.
        return str(value) if isinstance(value, bool | float) else value

    def resolve(self) -> Self:
        """The same settings with everything set that this method uses; what it does not use stays None.

        What depends on the machine stays open: ``per_device_batch_size`` None, ``precision`` and ``zero_stage`` auto.
        """
        defaults = {**METHODS[self.method].defaults(), **(_LORA_DEFAULTS if self.lora else {})}
        return self.replace(**{name: value for name, value in defaults.items() if getattr(self, name) is None})

    def replace(self, **changes: Any) -> Self:
        """A copy with some settings changed, checked again.

        :raises TrainConfigError: as the class does.
        """
        return type(self)(**{**self.model_dump(), **changes})

    def unused(self) -> tuple[str, ...]:
        """Names of the settings that mean nothing to this method, in the order of the class."""
        used = {*METHODS[self.method].defaults(), *(_LORA_DEFAULTS if self.lora else ())}
        optional = set(_LORA_DEFAULTS).union(*(method.defaults() for method in METHODS.values()))
        return tuple(name for name in type(self).model_fields if name in optional - used)

    def build_method(self) -> Method:
        """The training method with its settings."""
        method, settings = METHODS[self.method], self.resolve()
        return method(**{name: getattr(settings, name) for name in method.defaults()})

    @property
    def reference_model(self) -> bool:
        """Whether a second, frozen model stands in memory while training; with LoRA it is the model itself."""
        return (
            METHODS[self.method].reference
            and not self.lora
            and not self.precompute_reference
            and self.packing == "none"  # on trees the reference is computed once, before the first step
        )


SECTIONS = {
    "model": "Model",
    "method": "Method",
    "packing": "Training on trees",
    "lora": "Adapters",
    "trainer": "TRL",
    "data": "Data",
    "epochs": "Optimisation",
    "precision": "Memory and machines",
    "output_dir": "What is written",
}
"""The first setting of each section, and the section's title."""


def section_of(name: str) -> str:
    """The title of the section that a setting stands in; one that only a method knows is the method's."""
    if any(name in method.own_settings() for method in METHODS.values()):
        return SECTIONS["method"]
    names = list(TrainConfig.model_fields)
    return [title for first, title in SECTIONS.items() if names.index(first) <= names.index(name)][-1]


def _add_own_settings() -> None:
    """Have the settings that only one method knows among those of a run."""
    own = {name: each for method in METHODS.values() for name, each in method.own_settings().items()}
    if not own.keys() <= TrainConfig.model_fields.keys():
        TrainConfig.__pydantic_fields__.update(own)
        TrainConfig.model_rebuild(force=True)


_add_own_settings()


_OF_PEFT = {
    "r": "lora_rank",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "lora_targets",
}


def _with_own_names(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The settings, with those fields of peft that have a setting of their own in their place."""
    found = dict(values)
    for theirs, ours in _OF_PEFT.items():
        if theirs not in given:
            continue
        value = given[theirs]
        if ours == "lora_targets":
            value = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
        if found.get(ours) not in (None, value):
            raise TrainConfigError(f"{ours}: is given twice, here and in lora as {theirs}", field=ours)
        found[ours] = value
    return {**found, "lora": {name: value for name, value in given.items() if name not in _OF_PEFT} or True}


def check_names(names: Iterable[str]) -> None:
    """See that every name is a setting's.

    :raises TrainConfigError: for the first that is none, with the nearest name or all of them.
    """
    _add_own_settings()  # of methods that were registered since
    for name in names:
        if name in TrainConfig.model_fields:
            continue
        near = _nearest(name)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(TrainConfig.model_fields)}"
        raise TrainConfigError(f"unknown setting {reprlib.repr(name)}; {hint}", field=name)


def _nearest(name: str) -> str | None:
    plain = str(name).strip().lower().replace("-", "_")
    if plain in _OTHER_NAMES:
        return _OTHER_NAMES[plain]
    near = difflib.get_close_matches(plain, TrainConfig.model_fields, n=1)
    return near[0] if near else None


def _config_error(error: ValidationError) -> TrainConfigError:
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0])
    return TrainConfigError(f"{field}: {first['msg']} (given: {reprlib.repr(first['input'])})", field=field)


def _check_unused(config: TrainConfig) -> None:
    for name in config.unused():
        value = getattr(config, name)
        if value is None:
            continue
        if name in _LORA_DEFAULTS:
            raise TrainConfigError(f"{name}: full-parameter training (lora: false) does not use it", field=name)
        users = ", ".join(method for method, each in METHODS.items() if name in each.defaults())
        raise TrainConfigError(f"{name}: {config.method} does not use it, only {users} (given: {value!r})", field=name)


def _check_combinations(config: TrainConfig) -> None:
    """Refuse settings that are each in range but contradict each other."""
    share, method = config.per_device_batch_size, METHODS[config.method]
    too_few = f"{method.min_rows_reason}: {method.min_rows} or more"
    sets = config.data if isinstance(config.data, tuple) else ()
    weights = config.data_weights or ()
    contradictions = {
        "data_weights": bool(weights)
        and (
            (any(each < 0 for each in weights) and "a weight is 0 or more")
            or (not any(weights) and "all weights are 0")
            or (sets and len(sets) != len(weights) and f"{len(weights)} weights for {len(sets)} data sets")
        ),
        "max_completion_tokens": config.max_completion_tokens >= config.max_length
        and f"{config.max_completion_tokens} tokens leave no room for a prompt in max_length {config.max_length}",
        "per_device_batch_size": share is not None
        and (
            (share < method.min_rows and too_few)
            or (config.batch_size % share and f"batch_size {config.batch_size} is no multiple of {share}")
        ),
        "batch_size": config.batch_size < method.min_rows and too_few,
        "warmup_ratio": config.lr_scheduler == "constant"
        and config.warmup_ratio > 0
        and "lr_scheduler constant has no warm-up; take constant_with_warmup",
        "eval_fraction": config.eval_data is not None and config.eval_fraction > 0 and "eval_data is given already",
        "eval_steps": config.eval_steps is not None
        and config.eval_data is None
        and config.eval_fraction == 0
        and "nothing to evaluate on: give eval_data or eval_fraction",
        "zero_stage": config.offload != "none" and _bad_offload(config.zero_stage, config.offload),
        "lora_targets": config.lora_targets is not None
        and "all-linear" in config.lora_targets
        and len(config.lora_targets) > 1
        and "'all-linear' stands alone",
    }
    for field, reason in contradictions.items():
        if reason:
            raise TrainConfigError(f"{field}: {reason}", field=field)


def _bad_offload(stage: str | int, offload: str) -> str | None:
    if stage in ("none", 0):
        return f"offload {offload!r} needs ZeRO stage 1, 2 or 3"
    if offload == "parameters" and stage in (1, 2):
        return f"offload 'parameters' needs ZeRO stage 3, not {stage}; 'optimizer' works with it"
    return None
