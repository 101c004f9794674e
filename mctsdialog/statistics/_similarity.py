"""Near duplicates by the Jaccard similarity of word shingles, exact, without comparing all with all.

Candidates come from an inverted index over prefixes (Bayardo et al., WWW 2007): two sets of similarity t or more share
one of the rarest elements of each, so that only sets that do are compared.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from mctsdialog.errors import ConfigError
from mctsdialog.segments import words

Shingles = frozenset[Hashable]


def shingles(text: str, size: int = 3) -> Shingles:
    """The word n-grams of a text, in lower case; a text of fewer words is one shingle."""
    found = words(text.lower())
    if len(found) <= size:
        return frozenset([tuple(found)])
    return frozenset(tuple(found[start : start + size]) for start in range(len(found) - size + 1))


def jaccard(one: Shingles, other: Shingles) -> float:
    """Shared elements over all elements, from 0 to 1; 1 for two empty sets."""
    shared = len(one & other)
    union = len(one) + len(other) - shared
    return shared / union if union else 1.0


def near_duplicates(sets: Sequence[Shingles], threshold: float = 0.8) -> list[bool]:
    """For every set, whether another one is as similar as ``threshold`` or more.

    :param threshold: least Jaccard similarity, in (0, 1].
    :raises ConfigError: for a threshold out of range.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"near duplicates need a threshold above 0, at most 1, not {threshold!r}", field="threshold")
    counts = Counter(sets)
    found = {each for each, count in counts.items() if count > 1}
    frequency = Counter(element for each in counts for element in each)
    index: defaultdict[Hashable, _Shelf] = defaultdict(_Shelf)
    for each in sorted(counts, key=len):
        shelves = [index[element] for element in _prefix(each, frequency, threshold)]
        for shelf in shelves:
            shelf.sort_out(found, threshold * len(each) - _ROUNDING)
        near = [other for other in _once(shelf.single for shelf in shelves) if jaccard(each, other) >= threshold]
        if near:
            found.update((each, *near))
        elif each not in found and _any_near(each, shelves, threshold):
            found.add(each)
        for shelf in shelves:
            (shelf.found if each in found else shelf.single).append(each)
    return [each in found for each in sets]


_ROUNDING = 1e-9  # a candidate too many is compared; one too few would be lost


@dataclass(slots=True)
class _Shelf:
    """Earlier, not larger sets with one element in their prefixes.

    A set that is not found yet is compared with all of ``single``; with those in ``found`` only up to the first that
    is like it. Without the difference many texts all alike would each be compared with every other.
    """

    single: list[Shingles] = field(default_factory=list)
    found: list[Shingles] = field(default_factory=list)

    def sort_out(self, found: Collection[Shingles], least: float) -> None:
        """Move those found since; drop those that are too small for this set and so for all after it."""
        self.found += [each for each in self.single if each in found]
        self.single = [each for each in self.single if len(each) >= least and each not in found]


def _any_near(each: Shingles, shelves: Iterable[_Shelf], threshold: float) -> bool:
    least = threshold * len(each) - _ROUNDING
    candidates = (other for other in _once(shelf.found for shelf in shelves) if len(other) >= least)
    return any(jaccard(each, other) >= threshold for other in candidates)


def _once(groups: Iterable[Iterable[Shingles]]) -> Iterator[Shingles]:
    seen: set[Shingles] = set()
    for each in chain.from_iterable(groups):
        if each not in seen:
            seen.add(each)
            yield each


def _prefix(each: Shingles, frequency: Counter[Hashable], threshold: float) -> list[Hashable]:
    """The rarest elements: a set as similar as the threshold has one of them in its own prefix."""
    rarest_first = sorted(each, key=lambda element: (frequency[element], repr(element)))
    return rarest_first[: len(each) - math.ceil(threshold * len(each) - _ROUNDING) + 1]
