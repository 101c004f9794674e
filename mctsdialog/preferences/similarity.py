"""Near duplicates by the Jaccard similarity of word shingles, exact, without comparing all with all.

Candidates come from an inverted index over prefixes (Bayardo et al., WWW 2007): two sets of similarity t or more share
one of the rarest elements of each, so that only sets that do are compared.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

Shingles = frozenset[Hashable]


def shingles(text: str, size: int = 3) -> Shingles:
    """The word n-grams of a text, in lower case; a text of fewer words is one shingle."""
    words = text.lower().split()
    if len(words) <= size:
        return frozenset([tuple(words)])
    return frozenset(tuple(words[start : start + size]) for start in range(len(words) - size + 1))


def jaccard(one: Shingles, other: Shingles) -> float:
    """Shared elements over all elements, from 0 to 1; 1 for two empty sets."""
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def near_duplicates(sets: Sequence[Shingles], threshold: float = 0.8) -> list[bool]:
    """For every set, whether another one is as similar as ``threshold`` or more.

    :param threshold: least Jaccard similarity, in (0, 1].
    """
    counts = Counter(sets)
    found = {each for each, count in counts.items() if count > 1}
    frequency = Counter(element for each in counts for element in each)
    index: defaultdict[Hashable, list[Shingles]] = defaultdict(list)
    for each in sorted(counts, key=len):
        for other in _candidates(each, index, frequency, threshold):
            if not (each in found and other in found) and jaccard(each, other) >= threshold:
                found.update((each, other))
    return [each in found for each in sets]


def _candidates(
    each: Shingles, index: dict[Hashable, list[Shingles]], frequency: Counter[Hashable], threshold: float
) -> Iterable[Shingles]:
    """Earlier, not larger sets that may be similar; ``each`` goes into the index."""
    rarest_first = sorted(each, key=lambda element: (frequency[element], repr(element)))
    prefix = rarest_first[: len(each) - math.ceil(threshold * len(each) - 1e-9) + 1]
    candidates: dict[Shingles, None] = {}
    for element in prefix:
        for other in index[element]:
            if len(other) >= threshold * len(each) - 1e-9:
                candidates[other] = None
        index[element].append(each)
    return candidates
