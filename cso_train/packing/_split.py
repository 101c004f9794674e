"""Which rows go into which pack: the cut that repeats least, and packs shared out evenly to processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cso_train.packing._trie import IntArray, TokenTree, segments, token_tree

_PACK = 32
"""What one more pack costs beside its tokens, in tokens."""


_REPEATED = 1.3
"""How many times its tokens a forest may have in packs, for packs to be quicker than passes by path."""


@dataclass(frozen=True)
class Unit:
    """What must stay in one pack: the sequences that one term of a loss looks at.

    :param row: what the caller knows it by.
    :param sequences: token ids, one or more.
    :param branch: index in the first sequence where the sequences of its kind part: where a reply begins.
    """

    row: int
    sequences: tuple[IntArray, ...]
    branch: int


class Forest:
    """Units over their common prefix tree, in the order of the tree: neighbours have most in common."""

    def __init__(self, units: Sequence[Unit]) -> None:
        tree = token_tree([ids for unit in units for ids in unit.sequences])
        pieces, self._lengths = segments(tree)
        counts = [len(unit.sequences) for unit in units]
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        places = [_place(tree, unit, int(start)) for unit, start in zip(units, starts, strict=True)]
        order = sorted(range(len(units)), key=places.__getitem__)
        self.units = [units[index] for index in order]
        self._pieces = [
            frozenset[int]().union(*pieces[starts[index] : starts[index] + counts[index]]) for index in order
        ]

    def tokens(self, first: int, last: int) -> int:
        """Tokens of a pack of the units from ``first`` to before ``last``."""
        return int(sum(self._lengths[piece] for piece in frozenset[int]().union(*self._pieces[first:last])))

    def cut(self, budget: int) -> list[tuple[int, int]]:
        """Cut into packs of at most so many tokens, with the fewest tokens in all. A unit that is longer stands alone.

        :param budget: tokens of a pack.
        :returns: for each pack its first unit and the one after its last, in the order of :attr:`units`.
        """
        count = len(self.units)
        best, cuts = [0.0] + [float("inf")] * count, [0] * (count + 1)
        for last in range(1, count + 1):
            seen: set[int] = set()
            size = 0
            for first in range(last - 1, -1, -1):
                new = self._pieces[first] - seen
                size += int(sum(self._lengths[piece] for piece in new))
                if size > budget and first < last - 1:
                    break
                seen |= new
                if (cost := best[first] + size + _PACK) < best[last]:
                    best[last], cuts[last] = cost, first
        found = []
        while count:
            found.append((cuts[count], count))
            count = cuts[count]
        return found[::-1]


def _place(tree: TokenTree, unit: Unit, first: int) -> tuple[int, int]:
    """Where in the tree a unit hangs: units of one turn are neighbours, turns follow each other."""
    path = tree.paths[first]
    return int(path[max(min(unit.branch, len(path)) - 1, 0)]), int(path[-1])


def packs_fit(forest: Forest, budget: int) -> bool:
    """Whether packs of at most so many tokens hold every unit, and repeat little between them."""
    sizes = [forest.tokens(*cut) for cut in forest.cut(budget)]
    return max(sizes) <= budget and sum(sizes) <= _REPEATED * forest.tokens(0, len(forest.units))


def split(forest: Forest, budget: int, processes: int = 1) -> list[list[list[int]]]:
    """Share units out to processes, in packs.

    :param forest: of one unit or more.
    :param budget: most tokens of a pack; a unit that is longer stands alone.
    :param processes: that compute at the same time, 1 or more.
    :returns: for each process its packs, each a list of ``row``; all have as many packs, some of them perhaps empty.
    """
    whole = forest.tokens(0, len(forest.units))
    budgets = [budget]
    if processes > 1:  # smaller packs are more even, and repeat more: see what ends first
        budgets += [min(budget, max(1, int(share * whole / processes))) for share in (1.2, 1.0, 0.75, 0.5)]
    shares = [_share(forest, cap, processes) for cap in dict.fromkeys(budgets)]
    _, packs = min(shares, key=lambda each: each[0])
    most = max(map(len, packs))
    return [[*mine, *([[]] * (most - len(mine)))] for mine in packs]


def _share(forest: Forest, budget: int, processes: int) -> tuple[int, list[list[list[int]]]]:
    """(tokens of the process with most, its packs and those of the others): the longest pack goes where least is."""
    sized = sorted(((forest.tokens(*cut), cut) for cut in forest.cut(budget)), key=lambda each: (-each[0], each[1]))
    loads, packs = [0] * processes, [list[list[int]]() for _ in range(processes)]
    for size, (first, last) in sized:
        target = loads.index(min(loads))
        loads[target] += size + _PACK
        packs[target].append([unit.row for unit in forest.units[first:last]])
    return max(loads), packs
