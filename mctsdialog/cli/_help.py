"""Help that can be read: options in groups, examples, exit codes."""

from __future__ import annotations

import re
from typing import Any

import click

from mctsdialog.cli._config_file import key_of
from mctsdialog.cli.terminal import Commands, first_sentence

_OF_OPTION = {
    "Data": "format map domain lenient limit min_turns max_turns verbose",
    "Model": "model base_url local seeker_model supporter_model strategist_model judge_model judge judge_samples "
    "api_key_env header extra reasoning_effort max_reply_tokens timeout",
    "Search": "c prior_temperature bias horizon gold_visits gold_prior max_iterations min_iterations min_ends max_ends "
    "deterministic algorithm setting",
    "Budget": "max_calls max_calls_per_tree max_tokens max_money max_seconds price dry_run seconds_per_call dialogues",
    "Resume": "restart cache no_cache replay max_failures",
    "Output": "out config work open file_type split subset license push_to_hub",
    "Scale": "concurrency parallelism adaptive requests_per_minute tokens_per_minute shard ray ray_workers",
}
_GROUPS = {key: title for title, keys in _OF_OPTION.items() for key in keys.split()}
_OWN, _LAST = "Options", "Help"
_FEW = 14  # options that need no groups


def group_of(parameter: click.Parameter) -> str:
    """The title of the group that an option stands in."""
    key = key_of(parameter)
    return _LAST if key == "help" else _GROUPS.get(key, _OWN)


class GroupedCommand(click.Command):
    """A command whose help has its options in groups, and examples before them.

    :param examples: command lines, each with a line that says what it does before it.
    """

    def __init__(self, *args: Any, examples: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then the options of each group."""
        if self.examples:
            with formatter.section("Examples"):
                formatter.write_text("\b\n" + self.examples.strip())
        parameters = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        grouped = len(parameters) > _FEW
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in (_OWN, *_OF_OPTION, _LAST)}
        for parameter in parameters:
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups[group_of(parameter) if grouped else _OWN].append(_short(record))
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records, col_max=28)


_STEPS = {
    "Start here": ("demo", "sample", "doctor"),
    "Search": ("inspect", "label", "estimate", "search", "calibrate"),
    "Look at trees": ("show", "view", "studio", "export"),
    "Make training data": ("preferences", "stats"),
}


class StepwiseCommands(Commands):
    """A group whose help has its commands in the order in which they are used."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of each step, and then those that belong to none."""
        steps = {title: [name for name in names if name in self.commands] for title, names in _STEPS.items()}
        known = {name for names in steps.values() for name in names}
        steps["More"] = [name for name in sorted(self.commands) if name not in known]
        for title, names in steps.items():
            if names:
                with formatter.section(title):
                    formatter.write_dl([(name, first_sentence(self.commands[name])) for name in names])


def _short(record: tuple[str, str]) -> tuple[str, str]:
    """A record of the help without click's names and bounds of numbers, which the text tells."""
    option, text = record
    for kind, letter in (("INTEGER RANGE", "N"), ("FLOAT RANGE", "X"), ("INTEGER", "N"), ("FLOAT", "X")):
        option = option.replace(kind, letter)
    return option, re.sub(r"; [^;\[\]]*[<>]=?[^;\[\]]*\]$|  \[[^;\[\]]*[<>]=?[^;\[\]]*\]$", _closing, text)


def _closing(found: re.Match[str]) -> str:
    return "]" if found[0].startswith(";") else ""
