"""What a run will take, before it: calls, tokens, money, time. No model is called."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

import anyio

from mctsdialog._search import SearchConfig
from mctsdialog.algorithms import BatchSearch
from mctsdialog.cli._models import ModelSetup
from mctsdialog.corpus import Output
from mctsdialog.dialogue import Dialogue, Domain, Turn
from mctsdialog.errors import MctsDialogError
from mctsdialog.files import parse_json, read_input
from mctsdialog.llm import LocalChat, OpenAIChat, Price, ScriptedModel, Usage, estimate_tokens
from mctsdialog.llm.base import estimate_prompt_tokens
from mctsdialog.llm.layers._budget import cost, price_of
from mctsdialog.roles import ROLE_NAMES, Roles
from mctsdialog.text import one_line

SAMPLED = 5  # dialogues whose prompts are made
_FORM = 2.5  # characters a token of JSON, whose quotes, colons and digits are tokens; 2.3 to 2.9 were counted


class _NotAskedError(MctsDialogError):
    """Ends a call once its request is known."""


@dataclass(frozen=True)
class PerTree:
    """What one tree takes.

    :param calls: by role.
    :param usage: tokens of all its calls, by role.
    :param seconds: of the whole run, for each of its trees; None if nothing was measured.
    """

    calls: Mapping[str, float]
    usage: Mapping[str, Usage]
    seconds: float | None = None


@dataclass
class Estimate:
    """A run before it begins.

    :param trees: to search.
    :param finished: that have their tree already, and are left out.
    :param most: what a tree takes at the most.
    :param measured: what the trees of an earlier run into the same folder took, and how many they were.
    """

    trees: int
    finished: int
    setup: ModelSetup
    max_calls: int | None
    seconds_per_call: float
    most: PerTree
    measured: tuple[PerTree, int] | None = None

    def lines(self, where: Path) -> Iterator[str]:
        """The estimate in lines."""
        left_out = f"; {self.finished} more are finished" if self.finished else ""
        yield f"{self.trees} trees to search{left_out}"
        if self.measured is not None:
            tree, count = self.measured
            yield f"\nAs the last run into {where} went ({count} tree{'s' * (count != 1)}):"
            yield from self._costs(tree)
        yield "\nAt the most, if no dialogue ends early and no reply is in the cache:"
        yield from self._costs(self.most)
        if self.measured is None:
            yield "\nMost runs take much less: search two dialogues (--limit 2) into this --out, and estimate again."

    def _costs(self, tree: PerTree) -> Iterator[str]:
        calls = self.trees * sum(tree.calls.values())
        share = 1.0 if self.max_calls is None or not calls else min(1.0, self.max_calls / calls)
        shown = self.trees * share
        usage = {role: _times(each, shown) for role, each in tree.usage.items()}
        capped = f" (stopped by --max-calls {self.max_calls:,})" if share < 1 else ""
        yield f"  {'calls':<8}{round(calls * share):,}{capped}"
        read, written = (
            sum(getattr(each, name) for each in usage.values()) for name in ("prompt_tokens", "completion_tokens")
        )
        about = "" if tree.seconds is not None else " (by the lengths of the texts; a model that reasons writes more)"
        yield f"  {'tokens':<8}{_million(read)} read, {_million(written)} written{about}"
        yield f"  {'money':<8}{self._money(usage)}"
        yield f"  {'time':<8}{self._time(tree, calls * share, shown)}"

    def _money(self, usage: Mapping[str, Usage]) -> str:
        total, bare = 0.0, self.setup.bare
        if all(isinstance(model, LocalChat) for model in bare.values()):
            return "none: the model runs here"
        for role, each in usage.items():
            model = bare[role]
            price = price_of(self.setup.prices, model.name)
            if price is None and not isinstance(model, LocalChat):
                name = model.model if isinstance(model, OpenAIChat) else model.name
                return f"unknown; give --price {one_line(name)}=INPUT:OUTPUT"
            total += cost(each, price or Price(0.0, 0.0))
        limit = self.setup.budget.limits.get("money")
        return f"{total:,.2f}" + (
            f" (--max-money {limit:g} stops before that)" if limit is not None and limit < total else ""
        )

    def _time(self, tree: PerTree, calls: float, trees: float) -> str:
        if tree.seconds is not None:
            return str(timedelta(seconds=round(tree.seconds * trees)))
        at_once = self.setup.at_once
        most = at_once if isinstance(at_once, int) else at_once.concurrency or 1
        seconds = timedelta(seconds=round(calls * self.seconds_per_call / most))
        return f"{seconds}, with {most} calls at once of {self.seconds_per_call:g} s each (--seconds-per-call)"


def _times(usage: Usage, count: float) -> Usage:
    return Usage(
        round(usage.prompt_tokens * count), round(usage.completion_tokens * count), round(usage.cached_tokens * count)
    )


def _million(count: int) -> str:
    return f"{count / 1e6:,.1f} million" if count >= 100_000 else f"{count:,}"


@dataclass(frozen=True)
class Sizes:
    """Tokens of one call of each role, about."""

    usage: Mapping[str, Usage]
    gold_turns: float

    @classmethod
    def of(cls, sample: Sequence[tuple[Dialogue, Domain]], setup: ModelSetup) -> Self:
        """As the prompts for some dialogues have them, averaged over the supporter's turns."""
        found: dict[str, list[int]] = {role: [] for role in ROLE_NAMES}
        written: dict[str, list[int]] = {role: [] for role in ROLE_NAMES}
        gold = 0
        for dialogue, domain in sample:
            model = ScriptedModel(lambda _: _NotAskedError(""))
            roles = Roles.from_model(model, domain=domain, sampling=setup.sampling, **setup.judging).bind(
                dialogue.scenario
            )
            forms = {
                "strategist": _form_tokens(dict.fromkeys(domain.strategies.names, 5)),
                "judge": _form_tokens(dict.fromkeys(domain.criteria, 3)),
            }
            for place, turn in enumerate(dialogue.turns):
                if turn.speaker != "supporter" or turn.strategy is None:
                    continue
                gold += 1
                for role, tokens in anyio.run(_sizes, roles, model, dialogue.turns[:place], turn).items():
                    found[role].append(tokens)
                    written[role].append(forms.get(role) or estimate_tokens(turn.text))
        usage = {role: Usage(_mean(found[role]), _mean(written[role])) for role in ROLE_NAMES}
        return cls(usage, gold / max(len(sample), 1))

    def at_most(self, config: SearchConfig, samples: int, limit: int | None) -> PerTree:
        """What a tree takes at the most.

        :param samples: calls to the judge's model for each judgement.
        :param limit: most calls to roles of one tree; None for any number.
        """
        trial = config.kind.most_calls(config)
        calls = {role: float(config.max_iterations * trial.get(role, 0)) for role in ROLE_NAMES}
        calls["strategist"] += self.gold_turns
        if issubclass(config.kind, BatchSearch):
            calls["strategist"] += config.max_iterations + 1  # a node is scored once at the most, apart from its turn
        total = sum(calls.values())
        if limit is not None and total > limit:
            calls = {role: count * limit / total for role, count in calls.items()}
        calls["judge"] *= samples
        return PerTree(calls, {role: _times(self.usage[role], calls[role]) for role in ROLE_NAMES})


async def _sizes(roles: Roles, model: ScriptedModel, before: Sequence[Turn], turn: Turn) -> dict[str, int]:
    """Tokens of the prompt of each role at a supporter's turn."""
    after = [*before, turn]
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "seeker": lambda: roles.seeker.reply(after),
        "supporter": lambda: roles.supporter.reply(before, turn.strategy or ""),
        "strategist": lambda: roles.strategist.score(before),
        "judge": lambda: roles.judge.judge(after),
    }
    found = {}
    for role, call in calls.items():
        try:
            await call()
        except* _NotAskedError:  # several draws of the judge are asked for at once
            found[role] = estimate_prompt_tokens(model.requests[-1])
    return found


def _form_tokens(scores: Mapping[str, int]) -> int:
    """About how many tokens a reply in JSON has."""
    return round(len(json.dumps(dict(scores))) / _FORM)


def _mean(numbers: Sequence[int]) -> int:
    return round(sum(numbers) / len(numbers)) if numbers else 0


def measured_before(output: Output) -> tuple[PerTree, int] | None:
    """What a tree of the last run into the folder took, by its summary; None if there is none or it made no tree."""
    try:
        summary = parse_json(read_input(output.summary))
        count = int(summary["trees"]["done"])
        calls, usage = dict.fromkeys(ROLE_NAMES, 0.0), dict.fromkeys(ROLE_NAMES, Usage())
        if count < 1 or summary["trees"]["stopped"] or not summary["calls"]:
            return None
        for row in summary["costs"]:
            if (role := row["role"]) in calls:
                calls[role] += row["calls"] / count
                each = Usage(*(int(row[name]) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")))
                usage[role] += each
        per_tree = {role: _times(each, 1 / count) for role, each in usage.items()}
        return PerTree(calls, per_tree, float(summary["seconds"]) / count), count
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
