"""Figures of a dataset's statistics. A strategy has the same colour in all of them, and in the viewer.

matplotlib is imported when a figure is drawn; it is optional.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from mctsdialog._arguments import checked
from mctsdialog._colours import strategy_colours, text_colour
from mctsdialog.figures import (
    COUNTS_LABEL,
    draw_counts,
    matplotlib_module,
    new_figure,
    plain,
    save_figure,
    say,
    whole_ticks,
    wrapped,
)
from mctsdialog.statistics._data import Distribution, StatisticsData
from mctsdialog.statistics._report import STAGE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FigureFormat: TypeAlias = Literal["png", "svg", "pdf"]

_CHOSEN, _REJECTED = "#0072B2", "#D55E00"
_FONT = {"font.size": 10.0, "axes.titlesize": 11.0, "svg.hashsalt": "mctsdialog"}
_LEAST = 5  # values that make a histogram
_WIDTH = 7.5  # inches: a column of text, at which the letters are as large as the text's
_SHOWN_SHARE = 7  # percent from which a share is written into its bar


@checked()
def write_plots(statistics: StatisticsData, folder: str | Path, *, format: FigureFormat = "png") -> list[Path]:
    """Draw every figure into a folder.

    :param format: "png", "svg" or "pdf".
    :returns: the files.
    :raises ConfigError: if matplotlib is not installed.
    :raises DataError: for a symbolic link in a file's place.
    :raises OSError: if a file cannot be written.
    """
    matplotlib = matplotlib_module()
    files = []
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[format]
    with matplotlib.rc_context(_FONT):
        for name, draw in FIGURES.items():
            if name == "toxicity" and statistics.toxicity is None:
                continue
            files.append(save_figure(draw(statistics), folder, f"{name}.{format}", dpi=130, metadata=metadata))
    return files


def _height_of_legend(names: Sequence[str]) -> float:
    """Inches that :func:`_strategy_legend` takes."""
    lines = sum(wrapped(name).count("\n") + 1 for name in names)
    return 0.18 * lines + 0.08 * len(names) + 0.2


def stages_figure(statistics: StatisticsData) -> Figure:
    """Strategies over the six stages, seed beside expanded (paper Figures 3 and 9)."""
    figure = new_figure(_WIDTH, max(7.0, _height_of_legend(statistics.strategies)))
    panels = figure.subplots(2, 1, sharey=True)
    for axes, (group, stages) in zip(panels, statistics.stages.items(), strict=True):
        _stacked(axes, statistics.strategies, stages, STAGE_NAMES)
        axes.set_title(f"{group} dialogues")
        axes.set_ylabel("supporter utterances (%)")
    panels[1].set_xlabel("stage of the conversation")
    _strategy_legend(figure, statistics.strategies)
    return figure


def strategies_figure(statistics: StatisticsData) -> Figure:
    """All supporter utterances by strategy: seed, chosen, rejected."""
    figure = new_figure(_WIDTH, max(4.8, _height_of_legend(statistics.strategies)))
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
        say(axes, "There is no supporter utterance with a strategy.")


def _strategy_legend(figure: Figure, names: Sequence[str]) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    colours = strategy_colours(names)
    handles = [Patch(facecolor=colours[name], edgecolor="#888888", label=wrapped(name)) for name in reversed(names)]
    figure.legend(handles=handles, loc="outside right center", frameon=False)


def transitions_figure(statistics: StatisticsData) -> Figure:
    """How often each strategy was followed by each, in percent of the row."""
    count = len(statistics.strategies)
    figure = new_figure(max(_WIDTH, 0.5 * count + 3.5), 2 * (0.36 * count + 0.8) + 2)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, (group, counts) in zip(panels, statistics.transitions.items(), strict=True):
        image = draw_counts(axes, counts, statistics.strategies, none="No strategy follows another in them.")
        axes.set_title(f"{group} dialogues")
        axes.set_ylabel("strategy")
    panels[0].tick_params(axis="x", labelbottom=False)
    panels[1].set_xlabel("next strategy")
    figure.colorbar(image, ax=panels, label=COUNTS_LABEL, shrink=0.8)
    return figure


def values_figure(statistics: StatisticsData) -> Figure:
    """Q of chosen and rejected replies, and the margins of the pairs."""
    figure = new_figure(_WIDTH, 6.4)
    upper, lower = figure.subplots(2, 1)
    upper.set_title("Values")
    counts = {name: each.count for name, each in statistics.values.items()}
    if max(counts.values(), default=0) < _LEAST:
        say(upper, _too_few(counts, "different replies"))
    else:
        _histogram(upper, statistics.values["rejected"], _REJECTED, "rejected", "//")
        _histogram(upper, statistics.values["chosen"], _CHOSEN, "chosen")
        upper.set_xlabel("Q")
        upper.set_ylabel("different replies")
        _legend_above(upper)
    lower.set_title("Margins")
    if statistics.margins.count < _LEAST:
        say(lower, _too_few({"": statistics.margins.count}, "pairs with a margin"))
    else:
        _histogram(lower, statistics.margins, "#009E73", "pairs")
        lower.set_xlabel("Q(chosen) - Q(rejected)")
        lower.set_ylabel("pairs")
    return figure


def visits_figure(statistics: StatisticsData) -> Figure:
    """N of chosen and rejected replies, and pairs by depth."""
    figure = new_figure(_WIDTH, 6.4)
    upper, lower = figure.subplots(2, 1)
    upper.set_title("Visits")
    counts = {name: each.count for name, each in statistics.visits.items()}
    if max(counts.values(), default=0) < _LEAST:
        say(upper, _too_few(counts, "different replies"))
    else:
        _visit_bars(upper, statistics.visits)
        upper.set_xlabel("N")
        upper.set_ylabel("different replies")
        _legend_above(upper)
    lower.set_title("Pairs by depth")
    depths = statistics.pairs_by_depth
    if len(depths) < 2:
        where = "".join(f"All {pairs} pairs are at depth {depth}." for depth, pairs in depths.items())
        say(lower, where or "There are no pairs.")
        return figure
    lower.bar(list(depths), list(depths.values()), color=_CHOSEN)
    lower.set_xlabel("depth in the tree (1 is the first supporter turn)")
    lower.set_ylabel("pairs")
    for axis in (lower.xaxis, lower.yaxis):
        whole_ticks(axis)
    return figure


def _too_few(counts: Mapping[str, int], what: str) -> str:
    """Why there is no histogram."""
    shown = ", ".join(f"{count} {name}".rstrip() for name, count in counts.items())
    return f"There are too few {what} for a histogram: {shown}. It takes {_LEAST}."


def toxicity_figure(statistics: StatisticsData) -> Figure:
    """Mean toxicity by attribute and group (paper Table 7)."""
    figure = new_figure(_WIDTH, 4.4)
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
        say(axes, "No toxicity was measured.")
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
    whole_ticks(axes.yaxis)


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


def _legend_above(axes: Axes) -> None:
    axes.margins(y=0.16)  # room above the bars
    axes.legend(frameon=False, loc="upper center", ncols=2)


FIGURES: dict[str, Callable[[StatisticsData], Figure]] = {
    "stages": stages_figure,
    "strategies": strategies_figure,
    "transitions": transitions_figure,
    "values": values_figure,
    "visits": visits_figure,
    "toxicity": toxicity_figure,
}
"""The figures by the names of their files."""
