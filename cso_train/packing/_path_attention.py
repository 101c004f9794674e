"""Attention of a piece of a tree to itself and to the path before it, for any model whose attention is exchangeable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

from cso_train.packing._trie import IntArray

TREE_PATH = "tree_path"
"""The name that transformers knows this attention by."""

_CHUNK = 256  # tokens whose attention is computed together


class PathStates:
    """Keys and values of a path by layer, with room behind them for a piece, and the gradients sent to them.

    Memory is taken once and written over: what is joined is never copied, and no pass leaves holes behind.

    :param room: most tokens of a path and the piece after it.
    :ivar held: tokens of the path.
    :ivar sent: tokens that gradients were sent to, the path of the piece that was sent backward last.
    """

    def __init__(self, room: int) -> None:
        self.held = self.sent = np.empty(0, np.int64)
        self._room = room
        self._states: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._gradients: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def join(self, layer: int, own: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
        """Keys and values of the path and, behind them, of a piece; valid until the next piece is joined."""
        first, last = len(self.held), len(self.held) + own[0].shape[2]
        if layer not in self._states:
            self._states[layer] = (self._empty(own[0]), self._empty(own[1]))
        for state, new in zip(self._states[layer], own, strict=True):
            state[:, :, first:last] = new
        return [state[:, :, :last].detach() for state in self._states[layer]]

    def keep(self, tokens: IntArray, kept: IntArray) -> None:
        """Hold some of the path's and the piece's tokens from now on.

        :param tokens: of the path and the piece that was joined last.
        :param kept: those of them that are held, in their order.
        """
        places = np.searchsorted(tokens, kept)
        there = int((places == np.arange(len(places))).sum())
        if there < len(places):
            for state in (each for pair in self._states.values() for each in pair):
                moved = torch.from_numpy(places[there:]).to(state.device)
                state[:, :, there : len(places)] = state.index_select(2, moved)
        self.held = kept

    def send(self, layer: int, back: Back, gradients: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
        """Keep what a piece sends to the path, and give what its own tokens get from it and from later pieces.

        :param gradients: of what :meth:`join` gave.
        """
        path = gradients[0].shape[2] - back.tokens
        if layer not in self._gradients:
            wide = [each.to(torch.promote_types(each.dtype, torch.float32))[:, :, :1] for each in gradients]
            self._gradients[layer] = (self._empty(wide[0]), self._empty(wide[1]))
        found = []
        for sent, gradient in zip(self._gradients[layer], gradients, strict=True):
            own = gradient[:, :, path:].to(sent.dtype)
            if len(back.places):
                own = own.index_add(2, back.places, sent[:, :, back.shared : back.shared + len(back.places)])
            sent[:, :, : back.shared] += gradient[:, :, : back.shared]
            sent[:, :, back.shared : path] = gradient[:, :, back.shared : path]
            found.append(own.to(gradient.dtype))
        return found

    def _empty(self, like: torch.Tensor) -> torch.Tensor:
        _, heads, _, width = like.shape
        return like.new_empty(1, heads, self._room, width)


@dataclass(frozen=True)
class Back:
    """What becomes of the gradients of a piece.

    :param tokens: of the piece.
    :param shared: tokens of the path, from the root on, that the path of the piece before has in common with it, in
        the order in which pieces are sent backward: their gradients are added up.
    :param places: places in the piece of the other tokens of that path: they get the gradients that are there.
    """

    tokens: int
    shared: int
    places: torch.Tensor


@dataclass
class PathPass:
    """What the attention of one forward pass needs beside queries, keys and values of a piece.

    :param states: keys and values of the path before the piece.
    :param seen: who attends to whom, by the identity of the mask that the model is given; rows are the piece's tokens,
        columns the path's and then the piece's.
    :param back: for a pass with gradients.
    :param eager: whether scores are computed by the model's own code, for soft-capping or attention sinks.
    :ivar layers: that were computed.
    """

    states: PathStates
    seen: dict[int, torch.Tensor]
    back: Back | None = None
    eager: bool = False
    layers: set[int] = field(default_factory=set)
    _additive: dict[tuple[int, int], list[tuple[int, torch.Tensor]]] = field(default_factory=dict)

    def joined(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the path and the piece in a layer."""
        self.layers.add(layer)
        join: Any = _Join.apply
        found: tuple[torch.Tensor, torch.Tensor] = join(key, value, self, layer)
        return found

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


class _Join(torch.autograd.Function):
    """Puts the states of a piece behind those of the path."""

    @staticmethod
    def forward(
        context: Any, key: torch.Tensor, value: torch.Tensor, path: PathPass, layer: int
    ) -> tuple[torch.Tensor, ...]:
        context.path, context.layer = path, layer
        return tuple(path.states.join(layer, (key, value)))

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        key, value = gradients
        path: PathPass = context.path
        if path.back is None:
            raise RuntimeError("a pass without gradients is sent backward")
        return (*path.states.send(context.layer, path.back, (key, value)), None, None)


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
