"""Log-probabilities and gradients of a tree of any size, in the memory of its longest path and one piece.

Twice through the tree. First without gradients, piece by piece in depth-first order, which gives all log-probabilities;
the keys and values of the path to the next piece are kept. Then backwards: the last piece comes first, so that what it
sends to the tokens before it is there when theirs are computed again, now with gradients. Where a branch was left on
the way, the keys and values of its path are computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from cso_train.methods import ReplySet
from cso_train.packing._attention import MaskMaker
from cso_train.packing._forward import TreeInputs, lay_rows, summed, to_device
from cso_train.packing._path_attention import Back, PathPass, PathStates
from cso_train.packing._pieces import Piece, cut_into_pieces, sees
from cso_train.packing._rows import Layout
from cso_train.packing._trie import IntArray


class PathWalk:
    """Passes over the tree of some rows, that give what one pass over the whole would give.

    The weights must not change between the first pass and the last.

    :param rows: one or more.
    :param layout: the columns of :meth:`sums`.
    :param masks: of the model, which has a :class:`~cso_train.packing._forward.TreeHead`.
    :param size: most tokens of a piece, 1 or more.
    """

    def __init__(
        self, rows: Sequence[ReplySet], layout: Layout, masks: MaskMaker, device: torch.device, size: int
    ) -> None:
        self._laid, self._masks, self._size = lay_rows(rows, layout), masks, size
        self._to = partial(to_device, device=device)
        self._picks, self._owners, self.counts = map(self._to, (self._laid.picks, self._laid.owners, self._laid.counts))
        self.pieces = cut_into_pieces(self._laid.tree, size)
        self._parents = self._laid.tree.parents[self._laid.targets]
        self._states = PathStates(max(len(piece.path) + piece.last - piece.first for piece in self.pieces))

    @property
    def tokens(self) -> int:
        """Nodes of the tree."""
        return len(self._laid.tree)

    def sums(self, model: Any) -> torch.Tensor:
        """Sums of the log-probabilities of the scored tokens, in fp32 or better, shape (rows, columns); no gradients.

        :param model: not wrapped, and in evaluation mode: every process has another number of pieces.
        """
        found = []
        with torch.no_grad():
            for piece, after in zip(self.pieces, [*self.pieces[1:], None], strict=True):
                kept = None if after is None else after.path
                found.append(self._pass(model, piece.tokens, kept, self._targets(piece)))
        return summed(torch.cat(found), self._picks, self._owners, self.counts)

    def parts(self, model: Any, bare: Any, weights: torch.Tensor) -> Iterator[Callable[[], torch.Tensor]]:
        """Passes with gradients, one a piece, to be made in this order: call, and send the scalar backward.

        The gradients of all scalars add up to that of ``(weights * sums).sum()``; their values mean nothing.

        :param model: the model or its wrapper, in evaluation mode.
        :param bare: as :meth:`sums` takes it.
        :param weights: derivatives of the loss by the sums, shape (rows, columns).
        """
        by_target = torch.zeros(len(self._laid.targets), dtype=weights.dtype, device=weights.device)
        by_target.index_add_(0, self._picks, weights.flatten()[self._owners])
        for piece in reversed(self.pieces):
            yield partial(self._part, model, bare, piece, by_target)

    def _part(self, model: Any, bare: Any, piece: Piece, weights: torch.Tensor) -> torch.Tensor:
        states = self._states
        self._restore(bare, piece.path)
        shared = int(np.searchsorted(states.sent, piece.first))  # these are on this piece's path, the others in it
        back = Back(piece.last - piece.first, shared, self._to(states.sent[shared:] - piece.first))
        states.sent = piece.path
        targets = self._targets(piece)
        given = weights[targets]
        if not len(given):  # every parameter gets a gradient, if only 0: DDP waits for it
            targets, given = slice(0, 1), weights[:1] * 0.0
        return (self._pass(model, piece.tokens, None, targets, back) * given).sum()

    def _restore(self, bare: Any, path: IntArray) -> None:
        """Have the keys and values of a path, of which the upper part may be there."""
        held = self._states.held
        shared = int(np.isin(path, held, assume_unique=True).sum())
        self._states.held = held[:shared]
        with torch.no_grad():
            for first in range(shared, len(path), self._size):
                last = min(first + self._size, len(path))
                self._pass(bare, path[first:last], path[:last], slice(0, 0))

    def _targets(self, piece: Piece) -> slice:
        """The targets that the states of a piece predict."""
        first, last = np.searchsorted(self._parents, [piece.first, piece.last])
        return slice(int(first), int(last))

    def _pass(
        self,
        model: Any,
        tokens: IntArray,
        kept: IntArray | None,
        targets: slice,
        back: Back | None = None,
    ) -> torch.Tensor:
        """The log-probabilities of targets that some tokens predict, after the path that is held.

        :param kept: tokens whose keys and values are held from then on; None leaves them as they are.
        """
        tree = self._laid.tree
        columns = np.concatenate([self._states.held, tokens])
        masks = {
            kind: (self._to(np.zeros((1, 1, 1, 1), np.bool_)), self._to(sees(tree, tokens, columns, window)))
            for kind, window in self._masks.windows.items()
        }
        path = PathPass(self._states, {id(mask): each for mask, each in masks.values()}, back, self._masks.own_scores)
        parents = self._parents[targets]
        heads, head = np.unique(np.where(np.isin(parents, tokens), parents, tokens[-1]), return_inverse=True)
        found: torch.Tensor = model(
            input_ids=self._to(tree.ids[tokens])[None],
            position_ids=self._to(tree.depths[tokens])[None],
            attention_mask=masks[None][0] if None in masks else {kind: mask for kind, (mask, _) in masks.items()},
            tree=TreeInputs(
                self._to(np.searchsorted(tokens, heads)),
                self._to(head),
                self._to(tree.ids[self._laid.targets[targets]]),
                path=path,
            ),
        )
        if len(path.layers) != (layers := self._masks.config.num_hidden_layers):
            raise RuntimeError(f"{len(path.layers)} of {layers} layers computed attention as was asked for")
        if kept is not None:
            self._states.keep(columns, kept)
        return found
