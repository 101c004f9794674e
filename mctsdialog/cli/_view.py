"""``mctsdialog view``: trees as pages for a browser, and a page that lists them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import click

from mctsdialog.cli._help import GroupedCommand
from mctsdialog.cli.exits import BAD_INPUT, Failure, errors_as_exits
from mctsdialog.cli.terminal import echo
from mctsdialog.errors import DataError
from mctsdialog.export import load_tree
from mctsdialog.export._calls import page_calls
from mctsdialog.export._index import Listed, index_page
from mctsdialog.export._viewer import html_page
from mctsdialog.files import folded, inside, write_atomically
from mctsdialog.llm import ResponseCache
from mctsdialog.preferences import PathRule, PreferenceConfig, tree_files
from mctsdialog.tree import Tree


@click.command(
    "view",
    cls=GroupedCommand,
    examples="""
mctsdialog view trees/sample-00.json --open
mctsdialog view mctsdialog-output --open
""",
)
@click.argument("tree", metavar="TREE|FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The HTML file or, for a FOLDER, the folder for all pages. Default: next to TREE, or FOLDER itself.",
)
@click.option(
    "--theta", type=float, default=0.5, show_default=True, help="Theta with which valid paths are shown at first."
)
@click.option(
    "--min-visits", type=click.IntRange(0), default=2, show_default=True, help="Least N of a valid path's end node."
)
@click.option(
    "--path-rule",
    type=click.Choice(["all", "end"]),
    default="all",
    show_default=True,
    help="Apply theta to 'all' nodes of a path, or to the 'end' node only.",
)
@click.option("--calls", is_flag=True, help="Add the model calls behind each node, from the run's cache.")
@click.option(
    "--cache",
    "cache_folder",
    type=click.Path(path_type=Path),
    help="With --calls: the cache, if it is not in the run's folder.",
)
@click.option("--open", "open_it", is_flag=True, help="Open the page in the browser.")
def view_command(
    tree: Path,
    out: Path | None,
    theta: float,
    min_visits: int,
    path_rule: PathRule,
    calls: bool,
    cache_folder: Path | None,
    open_it: bool,
) -> None:
    """Write a tree as one HTML file that opens in any browser without a network.

    For a FOLDER, such as the output of a search, it writes a page for every tree and an index.html that lists them.
    """
    with errors_as_exits(), ExitStack() as closing:
        settings = PreferenceConfig(theta=theta, min_visits=min_visits, path_rule=path_rule)
        cache = closing.enter_context(_cache_of(tree, cache_folder)) if calls else None
        pages = _Pages(settings, cache)
        target = pages.write_all(tree, out or tree) if tree.is_dir() else pages.write_one(tree, out)
        echo(target)
        if open_it and click.launch(str(target)):
            raise Failure(f"no browser could be started; open {target} in one")


def _cache_of(tree: Path, named: Path | None) -> ResponseCache:
    """The cache of the run that a tree, a run's folder or its folder of trees belongs to."""
    place = tree.resolve()
    likely = [place / "cache", place.parent / "cache"] if tree.is_dir() else [place.parent.parent / "cache"]
    for folder in [named] if named is not None else likely:
        if (folder / "cache.db").is_file():
            return ResponseCache(folder, mode="read-only")
    raise Failure(f"{named or likely[0]} holds no cache of replies; name one with --cache", BAD_INPUT)


@dataclass(frozen=True)
class _Pages:
    """Writes pages.

    :param cache: whose calls they show; None for none.
    """

    settings: PreferenceConfig
    cache: ResponseCache | None

    def write_one(self, file: Path, out: Path | None) -> Path:
        """Write the page of one tree."""
        page = out or file.with_suffix(".html")
        self._write(load_tree(file), page)
        return page

    def _write(self, tree: Tree, page: Path) -> None:
        self.settings.valid_paths(tree)  # refuses a theta that no judgement reaches
        calls = None if self.cache is None else anyio.run(page_calls, tree, self.cache)
        settings = self.settings
        made = html_page(
            tree, theta=settings.theta, min_visits=settings.min_visits, path_rule=settings.path_rule, calls=calls
        )
        write_atomically(page, made)

    def write_all(self, folder: Path, out: Path) -> Path:
        """Write the page of every tree of a folder, beside it or into ``out``, and the list."""
        files = tree_files([folder])
        listed = []
        for file, page in zip(files, _pages(files, folder, out), strict=True):
            tree = load_tree(file)
            self._write(tree, page)
            listed.append(Listed.of(tree, Path(os.path.relpath(page, out)).as_posix()))
        return write_atomically(inside(out, "index.html"), index_page(listed))


def _pages(files: Sequence[Path], folder: Path, out: Path) -> list[Path]:
    """Where the pages go.

    :raises DataError: if two trees would have the same one.
    """
    pages, taken = [], {f"{out.resolve()}/index.html": folder}
    for file in files:
        page = file.with_suffix(".html") if out == folder else inside(out, f"{file.stem}.html")
        key = f"{page.parent.resolve()}/{folded(page.name)}"
        if key in taken:
            raise DataError(f"its page would be written over that of {taken[key]}: {page}", file=file)
        taken[key] = file
        pages.append(page)
    return pages
