"""``python -m cso_train testset`` and ``evaluate``."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import click

from cso_train.data import load_data, trained_seeds
from cso_train.errors import CsoTrainError, TrainConfigError, TrainDataError
from cso_train.evaluation.contexts import TestCase, build_test_set, read_test_set, write_test_set
from cso_train.evaluation.metrics import Evaluation
from cso_train.evaluation.pairwise import (
    PairToJudge,
    PairwiseJudge,
    PairwiseResult,
    compare_replies,
    pairwise_table,
    rubric_criteria,
)
from cso_train.evaluation.plots import save_plots
from cso_train.evaluation.replies import Replies, ServerReplies, TransformersReplies
from cso_train.evaluation.run import BASELINES, Baseline, evaluate_model, write_report
from cso_train.evaluation.table import markdown_table
from cso_train.models import ModelSource, load_model, load_tokenizer
from cso_train.progress import progress_bar
from mctsdialog import Limits, OpenAIChat, ResponseCache, build_stack, read_dialogues
from mctsdialog.cli.exits import BAD_INPUT, FAILED, INTERRUPTED, Failure, errors_as_exits
from mctsdialog.dialogue import Domain, named_domain
from mctsdialog.files import write_atomically
from mctsdialog.preferences import read_rows


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Errors as one line each: bad input exits with 2, what failed with 1."""
    try:
        with errors_as_exits():
            yield
    except CsoTrainError as error:
        code = BAD_INPUT if isinstance(error, ValueError) else FAILED
        raise Failure(str(error), code) from error


_DOMAIN = click.option(
    "--domain", default="esc", show_default=True, metavar="NAME|FILE", help="Whose strategies count."
)


@click.command("testset")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The test set, JSON lines.")
@click.option("--format", "form", default="auto", show_default=True, help="Of FILES: auto, extes, esconv or chat.")
@_DOMAIN
@click.option("--least", default=5, show_default=True, type=click.IntRange(1), help="Fewest utterances of a context.")
@click.option("--most", default=15, show_default=True, type=click.IntRange(1), help="Most utterances of a context.")
@click.option("--limit", type=click.IntRange(1), help="Draw at most so many contexts.")
@click.option("--seed", default=0, show_default=True, help="Of the draw.")
@click.option(
    "--exclude",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Data that a model is trained on: leave its dialogues out; again for several.",
)
@click.option("--lenient", is_flag=True, help="Count malformed dialogues and go on.")
def testset_command(files: tuple[Path, ...], domain: str, **options: Any) -> None:
    """Make a strategy test set of labelled dialogues: contexts that end on the seeker, and the gold turn."""
    with errors_as_lines():
        chosen = named_domain(domain)
        dialogues = []
        for file in files:
            found = read_dialogues(file, format=options["form"], domain=chosen, lenient=options["lenient"])
            click.echo(f"{file}: {found.report}", err=True)
            dialogues += list(found)
        lengths = {"least": options["least"], "most": options["most"]}
        exclude = frozenset[str]().union(*map(trained_seeds, options["exclude"]))
        draw = {"limit": options["limit"], "seed": options["seed"], "exclude": exclude}
        cases = build_test_set(dialogues, chosen, **lengths, **draw)
        sources = len({case.id.rpartition("/")[0] for case in cases})
        written = write_test_set(options["out"], cases)
        click.echo(f"{len(cases)} contexts of {sources} dialogues in {written}")


@click.command("evaluate")
@click.option("--test", "test_file", required=True, type=click.Path(path_type=Path), help="Test set, see 'testset'.")
@click.option(
    "--model", default="smollm2", show_default=True, help="Hub name, folder or GGUF file; at a server: its name."
)
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Also with this adapter; again for several.",
)
@click.option("--server", metavar="URL", help="An OpenAI-compatible server that has the model, up to /v1.")
@click.option(
    "--api-key-env", default="OPENAI_API_KEY", show_default=True, help="Variable that holds the server's key."
)
@click.option("--concurrency", default=8, show_default=True, type=click.IntRange(1), help="Calls at once to a server.")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    type=click.Choice([name for name in BASELINES if name != "none"]),
    help="Also the model by a decoding baseline (Appendix E); again for several.",
)
@click.option("--examples", type=click.Path(path_type=Path), help="Training cases for the baseline 'example'.")
@_DOMAIN
@click.option("--limit", type=click.IntRange(1), help="Only the first so many contexts.")
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Contexts at once.")
@click.option("--max-tokens", default=128, show_default=True, type=click.IntRange(1), help="Longest reply in tokens.")
@click.option("--max-length", default=2048, show_default=True, type=click.IntRange(2), help="Longest prompt and reply.")
@click.option(
    "--temperature", default=0.0, show_default=True, type=click.FloatRange(0), help="0 takes the likeliest token."
)
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(0), help="Bootstrap samples.")
@click.option("--seed", default=0, show_default=True, help="Of every draw.")
@click.option("--figures/--no-figures", default=True, help="Draw the figures (needs matplotlib).")
@click.option("--out", default=Path("evaluation"), show_default=True, type=click.Path(path_type=Path), help="Folder.")
def evaluate_command(**options: Any) -> None:
    """Score a model's strategies and replies on a test set, with its adapters and baselines beside it (Table 2)."""
    warnings.simplefilter("ignore", FutureWarning)  # of names that the libraries use
    with errors_as_lines():
        domain = named_domain(options["domain"])
        cases = read_test_set(options["test_file"], domain)[: options["limit"]]
        examples = read_test_set(options["examples"], domain) if options["examples"] else []
        if "example" in options["baselines"] and not examples:
            raise TrainConfigError("the baseline 'example' needs --examples", field="examples")
        if options["server"] and options["adapters"]:
            raise TrainConfigError("a server has its own adapters; name one with --model", field="adapter")
        try:
            evaluations, replies = anyio.run(_evaluate, options, cases, examples, domain)
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            sys.exit(INTERRUPTED)
        click.echo(markdown_table(evaluations))
        written = write_report(options["out"], evaluations, replies, cases)
        if options["figures"]:
            written += save_plots(evaluations, options["out"])
        for path in written:
            click.echo(path)


@click.command("pairwise")
@click.option(
    "--replies", type=click.Path(path_type=Path), help="replies.jsonl of 'evaluate'; compares two models in it."
)
@click.option("--first", help="Name of the first model in the replies.")
@click.option("--second", help="Name of the second model in the replies.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Pairs instead: chosen against rejected replies (Table 1)."
)
@click.option(
    "--criteria", type=click.Choice(["human", "rubric"]), help="Table 3's, or the judge's rubric (for --data)."
)
@_DOMAIN
@click.option("--model", required=True, help="The judge's name at the server.")
@click.option("--server", metavar="URL", help="Its OpenAI-compatible server, up to /v1. Default: api.openai.com.")
@click.option("--api-key-env", default="OPENAI_API_KEY", show_default=True, help="Variable of the server's key.")
@click.option("--concurrency", default=8, show_default=True, type=click.IntRange(1), help="Pairs at once.")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many pairs.")
@click.option("--out", default=Path("pairwise"), show_default=True, type=click.Path(path_type=Path), help="Folder.")
def pairwise_command(**options: Any) -> None:
    """Win, lose and tie between two models, or between preferred and rejected replies, by a model as judge.

    Every pair is judged in both orders; only a verdict that holds in both is a win.
    """
    with errors_as_lines():
        pairs, first, second = _pairs(options)
        kind = options["criteria"] or ("rubric" if options["data"] else "human")
        criteria = rubric_criteria(named_domain(options["domain"])) if kind == "rubric" else None
        try:
            result = anyio.run(_judge, options, pairs[: options["limit"]], criteria)
        except KeyboardInterrupt:
            click.echo("\nInterrupted; the judge's answers so far are kept.", err=True)
            sys.exit(INTERRUPTED)
        table = pairwise_table(result, first, second)
        verdicts = "".join(json.dumps(each) + "\n" for each in result.verdicts)
        click.echo(table)
        click.echo(write_atomically(options["out"] / "pairwise.md", table))
        click.echo(write_atomically(options["out"] / "verdicts.jsonl", verdicts))


def _pairs(options: dict[str, Any]) -> tuple[list[PairToJudge], str, str]:
    if (options["replies"] is None) == (options["data"] is None):
        raise TrainConfigError("give --replies with --first and --second, or --data", field="replies")
    if options["data"] is not None:
        rows = load_data([options["data"]], "preference").rows
        chosen = [_pair(row["prompt"], row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]
        return chosen, "chosen", "rejected"
    names = (options["first"], options["second"])
    pairs = []
    for number, row in enumerate(read_rows(options["replies"]), start=1):
        try:
            said = row["replies"]
            pairs.append(_pair(row["prompt"], said[names[0]], said[names[1]]))
        except (KeyError, TypeError) as error:
            known = ", ".join(row.get("replies", {})) if isinstance(row, dict) else ""
            message = f"has no reply of {error}; there are: {known or 'none'}"
            raise TrainDataError(message, file=options["replies"], item=f"row {number}") from error
    return pairs, names[0], names[1]


def _pair(prompt: list[dict[str, str]], first: str, second: str) -> PairToJudge:
    sides = {"user": "Seeker", "assistant": "Supporter"}
    history = tuple(f"{sides[each['role']]}: {each['content']}" for each in prompt if each["role"] in sides)
    return PairToJudge(history, first, second)


async def _judge(options: dict[str, Any], pairs: list[PairToJudge], criteria: dict[str, str] | None) -> PairwiseResult:
    async with _server(options) as stack:
        return await compare_replies(PairwiseJudge(stack, criteria), pairs, concurrency=options["concurrency"])


async def _evaluate(
    options: dict[str, Any], cases: list[TestCase], examples: list[TestCase], domain: Domain
) -> tuple[dict[str, Evaluation], dict[str, list[str]]]:
    evaluations: dict[str, Evaluation] = {}
    said: dict[str, list[str]] = {}

    async def one(name: str, replies: Replies, baseline: Baseline = "none") -> None:
        click.echo(f"{name}: {len(cases)} contexts", err=True)
        draws = {"resamples": options["resamples"], "seed": options["seed"]}
        with progress_bar(name) as show:
            evaluations[name], said[name] = await evaluate_model(
                replies, cases, domain, baseline=baseline, examples=examples, on_progress=show, **draws
            )

    async def model_and_baselines(replies: Replies) -> None:
        await one(options["model"], replies)
        for baseline in options["baselines"]:
            await one(f"{options['model']} {BASELINES[baseline]}", replies, baseline)

    if options["server"]:
        async with _server(options) as stack:
            limits = {"concurrency": options["concurrency"], "max_tokens": options["max_tokens"]}
            await model_and_baselines(ServerReplies(stack, **limits, temperature=options["temperature"]))
        return evaluations, said
    source = ModelSource.of(options["model"])
    tokenizer = load_tokenizer(source)
    model = _on_device(load_model(source, dtype=_dtype()))
    await model_and_baselines(_local(model, tokenizer, options))
    for folder in options["adapters"]:
        await one(str(folder), _local(_adapted(model, folder), tokenizer, options))
    return evaluations, said


def _server(options: dict[str, Any]) -> Any:
    key = os.environ.get(options["api_key_env"])
    if options["server"] is None:
        if key is None:
            raise TrainConfigError(f"set {options['api_key_env']} to your key, or name a --server", field="server")
        chat = OpenAIChat(options["model"], api_key=key)
    else:
        chat = OpenAIChat(options["model"], base_url=options["server"], api_key=key or "")
    return build_stack(chat, cache=ResponseCache(options["out"] / "cache"), limits=Limits(options["concurrency"]))


def _local(model: Any, tokenizer: Any, options: dict[str, Any]) -> TransformersReplies:
    names = ("batch_size", "max_length", "max_tokens", "temperature", "seed")
    return TransformersReplies(model, tokenizer, **{name: options[name] for name in names})


def _adapted(model: Any, folder: Path) -> Any:
    from peft import PeftModel  # noqa: PLC0415  # heavy

    if not (folder / "adapter_config.json").is_file():
        raise TrainConfigError(f"{folder} holds no adapter: adapter_config.json is missing", field="adapter")
    base = model.unload() if isinstance(model, PeftModel) else model
    return PeftModel.from_pretrained(base, str(folder)).eval()


def _dtype() -> Any:
    import torch  # noqa: PLC0415  # heavy

    return torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else torch.float32


def _on_device(model: Any) -> Any:
    import torch  # noqa: PLC0415  # heavy

    model.config.use_cache = True
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
