"""Token sequences laid into one as a prefix tree: what they begin with alike stands there once.

The tree is laid out depth first, so that a token's descendants follow it without a gap. Two numbers a token then say
everything: its depth is its position id, and where its descendants end says who may attend to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mctsdialog._arguments import checked

IntArray: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenTree:
    """Sequences as one sequence of T tokens, the nodes of their prefix tree in depth-first order.

    :param ids: token ids, shape (T,).
    :param depths: of each token in its sequences, from 0: its position id, shape (T,).
    :param parents: index of the token before it in its sequences; -1 for a first one, shape (T,).
    :param ends: index behind its last descendant, shape (T,). Token q attends to token k where ``k <= q < ends[k]``.
    :param paths: for each sequence, in the order given, the indices of its tokens.
    """

    ids: IntArray
    depths: IntArray
    parents: IntArray
    ends: IntArray
    paths: tuple[IntArray, ...]

    def __len__(self) -> int:
        return len(self.ids)


@checked(items=False)
def token_tree(sequences: Sequence[IntArray]) -> TokenTree:
    """Lay sequences of token ids into one.

    :param sequences: one or more, none of them empty.
    :raises ValueError: for an empty sequence, or none.
    """
    if not sequences or any(len(each) == 0 for each in sequences):
        raise ValueError("a tree is made of one or more sequences, none of them empty")
    keys = [each.tolist() for each in sequences]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    paths: list[IntArray] = [np.empty(0, np.int64)] * len(keys)
    pieces: list[IntArray] = []
    total = 0
    before = before_path = np.empty(0, np.int64)
    closed: list[tuple[IntArray, int]] = []
    for index in order:
        ids = sequences[index]
        shared = common_prefix(before, ids)
        closed.append((before_path[shared:], total))
        path = np.concatenate([before_path[:shared], np.arange(total, total + len(ids) - shared)])
        pieces.append(ids[shared:])
        total += len(ids) - shared
        paths[index] = path
        before, before_path = ids, path
    closed.append((before_path, total))
    ends = np.empty(total, np.int64)
    for tokens, end in closed:
        ends[tokens] = end
    depths, parents = np.empty(total, np.int64), np.empty(total, np.int64)
    for path in paths:
        depths[path] = np.arange(len(path))
        parents[path] = np.concatenate([[-1], path[:-1]])
    return TokenTree(np.concatenate(pieces).astype(np.int64), depths, parents, ends, tuple(paths))


def common_prefix(first: IntArray, second: IntArray) -> int:
    """How many tokens two sequences begin with alike."""
    length = min(len(first), len(second))
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if len(different) else length


def tree_mask(tree: TokenTree, window: int | None = None) -> npt.NDArray[np.bool_]:
    """Who attends to whom: True where the row's token may see the column's, shape (T, T).

    :param window: how many tokens back, itself among them, a token sees at most (sliding-window attention).
    """
    place = np.arange(len(tree))
    seen: npt.NDArray[np.bool_] = (place[None, :] <= place[:, None]) & (place[:, None] < tree.ends[None, :])
    if window is not None:
        seen &= tree.depths[:, None] - tree.depths[None, :] < window
    return seen


def segments(tree: TokenTree) -> tuple[list[tuple[int, ...]], IntArray]:
    """The tree in pieces without a branch, for counting what sequences have in common.

    :returns: for each sequence the pieces on its path; the length of each piece.
    """
    place = np.arange(len(tree))
    children = np.bincount(tree.parents[tree.parents >= 0], minlength=len(tree))
    begins = tree.parents != place - 1
    begins[0] = True
    begins[1:] |= children[:-1] > 1
    for path in tree.paths:  # a sequence ends a piece, so that the next one's is not longer than itself
        if path[-1] + 1 < len(tree):
            begins[path[-1] + 1] = True
    piece = np.cumsum(begins) - 1
    pieces = [tuple(np.unique(piece[path]).tolist()) for path in tree.paths]
    return pieces, np.bincount(piece)
