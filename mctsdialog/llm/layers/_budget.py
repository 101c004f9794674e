"""Budgets: calls, tokens, money and time that a run may spend."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import anyio

from mctsdialog._arguments import checked
from mctsdialog.errors import BudgetExceededError, ConfigError, ModelError
from mctsdialog.llm.base import (
    ChatModel,
    ChatRequest,
    Completion,
    ModelLayer,
    Usage,
    estimate_prompt_tokens,
    estimate_tokens,
)

_log = logging.getLogger("mctsdialog.llm")


@checked()
@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in any currency, for a million tokens.

    :param input: of prompt, 0 and up.
    :param output: of reply, 0 and up.
    :param cached_input: of prompt that the server had kept; None for the same as ``input``.
    :raises ConfigError: for a negative price.
    """

    input: float
    output: float
    cached_input: float | None = None

    def __post_init__(self) -> None:
        for field in ("input", "output", "cached_input"):
            value = getattr(self, field)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"a price must be 0 or more, not {value}", field=field)


def cost(usage: Usage, price: Price) -> float:
    """What ``usage`` costs at ``price``."""
    cached = price.input if price.cached_input is None else price.cached_input
    fresh = usage.prompt_tokens - usage.cached_tokens
    total = fresh * price.input + usage.cached_tokens * cached + usage.completion_tokens * price.output
    return total / 1_000_000


def price_of(prices: Mapping[str, Price], model: str) -> Price | None:
    """The price of ``model``; a name with a digest of extra parameters ("gpt#1f00aa7c") also has the plain name's."""
    return prices.get(model) or prices.get(model.partition("#")[0])


@dataclass(slots=True)
class Spending:
    """What was spent, or is left.

    :param calls: model calls.
    :param tokens: tokens read and written.
    :param money: in the prices' currency.
    :param seconds: since the first call began.
    """

    calls: float = 0
    tokens: float = 0
    money: float = 0.0
    seconds: float = 0.0


@checked()
class Budget:
    """What may be spent; None leaves a kind unlimited. Shared by all that spend from it.

    A call is refused once a kind is spent. Tokens and money are known when a call ends, so the calls in flight may
    take them over the limit; the number of calls is exact, and time also ends calls in flight.

    :param calls: most model calls, 0 and up. The attempts of one retried call are one call.
    :param tokens: most tokens read and written, 0 and up.
    :param money: most money, 0 and up; needs ``prices`` for every model that is called.
    :param seconds: most seconds from the first call on, 0 and up.
    :param prices: by model name.
    :raises ConfigError: for a negative limit, or money without prices.
    """

    def __init__(
        self,
        *,
        calls: int | None = None,
        tokens: int | None = None,
        money: float | None = None,
        seconds: float | None = None,
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        limits = {"calls": calls, "tokens": tokens, "money": money, "seconds": seconds}
        for kind, limit in limits.items():
            if limit is not None and not 0 <= limit < math.inf:
                raise ConfigError(f"a budget of {kind} must be 0 or more, not {limit}", field=kind)
        if money is not None and not prices:
            raise ConfigError("a budget of money needs prices: --price MODEL=INPUT:OUTPUT, or prices=", field="prices")
        self.limits: dict[str, float] = {kind: limit for kind, limit in limits.items() if limit is not None}
        self._prices = dict(prices or {})
        self._used = Spending()
        self._began: float | None = None
        self._lock = threading.Lock()
        self._estimated = False

    @property
    def prices(self) -> Mapping[str, Price]:
        """By model name."""
        return dict(self._prices)

    @property
    def used(self) -> Spending:
        """A copy of what was spent so far."""
        with self._lock:
            return replace(self._used, seconds=self._seconds())

    @property
    def remaining(self) -> Spending:
        """What is left of each kind, never below 0; infinity if there is no limit."""
        used = self.used
        left = {kind: self.limits.get(kind, math.inf) - getattr(used, kind) for kind in Spending.__slots__}
        return Spending(**{kind: max(0, value) for kind, value in left.items()})

    def _seconds(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began

    def check(self) -> None:
        """Raise if a kind is spent, so that no call may start.

        :raises BudgetExceededError: with the kind.
        """
        used = self.used
        for kind, limit in self.limits.items():
            if getattr(used, kind) >= limit:
                raise BudgetExceededError(kind, limit=limit, used=getattr(used, kind))

    def start(self, model: str) -> None:
        """Reserve one call.

        :raises BudgetExceededError: when a kind is spent.
        :raises ConfigError: when money is limited and ``model`` has no price.
        """
        if "money" in self.limits and price_of(self._prices, model) is None:
            raise ConfigError(
                f"a budget of money needs a price for the model {model!r}: --price, or prices=", field="prices"
            )
        self.check()
        with self._lock:
            if self._used.calls >= self.limits.get("calls", math.inf):  # another thread took the last one
                raise BudgetExceededError("calls", limit=self.limits["calls"], used=self._used.calls)
            self._used.calls += 1
            self._began = time.monotonic() if self._began is None else self._began

    def spend(self, model: str, request: ChatRequest, completion: Completion) -> None:
        """Add the tokens and money of a reply. A server that tells no usage has it estimated, with a warning."""
        usage = completion.usage
        if usage.total_tokens == 0 and not completion.cached:
            usage = Usage(estimate_prompt_tokens(request), estimate_tokens(completion.text))
            if not self._estimated and self.limits.keys() & {"tokens", "money"}:
                self._estimated = True
                _log.warning("%s reports no token usage: the budget uses estimates", model)
        self.spend_usage(model, usage)

    def spend_usage(self, model: str, usage: Usage) -> None:
        """Add tokens, and the money that they cost."""
        price = price_of(self._prices, model)
        with self._lock:
            self._used.tokens += usage.total_tokens
            self._used.money += cost(usage, price) if price is not None else 0.0

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it is shared by all that spend from it

    def __repr__(self) -> str:
        limits = ", ".join(f"{kind}={limit:g}" for kind, limit in self.limits.items())
        return f"Budget({limits})"


@checked()
class BudgetedModel(ModelLayer):
    """Spends from a budget, and refuses calls when it is spent.

    A call that fails counts as a call, with the tokens that were billed for it if the server reported them.
    """

    def __init__(self, inner: ChatModel, budget: Budget) -> None:
        super().__init__(inner)
        self.budget = budget

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request.

        :raises BudgetExceededError: when the budget is spent, or its time ends during the call.
        :raises ConfigError: when money is limited and the model has no price.
        """
        self.budget.start(self.name)
        with anyio.move_on_after(self.budget.remaining.seconds) as scope:
            try:
                completion = await self.inner.complete(request)
            except ModelError as error:
                if error.usage is not None:
                    self.budget.spend_usage(self.name, error.usage)
                raise
        if scope.cancelled_caught:
            raise BudgetExceededError("seconds", limit=self.budget.limits["seconds"], used=self.budget.used.seconds)
        self.budget.spend(self.name, request, completion)
        return completion
