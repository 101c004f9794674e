"""Agreement and comparisons, against known examples and scikit-learn."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cso_train.evaluation.agreement import cohen_kappa, compare, fleiss_kappa, outcome

VERDICTS = ("first", "second", "tie")


@pytest.mark.parametrize(
    ("straight", "swapped", "expected"),
    [
        ("first", "second", "win"),
        ("second", "first", "lose"),
        ("first", "first", "tie"),
        ("second", "second", "tie"),
        ("tie", "tie", "tie"),
        ("first", "tie", "tie"),
        ("tie", "first", "tie"),
    ],
)
def test_a_win_needs_both_orders(straight, swapped, expected):
    assert outcome(straight, swapped) == expected


def test_a_judge_who_likes_what_stands_first_decides_nothing():
    made = compare([("first", "first")] * 5)
    assert (made.win, made.lose, made.tie, made.flipped, made.first_place) == (0, 0, 5, 5, 1.0)


def test_ties_with_one_decided_order_are_not_flips():
    made = compare([("first", "tie"), ("tie", "tie"), ("first", "second")])
    assert (made.win, made.tie, made.flipped, made.count) == (1, 2, 0, 3)
    assert made.first_place == pytest.approx(2 / 3)
    assert compare([]).first_place is None


@given(pairs=st.lists(st.tuples(st.sampled_from(VERDICTS), st.sampled_from(VERDICTS)), max_size=30))
def test_swapping_the_systems_swaps_wins_and_losses(pairs):
    made, swapped = compare(pairs), compare([(other, one) for one, other in pairs])
    assert (made.win, made.lose, made.tie, made.flipped) == (swapped.lose, swapped.win, swapped.tie, swapped.flipped)
    assert made.count == len(pairs)


@given(seed=st.integers(0, 10**6), count=st.integers(1, 50))
def test_cohens_kappa_is_scikit_learns(seed, count):
    metrics = pytest.importorskip("sklearn.metrics")
    generator = random.Random(seed)
    one, other = generator.choices("abc", k=count), generator.choices("abc", k=count)
    if len({*one, *other}) > 1:
        assert cohen_kappa(one, other) == pytest.approx(metrics.cohen_kappa_score(one, other))


def test_fleiss_kappa_of_his_example():
    """The table of Fleiss (1971) as encyclopaedias print it: 10 items, 14 raters, 5 labels, kappa 0.210."""
    table = (
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    )
    ratings = [[label for label, count in enumerate(row) for _ in range(count)] for row in table]
    assert fleiss_kappa(ratings) == pytest.approx(0.210, abs=5e-4)


def test_full_agreement_is_one():
    assert cohen_kappa("aaa", "aaa") == fleiss_kappa([["a", "a"], ["a", "a"]]) == 1.0
    assert fleiss_kappa([["a", "a"], ["b", "b"]]) == 1.0


@pytest.mark.parametrize(
    "call", [lambda: cohen_kappa("a", "ab"), lambda: cohen_kappa("", ""), lambda: fleiss_kappa([])]
)
def test_what_cannot_be_compared_is_refused(call):
    with pytest.raises(ValueError, match="as many"):
        call()
