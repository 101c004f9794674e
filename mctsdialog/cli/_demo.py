"""``mctsdialog demo``: a search that finds something, in seconds, without a model or a key."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import anyio
import click
from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mctsdialog._search import SearchConfig, search
from mctsdialog.algorithms import Calibration
from mctsdialog.cli.exits import EPILOG, errors_as_exits
from mctsdialog.cli.terminal import echo
from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.export import save_html
from mctsdialog.preferences import PreferencePair, tree_record
from mctsdialog.text import one_line, shell_word
from mctsdialog.tree import Tree, save_tree
from mctsdialog.worlds import World

_SCALE = 3.0  # minus the bias of a reward, so that worth is on the judge's scale, 0 to 4
_CALLS = 1000
_OTHERS = 10  # scenarios that are searched beside the one that is shown
_WIDEST = 100


@click.command("demo", epilog=EPILOG)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Output folder for the tree and its HTML page.",
)
@click.option("--scenario", type=click.IntRange(0, 99999), default=2, show_default=True, help="Number of the scenario.")
def demo_command(out: Path, scenario: int) -> None:
    """Search a conversation in a simulated world whose best conversation is known. Needs no model and no key.

    The world is a test bed, not people. Its seeker has a state that strategies change with known probabilities, its
    strategist over-rates two strategies, and its judge makes errors.
    """
    with errors_as_exits():
        world = World(7)
        start = world.scenario(scenario)
        tree = anyio.run(_searched, world, start)
        out.mkdir(parents=True, exist_ok=True)
        page = save_html(tree, out / "tree.html")
        file = save_tree(tree, out / "tree.json")
        alone = anyio.run(_strategist_alone, world, start)
        for part in (*_report(world, tree, alone), _others(world)):
            echo(_drawn(part))
        for line in _next_steps(page, file):  # not wrapped, so that they can be copied
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


def _report(world: World, tree: Tree, alone: Sequence[str]) -> Iterator[RenderableType]:
    """What the strategist would have done, what the search found, and what both are worth."""
    found = tree.best_path().strategies
    yield f"A seeker of a simulated world: {one_line(tree.scenario.description)}"
    yield f"The seeker begins: {one_line(tree.root.turns[0].text)}\n"
    yield f"Two dialogues and their true worth, 0 to 4. The search took {_CALLS:,} calls."
    yield _turns(world, tree.scenario, alone, found)
    best = world.best_value(tree.scenario) + _SCALE
    yield f"The best possible dialogue of this scenario is worth {best:.2f}.\n"
    pair = _shown_pair(tree)
    if pair is not None:
        yield f"A preference pair from the tree, {pair.confidence:.0%} confident that the chosen reply is better:"
        yield _sides(world, pair)
    assert tree.calibration is not None
    calibration = Calibration.from_dict(tree.calibration, tree.domain.strategies.names)
    if over := _over_rated(calibration):
        yield f"The search learned that this strategist over-rates {' and '.join(over)}.\n"


def _turns(world: World, start: Scenario, alone: Sequence[str], found: Sequence[str]) -> Table:
    """Both dialogues, turn by turn."""
    table = Table("turn", "the strategist alone", "worth", "found by search", "worth", box=box.SIMPLE_HEAD)
    table.show_footer = True
    rows = []
    for strategies in (alone, found):
        states = world.states(start, strategies[:-1])
        rows.append([f"{world.reward(*each) + _SCALE:.1f}" for each in zip(states, strategies, strict=True)])
    for number, (left, one, right, other) in enumerate(zip(alone, rows[0], found, rows[1], strict=False), 1):
        table.add_row(str(number), left, one, right, other)
    totals = [f"{world.value(start, strategies) + _SCALE:.2f}" for strategies in (alone, found)]
    for column, text in zip(table.columns, ("", "whole dialogue", totals[0], "whole dialogue", totals[1]), strict=True):
        column.footer = text
    for column in (table.columns[2], table.columns[4]):
        column.justify, column.no_wrap = "right", True
    return table


def _shown_pair(tree: Tree) -> PreferencePair | None:
    """The clearest pair, of what the dialogue found says if there is such a one."""
    pairs = [pair for pair in tree_record(tree).expand() if pair.confidence is not None]
    found = {node.id for node in tree.best_path().nodes}

    def rank(pair: PreferencePair) -> tuple[bool, float]:
        chosen, rejected = (side.posterior[0] if side.posterior else 0.0 for side in (pair.chosen, pair.rejected))
        return pair.chosen.id in found, chosen - rejected

    return max(pairs, key=rank, default=None)


def _sides(world: World, pair: PreferencePair) -> RenderableType:
    """Both replies of a pair side by side, with the true worth of the turn."""
    state = world.states(pair.record.scenario, [turn.strategy for turn in pair.history if turn.strategy])[-1]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    sides = {"chosen": pair.chosen, "rejected": pair.rejected}
    for name, node in sides.items():
        table.add_column(f"{name}: {node.strategy}", ratio=1)
    table.add_row(*(one_line(node.supporter) for node in sides.values()))
    table.add_row(*(f"worth of the turn: {world.reward(state, node.strategy) + _SCALE:.1f}" for node in sides.values()))
    seeker = Text(f"seeker: {one_line(pair.history[-1].text)}")
    shown = Table.grid()
    shown.add_row(seeker)
    shown.add_row("")
    shown.add_row(table)
    return Padding(shown, (1, 0, 1, 2))


def _over_rated(calibration: Calibration) -> list[str]:
    names = (name for name in calibration.names if calibration.offset(name) < -0.3)
    return [f"{name} by {-calibration.offset(name):.1f}" for name in sorted(names, key=calibration.offset)[:2]]


def _others(world: World) -> str:
    """The same in other scenarios: one alone may be luck."""
    before, after, best = [], [], []
    for start in world.scenarios(_OTHERS):
        before.append(world.value(start, anyio.run(_strategist_alone, world, start)) + _SCALE)
        after.append(world.value(start, anyio.run(_searched, world, start).best_path().strategies) + _SCALE)
        best.append(world.best_value(start) + _SCALE)
    better = sum(found > alone for alone, found in zip(before, after, strict=True))
    return (
        f"The same in {_OTHERS} scenarios: the strategist alone {fmean(before):.2f} on average, found by the search "
        f"{fmean(after):.2f}, the best possible {fmean(best):.2f}. The search was better in {better} of {_OTHERS}.\n"
    )


def _next_steps(page: Path, file: Path) -> Iterator[str]:
    yield f"The tree, to open in a browser: {page}"
    yield f"In the terminal:    mctsdialog show {shell_word(file)} --best"
    yield f"Review its pairs:   mctsdialog studio {shell_word(file.parent)}"
    yield "Your own dialogues: mctsdialog search FILE --algorithm calibrated \\"
    yield "                      --model gpt-4o-mini --max-calls 2000"


def _drawn(part: RenderableType) -> str:
    """As plain text of the terminal's width."""
    width = max(40, min(_WIDEST, shutil.get_terminal_size().columns))
    page = io.StringIO()
    Console(file=page, width=width, color_system=None, markup=False, emoji=False, highlight=False).print(part)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())
