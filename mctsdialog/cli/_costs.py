"""What was spent, in words, and prices as they are typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mctsdialog.corpus import Counts
from mctsdialog.errors import ConfigError
from mctsdialog.llm import Price
from mctsdialog.llm.providers import split_provider
from mctsdialog.text import counted, one_line


def spending_parts(
    counts: Counts, limits: Mapping[str, float], calls_per_second: float | None = None, cache: Sequence[str] = ()
) -> list[str]:
    """What was spent, in parts for a progress line, the most important first.

    :param limits: the budget's, by kind.
    """
    used = {"money": counts.money, "calls": counts.calls, "tokens": counts.tokens}
    of = {kind: f" of {_number(limit)}" for kind, limit in limits.items()}
    money = [f"cost {used['money']:.2f}{of.get('money', '')}"] if counts.money or "money" in limits else []
    pace = [] if calls_per_second is None else [f"{calls_per_second:.1f} calls/s"]
    shown = [kind for kind in ("calls", "tokens") if used[kind] or kind in of]
    rest = [f"{_number(used[kind])}{of.get(kind, '')} {_named(kind, limits.get(kind, used[kind]))}" for kind in shown]
    return [*money, *pace, *cache, *rest]


def _named(kind: str, count: float) -> str:
    return kind[:-1] if count == 1 else kind


def _number(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:.1f}M"
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


def cost_lines(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The costs by role and model (:meth:`~mctsdialog.corpus.Counts.parts`), a line each."""
    lines = []
    for part in parts:
        failed = f" ({part['failed_calls']} failed)" if part["failed_calls"] else ""
        cached = f" ({part['cached_tokens']} cached)" if part["cached_tokens"] else ""
        thought = f" ({part['reasoning_tokens']} reasoning)" if part["reasoning_tokens"] else ""
        money = f"  cost {part['money']:.4f}" if part["money"] is not None else ""
        name = one_line(f"{part['role'] or 'other':<11}{part['model']}")
        tokens = f"{counted(part['prompt_tokens'], 'token')} read{cached}, {part['completion_tokens']} written{thought}"
        lines.append(f"  {name}: {counted(part['calls'], 'call')}{failed}, {tokens}{money}")
    return lines


def parse_prices(values: tuple[str, ...]) -> dict[str, Price]:
    """Prices from ``MODEL=INPUT:OUTPUT[:CACHED]``, money per million tokens.

    :raises ConfigError: for another form.
    """
    prices = {}
    for value in values:
        model, _, numbers = value.rpartition("=")
        try:
            parts = [float(part) for part in numbers.split(":")]
            prices[model] = Price(parts[0], parts[1], *parts[2:3])
            prices.setdefault(split_provider(model)[1], prices[model])  # the name at the server
        except (ValueError, IndexError):
            parts = []
        if not model or not 2 <= len(parts) <= 3:
            raise ConfigError(
                f"a price is MODEL=INPUT:OUTPUT or MODEL=INPUT:OUTPUT:CACHED, not {value!r}", field="price"
            )
    return prices
