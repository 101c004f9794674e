"""ROUGE-L: the longest common subsequence of two texts' words (Lin, 2004)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from mctsdialog._arguments import checked
from mctsdialog.segments import terms

_MOST_WORDS = 10_000  # what is compared takes time with the square of their number


@checked()
def rouge_l(prediction: str, reference: str) -> float:
    """ROUGE-L's F-measure, from 0 to 1: words case folded, letters and digits alone, no stemming.

    In Chinese, Japanese or Thai each character is a word (see :mod:`mctsdialog.segments`). Of a text of more than
    10,000 words the first 10,000 are compared.
    """
    said, wanted = (terms(text)[:_MOST_WORDS] for text in (prediction, reference))
    if not said or not wanted:
        return 0.0
    common = longest_common_subsequence(said, wanted)
    return 2 * common / (len(said) + len(wanted))


def longest_common_subsequence(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Its length, a row of the table at once in the bits of one number (Hyyrö, 2004)."""
    places: defaultdict[Hashable, int] = defaultdict(int)
    for place, item in enumerate(one):
        places[item] |= 1 << place
    every = (1 << len(one)) - 1
    row = every
    for item in other:
        match = row & places[item]
        row = ((row + match) | (row - match)) & every
    return len(one) - row.bit_count()
