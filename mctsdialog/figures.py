"""Figures as both packages draw them: without a window or global state, written in one step, texts as data.

matplotlib is imported when a figure is drawn; it is optional.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mctsdialog._colours import strategy_colours
from mctsdialog.errors import ConfigError
from mctsdialog.files import atomic_file, inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = [
    "COUNTS_LABEL",
    "draw_counts",
    "matplotlib_module",
    "new_figure",
    "no_data",
    "plain",
    "save_figure",
    "strategy_colours",
    "wrapped",
]


def __dir__() -> list[str]:
    return __all__


_NAME_WIDTH = 18  # characters a line of a strategy's name
_LONG_NAME_WIDTH = 28  # where it stands slanted: few lines, or it runs into the next name

COUNTS_LABEL = "% of the row; numbers are counts"
"""What the colours of :func:`draw_counts` mean."""


def matplotlib_module() -> Any:
    """Matplotlib.

    :raises ConfigError: where it is not installed.
    """
    try:
        import matplotlib  # noqa: PLC0415  # optional
    except ImportError as error:
        message = 'figures need matplotlib: pip install "mctsdialog[notebook]"'
        raise ConfigError(message, field="figures") from error
    return matplotlib


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, without a window or global state.

    :raises ConfigError: where matplotlib is not installed.
    """
    matplotlib_module()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, folder: str | Path, name: str, **settings: Any) -> Path:
    """Draw a figure into a file of a folder, which appears whole or not at all.

    :param name: the file's; what follows its dot is the format.
    :param settings: as matplotlib's ``savefig`` has them.
    :raises DataError: for a symbolic link of this name.
    :raises OSError: where the file cannot be written.
    """
    path = inside(folder, name)
    with atomic_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], **settings)
    return path


def plain(text: str) -> str:
    """``text`` for a figure: a dollar begins no formula, and a control character does nothing."""
    shown = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
    return shown.replace("$", r"\$")


def wrapped(name: str, width: int = _NAME_WIDTH) -> str:
    """A name for a figure, broken into lines of so many characters."""
    return plain("\n".join(textwrap.wrap(name, width)) or name)


def draw_counts(axes: Axes, counts: Sequence[Sequence[int]], names: Sequence[str]) -> AxesImage:
    """A square of counts, strategies by strategies: the colour is the share of the row, from 0 to 100 %."""
    shares = [[100 * value / sum(row) if sum(row) else 0.0 for value in row] for row in counts]
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    labels = [wrapped(name, _LONG_NAME_WIDTH) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=55, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(names)), labels, fontsize=9)
    if not any(map(sum, counts)):
        no_data(axes, "white")
        return image
    for row, line in enumerate(counts):
        for column, value in enumerate(line):
            ink = "black" if shares[row][column] > 55 else "white"
            axes.text(column, row, str(value), ha="center", va="center", color=ink, fontsize=9)
    return image


def no_data(axes: Axes, ink: str = "black") -> None:
    """Say in the middle of empty axes that there is nothing to show."""
    axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", fontsize=14, color=ink)
