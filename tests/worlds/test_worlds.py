"""Simulated worlds: probabilities, the optimum against brute force, words that are read back, roles of a search."""

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.errors import ConfigError
from mctsdialog.worlds import (
    STATES,
    SeekerState,
    World,
    effect,
    outcomes,
    strategies_of,
    strategy_of,
    true_scores,
)
from mctsdialog.worlds._language import REPLIES, reply, utterance
from mctsdialog.worlds._state import PROBLEMS

NAMES = mctsdialog.get_domain("esc").strategies.names
states = st.sampled_from(STATES)
names = st.sampled_from(NAMES)


@given(states, names)
def test_what_may_come_of_a_strategy_sums_to_one(state, name):
    found = list(outcomes(state, name))
    assert math.isclose(sum(chance for chance, _ in found), 1.0)
    assert all(chance >= 0 and 0 <= then.emotion <= 3 and then.problem == state.problem for chance, then in found)
    assert all(0 <= score <= 4 for score in true_scores(state, name))
    assert 0 <= effect(state, name).progress <= 1


@given(st.integers(0, 50), st.integers(0, 500), st.lists(names, max_size=12))
def test_what_happens_is_possible_and_the_same_in_every_telling(seed, number, strategies):
    world = World(seed)
    scenario = world.scenario(number)
    told = world.states(scenario, strategies)
    assert told == World(seed).states(scenario, strategies)
    for before, strategy, after in zip(told, strategies, told[1:], strict=False):
        assert after in [then for chance, then in outcomes(before, strategy) if chance > 0]


def test_things_happen_as_often_as_their_chance():
    world = World(3)
    state, name = SeekerState("work", 1, 0), "Avoid Judgment and Criticism"
    counts = Counter(world.step(scenario, 0, state, name) for scenario in world.scenarios(4000))
    for chance, then in outcomes(state, name):
        assert counts[then] / 4000 == pytest.approx(chance, abs=0.03)


@pytest.mark.parametrize("number", range(6))
def test_the_best_dialogue_is_that_of_brute_force(number):
    world = World(1, rounds=4)
    scenario = world.scenario(number)
    found = [world.value(scenario, strategies) for strategies in itertools.product(NAMES, repeat=4)]
    assert world.best_value(scenario) == pytest.approx(max(found))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(0, 3))
def test_no_dialogue_is_better_than_the_best(number, seed):
    world = World(seed)
    scenario = world.scenario(number)
    dialogue = world.dialogue(scenario)
    assert world.value(scenario, strategies_of(dialogue.turns)) <= world.best_value(scenario) + 1e-9 <= 1.0


def test_expected_worth_is_that_of_many_tellings():
    """Bellman's value of the best policy against the mean over scenarios that begin alike."""
    world = World(5)
    start = SeekerState("exam", 2, 0)
    alike = [scenario for scenario in world.scenarios(8000) if world.start(scenario) == start]
    worth = [world.value(scenario, strategies_of(world.dialogue(scenario).turns)) for scenario in alike]
    expected = max(world.strategy_values(start).values()) / world.rounds
    assert len(worth) > 300
    assert sum(worth) / len(worth) == pytest.approx(expected, abs=0.08)


def test_every_strategy_is_the_best_somewhere_and_the_pleasing_one_often_is_not():
    world = World()
    best = {state: world.best_strategy(state) for state in STATES}
    assert set(best.values()) == set(NAMES)
    pleasing = {state: max(NAMES, key=lambda name, at=state: world.reward(at, name)) for state in STATES}
    assert sum(best[state] != pleasing[state] for state in STATES) > len(STATES) / 3


def test_a_supporters_words_are_read_back_in_every_wording():
    for name in NAMES:
        for problem in PROBLEMS:
            said = {reply(name, problem, key) for key in range(120)}
            assert len(said) > 12
            assert {strategy_of(text) for text in said} == {name}
    assert set(REPLIES) == set(NAMES)
    assert strategy_of("xyzzy") in NAMES


def test_no_single_word_tells_a_state():
    """Whatever word is taken, it stands in less than half of the utterances of every feeling."""
    for emotion in range(4):
        said = [utterance(SeekerState("work", emotion, stage), key) for stage in range(4) for key in range(200)]
        others = [
            utterance(SeekerState(problem, other, 1), key)
            for problem in PROBLEMS
            for other in range(4)
            for key in range(80)
            if other != emotion
        ]
        elsewhere = Counter(word for text in others for word in set(text.lower().split()))
        here = Counter(word for text in said for word in set(text.lower().split()))
        telling = [word for word, count in here.items() if count > len(said) / 2 and elsewhere[word] < len(others) / 4]
        assert telling == []


@pytest.mark.anyio
async def test_a_search_runs_in_it_and_what_it_grows_is_true_to_it():
    world = World(2)
    scenario = world.scenario(4)
    config = mctsdialog.SearchConfig(max_iterations=300, min_iterations=300, horizon=2, max_ends=1000)
    tree = await mctsdialog.search(scenario, world.roles(), config)
    tree.check()
    again = await mctsdialog.search(scenario, world.roles(), config)
    assert [(node.value, node.visits) for node in tree] == [(node.value, node.visits) for node in again]
    assert tree.ends
    for node in tree:
        if node.type == "end":
            strategies = [turn.strategy for turn in tree.history(node) if turn.speaker == "supporter"]
            assert len(strategies) == world.rounds


@pytest.mark.anyio
async def test_the_strategist_over_rates_its_favourites_and_the_judge_is_fair_on_average():
    world = World(7)
    rated, off = Counter(), []
    for scenario in world.scenarios(150):
        roles = world.roles().bind(scenario)
        dialogue = world.dialogue(scenario)
        scores = await roles.strategist.score(dialogue.turns[:1])
        rated.update({name: scores[name] for name in NAMES})
        given = await roles.judge.judge(dialogue.turns[:2])
        true = true_scores(world.start(scenario), dialogue.turns[1].strategy)
        off += [score - wanted for score, wanted in zip(given.values(), true, strict=True)]
    assert rated["Collaborative Planning"] > rated["Provide Different Perspectives"] + 300
    assert abs(sum(off) / len(off)) < 0.15
    assert any(off)


class _Flat(World):
    """Every turn is worth the same, whatever it does."""

    def true_scores(self, state, strategy):
        return 2, 2, 2, 2


@pytest.mark.anyio
async def test_rewards_optimum_strategist_and_judge_follow_the_true_scores_of_a_world_of_ones_own():
    world = _Flat(7, judge_noise=0, strategist_noise=0, bias=0)
    scenario = world.scenario(0)
    roles = world.roles().bind(scenario)
    turns = world.dialogue(scenario).turns
    assert world.best_value(scenario) == world.value(scenario, NAMES) == -1.0
    assert set((await roles.strategist.score(turns[:1])).values()) == {4.0}
    assert set((await roles.judge.judge(turns[:2])).values()) == {2.0}
    assert world.roles().provenance["world"].startswith("_Flat(seed=7")


def test_a_dialogue_alternates_ends_in_time_and_is_labelled():
    world = World(9, rounds=5)
    for scenario in world.scenarios(30):
        dialogue = world.dialogue(scenario, lambda state, number: NAMES[number])
        strategies = [turn.strategy for turn in dialogue.turns if turn.speaker == "supporter"]
        assert strategies == list(NAMES[:5])
        assert dialogue.scenario == scenario


@pytest.mark.parametrize(
    "settings", [{"rounds": 0}, {"judge_noise": 1.5}, {"strategist_noise": -0.1}, {"favourites": ("Shouting",)}]
)
def test_a_wrong_setting_is_refused(settings):
    with pytest.raises(ConfigError):
        World(**settings)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_small_model_reads_the_state_from_many_words_but_no_word_alone_tells_it():
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    drawn = [(state, utterance(state, "read", number)) for number in range(40) for state in STATES]
    counts = CountVectorizer(binary=True).fit_transform([text for _, text in drawn])
    train, test = slice(0, 30 * len(STATES)), slice(30 * len(STATES), None)
    for name in ("emotion", "stage"):
        wanted = [getattr(state, name) for state, _ in drawn]
        words = LogisticRegression(C=10.0).fit(counts[train], wanted[train])
        word = DecisionTreeClassifier(max_depth=1, random_state=0).fit(counts[train], wanted[train])
        assert words.score(counts[test], wanted[test]) > 0.95, name
        assert word.score(counts[test], wanted[test]) < 0.5, name
