"""The study's report: tables, figures, and what holds."""

import json
from dataclasses import asdict

import common

from study_parts import figures
from study_parts.claims import Comparer, claims, claims_of_larger, interval, mean_of, measures_of
from study_parts.searching import JUDGED
from study_parts.training import ARMS, LARGER_ARMS, volume_name

INTRODUCTION = """# The study: the paper's claims at small scale

A simulated world is a test bed, not people: its seekers have a state that strategies move by known chances, and
speak in composed sentences. What holds here shows that the code does what it should where the truth is known;
it says nothing about how people are helped. Preset `{preset}`; intervals are 95 % bootstrap intervals.
"""

SEARCH = """
## Search quality

{scenarios} scenarios of {rounds} supporter turns. Worth is the true mean reward of the dialogue that a way of
choosing ends up with, on the judge's scale from 0 to 4 without its noise; regret is what it lacks of the
scenario's best dialogue, which dynamic programming finds. Every call to a role counts; "calls" is the mean of
those that were used. The strategist is biased and noisy, the judge noisy, and the same to all. MCTS has the
paper's settings (c = 1, H = 4, T = 5). It keeps back calls to have the {judged} paths of highest mean Q judged
whole and takes the best; "by mean Q" is what the path of highest mean Q would have been, and "best found" the
best among all whole dialogues that it could choose from. cso, best_of_n, halving, beam and calibrated are the
package's algorithms by name, each alone with all the calls.
"""

WAY_COLUMNS = {
    "way": ("way", "s"),
    "at most": ("most", ",d"),
    "calls": ("calls", ",.0f"),
    "worth": ("worth", ".3f"),
    "regret": ("regret", ".3f"),
    "95 %": ("interval", "s"),
    "by mean Q": ("by_mean_q", ".3f"),
    "best found": ("best_found", ".3f"),
}

EFFECTS = """
### What the settings do

The same search at {calls:,} calls on {scenarios} other scenarios, one setting changed at a time. Bands are
intervals.

![Effect of c](figures/effect-c.png)
![Effect of H](figures/effect-horizon.png)
![Effect of T](figures/effect-prior_temperature.png)
![Effect of gold seeding](figures/effect-gold.png)
"""

TRAINING = """
## Training

A Llama of {parameters}, made from scratch, is trained on {base:,} dialogues whose strategies are drawn from the
biased strategist's scores: the base. {dialogues} gold dialogues by the best policy are grown into trees
({iterations} iterations), and these made into ESC-Pro, ESC-Pro-SFT and ESC-Pro-Random by the package's own code
with theta = {theta:g}: rewards in this world are mostly below 0. Every arm starts from the base ({epochs} epochs,
all parameters), as in section 5 of the paper. All that is done at {seeds} seeds, each with a base, dialogues and an
order of its own. {cases} contexts of held-out scenarios; the gold strategy is the best by dynamic programming.
"""

DATA_COLUMNS = {
    "data": ("name", "s"),
    "dialogues": ("dialogues", ".0f"),
    "pairs": ("pairs", ".0f"),
    "chosen truly better": ("right", ".1%"),
    "chosen is the best": ("chosen is best", ".1%"),
    "rejected is a favourite": ("rejected is a favourite", ".1%"),
}

ARM_COLUMNS = {
    "arm": ("name", "s"),
    "Q": ("Q", "s"),
    "B": ("B", "s"),
    "Q_W": ("QW", "s"),
    "R-L": ("RL", "s"),
    "favourites named": ("favourites", ".1%"),
    "no strategy named": ("failed", ".1%"),
}

CLAIM_COLUMNS = {
    "claim": ("name", "s"),
    "difference": ("value", "+.2f"),
    "95 %": ("interval", "s"),
    "here it": ("verdict", "s"),
}


def shown(found):
    return f"{found.low:.3f} to {found.high:.3f}"


def way_row(name, most, rows):
    """A row of the table of ways."""
    gap = interval([row["best"] - row["worth"] for row in rows])
    row = {"way": name, "most": most, "regret": gap.value, "interval": shown(gap)}
    for key in ("calls", "worth", "by_mean_q", "best_found"):
        values = [each[key] for each in rows if each.get(key) is not None]
        row[key] = mean_of(values) if values else None
    return row


def search_part(preset, ways, varied, gold, folder):
    """Text, figures and numbers of the search."""
    rows = [way_row(name, most, found) for (name, most), found in ways.items()]
    figures.ways_figure(ways, folder / "figures" / "search-calls.png")
    for setting in figures.LABELS:
        figures.effect_figure(varied, setting, folder / "figures" / f"effect-{setting}.png")
    figures.gold_figure(gold, folder / "figures" / "effect-gold.png")
    sizes = {"scenarios": preset.scenarios, "rounds": preset.rounds, "judged": JUDGED}
    parts = [
        SEARCH.format(**sizes),
        common.table(rows, WAY_COLUMNS),
        "",
        "![Regret by calls](figures/search-calls.png)",
    ]
    effects = [way_row(f"{name} = {value:g}", preset.effect_calls, found) for (name, value), found in varied.items()]
    effects += [
        way_row(f"gold: {whose}, N = {visits}", preset.effect_calls, found) for (whose, visits), found in gold.items()
    ]
    parts += [
        EFFECTS.format(calls=preset.effect_calls, scenarios=preset.effect_scenarios),
        common.table(effects, WAY_COLUMNS),
    ]
    return parts, {"ways": rows, "effects": effects}


def spread(values, form, marks=()):
    """The mean over the seeds, and from the least to the greatest."""
    mark = "†" if any(marks) else ""
    text = f"{mean_of(values):{form}}{mark}"
    return text if len(values) == 1 else f"{text} ({min(values):{form}} to {max(values):{form}})"


def arm_row(name, rows, favourites):
    """A row of the table of arms."""
    row = {"name": name, "B": spread([each["B"] for each in rows], ".2f", [each["saturated"] for each in rows])}
    for key in ("Q", "QW", "RL"):
        row[key] = spread([each[key] for each in rows], ".1f")
    counts = [each["predicted"] for each in rows]
    named, failed = sum(sum(count.values()) for count in counts), sum(each["failed"] for each in rows)
    row["favourites"] = sum(count[name] for count in counts for name in favourites) / max(1, named)
    return row | {"failed": failed / (named + failed)}


def measured(cases, replies, domain):
    """The measures of each seed's replies, by what they are of."""
    return {name: [measures_of(cases, said, domain) for said in seeds] for name, seeds in replies.items()}


def training_part(training, replies, volumes, folder):
    """Text, figures and numbers of the training."""
    sizes, world = training.sizes, training.world
    cases = training.cases
    measures = measured(cases, replies, world.domain)
    data = [training.data(seed)[1]["parts"] for seed in sizes.seeds]
    smaller = measured(cases, volumes, world.domain)
    points = volume_points(data, measures, smaller)
    figures.arms_figure(measures, folder / "figures" / "training-arms.png")
    figures.volume_figure(points, measures, folder / "figures" / "training-volume.png")
    least = min(volumes)
    comparer = Comparer(cases, replies | {"least": volumes[least]}, world.domain)
    table = verdict_rows(claims(comparer, "least"))
    arms = [arm_row(name, rows, world.favourites) for name, rows in measures.items()]
    text = TRAINING.format(
        parameters=f"{sizes.layers} layers of {sizes.hidden}", base=sizes.base_dialogues, seeds=len(sizes.seeds),
        dialogues=sizes.seed_dialogues, iterations=sizes.iterations, theta=sizes.theta, epochs=sizes.epochs,
        cases=len(cases),
    )  # fmt: skip
    named = [{"name": name} | means([each[name] for each in data]) for name in data[0]]
    rates = rates_of(training, tuple(ARMS))
    parts = [
        text,
        f"Learning rates: {rates}.",
        "",
        common.table(named, DATA_COLUMNS),
        "",
        common.table(arms, ARM_COLUMNS),
    ]
    parts += ["", NOTE, "", "![Arms](figures/training-arms.png)", "![Data volume](figures/training-volume.png)"]
    parts += ["", "### What holds here", "", common.table(table, CLAIM_COLUMNS), "", CLAIM_NOTE]
    return parts, {"measures": measures, "volumes": points, "claims": table, "data": data}


def verdict_rows(verdicts):
    """Rows of a table of claims."""
    return [
        asdict(each) | {"interval": f"{each.low:+.2f} to {each.high:+.2f}", "verdict": each.verdict}
        for each in verdicts
    ]


LARGER = """
### A larger model

A Llama of {layers} layers of {hidden} whose tokens have one embedding for reading and another for saying, at {seeds}
seeds, the first with the data above; learning rates {rates}. {cases:,} contexts of held-out scenarios.
"""

WAVERING = """
### Gold that is no optimum

What people said is not by the best policy. Here a supporter speaks the gold dialogues who at every turn takes the best
strategy or, as often, one drawn by the strategist's biased ratings: worth {worth:.2f} instead of {best:.2f}. The larger
model, the bases and the rest as above.
"""


def rates_of(training, arms):
    """The learning rate of every method, as text."""
    first = {ARMS[arm][0]: arm for arm in reversed(arms)}
    return ", ".join(f"{arm} {training.rate(arm):g}" for arm in arms if arm in first.values())


def larger_part(training, replies):
    """Text and numbers of the larger model."""
    sizes, rates = training.sizes, rates_of(training, LARGER_ARMS)
    text = LARGER.format(
        layers=sizes.layers, hidden=sizes.hidden, seeds=len(sizes.seeds), rates=rates, cases=len(training.cases)
    )
    tables, numbers = _larger_tables(training, replies)
    return [text, *tables], numbers


def wavering_part(training, replies):
    """Text and numbers of the larger model where gold is no optimum."""
    worth, best = (training.gold_worth(by_wavering=each) for each in (True, False))
    data = [training.data(seed)[1]["parts"]["esc-pro"] for seed in training.sizes.seeds]
    tables, numbers = _larger_tables(training, replies)
    text = [WAVERING.format(worth=worth, best=best), common.table([{"name": "esc-pro"} | means(data)], DATA_COLUMNS)]
    return [*text, "", *tables], numbers | {"data": data}


def _larger_tables(training, replies):
    world = training.world
    measures = measured(training.cases, replies, world.domain)
    arms = [arm_row(name, rows, world.favourites) for name, rows in measures.items()]
    table = verdict_rows(claims_of_larger(Comparer(training.cases, replies, world.domain)))
    tables = [common.table(arms, ARM_COLUMNS), "", common.table(table, CLAIM_COLUMNS)]
    return tables, {"measures": measures, "claims": table}


NOTE = """Means over the seeds, the least and the greatest in brackets. Q: macro-F1 of the strategies in
percent, Q_W the weighted one; B: preference bias, † where it is saturated at one seed or more; R-L: ROUGE-L of
the replies. "Favourites named": share of the strategies named that the strategist over-rates; "no strategy named":
share of the replies that name none, which Q counts as wrong and B leaves out."""

CLAIM_NOTE = """Differences of the means over the seeds; dialogues and seeds are resampled together. "Holds" and
"does not hold" where the interval leaves 0 out, else "not decided"."""


def means(rows):
    """The mean of every number."""
    found = {}
    for key in rows[0]:
        values = [row[key] for row in rows if row[key] is not None]
        found[key] = mean_of(values) if values else None
    return found


def volume_points(data, measures, smaller):
    """(mean number of dialogues, measures by seed), the base first and all data last."""
    points = [(0.0, measures["base"])]
    for share, rows in sorted(smaller.items()):
        name = volume_name(share)
        points.append((mean_of([each[name]["dialogues"] for each in data]), rows))
    return [*points, (mean_of([each["esc-pro"]["dialogues"] for each in data]), measures["CSO"])]


def write(folder, preset_name, parts, numbers):
    """``report.md`` and ``study.json``."""
    text = "\n".join([INTRODUCTION.format(preset=preset_name), *parts]) + "\n"
    (folder / "report.md").write_text(text, "utf-8")
    common.write(folder / "study.json", preset=json.loads((folder / "preset.json").read_text("utf-8")), **numbers)
    return text
