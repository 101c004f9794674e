"""How files of dialogues are read: the options of every command that reads some, and ``mctsdialog inspect``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from mctsdialog.cli._help import GroupedCommand
from mctsdialog.cli.exits import BAD_INPUT, EPILOG, errors_as_exits
from mctsdialog.cli.terminal import echo
from mctsdialog.dialogue import (
    READERS,
    DialogueStream,
    Domain,
    ReadReport,
    domains,
    inspect_dialogues,
    named_domain,
)
from mctsdialog.dialogue._domains import domain_option
from mctsdialog.dialogue.readers._inspect import reading_command
from mctsdialog.text import one_line

_CHARS = 96  # of a turn that is shown

_OPTIONS = (
    click.option(
        "--format",
        "form",
        type=click.Choice(["auto", *READERS]),
        default="auto",
        show_default="detected from the content",
        metavar="NAME",
        help=f"Format of FILES: {', '.join(READERS)}. 'mctsdialog inspect' shows which one it detects.",
    ),
    click.option(
        "--map",
        "keys",
        metavar="PART=KEY,...",
        help="Keys that are not recognised: turns=dialog,speaker=role,text=content; in a table "
        "dialogue=ticket,speaker=who. Names of the speakers: seeker=client,supporter=counselor.",
    ),
    click.option(
        "--domain",
        "domain_name",
        metavar="NAME|FILE",
        help=f"Domain: {', '.join(domains())}, or a JSON file. Default: the domain of the format.",
    ),
)


def with_reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how files of dialogues are read."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def reading(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a reader that the options mean.

    :raises DomainError: if there is no domain of the name.
    """
    name = options["domain_name"]
    domain: Domain | None = None if name is None else named_domain(name)
    return {"format": options["form"], "domain": domain, "map": options["keys"]}


verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Show everything that was changed or skipped while reading."
)


def tell_report(file: object, report: ReadReport, *, whole: bool) -> None:
    """Say on standard error what was read, in one line, or with every reason."""
    echo(f"{file}: {report if whole else report.in_one_line()}", err=True)


def how_to_label(file: object, stream: DialogueStream, options: dict[str, Any]) -> str:
    """What to do about supporter turns that were dropped for want of a strategy, in a line of its own; else nothing."""
    report = stream.report
    if not report.unlabelled_turns and not report.unknown_labels:
        return ""
    aliases = "name the domain of the labels (--domain), give your domain aliases for them, or "
    known = aliases if report.unknown_labels else ""
    domain = domain_option(stream.domain, options["domain_name"])
    command = reading_command("label", file, options["form"], options["keys"], domain, lenient=options["lenient"])
    return f"\nIts turns lack strategies: {known}let a model label them: {command}"


@click.command(
    "inspect",
    cls=GroupedCommand,
    epilog=EPILOG,
    examples="""
mctsdialog inspect dialogues.json
mctsdialog inspect tickets.csv --map dialogue=ticket,speaker=who --domain my-domain.json
mctsdialog inspect mine.json --map turns=dialog,speaker=role,text=content,strategy=act
""",
)
@click.argument("files", nargs=-1, required=True)
@with_reading_options
def inspect_command(files: tuple[str, ...], **options: Any) -> None:
    """Show the format of FILES, what a search would read and skip, and three conversations.

    A file may also be hf:NAME, a data set of the Hugging Face hub (needs the package datasets).
    """
    code = 0
    with errors_as_exits():
        for file in files:
            found = replace(inspect_dialogues(file, **reading(options)), domain_file=options["domain_name"])
            echo(f"{file}: {found}")
            lenient = " --lenient" if found.report.malformed else ""
            echo(f"\nAs a search{lenient} reads it: {found.report}")
            if found.report.malformed:
                echo("A search without --lenient stops at the first malformed item.")
            for dialogue in found.shown:
                about = one_line(": ".join(filter(None, (dialogue.scene, dialogue.description))))
                echo(f"\n{one_line(dialogue.id)}  {about[:_CHARS]}")
                for turn in dialogue.turns[:6]:
                    label = (
                        f" ({', '.join(map(one_line, filter(None, (turn.strategy, *turn.also))))})"
                        if turn.strategy
                        else ""
                    )
                    echo(f"  {turn.speaker}{label}: {one_line(turn.text)[:_CHARS]}")
                if len(dialogue.turns) > 6:
                    echo(f"  ... {len(dialogue.turns) - 6} more turns")
            echo(f"\nNext: {found.advice}\n")
            code = code if found.dialogues else BAD_INPUT
    sys.exit(code)
