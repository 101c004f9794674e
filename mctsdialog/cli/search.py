"""``mctsdialog search``: dialogues in, trees out, one after another, resuming by itself."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import click

from mctsdialog.cli.exits import BAD_INPUT, BUDGET_SPENT, EPILOG, FAILED, INTERRUPTED, Failure, errors_as_exits
from mctsdialog.cli.models import ModelOptions, layered, parse_prices
from mctsdialog.cli.progress import SearchProgress
from mctsdialog.cli.text import conversation_lines, one_line
from mctsdialog.dialogue import Dialogue, Domain, domains, get_domain, load_domain, read_dialogues
from mctsdialog.errors import BudgetExceededError, ConfigError, DialogueError, JournalMismatchError, ReplyError
from mctsdialog.export import save_graphml, save_tree
from mctsdialog.llm import Budget, ChatModel, Limits, Meter, Price, ResponseCache
from mctsdialog.roles import ROLE_NAMES, Roles
from mctsdialog.search import SearchConfig, search
from mctsdialog.tree import Tree

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Job:
    """One dialogue to search, its domain, and the stem of its files."""

    dialogue: Dialogue
    domain: Domain
    stem: str


@dataclass(frozen=True)
class Output:
    """The output folder: ``trees``, ``journals`` and ``cache`` in it."""

    folder: Path

    def tree(self, job: Job) -> Path:
        """The tree's JSON file; its GraphML stands beside it."""
        return self.folder / "trees" / f"{job.stem}.json"

    def journal(self, job: Job) -> Path:
        """The journal that a search goes on from."""
        return self.folder / "journals" / f"{job.stem}.jsonl"

    @property
    def cache(self) -> Path:
        """The cache of replies."""
        return self.folder / "cache"


def _config_options(command: F) -> F:
    """One option for every field of SearchConfig."""
    for name, field in reversed(SearchConfig.model_fields.items()):
        kind = int if field.annotation is int else float
        command = click.option(
            f"--{name.replace('_', '-')}",
            f"config_{name}",
            type=kind,
            help=f"{field.description} [default: {field.default:g}]",
        )(command)
    return command


def _role_options(command: F) -> F:
    """``--seeker-model`` and its like."""
    for role in reversed(ROLE_NAMES):
        command = click.option(
            f"--{role}-model",
            f"role_{role}",
            metavar="NAME[@URL]",
            help=f"Another model for the {role}: a name at the server, NAME@URL, or 'local'.",
        )(command)
    return command


@click.command("search", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("mctsdialog-output"),
    show_default=True,
    help="Folder for trees, journals and the cache of replies.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "extes", "esconv", "chat"]),
    default="auto",
    show_default=True,
    help="Format of FILES.",
)
@click.option(
    "--domain",
    "domain_name",
    metavar="NAME|FILE",
    help=f"Domain: {', '.join(domains())}, or a JSON file. By default the format's own.",
)
@click.option("--lenient", is_flag=True, help="Count malformed items and go on, instead of stopping at the first.")
@click.option("--limit", type=click.IntRange(1), help="Search at most this many dialogues.")
@click.option("--model", metavar="NAME", help="Model at an OpenAI-compatible server. Default: the embedded model.")
@click.option("--base-url", metavar="URL", help="The server, up to /v1. Default: api.openai.com.")
@click.option(
    "--api-key-env",
    metavar="NAME",
    default="OPENAI_API_KEY",
    show_default=True,
    help="Environment variable that holds the server's key.",
)
@click.option("--local", type=click.Path(path_type=Path), metavar="GGUF", help="A GGUF file for the embedded model.")
@_role_options
@click.option("--max-calls", type=click.IntRange(0), help="Budget: model calls.")
@click.option("--max-tokens", type=click.IntRange(0), help="Budget: tokens read and written.")
@click.option("--max-money", type=click.FloatRange(0), help="Budget: money, by --price.")
@click.option("--max-seconds", type=click.FloatRange(0), help="Budget: seconds from the first call.")
@click.option("--price", "prices", multiple=True, metavar="MODEL=IN:OUT[:CACHED]", help="Money per million tokens.")
@click.option("--concurrency", type=click.IntRange(1), help="Most model calls at once.")
@click.option("--requests-per-minute", type=click.IntRange(1), help="Most model calls a minute.")
@click.option("--tokens-per-minute", type=click.IntRange(1), help="Most tokens a minute.")
@click.option("--cache", "cache_folder", type=click.Path(path_type=Path), help="Another folder for the cache.")
@click.option("--no-cache", is_flag=True, help="Keep no replies.")
@click.option("--replay", is_flag=True, help="Take every reply from the cache; a reply that is not there is an error.")
@click.option("--restart", is_flag=True, help="Start every search anew; replies in the cache are still used.")
@_config_options
def search_command(files: tuple[Path, ...], **options: Any) -> None:  # fmt: skip
    """Search every dialogue of FILES and write a conversation tree of each.

    FILES hold gold dialogues in ExTES's or ESConv's raw JSON, or a conversation a line in JSONL. A tree is written
    as JSON and GraphML. What is done is kept: the same command again goes on where it stopped.
    """
    with errors_as_exits():
        run = _prepare(files, options)
        try:
            code = anyio.run(run.go)
        except KeyboardInterrupt:
            click.echo(
                f"\nInterrupted. Everything so far is kept in {run.output.folder}; the same command goes on.", err=True
            )
            code = INTERRUPTED
    sys.exit(code)


def _prepare(files: Sequence[Path], options: dict[str, Any]) -> Run:
    given = {
        name: options[f"config_{name}"] for name in SearchConfig.model_fields if options[f"config_{name}"] is not None
    }
    prices = parse_prices(options["prices"])
    budget = Budget(
        calls=options["max_calls"],
        tokens=options["max_tokens"],
        money=options["max_money"],
        seconds=options["max_seconds"],
        prices=prices,
    )
    output = Output(options["out"])
    slots = options["concurrency"] or 4
    models = ModelOptions(
        model=options["model"],
        base_url=options["base_url"],
        local=options["local"],
        role_models={role: options[f"role_{role}"] for role in ROLE_NAMES if options[f"role_{role}"]},
        api_key_env=options["api_key_env"],
        slots=slots,
    )
    if options["no_cache"] and options["replay"]:
        raise ConfigError("--replay needs a cache; drop --no-cache")
    config = SearchConfig(**given)
    bare = models.make()
    return Run(
        jobs=_jobs(files, options),
        output=output,
        config=config,
        models=bare,
        budget=budget,
        prices=prices,
        limits=Limits(options["concurrency"], options["requests_per_minute"], options["tokens_per_minute"]),
        cache_folder=None if options["no_cache"] else options["cache_folder"] or output.cache,
        replay=options["replay"],
        restart=options["restart"],
    )


def _jobs(files: Sequence[Path], options: dict[str, Any]) -> list[Job]:
    """The dialogues of all files; what was dropped is told on standard error."""
    domain = _domain(options["domain_name"])
    jobs: list[Job] = []
    origins: dict[str, Path] = {}
    for file in files:
        dialogues = read_dialogues(file, format=options["form"], domain=domain, lenient=options["lenient"])
        click.echo(f"{file}: {dialogues.report}", err=True)
        for dialogue in dialogues:
            stem = file_stem(dialogue.id)
            if stem in origins:
                raise DialogueError(
                    f"another dialogue has this id, in {origins[stem]}; give them different ids",
                    file=file,
                    item=dialogue.id,
                    field="id",
                )
            origins[stem] = file
            jobs.append(Job(dialogue, dialogues.domain, stem))
    if not jobs:
        raise Failure("no dialogue is left to search; the counts above say what was dropped and why", BAD_INPUT)
    return jobs[: options["limit"]]


def _domain(name: str | None) -> Domain | None:
    if name is None:
        return None
    return load_domain(name) if name.endswith(".json") or "/" in name else get_domain(name)


def file_stem(dialogue_id: str) -> str:
    """A file name for a dialogue: its id, where that is a safe one, else made safe with a digest of it."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", dialogue_id)[:100].strip(".")
    if safe and safe == dialogue_id:
        return safe
    return f"{safe or 'dialogue'}-{hashlib.sha256(dialogue_id.encode('utf-8', 'replace')).hexdigest()[:8]}"


@dataclass(frozen=True)
class Run:
    """Everything that a call of the command does."""

    jobs: list[Job]
    output: Output
    config: SearchConfig
    models: dict[str, ChatModel]
    budget: Budget
    prices: dict[str, Price]
    limits: Limits
    cache_folder: Path | None
    replay: bool
    restart: bool

    async def go(self) -> int:
        """Search all dialogues; the exit code."""
        meter = Meter()
        began = time.monotonic()
        trees: list[Tree] = []
        failed = 0
        async with AsyncExitStack() as closing:
            cache = self._open_cache(closing)
            models = layered(self.models, closing, cache=cache, budget=self.budget, limits=self.limits, meter=meter)
            with SearchProgress(len(self.jobs), self.config, meter, cache, self.budget) as progress:
                for job in self.jobs:
                    progress.begin(job.stem)
                    try:
                        tree = await self._search(job, models, progress)
                    except (ReplyError, DialogueError) as error:
                        failed += 1
                        progress.done(f"{job.stem}: failed: {one_line(str(error))}")
                        continue
                    except BudgetExceededError as error:
                        progress.done(f"{job.stem}: not begun: {error}")
                        break
                    trees.append(tree)
                    progress.done(f"{job.stem}: {describe(tree)}")
                    if tree.stop_reason and tree.stop_reason.startswith("budget"):
                        break
                cost = progress.cost()
        self._summary(trees, failed, cost, meter, time.monotonic() - began)
        if failed:
            return FAILED
        spent = len(trees) < len(self.jobs) or any((tree.stop_reason or "").startswith("budget") for tree in trees)
        return BUDGET_SPENT if spent else 0

    def _open_cache(self, closing: AsyncExitStack) -> ResponseCache | None:
        if self.cache_folder is None:
            return None
        return closing.enter_context(
            ResponseCache(self.cache_folder, mode="read-only" if self.replay else "read-write", prices=self.prices)
        )

    async def _search(self, job: Job, models: dict[str, Any], progress: SearchProgress) -> Tree:
        journal = self.output.journal(job)
        if self.restart:
            journal.unlink(missing_ok=True)
        roles = Roles.from_model(models["seeker"], domain=job.domain, models=models)
        try:
            tree = await search(job.dialogue, roles, self.config, journal=journal, on_progress=progress.update)
        except JournalMismatchError as error:
            raise Failure(f"{error}. To search anew, add --restart, or choose another --out", BAD_INPUT) from error
        save_tree(tree, self.output.tree(job))
        save_graphml(tree, self.output.tree(job).with_suffix(".graphml"))
        return tree

    def _summary(self, trees: list[Tree], failed: int, cost: str, meter: Meter, seconds: float) -> None:
        nodes, ends = sum(len(tree) for tree in trees), sum(tree.ends for tree in trees)
        click.echo(
            f"\n{len(trees)} trees, {nodes} nodes, {ends} ends" + (f"; {failed} dialogues failed" if failed else "")
        )
        rate = f"  {meter.usage.completion_tokens / seconds:.1f} tokens/s" if meter.calls else ""
        cached = f"  {meter.usage.cached_tokens} prompt tokens reused" if meter.usage.cached_tokens else ""
        click.echo(f"{cost}  {seconds:.1f} s{rate}{cached}")
        if trees:
            _best_of(trees)
            click.echo(f"\nJSON and GraphML: {self.output.folder / 'trees'}")


def _best_of(trees: list[Tree]) -> None:
    """The best path of the tree that has the best one, as a conversation."""
    paths = [(best[1], tree, best[0]) for tree in trees if (best := tree.best_path()) is not None]
    if not paths:
        click.echo("no path has reached an end yet")
        return
    value, tree, path = max(paths, key=lambda found: found[0])
    gold = " (the gold dialogue)" if getattr(path[-1], "gold", False) else ""
    click.echo(f"\nBest path{gold}: {one_line(tree.id)}, mean Q {value:+.3f} over {len(path) - 1} supporter turns")
    for line in conversation_lines(tree, path[-1], 96):
        click.echo(f"  {line}")


def describe(tree: Tree) -> str:
    """A tree in one line."""
    best = tree.best_path()
    value = "none" if best is None else f"{best[1]:+.3f}"
    return (
        f"{tree.iterations} iterations, {len(tree)} nodes, {tree.ends} ends, best path {value}, "
        f"stopped: {tree.stop_reason}"
    )
