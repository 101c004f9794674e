"""A static picture of a tree with matplotlib, for those who would rather look than read."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from mctsdialog._colours import strategy_colours
from mctsdialog.errors import ConfigError
from mctsdialog.export._viewer import encodable
from mctsdialog.figures import use_fonts
from mctsdialog.tree import (
    Node,
    NodeType,
    PathRule,
    SpokenNode,
    StrategyNode,
    Tree,
    UnexpandedNode,
    ValidPaths,
    reward_range,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS: Final[dict[NodeType, str]] = {"root": "s", "unexpanded": ">", "expanded": "o", "end": "D"}
_LABELS: Final[dict[NodeType, str]] = {
    "root": "root",
    "unexpanded": "not tried",
    "expanded": "expanded",
    "end": "end of dialogue",
}
_EDGE, _VALID, _GOLD, _PLAIN = "#B4BAC4", "#0F8A5F", "#F2C014", "#3A3F47"
_LEAST, _MOST = 64.0, 320.0  # areas of nodes, in square points
_UNTRIED_ROW = 0.45  # the height of an unexpanded node's row, where a spoken node's is 1
_LEGEND_COLUMNS = 4

Position = tuple[float, float]


def plot_tree(
    tree: Tree,
    ax: Axes | None = None,
    *,
    unexpanded: bool = False,
    theta: float | None = None,
    min_visits: int = 2,
    path_rule: PathRule = "all",
    legend: bool = True,
) -> Axes:
    """Draw a tree: from left to right, one column a supporter turn.

    The shape is the node's type, the fill Q (never visited: white), the area N (logarithmic), the ring the strategy;
    a star is a gold turn, a cross a closed branch.

    :param ax: axes to draw on; a new figure of a fitting size by default.
    :param unexpanded: whether strategies that were not tried are drawn; closed ones always are.
    :param theta: threshold at which valid paths (paper eq. 5) are drawn thick and green; None draws none so.
    :param min_visits: least visits of a valid path's end node, 0 or more.
    :param path_rule: "all" nodes of a path must reach theta, or its "end" alone.
    :param legend: whether the legend and the colour bar of Q are drawn.
    :returns: the axes.
    :raises ConfigError: if matplotlib is not installed, or for a setting out of range.
    """
    try:
        from matplotlib import pyplot  # noqa: PLC0415  # optional and slow to import
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError('plots need matplotlib: pip install "mctsdialog[notebook]"') from error
    paths = ValidPaths(tree, 0.0 if theta is None else theta, min_visits, path_rule)
    shown = [node for node in tree if unexpanded or not isinstance(node, UnexpandedNode) or node.closed is not None]
    places = _layout(tree, shown)
    valid = set() if theta is None else {node.id for node in tree if node in paths}
    if ax is not None and not hasattr(ax, "add_collection"):
        raise ConfigError(f"ax must be axes of matplotlib, not a {type(ax).__name__}", field="ax")
    if ax is None:
        ax = pyplot.subplots(figsize=_size(places.values()), layout="constrained")[1]
    _draw_edges(ax, shown, places, valid)
    _draw_nodes(ax, tree, shown, places)
    _dress(ax, tree, places.values())
    if legend:
        _draw_legend(ax, tree, shown, valid)
    if isinstance(figure := ax.get_figure(), Figure):
        use_fonts(figure)
    return ax


def _layout(tree: Tree, shown: Sequence[Node]) -> dict[int, Position]:
    """Columns by depth; leaves in rows from the top, a parent in the middle of its children. Nothing recurses."""
    ids = {node.id for node in shown}
    drawn = {node.id: [child for child in node.children if child in ids] for node in shown}
    order, depth, row = [node for node in tree.walk() if node.id in ids], {0: 0}, 0.0
    height: dict[int, float] = {}
    for node in order:
        if node.parent >= 0:
            depth[node.id] = depth[node.parent] + 1
        if not drawn[node.id]:
            half = _UNTRIED_ROW / 2 if isinstance(node, UnexpandedNode) else 0.5
            height[node.id] = row + half
            row += 2 * half
    for node in reversed(order):
        if drawn[node.id]:
            first, last = drawn[node.id][0], drawn[node.id][-1]
            height[node.id] = (height[first] + height[last]) / 2
    return {node_id: (float(depth[node_id]), -height[node_id]) for node_id in height}


def _size(places: Collection[Position]) -> tuple[float, float]:
    """Inches of a figure that fits: columns and rows at a readable pitch, within reason."""
    width = 3.2 + 1.15 * (1 + max(x for x, _ in places))
    height = 2.2 + 0.28 * (1 - min(y for _, y in places))
    return min(max(width, 6.4), 20.0), min(max(height, 4.2), 24.0)


def _draw_edges(ax: Axes, shown: Sequence[Node], places: dict[int, Position], valid: set[int]) -> None:
    from matplotlib.collections import LineCollection  # noqa: PLC0415  # see plot_tree

    plain: list[list[Position]] = []
    thick: list[list[Position]] = []
    for node in shown:
        if node.parent >= 0:
            (thick if node.id in valid else plain).append(_curve(places[node.parent], places[node.id]))
    ax.add_collection(LineCollection(plain, colors=_EDGE, linewidths=0.9, zorder=1))
    ax.add_collection(LineCollection(thick, colors=_VALID, linewidths=3.0, zorder=2))


def _curve(start: Position, end: Position) -> list[Position]:
    """An S-shaped line of a few points, level at both ends."""
    steps = [step / 12 for step in range(13)]
    return [(start[0] + (end[0] - start[0]) * t, start[1] + (end[1] - start[1]) * t * t * (3 - 2 * t)) for t in steps]


def _draw_nodes(ax: Axes, tree: Tree, shown: Sequence[Node], places: dict[int, Position]) -> None:
    colours = strategy_colours(tree.domain.strategies.names)
    low, high = reward_range(tree)
    most = max((node.visits for node in shown), default=0)
    for kind, marker in _MARKERS.items():
        nodes = [node for node in shown if node.type == kind]
        for visited in (True, False):
            some = [node for node in nodes if bool(node.visits) is visited]
            if not some:
                continue
            colour: dict[str, Any] = {"facecolors": "white"}
            if visited:
                colour = {"c": [node.value for node in some], "cmap": "cividis", "vmin": low, "vmax": high}
            ax.scatter(
                [places[node.id][0] for node in some],
                [places[node.id][1] for node in some],
                s=[_area(node, most) for node in some],
                marker=marker,
                edgecolors=[colours[node.strategy] if isinstance(node, StrategyNode) else _PLAIN for node in some],
                linewidths=0.9 if kind == "unexpanded" else 2.4,
                zorder=3,
                **colour,
            )
    gold = [places[node.id] for node in shown if isinstance(node, SpokenNode) and node.gold]
    if gold:
        style: dict[str, Any] = {"marker": "*", "s": 60, "color": _GOLD, "edgecolors": _PLAIN, "linewidths": 0.6}
        ax.scatter([x for x, _ in gold], [y + 0.48 for _, y in gold], zorder=4, **style)

    closed = [places[node.id] for node in shown if node.closed is not None]
    if closed:
        ax.scatter([x for x, _ in closed], [y for _, y in closed], marker="x", s=40, color=_PLAIN, zorder=5)


def _area(node: Node, most: int) -> float:
    if isinstance(node, UnexpandedNode):
        return _LEAST / 3
    share = math.log1p(node.visits) / math.log1p(most) if most else 0.0
    return _LEAST + (_MOST - _LEAST) * share


def _dress(ax: Axes, tree: Tree, places: Collection[Position]) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  # see plot_tree

    deepest, lowest = max(x for x, _ in places), min(y for _, y in places)
    ax.set_xlim(-0.5, deepest + 0.5)
    ax.set_ylim(lowest - 0.8, 0.6)
    ax.set_yticks([])
    ax.set_xlabel("supporter turn")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    title = textwrap.shorten(encodable(tree.id or tree.scenario.scene) or "Conversation tree", 60, placeholder=" …")
    ax.set_title(f"{title}: {len(tree):,} nodes, {tree.iterations:,} iterations", parse_math=False)


def _draw_legend(ax: Axes, tree: Tree, shown: Sequence[Node], valid: set[int]) -> None:
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415  # see plot_tree
    from matplotlib.colors import Normalize  # noqa: PLC0415
    from matplotlib.lines import Line2D  # noqa: PLC0415

    def dot(label: str, marker: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, markersize=9, label=label, **style)

    types = {node.type for node in shown}
    entries = [
        dot(_LABELS[kind], marker, markerfacecolor="white", markeredgecolor=_PLAIN)
        for kind, marker in _MARKERS.items()
        if kind in types
    ]
    if any(isinstance(node, SpokenNode) and node.gold for node in shown):
        entries.append(dot("gold turn", "*", markerfacecolor=_GOLD, markeredgecolor=_PLAIN))
    if any(node.closed is not None for node in shown):
        entries.append(dot("closed", "x", markeredgecolor=_PLAIN))
    if valid:
        entries.append(Line2D([], [], color=_VALID, linewidth=3, label="valid path"))
    for name, colour in strategy_colours(tree.domain.strategies.names).items():
        entries.append(dot(encodable(name), "o", markerfacecolor="white", markeredgecolor=colour, markeredgewidth=2.4))
    low, high = reward_range(tree)
    bar = ax.figure.colorbar(ScalarMappable(Normalize(low, high), "cividis"), ax=ax, shrink=0.5, aspect=28, pad=0.02)
    bar.set_label("Q")
    box = ax.legend(
        handles=entries,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        borderaxespad=4.6,
        ncols=_LEGEND_COLUMNS,
        frameon=False,
        fontsize="small",
    )
    for text in box.get_texts():
        text.set_parse_math(False)
