"""Search quality in simulated worlds, where the best dialogue is known: the tree search and what it is compared with.

Worth is the true mean reward of a dialogue's supporter turns on the judge's scale, 0 to 4 (eq. 2 without its bias);
regret is what it lacks of the scenario's best dialogue. All ways of choosing see the same noisy roles, and every call
to a role counts.
"""

import math
import random
from dataclasses import dataclass
from functools import partial

import anyio
import common

import mctsdialog
from mctsdialog._search import CheckedRoles, History
from mctsdialog.algorithms._rules import highest, mean, reward, softmax
from mctsdialog.worlds import World, strategies_of

SCALE = 3.0  # minus the bias of eq. 2
TEMPERATURE = 5.0  # of the prior, as the search's default
ALGORITHMS = ("cso", "best_of_n", "halving", "beam", "calibrated")
JUDGED = 8  # paths of a tree that are judged whole before one is taken


@dataclass
class Calls:
    """Counts calls to roles, and ends them at a limit."""

    most: int
    used: int = 0

    async def take(self):
        if self.used >= self.most:
            raise mctsdialog.errors.BudgetExceededError("calls", limit=self.most, used=self.used)
        self.used += 1

    @property
    def left(self):
        return self.most - self.used


@dataclass(frozen=True)
class Case:
    """A scenario of a world, its roles counted.

    :param notes: what else is known of how it was searched.
    """

    world: object
    scenario: object
    calls: Calls
    notes: dict

    @classmethod
    def of(cls, world, number, most):
        return cls(world, world.scenario(number), Calls(most), {})

    @property
    def roles(self):
        return common.roles_after(self.world.roles(), self.calls.take)

    @property
    def players(self):
        return CheckedRoles(self.roles.bind(self.scenario), self.world.domain)

    @property
    def names(self):
        return self.world.domain.strategies.names

    def reward_of(self, scores):
        weights = [self.world.domain.weights[name] for name in self.world.domain.criteria]
        return reward(scores, weights, 0.0)

    def worth(self, strategies):
        return self.world.value(self.scenario, strategies) + SCALE

    def best(self):
        return self.world.best_value(self.scenario) + SCALE


# -- one round, one dialogue ---------------------------------------------------------------------------------------


async def opened(players):
    history = History.of(())
    return history.answered(await players.open(history))


async def exchange(players, history, strategy):
    """(history after the round, whether it is the end)."""
    history = history.supported(await players.supporter(history, strategy), strategy)
    said = await players.seeker(history)
    return (history, True) if said is None else (history.answered(said), False)


async def judged_turn(case, players, history, ended):
    """The reward of the supporter's last turn as it is judged, by what was said up to it."""
    turn = history if ended else History(history.full[:-1], history.plain[:-1])
    return case.reward_of((await players.judgement(turn)).scores)


def greedily(case, players):
    """Chooses the strategy that the strategist scores highest."""

    async def choose(history):
        return highest(case.names, await players.scores(history))

    return choose


def drawn(draw, names, scores, temperature):
    """A strategy, drawn from the softmax of its score."""
    prior = softmax(scores, temperature)
    return draw.choices(names, [prior[name] for name in names])[0]


async def rollout(case, players, history, choose, judged=True):
    """Strategies to the end, and the mean reward as it was judged."""
    ended, rewards = False, []
    while not ended:
        history, ended = await exchange(players, history, await choose(history))
        if judged:
            rewards.append(await judged_turn(case, players, history, ended))
    return strategies_of(history.full), mean(rewards) if judged else None


# -- ways of choosing ----------------------------------------------------------------------------------------------


async def greedy(case):
    """The strategy that the strategist scores highest, at every turn."""
    players = case.players
    return (await rollout(case, players, await opened(players), greedily(case, players), judged=False))[0]


async def best_of(case, from_prior, seed=0):
    """As many whole dialogues as there are calls for, drawn at random, each judged: the best as it was judged."""
    players, draw = case.players, random.Random(f"{seed}/{case.scenario.id}")

    async def choose(history):
        if not from_prior:
            return draw.choice(case.names)
        return drawn(draw, case.names, await players.scores(history), TEMPERATURE)

    begin, found = await opened(players), []
    cost = case.world.rounds * (4 if from_prior else 3)
    while not found or case.calls.left >= cost:
        found.append(await rollout(case, players, begin, choose))
    note_paths(case, [strategies for strategies, _ in found])
    return max(found, key=lambda each: each[1])[0]


def note_paths(case, paths):
    """How many whole dialogues there were to choose from, and the true worth of the best of them."""
    case.notes.update(paths=len(paths), best_found=max(map(case.worth, paths), default=None))


async def beam(case):
    """At every turn all strategies after each kept beginning; those of the highest mean reward so far are kept."""
    players, rounds, wide = case.players, case.world.rounds, 3 * len(case.names)
    width = max(1, (case.calls.left - 1 - wide) // (wide * (rounds - 1))) if rounds > 1 else 1
    beams = [(0.0, await opened(players))]
    for _ in range(rounds):
        grown = []
        for total, history in beams:
            for name in case.names:
                after, ended = await exchange(players, history, name)
                grown.append((total + await judged_turn(case, players, after, ended), after))
        beams = sorted(grown, key=lambda each: -each[0])[:width]
    return strategies_of(beams[0][1].full)


async def tree_search(case, start=None, **settings):
    """A tree searched until the calls are spent, with some kept back: the paths of highest mean Q have every turn
    judged, and the best of these is taken. What the path of highest mean Q itself is worth is noted, and what the best
    one other than the gold dialogue is.

    :param start: the gold dialogue to seed from; by default the scenario alone.
    """
    kept = case.world.rounds * max(3, JUDGED)
    case.calls.most -= kept
    limits = dict.fromkeys(("max_iterations", "min_iterations", "max_ends"), 10**9)
    tree = await mctsdialog.search(start or case.scenario, case.roles, mctsdialog.SearchConfig(**limits, **settings))
    case.calls.most += kept
    ranked = ranked_paths(tree)
    paths = [[node.strategy for node in path] for path in ranked]
    new = [named for named, path in zip(paths, ranked, strict=True) if not path[-1].gold]
    case.notes["iterations"] = tree.iterations
    note_paths(case, paths)
    if not paths:
        paths = new = [await completed(case, tree)]
    case.notes["by_mean_q"] = case.worth(paths[0])
    if new:
        case.notes["new_by_mean_q"] = case.worth(new[0])
    return max([(await judged_worth(case, path), path) for path in paths[:JUDGED]])[1]


async def by_name(case, algorithm, start=None, own=None, **settings):
    """An algorithm of the package, through the public search alone; where it reached no end, the best path is gone on
    with greedily by calls that do not count.

    :param start: the gold dialogue to seed from; by default the scenario alone.
    :param own: the algorithm's own settings.
    """
    limits = dict.fromkeys(("max_iterations", "min_iterations", "max_ends"), 10**9)
    config = mctsdialog.SearchConfig(algorithm=algorithm, settings=own or {}, **limits, **settings)
    tree = await mctsdialog.search(start or case.scenario, case.roles, config, max_calls=case.calls.left)
    path = tree.best_path()
    case.notes.update(iterations=tree.iterations, paths=tree.ends, value=path.value if path else None)
    if path:
        return list(path.strategies)
    used, case.calls.most = case.calls.used, math.inf
    strategies = await completed(case, tree)
    case.calls.used = used
    return strategies


async def judged_worth(case, strategies):
    """Mean reward of a dialogue as it is judged, every turn. Its replies were said already: they count no call."""
    quiet, players = CheckedRoles(case.world.roles().bind(case.scenario), case.world.domain), case.players
    history, rewards = await opened(quiet), []
    for strategy in strategies:
        history, ended = await exchange(quiet, history, strategy)
        rewards.append(await judged_turn(case, players, history, ended))
    return mean(rewards)


def ranked_paths(tree):
    """Paths to visited end nodes without the root, those of highest mean Q first, as :meth:`Tree.best_path` ranks."""
    paths = [tree.path(node)[1:] for node in tree if node.type == "end" and node.visits]
    return sorted(paths, key=lambda path: -mean([node.value for node in path]))


async def completed(case, tree):
    """Where no end was reached: the most visited path, gone on with greedily."""
    node = tree.root
    while spoken := [child for child in tree.children(node) if child.type != "unexpanded"]:
        node = max(spoken, key=lambda child: child.visits)
    players = case.players
    begin = History.of(tree.history(node))
    return (await rollout(case, players, begin, greedily(case, players), judged=False))[0]


WAYS = {
    "greedy by prior": greedy,
    "best of n, random": partial(best_of, from_prior=False),
    "best of n, prior": partial(best_of, from_prior=True),
    "beam, told the rounds": beam,
    "MCTS": tree_search,
    **{name: partial(by_name, algorithm=name) for name in ALGORITHMS},
}
"""By hand first, with the paper's settings unless the name says otherwise; then the package's algorithms."""

EFFECTS = {
    "c": (0.0, 0.3, 1.0, 3.0, 10.0),
    "horizon": (0, 1, 2, 3, 4),
    "prior_temperature": (1.0, 2.0, 5.0, 20.0, 50.0),
}


def pleasing(world):
    """A supporter who says what the strategist would rate highest without noise: what pleases, and its favourites."""

    def choose(state, number):
        del number
        return max(world.domain.strategies.names, key=lambda name: rated(world, state, name))

    return choose


def wavering(world, scenario, temperature):
    """A supporter who at every turn takes the best strategy or, as often, one drawn by the strategist's ratings."""
    draw, names = random.Random(scenario.id), world.domain.strategies.names

    def choose(state, number):
        if draw.random() < 0.5:
            return world.best_strategy(state, number)
        return drawn(draw, names, {name: rated(world, state, name) for name in names}, temperature)

    return choose


def rated(world, state, name):
    return 2 * world.true_scores(state, name)[3] + (world.bias if name in world.favourites else 0)


GOLD = {
    "none": None,
    "a biased supporter's": lambda world, scenario: world.dialogue(scenario, pleasing(world)),
    "the best policy's": lambda world, scenario: world.dialogue(scenario),
}


async def measured(way, world, number, calls, gold=None, **settings):
    """One scenario searched one way.

    :param gold: a name in :data:`GOLD`.
    """
    case = Case.of(world, number, calls)
    if gold is not None and GOLD[gold] is not None:
        settings["start"] = GOLD[gold](world, case.scenario)
    strategies = await way(case, **settings)
    row = {"worth": case.worth(strategies), "best": case.best(), "calls": case.calls.used, **case.notes}
    if "start" in settings:
        row["gold"] = case.worth(strategies_of(settings["start"].turns))
    return row


def compared(store, preset):
    """Every way at every number of calls: rows of one scenario each, by name and calls."""
    world = World(preset.seed, rounds=preset.rounds)
    return {
        (name, calls): store.kept(f"ways/{name}/{calls}", partial(_rows, way, world, range(preset.scenarios), calls))
        for name, way in WAYS.items()
        for calls in preset.calls
    }


def effects(store, preset):
    """One setting changed at a time, at the same calls: rows by (setting, value)."""
    return {
        (setting, value): _varied(store, preset, f"effect/{setting}/{value}", **{setting: value})
        for setting, values in EFFECTS.items()
        for value in values[:: preset.every_value]
    }


def gold_effect(store, preset):
    """Seeding by another's dialogue: rows by (whose, N of the gold nodes)."""
    return {
        (gold, visits): _varied(store, preset, f"gold/{gold}/{visits}", gold=gold, gold_visits=visits)
        for gold in GOLD
        for visits in ((0,) if GOLD[gold] is None else (0, 10, 100))
    }


def _varied(store, preset, name, **settings):
    world = World(preset.seed, rounds=preset.rounds)
    numbers = range(preset.first_effect, preset.first_effect + preset.effect_scenarios)
    return store.kept(name, partial(_rows, tree_search, world, numbers, preset.effect_calls, **settings))


def _rows(way, world, numbers, calls, **settings):
    async def run():
        return [await measured(way, world, number, calls, **settings) for number in numbers]

    return anyio.run(run)
