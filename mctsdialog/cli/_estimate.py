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
from mctsdialog.cli._measured import Measured
from mctsdialog.cli._models import ModelSetup
from mctsdialog.dialogue import Dialogue, Domain, Turn
from mctsdialog.errors import MctsDialogError
from mctsdialog.llm import LocalChat, OpenAIChat, Price, ScriptedModel, Usage, estimate_tokens
from mctsdialog.llm.base import estimate_prompt_tokens
from mctsdialog.llm.layers._budget import cost, price_of
from mctsdialog.roles import ROLE_NAMES, Roles
from mctsdialog.text import counted, one_line

SECONDS_PER_CALL = 1.0  # of a server, where nobody says
_EMBEDDED = 3.0  # seconds a call of the embedded model on two cores, several at once being no faster
SAMPLED = 5  # dialogues whose prompts are made
_FORM = 2.5  # characters a token of JSON, whose quotes, colons and digits are tokens; 2.3 to 2.9 were counted


class _NotAskedError(MctsDialogError):
    """Ends a call once its request is known."""


@dataclass(frozen=True)
class PerTree:
    """What one tree takes.

    :param calls: by role.
    :param usage: tokens of all its calls, by role.
    :param seconds: at the pace of an earlier run; None if none was measured.
    :param counted: whether the tokens were counted, not taken from the lengths of texts.
    """

    calls: Mapping[str, float]
    usage: Mapping[str, Usage]
    seconds: float | None = None
    counted: bool = False


@dataclass
class Estimate:
    """A run before it begins.

    :param trees: to search.
    :param finished: that have their tree already, and are left out.
    :param seconds_per_call: None if the user says nothing of it.
    :param dry_run: of the command ``search``, which has fewer options.
    :param fresh: whether dialogues like those of the files are asked about, not those themselves.
    :param sizes: tokens of one call.
    :param most: what a tree takes at the most.
    :param measured: what the finished trees in the same folder took.
    """

    trees: int
    finished: int
    setup: ModelSetup
    max_calls: int | None
    seconds_per_call: float | None
    dry_run: bool
    fresh: bool
    sizes: Sizes
    most: PerTree
    measured: Measured | None = None

    def lines(self, where: Path) -> Iterator[str]:
        """The estimate in lines."""
        left_out = f"; {self.finished:,} more are finished" if self.finished else ""
        like = ", of dialogues like those of the files" if self.fresh else ""
        yield f"{counted(self.trees, 'tree')} to search{like}{left_out}"
        if not self.trees:
            yield "\nA search would call no model. 'mctsdialog estimate --dialogues N' is for N more like these."
            return
        if self.measured is not None:
            yield f"\nAs {counted(self.measured.trees, 'finished tree')} in {where} went, if no reply is in the cache:"
            others = ", ".join(map(one_line, self.measured.others(self._models)))
            if others:
                yield f"  (by {others}: another model takes another number of calls, and its time is no guide)"
            yield from self._costs(self._as_measured(self.measured))
        yield "\nAt the most, if no dialogue ends early and no reply is in the cache:"
        yield from self._costs(self.most)
        if self.measured is None:
            yield "\nMost runs take much less: search two dialogues (--limit 2) into this --out, and estimate again."

    @property
    def _models(self) -> dict[str, str]:
        return {role: model.name for role, model in self.setup.bare.items()}

    def _as_measured(self, found: Measured) -> PerTree:
        """What a tree takes by finished ones; tokens and time only if the same models made them."""
        calls = {role: found.calls.get(role, 0.0) for role in ROLE_NAMES}
        calls["judge"] *= self.setup.judging["judge_samples"]
        same = not found.others(self._models)
        known = same and all(role in found.usage for role in ROLE_NAMES if calls[role])
        each = found.usage if known else self.sizes.usage
        usage = {role: _times(each[role], calls[role]) for role in ROLE_NAMES if role in each}
        seconds = None if found.seconds is None or not same else found.seconds * sum(calls.values())
        return PerTree(calls, usage, seconds, known)

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
        about = "" if tree.counted else " (by the lengths of the texts; a model that reasons writes more)"
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
                return f"unknown; give --price {one_line(name)}=INPUT:OUTPUT{self._unused()}"
            total += cost(each, price or Price(0.0, 0.0))
        limit = self.setup.budget.limits.get("money")
        return f"{total:,.2f}" + (
            f" (--max-money {limit:g} stops before that)" if limit is not None and limit < total else ""
        )

    def _unused(self) -> str:
        """Prices of models that are not used, in words."""
        prices = self.setup.prices
        used = {id(price_of(prices, model.name)) for model in self.setup.bare.values()}
        named = {id(price): one_line(name) for name, price in prices.items()}  # one price may have two names
        unused = ", ".join(sorted(name for price, name in named.items() if price not in used))
        return f" (no model here is {unused}, so that price is not used)" if unused else ""

    def _time(self, tree: PerTree, calls: float, trees: float) -> str:
        if tree.seconds is not None:
            return str(timedelta(seconds=round(tree.seconds * trees)))
        local = [role for role, model in self.setup.bare.items() if isinstance(model, LocalChat)]
        if local and self.seconds_per_call is None:
            here = trees * sum(tree.calls[role] for role in local) * _EMBEDDED
            seconds = timedelta(seconds=round(here + self._served(calls - here / _EMBEDDED, SECONDS_PER_CALL)))
            return f"{seconds}, a guess: the embedded model takes about {_EMBEDDED:g} s a call on two cores"
        each = SECONDS_PER_CALL if self.seconds_per_call is None else self.seconds_per_call
        seconds = timedelta(seconds=round(self._served(calls, each)))
        option = "'mctsdialog estimate' has --seconds-per-call" if self.dry_run else "--seconds-per-call"
        return f"{seconds}, with {self._at_once} calls at once of {each:g} s each ({option})"

    @property
    def _at_once(self) -> int:
        at_once = self.setup.at_once
        return at_once if isinstance(at_once, int) else at_once.concurrency or 1

    def _served(self, calls: float, seconds_per_call: float) -> float:
        """Seconds of calls to servers."""
        return calls * seconds_per_call / self._at_once


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
