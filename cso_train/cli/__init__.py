"""``python -m cso_train``: train a model, and look at settings."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click

from cso_train._config import (
    SECTIONS,
    Resolved,
    TrainConfig,
    load_preset,
    our_preset_names,
    preset_names,
    resolve_config,
    section_of,
)
from cso_train._run.sources import check_sources
from cso_train.cli._arena import arena_command
from cso_train.cli._evaluate import evaluate_command, table_command, testset_command
from cso_train.cli._judge import pairwise_command, rate_command
from cso_train.cli._rounds import rounds_command
from cso_train.methods import METHODS
from mctsdialog.cli.exits import INTERRUPTED, document_exits, errors_as_exits
from mctsdialog.cli.terminal import Commands, echo

F = TypeVar("F", bound=Callable[..., Any])

_EPILOG = """\b
Exit codes:
  0    done
  1    a model, DeepSpeed or the disk failed
  2    wrong usage or bad input
  130  interrupted; the same command resumes
"""


def _with_settings(command: F) -> F:
    """``--preset``, ``--config`` and one option for every setting of a run."""
    for name, field in reversed(TrainConfig.model_fields.items()):
        option = f"--{name.replace('_', '-')}"
        help_text = f"{field.description}{_default(field.default)}"
        command = click.option(option, f"set_{name}", metavar=_metavar(name, field.annotation), help=help_text)(command)
    command = click.option(
        "--config", "config_file", type=click.Path(path_type=Path), help="Read settings from a YAML file."
    )(command)
    return click.option(
        "--preset", metavar="NAME", help="Use a preset, such as the paper's settings; 'config presets' lists them."
    )(command)


class _InSections(click.Command):
    """A command whose help has its settings in sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command itself, then the settings of each section."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], **{title: [] for title in SECTIONS.values()}}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            name = str(option.name)
            title = section_of(name.removeprefix("set_")) if name.startswith("set_") else "Options"
            if record is not None:
                sections[title].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _metavar(name: str, kind: Any) -> str:
    """What a setting takes, for the help: its choices, or its type's name."""
    if name == "method":
        return f"[{'|'.join(METHODS)}]"
    if get_origin(kind) in (Union, UnionType):
        return _metavar(name, next(each for each in get_args(kind) if each is not NoneType))
    if get_origin(kind) is Literal:
        return f"[{'|'.join(str(each) for each in get_args(kind))}]"
    if get_origin(kind) is tuple:
        return f"{_metavar(name, get_args(kind)[0])},..."
    if get_origin(kind) is dict:
        return "JSON"
    return {bool: "[true|false]", int: "INTEGER", float: "FLOAT"}.get(kind, "TEXT")


def _default(value: object) -> str:
    """The default for the help; settings that depend on others say it themselves."""
    if value is None or value == ():
        return ""
    return f" [default: {str(value).lower() if isinstance(value, bool) else value}]"


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name.removeprefix("set_"): value
        for name, value in options.items()
        if name.startswith("set_") and value is not None
    }


@click.group(
    cls=Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--local_rank", type=int, hidden=True, help="What the launcher 'deepspeed' says; it is in LOCAL_RANK.")
def main(local_rank: int | None) -> None:
    """Train dialogue models on preference data and searched trees, and evaluate them."""


@main.command("train", epilog=_EPILOG, cls=_InSections)
@click.option("--restart", is_flag=True, help="Remove an earlier run from the output folder, and start over.")
@click.option("--extend", is_flag=True, help="Continue a finished run to more --epochs or --max-steps.")
@_with_settings
def train_command(restart: bool, extend: bool, preset: str | None, config_file: Path | None, **options: Any) -> None:
    """Train a model on preference data or searched trees.

    Settings are merged from defaults, preset, YAML file and options; later ones win. The same command resumes a stopped
    run from its last checkpoint. Start it with python, torchrun, accelerate launch or deepspeed.
    """
    warnings.simplefilter("ignore", FutureWarning)  # of names that the libraries use
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # simpo and orpo are in trl.experimental
    with errors_as_exits():
        resolved = resolve_config(preset, config_file, _given(options))
        check_sources(resolved.config)
        from cso_train._run.training import train  # noqa: PLC0415  # heavy: mistakes are told before

        first = int(os.environ.get("RANK", "0")) == 0
        try:
            result = train(resolved, say=_Told(resolved), restart=restart, extend=extend)
        except KeyboardInterrupt:
            echo("\nInterrupted; the same command resumes from the last checkpoint, if there is one.", err=True)
            sys.exit(INTERRUPTED)
        if first and result.finished:
            echo(result)
            kind = "--adapter" if resolved.config.lora else "--model"
            echo(f"Next: python -m cso_train evaluate --test TEST.jsonl {kind} {result.folder / 'model'}")
    if not result.finished:
        sys.exit(INTERRUPTED)


class _Told:
    """Prints what a run tells. Before its first line, which comes once the data was read, stand the settings."""

    def __init__(self, resolved: Resolved) -> None:
        self._settings: str | None = resolved.short()
        self._file = Path(resolved.config.output_dir) / "config.yaml"

    def __call__(self, line: str) -> None:
        if self._settings is not None:
            echo(f"{self._settings}# all of them: {self._file}\n", err=True)
            self._settings = None
        echo(line, err=True)


main.add_command(testset_command)
main.add_command(evaluate_command)
main.add_command(table_command)
main.add_command(pairwise_command)
main.add_command(rate_command)
main.add_command(arena_command)
main.add_command(rounds_command)


@main.group(cls=Commands)
def config() -> None:
    """Show settings and presets."""


@config.command(cls=_InSections)
@_with_settings
def show(preset: str | None, config_file: Path | None, **options: Any) -> None:
    """Print all settings as YAML, each with its origin. Edit the file and train with --config."""
    with errors_as_exits():
        echo(resolve_config(preset, config_file, _given(options)).to_yaml(), nl=False)


@config.command()
def presets() -> None:
    """List the presets: the rows of the paper's Tables 13 and 14, then ours for newer models."""
    for name in (*preset_names(), *our_preset_names()):
        values = load_preset(name).values
        shown = ", ".join(f"{key} {value}" for key, value in values.items() if key not in ("model", "method", "lora"))
        echo(f"{name:<26} {shown}{' (ours)' if load_preset(name).ours else ''}")


document_exits(main)
