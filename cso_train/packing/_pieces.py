"""A tree in pieces, each computed after the path that leads to it: what bounds memory by the longest path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cso_train.packing._trie import IntArray, TokenTree

_SLACK = 0.25
"""Share of a piece that it may be shorter for the next one to begin nearer to the root."""


@dataclass(frozen=True)
class Piece:
    """Tokens that follow each other in a tree's depth-first order.

    All that they see before themselves are the ancestors of the first one: every other token that has a descendant
    among them is one of these.

    :param first: index of the first token.
    :param last: index behind the last one.
    :param path: indices of the ancestors of the first token, from the root on.
    """

    first: int
    last: int
    path: IntArray

    @property
    def tokens(self) -> IntArray:
        """Indices of its tokens."""
        return np.arange(self.first, self.last)


def cut_into_pieces(tree: TokenTree, size: int) -> list[Piece]:
    """Cut a tree into pieces of at most ``size`` tokens, in their order.

    Of the places where a piece might end, the one is taken after which the next one's path is shortest: what stands on
    it is kept, and computed again where branches lie between.

    :param size: 1 or more.
    """
    pieces, first = [], 0
    while first < len(tree):
        last = min(first + size, len(tree))
        if last < len(tree):
            earliest = min(last, first + max(1, int(size * (1 - _SLACK))))
            depths = tree.depths[earliest : last + 1]
            last = earliest + len(depths) - 1 - int(np.argmin(depths[::-1]))  # the latest of the shallowest
        pieces.append(Piece(first, last, ancestors(tree, first)))
        first = last
    return pieces


def ancestors(tree: TokenTree, token: int) -> IntArray:
    """Indices of a token's ancestors, from the root on."""
    return np.flatnonzero(tree.ends[:token] > token)


def sees(
    tree: TokenTree, queries: IntArray, keys: IntArray, window: int | None
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Who of some tokens attends to whom of others, shape (queries, keys).

    :param window: as in :func:`~cso_train.packing._trie.tree_mask`.
    """
    seen = (keys[None] <= queries[:, None]) & (queries[:, None] < tree.ends[keys][None])
    if window is not None:
        seen &= tree.depths[queries][:, None] - tree.depths[keys][None] < window
    return seen
