"""The command's entry, and the subcommands that call no model."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import click

from mctsdialog.cli._calibrate import calibrate_command
from mctsdialog.cli._calls import show_calls
from mctsdialog.cli._costs import parse_prices
from mctsdialog.cli._demo import demo_command
from mctsdialog.cli._doctor import doctor_command
from mctsdialog.cli._domains import domains_command
from mctsdialog.cli._help import GroupedCommand, StepwiseCommands
from mctsdialog.cli._label import label_command
from mctsdialog.cli._preferences import preferences_command
from mctsdialog.cli._reading import inspect_command
from mctsdialog.cli._search import estimate_command, search_command
from mctsdialog.cli._stats import stats_command
from mctsdialog.cli._studio import studio_command
from mctsdialog.cli._text import closed_line
from mctsdialog.cli._tree import conversation, tree_view
from mctsdialog.cli._view import view_command
from mctsdialog.cli.exits import BAD_INPUT, EPILOG, Failure, document_exits, errors_as_exits
from mctsdialog.cli.terminal import confirm, echo
from mctsdialog.cli.terminal import show as print_lines
from mctsdialog.dialogue import sample_dialogues_text
from mctsdialog.errors import DataError
from mctsdialog.export import load_tree, save_graphml, save_parquet, save_tree, to_dot, to_svg
from mctsdialog.export._words import stop_words
from mctsdialog.files import folded, inside, write_atomically
from mctsdialog.llm import ResponseCache
from mctsdialog.preferences import tree_files
from mctsdialog.text import counted, one_line
from mctsdialog.tree import Tree


@click.group(
    cls=StepwiseCommands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(version("mctsdialog"), prog_name="mctsdialog")
def main() -> None:
    """Search conversations with language models, look at the trees, and extract training data."""


main.add_command(search_command)
main.add_command(estimate_command)
main.add_command(doctor_command)
main.add_command(inspect_command)
main.add_command(label_command)
main.add_command(preferences_command)
main.add_command(studio_command)
main.add_command(stats_command)
main.add_command(view_command)
main.add_command(calibrate_command)
main.add_command(demo_command)
main.add_command(domains_command)


@main.command(
    cls=GroupedCommand,
    examples="""
mctsdialog export trees --format graphml --out graphs
mctsdialog export trees --format parquet
""",
)
@click.argument("trees", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "graphml", "dot", "svg", "parquet"]),
    required=True,
    help="JSON (upgraded to the newest schema version), GraphML, Graphviz DOT, SVG drawn by Graphviz, or one Parquet "
    "table of all nodes, nodes.parquet (needs pyarrow).",
)
@click.option("--out", type=click.Path(path_type=Path), help="Output folder. Default: next to each tree.")
@click.option("--unexpanded/--no-unexpanded", default=True, help="Draw untried strategies (DOT, SVG).")
def export(trees: tuple[Path, ...], form: str, out: Path | None, unexpanded: bool) -> None:
    """Write TREES (JSON files of a search, or folders of them) in another format."""
    with errors_as_exits():
        files = tree_files(trees)
        if form == "parquet":
            echo(save_parquet(map(load_tree, files), inside(out or files[0].parent, "nodes.parquet")))
            return
        targets: dict[str, tuple[Path, Path]] = {}
        for file in files:
            folder = out or file.parent
            target = inside(folder, f"{file.stem}.{form}")
            key = f"{folder.resolve()}/{folded(target.name)}"
            if key in targets:
                raise DataError(f"would be written over what {targets[key][0]} gave: {target}", file=file)
            targets[key] = (file, target)
        for file, target in targets.values():
            tree = load_tree(file)
            if form == "json":
                save_tree(tree, target)
            elif form == "graphml":
                save_graphml(tree, target)
            else:
                draw = to_dot if form == "dot" else to_svg
                write_atomically(target, draw(tree, unexpanded=unexpanded))
            echo(target)


@main.command(
    cls=GroupedCommand,
    examples="""
mctsdialog show trees/sample-00.json --depth 2
mctsdialog show trees/sample-00.json --best
mctsdialog show trees/sample-00.json --node 12 --calls --full
""",
)
@click.argument("tree_file", metavar="TREE", type=click.Path(path_type=Path))
@click.option("--node", type=int, default=0, help="Start at this node id instead of the root.")
@click.option("--depth", type=click.IntRange(0), help="Show at most this many levels below the start.")
@click.option("--unexpanded", is_flag=True, help="Also show untried strategies.")
@click.option("--full", is_flag=True, help="Show texts in full.")
@click.option("--best", is_flag=True, help="Show only the best path, as a whole conversation.")
@click.option("--calls", is_flag=True, help="Show the prompts, replies and costs behind --node, from the run's cache.")
@click.option(
    "--cache",
    "cache_folder",
    type=click.Path(path_type=Path),
    help="With --calls: the cache, if it is not in the run's folder.",
)
@click.option(
    "--price", "prices", multiple=True, metavar="MODEL=IN:OUT[:CACHED]", help="With --calls: money per million tokens."
)
def show(
    tree_file: Path,
    node: int,
    depth: int | None,
    unexpanded: bool,
    full: bool,
    best: bool,
    calls: bool,
    cache_folder: Path | None,
    prices: tuple[str, ...],
) -> None:
    """Show TREE in the terminal: strategy, Q, N and text of every node."""
    with errors_as_exits():
        tree = load_tree(tree_file)
        if not 0 <= node < len(tree):
            raise Failure(f"--node {node}: there is no such node; ids go from 0 to {len(tree) - 1}", BAD_INPUT)
        if calls:
            priced = parse_prices(prices)
            show_calls(tree, tree[node], tree_file, cache_folder=cache_folder, prices=priced, full=full)
            return
        counts = ", ".join(f"{count} {name}" for name, count in tree.counts().items())
        echo(f"{one_line(tree.id) or tree_file.stem}: {counted(len(tree), 'node')} ({counts})")
        if closed := tree.closed():
            echo(closed_line(closed))
        scene = one_line(tree.scenario.scene)
        echo("; ".join(filter(None, [stop_words(tree.stop_reason, tree.iterations), scene])))
        if best:
            _show_best(tree)
        else:
            print_lines(tree_view(tree, tree[node], unexpanded=unexpanded, max_depth=depth, full=full))


def _show_best(tree: Tree) -> None:
    best = tree.best_path()
    if not best:
        raise Failure("no end node of this tree was visited, so it has no best path")
    echo(f"best path: mean Q {best.value:+.3f}, end node {best.nodes[-1].id}\n")
    print_lines(conversation(tree, best.nodes[-1]))


@main.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("sample_dialogues.json"))
def sample(file: Path) -> None:
    """Write the sample gold dialogues to FILE (sample_dialogues.json), in ExTES's raw format."""
    with errors_as_exits():
        write_atomically(file, sample_dialogues_text())
        echo(file)


@main.group()
def cache() -> None:
    """Show or clear a cache of model replies."""


_CACHE_FOLDER = click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))


def _existing_cache(folder: Path) -> ResponseCache:
    if not (folder / "cache.db").is_file():
        raise Failure(f"{folder} holds no cache of replies; a search keeps its own in OUT/cache", BAD_INPUT)
    return ResponseCache(folder)


@cache.command("stats")
@_CACHE_FOLDER
def cache_stats(folder: Path) -> None:
    """Show how many replies FOLDER holds and how large it is."""
    with errors_as_exits(), _existing_cache(folder) as store:
        info = store.info()
        echo(f"{info.path}: {info.entries} replies, {info.size / 1e6:.1f} MB")


@cache.command("clear")
@_CACHE_FOLDER
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def cache_clear(folder: Path, yes: bool) -> None:
    """Remove all replies in FOLDER. They have to be paid for again."""
    with errors_as_exits(), _existing_cache(folder) as store:
        if not yes:
            question = f"Remove {store.info().entries} replies from {folder}? They must be paid for again."
            confirm(question)
        echo(f"{store.clear()} replies removed")


document_exits(main)
