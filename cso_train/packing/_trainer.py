"""TRL's trainers, computing on trees: what a run has where packing is asked for.

The trainer of the method prepares the model, its adapters and the tokens, as in pair-wise training. What differs is the
step: its rows, over all processes, are laid into packs; each pack gives its part of the loss; the parts add up to the
mean over the rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers.trainer_utils import EvalLoopOutput

from cso_train._config import TrainConfig
from cso_train._data import Row
from cso_train.errors import RunError, TrainConfigError, TrainDataError
from cso_train.methods import ReplySet
from cso_train.packing._attention import TREE_FLEX, MaskMaker, check_exact, check_packable
from cso_train.packing._forward import add_tree_head
from cso_train.packing._objective import PackedObjective
from cso_train.packing._plan import Planner, StepPlan
from cso_train.packing._proof import difference
from cso_train.packing._rows import count_unshared, packed_rows


@dataclass(frozen=True)
class PackingSetup:
    """What a packed run needs to know beside its trainer's arguments.

    :param config: resolved settings.
    :param train: the rows that the trainer's data set is made of, in its order.
    :param evaluation: the same of the rows held out; None without.
    :param table: where the reference's log-probabilities are kept; None keeps them in memory alone.
    """

    config: TrainConfig
    train: Sequence[Row]
    evaluation: Sequence[Row] | None = None
    table: Path | None = None


class StepDataset(Dataset[StepPlan]):
    """The plans of an epoch's steps; its length is that of the rows."""

    def __init__(self, planner: Planner) -> None:
        self._planner, self._order = planner, planner.order(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the rows of this epoch from now on."""
        self._order = self._planner.order(epoch)

    def __len__(self) -> int:
        return len(self._planner.rows)

    def __getitem__(self, number: int) -> StepPlan:
        return self._planner.step(self._order, number)


class StepLoader(DataLoader[StepPlan]):
    """A loader of plans that tells its data set which epoch it is."""

    def __init__(self, planner: Planner) -> None:
        super().__init__(StepDataset(planner), sampler=range(planner.steps), collate_fn=_only)

    def set_epoch(self, epoch: int) -> None:
        """As the trainer's loop calls it."""
        self.dataset.set_epoch(epoch)  # type: ignore[attr-defined]


def _only(plans: list[StepPlan]) -> dict[str, Any]:
    """A step's plan as the trainer's loop passes it on."""
    return {"plan": plans[0]}


class TreePacked:
    """Comes before a TRL trainer in a class's bases, and has its loop make steps on trees.

    :ivar objective: computes the loss.
    :ivar unshared: rows that share less than they might; see :func:`~cso_train.packing._rows.count_unshared`.
    :ivar unproven: whether the first step has yet to show that trees give what single rows do; True on a GPU, where
        kernels are compiled for the machine.
    :ivar say: takes lines for the user.
    """

    def __init__(self, *args: Any, packing: PackingSetup, **options: Any) -> None:
        super().__init__(*args, **options)
        trainer: Any = self
        bare = trainer.model.get_base_model() if hasattr(trainer.model, "get_base_model") else trainer.model
        check_packable(bare.config.model_type)
        check_exact(bare.config, packing.config.max_length)
        add_tree_head(bare)
        rows = {"train": _read(packing.config, trainer.train_dataset, packing.train)}
        if packing.evaluation is not None:
            rows["eval"] = _read(packing.config, trainer.eval_dataset, packing.evaluation)
        self.unshared = count_unshared(rows["train"], packing.train)
        masks = MaskMaker(bare.config, bare.dtype)
        memory = packing.config.packing_memory
        if (reason := _only_packs(trainer)) is not None:
            if memory == "path":
                raise TrainConfigError(f"packing_memory: path {reason}; take pack", field="packing_memory")
            memory = "pack"
        self.objective = PackedObjective(trainer, packing.config, rows, masks, packing.table, memory)
        self.unproven = trainer.args.device.type != "cpu"
        self.say: Callable[[str], object] = print

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Leave the data set as it is: the reference is computed on trees, at the first step."""
        return dataset

    def get_train_dataloader(self) -> StepLoader:
        """Plans of the steps, the same in every process but for its own packs."""
        return StepLoader(self.objective.planner("train"))

    def get_eval_dataloader(self, eval_dataset: Any = None) -> StepLoader:
        """Plans of the evaluation's steps."""
        return StepLoader(self.objective.planner("eval"))

    def floating_point_ops(self, inputs: Any) -> int:
        """Of the last step: six for every parameter and token."""
        parameters: int = sum(each.numel() for each in self.objective.host.model.parameters())
        return 6 * self.objective.tokens * parameters

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One optimiser step's passes over this process's packs."""
        trainer: Any = self
        if self.unproven:
            self._prove(inputs["plan"])
        self.objective.ensure_reference()
        model.train()
        self.objective.tokens = 0
        passes = self.objective.passes("train", model, inputs["plan"])
        accelerator, sharded = trainer.accelerator, trainer.is_deepspeed_enabled
        whole = torch.zeros((), device=accelerator.device)
        for number, forward in enumerate(passes):
            last = number == len(passes) - 1
            accelerator.gradient_state._set_sync_gradients(last)
            with contextlib.nullcontext() if last or sharded else accelerator.no_sync(model):
                with trainer.compute_loss_context_manager():
                    loss = forward() * accelerator.num_processes
                accelerator.backward(loss, **({"scale_wrt_gas": False} if sharded else {}))
            whole += loss.detach()
        return whole

    def compiled_lengths(self) -> list[int]:
        """The lengths of packs that FlexAttention was compiled for in this process, a number for each time."""
        if self.objective.masks.config._attn_implementation != TREE_FLEX:
            return []
        from cso_train.packing._flex import compiled  # noqa: PLC0415  # heavy

        return sorted(compiled)

    def _prove(self, plan: StepPlan) -> None:
        """Compute the first pack both ways, and take SDPA where the kernel of trees gives something else.

        :raises RunError: where SDPA does too.
        """
        objective, config = self.objective, self.objective.masks.config
        self.unproven = False
        if (reason := self._doubt(plan)) is None:
            return
        if config._attn_implementation == TREE_FLEX:
            self.say(f"warning: FlexAttention does not compute trees here ({reason}); training goes on with SDPA")
            config._attn_implementation = "eager" if objective.masks.own_scores else "sdpa"
            reason = self._doubt(plan)
        if reason is not None:
            message = f"trees do not give what single rows do: {reason}; take --packing none"
            raise RunError(message, folder=objective.host.args.output_dir)

    def _doubt(self, plan: StepPlan) -> str | None:
        """Why the kernel that is set is not to be trusted, in whichever process; None where it is."""
        trainer: Any = self
        objective, accelerator = self.objective, trainer.accelerator
        rows = objective.first_rows("train", plan)
        layers_again = trainer.args.gradient_checkpointing and _only_packs(trainer) is None
        model = objective.host.model
        model.train(layers_again)
        with objective.evaluating() if not layers_again else trainer.compute_loss_context_manager():
            try:
                whole = not _has_zero_3(trainer)
                device = accelerator.device
                found = difference(model, rows, objective.masks, device, gradients=whole)
                reason = None if found.is_rounding else str(found)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # noqa: BLE001  # a compiler may be missing, or refuse: whatever it raises
                reason = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()[-1:]), '')}"
        doubts = accelerator.reduce(torch.tensor(float(reason is not None), device=accelerator.device), "sum")
        return reason or ("so says another process" if float(doubts) else None)

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The mean loss over the rows held out, and its metrics."""
        trainer: Any = self
        model = trainer.model_wrapped if trainer.is_in_train else trainer.accelerator.prepare_model(trainer.model)
        self.objective.ensure_reference()
        model.eval()
        loss, rows = torch.zeros((), device=trainer.accelerator.device), 0
        for inputs in dataloader:
            plan: StepPlan = inputs["plan"]
            with torch.no_grad(), trainer.compute_loss_context_manager():
                loss += self.objective.evaluated("eval", model, plan) * len(plan.rows)
            rows += len(plan.rows)
        mean = float(trainer.accelerator.reduce(loss, "sum")) / rows
        return EvalLoopOutput(
            predictions=np.empty(0), label_ids=None, metrics={f"{metric_key_prefix}_loss": mean}, num_samples=rows
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the packs' metrics since the last time."""
        training = self.objective.host.model.training
        found, prefix = self.objective.logs("train" if training else "eval"), "" if training else "eval_"
        logs.update({f"{prefix}{name}": value for name, value in found.items()})
        super().log(logs, start_time)  # type: ignore[misc]


def tree_packed(trainer: type[Any]) -> type[Any]:
    """A TRL trainer's class, with steps on trees."""
    return type(f"TreePacked{trainer.__name__}", (TreePacked, trainer), {})


def _only_packs(trainer: Any) -> str | None:
    """Why a tree's log-probabilities cannot be computed twice, path by path; None where they can."""
    if _has_zero_3(trainer):
        return ZERO_3
    bare = trainer.model
    drops = any(isinstance(module, torch.nn.Dropout) and module.p for module in bare.modules())
    return DROPOUT if drops or getattr(bare.config, "attention_dropout", None) else None


def _has_zero_3(trainer: Any) -> bool:
    plugin = trainer.accelerator.state.deepspeed_plugin
    return plugin is not None and plugin.zero_stage == 3


ZERO_3 = "does not go with ZeRO-3: every pass gathers all weights, and processes differ in the passes they make"
DROPOUT = "does not go with dropout: the second pass through a tree would drop other values than the first"


def _read(config: TrainConfig, dataset: Any, source: Sequence[Row]) -> list[ReplySet]:
    if len(dataset) != len(source):
        dropped = len(source) - len(dataset)
        raise TrainDataError(f"{dropped} rows have nothing left to train on; raise max_length", field="max_length")
    return packed_rows(config.build_method(), dataset, source, config.max_length)
