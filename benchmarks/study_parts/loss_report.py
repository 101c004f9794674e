"""The page on the losses: what to use, how each did, and what is decided."""

import common

from study_parts.claims import Comparer, mean_of
from study_parts.losses import ARMS, CONTROLS, LOSSES, worth_difference
from study_parts.report import ARM_COLUMNS, DATA_COLUMNS, arm_row, measured, spread

INTRODUCTION = """
## Losses that use the whole tree

Trees of the calibrated search ({calls:,} calls each) grow from {dialogues} gold dialogues a seed by {whose}. A Llama of
{layers} layers of {hidden} is trained every way from the seed's base: {steps} optimiser steps of {batch} rows each, the
"longer" arms three times as many, arms that begin from SFT on top of its steps. "Worth" is the true mean reward, from 0
to 4, of {held} whole dialogues that the model holds with the world's seeker, by what the seeker hears; the best there
are worth {best:.2f}. Seeds: {seeds}, each with a base and data of its own; Q, B, Q_W and R-L in {cases} contexts.
"""

ROUNDS = """
## Rounds

{dialogues} gold dialogues a seed, each searched with {iterations} trials; the trained model itself plays supporter and
strategist. Training is by `distill`, {steps} optimiser steps in all. "Two rounds" search and train on half of the
dialogues, then on the other half; "one round" takes all of them at once. Seeds: {seeds}, each with a base of its own.
"""

COLUMNS = {"arm": ("name", "s"), "seeds": ("seeds", "d"), "worth": ("worth", "s")} | {
    name: about for name, about in ARM_COLUMNS.items() if name not in ("arm", "favourites named")
}
DATA = {name: about for name, about in DATA_COLUMNS.items() if name != "rejected is a favourite"} | {
    "turns": ("turns", ".0f"),
    "replies a turn": ("replies", ".1f"),
    "target is the best": ("target is best", ".1%"),
}
CLAIMS = {
    "arm": ("arm", "s"),
    "worth": ("worth", "s"),
    "Q": ("Q", "s"),
    "B": ("B", "s"),
}
NOTE = """Means over the seeds, the least and the greatest in brackets; † where B is saturated. Differences are paired
by scenario and seed, with 95 % intervals over both; bold where the interval leaves 0 out."""


def losses_part(losses, found):
    """Text and numbers of the comparison; ``found`` may hold some arms alone, with other numbers of seeds."""
    sizes, own = losses.sizes, losses.own
    whose = "a supporter who wavers" if losses.by_wavering else "the best policy"
    text = INTRODUCTION.format(
        calls=own.calls, dialogues=sizes.seed_dialogues, whose=whose, layers=sizes.layers, hidden=sizes.hidden,
        steps=own.steps, batch=sizes.batch_size, held=own.held, best=losses.best_worth(), cases=len(losses.cases),
        seeds=max(map(len, found.values())),
    )  # fmt: skip
    about = [losses.about(seed) | {"name": f"seed {seed}"} for seed in range(len(found["base"]))]
    parts, numbers = compared(losses, found, ("SFT", "longer SFT on gold"))
    return [text, common.table(about, DATA), "", *parts, NOTE], numbers | {"data": about}


def rounds_part(rounds, found):
    """Text and numbers of the comparison of rounds."""
    sizes, own = rounds.losses.sizes, rounds.own
    text = ROUNDS.format(
        dialogues=sizes.seed_dialogues, iterations=own.calls // 4, steps=own.steps, seeds=len(found["base"])
    )
    parts, numbers = compared(rounds.losses, found, ("one round", "one round, half the data"))
    return [text, *parts, NOTE], numbers


def compared(losses, found, others):
    """Tables and numbers: how each arm did, and what it is more than the others named."""
    said = {arm: [each["said"] for each in seeds] for arm, seeds in found.items()}
    measures = measured(losses.cases, said, losses.world.domain)
    rows = []
    for arm, seeds in found.items():
        row = arm_row(arm, measures[arm], losses.world.favourites)
        worth = spread([mean_of(each["worth"]) for each in seeds], ".2f")
        rows.append(row | {"seeds": len(seeds), "worth": worth})
    comparer = Comparer(losses.cases, said, losses.world.domain)
    tables = {other: differences(comparer, found, other) for other in others if other in found}
    parts = [common.table(rows, COLUMNS), ""]
    for other, table in tables.items():
        parts += [f"Less {other}:", "", common.table(table, CLAIMS), ""]
    return parts, {"arms": rows, "differences": tables}


def differences(comparer, found, other):
    """Each arm less another, at the seeds that both have."""
    rows = []
    for arm in found:
        if arm in (other, "base"):
            continue
        row = {"arm": arm, "worth": shown(*worth_difference(found, arm, other))}
        for measure in ("Q", "B"):
            gap = comparer.difference(arm, measure, arm, other, 1)
            row[measure] = shown(gap.value, gap.low, gap.high)
        rows.append(row)
    return rows


def shown(value, low, high):
    """A difference with its interval, bold where it is decided."""
    text = f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
    return f"**{text}**" if low > 0 or high < 0 else text


def best_losses(found, count):
    """The losses whose dialogues are worth most, best first."""
    means = {arm: mean_of([mean_of(seed["worth"]) for seed in found[arm]]) for arm in found if arm in LOSSES}
    return sorted(means, key=means.get, reverse=True)[:count]


def run(losses):
    """The screen at a few seeds, then the best three and the controls at the others."""
    found = losses.run(["base", *(losses.own.arms or ARMS)], losses.own.seeds)
    if losses.own.more_seeds:
        kept = ["base", *CONTROLS, *best_losses(found, 3)]
        further = losses.run(kept, losses.own.more_seeds)
        found |= {arm: [*found[arm], *further[arm]] for arm in kept}
    return found
