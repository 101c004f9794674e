"""Epochs and steps of packed training: which rows make a step, and which of them this process computes, in packs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from cso_train.methods import ReplySet
from cso_train.packing._split import Forest, Unit, packs_fit, split

Sampler: TypeAlias = Literal["pairs", "dialogues"]
"""How rows are drawn: "pairs" shuffles rows, as pair-wise training does; "dialogues" shuffles seed dialogues and takes
the rows of each one after the other, so that a step's rows have most in common."""


Memory: TypeAlias = Literal["auto", "pack", "path"]
"""What bounds the memory of a step: a pack of at most a budget of tokens, or the longest path of the whole step's tree.
"auto" is "path" where a row is longer than a pack, or packs would repeat much."""


@dataclass(frozen=True)
class StepPlan:
    """One optimiser step, as one process sees it.

    :param rows: the step's rows, over all processes.
    :param packs: this process's packs of them; every process has as many, some perhaps empty.
    :param mismatched: its packs of the mismatched replies, for a method with a baseline.
    :param by_path: whether the packs are passed through path by path; then there is one, of any size.
    """

    rows: tuple[int, ...]
    packs: tuple[tuple[int, ...], ...]
    mismatched: tuple[tuple[int, ...], ...] = ()
    by_path: bool = False


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
    :param memory: what bounds the memory of a step.
    """

    rows: Sequence[ReplySet]
    batch_size: int
    budget: int
    sampler: Sampler
    seed: int
    processes: int = 1
    process: int = 0
    memory: Memory = "pack"

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
        forest = self._forest(chosen)
        by_path = self.memory == "path" or (
            self.memory == "auto" and forest is not None and not packs_fit(forest, self.budget)
        )
        packs = self._packs(forest, sys.maxsize if by_path else self.budget)
        return StepPlan(chosen, packs, self._packs(self._forest(chosen, mismatched=True), self.budget), by_path)

    def everything(self, *, mismatched: bool = False) -> tuple[tuple[int, ...], ...]:
        """This process's packs of all rows, with most in common in each: for what is computed once."""
        return self._packs(self._forest(range(len(self.rows)), mismatched=mismatched), self.budget)

    def _forest(self, chosen: Sequence[int], *, mismatched: bool = False) -> Forest | None:
        units = [unit for index in chosen if (unit := _unit(index, self.rows[index], mismatched)) is not None]
        return Forest(units) if units else None

    def _packs(self, forest: Forest | None, budget: int) -> tuple[tuple[int, ...], ...]:
        return () if forest is None else tuple(map(tuple, split(forest, budget, self.processes)[self.process]))


def _unit(index: int, row: ReplySet, mismatched: bool) -> Unit | None:
    if mismatched:
        reply = row.mismatched
        return None if reply is None else Unit(index, (reply.ids,), int(reply.scored[0]))
    return Unit(index, tuple(reply.ids for reply in row.replies), int(row.replies[0].scored[0]))
