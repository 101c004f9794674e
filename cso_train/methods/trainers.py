"""One builder for the six methods (paper section 3.3 and Appendix G): the loss, its settings, and its trainer.

What the methods share is in one place; what tells them apart is the table below.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cso_train.chat import ChatFormat
from cso_train.config import TrainConfig
from cso_train.data import TrainingData

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback


@dataclass(frozen=True)
class MethodSpec:
    """What a method is in TRL.

    :param trainer: gives the trainer's class and its config's class.
    :param settings: the config's fields that the method sets.
    :param loss: the loss, as a formula for the documentation.
    """

    trainer: Callable[[], tuple[Any, Any]]
    settings: Callable[[TrainConfig], dict[str, Any]]
    loss: str


def _trl(trainer: str, config: str) -> Callable[[], tuple[Any, Any]]:
    def load() -> tuple[Any, Any]:
        import trl  # noqa: PLC0415  # heavy

        return getattr(trl, trainer), getattr(trl, config)

    return load


def _cpo() -> tuple[Any, Any]:
    from trl.experimental.cpo import CPOConfig, CPOTrainer  # noqa: PLC0415  # heavy

    return CPOTrainer, CPOConfig


def _orpo() -> tuple[Any, Any]:
    from trl.experimental.orpo import ORPOConfig  # noqa: PLC0415  # heavy

    from cso_train.methods.orpo import RowMeanORPOTrainer  # noqa: PLC0415

    return RowMeanORPOTrainer, ORPOConfig


def _reference(config: TrainConfig) -> dict[str, Any]:
    # on trees the reference is computed once in any case; with adapters it needs no second model that TRL would load
    once = not config.lora if config.packing == "tree" else bool(config.precompute_reference)
    return {"beta": config.beta, "precompute_ref_log_probs": once}


METHODS: dict[str, MethodSpec] = {
    "sft": MethodSpec(
        _trl("SFTTrainer", "SFTConfig"),
        lambda config: {"packing": False},
        "-mean log pi(y_t | x, y_<t) over the supporter's tokens",
    ),
    "dpo": MethodSpec(
        _trl("DPOTrainer", "DPOConfig"),
        lambda config: {**_reference(config), "loss_type": ["sigmoid"]},
        "-log sigmoid(beta * (log pi(y_w)/ref(y_w) - log pi(y_l)/ref(y_l)))",
    ),
    "ipo": MethodSpec(
        _trl("DPOTrainer", "DPOConfig"),
        lambda config: {**_reference(config), "loss_type": ["ipo"]},
        "(h - 1 / (2 * beta))^2, h the difference of the mean log-ratios a token",
    ),
    "simpo": MethodSpec(
        _cpo,
        lambda config: {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": config.beta, "simpo_gamma": config.gamma},
        "-log sigmoid(beta * (mean log pi(y_w) - mean log pi(y_l)) - gamma)",
    ),
    "kto": MethodSpec(
        _trl("KTOTrainer", "KTOConfig"),
        lambda config: {
            **_reference(config),
            "desirable_weight": config.chosen_weight,
            "undesirable_weight": config.rejected_weight,
        },
        "w_+ * (1 - sigmoid(beta * (r - z))) for chosen, w_- * (1 - sigmoid(beta * (z - r))) for rejected replies",
    ),
    "orpo": MethodSpec(
        _orpo,
        lambda config: {"beta": config.beta},
        "-mean log pi(x, y_w) over a pair's tokens - beta * log sigmoid(log odds(y_w) - log odds(y_l))",
    ),
}
"""The methods by name."""


def training_settings(config: TrainConfig, arguments: Mapping[str, Any]) -> Any:
    """The config of the method's trainer. Make it before the model: under ZeRO-3, transformers loads by it.

    :param config: resolved settings.
    :param arguments: fields of transformers' ``TrainingArguments`` that depend on the machine.
    """
    spec = METHODS[config.method]
    length = {} if config.method == "sft" else {"max_length": config.max_length}
    return spec.trainer()[1](**common_arguments(config), **length, **spec.settings(config), **arguments)


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
    trainer_class, _ = METHODS[config.method].trainer()
    if config.method == "kto":  # TRL takes the rows in their order, and the KL term from a row's neighbours
        train = train.shuffled(config.seed)
        evaluation = None if evaluation is None else evaluation.shuffled(config.seed)
    options: dict[str, Any] = {}
    if config.packing == "tree":
        from cso_train.packing.trainer import PackingSetup, TreePacked  # noqa: PLC0415  # heavy

        trainer_class = type(f"TreePacked{trainer_class.__name__}", (TreePacked, trainer_class), {})
        held = None if evaluation is None else evaluation.rows
        options["packing"] = PackingSetup(config, train.rows, held, reference_table)
    if config.lora:
        options["peft_config"] = lora_config(config)
    elif reference is not None:
        options["ref_model"] = reference
    rows = {"train_dataset": to_rows(train, tokenizer), "eval_dataset": to_rows(evaluation, tokenizer)}
    trainer: Trainer = trainer_class(
        model=model,
        args=settings,
        processing_class=tokenizer,
        callbacks=list(callbacks),
        **{name: value for name, value in rows.items() if value is not None},
        **options,
    )
    _log_in_lines(trainer)
    return trainer


def _log_in_lines(trainer: Trainer) -> None:
    """Where transformers would print its log as dictionaries, have it printed as lines to read."""
    from transformers import PrinterCallback  # noqa: PLC0415  # heavy

    from cso_train.callbacks import LogLines  # noqa: PLC0415

    if trainer.pop_callback(PrinterCallback) is not None:
        trainer.add_callback(LogLines)


def to_rows(data: TrainingData | None, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset | None:
    """The rows as the trainers take them: conversations, or for sft tokens with the supporter's marked."""
    if data is None:
        return None
    import datasets  # noqa: PLC0415  # heavy

    if data.kind != "sft":
        return datasets.Dataset.from_list(list(data.rows))
    chat = ChatFormat.of(tokenizer)  # type: ignore[arg-type]  # a transformers tokenizer is one
    return datasets.Dataset.from_list([chat.dialogue_tokens(row["messages"]) for row in data.rows])


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
