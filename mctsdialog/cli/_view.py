"""``mctsdialog view``: trees as pages for a browser, and a page that lists them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from mctsdialog.cli._help import GroupedCommand
from mctsdialog.cli.exits import Failure, errors_as_exits
from mctsdialog.cli.terminal import echo
from mctsdialog.errors import DataError
from mctsdialog.export import load_tree, save_html
from mctsdialog.export._index import Listed, index_page
from mctsdialog.files import folded, inside, write_atomically
from mctsdialog.preferences import PathRule, PreferenceConfig, tree_files


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
    help="The HTML file, of a FOLDER the folder for all pages. By default beside TREE, or FOLDER itself.",
)
@click.option("--theta", type=float, default=0.5, show_default=True, help="Theta that valid paths are first shown at.")
@click.option("--min-visits", type=click.IntRange(0), default=2, show_default=True, help="Least N of their end nodes.")
@click.option(
    "--path-rule",
    type=click.Choice(["all", "end"]),
    default="all",
    show_default=True,
    help="Theta holds for all nodes of a path, or the end alone.",
)
@click.option("--open", "open_it", is_flag=True, help="Open the page in the browser.")
def view_command(
    tree: Path, out: Path | None, theta: float, min_visits: int, path_rule: PathRule, open_it: bool
) -> None:
    """Write a tree as one HTML file to look at in a browser; it needs no network.

    Of a FOLDER, such as the output of a search, every tree is written, and index.html lists them.
    """
    with errors_as_exits():
        settings = PreferenceConfig(theta=theta, min_visits=min_visits, path_rule=path_rule)
        target = _write_all(tree, out or tree, settings) if tree.is_dir() else _write_one(tree, out, settings)
        echo(target)
        if open_it and click.launch(str(target)):
            raise Failure(f"no browser could be started; open {target} in one")


def _write_one(file: Path, out: Path | None, settings: PreferenceConfig) -> Path:
    return _save(file, out or file.with_suffix(".html"), settings)[0]


def _save(file: Path, page: Path, settings: PreferenceConfig, *, link: str = "") -> tuple[Path, Listed]:
    tree = load_tree(file)
    settings.valid_paths(tree)  # refuses a theta that no judgement reaches
    shown = {"theta": settings.theta, "min_visits": settings.min_visits, "path_rule": settings.path_rule}
    return save_html(tree, page, **shown), Listed.of(tree, link)


def _write_all(folder: Path, out: Path, settings: PreferenceConfig) -> Path:
    """Write the page of every tree of a folder, beside it or into ``out``, and the list."""
    files = tree_files([folder])
    pages = _pages(files, folder, out)
    listed = []
    for file, page in zip(files, pages, strict=True):
        link = Path(os.path.relpath(page, out)).as_posix()
        listed.append(_save(file, page, settings, link=link)[1])
    return write_atomically(inside(out, "index.html"), index_page(listed))


def _pages(files: Sequence[Path], folder: Path, out: Path) -> list[Path]:
    """Where the pages go.

    :raises DataError: where two trees would have the same one.
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
