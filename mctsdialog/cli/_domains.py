"""``mctsdialog domains``: the built-in domains, and whether a file of one's own is a sound one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from mctsdialog._search import SearchConfig
from mctsdialog.cli._help import GroupedCommand
from mctsdialog.cli._rewards import reward_fault
from mctsdialog.cli.exits import EPILOG, errors_as_exits
from mctsdialog.cli.terminal import echo
from mctsdialog.dialogue import TEMPLATE_NAMES, Domain, Scenario, domains, get_domain, named_domain
from mctsdialog.roles import Prompt
from mctsdialog.text import one_line


@click.command(
    "domains",
    cls=GroupedCommand,
    epilog=EPILOG,
    examples="""
mctsdialog domains
mctsdialog domains esc
mctsdialog domains my-domain.json
""",
)
@click.argument("name", required=False, metavar="[NAME|FILE]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as a template for your own domain file.")
def domains_command(name: str | None, as_json: bool) -> None:
    """List the built-in domains, or check and show the one called NAME or written in FILE."""
    with errors_as_exits():
        if name is None:
            for each in domains():
                domain = get_domain(each)
                echo(f"{each:<12} {domain.title} ({len(domain.strategies)} strategies)")
            return
        domain = named_domain(name)
        for role in TEMPLATE_NAMES:
            Prompt(role, domain, Scenario())  # refuses a template with a fault
        if as_json:
            echo(json.dumps(domain.model_dump(mode="json"), ensure_ascii=False, indent=2))
            return
        for line in _lines(domain):
            echo(line)


def _lines(domain: Domain) -> Iterator[str]:
    yield f"{domain.name}: {one_line(domain.title)}"
    yield f"Seeker: {one_line(domain.seeker.name)}; supporter: {one_line(domain.supporter.name)}"
    yield "\nStrategies"
    for strategy in domain.strategies:
        yield "  " + _named(strategy.name, strategy.description)
    yield f"\nRubric (0 to {domain.max_score})"
    for criterion in domain.rubric:
        weight = f"{criterion.name} (weight {domain.weights[criterion.name]:g})"
        yield "  " + _named(weight, criterion.description)
    yield "\nRewards"
    yield from (f"  {line}" for line in _rewards(domain))


def _named(name: str, description: str) -> str:
    return one_line(f"{name}: {description}" if description else name)


def _rewards(domain: Domain) -> Iterator[str]:
    """What replies get by the default bias, and which bias fits where that is of no use."""
    bias = SearchConfig().bias
    yield f"{bias:g} to {domain.max_score + bias:g} with the default --bias {bias:g}"
    if fault := reward_fault(domain, bias):
        yield from fault.split("; ")
