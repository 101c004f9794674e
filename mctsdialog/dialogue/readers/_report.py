"""What a reader gives back: the dialogues, and an account of everything it changed or left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from mctsdialog.dialogue._model import Dialogue, Domain
from mctsdialog.text import counted, visible_line

_log = logging.getLogger("mctsdialog.dialogue")

MAX_MESSAGES = 20
"""How many messages of malformed items a report holds; all of them are counted."""

_COUNTED = {  # what is told, and one of it
    "malformed": "malformed",
    "labels_normalised": "label normalised",
    "further_labels": "further label",
    "turns_merged": "turn merged",
    "empty_entries": "empty entry",
    "keys_ignored": "key ignored",
    "keys_repeated": "key repeated",
    "system_messages": "system message",
    "ids_renamed": "id renamed",
}
_SHOWN = 10
_UNKNOWN_SHOWN = 3  # unknown labels in a line
UNKNOWN = "unknown strategy: "
"""What the reason of a dropped turn begins with whose label names no strategy; the label follows."""

UNLABELLED = "no strategy"
"""The reason of a dropped turn without a label."""

_MAX_LABEL = 60


def clip(text: str) -> str:
    """``text`` short enough for a message or a report, and writable."""
    writable = text[: _MAX_LABEL + 1].encode("utf-8", "replace").decode("utf-8")
    return writable if len(writable) <= _MAX_LABEL else writable[: _MAX_LABEL - 1] + "…"


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What happened while a file was read. Every count is 0 or more; a reason that did not occur is not a key.

    The paper's seed data lost turns in the same way (appendix F.1): no strategy, a wrong one, or "Others".

    :param items: items seen in the file.
    :param kept: dialogues handed out.
    :param dialogues_dropped: dialogues left out, by reason.
    :param supporter_turns_dropped: supporter turns left out, by reason ("no strategy", "unknown strategy: X", ...).
    :param seeker_turns_dropped: seeker turns left out, by reason.
    :param further_labels: labels of a turn beside the first, and those of the shorter parts of a joined turn. Those
        that the domain has are in the turn's ``also``.
    :param labels_normalised: how often a strategy's label was replaced, by (label found, name in the set).
    :param turns_merged: turns that were joined to the turn before them, of the same side.
    :param empty_entries: entries of a dialogue in which nobody speaks.
    :param keys_ignored: keys that mean nothing to the reader, and how often each was seen.
    :param ungrouped_rows: rows of a table that were read as one dialogue because no known column tells dialogues apart,
        by the column that may do so: ``dialogue=COLUMN`` in a map.
    :param keys_repeated: keys that stood twice in one object, where the last value counts, and how often.
    :param system_messages: messages of the system and of tools, which are left out.
    :param ids_renamed: ids that occurred before in the file and got a suffix (lenient reading only).
    :param unknown_labels: labels that name no strategy of the domain.
    :param did_you_mean: the strategy whose name is close to such a label.
    :param malformed: items left out because they are malformed (lenient reading only).
    :param messages: what was wrong with the first of those.
    """

    items: int = 0
    kept: int = 0
    dialogues_dropped: Mapping[str, int] = field(default_factory=dict)
    supporter_turns_dropped: Mapping[str, int] = field(default_factory=dict)
    seeker_turns_dropped: Mapping[str, int] = field(default_factory=dict)
    labels_normalised: Mapping[tuple[str, str], int] = field(default_factory=dict)
    further_labels: Mapping[str, int] = field(default_factory=dict)
    turns_merged: int = 0
    empty_entries: int = 0
    keys_ignored: Mapping[str, int] = field(default_factory=dict)
    keys_repeated: Mapping[str, int] = field(default_factory=dict)
    system_messages: int = 0
    ids_renamed: int = 0
    malformed: int = 0
    messages: tuple[str, ...] = ()
    ungrouped_rows: Mapping[str, int] = field(default_factory=dict)
    unknown_labels: Mapping[str, int] = field(default_factory=dict)
    did_you_mean: Mapping[str, str] = field(default_factory=dict)

    @property
    def unlabelled_turns(self) -> int:
        """How many supporter turns were left out because they have no label."""
        return self.supporter_turns_dropped.get(UNLABELLED, 0)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data; labels become a list of ``{"from", "to", "count"}``."""
        plain: dict[str, Any] = {
            "items": self.items,
            "kept": self.kept,
            "dialogues_dropped": dict(self.dialogues_dropped),
            "supporter_turns_dropped": dict(self.supporter_turns_dropped),
            "seeker_turns_dropped": dict(self.seeker_turns_dropped),
            "labels_normalised": [
                {"from": found, "to": name, "count": count} for (found, name), count in self.labels_normalised.items()
            ],
            "further_labels": dict(self.further_labels),
            "turns_merged": self.turns_merged,
            "empty_entries": self.empty_entries,
            "keys_ignored": dict(self.keys_ignored),
            "keys_repeated": dict(self.keys_repeated),
            "system_messages": self.system_messages,
            "ids_renamed": self.ids_renamed,
            "ungrouped_rows": dict(self.ungrouped_rows),
            "unknown_labels": dict(self.unknown_labels),
            "did_you_mean": dict(self.did_you_mean),
            "malformed": self.malformed,
            "messages": list(self.messages),
        }
        return plain

    def in_one_line(self) -> str:
        """What was kept and what was lost, with the most frequent reason; everything else is only counted."""
        parts = [f"{self.kept} of {counted(self.items, 'dialogue')} kept"]
        lost = {
            "dialogue": self.dialogues_dropped,
            "supporter turn": self.supporter_turns_dropped,
            "seeker turn": self.seeker_turns_dropped,
        }
        for what, reasons in lost.items():
            if reasons:
                count, mostly = sum(reasons.values()), "mostly " if len(reasons) > 1 else ""
                first = next(iter(reasons))
                first = UNKNOWN.rstrip(": ") if first.startswith(UNKNOWN) else visible_line(first)  # named below
                parts.append(f"{count} {what}{'s' * (count != 1)} dropped ({mostly}{first})")
        if self.unknown_labels:
            parts.append(f"unknown strategies: {self._unknown()}")
        for name, count in self.ungrouped_rows.items():
            column = visible_line(name)
            parts.append(
                f"{count} rows read as one dialogue (if {column} tells dialogues apart: --map dialogue={column})"
            )
        for name, single in _COUNTED.items():
            each = getattr(self, name)
            if count := each if isinstance(each, int) else sum(each.values()):
                parts.append(counted(count, single, name.replace("_", " ")))
        return "; ".join(parts) + (" (-v says more)" if len(parts) > 1 else "")

    def _unknown(self) -> str:
        """The most frequent labels that name no strategy."""
        shown = list(self.unknown_labels.items())[:_UNKNOWN_SHOWN]
        found = ", ".join(f"{count} x {visible_line(self._with_hint(label))}" for label, count in shown)
        left = len(self.unknown_labels) - len(shown)
        return f"{found} and {left} more" if left else found

    def _with_hint(self, reason: str) -> str:
        """A label, or a reason that ends in one, with the strategy that may be meant."""
        near = self.did_you_mean.get(reason.removeprefix(UNKNOWN))
        return reason if near is None else f"{reason} (did you mean {near!r}?)"

    def __str__(self) -> str:
        lines = [f"{self.kept} of {counted(self.items, 'dialogue')} kept"]
        lines += _table("dialogues dropped", self.dialogues_dropped)
        dropped = {self._with_hint(reason): n for reason, n in self.supporter_turns_dropped.items()}
        lines += _table("supporter turns dropped", dropped)
        lines += _table("seeker turns dropped", self.seeker_turns_dropped)
        lines += _table(
            "labels normalised", {f"{found} -> {name}": n for (found, name), n in self.labels_normalised.items()}
        )
        further = {self._with_hint(label): n for label, n in self.further_labels.items()}
        lines += _table("labels beside the first of a turn", further)
        lines += _table("keys ignored", self.keys_ignored)
        lines += _table(
            "rows read as one dialogue; if the column tells dialogues apart, map it (--map dialogue=COLUMN)",
            self.ungrouped_rows,
        )
        lines += _table("keys that stood twice, the last counts", self.keys_repeated)
        for title, count in (
            ("turns merged", self.turns_merged),
            ("empty entries", self.empty_entries),
            ("system and tool messages left out", self.system_messages),
            ("ids renamed", self.ids_renamed),
            ("malformed items skipped", self.malformed),
        ):
            if count:
                lines.append(f"{title}: {count}")
        lines += [f"  {visible_line(message)}" for message in self.messages]
        return "\n".join(lines)


def _table(title: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    shown = [f"  {count} x {visible_line(name)}" for name, count in list(counts.items())[:_SHOWN]]
    more = [f"  and {len(counts) - _SHOWN} more"] if len(counts) > _SHOWN else []
    return [f"{title}: {sum(counts.values())}", *shown, *more]


@dataclass(slots=True)
class Tally:
    """The counts of a :class:`ReadReport` while they grow: one for the file, and one for the item being read.

    An item's own tally joins the file's when the item has been read whole, so a malformed item leaves no counts.
    """

    counts: Counter[tuple[str, Any]] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)

    def count(self, what: str, which: Any = None, *, times: int = 1) -> None:
        """Count something.

        :param what: name of the report's field.
        :param which: its key, where the field is a table.
        """
        if times:
            self.counts[what, which] += times

    def add(self, other: Tally) -> None:
        """Add the counts of ``other``."""
        for key, count in other.counts.items():
            self.counts[key] += count

    def skip(self, error: Exception) -> None:
        """Count a malformed item."""
        self.count("malformed")
        if len(self.messages) < MAX_MESSAGES:
            self.messages.append(str(error))

    def report(self, items: int, kept: int) -> ReadReport:
        """The finished account; within each table the most frequent comes first."""
        found: dict[str, Any] = {}
        for (what, which), count in self.counts.most_common():
            if which is None:
                found[what] = count
            else:
                found.setdefault(what, {})[which] = count
        return ReadReport(items=items, kept=kept, messages=tuple(self.messages), **found)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DialogueSet(Sequence[Dialogue]):
    """The dialogues of a file, in its order, as an immutable sequence.

    :param dialogues: the dialogues.
    :param domain: the domain that their strategies belong to.
    :param report: what was changed and left out on reading.
    """

    dialogues: tuple[Dialogue, ...]
    domain: Domain
    report: ReadReport

    def __post_init__(self) -> None:
        if self.report.items and not self.dialogues:
            _log.warning("no dialogue was read: %s", "; ".join(map(str.strip, str(self.report).splitlines())))

    def __len__(self) -> int:
        return len(self.dialogues)

    @overload
    def __getitem__(self, key: int) -> Dialogue: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Dialogue, ...]: ...
    def __getitem__(self, key: int | slice) -> Dialogue | tuple[Dialogue, ...]:
        """A dialogue by position, or a tuple of them by slice (the report would not fit a part)."""
        return self.dialogues[key]

    def __repr__(self) -> str:
        left_out = self.report.items - len(self)
        more = f"; {left_out} of {self.report.items} left out, see .report" if left_out > 0 else ""
        return f"DialogueSet({len(self)} dialogues of domain {self.domain.name!r}{more})"


class DialogueStream:
    """The dialogues of a file, in its order, read again each time they are iterated over.

    :param read: begins to read them.
    :param domain: the domain that their strategies belong to.
    :param report: what was changed and left out on reading.
    """

    def __init__(self, read: Callable[[], Iterator[Dialogue]], domain: Domain, report: ReadReport) -> None:
        self._read = read
        self.domain = domain
        self.report = report

    def __len__(self) -> int:
        return self.report.kept

    def __iter__(self) -> Iterator[Dialogue]:
        return self._read()

    def __repr__(self) -> str:
        return f"DialogueStream({len(self)} dialogues of domain {self.domain.name!r})"
