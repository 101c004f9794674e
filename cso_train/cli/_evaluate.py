"""``python -m cso_train testset``, ``evaluate`` and ``table``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, get_args

import click

from cso_train._data import trained_seeds
from cso_train._models import Precision, adapted, load_for_answers
from cso_train._progress import progress_bar
from cso_train.cli._parts import domain_option, resamples_option, server_model
from cso_train.errors import TrainConfigError
from cso_train.evaluation._contexts import TestCase, build_test_set, read_test_set, write_test_set
from cso_train.evaluation._evaluate import BASELINES, Baseline, evaluate, join_tables, write_report, write_tables
from cso_train.evaluation._metrics import Evaluation
from cso_train.evaluation._plots import write_plots
from cso_train.evaluation._replies import Replies, ServerReplies, TransformersReplies
from cso_train.evaluation._table import markdown_table
from mctsdialog import read_dialogues
from mctsdialog.cli.exits import errors_as_exits, interruptible
from mctsdialog.cli.keys import shown_choice, split_choice, with_server_options
from mctsdialog.cli.terminal import echo
from mctsdialog.dialogue import Domain, named_domain
from mctsdialog.files import parse_json
from mctsdialog.llm import Limits
from mctsdialog.llm.providers import split_provider


@click.command("testset")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File for the test set (JSON lines).")
@click.option(
    "--format", "form", default="auto", show_default=True, help="Format of FILES, as in 'mctsdialog inspect'."
)
@click.option("--domain", metavar="NAME|FILE", help="Domain whose strategies count. Default: the domain of the format.")
@click.option("--least", default=5, show_default=True, type=click.IntRange(1), help="Fewest utterances of a context.")
@click.option("--most", default=15, show_default=True, type=click.IntRange(1), help="Most utterances of a context.")
@click.option("--limit", type=click.IntRange(1), help="Draw at most this many contexts.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draw.")
@click.option(
    "--exclude",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Training data whose dialogues to leave out. Repeatable.",
)
@click.option("--lenient", is_flag=True, help="Skip and count malformed dialogues.")
@click.option("-v", "--verbose", is_flag=True, help="Show everything that was changed or skipped while reading.")
def testset_command(files: tuple[Path, ...], domain: str | None, **options: Any) -> None:
    """Make a test set from labelled dialogues: contexts that end with a seeker turn, and the gold turn."""
    with errors_as_exits():
        named, chosen = None if domain is None else named_domain(domain), None
        dialogues = []
        for file in files:
            found = read_dialogues(file, format=options["form"], domain=named, lenient=options["lenient"])
            echo(f"{file}: {found.report if options['verbose'] else found.report.in_one_line()}", err=True)
            chosen = chosen or found.domain
            if found.domain != chosen:
                both = f"{file} is of domain {found.domain.name}, the files before it of {chosen.name}"
                raise TrainConfigError(f"{both}; give --domain, or make a test set of each", field="domain")
            dialogues += list(found)
        assert chosen is not None, "there is a file"
        lengths = {"min_turns": options["least"], "max_turns": options["most"]}
        exclude = frozenset[str]().union(*map(trained_seeds, options["exclude"]))
        draw = {"limit": options["limit"], "seed": options["seed"], "exclude": exclude}
        cases = build_test_set(dialogues, chosen, **lengths, **draw)
        sources = len({case.id.rpartition("/")[0] for case in cases})
        written = write_test_set(options["out"], cases)
        echo(f"{len(cases)} contexts of {sources} dialogues in {written}")


@click.command("evaluate")
@click.option("--test", "test_file", required=True, type=click.Path(path_type=Path), help="Test set, see 'testset'.")
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("smollm2",),
    show_default="smollm2",
    help="Model to evaluate: hub name, folder or GGUF file; at a server NAME with --server, NAME@URL or "
    "PROVIDER/NAME (but openai/NAME is on the hub); 'local' for the embedded model. Repeatable.",
)
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Also evaluate the first model with this adapter. Repeatable.",
)
@click.option("--revision", help="Branch, tag or commit of models on the hub.")
@click.option(
    "--trust-remote-code", is_flag=True, help="Run code that comes with a model. Use only for models you trust."
)
@click.option(
    "--dtype",
    default="auto",
    show_default=True,
    type=click.Choice(get_args(Precision)),
    help="Number format of the weights; 'auto' is bf16 on GPUs that support it, else fp32.",
)
@click.option(
    "--chat-template-kwargs",
    "template",
    metavar="JSON",
    help="Variables of the chat template, such as '{\"enable_thinking\": true}'; also sent to servers.",
)
@click.option("--server", metavar="URL", help="OpenAI-compatible server of the models, up to /v1.")
@with_server_options
@click.option(
    "--concurrency", default=8, show_default=True, type=click.IntRange(1), help="Concurrent calls to a server."
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    type=click.Choice([name for name in BASELINES if name != "none"]),
    help="Also evaluate the first model with a decoding baseline (Appendix E). Repeatable.",
)
@click.option("--examples", type=click.Path(path_type=Path), help="Training cases for the baseline 'example'.")
@domain_option
@click.option("--limit", type=click.IntRange(1), help="Use only this many contexts.")
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Contexts per batch.")
@click.option(
    "--max-tokens",
    "--max-reply-tokens",
    "max_tokens",
    default=128,
    show_default=True,
    type=click.IntRange(1),
    help="Most tokens per reply; a reasoning model at a server may use more.",
)
@click.option(
    "--max-length",
    default=2048,
    show_default=True,
    type=click.IntRange(2),
    help="Most tokens of prompt and reply together.",
)
@click.option(
    "--temperature",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Sampling temperature; 0 takes the most likely token.",
)
@resamples_option
@click.option("--seed", default=0, show_default=True, help="Seed of all random draws.")
@click.option("--figures/--no-figures", default=True, help="Draw the figures (needs matplotlib).")
@click.option(
    "--out", default=Path("evaluation"), show_default=True, type=click.Path(path_type=Path), help="Output folder."
)
def evaluate_command(**options: Any) -> None:
    """Evaluate strategies and replies of models, adapters and decoding baselines on a test set (Table 2)."""
    warnings.simplefilter("ignore", FutureWarning)  # of names that the libraries use
    models = list(dict.fromkeys(options["models"]))
    options |= {"model": models[0], "others": models[1:]}
    with errors_as_exits():
        domain = named_domain(options["domain"])
        cases = read_test_set(options["test_file"], domain)[: options["limit"]]
        examples = read_test_set(options["examples"], domain) if options["examples"] else []
        options["chat_template_kwargs"] = _template_settings(options["template"])
        if "example" in options["baselines"] and not examples:
            raise TrainConfigError("the baseline 'example' needs --examples", field="examples")
        if _served(options) and options["adapters"]:
            raise TrainConfigError("a server has its own adapters; name one with --model", field="adapter")
        with interruptible("Interrupted.") as interrupts:
            evaluations, replies = interrupts.run(_evaluate, options, cases, examples, domain)
        echo(markdown_table(evaluations))
        draws = {"resamples": options["resamples"], "seed": options["seed"]}
        written = write_report(options["out"], evaluations, replies, cases, **draws)
        if options["figures"]:
            written += write_plots(evaluations, options["out"])
        for path in written:
            echo(path)


@click.command("table")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--figures/--no-figures", default=True, help="Draw the figures (needs matplotlib).")
@click.option("--out", default=Path("table"), show_default=True, type=click.Path(path_type=Path), help="Output folder.")
def table_command(files: tuple[Path, ...], figures: bool, out: Path) -> None:
    """Join several evaluations (their evaluation.json) in one table."""
    with errors_as_exits():
        evaluations = join_tables(files)
        echo(markdown_table(evaluations))
        written = write_tables(out, evaluations)
        for path in [*written, *(write_plots(evaluations, out) if figures else [])]:
            echo(path)


async def _evaluate(
    options: dict[str, Any], cases: list[TestCase], examples: list[TestCase], domain: Domain
) -> tuple[dict[str, Evaluation], dict[str, list[str]]]:
    evaluations: dict[str, Evaluation] = {}
    said: dict[str, list[str]] = {}

    async def one(name: str, replies: Replies, baseline: Baseline = "none") -> None:
        echo(f"{name}: {len(cases)} contexts", err=True)
        draws = {"resamples": options["resamples"], "seed": options["seed"]}
        with progress_bar(name) as show:
            evaluations[name], said[name] = await evaluate(
                replies, cases, domain, baseline=baseline, examples=examples, on_progress=show, **draws
            )

    async def model_and_baselines(replies: Replies) -> None:
        name = shown_choice(options["model"])
        await one(name, replies)
        for baseline in options["baselines"]:
            await one(f"{name} {BASELINES[baseline]}", replies, baseline)

    if _served(options):
        limits = Limits(options["concurrency"])
        names = ("concurrency", "max_tokens", "temperature")
        for name in (options["model"], *options["others"]):
            async with server_model(name, options, limits=limits) as model:
                there = ServerReplies(model, **{each: options[each] for each in names})
                await (model_and_baselines(there) if name == options["model"] else one(shown_choice(name), there))
        return evaluations, said
    model, tokenizer = _loaded(options["model"], options)
    await model_and_baselines(_local(model, tokenizer, options))
    for folder in options["adapters"]:
        model, its_tokenizer = adapted(model, tokenizer, folder)
        await one(str(folder), _local(model, its_tokenizer, options))
    del model  # before the next is loaded
    for name in options["others"]:
        await one(name, _local(*_loaded(name, options), options))
    return evaluations, said


def _served(options: dict[str, Any]) -> bool:
    """Whether the models answer through mctsdialog's model stack: at a server, or embedded in llama.cpp."""
    model = options["model"]
    provider = None if Path(model).exists() else split_provider(model)[0]
    hosted = provider is not None and provider.name != "openai"  # the hub has models of that name
    return bool(options["server"]) or model == "local" or hosted or split_choice(model)[1] is not None


def _template_settings(text: str | None) -> dict[str, Any] | None:
    """What ``--chat-template-kwargs`` says."""
    if text is None:
        return None
    try:
        found = parse_json(text)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise TrainConfigError(
            f"--chat-template-kwargs takes a JSON object: {error}", field="chat_template_kwargs"
        ) from error
    return found


def _loaded(name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """A model on this machine's device, and its tokenizer."""
    return load_for_answers(name, **{each: options[each] for each in ("revision", "trust_remote_code", "dtype")})


def _local(model: Any, tokenizer: Any, options: dict[str, Any]) -> TransformersReplies:
    names = ("batch_size", "max_length", "max_tokens", "temperature", "seed", "chat_template_kwargs")
    return TransformersReplies(model, tokenizer, **{name: options[name] for name in names})
