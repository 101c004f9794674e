"""Values of strategies that no search went on from: fitted to all trees of a dataset."""

import json
from dataclasses import replace

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.preferences import PreferenceConfig, PreferenceDataset, TreeRecord
from mctsdialog.preferences._futures import Futures, SearchedTree, SearchedTurn
from mctsdialog.preferences._record import RecordPolicy
from mctsdialog.worlds import World, strategies_of

WORLD = World(7)
ALL = PreferenceConfig(theta=-3.0)


async def grown(count, calls=400, algorithm="calibrated"):
    limits = dict.fromkeys(("max_iterations", "min_iterations", "max_ends"), 10**9)
    search = mctsdialog.SearchConfig(algorithm=algorithm, **(limits if algorithm == "calibrated" else {}))
    names = WORLD.domain.strategies.names

    def erratic(state, number):
        return names[(3 * number + state.emotion) % len(names)]

    golds = [WORLD.dialogue(each, erratic) for each in WORLD.scenarios(count)]
    return [await mctsdialog.search(gold, WORLD.roles(), search, max_calls=calls) for gold in golds]


def regret(records):
    """What the strategies of highest worth lose against the best ones, a turn."""
    lost = []
    for record in records:
        for turn in record.turns():
            history = strategies_of(record.history(turn.parent))
            values = WORLD.strategy_values(WORLD.states(record.scenario, history)[-1], len(history))
            known = {name: worth for name, worth in turn.policy.items() if worth is not None}
            lost.append(max(values.values()) - values[max(known, key=known.get)])
    return sum(lost) / len(lost)


@pytest.fixture(scope="module")
def trees():
    return anyio.run(grown, 30, 1000)


def test_fitted_worths_find_the_truly_better_strategies(trees):
    alone = [mctsdialog.preferences.tree_record(tree, ALL) for tree in trees]
    fitted = PreferenceDataset.from_trees(trees, ALL).records
    assert regret(fitted) < 0.8 * regret(alone)


def test_nothing_but_the_policies_changes_and_the_replies_worths_follow(trees):
    alone = [mctsdialog.preferences.tree_record(tree, ALL) for tree in trees]
    dataset = PreferenceDataset.from_trees(trees, ALL)
    assert any(one.policies != two.policies for one, two in zip(alone, dataset.records, strict=True))
    for one, two in zip(alone, dataset.records, strict=True):
        assert replace(two, policies=one.policies).nodes == one.nodes
        assert [each.parent for each in two.policies] == [each.parent for each in one.policies]
        for turn in two.turns():
            assert turn.worths == tuple(turn.policy[node.strategy] for node in turn.nodes)
        assert TreeRecord.from_json(json.dumps(two.to_dict())) == two


def test_a_few_trees_keep_what_each_found(trees):
    few = PreferenceDataset.from_trees(trees[:1], ALL)
    assert list(few.records) == [mctsdialog.preferences.tree_record(trees[0], ALL)]


def test_trees_without_beliefs_keep_what_each_found():
    trees = anyio.run(grown, 12, 200, "beam")
    records = PreferenceDataset.from_trees(trees, ALL).records
    assert [each.policies for each in records] == [
        mctsdialog.preferences.tree_record(tree, ALL).policies for tree in trees
    ]


def chain(strategies, left, reward):
    """Every strategy taken once at each of so many turns left; the first leads to a turn that is worth ``reward``."""
    turns, steps = {}, []
    for number in range(left):
        here = 100 * number
        poor = tuple(0.0 for _ in range(strategies))
        turns[here] = SearchedTurn("", poor, poor, poor, left - number)
        for act in range(strategies):
            scores = tuple(float(act == 0) for _ in range(strategies))
            means = tuple(reward * (act == 0) for _ in range(strategies))
            turns[here + act + 1] = SearchedTurn("", scores, means, means, left - number - 1)
            steps.append((here, act, here + act + 1))
    return SearchedTree(turns, tuple(steps))


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 5), st.floats(-3, 3).filter(lambda reward: abs(reward) > 0.1))
def test_the_future_of_a_strategy_is_what_it_leads_to(strategies, reward):
    tree = chain(strategies, 2, reward)
    futures = Futures([tree] * 100)
    worths = futures.policy(RecordPolicy(0, (None,) * strategies), tree.turns[0]).worths
    assert worths[0] == pytest.approx(reward, abs=0.15 * abs(reward))
    assert all(worth == pytest.approx(0.0, abs=0.15 * abs(reward)) for worth in worths[1:])


def test_a_refused_strategy_has_no_worth_and_the_last_turn_no_future():
    tree = chain(3, 2, 1.0)
    futures = Futures([tree] * 50)
    last = SearchedTurn("", (0.0,) * 3, (0.0,) * 3, (0.5, None, -0.5), 1)
    assert futures.policy(RecordPolicy(7, (None,) * 3), last) == RecordPolicy(7, (0.5, None, -0.5))


def test_too_few_turns_are_not_fitted():
    assert not Futures.enough([])
    assert not Futures.enough([chain(3, 2, 1.0)])
    assert Futures.enough([chain(3, 2, 1.0)] * 50)
