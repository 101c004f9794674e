"""Figures of an arena: trajectories with bands, wins, and strengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cso_train.arena._result import ArenaResult, ProtocolResult
from cso_train.arena._run import ArenaRun
from cso_train.evaluation._intervals import Interval, draw_samples, percentile_intervals
from mctsdialog._arguments import checked
from mctsdialog.figures import new_figure, plain, save_figure, say, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INKS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F", "#8C564B", "#9467BD",
)  # fmt: skip
_DASHES = ("-", "--", "-.", ":")


@checked()
def trajectory_figure(run: ArenaRun, *, resamples: int = 500, seed: int = 0) -> Figure:
    """How the seekers' emotion goes on, by system: means over cards with 95 % bands.

    They are over the cards that all systems share. A conversation that ended keeps its last emotion to the last turn,
    so that no turn's mean is of other cards.

    :raises ConfigError: if matplotlib is not installed.
    """
    figure = new_figure(9.0, 5.0)
    axes = figure.subplots()
    counted = [each for each in run.episodes if each.counts]
    paths: dict[str, dict[str, list[list[float]]]] = {}
    length = max((each.rounds for each in counted), default=0) + 1
    for each in counted:
        emotions = [state.emotion for state in each.states][:length]
        emotions += [emotions[-1]] * (length - len(emotions))
        paths.setdefault(each.system, {}).setdefault(each.card, []).append(emotions)
    cards = [card for card in run.cards if all(card in paths.get(system, {}) for system in run.systems)]
    if not cards:
        say(axes, "No card has a conversation with every system.")
        return figure
    for place, system in enumerate(run.systems):
        rows = [[sum(at) / len(at) for at in zip(*paths[system][card], strict=True)] for card in cards]
        bands = _bands(rows, resamples, seed)
        ink, dash = _INKS[place % len(_INKS)], _DASHES[place // len(_INKS) % len(_DASHES)]
        axes.plot(range(length), [each.value for each in bands], color=ink, linestyle=dash, label=wrapped(system, 26))
        axes.fill_between(
            range(length),
            [each.low for each in bands],
            [each.high for each in bands],
            color=ink,
            alpha=0.15,
            linewidth=0,
        )
    axes.set_ylim(0, 100)
    axes.set_xlim(0, max(1, length - 1))
    axes.set_xlabel("supporter turns so far")
    axes.set_ylabel("seeker's emotion (0 to 100)")
    axes.set_title(f"Mean over {len(cards)} cards, bands: 95 % over cards")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, frameon=False)
    return figure


def _bands(rows: Sequence[Sequence[float]], resamples: int, seed: int) -> list[Interval]:
    def means(places: Sequence[int]) -> list[float]:
        return [sum(rows[card][turn] for card in places) / len(places) for turn in range(len(rows[0]))]

    return percentile_intervals(means, range(len(rows)), draw_samples(len(rows), resamples, seed), 0.95)


@checked()
def win_figure(result: ProtocolResult) -> Figure:
    """The shares that systems win over each other by one protocol.

    :raises ConfigError: if matplotlib is not installed.
    """
    systems = list(result.scores)
    side = max(4.5, 0.8 * len(systems) + 2.5)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    names = [wrapped(each) for each in systems]
    if not result.wins:
        say(axes, "No two systems were compared.")
        return figure
    shares = [[float("nan") if i == j else each for j, each in enumerate(row)] for i, row in enumerate(result.wins)]
    image = axes.imshow(shares, cmap="RdBu", vmin=0, vmax=1)
    for i, row in enumerate(result.wins):
        for j, share in enumerate(row):
            if i != j:
                ink = "white" if abs(share - 0.5) > 0.33 else "black"
                axes.text(j, i, f"{share:.2f}", ha="center", va="center", fontsize=9, color=ink)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_title(f"{plain(result.title)}: the row wins over the column")
    figure.colorbar(image, ax=axes, label="share won, ties as halves", shrink=0.8)
    return figure


@checked()
def strength_figure(results: Sequence[ProtocolResult]) -> Figure:
    """Bradley-Terry strengths by protocol, with intervals over cards.

    :raises ConfigError: if matplotlib is not installed.
    """
    shown = [each for each in results if each.strengths]
    count = max((len(each.strengths) for each in shown), default=1)
    figure = new_figure(4.2 * max(1, len(shown)) + 1.5, 0.42 * count + 1.8)
    panels = figure.subplots(1, max(1, len(shown)), squeeze=False, sharey=True)[0]
    if not shown:
        say(panels[0], "No two systems were compared.")
        return figure
    first = shown[0].strengths
    order = sorted(first, key=lambda system: first[system].value)
    for axes, each in zip(panels, shown, strict=True):
        for place, system in enumerate(order):
            interval = each.strengths[system]
            axes.plot([interval.low, interval.high], [place, place], color="#0072B2", linewidth=2)
            axes.plot([interval.value], [place], "o", color="#0072B2")
        axes.axvline(0, color="#888888", linewidth=1, linestyle="--")
        axes.set_title(plain(each.title), fontsize=10)
        axes.set_xlabel("log-odds", fontsize=9)
        axes.grid(alpha=0.3, axis="x")
    panels[0].set_yticks(range(len(order)), [wrapped(system, 26) for system in order], fontsize=9)
    return figure


@checked()
def write_figures(run: ArenaRun, result: ArenaResult, folder: str | Path, *, seed: int = 0) -> list[Path]:
    """Draw all figures into a folder, as PNG.

    :raises ConfigError: if matplotlib is not installed.
    :raises OSError: if a file cannot be written.
    """
    made = {"trajectories.png": trajectory_figure(run, seed=seed), "strengths.png": strength_figure(result.protocols)}
    made |= {f"wins-{each.name}.png": win_figure(each) for each in result.protocols}
    return [save_figure(figure, folder, name, dpi=130) for name, figure in made.items()]
