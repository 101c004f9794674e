"""The stack of layers around a model, in the one order that is right.

From the outside in::

    SingleFlight    equal requests in flight make one call
    CachedModel     a reply that is stored costs nothing, not even a budget's call
    BudgetedModel   refuses calls when a budget is spent; its time also covers the waits below
    RetryingModel   the only layer that repeats a call; a retried call is one call to the budget
    LimitedModel    every attempt takes a slot and its part of the minute; no slot is held while a retry waits
    MeteredModel    counts the attempts that really go out
    the model       which makes no attempts of its own
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mctsdialog._arguments import checked
from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, ModelLayer, ReasoningEffort
from mctsdialog.llm.layers._budget import Budget, BudgetedModel
from mctsdialog.llm.layers._cache import CachedModel, ResponseCache
from mctsdialog.llm.layers._limits import LimitedModel, Limits
from mctsdialog.llm.layers._meter import Meter, MeteredModel
from mctsdialog.llm.layers._retry import Retry, RetryingModel
from mctsdialog.llm.layers._singleflight import SingleFlight


@checked()
def build_stack(
    model: ChatModel,
    *,
    cache: ResponseCache | None = None,
    budget: Budget | None = None,
    limits: Limits | None = None,
    retry: Retry | None = Retry(),  # noqa: B008 - frozen
    meter: Meter | None = None,
) -> ChatModel:
    """``model`` with the layers that are asked for, in the module's order.

    :param cache: None for no cache.
    :param budget: None for no budget.
    :param limits: None for no limits.
    :param retry: None for a single attempt.
    :param meter: None for no counting.
    :returns: a model that closes ``model`` when it is closed; it does not close ``cache``.
    """
    if meter is not None:
        model = MeteredModel(model, meter)
    if limits is not None:
        model = LimitedModel(model, limits)
    if retry is not None:
        model = RetryingModel(model, retry)
    if budget is not None:
        model = BudgetedModel(model, budget)
    if cache is not None:
        model = CachedModel(model, cache)
    return SingleFlight(model)


@checked()
class SamplingModel(ModelLayer):
    """Asks with another limit or amount of reasoning than its callers do; it goes around the whole stack.

    :param max_tokens: most tokens in a reply, reasoning included; None leaves the callers'.
    :param reasoning_effort: how much a reasoning model thinks before it answers; None leaves the callers'.
    """

    def __init__(
        self, inner: ChatModel, *, max_tokens: int | None = None, reasoning_effort: ReasoningEffort | None = None
    ) -> None:
        super().__init__(inner)
        given = {"max_tokens": max_tokens, "reasoning_effort": reasoning_effort}
        self._changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request."""
        return await self.inner.complete(replace(request, sampling=replace(request.sampling, **self._changed)))
