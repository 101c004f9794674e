"""The calibrated search: its regression, what it believes, what it finds, and what comes of that."""

import dataclasses
import json
import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog import SearchConfig
from mctsdialog.algorithms import Calibration, calibrate, uniform
from mctsdialog.errors import ConfigError
from mctsdialog.preferences import PreferenceConfig, tree_record
from mctsdialog.preferences._worth import confidence
from mctsdialog.tree import SpokenNode
from mctsdialog.worlds import World, strategies_of

NAMES = ("Ask", "Comfort", "Plan")
TURNS = st.tuples(st.sampled_from(NAMES), st.floats(0, 10), st.floats(0, 4))
CALIBRATED = SearchConfig(algorithm="calibrated", max_iterations=10_000)


def learnt(turns):
    found = Calibration(NAMES)
    for strategy, score, reward in turns:
        found.add(strategy, score, reward)
    return found


def ridge(turns):
    """The same regression by the textbook: normal equations, all weights at once."""
    size = 2 + len(NAMES)
    prior = [0.5, 5.0, *[2.0] * len(NAMES)]
    means = [1.0, 0.25, *[0.0] * len(NAMES)]
    rows = [[1.0, score, *[float(name == strategy) for name in NAMES]] for strategy, score, _ in turns]
    left = [[sum(row[i] * row[j] for row in rows) + prior[i] * (i == j) for j in range(size)] for i in range(size)]
    right = [
        sum(row[i] * turn[2] for row, turn in zip(rows, turns, strict=True)) + prior[i] * means[i] for i in range(size)
    ]
    for i in range(size):  # Gauss-Jordan: the matrix is positive definite
        for j in range(size):
            if j != i:
                factor = left[j][i] / left[i][i]
                left[j] = [a - factor * b for a, b in zip(left[j], left[i], strict=True)]
                right[j] -= factor * right[i]
    weights = [right[i] / left[i][i] for i in range(size)]
    lost = sum(
        (turn[2] - sum(w * x for w, x in zip(weights, row, strict=True))) ** 2
        for row, turn in zip(rows, turns, strict=True)
    )
    lost += sum(p * (w - m) ** 2 for p, w, m in zip(prior, weights, means, strict=True))
    return weights, (0.4 * 4 + lost) / (4 + len(turns))


@given(st.lists(TURNS, max_size=30))
def test_it_is_the_bayesian_regression_of_the_design(turns):
    weights, error = ridge(turns)
    found = learnt(turns)
    for place, name in enumerate(NAMES):
        for score in (0.0, 5.0, 10.0):
            assert found.predict(name, score) == pytest.approx(
                weights[0] + weights[1] * score + weights[2 + place], abs=1e-6
            )
    assert found.error == pytest.approx(error, abs=1e-6)


@given(st.lists(TURNS, max_size=12), st.lists(TURNS, max_size=12))
def test_two_that_are_added_are_one_that_saw_both(one, other):
    both, whole = learnt(one) + learnt(other), learnt([*one, *other])
    assert both.predict("Plan", 7.0) == pytest.approx(whole.predict("Plan", 7.0))
    again = Calibration.from_dict(json.loads(json.dumps(both.to_dict())), NAMES)
    assert again.to_dict() == both.to_dict()
    assert again.predict("Ask", 3.0) == both.predict("Ask", 3.0)


@given(st.lists(TURNS, min_size=1, max_size=12), st.lists(st.floats(0, 4), min_size=1, max_size=4))
def test_a_repeat_counts_by_the_mean_and_tells_the_noise(turns, more):
    strategy, score, first = turns[0]
    found = learnt(turns)
    rewards = [first]
    for reward in more:
        found.repeat(strategy, score, rewards, reward)
        rewards.append(reward)
    wanted = learnt([(strategy, score, statistics.mean(rewards)), *turns[1:]])
    assert found.predict(strategy, score) == pytest.approx(wanted.predict(strategy, score), abs=1e-6)
    squares = statistics.pvariance(rewards) * len(rewards)
    assert found.noise == pytest.approx((0.13 * 2 + squares) / (2 + len(more)), abs=1e-9)


@given(st.lists(TURNS, max_size=20), st.lists(st.floats(0, 4), min_size=1, max_size=4))
def test_a_posterior_lies_between_prediction_and_judgement_and_narrows(turns, judgements):
    found = learnt(turns)
    mean, variance = found.posterior("Ask", 5.0, judgements)
    ends = sorted((found.predict("Ask", 5.0), statistics.mean(judgements)))
    assert ends[0] - 1e-9 <= mean <= ends[1] + 1e-9
    assert 0 < variance < found.posterior("Ask", 5.0, [])[1]


@pytest.mark.parametrize(
    "spoilt",
    [
        {},
        {"sums": 3, "repeats": [0, 0], "places": [0, 0, 0]},
        {"sums": {"Ask": [0] * 6}, "repeats": [0, 0], "places": [0, 0, 0]},
        {"sums": {name: [0] * 5 for name in NAMES}, "repeats": [0, 0], "places": [0, 0, 0]},
        {"sums": {name: [-1, 0, 0, 0, 0, 0] for name in NAMES}, "repeats": [0, 0], "places": [0, 0, 0]},
        {"sums": {name: [math.nan] * 6 for name in NAMES}, "repeats": [0, 0], "places": [0, 0, 0]},
        {"sums": {name: [True] * 6 for name in NAMES}, "repeats": [0, 0], "places": [0, 0, 0]},
        {"sums": {name: [1e300] * 6 for name in NAMES}, "repeats": [0, 0], "places": [0, 0, 0]},
        {"sums": {name: [4.0, 1e11, 0, 0, 0, 0] for name in NAMES}, "repeats": [0, 0], "places": [0, 0, 0]},
    ],
)
def test_what_is_no_calibration_is_one_error(spoilt):
    with pytest.raises(ConfigError, match=r"calibrat|other strategies|count|agree"):
        Calibration.from_dict(spoilt, NAMES)


async def regret(world, number, calls, config, roles=None):
    tree = await mctsdialog.search(world.scenario(number), roles or world.roles(), config, max_calls=calls)
    tree.check()
    said = tree.best_path().strategies
    return (world.best_value(tree.scenario) - world.value(tree.scenario, said) if said else 3.0), tree


@pytest.mark.anyio
async def test_it_finds_better_dialogues_than_the_papers_search_and_the_strategists_bias():
    world, paper = World(7), SearchConfig(min_iterations=10_000, max_iterations=10_000, max_ends=10_000)
    ours, theirs = [], []
    for number in range(1000, 1006):
        found, tree = await regret(world, number, 250, CALIBRATED)
        ours.append(found)
        theirs.append((await regret(world, number, 250, paper))[0])
    assert statistics.mean(ours) < statistics.mean(theirs) - 0.3
    found = calibrate([tree])
    assert {"Collaborative Planning", "Share Information"} == set(sorted(found.names, key=found.offset)[:2])


class Deaf:
    """A judge that cannot be asked again."""

    def __init__(self, judge):
        self._judge = judge

    def for_scenario(self, scenario):
        return Deaf(self._judge.for_scenario(scenario))

    async def judge(self, history, /):
        return await self._judge.judge(history)


@pytest.mark.anyio
@pytest.mark.parametrize(("noise", "again"), [(0.0, True), (0.5, True), (0.5, False)])
async def test_turns_are_judged_again_only_where_that_can_tell_something(noise, again):
    world = World(7, rounds=4, judge_noise=noise)
    roles = world.roles()
    if not again:
        roles = dataclasses.replace(roles, judge=Deaf(roles.judge))
    _, tree = await regret(world, 1001, 600, CALIBRATED, roles)
    repeats = sum(
        len(node.rollout.draws[0]) - 1 for node in tree if isinstance(node, SpokenNode) and node.rollout.draws
    )
    found = Calibration.from_dict(tree.calibration, world.domain.strategies.names)
    assert found.repeats[0] == repeats
    if not again:
        assert repeats == 0
    elif noise:
        assert repeats > 50
        assert 0.15 < found.noise < 0.4
    else:
        assert 8 <= repeats < 40
        assert found.noise < 0.05


@pytest.mark.anyio
async def test_without_a_useful_strategist_it_is_not_asked_any_more():
    world = World(7, rounds=6)

    class Blind:
        def __init__(self):
            self.calls = 0

        async def score(self, history, /):
            self.calls += 1
            names = world.domain.strategies.names
            return {name: float(int(11 * uniform(len(history), name, history[-1].text))) for name in names}

    blind = Blind()
    _, tree = await regret(world, 1002, 2000, CALIBRATED, dataclasses.replace(world.roles(), strategist=blind))
    opened = sum(bool(node.children) for node in tree)
    assert blind.calls < opened / 2


@pytest.mark.anyio
async def test_it_begins_with_a_calibration_and_its_journal_knows_which(tmp_path):
    world = World(7, rounds=4)
    _, tree = await regret(world, 1003, 300, CALIBRATED)
    known = calibrate([tree]).to_dict()
    begun = CALIBRATED.replace(settings={"calibration": known})
    again = await mctsdialog.search(world.scenario(1004), world.roles(), begun, max_calls=60, journal=tmp_path / "j")
    assert again.calibration["sums"]["Affirmation"][0] > known["sums"]["Affirmation"][0]
    with pytest.raises(mctsdialog.errors.JournalMismatchError, match="settings"):
        await mctsdialog.search(world.scenario(1004), world.roles(), CALIBRATED, max_calls=60, journal=tmp_path / "j")
    with pytest.raises(ConfigError, match="other strategies"):
        await mctsdialog.search(
            world.scenario(1004),
            world.roles(),
            CALIBRATED.replace(settings={"calibration": Calibration(NAMES).to_dict()}),
        )


@pytest.mark.anyio
async def test_poor_gold_does_no_harm_where_it_is_judged_and_is_the_best_where_it_is_trusted():
    world = World(7, rounds=4)
    poor = world.dialogue(world.scenario(1005), lambda state, number: "Share Information")
    judged = await mctsdialog.search(poor, world.roles(), CALIBRATED, max_calls=400)
    trusted = await mctsdialog.search(
        poor, world.roles(), CALIBRATED.replace(settings={"gold": "trusted"}), max_calls=400
    )
    assert not any(node.gold for node in judged.best_path().nodes[1:])
    assert all(node.gold for node in trusted.best_path().nodes[1:])
    assert all(node.posterior == (1.0, 0.0) for node in trusted if getattr(node, "gold", False))
    for tree in (judged, trusted):
        tree.check()
        assert mctsdialog.tree.tree_to_document(tree) == mctsdialog.tree.tree_to_document(
            mctsdialog.tree.document_to_tree(json.dumps(mctsdialog.tree.tree_to_document(tree)))
        )


@pytest.mark.anyio
async def test_a_plan_by_it_says_what_its_best_path_says():
    world = World(7, rounds=4)
    opening = world.dialogue(world.scenario(1006)).turns[:1]
    plan = await mctsdialog.plan(
        opening, world.roles(), CALIBRATED, scenario=world.scenario(1006), domain=world.domain, max_calls=120
    )
    assert plan.strategy == plan.tree.best_path().strategies[0]
    child = next(node for node in plan.tree.children(plan.tree.root) if node.strategy == plan.strategy)
    answer = mctsdialog.Turn("seeker", child.seeker)
    went_on = (*opening, mctsdialog.Turn("supporter", plan.reply, plan.strategy), answer)
    then = await mctsdialog.plan(went_on, world.roles(), CALIBRATED, domain=world.domain, max_calls=60, previous=plan)
    assert then.reused > 0
    then.tree.check()


@dataclasses.dataclass
class Reply:
    posterior: tuple[float, float] | None
    value: float = 0.0


@settings(max_examples=50)
@given(st.floats(-3, 1), st.floats(-3, 1), st.floats(0.01, 1), st.floats(-3, 1), st.floats(-3, 1), st.integers(1, 20))
def test_a_confidence_is_a_probability_and_grows_with_the_lead(one, other, deviation, high, low, depth):
    better, worse = Reply((one, deviation), high), Reply((other, deviation), low)
    sure = confidence(better, worse, depth)
    assert 0 < sure < 1
    assert sure + confidence(worse, better, depth) == pytest.approx(1)
    assert confidence(Reply((one + 0.5, deviation), high), worse, depth) >= sure
    assert confidence(Reply(None), worse, depth) is None
    assert confidence(Reply((one, 0.0)), Reply((other, 0.0)), depth) is None


@pytest.mark.anyio
async def test_pairs_of_it_carry_a_confidence_that_holds():
    world, right, sure = World(7), [], []
    for number in range(1010, 1014):
        _, tree = await regret(world, number, 1000, CALIBRATED)
        record = tree_record(tree)
        for pair in record.expand():
            history = strategies_of(pair.history)
            values = world.strategy_values(world.states(tree.scenario, history)[-1], len(history))
            right.append(values[pair.chosen.strategy] > values[pair.rejected.strategy])
            sure.append(pair.confidence)
            assert pair.provenance()["confidence"] == pair.confidence >= 0.6
        assert len(record.ends) == 8
        strict = tree_record(tree, PreferenceConfig(min_confidence=0.95, max_paths=3))
        assert len(strict.ends) == 3
        assert all(pair.confidence >= 0.95 for pair in strict.expand())
    assert len(right) > 100
    assert statistics.mean(right) > 0.9
    assert abs(statistics.mean(right) - statistics.mean(sure)) < 0.05
