"""``mctsdialog doctor``: what a model and its server take, and whether it can play the roles of a search."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import click

from mctsdialog._search import SearchConfig
from mctsdialog.algorithms import most_calls_by_role
from mctsdialog.cli._advice import advice
from mctsdialog.cli._examination import Answer, Examination, RoleResult
from mctsdialog.cli._exchanges import CHARS, exchange_lines, field
from mctsdialog.cli._help import GroupedCommand
from mctsdialog.cli._models import ModelSetup, OpenModels, with_model_options
from mctsdialog.cli.exits import BUDGET_SPENT, EPILOG, FAILED, Failure, errors_as_exits, interruptible
from mctsdialog.cli.terminal import echo
from mctsdialog.dialogue import ESC
from mctsdialog.errors import BudgetExceededError
from mctsdialog.llm import ChatModel, ChatRequest, LocalChat, OpenAIChat, Retry, Usage
from mctsdialog.llm._openai.dialect import FORMATS
from mctsdialog.llm.layers._budget import cost, price_of
from mctsdialog.roles import ROLE_NAMES, Roles
from mctsdialog.text import counted, one_line

_PATIENCE = 60.0  # seconds that a busy server is waited for
_NO_FOLDER = Path("mctsdialog-doctor")  # replies are kept where --cache says so alone
_DEFAULTS = SearchConfig()


@click.command(
    "doctor",
    cls=GroupedCommand,
    epilog=EPILOG,
    examples="""
mctsdialog doctor --model gpt-4o-mini
mctsdialog doctor --model qwen --base-url http://localhost:8000/v1 --judge-pairs 24
""",
)
@click.option(
    "--judge-pairs", type=click.IntRange(0), default=8, show_default=True, help="Pairs of turns that the judge rates."
)
@click.option(
    "--dialogues", type=click.IntRange(1), default=1, show_default=True, help="Number of dialogues, for the estimate."
)
@click.option(
    "--max-iterations",
    type=click.IntRange(0),
    default=_DEFAULTS.max_iterations,
    show_default=True,
    help="Iterations per dialogue, for the estimate.",
)
@click.option(
    "--horizon",
    type=click.IntRange(0),
    default=_DEFAULTS.horizon,
    show_default=True,
    help="Simulated rounds, for the estimate.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show prompts and replies in full.")
@with_model_options
def doctor_command(**options: Any) -> None:
    """Check a model: what its server supports, how it plays the roles, what a run would cost.

    Calls each role once on a packaged dialogue, and asks the judge to rate pairs of turns: a real one and one from
    another dialogue. Models are named as in 'search'. Replies are only cached if you pass --cache. The exit code is 0
    if the model can play all four roles.
    """
    with errors_as_exits():
        if options["cache_folder"] is None and not options["replay"]:
            options["no_cache"] = True
        setup = ModelSetup.from_options(options, _NO_FOLDER)
        with interruptible("Interrupted."), _shown_notes():
            code = _run(Doctor(setup, options))
    sys.exit(code)


def _run(doctor: Doctor) -> int:
    try:
        return anyio.run(doctor.run)
    except BudgetExceededError as spent:
        raise Failure(str(spent), BUDGET_SPENT) from spent


@contextmanager
def _shown_notes() -> Iterator[None]:
    """What the client learns and waits for, shown between the calls."""
    handler = _Notes(logging.WARNING)
    log = logging.getLogger("mctsdialog.llm")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        echo(field("note", one_line(record.getMessage())))


@dataclass(frozen=True)
class Doctor:
    """One run of the command.

    :param setup: the models.
    :param options: the command's.
    """

    setup: ModelSetup
    options: Mapping[str, Any]

    async def run(self) -> int:
        """Try everything, and print it; the exit code."""
        async with AsyncExitStack() as closing:
            models = self.setup.open(closing, retry=Retry(patience=_PATIENCE))
            seen = Examination(lambda each: _roles(models, each), models.models, self.setup.bare)
            self._announce()
            for role, call in seen.calls():
                echo(f"\n{role.capitalize()}")
                self._show(await call())
            if seen.results["judge"].plays and self.options["judge_pairs"]:
                await self._judge(seen)
        for model in dict.fromkeys(self.setup.bare.values()):
            self._server(model, seen)
        if seen.plays:
            self._estimate(seen)
        return self._conclude(seen)

    def _announce(self) -> None:
        pairs, samples = self.options["judge_pairs"], self.options["judge_samples"]
        rated = f", and 2 for each of {counted(pairs, 'pair')} of turns that the judge rates" if pairs else ""
        times = f", {samples} times each for the judge" if samples > 1 else ""
        count = 3 + samples * (1 + 2 * pairs)
        echo(f"{count} calls: one for each role{rated}{times}. A reply that cannot be used is asked for again.")
        for model in dict.fromkeys(self.setup.bare.values()):
            roles = [role for role in ROLE_NAMES if self.setup.bare[role] is model]
            key = ", with a key" if isinstance(model, OpenAIChat) and model.sends_key else ""
            key = ", without a key" if isinstance(model, OpenAIChat) and not key else key
            echo(one_line(f"{'all roles' if len(roles) == len(ROLE_NAMES) else ', '.join(roles)}: {where(model)}{key}"))

    def _show(self, result: RoleResult) -> None:
        if result.same_as is not None:
            echo(field("", f"not tried: the same server failed for the {result.same_as}"))
            return
        chars = None if self.options["verbose"] else CHARS
        for before, exchange in zip((None, *result.exchanges), result.exchanges, strict=False):
            if exchange.completion is not None:
                sent = sent_parameters(self.setup.bare[result.role], exchange.request)
                shown: dict[str, Any] = {"chars": chars, "prices": self.setup.prices, "parameters": sent}
                for line in exchange_lines(exchange, **shown, before=before):
                    echo(line)
        if result.error is not None:
            echo(field("FAILED", one_line(str(result.error))))
            for note in getattr(result.error, "__notes__", ()):
                echo(field("", one_line(note)))
        else:
            echo(field("read as", read_as(result)))

    async def _judge(self, seen: Examination) -> None:
        at_once = self.setup.at_once
        most = at_once if isinstance(at_once, int) else at_once.concurrency or 1
        echo("\nDoes the judge tell turns apart?")
        await seen.judge(self.options["judge_pairs"], concurrency=most)
        if seen.signal is None:
            echo(field("FAILED", one_line(str(seen.signal_error))))
            return
        signal = seen.signal
        echo(f"  It ranked the real turn higher in {signal.better} of {counted(signal.cases, 'pair')}"
             f" (equal in {signal.equal}, lower in {signal.worse}).")  # fmt: skip

    def _server(self, model: ChatModel, seen: Examination) -> None:
        results = [seen.results[role] for role, each in self.setup.bare.items() if each is model]
        answered = [result for result in results if any(each.completion for each in result.exchanges)]
        if not answered:
            return
        echo(f"\nWhat {one_line(where(model))} takes")
        if all(result.cached for result in answered):
            echo("  unknown: the replies come from the cache")
            return
        for label, text in (*takes(model), ("reasoning", reasoning(model, answered)), ("speed", speed(answered))):
            echo(f"  {label:<16}{text}")

    def _estimate(self, seen: Examination) -> None:
        horizon, dialogues = self.options["horizon"], self.options["dialogues"]
        trials = dialogues * self.options["max_iterations"]
        calls = {role: trials * count for role, count in most_calls_by_role(horizon).items()}
        calls["strategist"] += dialogues * seen.gold_turns
        echo(
            f"\nA run of {dialogues} dialogue{'s' * (dialogues != 1)}, at the most "
            f"({self.options['max_iterations']} iterations each, horizon {horizon})"
        )
        for label, text in self._costs(seen, calls):
            echo(f"  {label:<16}{text}")

    def _costs(self, seen: Examination, calls: Mapping[str, int]) -> Iterator[tuple[str, str]]:
        results = seen.results
        read = sum(calls[role] * results[role].usage.prompt_tokens for role in ROLE_NAMES)
        written = sum(calls[role] * results[role].usage.completion_tokens for role in ROLE_NAMES)
        told = "" if all(result.told for result in results.values()) else " (by their lengths: the server tells none)"
        draws = (self.options["judge_samples"] - 1) * calls["judge"]  # they are in the judge's tokens and seconds
        yield "calls", f"{sum(calls.values()) + draws:,}"
        yield "tokens", f"{_million(read)} read, {_million(written)} written{told}"
        at_once = self.setup.at_once
        most = at_once if isinstance(at_once, int) else at_once.concurrency or 1
        seconds = sum(calls[role] * results[role].seconds for role in ROLE_NAMES) / most
        known = f"{timedelta(seconds=round(seconds))}, if {most} calls at once take no longer than one"
        yield "time", "unknown: replies come from the cache" if any(each.cached for each in results.values()) else known
        yield "money", self._money(seen, calls)

    def _money(self, seen: Examination, calls: Mapping[str, int]) -> str:
        if all(isinstance(model, LocalChat) for model in self.setup.bare.values()):
            return "none: the model runs here"
        total = 0.0
        for role in ROLE_NAMES:
            price = price_of(self.setup.prices, self.setup.bare[role].name)
            if price is None and not isinstance(self.setup.bare[role], LocalChat):
                return f"unknown: give --price {one_line(_priced_name(self.setup.bare[role]))}=INPUT:OUTPUT"
            total += calls[role] * cost(seen.results[role].usage, price) if price is not None else 0.0
        return f"{total:.2f}"

    def _conclude(self, seen: Examination) -> int:
        failed = [role for role, result in seen.results.items() if not result.plays]
        told = advice(seen, effort_given=self.options["reasoning_effort"] is not None)
        echo("\nWhat to change")
        for text in told or ["Nothing."]:
            echo(f"  {one_line(text)}")
        echo()
        played = f"All four roles can be played{', but see above what to change' if told else ''}."
        echo(f"These roles cannot be played: {', '.join(failed)}." if failed else played)
        return FAILED if failed else 0


def _roles(models: OpenModels, each: Mapping[str, ChatModel]) -> Roles:
    """The roles that a search would have, on models around its models."""
    return replace(models, models=each).roles(ESC)


def where(model: ChatModel) -> str:
    """A model and its place."""
    if isinstance(model, OpenAIChat):
        return f"{model.model} at {model.address}"
    return f"{model.name}, embedded" if isinstance(model, LocalChat) else model.name


def sent_parameters(model: ChatModel, request: ChatRequest) -> dict[str, Any] | None:
    """What a call has in its body beside the messages; None where that is not known."""
    if not isinstance(model, OpenAIChat):
        return None
    return {name: value for name, value in model.body(request).items() if name not in ("messages", "model")}


def _priced_name(model: ChatModel) -> str:
    return model.model if isinstance(model, OpenAIChat) else model.name


def takes(model: ChatModel) -> Iterator[tuple[str, str]]:
    """(label, text) of what the client has learnt of a server."""
    if not isinstance(model, OpenAIChat):
        yield "JSON replies", "json_schema, which it is made to keep to"
        return
    dialect = model.dialect
    refused = FORMATS[: FORMATS.index(dialect.format)]
    instead = f"; it refuses {', '.join(refused)}" if refused else ""
    schema = {"whole": "", "closed": ", without bounds", "open": ", without bounds and additionalProperties"}
    yield "JSON replies", f"{dialect.format}{schema[dialect.schema]}{instead}"
    yield "reply's length", dialect.tokens or "no limit is sent: it takes none"
    dropped = sorted(dialect.dropped)
    yield "refuses", ", ".join(dropped) if dropped else "nothing of what is sent"
    if dialect.merged:
        yield "system message", "refused: it goes into the first message of the user"


def reasoning(model: ChatModel, results: list[RoleResult]) -> str:
    """Whether a model reasons."""
    usage = sum((result.usage for result in results), Usage())
    thought = any(each.completion.thought for result in results for each in result.exchanges if each.completion)
    dialect = model.dialect if isinstance(model, OpenAIChat) else None
    factor = 1 if dialect is None else dialect.token_factor
    more = f"; replies may take {factor} times the tokens" if factor > 1 else ""
    if usage.reasoning_tokens:
        return f"yes, {usage.reasoning_tokens} of {usage.completion_tokens} tokens written{more}"
    return f"yes, its thoughts come with its replies{more}" if thought else f"none seen{more}"


def speed(results: list[RoleResult]) -> str:
    """Tokens a second and seconds a call, one call at a time."""
    usage, seconds = sum((result.usage for result in results), Usage()), sum(result.seconds for result in results)
    calls = sum(each.completion is not None for result in results for each in result.exchanges)
    rate = f"{usage.completion_tokens / seconds:.0f} tokens/s, " if seconds > 0 else ""
    return f"{rate}{seconds / calls:.2f} s a call"


def read_as(result: RoleResult) -> str:
    """What a role made of its model's reply."""
    answer: Answer = result.answer
    if answer is None:
        return "the end of the dialogue"
    if isinstance(answer, str):
        last = result.exchanges[-1].completion
        return "it stands" if last is not None and answer == last.text.strip() else one_line(answer)
    if isinstance(answer, tuple):
        answer = dict(zip(ESC.criteria, answer, strict=True))
    return ", ".join(f"{one_line(name)} {score:g}" for name, score in answer.items())


def _million(count: int) -> str:
    return f"{count / 1e6:.1f} million" if count >= 100_000 else f"{count:,}"
