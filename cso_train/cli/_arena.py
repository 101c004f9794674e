"""``python -m cso_train arena``: systems in conversations with simulated seekers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import click

from cso_train._progress import progress_bar
from cso_train.arena import (
    ArenaRun,
    Entrant,
    ModelEntrant,
    ModelSeekers,
    PlanEntrant,
    PolicyEntrant,
    RepeatModel,
    ScriptEntrant,
    Seekers,
    WorldSeekers,
    arena_json,
    arena_latex,
    arena_markdown,
    arena_result,
    run_arena,
    world_planner,
    write_figures,
    write_sheets,
    write_transcripts,
)
from cso_train.arena._config import (
    AdapterSystem,
    ArenaConfig,
    ModelSystem,
    PlanSystem,
    PolicySystem,
    ScriptSystem,
    read_arena,
)
from cso_train.arena._local import LoadedModel
from cso_train.cli._parts import server_model
from cso_train.errors import TrainConfigError
from cso_train.evaluation.protocols import PROTOCOLS, ConversationJudge, Episode, ModelJudge, WorldJudge, world_value
from mctsdialog import Budget, ChatModel, Domain, ResponseCache, Roles, Scenario, build_stack
from mctsdialog.cli.exits import FAILED, Failure, errors_as_exits, interruptible
from mctsdialog.cli.keys import max_reply_tokens_option, with_server_options
from mctsdialog.cli.terminal import echo
from mctsdialog.dialogue import named_domain
from mctsdialog.files import inside, write_atomically
from mctsdialog.llm import Limits, Meter
from mctsdialog.seekers import RoleCard, read_cards, sample_cards, world_card
from mctsdialog.text import shell_word
from mctsdialog.worlds import World


@click.command("arena")
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--out", default=Path("arena"), show_default=True, type=click.Path(path_type=Path), help="Output folder.")
@click.option("--server", metavar="URL", help="OpenAI-compatible server of the models, up to /v1.")
@with_server_options
@max_reply_tokens_option
@click.option("--figures/--no-figures", default=True, help="Draw the figures (needs matplotlib).")
def arena_command(config_file: Path, **options: Any) -> None:
    """Compare systems in conversations with simulated seekers: models, adapters, searches, baselines.

    CONFIG is a YAML file. Conversations and judgements are kept in the folder's journal, replies in its cache. The same
    command resumes; a system or card added later only costs its own calls.
    """
    with errors_as_exits():
        config = read_arena(config_file)
        parts = _Parts.of(config, options)
        with interruptible("Interrupted; the same command resumes.") as interrupts:
            run = interrupts.run(parts.run)
        truth = None if parts.world is None else _truth_of(parts.world)
        result = arena_result(run, truth=truth, resamples=config.resamples, seed=config.seed)
        report, out = arena_markdown(result), options["out"]
        echo(report)
        written = [
            write_atomically(inside(out, "arena.md"), report),
            write_atomically(inside(out, "arena.tex"), arena_latex(result)),
            write_atomically(inside(out, "arena.json"), arena_json(result)),
        ]
        if options["figures"]:
            written += write_figures(run, result, out, seed=config.seed)
        transcripts = write_transcripts(run, parts.domain, out / "transcripts")
        for path in written:
            echo(path)
        echo(f"{out / 'transcripts'}: {len(transcripts)} files of dialogues, states, and pages to look at")
        if not run.stop_reason and write_sheets(run, inside(out, "sheets"), seed=config.seed):
            echo(f"{out / 'sheets'}: for people who judge blind; mctsdialog studio {shell_word(out)} shows them")
        echo(f"{parts.meter.calls} calls; {run.resumed} conversations and judgements were there already", err=True)
        if run.stop_reason:
            raise Failure(f"stopped ({run.stop_reason}): raise the budget, and the same command resumes", FAILED)
        if not any(each.counts for each in run.episodes):
            raise Failure("no conversation can be scored: the seekers gave no turn that can be used", FAILED)


def _truth_of(world: World) -> Callable[[Episode], float | None]:
    return lambda episode: world_value(world, episode.dialogue)


@dataclass(frozen=True)
class _Parts:
    """What an arena is made of, before models are opened."""

    config: ArenaConfig
    options: Mapping[str, Any]
    domain: Domain
    cards: tuple[RoleCard, ...]
    world: World | None
    meter: Meter

    @classmethod
    def of(cls, config: ArenaConfig, options: Mapping[str, Any]) -> _Parts:
        world = None
        if config.world is not None:
            known = config.world.model_dump(exclude={"report_noise"})
            world = World(**known, rounds=config.rounds)
        domain = named_domain(config.domain) if world is None else world.domain
        return cls(config, options, domain, _cards(config, domain, world), world, Meter())

    async def run(self) -> ArenaRun:
        config = self.config
        async with AsyncExitStack() as stack:
            models = _Models(self, stack)
            entrants = [await self._entrant(name, system, models) for name, system in config.systems.items()]
            protocols = [
                PROTOCOLS[name](self.domain, success=config.success, failure=config.failure)
                for name in config.protocols
            ]
            seekers, judges = await self._seekers(models), await self._judges(models)
            with progress_bar("conversations") as show:
                return await run_arena(
                    entrants,
                    self.cards,
                    seekers,
                    protocols,
                    judges,
                    repeats=config.repeats,
                    judge_repeats=config.judge_repeats,
                    rounds=config.rounds,
                    concurrency=config.concurrency,
                    journal=inside(self.options["out"], "arena.journal"),
                    on_progress=lambda what, done, total: show(done, total),
                )

    async def _seekers(self, models: _Models) -> Seekers:
        if self.world is not None:
            assert self.config.world is not None
            return WorldSeekers(self.world, report_noise=self.config.world.report_noise)
        assert self.config.seeker is not None
        model = await models.served(self.config.seeker.model)
        return ModelSeekers(model, self.domain, setting=self.config.seeker.setting)

    async def _judges(self, models: _Models) -> list[ConversationJudge]:
        if self.world is not None:
            return [WorldJudge(self.world)]
        repeats = self.config.judge_repeats
        return [
            ModelJudge(name, await models.served(judge.model), self.domain, repeats=repeats)
            for name, judge in self.config.judges.items()
        ]

    async def _entrant(self, name: str, system: Any, models: _Models) -> Entrant:
        if isinstance(system, ModelSystem):
            settings: dict[str, Any] = system.model_dump(exclude={"kind", "model"})
            return ModelEntrant(name, await models.served(system.model), self.domain, **settings)
        if isinstance(system, AdapterSystem):
            settings = system.model_dump(exclude={"kind", "base", "adapter"})
            return ModelEntrant(name, await models.loaded(system.base, system.adapter), self.domain, **settings)
        if isinstance(system, ScriptSystem):
            return ScriptEntrant(name, tuple(system.lines), system.strategy)
        if isinstance(system, PolicySystem):
            assert self.world is not None
            return PolicyEntrant(name, self.world, system.policy, system.slip)
        assert isinstance(system, PlanSystem)
        return await self._planner(name, system, models)

    async def _planner(self, name: str, system: PlanSystem, models: _Models) -> PlanEntrant:
        settings: dict[str, Any] = {"calls": system.calls, "algorithm": system.algorithm, "settings": system.settings}
        if self.world is not None:
            return world_planner(name, self.world, **settings)
        assert system.model is not None
        model, domain = await models.served(system.model), self.domain
        known = str(dict(Roles.from_model(model, domain=domain).provenance))

        def roles(scenario: Scenario, passed: int, repeat: int) -> Roles:
            return Roles.from_model(RepeatModel(model, repeat), domain=domain)

        return PlanEntrant(name, roles, domain, known_as=known, **settings)


def _cards(config: ArenaConfig, domain: Domain, world: World | None) -> tuple[RoleCard, ...]:
    if world is not None:
        count = config.cards if isinstance(config.cards, int) else 40
        return tuple(world_card(world, number) for number in range(min(count, config.limit or count)))
    if config.cards == "sample":
        return sample_cards(domain.name)[: config.limit]
    cards = read_cards(str(config.cards))
    others = [card for card in cards if card.domain != domain.name]
    if others:
        message = f"the card {others[0].id!r:.80} is of domain {others[0].domain!r:.80}, the arena of {domain.name}"
        raise TrainConfigError(message, file=str(config.cards), field="domain")
    return cards[: config.limit]


class _Models:
    """The models of an arena, each opened once, all under one limit and one budget."""

    def __init__(self, parts: _Parts, stack: AsyncExitStack) -> None:
        self._parts, self._stack = parts, stack
        budget = {name: value for name, value in parts.config.budget.model_dump().items() if value is not None}
        self._layers: dict[str, Any] = {
            "limits": Limits(parts.config.concurrency),
            "meter": parts.meter,
            "budget": Budget(**budget) if budget else None,
        }
        self._open: dict[tuple[str, ...], ChatModel] = {}
        self._cache: ResponseCache | None = None

    async def served(self, choice: str) -> ChatModel:
        """A model at a server, or the embedded one."""
        if (choice,) not in self._open:
            options = {**self._parts.options, "models": self._names}
            model = server_model(choice, options, cache=self._replies, **self._layers)
            self._open[choice,] = await self._stack.enter_async_context(model)
        return self._open[choice,]

    async def loaded(self, base: str, adapter: str | None) -> ChatModel:
        """A model that is loaded here. Its calls count as others do."""
        key = ("loaded", base, adapter or "")
        if key not in self._open:
            model = await anyio.to_thread.run_sync(LoadedModel.load, base, adapter)
            self._open[key] = build_stack(model, cache=self._replies, **self._layers)
        return self._open[key]

    @property
    def _replies(self) -> ResponseCache:
        if self._cache is None:
            self._cache = self._stack.enter_context(ResponseCache(inside(self._parts.options["out"], "cache")))
        return self._cache

    @property
    def _names(self) -> list[str]:
        """The models that are at servers; the first tells the main one."""
        config = self._parts.config
        systems = [system.model for system in config.systems.values() if isinstance(system, ModelSystem | PlanSystem)]
        seeker = [] if config.seeker is None else [config.seeker.model]
        return [each for each in (*systems, *seeker) if each is not None] or ["local"]
