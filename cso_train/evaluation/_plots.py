"""Figures of an evaluation: which strategies are taken for which, how well each is predicted, how far preferred."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cso_train.evaluation._metrics import Evaluation
from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError
from mctsdialog.figures import (
    COUNTS_LABEL,
    draw_counts,
    new_figure,
    plain,
    save_figure,
    strategy_colours,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@checked()
def write_plots(evaluations: Mapping[str, Evaluation], folder: str | Path) -> list[Path]:
    """Draw the confusion matrices, the F1 and the preference of every strategy into a folder, as PNG.

    :raises ConfigError: without evaluations, or of different strategies.
    :raises mctsdialog.errors.ConfigError: if matplotlib is not installed.
    """
    draw = {"confusion": confusion_figure, "strategies": strategy_figure, "preferences": preference_figure}
    settings = {"dpi": 130, "metadata": {"Software": None}}
    return [save_figure(figure(evaluations), folder, f"{name}.png", **settings) for name, figure in draw.items()]


@checked()
def confusion_figure(evaluations: Mapping[str, Evaluation]) -> Figure:
    """A confusion matrix a model, rows gold and columns predicted, in percent of the row.

    :raises ConfigError: without evaluations, or of different strategies.
    """
    names = _strategies(evaluations)
    count = len(names)
    figure = new_figure(max(7.0, 0.5 * count + 3.5), (0.4 * count + 2.8) * len(evaluations))
    panels = figure.subplots(len(evaluations), 1, squeeze=False)
    for (axes,), (model, each) in zip(panels, evaluations.items(), strict=True):
        image = draw_counts(axes, each.confusion, names, none="No reply names a strategy.")
        shown = f"{each.bias.value:.2f}" if each.names_strategies else "–"
        axes.set_title(f"{plain(model)}: B = {shown}")
        axes.set_xlabel("predicted")
        axes.set_ylabel("gold")
        figure.colorbar(image, ax=axes, label=COUNTS_LABEL)
    return figure


@checked()
def strategy_figure(evaluations: Mapping[str, Evaluation]) -> Figure:
    """F1 by strategy and model, with its interval.

    :raises ConfigError: without evaluations, or of different strategies.
    """
    names = _strategies(evaluations)
    colours = strategy_colours(names)
    figure = new_figure(max(7.0, 0.95 * len(names)), 2.6 * len(evaluations) + 0.8)
    panels = figure.subplots(len(evaluations), 1, squeeze=False, sharex=True, sharey=True)
    for (axes,), (model, each) in zip(panels, evaluations.items(), strict=True):
        scores = [f1.value for f1 in each.strategy_f1]
        beside = [[f1.value - f1.low for f1 in each.strategy_f1], [f1.high - f1.value for f1 in each.strategy_f1]]
        axes.bar(range(len(names)), scores, color=[colours[name] for name in names], edgecolor="#888888")
        lines = {"fmt": "none", "ecolor": "#333333", "elinewidth": 1, "capsize": 3}
        axes.errorbar(range(len(names)), scores, [[max(0.0, length) for length in side] for side in beside], **lines)
        for at, f1 in enumerate(each.strategy_f1):
            axes.text(at, max(f1.value, f1.high) + 2, f"{f1.value:.0f}", ha="center", va="bottom", fontsize=9)
        axes.set_ylim(0, 118)
        axes.set_ylabel("F1 (%)")
        axes.set_title(f"{plain(model)}: Q = {each.macro_f1.value:.1f}, Q_W = {each.weighted_f1.value:.1f}")
        axes.set_xticks(range(len(names)), [wrapped(name, 13) for name in names], fontsize=8)
    return figure


@checked()
def preference_figure(evaluations: Mapping[str, Evaluation]) -> Figure:
    """The preferences p behind B, by strategy and model; without bias every one is 1 (Kang et al., ACL 2024).

    :raises ConfigError: without evaluations, or of different strategies.
    """
    names = _strategies(evaluations)
    colours = strategy_colours(names)
    figure = new_figure(max(7.0, 0.95 * len(names)), 2.6 * len(evaluations) + 0.8)
    panels = figure.subplots(len(evaluations), 1, squeeze=False, sharex=True, sharey=True)
    highest = max(max(each.preferences) for each in evaluations.values())
    for (axes,), (model, each) in zip(panels, evaluations.items(), strict=True):
        bars = axes.bar(
            range(len(names)), each.preferences, color=[colours[name] for name in names], edgecolor="#888888"
        )
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # the line at 1 stays behind the numbers
        axes.bar_label(bars, [f"{value:.2f}" for value in each.preferences], fontsize=9, padding=2, bbox=ground)
        axes.axhline(1.0, color="#555555", linestyle="--", linewidth=1, zorder=0)
        axes.set_ylim(0, 1.15 * max(highest, 1.0))
        axes.set_ylabel("preference p")
        axes.set_title(f"{plain(model)}: B = {each.bias.value:.2f}{' (saturated)' if each.bias_saturated else ''}")
        axes.set_xticks(range(len(names)), [wrapped(name, 13) for name in names], fontsize=8)
    return figure


def _strategies(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """The strategies that all evaluations are of."""
    found = {tuple(score.strategy for score in each.strategies) for each in evaluations.values()}
    if len(found) != 1:
        raise ConfigError(f"figures need evaluations of the same strategies; there are {len(found)} sets of them")
    return list(found.pop())
