"""Counting what a model does, for progress displays and reports."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from mctsdialog._arguments import checked
from mctsdialog.errors import ModelError
from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, ModelLayer, Usage


@dataclass(slots=True)
class Tally:
    """What the calls of one role to one model have cost.

    :param calls: calls that ended.
    :param failures: of them, those that raised, cancelled ones included.
    :param usage: tokens that were billed, those of failed calls included if the server reported them.
    """

    calls: int = 0
    failures: int = 0
    usage: Usage = field(default_factory=Usage)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.calls + other.calls, self.failures + other.failures, self.usage + other.usage)

    def __sub__(self, other: Tally) -> Tally:
        return Tally(self.calls - other.calls, self.failures - other.failures, self.usage - other.usage)


@dataclass(slots=True)
class Meter:
    """Counts of model calls; may be shared by several models.

    :param calls: calls begun.
    :param failures: calls that raised, cancelled ones included.
    :param in_flight: calls in flight.
    :param peak_in_flight: most calls in flight at once.
    :param usage: tokens that were billed, those of failed calls included if the server reported them.
    :param seconds: time in calls, added up over calls at once.
    :param tallies: calls and tokens by role (``ChatRequest.role``) and model.
    """

    calls: int = 0
    failures: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)

    def snapshot(self) -> Meter:
        """A copy that no longer changes."""
        return replace(self, tallies={key: replace(tally) for key, tally in self.tallies.items()})

    def count(self, role: str, model: str, usage: Usage, *, failed: bool) -> None:
        """A call has ended."""
        self.failures += failed
        self.usage += usage
        tally = self.tallies.get((role, model))
        if tally is None:
            tally = self.tallies[role, model] = Tally()
        tally.calls += 1
        tally.failures += failed
        tally.usage += usage


@checked()
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
        usage, failed = Usage(), True
        try:
            completion = await self.inner.complete(request)
            usage, failed = completion.usage, False
        except ModelError as error:
            usage = error.usage or usage
            raise
        finally:
            meter.in_flight -= 1
            meter.seconds += time.monotonic() - started
            meter.count(request.role, self.name, usage, failed=failed)
        return completion
