"""The study's figures."""

from mctsdialog._colours import PALETTE
from study_parts.claims import interval, mean_of
from study_parts.training import ARMS

LABELS = {
    "c": "exploration c",
    "horizon": "horizon H, simulated rounds",
    "prior_temperature": "prior temperature T",
}


def new_figure(columns=1, width=6.4, height=3.8):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False)
    for each in axes[0]:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(axis="y", alpha=0.25)
    return figure, axes[0]


def saved(figure, path):
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def regret(rows, key="worth"):
    """Mean regret and its interval over the scenarios that have the figure."""
    return interval([row["best"] - row[key] for row in rows if row.get(key) is not None])


def line(axis, places, intervals, colour, label):
    axis.plot(places, [each.value for each in intervals], marker="o", color=colour, label=label)
    low, high = [each.low for each in intervals], [each.high for each in intervals]
    axis.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)


def ways_figure(found, path):
    figure, (axis,) = new_figure(width=7.6)
    names = dict.fromkeys(name for name, _ in found)
    for name, colour in zip(names, PALETTE, strict=False):
        calls = sorted(each for other, each in found if other == name)
        line(axis, calls, [regret(found[name, each]) for each in calls], colour, name)
    axis.set_xscale("log")
    ticks = sorted({each for _, each in found})
    axis.set_xticks(ticks, [f"{each:,}" for each in ticks])
    axis.minorticks_off()
    axis.set(xlabel="calls to roles, at most", ylabel="regret (0: the best dialogue)", ylim=(0, None))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return saved(figure, path)


def effect_figure(found, setting, path):
    figure, (axis,) = new_figure()
    values = [value for name, value in found if name == setting]
    places = range(len(values))
    for colour, (label, key) in zip(
        PALETTE, {"paths judged": "worth", "path of highest mean Q": "by_mean_q"}.items(), strict=False
    ):
        line(axis, places, [regret(found[setting, value], key) for value in values], colour, label)
    axis.set_xticks(places, [f"{value:g}" for value in values])
    axis.set(xlabel=LABELS[setting], ylabel="regret", ylim=(0, None))
    axis.legend(frameon=False)
    return saved(figure, path)


def gold_figure(found, path):
    figure, (axis,) = new_figure(width=8.4)
    short = {"none": "no gold\ndialogue", "a biased supporter's": "a biased\nsupporter's"}
    labels = [short.get(gold, gold) + ("" if gold == "none" else f"\nN = {visits}") for gold, visits in found]
    kinds = {"best path": "worth", "best new path, by mean Q": "new_by_mean_q", "the gold dialogue itself": "gold"}
    for at, (colour, (label, key)) in enumerate(zip(PALETTE, kinds.items(), strict=False)):
        have = [place for place, rows in enumerate(found.values()) if any(row.get(key) is not None for row in rows)]
        each = [regret(list(found.values())[place], key) for place in have]
        errors = [[one.value - one.low for one in each], [one.high - one.value for one in each]]
        places = [place + (at - 1) * 0.18 for place in have]
        axis.errorbar(
            places, [one.value for one in each], errors, fmt="o", color=colour, label=label, capsize=3, linewidth=1.4
        )
    axis.set_xticks(range(len(labels)), labels, fontsize=8)
    axis.set(ylabel="regret", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    return saved(figure, path)


def arms_figure(measures, path):
    """Each seed's macro-F1 and bias by arm, and their mean."""
    figure, axes = new_figure(2, width=9.0, height=3.6)
    names = ["base", *ARMS]
    for axis, key, label in zip(axes, ("Q", "B"), ("Q, macro-F1 in percent", "B, preference bias"), strict=True):
        for place, (name, colour) in enumerate(zip(names, PALETTE, strict=False)):
            values = [each[key] for each in measures[name]]
            axis.bar(place, mean_of(values), color=colour, alpha=0.45, width=0.7)
            axis.plot([place] * len(values), values, "o", color=colour, markersize=4)
        axis.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor", fontsize=8)
        axis.set_ylabel(label)
    return saved(figure, path)


def volume_figure(points, measures, path):
    """Macro-F1 and bias by the number of dialogues, SFT on all of them dashed (the paper's Figure 4)."""
    figure, axes = new_figure(2, width=9.0, height=3.4)
    for axis, key, label in zip(axes, ("Q", "B"), ("Q, macro-F1 in percent", "B, preference bias"), strict=True):
        axis.plot([count for count, _ in points], [mean_of([each[key] for each in rows]) for _, rows in points],
                  marker="o", color=PALETTE[0], label="CSO")  # fmt: skip
        for count, rows in points:
            axis.plot([count] * len(rows), [each[key] for each in rows], "o", color=PALETTE[0], alpha=0.4, markersize=4)
        axis.axhline(
            mean_of([each[key] for each in measures["SFT"]]), color=PALETTE[1], linestyle="--", label="SFT on all"
        )
        axis.set(xlabel="dialogues of ESC-Pro (mean over the seeds)", ylabel=label)
        axis.legend(frameon=False)
    return saved(figure, path)
