"""The trainer of a run: TRL's trainer of the method, on trees where packing is asked for."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
from transformers import PrinterCallback

from cso_train._callbacks import LogLines
from cso_train._chat import ChatFormat
from cso_train._config import TrainConfig
from cso_train._data import TrainingData
from cso_train._pretokenised import pretokenised
from cso_train.errors import TrainConfigError
from cso_train.packing._trainer import PackingSetup, tree_packed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback


def training_settings(config: TrainConfig, arguments: Mapping[str, Any]) -> Any:
    """The config of the method's trainer. Make it before the model: under ZeRO-3, transformers loads by it.

    :param config: resolved settings.
    :param arguments: fields of transformers' ``TrainingArguments`` that depend on the machine.
    """
    method = config.build_method()
    _, settings = method.trainer()
    given = {**common_arguments(config), **method.arguments(config.max_length), **arguments}
    if "disable_dropout" in settings.__dataclass_fields__:
        given["disable_dropout"] = False  # it would disable that of the adapters too; see build_trainer
    given |= further_arguments(config)
    if method.reference:  # on trees it is computed once in any case; with adapters it needs no second model
        once = not config.lora if config.packing == "tree" else bool(config.precompute_reference)
        given["precompute_ref_log_probs"] = once
    try:
        return settings(**given)
    except (TypeError, ValueError, ImportError) as error:
        if not config.trainer:
            raise
        raise TrainConfigError(f"trainer: {settings.__name__} refuses it: {error}", field="trainer") from error


_STOPPING = ("early_stopping_patience", "early_stopping_threshold")
_OURS = {  # fields that have a setting, or that follow from settings and the machine
    "attn_implementation": "attention",
    "bf16": "precision",
    "deepspeed": "zero_stage and offload",
    "disable_dropout": "lora_dropout",
    "fp16": "precision",
    "gradient_accumulation_steps": "batch_size",
    "hub_token": "the environment variable HF_TOKEN",
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "lr_scheduler",
    "max_length": "max_length",
    "model_init_kwargs": "attention, precision, revision and trust_remote_code",
    "num_train_epochs": "epochs",
    "output_dir": "output_dir",
    "per_device_eval_batch_size": "per_device_batch_size",
    "per_device_train_batch_size": "per_device_batch_size",
    "precompute_ref_log_probs": "precompute_reference",
    "push_to_hub": "push_to_hub",
    "use_cpu": "the machine",
    "warmup_ratio": "warmup_ratio",
    "warmup_steps": "warmup_ratio",
}
_OF_BATCH = {"auto_find_batch_size", "dataloader_drop_last", "group_by_length", "train_sampling_strategy", "packing"}
_FREE = {"report_to", "eval_strategy", "eval_steps", "save_strategy", "save_steps", "logging_strategy"}
_OF_PASSES = {"use_liger_kernel", "liger_kernel_config", "label_smoothing_factor", "neftune_noise_alpha"}


def further_arguments(config: TrainConfig) -> dict[str, Any]:
    """The fields of the TRL config that ``trainer`` passes on.

    :raises TrainConfigError: for a field that is none of the config's, or that settings or the batch decide.
    """
    given = {name: value for name, value in (config.trainer or {}).items() if name not in _STOPPING}
    if not given:
        return {}
    method = config.build_method()
    _, settings = method.trainer()
    decided = {**common_arguments(config), **method.arguments(config.max_length)}
    ours = {name: name for name in decided if name not in _FREE} | _OURS
    for name in given:
        field = f"trainer.{name}"
        if name in _OF_BATCH:
            raise TrainConfigError(f"{field}: batch_size decides how rows are drawn and divided", field="trainer")
        if name in ours:
            raise TrainConfigError(f"{field}: is decided by {ours[name]}", field="trainer")
        if name not in settings.__dataclass_fields__:
            near = difflib.get_close_matches(name, settings.__dataclass_fields__, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TrainConfigError(f"{field}: {settings.__name__} has no such field{hint}", field="trainer")
    return given


def fields_beyond_trees(config: TrainConfig) -> list[str]:
    """The fields of ``trainer`` that change the loss or the model's passes, which trees compute by themselves."""
    from transformers import TrainingArguments  # noqa: PLC0415  # heavy

    common = TrainingArguments.__dataclass_fields__.keys() - _OF_PASSES
    return [name for name in config.trainer or () if name not in common and name not in _STOPPING]


def _early_stopping(config: TrainConfig) -> list[TrainerCallback]:
    given: dict[str, Any] = {name: value for name, value in (config.trainer or {}).items() if name in _STOPPING}
    if not given:
        return []
    from transformers import EarlyStoppingCallback  # noqa: PLC0415  # heavy

    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise TrainConfigError(f"trainer.{name}: must be a number, 0 or more", field="trainer")
    if not (config.trainer or {}).get("load_best_model_at_end"):
        message = "trainer.early_stopping_patience: needs load_best_model_at_end: true, and something to evaluate on"
        raise TrainConfigError(message, field="trainer")
    return [EarlyStoppingCallback(**given)]


def build_trainer(
    config: TrainConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: TrainingData,
    evaluation: TrainingData | None = None,
    *,
    reference: PreTrainedModel | None = None,
    settings: Any,
    callbacks: Sequence[TrainerCallback] = (),
    reference_table: Path | None = None,
) -> Trainer:
    """The trainer of the config's method.

    :param config: resolved settings.
    :param model: the model to train; with LoRA it gets adapters.
    :param train: rows of the method's kind, fitted to the context in the model's chat format.
    :param reference: the model as it is before training, for a full-parameter run whose method asks for one.
    :param settings: of :func:`training_settings`.
    :param reference_table: where packed training keeps the reference's log-probabilities.
    :returns: a TRL trainer, ready to ``train()``; with packing, one that computes on trees.
    """
    method = config.build_method()
    trainer_class, _ = method.trainer()
    if method.shuffle:
        train = train.shuffled(config.seed)
        evaluation = None if evaluation is None else evaluation.shuffled(config.seed)
    options: dict[str, Any] = {}
    trainer_class = pretokenised(trainer_class)
    if config.packing == "tree":
        trainer_class = tree_packed(trainer_class)
        held = None if evaluation is None else evaluation.rows
        options["packing"] = PackingSetup(config, train.rows, held, reference_table)
    if "disable_dropout" in type(settings).__dataclass_fields__:
        _without_dropout(model, reference)
    if config.lora and not hasattr(model, "peft_config"):  # else it has adapters already, which go on
        options["peft_config"] = lora_config(config)
    elif reference is not None:
        options["ref_model"] = reference
    chat = ChatFormat.of(tokenizer)
    for name, data in (("train_dataset", train), ("eval_dataset", evaluation)):
        if data is not None:
            options[name] = datasets.Dataset.from_list(method.examples(data.rows, chat.row_tokens))
    trainer: Trainer = trainer_class(
        model=model,
        args=settings,
        processing_class=tokenizer,
        callbacks=[*callbacks, *_early_stopping(config)],
        **options,
    )
    _log_in_lines(trainer)
    return trainer


def _without_dropout(*models: PreTrainedModel | None) -> None:
    """Take dropout out of models whose log-probabilities are compared; adapters get theirs afterwards."""
    import torch  # noqa: PLC0415  # heavy

    for model in models:
        for module in () if model is None else model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0


def _log_in_lines(trainer: Trainer) -> None:
    """Where transformers would print its log as dictionaries, have it printed as lines to read."""
    if trainer.pop_callback(PrinterCallback) is not None:
        trainer.add_callback(LogLines)


def lora_config(config: TrainConfig) -> Any:
    """Low-rank adapters (paper Appendix F.2: alpha 8, dropout 0, all modules), and the fields that ``lora`` gives.

    :raises TrainConfigError: for a field that peft does not have, or a value that it refuses.
    """
    from peft import LoraConfig  # noqa: PLC0415  # heavy

    further: dict[str, Any] = dict(config.lora) if isinstance(config.lora, dict) else {}
    further.pop("quantization", None)
    for name in further:
        if name not in LoraConfig.__dataclass_fields__ or name in ("task_type", "inference_mode"):
            near = difflib.get_close_matches(name, LoraConfig.__dataclass_fields__, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TrainConfigError(f"lora.{name}: is no field of peft's LoraConfig to set{hint}", field="lora")
    targets = config.lora_targets or ("all-linear",)
    try:
        return LoraConfig(
            r=config.lora_rank or 8,
            lora_alpha=config.lora_alpha or 8,
            lora_dropout=config.lora_dropout or 0.0,
            target_modules=targets[0] if targets == ("all-linear",) else list(targets),
            task_type="CAUSAL_LM",
            **further,
        )
    except (TypeError, ValueError, ImportError) as error:
        raise TrainConfigError(f"lora: peft refuses it: {error}", field="lora") from error


def quantization(config: TrainConfig) -> Any:
    """How the frozen model of QLoRA is held (Dettmers et al., 2023); None where it is not quantised.

    :raises TrainConfigError: if there is no GPU or no bitsandbytes, and for fields that transformers refuses.
    """
    given = config.lora.get("quantization") if isinstance(config.lora, dict) else None
    if given is None:
        return None
    import torch  # noqa: PLC0415  # heavy
    import transformers  # noqa: PLC0415

    if not torch.cuda.is_available():
        raise TrainConfigError("lora.quantization: a model is quantised on a GPU; there is none here", field="lora")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise TrainConfigError("lora.quantization: needs bitsandbytes; pip install bitsandbytes", field="lora")
    if not isinstance(given, dict) or not (given.get("load_in_4bit") or given.get("load_in_8bit")):
        raise TrainConfigError("lora.quantization: must say load_in_4bit: true or load_in_8bit: true", field="lora")
    defaults = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"} if given.get("load_in_4bit") else {}
    try:
        settings: Any = transformers.BitsAndBytesConfig
        return settings(**{**defaults, **given})
    except (TypeError, ValueError) as error:
        raise TrainConfigError(f"lora.quantization: transformers refuses it: {error}", field="lora") from error


def common_arguments(config: TrainConfig) -> dict[str, Any]:
    """Fields of ``TrainingArguments`` that every method has."""
    by_steps = {"save_strategy": "steps", "save_steps": config.save_steps} if config.save_steps else {}
    evaluates = config.eval_data is not None or config.eval_fraction > 0
    evaluation = "no" if not evaluates else "steps" if config.eval_steps else "epoch"
    return {
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.lr_scheduler,
        "warmup_steps": config.warmup_ratio,  # below 1 it is a share of the steps
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "logging_steps": config.logging_steps,
        "logging_first_step": True,
        "eval_strategy": evaluation,
        "eval_steps": config.eval_steps,
        "save_total_limit": config.save_total_limit,
        "gradient_checkpointing": config.gradient_checkpointing,
        "disable_tqdm": not sys.stderr.isatty(),
        "report_to": list(config.report_to),
        "run_name": config.run_name,
        **(by_steps or {"save_strategy": "epoch"}),
    }
