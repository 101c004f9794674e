"""Each formula against values worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.algorithms._rules import highest, mean, pucb, reward, running_mean, softmax, with_gold


def test_pucb():
    assert pucb(0.4, 0.25, 3, 100, 1.0) == pytest.approx(0.4 + 0.25 * 10 / 4)
    assert pucb(0.4, 0.25, 3, 100, 2.0) == pytest.approx(0.4 + 2 * 0.25 * 10 / 4)
    assert pucb(-1.5, 0.9, 0, 0, 1.0) == -1.5


def test_softmax_at_temperature_5():
    priors = softmax({"a": 10, "b": 5, "c": 0}, 5.0)
    total = math.e**2 + math.e + 1
    assert priors == pytest.approx({"a": math.e**2 / total, "b": math.e / total, "c": 1 / total})


def test_gold_left_out_by_the_scorer():
    priors = with_gold({"a": 0.5, "b": 0.3, "c": 0.2}, "gold", 0.1)
    assert priors == pytest.approx({"a": 0.45, "b": 0.27, "c": 0.18, "gold": 0.1})
    assert with_gold({"a": 0.5, "gold": 0.5}, "gold", 0.1) == {"a": 0.5, "gold": 0.5}


def test_reward_of_the_paper():
    weights = (1, 1, 1, 7)
    assert reward((4, 4, 4, 4), weights, -3) == pytest.approx(1.0)
    assert reward((0, 0, 0, 0), weights, -3) == pytest.approx(-3.0)
    assert reward((2, 1, 3, 4), weights, -3) == pytest.approx((2 + 1 + 3 + 28) / 10 - 3)


def test_mean_and_backup():
    assert mean([1.0, 0.5, -3.0]) == pytest.approx(-0.5)
    assert running_mean(1.0, 100, -1.0) == pytest.approx(99 / 101)
    assert running_mean(0.0, 0, 0.7) == pytest.approx(0.7)


def test_highest_takes_the_first_of_equals_and_skips_unrated_names():
    assert highest(("a", "b", "c"), {"c": 3.0, "b": 3.0}) == "b"


@given(st.dictionaries(st.text(min_size=1), st.floats(0, 10), min_size=1), st.floats(0.01, 100))
def test_priors_sum_to_one_and_keep_the_order_of_scores(scores, temperature):
    priors = softmax(scores, temperature)
    assert math.fsum(priors.values()) == pytest.approx(1.0)
    assert all(0 <= prior <= 1 for prior in priors.values())
    for a in scores:
        for b in scores:
            assert scores[a] <= scores[b] or priors[a] >= priors[b]


@given(st.lists(st.floats(-3, 1), min_size=1, max_size=50))
def test_backing_up_rewards_one_by_one_gives_their_mean(rewards):
    value = 0.0
    for count, one in enumerate(rewards):
        value = running_mean(value, count, one)
    assert value == pytest.approx(mean(rewards), abs=1e-9)
