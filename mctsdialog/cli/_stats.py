"""``mctsdialog stats``: the statistics of a preference dataset, as text, Markdown, JSON and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mctsdialog.cli._help import GroupedCommand
from mctsdialog.cli._models import given_config, with_config_options
from mctsdialog.cli.exits import BAD_INPUT, EPILOG, Failure, errors_as_exits, interruptible
from mctsdialog.cli.terminal import echo
from mctsdialog.errors import ConfigError, DataError
from mctsdialog.files import inside, write_atomically
from mctsdialog.preferences import PreferenceConfig, PreferenceDataset, load_preferences, read_trees
from mctsdialog.statistics import (
    LocalToxicityScorer,
    ToxicityScorer,
    dataset_statistics,
    toxicity_table,
    write_plots,
)


class _Scorers(click.Choice[str]):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "perspective":
            message = (
                "the Perspective API shuts down at the end of 2026 and its client is gone; use --toxicity local, or"
            )
            self.fail(f"{message} in Python a scorer of your own (docs/preferences.md, Toxicity).", param, ctx)
        return super().convert(value, param, ctx)


@click.command(
    "stats",
    cls=GroupedCommand,
    epilog=EPILOG,
    examples="""
mctsdialog stats trees --out statistics
mctsdialog stats esc-pro --toxicity local --toxicity-model unitary/toxic-bert
""",
)
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("statistics"),
    show_default=True,
    help="Output folder for statistics.md, statistics.json and the figures.",
)
@click.option("--figures/--no-figures", default=True, help="Draw the figures (needs matplotlib).")
@click.option(
    "--figure-format",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    show_default=True,
    help="File format of the figures.",
)
@click.option(
    "--toxicity",
    type=_Scorers(["local"]),
    help="Also rate toxicity, with a classifier on this machine.",
)
@click.option("--toxicity-model", metavar="NAME", help="Classifier for --toxicity local: a hub name or a folder.")
@click.option("--lenient", is_flag=True, help="Skip and count tree files that cannot be read.")
@with_config_options(PreferenceConfig)
def stats_command(data: tuple[Path, ...], **options: Any) -> None:
    """Compute statistics of DATA: tree files, folders of them, or one folder written by 'mctsdialog preferences'.

    Includes the paper's Table 5, strategies over six stages, transitions, diversity, Q, N and margins, near duplicates
    and toxicity. Seed dialogues are compared with the expanded data throughout.
    """
    with errors_as_exits():
        dataset = _dataset(data, options)
        scorer = _scorer(options)
        statistics = dataset_statistics(dataset)
        if scorer is not None:
            with interruptible("Interrupted; nothing was written.") as interrupts:
                statistics = statistics.with_toxicity(interrupts.run(toxicity_table, dataset, scorer))
        echo(str(statistics))
        out: Path = options["out"]
        written = [
            write_atomically(inside(out, "statistics.md"), statistics.to_markdown()),
            write_atomically(inside(out, "statistics.json"), statistics.to_json()),
        ]
        undrawn = None
        if options["figures"]:
            try:
                written += write_plots(statistics, out, format=options["figure_format"])
            except ConfigError as error:
                undrawn = error
        echo()
        for path in written:
            echo(path)
        if undrawn is not None:
            raise Failure(f"the figures are missing: {undrawn}. --no-figures does without", BAD_INPUT)


def _dataset(data: tuple[Path, ...], options: dict[str, Any]) -> PreferenceDataset:
    written = [path for path in data if (path / "dataset.json").is_file()]
    if not written:
        dataset = read_trees(data, PreferenceConfig(**given_config(options)), lenient=options["lenient"])
        echo(f"{dataset.report}\n", err=True)
        return dataset
    if len(data) > 1:
        raise DataError("is a written dataset; give it alone, or give trees", file=written[0])
    if given_config(options):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given_config(options))
        raise ConfigError(f"{named}: a written dataset is extracted already; give its trees to extract again")
    parts = list(load_preferences(written[0]).values())
    return parts[0].replace([record for part in parts for record in part.records])


def _scorer(options: dict[str, Any]) -> ToxicityScorer | None:
    if options["toxicity_model"] and options["toxicity"] != "local":
        raise ConfigError("--toxicity-model needs --toxicity local", field="toxicity_model")
    if options["toxicity"] == "local":
        name = options["toxicity_model"]
        return LocalToxicityScorer(name) if name else LocalToxicityScorer()
    return None
