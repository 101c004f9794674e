"""Attention of a piece of a tree to itself and to the path before it, for any model whose attention is exchangeable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import torch
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

TREE_PATH = "tree_path"
"""The name that transformers knows this attention by."""

States: TypeAlias = "dict[int, tuple[torch.Tensor, torch.Tensor]]"
"""Keys and values of tokens by layer, or gradients of both, each of shape (1, heads, tokens, width)."""

_CHUNK = 256  # tokens whose attention is computed together


@dataclass
class PathPass:
    """What the attention of one forward pass needs beside queries, keys and values of a piece.

    :param before: keys and values of the path before the piece; empty without one.
    :param seen: who attends to whom, by the identity of the mask that the model is given; rows are the piece's tokens,
        columns the path's and then the piece's.
    :param kept: places, among path and piece, of the tokens whose keys and values are wanted; None for no token.
    :param places: places in the piece of the tokens that later pieces saw; None for no token.
    :param sent: gradients of these tokens' keys and values.
    :param eager: whether scores are computed by the model's own code, for soft-capping or attention sinks.
    :ivar after: keys and values of ``kept``.
    :ivar layers: that were computed.
    """

    before: States
    seen: dict[int, torch.Tensor]
    kept: torch.Tensor | None = None
    places: torch.Tensor | None = None
    sent: States = field(default_factory=dict)
    eager: bool = False
    after: States = field(default_factory=dict)
    layers: set[int] = field(default_factory=set)
    _additive: dict[tuple[int, int], list[tuple[int, torch.Tensor]]] = field(default_factory=dict)

    def joined(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the path and the piece in a layer."""
        self.layers.add(layer)
        if self.places is not None:
            sent_key, sent_value = self.sent[layer]
            send: Any = _Sent.apply
            key, value = send(key, self.places, sent_key), send(value, self.places, sent_value)
        if layer in self.before:
            old_key, old_value = self.before[layer]
            key, value = torch.cat([old_key, key], 2), torch.cat([old_value, value], 2)
        if self.kept is not None:
            self.after[layer] = (key.index_select(2, self.kept), value.index_select(2, self.kept))
        return key, value

    def chunks(self, mask: torch.Tensor, groups: int, dtype: torch.dtype) -> list[tuple[int, torch.Tensor]]:
        """The mask for chunks of queries: (first query, additive mask of shape (1, 1, groups * queries, keys)).

        Heads that share keys stand one after the other, as queries of one head. All layers have the same tensors.
        """
        if (made := self._additive.get((id(mask), groups))) is None:
            seen = self.seen[id(mask)]
            path = seen.shape[1] - len(seen)
            made = []
            for first in range(0, len(seen), _CHUNK):
                own = seen[first : first + _CHUNK, : path + min(first + _CHUNK, len(seen))]
                made.append((first, _additive(own, dtype).repeat(groups, 1)[None, None]))
            self._additive[id(mask), groups] = made
        return made

    def whole(self, mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The additive mask of all queries, shape (1, 1, queries, keys)."""
        made = self._additive.setdefault((id(mask), 0), [])
        if not made:
            made.append((0, _additive(self.seen[id(mask)], dtype)[None, None]))
        return made[0][1]


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


class _Sent(torch.autograd.Function):
    """Nothing on the way forward; on the way back, adds the gradients that later pieces send."""

    @staticmethod
    def forward(context: Any, states: torch.Tensor, places: torch.Tensor, sent: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(places, sent)
        return states.view_as(states)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = gradients
        places, sent = context.saved_tensors
        wide = gradient.to(sent.dtype).index_add(2, places, sent)
        return wide.to(gradient.dtype), None, None


def _path_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    path: PathPass | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls an attention.

    :raises RuntimeError: where transformers hands on other things than it was given.
    """
    if path is None or id(attention_mask) not in path.seen:
        raise RuntimeError("transformers no longer hands on the mask and the path; packing_memory: pack works")
    key, value = path.joined(module.layer_idx, key, value)
    if path.eager:
        return _eager(module, query, key, value, attention_mask, path, scaling=scaling, **options), None
    groups, found = query.shape[1] // key.shape[1], []
    for first, mask in path.chunks(attention_mask, groups, query.dtype):
        part = query[:, :, first : first + mask.shape[2] // groups]
        last = mask.shape[3]
        folded = part.reshape(1, key.shape[1], mask.shape[2], part.shape[3])
        out = torch.nn.functional.scaled_dot_product_attention(
            folded, key[:, :, :last], value[:, :, :last], mask, scale=scaling
        )
        found.append(out.reshape(1, query.shape[1], part.shape[2], value.shape[3]))
    return torch.cat(found, 2).transpose(1, 2).contiguous(), None


def _eager(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    path: PathPass,
    **options: Any,
) -> torch.Tensor:
    """The attention of the model's own code. Its scores of all heads are computed again on the way back."""
    own: Any = sys.modules[type(module).__module__]
    given = partial(own.eager_attention_forward, module, **{**options, "dropout": 0.0})
    additive = path.whole(mask, query.dtype)

    def attend(*states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = given(*states, additive)[0]
        return found

    if torch.is_grad_enabled():
        again: torch.Tensor = checkpoint(attend, query, key, value, use_reentrant=False)
        return again
    return attend(query, key, value)


@contextmanager
def path_attention(model: Any) -> Iterator[None]:
    """Have a model's attention be this one."""
    config = model.config
    own = config._attn_implementation
    config._attn_implementation = TREE_PATH
    try:
        yield
    finally:
        config._attn_implementation = own


AttentionInterface.register(TREE_PATH, _path_attention)
