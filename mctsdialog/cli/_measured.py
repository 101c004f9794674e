"""What the finished trees of a folder took: calls from their journals, tokens and time from the last run's summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mctsdialog.algorithms._trial import calls_by_role
from mctsdialog.corpus import Output
from mctsdialog.errors import MctsDialogError
from mctsdialog.files import parse_json, read_input
from mctsdialog.journal import read_journal
from mctsdialog.llm import Usage

_MOST = 50  # journals that are read


@dataclass(frozen=True)
class Measured:
    """What finished trees took.

    :param trees: that were looked at.
    :param calls: to roles of one tree, by role, those that the cache answered included.
    :param models: that made these trees, by role, as far as it is known.
    :param usage: tokens of one call, by role, in the last run; empty if it called no model.
    :param seconds: of the last run, for each of its calls; None if it called no model.
    """

    trees: int
    calls: Mapping[str, float]
    models: Mapping[str, str]
    usage: Mapping[str, Usage]
    seconds: float | None

    def others(self, models: Mapping[str, str]) -> list[str]:
        """The names of those that made these trees, if they are others than ``models``, by role; else none."""
        return sorted({name for role, name in self.models.items() if name != models.get(role)})


def measured_before(output: Output, finished: Iterable[str]) -> Measured | None:
    """What the finished trees of a folder took; None if no journal of one can be read."""
    calls: Counter[str] = Counter()
    models: dict[str, str] = {}
    trees = 0
    for name in islice(sorted(finished), _MOST):
        try:
            header, records = read_journal(output.journal(name))
            calls.update(_calls(records))
        except (MctsDialogError, OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        models |= _models(header)
        trees += 1
    if not trees:
        return None
    usage, seconds, names = _last_run(output)
    return Measured(trees, {role: count / trees for role, count in calls.items()}, models | names, usage, seconds)


def _calls(records: Iterable[Mapping[str, Any]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for record in records:
        if record.get("type") not in ("growth", "limits"):  # what grew is in its trial, too
            found.update(calls_by_role(record))
    return found


def _models(header: Mapping[str, Any]) -> dict[str, str]:
    roles = header.get("roles")
    known = roles.items() if isinstance(roles, dict) else ()
    return {
        role: each["model"] for role, each in known if isinstance(each, dict) and isinstance(each.get("model"), str)
    }


def _last_run(output: Output) -> tuple[dict[str, Usage], float | None, dict[str, str]]:
    """Tokens of one call by role, seconds of one call, and models by role, of the last run, by its summary."""
    usage: dict[str, Usage] = {}
    names: dict[str, str] = {}
    try:
        summary = parse_json(read_input(output.summary))
        calls = int(summary["calls"])
        for row in summary["costs"]:
            if (count := int(row["calls"])) and isinstance(row["role"], str):
                tokens = (int(row[name]) for name in ("prompt_tokens", "completion_tokens", "cached_tokens"))
                usage[row["role"]] = Usage(*(round(each / count) for each in tokens))
                names[row["role"]] = str(row["model"])
        return usage, float(summary["seconds"]) / calls if calls else None, names
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return {}, None, {}
