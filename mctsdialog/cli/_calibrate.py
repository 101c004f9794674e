"""``mctsdialog calibrate``: what trees say of their strategist and judge, for searches to begin with."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mctsdialog.algorithms import Calibration, calibrate
from mctsdialog.cli._help import GroupedCommand
from mctsdialog.cli.exits import EPILOG, errors_as_exits
from mctsdialog.cli.terminal import echo
from mctsdialog.errors import DataError
from mctsdialog.files import write_atomically
from mctsdialog.preferences import tree_files
from mctsdialog.preferences._read import loaded_trees
from mctsdialog.text import counted


@click.command(
    "calibrate",
    cls=GroupedCommand,
    epilog=EPILOG,
    examples="""
mctsdialog calibrate trees --out calibration.json
""",
)
@click.argument("trees", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("calibration.json"),
    show_default=True,
    help="File for the calibration.",
)
def calibrate_command(trees: tuple[Path, ...], out: Path) -> None:
    """Learn from TREES how the judge's rewards follow from the strategist's scores, strategy by strategy.

    TREES are files or folders of trees, of any algorithm. A search by --algorithm calibrated begins with what was
    learnt here if it is given --setting calibration=@FILE; its trees then stay independent of each other.
    """
    with errors_as_exits():
        found: Calibration | None = None
        count = 0
        for file, tree in loaded_trees(tree_files(trees)):
            learnt = calibrate([tree])
            if found is not None and learnt.names != found.names:
                raise DataError("has other strategies than the trees before it; calibrate each domain apart", file=file)
            found = learnt if found is None else found + learnt
            count += 1
        if found is None or not found.judged:
            raise DataError(f"none of the {count} trees has a judged turn; search first", field="TREES")
        write_atomically(out, json.dumps(found.to_dict(), indent=1) + "\n")
        echo(f"{counted(count, 'tree')}, {counted(round(found.judged), 'judged turn')}; written to {out}")
        for line in found.lines():
            echo(line)
