"""Protocols of scored conversations held against truth, and how much of a search's worth shows in conversation.

In simulated worlds the worth of a conversation is known. Ten policies of known worth talk with the world's seekers;
every protocol of the arena ranks them. For judge noise and cooperation of the seeker this gives the rank correlation
with the truth by number of cards, and the cards that a protocol needs to tell two policies apart. Two truths are held
against:
*worth*, the mean true reward of the supporter's turns (eq. 2), and *relief*, the seeker's true emotion at the end.

Then searches with 0, 8, 32 and 128 calls a turn talk with seekers whose future they do not know, beside a table of what
the search with the most calls chose on other cards, and models trained in the world: what training keeps of it. For all
policies, the single-turn score in gold contexts, as the paper has it, is held against their worth in conversation.

Run: python benchmarks/arena_study.py [--out FILE] [--figures FOLDER] [--models NAME=FOLDER ...] [--quick]
"""

import argparse
import math
import random
import statistics
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import anyio
import common

from cso_train.arena import ModelEntrant, PolicyEntrant, WorldSeekers, run_arena, spearman, world_planner
from cso_train.arena._local import LoadedModel
from cso_train.arena._result import card_scores
from cso_train.evaluation._intervals import bootstrap_interval, pooled_mean
from cso_train.evaluation.protocols import PROTOCOLS, WorldJudge, world_value
from mctsdialog.dialogue import Turn
from mctsdialog.seekers import true_state, world_card
from mctsdialog.worlds import World, strategies_of

SEED = 7
POLICIES = {
    "best": {"policy": "best"},
    "best, 20 % slips": {"policy": "best", "slip": 0.2},
    "best, 40 % slips": {"policy": "best", "slip": 0.4},
    "best, 60 % slips": {"policy": "best", "slip": 0.6},
    "pleasing": {"policy": "pleasing"},
    "strategist": {"policy": "strategist"},
    "always Affirmation": {"policy": "Affirmation"},
    "always Collaborative Planning": {"policy": "Collaborative Planning"},
    "random": {"policy": "random"},
    "worst": {"policy": "worst"},
}
NOISES, COOPERATION = (0.1, 0.25, 0.5), (1.0, 0.7, 0.4)
SIZES = (5, 10, 20, 40, 80)
TRUTHS = ("worth", "relief")
BEYOND = 10_000  # number of the first scenario that no conversation is about
Z = 1.959964 + 0.841621  # two-sided 5 %, power 80 %
GOLD = "gold contexts"


@dataclass(frozen=True)
class Cell:
    """One setting of a world.

    :param noise: chance that a score of the judge, and a level that a seeker reports, is one off.
    :param cooperation: of the seekers.
    """

    noise: float
    cooperation: float

    @property
    def world(self):
        return World(SEED, judge_noise=self.noise, cooperation=self.cooperation)


def entrants(world):
    return [PolicyEntrant(name, world, **settings) for name, settings in POLICIES.items()]


async def conversations(systems, world, numbers, noise, protocols=(), judges=()):
    cards = [world_card(world, number) for number in numbers]
    made = [PROTOCOLS[name](world.domain) for name in protocols] or [PROTOCOLS["interactive"](world.domain)]
    seekers = WorldSeekers(world, report_noise=noise)
    return await run_arena(systems, cards, seekers, made, judges, rounds=world.rounds, concurrency=1)


def relief(world, dialogue):
    return true_state(world.states(dialogue.scenario, strategies_of(dialogue.turns))[-1]).emotion


def truths(run, world):
    """True worth and relief by system and card."""
    found = {name: {} for name in TRUTHS}
    for each in run.episodes:
        found["worth"].setdefault(each.system, {})[each.card] = world_value(world, each.dialogue)
        found["relief"].setdefault(each.system, {})[each.card] = relief(world, each.dialogue)
    return found


def means(table):
    return {system: statistics.fmean(values.values()) for system, values in table.items()}


# -- protocols against truth ------------------------------------------------------------------------------------------


async def cell_rows(cell, sizes):
    world = cell.world
    many = await conversations(entrants(world), world, range(BEYOND, BEYOND + sizes["truth"]), 0.0)
    true = {name: means(table) for name, table in truths(many, world).items()}
    judge = WorldJudge(world)
    names = ("interactive", "trajectory", "single_turn")
    run = await conversations(entrants(world), world, range(sizes["cards"]), cell.noise, names, [judge])
    few = await conversations(entrants(world), world, range(sizes["pairs"]), cell.noise, ("eia",), [judge])
    tables = {each.name: card_scores(run, each)[each.headline] for each in run.protocols}
    tables |= {each.name: card_scores(few, each)[each.headline] for each in few.protocols}
    tables[GOLD] = await gold_scores(entrants(world), world, range(sizes["cards"]), judge)
    return [
        row(cell, protocol, table, truth, true[truth], sizes) for protocol, table in tables.items() for truth in TRUTHS
    ]


def row(cell, protocol, table, truth, true, sizes):
    systems = list(POLICIES)
    cards = list(table[systems[0]])
    worth = [true[system] for system in systems]
    draws = random.Random(0)

    def correlation(drawn):
        return spearman([statistics.fmean(table[system][card] for card in drawn) for system in systems], worth) or 0.0

    by_size = {}
    for size in (each for each in SIZES if each <= len(cards)):
        found = sorted(correlation(draws.choices(cards, k=size)) for _ in range(sizes["draws"]))
        by_size[size] = {"mean": statistics.fmean(found), "low": found[len(found) // 20]}
    pairs = {pair: cards_needed(table, pair, true) for pair in combinations(systems, 2)}
    finite = [each for each in pairs.values() if each < math.inf]
    return {
        "noise": cell.noise,
        "cooperation": cell.cooperation,
        "protocol": protocol,
        "truth": truth,
        "cards": len(cards),
        "spearman": correlation(cards),
        "by_size": by_size,
        "median_cards": statistics.median(pairs.values()) if len(finite) > len(pairs) / 2 else math.inf,
        "wrong_way": sum(each == math.inf for each in pairs.values()),
        "told_apart_at_40": sum(each <= 40 for each in pairs.values()) / len(pairs),
        "best_or_slips": pairs["best", "best, 20 % slips"],
        "best_or_pleasing": pairs["best", "pleasing"],
        "true": true,
        "scores": means(table),
    }


def cards_needed(table, pair, true):
    """Cards for 80 % power at 5 %, paired by card; infinite where the protocol has the pair the wrong way round."""
    one, other = (table[each] for each in pair)
    less = [one[card] - other[card] for card in one]
    mean = statistics.fmean(less)
    if mean * (true[pair[0]] - true[pair[1]]) <= 0:
        return math.inf
    return max(2.0, (Z * statistics.stdev(less) / mean) ** 2)


async def gold_scores(systems, world, numbers, judge):
    """The judge's score of each system's reply in gold contexts: the turns of the best policy's conversations."""
    found = {}
    for number in numbers:
        card = world_card(world, number)
        gold = world.dialogue(world.scenario(number))
        for system in systems:
            speaker, scores = system.open(card, 0), []
            for at, turn in enumerate(gold.turns):
                if turn.speaker == "supporter":
                    said = await speaker.answer(gold.turns[:at])
                    rated = await judge.rate(gold.scenario, (*gold.turns[:at], said), 0)
                    scores.append(world.domain.mean_score(rated))
            found.setdefault(system.name, {})[card.id] = statistics.fmean(scores)
    return found


# -- how much of the search shows -------------------------------------------------------------------------------------


class TableEntrant:
    """What a search chose most often in each state, on other cards."""

    def __init__(self, name, world, choices):
        self.name, self.identity = name, name
        self._world, self._table = world, {}
        for state, counts in choices.items():
            self._table[state] = counts.most_common(1)[0][0]

    def open(self, card, repeat):
        return _TableSpeaker(self._world, self._table, card.scenario)


@dataclass(frozen=True)
class _TableSpeaker:
    world: object
    table: dict
    scenario: object

    async def answer(self, history):
        state = self.world.states(self.scenario, strategies_of(history))[-1]
        strategy = self.table.get(state) or self.world.domain.strategies.names[0]
        supporter = self.world.roles().bind(self.scenario).supporter
        return Turn("supporter", await supporter.reply(history, strategy), strategy)


async def search_rows(sizes, calls, models):
    world = World(SEED)
    searches = [world_planner(f"search, {each} calls a turn", world, calls=each) for each in calls]
    taught = await conversations(searches[-1:], world, range(BEYOND, BEYOND + sizes["taught"]), 0.0)
    choices = {}
    for each in taught.episodes:
        strategies = strategies_of(each.dialogue.turns)
        states = world.states(each.dialogue.scenario, strategies)
        for state, strategy in zip(states, strategies, strict=False):
            choices.setdefault(state, Counter())[strategy] += 1
    systems = [*searches, TableEntrant(f"table of the search with {calls[-1]}", world, choices), *entrants(world)[:1]]
    systems += entrants(world)[4:5]
    systems += [trained(world, name, folder) for name, folder in models.items()]
    numbers = range(sizes["search_cards"])
    run = await conversations(systems, world, numbers, 0.0)
    found = truths(run, world) | {GOLD: await gold_scores(systems, world, numbers, WorldJudge(world))}
    rows = []
    for system in (each.name for each in systems):
        intervals = {}
        for name, table in found.items():
            values = list(table[system].values())
            intervals[name] = pooled_mean(values, [1] * len(values), resamples=1000, seed=0)
        rows.append({"system": system, **{name: vars(each) for name, each in intervals.items()}})
    table = f"table of the search with {calls[-1]}"
    kept = {
        f"{name}, {each}": kept_share(found[name], searches[0].name, searches[-1].name, each)
        for each in (table, *models)
        for name in TRUTHS
    }
    names = [each.name for each in systems]
    predicts = {name: prediction(found[GOLD], found[name], names) for name in TRUTHS}
    return rows, kept, predicts


def trained(world, name, folder):
    """A model that was trained in the world."""
    return ModelEntrant(name, LoadedModel.load(folder), world.domain, max_tokens=48, temperature=0.0)


def kept_share(worth, none, most, other):
    """The share of the search's gain over no search that a policy keeps, with its interval over cards."""
    cards = list(worth[none])

    def share(places):
        drawn = [cards[at] for at in places]
        base, top, got = (statistics.fmean(worth[each][card] for card in drawn) for each in (none, most, other))
        return (got - base) / (top - base) if top != base else 0.0

    return vars(bootstrap_interval(len(cards), share, resamples=1000))


def prediction(single, worth, systems):
    """Spearman's correlation of systems by single turns and by worth, with its interval over cards."""
    cards = list(worth[systems[0]])

    def correlation(places):
        drawn = [cards[at] for at in places]
        one, other = (
            [statistics.fmean(table[s][card] for card in drawn) for s in systems] for table in (single, worth)
        )
        return spearman(one, other) or 0.0

    return vars(bootstrap_interval(len(cards), correlation, resamples=1000))


# -- figures and tables -----------------------------------------------------------------------------------------------


def draw_truth(rows, folder):
    from mctsdialog.figures import new_figure, save_figure  # noqa: PLC0415

    inks = {
        "interactive": "#0072B2",
        "trajectory": "#009E73",
        "eia": "#D55E00",
        "single_turn": "#CC79A7",
        GOLD: "#777777",
    }
    figure = new_figure(11.0, 6.4)
    panels = figure.subplots(len(TRUTHS), len(NOISES), sharex=True, sharey=True)
    for across, truth in enumerate(TRUTHS):
        for along, noise in enumerate(NOISES):
            axes = panels[across][along]
            for each in rows:
                if (each["truth"], each["noise"], each["cooperation"]) == (truth, noise, 1.0):
                    sizes = list(each["by_size"])
                    axes.plot(sizes, [each["by_size"][n]["mean"] for n in sizes], "o-", color=inks[each["protocol"]],
                              label=each["protocol"])  # fmt: skip
            axes.axhline(0.9, color="#888888", linestyle="--", linewidth=1)
            axes.set_xscale("log")
            axes.set_xticks([5, 10, 20, 40, 80], ["5", "10", "20", "40", "80"])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            axes.set_title(f"{truth}; noise {noise:g}", fontsize=10)
    for axes in panels[-1]:
        axes.set_xlabel("cards")
    for line in panels:
        line[0].set_ylabel("rank correlation with truth")
    if panels[0][-1].lines[:-1]:
        panels[0][-1].legend(fontsize=8)
    save_figure(figure, folder, "arena-truth.png", dpi=120)


def draw_search(search, folder):
    from mctsdialog.figures import new_figure, save_figure, wrapped  # noqa: PLC0415

    figure = new_figure(9.0, 0.5 * len(search) + 1.6)
    panels = figure.subplots(1, 3, sharey=True)
    titles = {
        "worth": "worth (mean true reward, 0 to 4)",
        "relief": "true emotion at the end",
        GOLD: "single turns, gold contexts",
    }
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        for place, each in enumerate(reversed(search)):
            interval = each[name]
            axes.plot([interval["low"], interval["high"]], [place, place], color="#0072B2", linewidth=2)
            axes.plot([interval["value"]], [place], "o", color="#0072B2")
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3, axis="x")
    panels[0].set_yticks(range(len(search)), [wrapped(each["system"], 26) for each in reversed(search)], fontsize=9)
    save_figure(figure, folder, "arena-search.png", dpi=120)


COLUMNS = {
    "judge noise": ("noise", "g"),
    "cooperation": ("cooperation", "g"),
    "protocol": ("protocol", ""),
    "truth": ("truth", ""),
    "Spearman, all cards": ("spearman", ".2f"),
    "at 10 cards": ("at10", ".2f"),
    "at 40 cards (5th percentile)": ("at40", ""),
    "median cards a pair": ("median_cards", ".0f"),
    "pairs the wrong way": ("wrong_way", "d"),
    "told apart at 40": ("told_apart_at_40", ".0%"),
    "best or slips": ("best_or_slips", ".0f"),
    "best or pleasing": ("best_or_pleasing", ".0f"),
}


def shown(each):
    sizes = each["by_size"]
    at40 = sizes.get(40)
    return each | {
        "at10": sizes[10]["mean"] if 10 in sizes else None,
        "at40": f"{at40['mean']:.2f} ({at40['low']:.2f})" if at40 else None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--figures", type=Path, help="folder for the drawings")
    parser.add_argument("--quick", action="store_true", help="few cards, to see that it runs")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME=FOLDER", help="trained in the world of seed 7")
    parser.add_argument("--part", choices=["all", "truth", "search"], default="all")
    arguments = parser.parse_args()
    sizes = {"truth": 300, "cards": 120, "pairs": 60, "draws": 300, "taught": 60, "search_cards": 80}
    cells, calls = [Cell(noise, given) for noise in NOISES for given in COOPERATION], (0, 8, 32, 128)
    if arguments.quick:
        sizes = {"truth": 20, "cards": 10, "pairs": 5, "draws": 20, "taught": 4, "search_cards": 5}
        cells, calls = [Cell(0.25, 1.0)], (0, 8)
    rows, search, kept, predicts = [], [], None, None
    if arguments.part != "search":
        for cell in cells:
            rows += anyio.run(cell_rows, cell, sizes)
        print(common.table(list(map(shown, rows)), COLUMNS), flush=True)
    if arguments.part != "truth":
        models = dict(given.split("=", 1) for given in arguments.models)
        search, kept, predicts = anyio.run(partial(search_rows, sizes, calls, models))
        columns = {"system": ("system", "")} | {name: (name, "") for name in (*TRUTHS, GOLD)}
        form = "{value:.2f} ({low:.2f} to {high:.2f})"
        cells_of = [each | {name: form.format(**each[name]) for name in (*TRUTHS, GOLD)} for each in search]
        print(common.table(cells_of, columns))
        for name, each in kept.items():
            print(f"of the search's gain in {name}: " + "{value:.2f} ({low:.2f} to {high:.2f})".format(**each))
        for name, each in predicts.items():
            print(
                f"single turns in gold contexts and {name}: " + "{value:.2f} ({low:.2f} to {high:.2f})".format(**each)
            )
    if arguments.figures and rows:
        draw_truth(rows, arguments.figures)
    if arguments.figures and search:
        draw_search(search, arguments.figures)
    finite = [{name: None if value == math.inf else value for name, value in row.items()} for row in rows]
    common.write(arguments.out, rows=finite, search=search, kept=kept, predicts=predicts)


if __name__ == "__main__":
    main()
