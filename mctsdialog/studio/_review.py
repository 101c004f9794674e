"""The desk where pairs are reviewed: what is to be reviewed by whom, and what was decided."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

from mctsdialog.errors import DataError
from mctsdialog.preferences import PreferenceDataset, PreferencePair, RecordNode, Review
from mctsdialog.preferences._reviews import Verdict, combined, pair_keys, report_of, reviews_of
from mctsdialog.studio._file import LineFile
from mctsdialog.studio._review_asked import Decided, Filters, QueueAsked, Shown, UndoAsked
from mctsdialog.text import visible_line

_LEASE = 900.0  # seconds that a pair which is shown to somebody is kept from others
_FILTERS_KEPT = 16
_SIDES = ("chosen", "rejected")


@dataclass
class _Item:
    """A pair, what is filtered by, how many people are to review it, and who decided what.

    :param stacks: by reviewer, all decisions that were not taken back; ``standing`` has the last of each.
    """

    key: str
    pair: PreferencePair
    index: int
    margin: float | None
    confidence: float | None
    needed: int
    stacks: dict[str, list[Review]] = field(default_factory=dict)
    standing: dict[str, Review] = field(default_factory=dict)

    @property
    def is_closed(self) -> bool:
        """Whether as many people as are needed have decided."""
        return len(self.standing) >= self.needed

    def take_in(self, review: Review) -> bool:
        """Add a decision; False for an undo of nothing."""
        stack = self.stacks.setdefault(review.reviewer, [])
        if review.verdict != "undo":
            stack.append(review)
        elif stack:
            stack.pop()
        else:
            return False
        self.standing.pop(review.reviewer, None)
        if stack:
            self.standing[review.reviewer] = stack[-1]
        return True


@dataclass
class _Fitting:
    """The pairs that some filters let through, in order, and how many of them are still open.

    Nothing here is counted by looking at all pairs again: there may be very many.
    """

    items: list[_Item]
    indexes: list[int]
    open: int

    @cached_property
    def mixed(self) -> list[_Item]:
        """The same pairs mixed: pairs of a turn one after the other would give the chosen reply away."""
        return sorted(self.items, key=attrgetter("key"))

    def mixed_after(self, key: str) -> Iterator[_Item]:
        """The mixed pairs behind the one with that key, and then those up to it."""
        at = bisect_right(self.mixed, key, key=attrgetter("key"))
        return itertools.chain(itertools.islice(self.mixed, at, None), itertools.islice(self.mixed, at))

    def after(self, index: int) -> Iterator[_Item]:
        """The pairs behind that one, and then those up to it."""
        at = bisect_right(self.indexes, index)
        return itertools.chain(itertools.islice(self.items, at, None), itertools.islice(self.items, at))


class ReviewDesk:
    """All pairs of some datasets, and the decisions about them in one file.

    :param datasets: pairs that are in several are there once.
    :param file: of decisions; it is read, and appended to.
    :param twice: share of the pairs that two people review, 0 to 1, drawn by the pairs' keys.
    :raises DataError: for a file that holds something else, or that another studio has open.
    """

    def __init__(self, datasets: Sequence[PreferenceDataset], file: Path, *, twice: float = 0.1) -> None:
        self._twice = twice
        self._lock = threading.Lock()
        self._items: dict[str, _Item] = {}
        self._list: list[_Item] = []
        self.strategies: list[str] = []
        self._put(datasets)
        self._file = LineFile(file)
        try:
            known = reviews_of(self._file.lines, str(file))
        except DataError:
            self._file.close()
            raise
        self._file.lines = []
        self._ids: dict[str, Review] = {}
        self._by_reviewer: dict[str, list[str]] = {}
        self._seconds: dict[str, deque[float]] = {}
        self._leases: dict[str, dict[str, float]] = {}
        self._fit: dict[Filters, _Fitting] = {}
        self._half: dict[str, set[str]] = {}  # by reviewer, what is decided and waits for somebody else
        self._report: tuple[int, dict[str, Any]] = (-1, {})
        self.unread: Mapping[Path, str] = {}
        """What is wrong with trees whose pairs are not here."""
        for review in known:
            self._take_in(review)
        self._fitting(Filters())  # before anybody waits for it

    def __len__(self) -> int:
        return len(self._list)

    def add(self, datasets: Sequence[PreferenceDataset]) -> int:
        """Add the pairs of more trees behind those that are there; how many are new.

        Decisions about them that the file has already count.
        """
        with self._lock:
            new = self._put(datasets)
            keys = {item.key for item in new}
            if keys:
                self._fit.clear()
                self._report = (-1, {})
                if any(review.pair in keys for review in self._ids.values()):
                    self._count_all()
                self._fitting(Filters())
            return len(new)

    @property
    def path(self) -> Path:
        """The file of decisions."""
        return self._file.path

    def close(self) -> None:
        """Close the file of decisions."""
        self._file.close()

    # -- what a page asks ---------------------------------------------------------------------------------------------

    def state(self, reviewer: str) -> dict[str, Any]:
        """How far the review is: counts, reviewers, agreement, and what can be filtered by."""
        with self._lock:
            if self._report[0] != len(self._ids):
                decided = {item.key: item.standing for item in self._list if item.standing}
                self._report = (len(self._ids), report_of(decided).to_dict())
            seconds = sorted(self._seconds.get(reviewer, ()))
        return {
            "pairs": len(self._list),
            "strategies": self.strategies,
            "has_confidence": any(item.confidence is not None for item in self._list),
            "twice_share": self._twice,
            "file": str(self._file.path),
            "unread": [visible_line(each) for each in self.unread.values()],
            "seconds": seconds[len(seconds) // 2] if seconds else None,
            "report": self._report[1],
        }

    def queue(self, asked: QueueAsked) -> dict[str, Any]:
        """The next pairs for a reviewer, and how many of those that the filters let through are left."""
        with self._lock:
            have, name = set(asked.have), asked.reviewer.strip()
            fit = self._fitting(asked.filters)
            if asked.filters.shown == "open":
                chosen, left = self._open(fit, asked, name)
            else:
                every = _shown(fit, asked.filters.shown, name)
                waiting = [item for item in every.after(asked.after) if item.key not in have]
                chosen, left = waiting[: asked.count], len(every.items)
            until = time.monotonic() + _LEASE
            self._leases[name] = dict.fromkeys([*have, *(item.key for item in chosen)], until)
            return {
                "cards": [self._card(item, name, blind=asked.blind) for item in chosen],
                "left": left,
                "of": len(fit.items),
                "pairs": len(self._list),
            }

    def decide(self, given: Decided) -> None:
        """Keep a decision. One that is sent again is kept once.

        :raises DataError: for a pair that is not here, a flag without a reason, or an edited text that is blank or the
            other reply's.
        :raises OSError: where it cannot be written.
        """
        item = self._item(given.key)
        turned = given.blind and _turned(given.key, given.reviewer)
        sides = {"left": "rejected" if turned else "chosen", "right": "chosen" if turned else "rejected"}
        edits = {sides[side]: getattr(given, side) for side in ("left", "right")}
        meanings: dict[str, Verdict] = {"chosen": "accept", "rejected": "swap"}
        verdict = meanings[sides[given.answer]] if given.answer in sides else cast("Verdict", given.answer)
        reason = (given.reason or "").strip() or None
        if verdict == "flag" and reason is None:
            raise DataError("a flag needs a reason", field="reason")
        for side, text in edits.items():
            if text is not None and not text.strip():
                raise DataError("an edited reply must not be blank", field=side)
            if text == getattr(item.pair, side).supporter or verdict not in ("accept", "swap"):
                edits[side] = None
        said = [(edits[side] or getattr(item.pair, side).supporter).strip() for side in _SIDES]
        if any(edits.values()) and said[0] == said[1]:
            raise DataError("both replies say the same words", field="left")
        self._write(
            Review(
                id=given.id,
                pair=given.key,
                reviewer=given.reviewer.strip(),
                verdict=verdict,
                reason=reason,
                chosen=edits["chosen"],
                rejected=edits["rejected"],
                blind=given.blind,
                seconds=given.seconds,
                time=_now(),
            )
        )

    def undo(self, asked: UndoAsked) -> dict[str, Any]:
        """Take a reviewer's last decision back.

        :returns: the pair's card; None where there is nothing to take back.
        :raises OSError: where that cannot be written.
        """
        name = asked.reviewer.strip()
        with self._lock:
            known = self._ids.get(asked.id)
            keys = self._by_reviewer.get(name, [])
            key = known.pair if known is not None else keys[-1] if keys else None
        if key is None:
            return {"card": None}
        if known is None:
            self._write(Review(id=asked.id, pair=key, reviewer=name, verdict="undo", blind=asked.blind, time=_now()))
        item = self._item(key)
        with self._lock:
            self._leases.setdefault(name, {})[key] = time.monotonic() + _LEASE
            return {"card": self._card(item, name, blind=asked.blind)}

    # -- inside -------------------------------------------------------------------------------------------------------

    def _put(self, datasets: Sequence[PreferenceDataset]) -> list[_Item]:
        """Take pairs in; those that are new."""
        new: dict[str, _Item] = {}
        for dataset in datasets:
            for record in dataset.records:
                keys = [key for _, key in pair_keys(record)]
                for key, pair in zip(keys, record.expand(), strict=True):
                    if key not in self._items and key not in new:
                        needed = 2 if int(key[:8], 16) < self._twice * 2**32 else 1
                        index = len(self._items) + len(new)
                        new[key] = _Item(key, pair, index, pair.margin, pair.confidence, needed)
        names = {name for dataset in datasets for name in dataset.domain.strategies.names}
        self.strategies = sorted({*self.strategies, *names})
        self._items |= new
        self._list += new.values()
        return list(new.values())

    def _item(self, key: str) -> _Item:
        if key not in self._items:
            raise DataError("there is no such pair here; was the studio started with other folders?", field="key")
        return self._items[key]

    def _key_at(self, index: int) -> str:
        return self._list[index].key if 0 <= index < len(self._list) else ""

    def _write(self, review: Review) -> None:
        with self._lock:
            if review.id in self._ids:
                return
            self._file.append(review.to_line())
            self._take_in(review)

    def _take_in(self, review: Review) -> None:
        self._ids[review.id] = review
        self._leases.get(review.reviewer, {}).pop(review.pair, None)
        if review.pair in self._items:  # and of no other folders
            self._count(review)

    def _count_all(self) -> None:
        """All decisions from the first one on: those about pairs that have come since stand in their place."""
        for item in self._list:
            item.stacks, item.standing = {}, {}
        for known in (self._by_reviewer, self._seconds, self._half):
            known.clear()
        for review in self._ids.values():
            if review.pair in self._items:
                self._count(review)

    def _count(self, review: Review) -> None:
        """What a decision changes for its pair."""
        name, item = review.reviewer, self._items[review.pair]
        was_closed = item.is_closed
        if not item.take_in(review):
            return
        self._count_anew(item, name, was_closed=was_closed)
        keys = self._by_reviewer.setdefault(name, [])
        if review.verdict != "undo":
            keys.append(review.pair)
            if review.seconds is not None:
                self._seconds.setdefault(name, deque(maxlen=50)).append(review.seconds)
        else:
            del keys[len(keys) - 1 - keys[::-1].index(review.pair)]

    def _count_anew(self, item: _Item, name: str, *, was_closed: bool) -> None:
        """What a decision changes in the counts."""
        for each in {name, *item.standing}:
            half = self._half.setdefault(each, set())
            if each in item.standing and not item.is_closed:
                half.add(item.key)
            else:
                half.discard(item.key)
        for filters, fit in self._fit.items():
            if was_closed != item.is_closed and _passes(item, filters):
                fit.open += 1 if was_closed else -1

    def _fitting(self, filters: Filters) -> _Fitting:
        """The pairs that strategy, confidence and margin let through; nothing of that changes."""
        known = filters.model_copy(update={"shown": "open"})
        if known not in self._fit:
            if len(self._fit) >= _FILTERS_KEPT:
                self._fit.pop(next(iter(self._fit)))
            items = [item for item in self._list if _passes(item, known)] if known != Filters() else self._list
            still = sum(not item.is_closed for item in items)
            self._fit[known] = _Fitting(items, [item.index for item in items], still)
        return self._fit[known]

    def _open(self, fit: _Fitting, asked: QueueAsked, name: str) -> tuple[list[_Item], int]:
        """The next pairs that a reviewer is to decide about, and how many there are in all."""
        now, half, have = time.monotonic(), self._half.get(name, set()), set(asked.have)
        taken = Counter(
            key for other, keys in self._leases.items() if other != name for key, until in keys.items() if until > now
        )

        def is_kept(item: _Item) -> bool:
            """Whether others are about to decide."""
            return item.key in taken and len(item.standing) + taken[item.key] >= item.needed

        every = fit.mixed_after(self._key_at(asked.after)) if asked.blind else fit.after(asked.after)
        wanted = (item for item in every if not item.is_closed and item.key not in half)
        chosen = itertools.islice((item for item in wanted if item.key not in have and not is_kept(item)), asked.count)
        return list(chosen), fit.open - sum(_passes(self._items[key], asked.filters) for key in half)

    def _card(self, item: _Item, reviewer: str, *, blind: bool) -> dict[str, Any]:
        """What a page shows of a pair. Of a blind one nothing says which reply the search chose."""
        pair = item.pair
        turned = blind and _turned(item.key, reviewer)
        replies = [pair.rejected, pair.chosen] if turned else [pair.chosen, pair.rejected]
        own = item.standing.get(reviewer)
        card: dict[str, Any] = {
            "key": item.key,
            "index": item.index,
            "tree": pair.tree_id,
            "turn": pair.turn,
            "scene": pair.record.scenario.scene,
            "description": pair.record.scenario.description,
            "history": [[each.speaker, each.text, each.strategy] for each in pair.history],
            "replies": [_reply(node, blind=blind) for node in replies],
            "blind": blind,
            "own": None if own is None else _own(own, turned=turned),
        }
        if not blind:
            card |= {"confidence": item.confidence, "margin": item.margin, "gold": pair.chosen.gold}
            card["others"] = [
                {"reviewer": name, "verdict": each.verdict, "reason": each.reason}
                for name, each in item.standing.items()
                # what others say is not shown before one has decided, but for what they want looked into
                if name != reviewer and (own is not None or each.verdict == "flag")
            ]
        return card


def _shown(fit: _Fitting, shown: Shown, name: str) -> _Fitting:
    """Those of the pairs that somebody has decided about in a way."""
    decided = [item for item in fit.items if item.standing]
    if shown == "mine":
        decided = [item for item in decided if name in item.standing]
    elif shown == "flagged":
        decided = [item for item in decided if any(each.verdict == "flag" for each in item.standing.values())]
    else:
        together = ((item, combined(list(item.standing.values())).verdict) for item in decided)
        decided = [item for item, verdict in together if verdict == "disagreed"]
    return _Fitting(decided, [item.index for item in decided], 0)


def _passes(item: _Item, filters: Filters) -> bool:
    strategies = (item.pair.chosen.strategy, item.pair.rejected.strategy)
    if filters.strategy is not None and filters.strategy not in strategies:
        return False
    bounds = ((item.confidence, filters.confidence), (item.margin, filters.margin))
    return all(_within(value, *each) for value, each in bounds)


def _within(value: float | None, least: float | None, most: float | None) -> bool:
    if least is None and most is None:
        return True
    return value is not None and (least is None or value >= least) and (most is None or value <= most)


def _turned(key: str, reviewer: str) -> bool:
    """Whether a blind reviewer sees the rejected reply on the left: the same whenever the pair is shown again."""
    return hashlib.sha256(f"{key} {reviewer.strip()}".encode("utf-8", "replace")).digest()[0] % 2 == 1


def _reply(node: RecordNode, *, blind: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"strategy": node.strategy, "text": node.supporter}
    return shown if blind else {**shown, "value": node.value, "visits": node.visits}


def _own(review: Review, *, turned: bool) -> dict[str, Any]:
    """A decision as its page has it, by sides."""
    sides: Mapping[str, str] = {"accept": "right" if turned else "left", "swap": "left" if turned else "right"}
    edits = [getattr(review, side) for side in _SIDES]
    if turned:
        edits.reverse()
    return {"answer": sides.get(review.verdict, review.verdict), "reason": review.reason, "edits": edits}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
