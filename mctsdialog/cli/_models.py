"""Models from command-line options, and their layers: what every command that calls models has in common."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from pydantic import BaseModel

from mctsdialog.cli._costs import cost_lines, parse_prices, spending_parts
from mctsdialog.cli.keys import LOCAL, Servers, max_reply_tokens_option, with_server_options
from mctsdialog.cli.terminal import echo
from mctsdialog.corpus import Counts, Share, WorkerModels
from mctsdialog.dialogue import Domain
from mctsdialog.errors import ConfigError
from mctsdialog.files import parse_json
from mctsdialog.llm import (
    AdaptiveLimits,
    Budget,
    CacheMode,
    ChatModel,
    Limits,
    LocalChat,
    Meter,
    Price,
    ResponseCache,
    Retry,
    Sampling,
    build_stack,
)
from mctsdialog.llm.providers import PROVIDERS
from mctsdialog.roles import ROLE_NAMES, JudgeScoring, Roles, role_sampling
from mctsdialog.text import counted

F = TypeVar("F", bound=Callable[..., Any])

_MOST_CONNECTIONS = 4096  # --concurrency is the limit
AT_ONCE = 8  # calls under way at servers where no number is given
_MOST_ADAPTIVE = 256  # that --adaptive may reach where no number is given
_SHARED = ("concurrency", "requests_per_minute", "tokens_per_minute", "max_calls", "max_tokens")

_OPTIONS = [
    click.option(
        "--model",
        metavar="NAME",
        help="Model name at an OpenAI-compatible server or, without --base-url, PROVIDER/NAME. Providers: "
        f"{', '.join(PROVIDERS)}. Default: the embedded model.",
    ),
    click.option(
        "--base-url",
        metavar="URL",
        help="Address of the server, up to /v1. Default: the provider's, or api.openai.com.",
    ),
    with_server_options,
    max_reply_tokens_option,
    click.option(
        "--local",
        type=click.Path(path_type=Path),
        metavar="GGUF",
        help="Use this GGUF file as the embedded model.",
    ),
    *(
        click.option(
            f"--{role}-model",
            f"role_{role}",
            metavar="NAME[@URL]",
            help=f"Use another model for the {role}: a name as in --model, NAME@URL, or 'local'.",
        )
        for role in ROLE_NAMES
    ),
    click.option(
        "--judge",
        type=click.Choice(get_args(JudgeScoring)),
        default="digits",
        show_default=True,
        help="'digits' reads the scores that the judge writes; 'expected' averages over the log-probabilities of "
        "its digits, if the server returns them.",
    ),
    click.option(
        "--judge-samples",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Judgements per turn, averaged. With 2 or more, the judge's temperature is 1.",
    ),
    click.option("--max-calls", type=click.IntRange(0), help="Budget: model calls of this command."),
    click.option("--max-tokens", type=click.IntRange(0), help="Budget: prompt and reply tokens."),
    click.option("--max-money", type=click.FloatRange(0), help="Budget: money, at the prices in --price."),
    click.option("--max-seconds", type=click.FloatRange(0), help="Budget: seconds from the first call."),
    click.option(
        "--price",
        "prices",
        multiple=True,
        metavar="MODEL=IN:OUT[:CACHED]",
        help="Price of a model's tokens, per million.",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1),
        help="Concurrent model calls. Default: 8, or 4 with the embedded model.",
    ),
    click.option(
        "--adaptive", is_flag=True, help="Adapt the number of concurrent calls to the server, up to --concurrency."
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=120.0,
        show_default=True,
        help="Seconds until a call times out and is retried.",
    ),
    click.option("--requests-per-minute", type=click.IntRange(1), help="Limit on model calls per minute."),
    click.option("--tokens-per-minute", type=click.IntRange(1), help="Limit on tokens per minute."),
    click.option(
        "--cache", "cache_folder", type=click.Path(path_type=Path), help="Use another folder for the reply cache."
    ),
    click.option("--no-cache", is_flag=True, help="Do not cache replies."),
    click.option("--replay", is_flag=True, help="Take every reply from the cache. A missing reply is an error."),
]


def with_model_options(command: F) -> F:
    """The options that say which models play, what they may cost, and where their replies are kept."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def with_config_options(config: type[BaseModel]) -> Callable[[F], F]:
    """One option for every field of a config, named after it."""

    def decorate(command: F) -> F:
        for name, setting in reversed(config.model_fields.items()):
            if name == "settings":
                command = _SETTING(command)
                continue
            flag = setting.annotation is bool
            default = "" if setting.default is None or flag else f" [default: {setting.default}]"
            option = f"--{name.replace('_', '-')}"
            command = click.option(
                f"{option}/--no{option[1:]}" if flag else option,
                f"config_{name}",
                type=None if flag else _option_type(setting.annotation),
                default=None,
                help=f"{setting.description}{default}",
            )(command)
        return command

    return decorate


def _settings_of(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, Any] | None:
    """An algorithm's settings, from ``NAME=VALUE`` each; ``NAME=@FILE`` takes the value from a JSON file."""
    found: dict[str, Any] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{each!r} is not NAME=VALUE", ctx, param)
        if value.startswith("@"):
            try:
                found[name] = parse_json(Path(value[1:]).read_bytes())
            except (OSError, ValueError) as error:
                raise click.BadParameter(f"{value[1:]}: {error}", ctx, param) from error
        else:
            try:
                found[name] = json.loads(value)
            except ValueError:
                found[name] = value
    return found or None


_SETTING = click.option(
    "--setting",
    "config_settings",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_settings_of,
    help="A setting of the algorithm, such as max_rounds=20. NAME=@FILE reads it from a JSON file. Repeatable.",
)


def _option_type(annotation: Any) -> Any:
    if annotation is str:
        return str
    if getattr(annotation, "__args__", None) and all(isinstance(each, str) for each in annotation.__args__):
        return click.Choice(annotation.__args__)
    kinds = {annotation, *getattr(annotation, "__args__", ())}
    return int if int in kinds else float


def given_config(options: Mapping[str, Any]) -> dict[str, Any]:
    """The config's fields that were given on the command line."""
    return {
        name.removeprefix("config_"): value
        for name, value in options.items()
        if name.startswith("config_") and value is not None
    }


def _servers(options: Mapping[str, Any]) -> Servers:
    return Servers.of(
        options["base_url"],
        options["api_key_env"],
        option="--base-url",
        model=options["model"],
        headers=options["headers"],
        extras=options["extras"],
    )


def _at_server(servers: Servers, name: str, options: Mapping[str, Any]) -> ChatModel:
    return servers.chat(
        name,
        silent=options["replay"],
        timeout=options["timeout"],
        max_connections=_MOST_CONNECTIONS,
        reasoning_headroom=options["max_reply_tokens"] is None,
    )


def bare_model(name: str, options: Mapping[str, Any]) -> ChatModel:
    """A model beside those of the roles, without layers.

    :param name: at the main server, or ``NAME@URL``.
    :raises ConfigError: if the options contradict each other.
    """
    return _at_server(_servers(options), name, options)


def _bare_models(options: Mapping[str, Any]) -> dict[str, ChatModel]:
    """A bare model for each role, as the options say it; equal choices share one model."""
    model, local = options["model"], options["local"]
    if model is not None and local is not None:
        raise ConfigError("--model and --local name two models; give one, or one role a model of its own")
    if model is None and options["base_url"] is not None:
        raise ConfigError("--base-url needs --model NAME, the model's name at that server", field="model")
    servers = _servers(options)
    chosen = {role: options[f"role_{role}"] or model or LOCAL for role in ROLE_NAMES}
    if (servers.headers or servers.extras) and set(chosen.values()) == {LOCAL}:
        raise ConfigError("--header and --extra are for models at a server; name one with --model", field="model")
    made: dict[str, ChatModel] = {
        choice: LocalChat(local, slots=options["concurrency"] or 4)
        if choice == LOCAL
        else _at_server(servers, choice, options)
        for choice in dict.fromkeys(chosen.values())
    }
    return {role: made[choice] for role, choice in chosen.items()}


@dataclass(frozen=True)
class ModelSetup:
    """Everything about models that the options of a command say.

    :param bare: the model of each role, without layers.
    :param budget: what all calls together may cost.
    :param prices: money per million tokens by model.
    :param limits: calls at once and a minute.
    :param cache_folder: where replies are kept; None for nowhere.
    :param replay: whether replies come from the cache alone.
    :param sampling: how each role's replies are drawn, where not by its default.
    :param judging: how the judge is asked, as :meth:`~mctsdialog.Roles.from_model` has it.
    """

    bare: Mapping[str, ChatModel]
    budget: Budget
    prices: Mapping[str, Price]
    limits: Limits
    cache_folder: Path | None
    replay: bool
    sampling: Mapping[str, Sampling] = field(default_factory=dict)
    judging: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], cache_folder: Path) -> ModelSetup:
        """What the options of :func:`with_model_options` say.

        :param cache_folder: where replies are kept unless the options say otherwise.
        :raises ConfigError: if they contradict each other.
        """
        if options["no_cache"] and options["replay"]:
            raise ConfigError("--replay needs a cache; drop --no-cache")
        prices = parse_prices(options["prices"])
        return cls(
            bare=_bare_models(options),
            budget=Budget(
                calls=options["max_calls"],
                tokens=options["max_tokens"],
                money=options["max_money"],
                seconds=options["max_seconds"],
                prices=prices,
            ),
            prices=prices,
            limits=_limits(options),
            cache_folder=None if options["no_cache"] else options["cache_folder"] or cache_folder,
            replay=options["replay"],
            sampling=role_sampling(
                max_tokens=options["max_reply_tokens"],
                reasoning_effort=options["reasoning_effort"],
                judge_samples=options["judge_samples"],
            ),
            judging={"judge": options["judge"], "judge_samples": options["judge_samples"]},
        )

    @property
    def at_once(self) -> int | Limits:
        """Calls to keep under way: the limits' number, or where they have none, what suits the models."""
        if self.limits.concurrency is not None:
            return self.limits
        slots = [model.slots for model in self.bare.values() if isinstance(model, LocalChat)]
        return max(slots, default=AT_ONCE)

    def at_once_with(self, workers: int) -> int:
        """Calls to keep under way in so many processes together, whose limits this process does not see change."""
        limits = self.limits
        most = limits.max_concurrency if isinstance(limits, AdaptiveLimits) else limits.concurrency
        return AT_ONCE * workers if most is None else most

    def open(self, closing: AsyncExitStack, *, retry: Retry | None = None) -> OpenModels:
        """The models in their layers; one stack a model, closed with ``closing``.

        :param retry: how often a call is tried again; by default as in every run.
        """
        cache = None
        if self.cache_folder is not None:
            mode: CacheMode = "read-only" if self.replay else "read-write"
            cache = closing.enter_context(ResponseCache(self.cache_folder, mode=mode, prices=self.prices))
        meter = Meter()
        stacks: dict[int, ChatModel] = {}
        for model in self.bare.values():
            if id(model) not in stacks:
                layers: dict[str, Any] = {"cache": cache, "budget": self.budget, "limits": self.limits, "meter": meter}
                stack = build_stack(model, **layers, retry=retry or Retry())
                stacks[id(model)] = stack
                closing.push_async_callback(stack.aclose)
        models = {role: stacks[id(model)] for role, model in self.bare.items()}
        return OpenModels(models, meter, cache, self.budget, self.sampling, self.judging)


def _limits(options: Mapping[str, Any]) -> Limits:
    concurrency, per_minute = options["concurrency"], (options["requests_per_minute"], options["tokens_per_minute"])
    if not options["adaptive"]:
        return Limits(concurrency, *per_minute)
    return AdaptiveLimits(
        concurrency or _MOST_ADAPTIVE, requests_per_minute=per_minute[0], tokens_per_minute=per_minute[1]
    )


@dataclass(frozen=True)
class OpenModels:
    """Models ready to be called, and what they have cost."""

    models: Mapping[str, ChatModel]
    meter: Meter
    cache: ResponseCache | None
    budget: Budget
    sampling: Mapping[str, Sampling] = field(default_factory=dict)
    judging: Mapping[str, Any] = field(default_factory=dict)

    def roles(self, domain: Domain) -> Roles:
        """The four roles in a domain."""
        return Roles.from_model(
            self.models["seeker"], domain=domain, models=self.models, sampling=self.sampling, **self.judging
        )

    def cost_lines(self) -> list[str]:
        """What was spent by role and model, a line each."""
        return cost_lines(Counts.of(self.meter).parts(self.budget.prices))

    def cost(self) -> str:
        """Calls, tokens, cache hits and money so far."""
        usage, spent = self.meter.usage, self.budget.used
        parts = [counted(self.meter.calls, "call"), counted(usage.total_tokens, "token")]
        if self.cache is not None:
            stats = self.cache.stats
            saved = f" ({counted(stats.tokens_saved, 'token')} saved)" if stats.hits else ""
            parts.append(f"{counted(stats.hits, 'cache hit')}{saved}")
            if stats.corrupt:
                parts.append(counted(stats.corrupt, "damaged cache entry", "damaged cache entries"))
        if spent.money:
            parts.append(f"cost {spent.money:.4f}")
        return "  ".join(parts)

    def spending(self, calls_per_second: float | None = None) -> list[str]:
        """What a progress line shows: money and its budget, pace, cache, calls, tokens."""
        counts = Counts.of(self.meter, self.budget)
        hits = 0 if self.cache is None else self.cache.stats.hits
        cache = [f"cache {hits / (hits + counts.calls):.0%}"] if hits else []
        return spending_parts(counts, self.budget.limits, calls_per_second, cache)

    @contextmanager
    def reported_when_cut_short(self) -> Iterator[None]:
        """Where an error or an interrupt ends the block, say what was spent until then."""
        began = time.monotonic()
        try:
            yield
        except BaseException:
            for line in [f"Spent: {self.closing_line(time.monotonic() - began)}", *self.cost_lines()]:
                echo(line, err=True)
            raise

    def closing_line(self, seconds: float) -> str:
        """What was spent in how long, in a line."""
        usage = self.meter.usage
        rate = f"  {usage.completion_tokens / seconds:.1f} tokens/s" if self.meter.calls else ""
        reused = f"  {counted(usage.cached_tokens, 'prompt token')} reused" if usage.cached_tokens else ""
        return f"{self.cost()}  {seconds:.1f} s{rate}{reused}"


def most_workers(options: Mapping[str, Any]) -> int | None:
    """The most worker processes that can share the limits and the budget: each needs a part of every number."""
    return min((options[name] for name in _SHARED if options[name] is not None), default=None)


@asynccontextmanager
async def open_worker(
    options: Mapping[str, Any], cache_folder: Path, share: Share
) -> AsyncGenerator[WorkerModels, None]:
    """The models of a Ray worker, by the options of :func:`with_model_options`, with its share of limits and budget."""
    own = dict(options)
    if own["adaptive"]:
        own["concurrency"] = own["concurrency"] or _MOST_ADAPTIVE
    for name in _SHARED:
        if own[name] is not None:
            own[name] = share.of(own[name])
    if own["max_money"] is not None:
        own["max_money"] /= share.count
    async with AsyncExitStack() as closing:
        models = ModelSetup.from_options(own, cache_folder).open(closing)
        yield WorkerModels(models.roles, models.meter, models.budget)
