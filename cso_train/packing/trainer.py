"""TRL's trainers, computing on trees: what :mod:`cso_train.methods` builds where packing is asked for.

The trainer of the method prepares the model, its adapters and the tokens, as in pair-wise training. What differs is the
step: its rows, over all processes, are laid into packs; each pack gives its part of the loss; the parts add up to the
mean over the rows.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers.trainer_utils import EvalLoopOutput

from cso_train.config import WITH_REFERENCE, TrainConfig
from cso_train.data import Row
from cso_train.errors import RunError, TrainDataError
from cso_train.packing.attention import MaskMaker, check_packable
from cso_train.packing.forward import Pack, add_tree_head, make_pack
from cso_train.packing.losses import Metrics, Scores, Totals, packed_loss
from cso_train.packing.plan import Planner, StepPlan
from cso_train.packing.reference import Table, fingerprint, load_table, replies_of, save_table
from cso_train.packing.rows import PackedRow, Reply, packed_apart, packed_rows

if TYPE_CHECKING:
    from peft import PeftModel


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


class StepSampler:
    """The steps of an epoch, as (epoch, number of the step)."""

    def __init__(self, steps: int) -> None:
        self.steps, self.epoch = steps, 0
        self.batch_size, self.drop_last = 1, False

    def set_epoch(self, epoch: int) -> None:
        """Draw the rows of this epoch from now on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter([[(self.epoch, number)] for number in range(self.steps)])

    def __len__(self) -> int:
        return self.steps


class StepDataset(Dataset[StepPlan]):
    """The plans of all steps; looked up by (epoch, number)."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._orders: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._planner.rows)

    def __getitem__(self, index: tuple[int, int]) -> StepPlan:
        epoch, number = index
        if epoch not in self._orders:
            self._orders = {epoch: self._planner.order(epoch)}
        return self._planner.step(self._orders[epoch], number)


def _only(plans: list[StepPlan]) -> dict[str, Any]:
    """A step's plan as the trainer's loop passes it on."""
    return {"plan": plans[0]}


class TreePacked:
    """Comes before a TRL trainer in a class's bases, and makes its steps on trees."""

    def __init__(self, *args: Any, packing: PackingSetup, **options: Any) -> None:
        self._setup = packing
        super().__init__(*args, **options)
        trainer: Any = self
        bare = _bare(trainer.model)
        check_packable(bare.config.model_type)
        add_tree_head(bare)
        self._masks = MaskMaker(bare.config, bare.dtype)
        self._parts = {"train": self._read(trainer.train_dataset, packing.train)}
        if packing.evaluation is not None:
            self._parts["eval"] = self._read(trainer.eval_dataset, packing.evaluation)
        self.apart = packed_apart(self._parts["train"], packing.train)
        self._table: Table | None = None
        self._sums: dict[str, dict[str, list[float]]] = {}  # by part: what was added up since the last log

    def _read(self, dataset: Any, source: Sequence[Row]) -> list[PackedRow]:
        if len(dataset) != len(source):
            dropped = len(source) - len(dataset)
            raise TrainDataError(f"{dropped} rows have nothing left to train on; raise max_length", field="max_length")
        config = self._setup.config
        return packed_rows(config.method, dataset, source, config.max_length)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Leave the data set as it is: the reference is computed on trees, at the first step."""
        return dataset

    # -- what the trainer's loop asks for ----------------------------------------------------------------------

    def _planner(self, part: str) -> Planner:
        trainer, config = self._trainer, self._setup.config
        return Planner(
            self._parts[part],
            config.batch_size,
            config.pack_tokens,
            config.sampler if part == "train" else "dialogues",
            config.seed,
            trainer.accelerator.num_processes,
            trainer.accelerator.process_index,
        )

    @property
    def _trainer(self) -> Any:
        return self

    def get_train_dataloader(self) -> Any:
        """Plans of the steps, the same in every process but for its own packs."""
        planner = self._planner("train")
        return _Loader(StepDataset(planner), batch_sampler=StepSampler(planner.steps), collate_fn=_only)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Plans of the evaluation's steps."""
        planner = self._planner("eval")
        return _Loader(StepDataset(planner), batch_sampler=StepSampler(planner.steps), collate_fn=_only)

    def floating_point_ops(self, inputs: Any) -> int:
        """Of the last step: six for every parameter and token."""
        return 6 * self._step_tokens * self._parameters

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One optimiser step's passes over this process's packs."""
        trainer, plan = self._trainer, inputs["plan"]
        self._ensure_reference()
        model.train()
        self._step_tokens = 0
        totals = self._totals("train", plan)
        whole = torch.zeros((), device=trainer.accelerator.device)
        for number, rows in enumerate(plan.packs):
            last = number == len(plan.packs) - 1
            trainer.accelerator.gradient_state._set_sync_gradients(last)
            waits = (
                contextlib.nullcontext() if last or trainer.is_deepspeed_enabled else trainer.accelerator.no_sync(model)
            )
            with waits:
                with trainer.compute_loss_context_manager():
                    loss = self._part_of_loss("train", model, rows, totals) * trainer.accelerator.num_processes
                options = {"scale_wrt_gas": False} if trainer.is_deepspeed_enabled else {}
                trainer.accelerator.backward(loss, **options)
            whole += loss.detach()
        return whole

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The mean loss over the rows held out, and its metrics."""
        trainer = self._trainer
        model = trainer.model_wrapped if trainer.is_in_train else trainer.accelerator.prepare_model(trainer.model)
        self._ensure_reference()
        model.eval()
        loss, rows = torch.zeros((), device=trainer.accelerator.device), 0
        for inputs in dataloader:
            plan = inputs["plan"]
            with torch.no_grad(), trainer.compute_loss_context_manager():
                totals = self._totals("eval", plan)
                for pack in plan.packs:
                    loss += self._part_of_loss("eval", model, pack, totals) * len(plan.rows)
            rows += len(plan.rows)
        mean = float(trainer.accelerator.reduce(loss, "sum")) / rows
        return EvalLoopOutput(
            predictions=np.empty(0), label_ids=None, metrics={f"{metric_key_prefix}_loss": mean}, num_samples=rows
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the packs' metrics came to since the last time."""
        part = "train" if self._trainer.model.training else "eval"
        prefix = "" if part == "train" else "eval_"
        logs.update({f"{prefix}{name}": value for name, value in self._metrics_of(part).items()})
        super().log(logs, start_time)  # type: ignore[misc]

    # -- one pack ----------------------------------------------------------------------------------------------

    def _pack(self, replies: Sequence[Reply]) -> Pack:
        return make_pack(replies, self._masks, self._trainer.accelerator.device)

    def _part_of_loss(self, part: str, model: Any, indices: Sequence[int], totals: Totals) -> torch.Tensor:
        """A pack's part of the step's loss; nothing, but of the same graph, for an empty one."""
        rows = [self._parts[part][index] for index in indices]
        if not rows:
            first = self._parts[part][0].replies[0]
            return self._pack([Reply(first.ids[:2], np.array([1]))]).sums(model).sum() * 0.0
        pack = self._pack([reply for row in rows for reply in row.replies])
        shape = (len(rows), len(rows[0].replies))
        device = pack.counts.device
        reference = None if self._table is None else self._table[part][list(indices)].to(device)
        labels = None if rows[0].label is None else torch.tensor([bool(row.label) for row in rows], device=device)
        scores = Scores(pack.sums(model).view(shape), pack.counts.view(shape), reference, labels)
        loss, metrics = packed_loss(self._setup.config, scores, totals)
        self._note(part, metrics, rows, pack)
        return loss

    def _note(self, part: str, metrics: Metrics, rows: Sequence[PackedRow], pack: Pack) -> None:
        for name, (value, count) in metrics.items():
            self._add(part, name, float(value), count)
        self._add(part, "tokens/packed", pack.tokens)
        self._add(part, "tokens/pairwise", sum(len(reply.ids) for row in rows for reply in row.replies[:2]))
        self._step_tokens += pack.tokens

    def _add(self, part: str, name: str, value: float, count: int = 1) -> None:
        noted = self._sums.setdefault(part, defaultdict(_pair))[name]
        noted[0] += value
        noted[1] += count

    def _metrics_of(self, part: str) -> dict[str, float]:
        """Means over all processes since the last time; tokens are counted."""
        names = _METRICS[self._setup.config.method]
        noted = self._sums.pop(part, None)
        if noted is None:  # the same in every process: a step notes something even where its packs are empty
            return {}
        device = self._trainer.accelerator.device
        values = torch.tensor([noted[name] for name in names], device=device)
        values = self._trainer.accelerator.reduce(values, "sum")
        found = {}
        for name, (value, count) in zip(names, values.tolist(), strict=True):
            if name.startswith("tokens/"):
                found[name] = value
            elif count:
                found[name] = value / count
        return found

    # -- what a step's packs have in common --------------------------------------------------------------------

    def _totals(self, part: str, plan: StepPlan) -> Totals:
        rows = [self._parts[part][index] for index in plan.rows]
        tokens = sum(len(reply.scored) for row in rows for reply in row.replies)
        divergence = self._divergence(part, plan) if plan.mismatched else None
        self._add(part, "kl", 0.0 if divergence is None else float(divergence), 1)
        return Totals(len(rows), tokens, divergence)

    def _divergence(self, part: str, plan: StepPlan) -> torch.Tensor:
        """Kto's estimate of the KL divergence: the mean log-ratio of the step's mismatched replies, 0 or more."""
        trainer = self._trainer
        total = torch.zeros((), device=trainer.accelerator.device)
        for indices in plan.mismatched:
            found = self._scored(part, indices, mismatched=True)[:, 0]
            if indices and self._table is not None:
                total += (found - self._table[f"{part}.mismatched"][list(indices), 0].to(total.device)).sum()
        mean: torch.Tensor = trainer.accelerator.reduce(total, "sum") / len(plan.rows)
        return mean.clamp(min=0)

    def _scored(self, part: str, indices: Sequence[int], *, mismatched: bool = False) -> torch.Tensor:
        """Sums of a pack's replies without gradients, shape (rows, replies)."""
        rows = [self._parts[part][index] for index in indices] or self._parts[part][:1]
        replies = [replies_of(row, mismatched=mismatched) for row in rows]
        pack = self._pack([reply for each in replies for reply in each])
        trainer = self._trainer
        trains = trainer.model.training
        trainer.model.eval()  # gradients are not asked for, and so no checkpointing of activations
        with torch.no_grad(), trainer.compute_loss_context_manager():
            sums = pack.sums(trainer.model)
        trainer.model.train(trains)
        return sums.view(len(rows), -1)

    # -- the reference -----------------------------------------------------------------------------------------

    def _ensure_reference(self) -> None:
        """Have the reference's log-probabilities: from the file, or computed now, before the first step."""
        config, trainer = self._setup.config, self._trainer
        if config.method not in WITH_REFERENCE or self._table is not None:
            return
        key = fingerprint(self._parts, f"{config.model} {config.revision} {self._masks.dtype}")
        path = self._setup.table
        self._table = None if path is None else load_table(path, key)
        if self._table is not None:
            return
        if trainer.state.global_step and not config.lora:
            message = "the reference's log-probabilities are gone, and the model is no longer what it was; --restart"
            raise RunError(message, folder=trainer.args.output_dir)
        self._table = {name: values.cpu() for name, values in self._computed().items()}
        if path is not None and trainer.is_world_process_zero():
            save_table(path, self._table, key)

    def _computed(self) -> dict[str, torch.Tensor]:
        """The table, each process computing its packs."""
        trainer = self._trainer
        found = {}
        with _without_adapters(trainer):
            for part, rows in self._parts.items():
                for mismatched in (False, True) if rows[0].mismatched is not None else (False,):
                    width = len(replies_of(rows[0], mismatched=mismatched))
                    values = torch.zeros(len(rows), width, device=trainer.accelerator.device)
                    for indices in self._planner(part).everything(mismatched=mismatched):
                        sums = self._scored(part, indices, mismatched=mismatched)
                        if indices:
                            values[list(indices)] = sums
                    name = f"{part}.mismatched" if mismatched else part
                    found[name] = trainer.accelerator.reduce(values, "sum")
        return found

    _step_tokens = 0

    @property
    def _parameters(self) -> int:
        return sum(each.numel() for each in self._trainer.model.parameters())


class _Loader(DataLoader[StepPlan]):
    """A loader that tells its sampler which epoch it is."""

    def set_epoch(self, epoch: int) -> None:
        """As the trainer's loop calls it."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


def _pair() -> list[float]:
    return [0.0, 0.0]


def _bare(model: Any) -> Any:
    """The model without its adapters' wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextlib.contextmanager
def _without_adapters(trainer: Any) -> Iterator[None]:
    model: PeftModel | Any = trainer.accelerator.unwrap_model(trainer.model)
    if not hasattr(model, "disable_adapter"):
        yield
        return
    with model.disable_adapter():
        yield


_PREFERENCES = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")
_LOGPS = ("logps/chosen", "logps/rejected")
_TOKENS = ("tokens/packed", "tokens/pairwise")
_METRICS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("dpo", "ipo", "simpo", "orpo"), (*_PREFERENCES, *_LOGPS, *_TOKENS)),
    "kto": ("rewards/chosen", "rewards/rejected", "kl", *_LOGPS, *_TOKENS),
    "sft": _TOKENS,
}
