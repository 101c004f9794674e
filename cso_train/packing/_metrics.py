"""Means of what packs log, over all processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

TOKENS = ("tokens/packed", "tokens/pairwise")
"""Names of what is counted and not averaged: tokens of the packs, and of the same replies one by one."""


class MeanMetrics:
    """Sums and counts by part of the data and name, since the last log."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, list[float]]] = {}

    def add(self, part: str, name: str, value: float, count: int = 1) -> None:
        """Add a sum of ``count`` values."""
        noted = self._sums.setdefault(part, defaultdict(lambda: [0.0, 0.0]))[name]
        noted[0] += value
        noted[1] += count

    def take(self, part: str, names: Sequence[str], accelerator: Any) -> dict[str, float]:
        """The means over all processes, which start anew.

        :param names: the same in every process, whatever its packs held.
        """
        noted = self._sums.pop(part, None)
        if noted is None:  # the same in every process: a step notes something even where its packs are empty
            return {}
        values = torch.tensor([noted[name] for name in names], device=accelerator.device)
        means = {}
        for name, (value, count) in zip(names, accelerator.reduce(values, "sum").tolist(), strict=True):
            if name in TOKENS:
                means[name] = value
            elif count:
                means[name] = value / count
        return means
