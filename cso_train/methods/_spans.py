"""Where a reply names its strategy, in tokens, so that a loss can weigh it apart from the words that follow."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from cso_train.methods._base import Scores

if TYPE_CHECKING:
    import torch

    from cso_train.methods._base import Span

_NAMED = re.compile(r"\([^()\n]{1,100}\)")
Tokens = Callable[[Mapping[str, Any]], dict[str, Any]]


def named_strategy(text: str) -> str:
    """``(Strategy)`` as a reply begins with it; empty for one that names none."""
    found = _NAMED.match(text)
    return found.group() if found else ""


def reply_tokens(
    prompt: Sequence[Mapping[str, str]], texts: Sequence[str], tokens: Tokens
) -> tuple[list[int], list[list[int]], list[int]]:
    """A prompt and replies to it as tokens, and how many tokens of each reply name its strategy.

    A token that joins the end of the name with what follows is none of them.
    """
    names = list(dict.fromkeys(filter(None, map(named_strategy, texts))))
    said = [*texts, *names]
    found = tokens({"prompt": prompt, "replies": [[{"role": "assistant", "content": text}] for text in said]})
    ids = found["reply_ids"]
    alone = dict(zip(names, ids[len(texts) :], strict=True))
    counts = [_shared(own, alone.get(named_strategy(text), [])) for text, own in zip(texts, ids, strict=False)]
    return found["prompt_ids"], ids[: len(texts)], counts


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def weighted_ratios(scores: Scores, strategy_weight: float, reply_weight: float) -> torch.Tensor:
    """Log-ratios to the reference, those of the strategy's name and of the words after it weighed apart."""
    if strategy_weight == reply_weight:
        return reply_weight * scores.ratios
    named: Span = scores.spans["strategy"]
    return reply_weight * scores.ratios + (strategy_weight - reply_weight) * named.ratios
