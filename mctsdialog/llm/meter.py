"""Counting what a model does, for progress displays and reports."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, ModelLayer, Usage


@dataclass(slots=True)
class Meter:
    """Counts of model calls; may be shared by several models.

    :param calls: calls begun.
    :param failures: calls that raised, cancelled ones included.
    :param in_flight: calls under way.
    :param peak_in_flight: most calls under way at once.
    :param usage: tokens of the calls that succeeded.
    :param seconds: time in calls, added up over calls at once.
    """

    calls: int = 0
    failures: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    def snapshot(self) -> Meter:
        """A copy that no longer changes."""
        return replace(self)


class MeteredModel(ModelLayer):
    """Counts calls.

    :param meter: where to count; by default a meter of its own.
    """

    def __init__(self, inner: ChatModel, meter: Meter | None = None) -> None:
        super().__init__(inner)
        self.meter = meter if meter is not None else Meter()

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request, and count it."""
        meter, started = self.meter, time.monotonic()
        meter.calls += 1
        meter.in_flight += 1
        meter.peak_in_flight = max(meter.peak_in_flight, meter.in_flight)
        completion = None
        try:
            completion = await self.inner.complete(request)
        finally:
            meter.in_flight -= 1
            meter.seconds += time.monotonic() - started
            if completion is None:
                meter.failures += 1
        meter.usage += completion.usage
        return completion
