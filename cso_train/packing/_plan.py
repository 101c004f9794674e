"""Epochs and steps of packed training: which rows make a step, and which of them this process computes, in packs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from cso_train.methods import ReplySet
from cso_train.packing._split import Unit, split

Sampler: TypeAlias = Literal["pairs", "dialogues"]
"""How rows are drawn: "pairs" shuffles rows, as pair-wise training does; "dialogues" shuffles seed dialogues and takes
the rows of each one after the other, so that a step's rows have most in common."""


@dataclass(frozen=True)
class StepPlan:
    """One optimiser step, as one process sees it.

    :param rows: the step's rows, over all processes.
    :param packs: this process's packs of them; every process has as many, some perhaps empty.
    :param mismatched: its packs of the mismatched replies, for a method with a baseline.
    """

    rows: tuple[int, ...]
    packs: tuple[tuple[int, ...], ...]
    mismatched: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Planner:
    """Steps, the same in every process, from a seed: a run that goes on needs no state of it.

    :param rows: the training rows.
    :param batch_size: rows of a step over all processes; the last step of an epoch takes what is left.
    :param budget: most tokens of a pack.
    :param sampler: how rows are drawn.
    :param seed: of the order, with the number of the epoch.
    :param processes: that compute together.
    :param process: this one's number.
    """

    rows: Sequence[ReplySet]
    batch_size: int
    budget: int
    sampler: Sampler
    seed: int
    processes: int = 1
    process: int = 0

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.rows) // self.batch_size)

    def order(self, epoch: int) -> list[int]:
        """The rows in the order of an epoch; each once."""
        draw = np.random.default_rng([self.seed, epoch])
        if self.sampler == "pairs":
            return [int(index) for index in draw.permutation(len(self.rows))]
        groups: dict[str, list[int]] = {}
        for index, row in enumerate(self.rows):
            groups.setdefault(row.seed, []).append(index)
        drawn = list(groups.values())
        return [index for number in draw.permutation(len(drawn)) for index in drawn[number]]

    def step(self, order: Sequence[int], number: int) -> StepPlan:
        """A step of an epoch.

        :param order: of :meth:`order`.
        :param number: of the step, from 0.
        """
        chosen = tuple(order[number * self.batch_size : (number + 1) * self.batch_size])
        return StepPlan(chosen, self._packs(chosen), self._packs(chosen, mismatched=True))

    def everything(self, *, mismatched: bool = False) -> tuple[tuple[int, ...], ...]:
        """This process's packs of all rows, with most in common in each: for what is computed once."""
        return self._packs(range(len(self.rows)), mismatched=mismatched)

    def _packs(self, chosen: Sequence[int], *, mismatched: bool = False) -> tuple[tuple[int, ...], ...]:
        units = [unit for index in chosen if (unit := _unit(index, self.rows[index], mismatched)) is not None]
        if not units:
            return ()
        return tuple(map(tuple, split(units, self.budget, self.processes)[self.process]))


def _unit(index: int, row: ReplySet, mismatched: bool) -> Unit | None:
    if mismatched:
        reply = row.mismatched
        return None if reply is None else Unit(index, (reply.ids,), int(reply.scored[0]))
    return Unit(index, tuple(reply.ids for reply in row.replies), int(row.replies[0].scored[0]))
