"""The curves of a run as a picture: loss, margin, accuracy."""

from __future__ import annotations

from pathlib import Path

from mctsdialog.figures import new_figure, save_figure, say, whole_ticks
from mctsdialog.files import parse_foreign_json

_PANELS = (
    ("loss", ("loss", "eval_loss")),
    ("reward margin", ("rewards/margins", "eval_rewards/margins")),
    ("accuracy", ("rewards/accuracies", "eval_rewards/accuracies", "mean_token_accuracy", "eval_mean_token_accuracy")),
)
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def read_metrics(path: Path) -> dict[str, list[tuple[int, float]]]:
    """The logged values by name, as (step, value)."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in path.read_text("utf-8").splitlines():
        entry = parse_foreign_json(line)
        for name, value in entry.items():
            if name not in ("step", "epoch") and isinstance(value, int | float):
                found.setdefault(name, []).append((entry["step"], float(value)))
    return found


def save_curves(metrics: Path, target: Path) -> Path:
    """Draw loss, reward margin and accuracy over the steps, those that were logged.

    :raises ConfigError: if matplotlib is not installed.
    """
    values = read_metrics(metrics)
    panels = [(title, [name for name in names if name in values]) for title, names in _PANELS]
    panels = [(title, names) for title, names in panels if names]
    figure = new_figure(7.0, 2.6 * max(len(panels), 1) + 0.4)
    if not panels:
        say(figure.add_subplot(), "Nothing was logged that can be drawn.")
    for place, (title, names) in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, place)
        for name, colour in zip(names, _COLOURS, strict=False):
            steps, numbers = zip(*values[name], strict=True)
            style = "--o" if name.startswith("eval_") else "-o"
            size = 3 if len(steps) > 1 else 7
            axes.plot(steps, numbers, style, color=colour, markersize=size, label=name)
        axes.set_title(title)
        axes.set_xlabel("optimiser step")
        whole_ticks(axes.xaxis)
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend()
    return save_figure(figure, target.parent, target.name, dpi=120)
