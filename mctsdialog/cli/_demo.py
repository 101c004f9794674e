"""``mctsdialog demo``: a search that finds something, in seconds, without a model or a key."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from mctsdialog._search import SearchConfig, search
from mctsdialog.algorithms import Calibration
from mctsdialog.cli.exits import EPILOG, errors_as_exits
from mctsdialog.cli.terminal import echo
from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.export import save_html
from mctsdialog.preferences import PreferencePair, tree_record
from mctsdialog.text import one_line
from mctsdialog.tree import Tree, save_tree
from mctsdialog.worlds import World

_SCALE = 3.0  # minus the bias of a reward, so that worth is on the judge's scale, 0 to 4
_CALLS = 1000


@click.command("demo", epilog=EPILOG)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the tree and the page that shows it.",
)
@click.option("--scenario", type=click.IntRange(0, 99999), default=1, show_default=True, help="Which one to search.")
def demo_command(out: Path, scenario: int) -> None:
    """Search a conversation in a simulated world, where the best one is known. Needs no model and no key.

    The world is a test bed, not people: its seeker has a state that strategies move by known chances, its strategist
    over-rates two strategies, and its judge errs.
    """
    with errors_as_exits():
        world = World(7)
        start = world.scenario(scenario)
        alone = anyio.run(_strategist_alone, world, start)
        tree = anyio.run(_searched, world, start)
        out.mkdir(parents=True, exist_ok=True)
        page = save_html(tree, out / "tree.html")
        file = save_tree(tree, out / "tree.json")
        for line in _report(world, tree, alone, page, file):
            echo(line)


async def _strategist_alone(world: World, start: Scenario) -> list[str]:
    """The strategies of a dialogue that takes the strategist's favourite at every turn."""
    roles = world.roles().bind(start)
    history: list[Turn] = []
    strategies: list[str] = []
    while (said := await roles.seeker.reply(history)) is not None:
        history.append(Turn("seeker", said))
        scores = await roles.strategist.score(history)
        strategies.append(max(scores, key=lambda name: scores[name]))
        history.append(Turn("supporter", await roles.supporter.reply(history, strategies[-1]), strategies[-1]))
    return strategies


async def _searched(world: World, start: Scenario) -> Tree:
    config = SearchConfig(algorithm="calibrated", max_iterations=_CALLS)
    return await search(start, world.roles(), config, max_calls=_CALLS)


def _report(world: World, tree: Tree, alone: list[str], page: Path, file: Path) -> list[str]:
    start, found = tree.scenario, list(tree.best_path().strategies)
    worth = {
        "the strategist's favourite, every turn": world.value(start, alone) + _SCALE,
        f"what {_CALLS:,} calls of search found": world.value(start, found) + _SCALE,
        "the best there is": world.best_value(start) + _SCALE,
    }
    lines = [
        f"A simulated seeker: {one_line(start.description)}",
        "True worth of the whole dialogue, 0 to 4 (in this world it is known):",
        *(f"  {worth[name]:.2f}  {name}" for name in worth),
        "",
        *_pair_lines(tree),
        "What the search learnt of its strategist:",
    ]
    assert tree.calibration is not None
    calibration = Calibration.from_dict(tree.calibration, tree.domain.strategies.names)
    lines += [f"  it over-rates {name} by {-calibration.offset(name):.1f}" for name in _over_rated(calibration)]
    return [
        *lines,
        "",
        f"Look into the tree: open {page} in a browser, or",
        f"  mctsdialog show {file} --best",
        *_studio(file),
    ]


def _studio(file: Path) -> list[str]:
    return ["Review its pairs, alone or with others:", f"  mctsdialog studio {file.parent}"]


def _over_rated(calibration: Calibration) -> list[str]:
    return sorted((name for name in calibration.names if calibration.offset(name) < -0.3), key=calibration.offset)


def _pair_lines(tree: Tree) -> list[str]:
    """The surest preference pair of the tree, side by side."""
    pairs = [pair for pair in tree_record(tree).expand() if pair.confidence is not None]
    if not pairs:
        return []
    pair = max(pairs, key=lambda each: (each.confidence or 0.0, -each.depth))
    return [
        "One of its preference pairs:",
        f"  seeker:    {one_line(pair.history[-1].text)}",
        *_reply_lines(pair),
        f"  confidence that the first is better: {pair.confidence:.0%}",
        "",
    ]


def _reply_lines(pair: PreferencePair) -> list[str]:
    sides = (("chosen", pair.chosen), ("rejected", pair.rejected))
    return [f"  {name + ':':<10} ({node.strategy}) {one_line(node.supporter)}" for name, node in sides]
