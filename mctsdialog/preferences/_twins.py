"""Pairs that teach nothing: both replies the same, or the opposite of another pair."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TypeAlias

from mctsdialog.preferences._dataset import PreferenceDataset
from mctsdialog.preferences._record import RecordNode

SAME = "pairs whose chosen reply is the rejected one"
OPPOSITE = "pairs that say the opposite of an earlier pair"

_Reply: TypeAlias = tuple[str, str]


def without_twins(data: PreferenceDataset) -> tuple[PreferenceDataset, dict[str, int]]:
    """The data without pairs of equal replies, and without those that say the opposite of an earlier one.

    White space does not count. The records stay as they are where nothing is left out.

    :returns: the data, and how many pairs were left out, by reason.
    """
    seen: set[tuple[bytes, _Reply, _Reply]] = set()
    left_out: Counter[str] = Counter()
    records = []
    for record in data.records:
        digests, kept = record.digests(), []
        for pair in record.pairs:
            before = digests[record[pair[0]].parent]
            chosen, rejected = _said(record[pair[0]]), _said(record[pair[1]])
            if chosen == rejected:
                left_out[SAME] += 1
            elif (before, rejected, chosen) in seen:
                left_out[OPPOSITE] += 1
            else:
                seen.add((before, chosen, rejected))
                kept.append(pair)
        records.append(record if len(kept) == len(record.pairs) else record.with_pairs(kept))
    return (replace(data, records=tuple(records)), dict(left_out)) if left_out else (data, {})


def _said(node: RecordNode) -> _Reply:
    return node.strategy, " ".join(node.supporter.split())
