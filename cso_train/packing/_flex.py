"""FlexAttention over packs of few lengths: compiled once for each, its block masks made in linear time.

Only attention is filled up to a length of the ladder. What fills it sees itself alone and costs a block each; all else
of the model computes the pack's own tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch._dynamo.backends.registry import lookup_backend
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers.integrations.flex_attention import get_flex_attention_lse_kwargs
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from cso_train.packing._trie import IntArray, TokenTree

BLOCK = 128
"""Tokens that FlexAttention skips or computes together."""
_SHORTEST = 512

compiled: list[int] = []
"""For each graph that was compiled, the length that it is for."""


def rung(length: int) -> int:
    """The least length of the ladder, 512 times a power of 2, that holds a pack."""
    found = _SHORTEST
    while found < length:
        found *= 2
    return found


def block_mask(tree: TokenTree, window: int | None, device: torch.device) -> BlockMask:
    """A tree's mask, filled up to a length of the ladder.

    Token q sees token k where ``k <= q < ends[k]``: between two blocks that holds for some where the largest end of the
    keys lies behind the first query, and for all where the least end lies behind the last. With a window, some blocks
    count as partly seen of which nothing is.
    """
    length = rung(len(tree))
    extra = np.arange(len(tree), length)
    ends, depths = np.concatenate([tree.ends, extra + 1]), np.concatenate([tree.depths, np.zeros_like(extra)])
    first = np.arange(0, length, BLOCK)
    key_ends, key_depths = ends.reshape(-1, BLOCK), depths.reshape(-1, BLOCK)
    before = first[None] < first[:, None]
    some = before & (key_ends.max(1)[None] > first[:, None]) | np.eye(len(first), dtype=np.bool_)
    every = before & (key_ends.min(1)[None] >= first[:, None] + BLOCK)
    if window is not None:
        some &= key_depths.min(1)[:, None] - key_depths.max(1)[None] < window
        every &= key_depths.max(1)[:, None] - key_depths.min(1)[None] < window
    wide = length if window is None else window
    partly, wholly = _listed(some & ~every, device), _listed(every, device)
    seen = _seen(*(torch.from_numpy(np.asarray(each)).to(device) for each in (ends, depths, np.int64(wide))))
    return BlockMask.from_kv_blocks(*partly, *wholly, BLOCK_SIZE=BLOCK, mask_mod=seen, seq_lengths=(length, length))


def _seen(ends: torch.Tensor, depths: torch.Tensor, window: torch.Tensor) -> Callable[..., torch.Tensor]:
    """The rule of a mask. All of its parts are tensors, so that one graph serves all masks of a length."""

    def seen(batch: Any, head: Any, query: Any, key: Any) -> torch.Tensor:
        found: torch.Tensor = (key <= query) & (query < ends[key]) & (depths[query] - depths[key] < window)
        return found

    return seen


def _listed(blocks: npt.NDArray[np.bool_], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For each row of blocks how many there are, and their columns, those first."""
    counts: IntArray = blocks.sum(1)
    columns = np.argsort(~blocks, axis=1, kind="stable")
    made = (torch.from_numpy(each.astype(np.int32))[None, None].to(device) for each in (counts, columns))
    return next(made), next(made)


@functools.cache
def _compiled_attention(backend: str) -> Callable[..., Any]:
    """FlexAttention, compiled anew for every length: where lengths are symbols, the kernels are slower."""
    found: Callable[..., Any] = torch.compile(
        _attention, backend=functools.partial(_counted, backend), dynamic=False, fullgraph=True
    )
    return found


def _counted(backend: str, graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
    compiled.append(max(each.shape[2] for each in inputs if isinstance(each, torch.Tensor) and each.dim() == 4))
    return lookup_backend(backend)(graph, inputs)


def _attention(
    query: Any, key: Any, value: Any, mask: BlockMask, scaling: float | None, softcap: float | None, lse: bool
) -> Any:
    def capped(score: Any, batch: Any, head: Any, query: Any, key: Any) -> Any:
        return score if softcap is None else softcap * torch.tanh(score / softcap)

    more: dict[str, Any] = get_flex_attention_lse_kwargs(lse)
    return flex_attention(
        query,
        key,
        value,
        score_mod=None if softcap is None else capped,
        block_mask=mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
        **more,
    )


backend = "inductor"
"""What compiles; a test has another one."""


def tree_flex_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls an attention; for other passes than a pack's, SDPA."""
    if not isinstance(attention_mask, BlockMask):
        given = {**options, "scaling": scaling, "softcap": softcap}
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **given)
        return plain
    heads, length = query.shape[1], query.shape[2]
    if heads & (heads - 1):  # grouped heads must be a power of 2
        key, value = (repeat_kv(each, heads // each.shape[1]) for each in (key, value))
    filled = [_filled(each, attention_mask.seq_lengths[0]) for each in (query, key, value)]
    differentiable = query.device.type != "cpu"  # there it has no backward pass
    with torch.set_grad_enabled(differentiable or torch.is_grad_enabled()):
        if differentiable:  # one graph for passes with gradients and without
            filled = [each if each.requires_grad else each.detach().requires_grad_() for each in filled]
        with torch._dynamo.config.patch(recompile_limit=64):
            found = _compiled_attention(backend)(*filled, attention_mask, scaling, softcap, s_aux is not None)
        if s_aux is not None:
            found, more = found
            lse = getattr(more, "lse", more)
            found = found * torch.sigmoid(lse - s_aux.view(1, -1, 1)).unsqueeze(-1).to(found.dtype)
    if not torch.is_grad_enabled():
        found = found.detach()
    return found[:, :, :length].transpose(1, 2).contiguous(), None


def _filled(states: torch.Tensor, length: int) -> torch.Tensor:
    """States of shape (1, heads, T, width) with zeros behind, always laid out alike: a graph depends on that."""
    batch, heads, own, width = states.shape
    made = states.new_zeros(batch, heads, length, width)
    made[:, :, :own] = states
    return made
