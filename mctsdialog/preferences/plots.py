"""Figures of a dataset's statistics. A strategy has the same colour in all of them, and in the viewer.

matplotlib is imported when a figure is drawn; it is optional.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mctsdialog._colours import strategy_colours, text_colour
from mctsdialog.errors import ConfigError
from mctsdialog.files import atomic_file
from mctsdialog.folders import inside
from mctsdialog.preferences.report import STAGE_NAMES
from mctsdialog.preferences.statistics import DatasetStatistics, Distribution

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

FigureFormat: TypeAlias = Literal["png", "svg", "pdf"]

_CHOSEN, _REJECTED = "#0072B2", "#D55E00"
_FONT = {"font.size": 10.0, "axes.titlesize": 11.0, "svg.hashsalt": "mctsdialog"}
_NAME_WIDTH = 18  # characters a line of a strategy's name
_LONG_NAME_WIDTH = 28  # where it stands slanted: few lines, or it runs into the next name
_SHOWN_SHARE = 7  # percent from which a share is written into its bar


def save_plots(statistics: DatasetStatistics, folder: str | Path, *, format: FigureFormat = "png") -> list[Path]:
    """Draw every figure into a folder.

    :param format: "png", "svg" or "pdf".
    :returns: the files.
    :raises ConfigError: where matplotlib is not installed.
    :raises DataError: for a symbolic link in a file's place.
    :raises OSError: where a file cannot be written.
    """
    matplotlib = _matplotlib()
    files = []
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[format]
    with matplotlib.rc_context(_FONT):
        for name, draw in FIGURES.items():
            if name == "toxicity" and statistics.toxicity is None:
                continue
            files.append(save_figure(draw(statistics), folder, f"{name}.{format}", dpi=130, metadata=metadata))
    return files


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


def _matplotlib() -> Any:
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
    _matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(text: str) -> str:
    """``text`` for a figure: a dollar begins no formula, and a control character does nothing."""
    shown = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
    return shown.replace("$", r"\$")


def wrapped(name: str, width: int = _NAME_WIDTH) -> str:
    """A name for a figure, broken into lines of so many characters."""
    return plain("\n".join(textwrap.wrap(name, width)) or name)


def _height_of_legend(names: Sequence[str]) -> float:
    """Inches that :func:`_strategy_legend` takes."""
    lines = sum(wrapped(name).count("\n") + 1 for name in names)
    return 0.18 * lines + 0.08 * len(names) + 0.2


def stages_figure(statistics: DatasetStatistics) -> Figure:
    """Strategies over the six stages, seed beside expanded (paper Figures 3 and 9)."""
    figure = new_figure(12, max(5.2, _height_of_legend(statistics.strategies)))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (group, stages) in zip(panels, statistics.stages.items(), strict=True):
        _stacked(axes, statistics.strategies, stages, STAGE_NAMES)
        axes.set_title(f"{group} dialogues")
        axes.set_xlabel("stage of the conversation")
    panels[0].set_ylabel("share of supporter utterances (%)")
    _strategy_legend(figure, statistics.strategies)
    return figure


def strategies_figure(statistics: DatasetStatistics) -> Figure:
    """All supporter utterances by strategy: seed, chosen, rejected."""
    figure = new_figure(9, max(4.8, _height_of_legend(statistics.strategies)))
    axes = figure.subplots()
    groups = list(statistics.strategy_counts)
    _stacked(axes, statistics.strategies, list(statistics.strategy_counts.values()), groups)
    axes.set_ylabel("share of supporter utterances (%)")
    axes.set_title("Strategies")
    _strategy_legend(figure, statistics.strategies)
    return figure


def _stacked(axes: Axes, names: Sequence[str], columns: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """A bar a column, divided by strategy."""
    colours = strategy_colours(names)
    bottoms = [0.0] * len(columns)
    for place, name in enumerate(names):
        shares = [100 * column[place] / sum(column) if sum(column) else 0.0 for column in columns]
        axes.bar(range(len(columns)), shares, bottom=bottoms, color=colours[name], edgecolor="white", linewidth=0.6)
        for at, (share, bottom) in enumerate(zip(shares, bottoms, strict=True)):
            if share >= _SHOWN_SHARE:
                ink = text_colour(colours[name])
                axes.text(at, bottom + share / 2, f"{share:.0f}", ha="center", va="center", color=ink, fontsize=9)
        bottoms = [bottom + share for bottom, share in zip(bottoms, shares, strict=True)]
    totals = [f"{plain(label)}\nn = {sum(column)}" for label, column in zip(labels, columns, strict=True)]
    axes.set_xticks(range(len(columns)), totals)
    axes.set_ylim(0, 100)
    if not any(map(sum, columns)):
        _no_data(axes)


def _strategy_legend(figure: Figure, names: Sequence[str]) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    colours = strategy_colours(names)
    handles = [Patch(facecolor=colours[name], edgecolor="#888888", label=wrapped(name)) for name in reversed(names)]
    figure.legend(handles=handles, loc="outside right center", frameon=False)


def transitions_figure(statistics: DatasetStatistics) -> Figure:
    """How often each strategy was followed by each, in percent of the row."""
    count = len(statistics.strategies)
    figure = new_figure(1.15 * count + 6, 0.48 * count + 3.2)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (group, counts) in zip(panels, statistics.transitions.items(), strict=True):
        image = draw_counts(axes, counts, statistics.strategies)
        axes.set_title(f"{group} dialogues")
        axes.set_xlabel("next strategy")
    panels[0].set_ylabel("strategy")
    figure.colorbar(image, ax=panels, label=COUNTS_LABEL, shrink=0.8)
    return figure


COUNTS_LABEL = "% of the row; numbers are counts"
"""What the colours of :func:`draw_counts` mean."""


def draw_counts(axes: Axes, counts: Sequence[Sequence[int]], names: Sequence[str]) -> AxesImage:
    """A square of counts, strategies by strategies: the colour is the share of the row, from 0 to 100 %."""
    shares = [[100 * value / sum(row) if sum(row) else 0.0 for value in row] for row in counts]
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    labels = [wrapped(name, _LONG_NAME_WIDTH) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=55, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(names)), labels, fontsize=9)
    if not any(map(sum, counts)):
        _no_data(axes, "white")
        return image
    for row, line in enumerate(counts):
        for column, value in enumerate(line):
            ink = "black" if shares[row][column] > 55 else "white"
            axes.text(column, row, str(value), ha="center", va="center", color=ink, fontsize=9)
    return image


def values_figure(statistics: DatasetStatistics) -> Figure:
    """Q of chosen and rejected replies, and the margins of the pairs."""
    figure = new_figure(11, 4)
    left, right = figure.subplots(1, 2)
    _histogram(left, statistics.values["rejected"], _REJECTED, "rejected", "//")
    _histogram(left, statistics.values["chosen"], _CHOSEN, "chosen")
    left.set_xlabel("Q")
    left.set_ylabel("different replies")
    left.set_title("Values")
    _legend_or_no_data(left)
    _histogram(right, statistics.margins, "#009E73", "pairs")
    right.set_xlabel("Q(chosen) - Q(rejected)")
    right.set_ylabel("pairs")
    right.set_title("Margins")
    if not statistics.margins.count:
        _no_data(right)
    return figure


def visits_figure(statistics: DatasetStatistics) -> Figure:
    """N of chosen and rejected replies, and pairs by depth."""
    figure = new_figure(11, 4)
    left, right = figure.subplots(1, 2)
    _visit_bars(left, statistics.visits)
    left.set_xlabel("N")
    left.set_ylabel("different replies")
    left.set_title("Visits")
    _legend_or_no_data(left)
    depths = statistics.pairs_by_depth
    right.bar(list(depths), list(depths.values()), color=_CHOSEN)
    right.set_xlabel("depth in the tree (1 is the first supporter turn)")
    right.set_ylabel("pairs")
    right.set_title("Pairs by depth")
    right.xaxis.get_major_locator().set_params(integer=True)
    if not depths:
        _no_data(right)
    return figure


def toxicity_figure(statistics: DatasetStatistics) -> Figure:
    """Mean toxicity by attribute and group (paper Table 7)."""
    figure = new_figure(11, 4.4)
    axes = figure.subplots()
    table = statistics.toxicity
    rows = {} if table is None else table.rows
    attributes = () if table is None else table.attributes
    width = 0.8 / max(len(rows), 1)
    colours = strategy_colours(list(rows))
    for place, (group, means) in enumerate(rows.items()):
        at = [index + (place - (len(rows) - 1) / 2) * width for index in range(len(attributes))]
        axes.bar(at, [means[name] for name in attributes], width, color=colours[group], label=plain(group))
    axes.set_xticks(range(len(attributes)), [wrapped(name.replace("_", " ").lower()) for name in attributes])
    axes.set_ylabel("mean probability")
    axes.set_title("Toxicity" if table is None else f"Toxicity by {plain(table.scorer)}")
    if rows:
        figure.legend(loc="outside right center", frameon=False)
    else:
        _no_data(axes)
    return figure


def _histogram(axes: Axes, values: Distribution, colour: str, label: str, hatch: str | None = None) -> None:
    if not values.count:
        return
    widths = [high - low for low, high in zip(values.edges, values.edges[1:], strict=False)]
    axes.bar(
        values.edges[:-1],
        values.counts,
        widths,
        align="edge",
        color=colour,
        alpha=0.8,
        edgecolor="white",
        hatch=hatch,
        label=f"{label} (n = {values.count})",
    )


def _visit_bars(axes: Axes, visits: Mapping[str, Distribution]) -> None:
    """N in doubling bins, chosen and rejected side by side."""
    for place, (name, colour, hatch) in enumerate((("rejected", _REJECTED, "//"), ("chosen", _CHOSEN, None))):
        values = visits[name]
        if values.count:
            at = [number + 0.4 * place - 0.2 for number in range(len(values.counts))]
            label = f"{name} (n = {values.count})"
            axes.bar(at, values.counts, 0.4, color=colour, edgecolor="white", hatch=hatch, label=label)
            axes.set_xticks(range(len(values.counts)), list(map(_visit_range, values.edges[:-1])))


def _visit_range(low: float) -> str:
    return "0" if low == 0 else "1" if low == 1 else f"{low:.0f}-{2 * low - 1:.0f}"


def _legend_or_no_data(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.margins(y=0.16)  # room above the bars
        axes.legend(frameon=False, loc="upper center", ncols=2)
    else:
        _no_data(axes)


def _no_data(axes: Axes, ink: str = "black") -> None:
    axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", fontsize=14, color=ink)


FIGURES: dict[str, Callable[[DatasetStatistics], Figure]] = {
    "stages": stages_figure,
    "strategies": strategies_figure,
    "transitions": transitions_figure,
    "values": values_figure,
    "visits": visits_figure,
    "toxicity": toxicity_figure,
}
"""The figures by the names of their files."""
