"""``python -m cso_train pairwise`` and ``rate``: replies judged by models, or by people on sheets."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from cso_train._data import checked_prompt, load_data
from cso_train._progress import progress_bar
from cso_train.cli._parts import domain_option, resamples_option, server_model
from cso_train.errors import TrainConfigError, TrainDataError
from cso_train.evaluation._pairwise import (
    HUMAN_CRITERIA,
    PairToJudge,
    PairwiseJudge,
    PairwiseResult,
    compare_replies,
    pairwise_shares,
    pairwise_table,
    pairwise_values,
    rubric_criteria,
)
from cso_train.evaluation._ratings import (
    RatingJudge,
    RatingResult,
    ReplyToRate,
    rate_replies,
    rating_json,
    rating_summaries,
    rating_table,
)
from cso_train.evaluation._sheets import (
    SheetKey,
    items_of,
    read_pair_sheet,
    read_rating_sheet,
    sheet_dialogues,
    write_pair_sheet,
    write_rating_sheet,
)
from mctsdialog import ChatModel, Domain
from mctsdialog.cli.exits import FAILED, Failure, errors_as_exits, interruptible
from mctsdialog.cli.keys import max_reply_tokens_option, shown_choice, with_server_options
from mctsdialog.cli.terminal import echo
from mctsdialog.dialogue import named_domain
from mctsdialog.files import inside, write_atomically
from mctsdialog.llm import Limits
from mctsdialog.preferences import parse_reply, read_rows

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
J = TypeVar("J")

_OPTIONS = [
    domain_option,
    click.option(
        "--model",
        "models",
        multiple=True,
        metavar="NAME[@URL]",
        help="Judge model: its name at the server, NAME@URL, PROVIDER/NAME, or 'local' for the embedded model. "
        "Repeatable.",
    ),
    click.option(
        "--server", metavar="URL", help="OpenAI-compatible server of the judges, up to /v1. Default: OpenAI's."
    ),
    with_server_options,
    max_reply_tokens_option,
    click.option(
        "--repeats",
        default=1,
        show_default=True,
        type=click.IntRange(1),
        help="Independent judgements per judge; with 2 or more, at temperature 1.",
    ),
    click.option("--concurrency", default=8, show_default=True, type=click.IntRange(1), help="Concurrent calls."),
    click.option(
        "--sheet",
        type=click.Path(path_type=Path),
        help="Instead of judging, write a sheet for people into this folder.",
    ),
    click.option(
        "--sheets",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Instead of judging, read a sheet that a person filled in. Repeatable.",
    ),
    click.option("--key", type=click.Path(path_type=Path), help="key.json of those sheets."),
    click.option("--limit", type=click.IntRange(1), help="Use only this many items."),
    resamples_option,
    click.option("--seed", default=0, show_default=True, help="Seed of the sheets' order and the intervals."),
]


def _with_judges(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("pairwise")
@click.option(
    "--replies", type=click.Path(path_type=Path), help="replies.jsonl of 'evaluate', to compare two of its models."
)
@click.option("--first", help="Name of the first model in the replies.")
@click.option("--second", help="Name of the second model in the replies.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Preference data instead, to compare chosen with rejected replies (Table 1).",
)
@click.option(
    "--criteria",
    type=click.Choice(["human", "rubric"]),
    help="Criteria: 'human' for Table 3's, or 'rubric' for the search's rubric (with --data).",
)
@_with_judges
@click.option(
    "--out", default=Path("pairwise"), show_default=True, type=click.Path(path_type=Path), help="Output folder."
)
def pairwise_command(**options: Any) -> None:
    """Compare the replies of two models, or chosen with rejected replies: wins, losses, ties.

    Judge models see every pair in both orders, and only a verdict that holds in both is a win. For people, --sheet
    writes a blind, shuffled sheet, and --sheets with --key reads the filled-in copies.
    """
    with errors_as_exits():
        way = _way(options)
        if way == "read":
            key = SheetKey.read(options["key"], "pairwise")
            raters = {str(path): read_pair_sheet(path, key) for path in options["sheets"]}
            result = PairwiseResult(
                tuple(key.criteria), raters, sheet_dialogues(options["sheets"][0], key), whole=key.whole
            )
            _write_pairwise(result, key.systems, options)
            return
        domain = named_domain(options["domain"])
        pairs, first, second = _pairs(options, domain)
        kind = options["criteria"] or ("rubric" if options["data"] else "human")
        criteria = rubric_criteria(domain) if kind == "rubric" else HUMAN_CRITERIA
        if way == "write":
            _print_files(
                write_pair_sheet(options["sheet"], pairs, criteria, names=(first, second), seed=options["seed"])
            )
            return
        result = _judged(
            options,
            lambda model, settings: PairwiseJudge(model, criteria, **settings),
            lambda judges, show: compare_replies(judges, pairs, concurrency=options["concurrency"], on_progress=show),
        )
        _write_pairwise(result, [(first, second)] * len(pairs), options)


@click.command("rate")
@click.option("--replies", type=click.Path(path_type=Path), help="replies.jsonl of 'evaluate', to rate all its models.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Preference data instead, to rate chosen and rejected replies."
)
@_with_judges
@click.option(
    "--out", default=Path("ratings"), show_default=True, type=click.Path(path_type=Path), help="Output folder."
)
def rate_command(**options: Any) -> None:
    """Rate single replies from 1 to 5: acceptance, effectiveness, sensitivity, satisfaction, alignment (Table 6).

    The judges are models or people. For people, --sheet writes a blind, shuffled sheet, and --sheets with --key reads
    the filled-in copies.
    """
    with errors_as_exits():
        way = _way(options)
        if way == "read":
            key = SheetKey.read(options["key"], "rate")
            raters = {str(path): read_rating_sheet(path, key) for path in options["sheets"]}
            items = items_of(key, sheet_dialogues(options["sheets"][0], key))
            _write_ratings(RatingResult(items, raters, whole=key.whole), options)
            return
        items = _items(options, named_domain(options["domain"]))
        if way == "write":
            _print_files(write_rating_sheet(options["sheet"], items, seed=options["seed"]))
            return
        result = _judged(
            options,
            lambda model, settings: RatingJudge(model, **settings),
            lambda judges, show: rate_replies(judges, items, concurrency=options["concurrency"], on_progress=show),
        )
        _write_ratings(result, options)


def _way(options: Mapping[str, Any]) -> str:
    """Who judges: "models", or people, whose sheets we "write" or "read"."""
    given = [name for name in ("models", "sheet", "sheets") if options[name]]
    if len(given) != 1:
        raise TrainConfigError("give --model, or --sheet, or --sheets with --key", field="model")
    if bool(options["sheets"]) != (options["key"] is not None):
        raise TrainConfigError("--sheets and --key go together", field="key")
    if options["sheets"] and (options["replies"] or options["data"]):
        raise TrainConfigError("--sheets are read by their key alone, without --replies or --data", field="sheets")
    return {"models": "models", "sheet": "write", "sheets": "read"}[given[0]]


# -- what is judged ------------------------------------------------------------------------------------------------


def _pairs(options: Mapping[str, Any], domain: Domain) -> tuple[list[PairToJudge], str, str]:
    _one_source(options)
    limit = options["limit"]
    if options["data"] is not None:
        rows = load_data([options["data"]], "preference", domain=domain).rows
        pairs = [
            _pair(row["prompt"], row["chosen"][0]["content"], row["rejected"][0]["content"], domain) for row in rows
        ]
        return pairs[:limit], "chosen", "rejected"
    names = (options["first"], options["second"])
    if None in names:
        raise TrainConfigError("--replies needs --first and --second", field="first")
    pairs = []
    for place, row, said in _replies(options["replies"]):
        missing = [name for name in names if name not in said]
        if missing:
            message = f"has no reply of {missing[0]!r:.60}; there are: {', '.join(said) or 'none'}"
            raise TrainDataError(message, file=options["replies"], item=place)
        pairs.append(_pair(row["prompt"], said[names[0]], said[names[1]], domain))
    return pairs[:limit], names[0], names[1]


def _items(options: Mapping[str, Any], domain: Domain) -> list[ReplyToRate]:
    _one_source(options)
    items = []
    if options["data"] is not None:
        for row in load_data([options["data"]], "preference", domain=domain).rows[: options["limit"]]:
            items.append(_item("preferred", row["prompt"], row["chosen"][0]["content"], domain))
            items.append(_item("non-preferred", row["prompt"], row["rejected"][0]["content"], domain))
        return list(dict.fromkeys(items))  # a preferred reply stands in several pairs
    for _, row, said in [*_replies(options["replies"])][: options["limit"]]:
        gold = row.get("gold")
        if isinstance(gold, dict):
            items.append(ReplyToRate("gold", _history(row["prompt"]), gold["text"], gold.get("strategy")))
        items += [_item(name, row["prompt"], reply, domain) for name, reply in said.items()]
    return items


def _one_source(options: Mapping[str, Any]) -> None:
    if (options["replies"] is None) == (options["data"] is None):
        raise TrainConfigError("give --replies or --data", field="replies")


def _replies(path: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Place, row and replies by model, of what 'evaluate' wrote."""
    empty = True
    for number, row in enumerate(read_rows(path), start=1):
        empty, item = False, f"row {number}"
        said = row.get("replies") if isinstance(row, dict) else None
        if not isinstance(said, dict) or not isinstance(row.get("prompt"), list):
            raise TrainDataError("is no row of 'evaluate': it has no prompt and replies", file=path, item=item)
        checked_prompt(row["prompt"], path, item)
        for name, reply in said.items():
            if not isinstance(reply, str):
                raise TrainDataError("must be a text", file=path, item=item, field=f"replies.{name}")
        gold = row.get("gold")
        if isinstance(gold, dict) and not (
            isinstance(gold.get("text"), str) and isinstance(gold.get("strategy"), str | None)
        ):
            raise TrainDataError(
                "must have a text, and a strategy that is text or null", file=path, item=item, field="gold"
            )
        yield item, row, said
    if empty:
        raise TrainDataError("has no rows", file=path)


def _history(prompt: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    sides = {"user": "Seeker", "assistant": "Supporter"}
    return tuple(f"{sides[each['role']]}: {each['content']}" for each in prompt if each["role"] in sides)


def _pair(prompt: Sequence[Mapping[str, str]], first: str, second: str, domain: Domain) -> PairToJudge:
    words = [parse_reply(each, domain.strategies)[1] for each in (first, second)]
    return PairToJudge(_history(prompt), *words)


def _item(group: str, prompt: Sequence[Mapping[str, str]], reply: str, domain: Domain) -> ReplyToRate:
    strategy, words = parse_reply(reply, domain.strategies)
    return ReplyToRate(group, _history(prompt), words, strategy)


# -- who judges ----------------------------------------------------------------------------------------------------


def _judged(
    options: Mapping[str, Any],
    make: Callable[[ChatModel, dict[str, Any]], J],
    ask: Callable[[Mapping[str, J], Callable[[int, int], None]], Awaitable[R]],
) -> R:
    """Have all judges answer; Ctrl-C keeps their answers so far in the cache."""
    chosen = {shown_choice(given): given for given in dict.fromkeys(options["models"])}
    if len(chosen) < len(set(options["models"])):
        raise TrainConfigError("two judges have the same name and address", field="model")

    async def run() -> R:
        limits, judges = Limits(options["concurrency"]), {}
        async with AsyncExitStack() as stack:
            for shown, given in chosen.items():
                model = await stack.enter_async_context(server_model(given, options, limits=limits))
                for sample in range(options["repeats"]):
                    settings = {"sample": sample, "temperature": 1.0} if options["repeats"] > 1 else {}
                    judges[f"{shown} repeat {sample + 1}" if options["repeats"] > 1 else shown] = make(model, settings)
            with progress_bar("judgements") as show:
                return await ask(judges, show)

    with interruptible("Interrupted; the judges' answers so far are kept.") as interrupts:
        return interrupts.run(run)


# -- what comes out ------------------------------------------------------------------------------------------------


def _write_pairwise(result: PairwiseResult, systems: Sequence[tuple[str, str]], options: Mapping[str, Any]) -> None:
    """Print and write the comparison of each two systems.

    :param systems: the first and the second of every pair.
    """
    tables, values = [], []
    for names in dict.fromkeys(systems):
        own = result.only([at for at, each in enumerate(systems) if each == names])
        shares = pairwise_shares(own, resamples=options["resamples"], seed=options["seed"])
        tables.append(pairwise_table(shares, own, *names))
        values.append(pairwise_values(shares, own, *names))
    table, out = "\n".join(tables), options["out"]
    made = values[0] if len(values) == 1 else {"comparisons": values}
    lines = _lines(result.raters, lambda each: None if each is None else asdict(each))
    echo(table)
    _print_files(
        [
            write_atomically(inside(out, "pairwise.md"), table),
            write_atomically(inside(out, "pairwise.json"), json.dumps(made, ensure_ascii=False, indent=1) + "\n"),
            write_atomically(inside(out, "verdicts.jsonl"), lines),
        ]
    )
    _need_one(result.raters)


def _write_ratings(result: RatingResult, options: Mapping[str, Any]) -> None:
    summaries = rating_summaries(result, resamples=options["resamples"], seed=options["seed"])
    table, out = rating_table(summaries, result), options["out"]
    lines = _lines(result.raters, lambda each: None if each is None else dict(each))
    echo(table)
    _print_files(
        [
            write_atomically(inside(out, "ratings.md"), table),
            write_atomically(inside(out, "ratings.json"), rating_json(summaries, result)),
            write_atomically(inside(out, "scores.jsonl"), lines),
        ]
    )
    _need_one(result.raters)


def _need_one(raters: Mapping[str, Sequence[object]]) -> None:
    """Fail where no rater said anything that counts: the tables are empty."""
    if not any(each is not None for said in raters.values() for each in said):
        raise Failure("no answer of a judge could be read: the tables are empty; try another --model", FAILED)


def _lines(raters: Mapping[str, Sequence[J]], plain: Callable[[J], Any]) -> str:
    """A line of JSON for every pair or reply: what each rater says of it."""
    rows = zip(*raters.values(), strict=True)
    made = (dict(zip(raters, map(plain, row), strict=True)) for row in rows)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)


def _print_files(files: Sequence[Path]) -> None:
    for file in files:
        echo(file)
