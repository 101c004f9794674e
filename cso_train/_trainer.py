"""The trainer of a run: TRL's trainer of the method, on trees where packing is asked for."""

from __future__ import annotations

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
    if method.reference:  # on trees it is computed once in any case; with adapters it needs no second model
        once = not config.lora if config.packing == "tree" else bool(config.precompute_reference)
        given["precompute_ref_log_probs"] = once
    return settings(**given)


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
    if config.lora:
        options["peft_config"] = lora_config(config)
    elif reference is not None:
        options["ref_model"] = reference
    chat = ChatFormat.of(tokenizer)
    for name, data in (("train_dataset", train), ("eval_dataset", evaluation)):
        if data is not None:
            options[name] = datasets.Dataset.from_list(method.examples(data.rows, chat.row_tokens))
    trainer: Trainer = trainer_class(
        model=model, args=settings, processing_class=tokenizer, callbacks=list(callbacks), **options
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
    """Low-rank adapters (paper Appendix F.2: alpha 8, dropout 0, all modules)."""
    from peft import LoraConfig  # noqa: PLC0415  # heavy

    targets = config.lora_targets or ("all-linear",)
    return LoraConfig(
        r=config.lora_rank or 8,
        lora_alpha=config.lora_alpha or 8,
        lora_dropout=config.lora_dropout or 0.0,
        target_modules=targets[0] if targets == ("all-linear",) else list(targets),
        task_type="CAUSAL_LM",
    )


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
