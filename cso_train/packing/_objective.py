"""The loss of a step, from its packs: what a trainer's loop asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from trl.trainer.utils import use_adapter

from cso_train._config import TrainConfig
from cso_train.errors import RunError
from cso_train.methods import Reply, ReplySet, Scores, Span
from cso_train.packing._attention import MaskMaker
from cso_train.packing._forward import make_pack
from cso_train.packing._metrics import TOKENS, MeanMetrics
from cso_train.packing._path import PathWalk
from cso_train.packing._plan import Memory, Planner, StepPlan
from cso_train.packing._reference import Table, fingerprint, load_table, save_table
from cso_train.packing._rows import Layout

PIECES = 16
"""What part of a pack's tokens a piece has that is computed at once, where memory is bounded by a path."""


class Host(Protocol):
    """What packing needs of a trainer; transformers' ``Trainer`` has it."""

    model: Any
    accelerator: Any
    state: Any
    args: Any

    def compute_loss_context_manager(self) -> contextlib.AbstractContextManager[Any]:
        """The number format of a forward pass."""
        ...

    def is_world_process_zero(self) -> bool:
        """Whether this process writes files."""
        ...


@dataclass(frozen=True)
class Totals:
    """What the packs of a step share, over all processes.

    :param divisor: of the losses' sum: the step's rows or scored tokens, as the method says.
    :param baseline: of the method, where it has one.
    """

    divisor: int
    baseline: torch.Tensor | None = None


class PackedObjective:
    """The method's loss, its reference and its metrics, computed on packs.

    :param host: the trainer.
    :param config: resolved settings.
    :param rows: the rows by part of the data: "train", and "eval" where there are some.
    :param masks: of the host's model, which has a :class:`~cso_train.packing._forward.TreeHead`.
    :param file: where the reference's log-probabilities are kept; None keeps them in memory alone.
    :param memory: what bounds the memory of a step.
    """

    def __init__(
        self,
        host: Host,
        config: TrainConfig,
        rows: dict[str, list[ReplySet]],
        masks: MaskMaker,
        file: Path | None,
        memory: Memory = "pack",
    ) -> None:
        self.host, self.config, self.rows, self.masks = host, config, rows, masks
        self.method, self.memory = config.build_method(), memory
        self.layout = Layout.of([row for each in rows.values() for row in each])
        self.table: Table | None = None
        self.tokens = 0  # of the packs since it was set to 0
        self._file, self._metrics = file, MeanMetrics()

    def planner(self, part: str) -> Planner:
        """The steps of a part, as this process sees them."""
        config, accelerator = self.config, self.host.accelerator
        return Planner(
            self.rows[part],
            config.batch_size,
            config.pack_tokens,
            config.sampler if part == "train" else "dialogues",
            config.seed,
            accelerator.num_processes,
            accelerator.process_index,
            self.memory,
        )

    def totals(self, part: str, plan: StepPlan) -> Totals:
        """What the packs of a step share."""
        rows = [self.rows[part][index] for index in plan.rows]
        tokens = sum(len(reply.scored) for row in rows for reply in row.replies)
        divisor = len(rows) if self.method.mean_over == "turns" else tokens
        self._metrics.add(part, TOKENS[0], 0.0)  # so that all processes log, even one whose packs are empty
        if not plan.mismatched:
            return Totals(divisor)
        baseline = self._baseline(part, plan)
        if (name := self.method.baseline_metric) is not None:
            self._metrics.add(part, name, float(baseline))
        return Totals(divisor, baseline)

    def part_of_loss(self, part: str, model: Any, indices: Sequence[int], totals: Totals) -> torch.Tensor:
        """A pack's part of the step's loss; nothing, but of the same graph, for an empty one."""
        rows, layout, device = self._chosen(part, indices), self.layout, self.host.accelerator.device
        if not rows:
            first = self.rows[part][0].replies[0]
            empty = [ReplySet((Reply(first.ids[:2], np.array([1])),))]
            return make_pack(empty, Layout(1), self.masks, device).sums(model).sum() * 0.0
        pack = make_pack(rows, layout, self.masks, device)
        loss = self._loss(part, indices, pack.sums(model), pack.counts, totals)
        self._count_tokens(part, rows, pack.tokens)
        return loss

    def _loss(
        self, part: str, indices: Sequence[int], sums: torch.Tensor, counts: torch.Tensor, totals: Totals
    ) -> torch.Tensor:
        """The part of the step's loss that is of these rows, from the sums of their log-probabilities."""
        reference = None if self.table is None else self.table[part][list(indices)].to(sums.device)
        scores = _scores(self.layout, self._chosen(part, indices), sums, counts, reference, totals.baseline)
        losses, metrics = self.method.loss(scores)
        for name, (value, count) in metrics.items():
            self._metrics.add(part, name, float(value), count)
        return losses.sum() / totals.divisor

    def _count_tokens(self, part: str, rows: Sequence[ReplySet], packed: int) -> None:
        pairwise = sum(len(reply.ids) for row in rows for reply in row.replies)
        for name, count in zip(TOKENS, (packed, pairwise), strict=True):
            self._metrics.add(part, name, count)
        self.tokens += packed

    def passes(self, part: str, model: Any, plan: StepPlan) -> list[Callable[[], torch.Tensor]]:
        """This process's passes of a step that trains, to be made in this order: call, and send the scalar backward.

        :param model: the host's model or its wrapper.
        :returns: callables; the scalars add up to this process's part of the loss, and so do their gradients.
        """
        totals = self.totals(part, plan)
        if not plan.by_path:
            return [partial(self.part_of_loss, part, model, rows, totals) for rows in plan.packs]
        found = [each for rows in plan.packs for each in self._passes_by_path(part, model, rows, totals)]
        if not self._same_number:
            return found
        counts = self.host.accelerator.gather(torch.tensor([len(found)], device=self.host.accelerator.device))
        idle = partial(self.part_of_loss, part, model, (), totals)
        return [idle] * (int(counts.max()) - len(found)) + found

    def evaluated(self, part: str, model: Any, plan: StepPlan) -> torch.Tensor:
        """This process's part of the loss of a step that does not train; call it without gradients."""
        totals = self.totals(part, plan)
        if not plan.by_path:
            return sum((self.part_of_loss(part, model, rows, totals) for rows in plan.packs), self._nothing())
        return sum((self._by_path(part, rows, totals)[1] for rows in plan.packs if rows), self._nothing())

    def _nothing(self) -> torch.Tensor:
        return torch.zeros((), device=self.host.accelerator.device)

    def _by_path(
        self, part: str, indices: Sequence[int], totals: Totals
    ) -> tuple[PathWalk, torch.Tensor, torch.Tensor]:
        """A walk through rows, their part of the loss, and its derivatives by the sums of the log-probabilities."""
        rows, size = self._chosen(part, indices), max(1, self.config.pack_tokens // PIECES)
        walk = PathWalk(rows, self.layout, self.masks, self.host.accelerator.device, size)
        with self.evaluating():
            sums = walk.sums(self.host.model)
        with torch.enable_grad():
            sums.requires_grad_()
            loss = self._loss(part, indices, sums, walk.counts, totals)
            (weights,) = torch.autograd.grad(loss, sums)
        self._count_tokens(part, rows, walk.tokens)
        return walk, loss.detach(), weights

    def _passes_by_path(
        self, part: str, model: Any, indices: Sequence[int], totals: Totals
    ) -> Iterable[Callable[[], torch.Tensor]]:
        """The loss and its derivatives by the log-probabilities now, and then passes that send them backward."""
        if not indices:
            return [partial(self.part_of_loss, part, model, indices, totals)]
        walk, loss, weights = self._by_path(part, indices, totals)

        def valued(number: int, send: Callable[[], torch.Tensor]) -> torch.Tensor:
            with self.evaluating():  # nothing is dropped out, and the pieces themselves are computed again
                surrogate = send()
            return surrogate - surrogate.detach() + (loss if number == 0 else 0.0)

        return [partial(valued, *each) for each in enumerate(walk.parts(model, self.host.model, weights))]

    @property
    def _same_number(self) -> bool:
        """Whether all processes have to make as many passes: DeepSpeed reduces gradients in each."""
        accelerator = self.host.accelerator
        return bool(accelerator.num_processes > 1 and accelerator.distributed_type == "DEEPSPEED")

    def first_rows(self, part: str, plan: StepPlan) -> list[ReplySet]:
        """The rows of this process's first pack of a step, as far as a pack holds them; any row where it has none."""
        rows = self._chosen(part, plan.packs[0]) if plan.packs else []
        tokens = np.cumsum([sum(len(reply.ids) for reply in row.replies) for row in rows])
        taken = rows if not plan.by_path else rows[: max(1, int(np.searchsorted(tokens, self.config.pack_tokens)))]
        return taken or self.rows[part][:1]

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model in evaluation mode: no dropout, and no checkpointing of activations layer by layer."""
        model = self.host.model
        trains = model.training
        model.eval()
        try:
            with self.host.compute_loss_context_manager():
                yield
        finally:
            model.train(trains)

    def logs(self, part: str) -> dict[str, float]:
        """What was logged of a part since the last time, over all processes."""
        return self._metrics.take(part, (*self.method.metrics, *TOKENS), self.host.accelerator)

    def ensure_reference(self) -> None:
        """Have the reference's log-probabilities: from the file, or computed now, before the first step."""
        config, host = self.config, self.host
        if not self.method.reference or self.table is not None:
            return
        key = fingerprint(self.rows, f"{config.model} {config.revision} {self.masks.dtype}")
        self.table = None if self._file is None else load_table(self._file, key)
        if self.table is not None:
            return
        if host.state.global_step and not config.lora:
            message = "the reference's log-probabilities are gone, and the model is no longer what it was; --restart"
            raise RunError(message, folder=host.args.output_dir)
        self.table = {name: values.cpu() for name, values in self._reference().items()}
        if self._file is not None and host.is_world_process_zero():
            save_table(self._file, self.table, key)

    def _reference(self) -> dict[str, torch.Tensor]:
        """The table, each process computing its packs."""
        accelerator, found = self.host.accelerator, {}
        with _without_adapters(accelerator.unwrap_model(self.host.model)):
            for part, rows in self.rows.items():
                for mismatched in (False, True) if rows[0].mismatched is not None else (False,):
                    columns = 1 if mismatched else self.layout.columns
                    values = torch.zeros(len(rows), columns, device=accelerator.device)
                    for indices in self.planner(part).everything(mismatched=mismatched):
                        sums = self._sums(part, indices, mismatched=mismatched)
                        if indices:
                            values[list(indices)] = sums
                    name = f"{part}.mismatched" if mismatched else part
                    found[name] = accelerator.reduce(values, "sum")
        return found

    def _baseline(self, part: str, plan: StepPlan) -> torch.Tensor:
        """The method's baseline from the mean log-ratio of the step's mismatched replies."""
        accelerator = self.host.accelerator
        total = torch.zeros((), device=accelerator.device)
        for indices in plan.mismatched:
            found = self._sums(part, indices, mismatched=True)[:, 0]
            if indices and self.table is not None:
                total += (found - self.table[f"{part}.mismatched"][list(indices), 0].to(total.device)).sum()
        return self.method.baseline(accelerator.reduce(total, "sum") / len(plan.rows))

    def _sums(self, part: str, indices: Sequence[int], *, mismatched: bool = False) -> torch.Tensor:
        """Sums of a pack without gradients, shape (rows, columns)."""
        host, rows, layout = self.host, self._chosen(part, indices) or self.rows[part][:1], self.layout
        if mismatched:
            rows, layout = [ReplySet((row.mismatched,)) for row in rows if row.mismatched is not None], Layout(1)
        pack = make_pack(rows, layout, self.masks, host.accelerator.device)
        with torch.no_grad(), self.evaluating():
            return pack.sums(host.model)

    def _chosen(self, part: str, indices: Sequence[int]) -> list[ReplySet]:
        return [self.rows[part][index] for index in indices]


def _scores(
    layout: Layout,
    rows: Sequence[ReplySet],
    sums: torch.Tensor,
    counts: torch.Tensor,
    reference: torch.Tensor | None,
    baseline: torch.Tensor | None,
) -> Scores:
    """What a loss sees of a pass over rows; the pass gives columns as the layout has them."""

    def part(span: str | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        own = layout.columns_of(span)
        return sums[:, own], counts[:, own], None if reference is None else reference[:, own]

    def padded(given: list[tuple[float, ...]]) -> torch.Tensor | None:
        if not all(given):
            return None
        return torch.tensor([[*each, *[0.0] * (layout.replies - len(each))] for each in given], device=sums.device)

    return Scores(
        *part(None),
        spans={name: Span(*part(name)) for name in layout.spans},
        values=padded([row.values for row in rows]),
        weights=padded([row.weights for row in rows]),
        baseline=baseline,
    )


@contextlib.contextmanager
def _without_adapters(model: Any) -> Iterator[None]:
    """The model as it was before training: without adapters, or with TRL's copy of those that the run began with."""
    if not hasattr(model, "disable_adapter"):
        yield
        return
    with use_adapter(model, "ref" if "ref" in model.peft_config else None):
        yield
