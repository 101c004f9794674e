"""Agreement and comparisons, against known examples and scikit-learn."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cso_train.evaluation._agreement import (
    cohen_kappa,
    cohen_kappa_interval,
    compare,
    compare_intervals,
    fleiss_kappa,
    fleiss_kappa_interval,
    outcome,
    raw_counts,
)

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


def test_raw_counts_are_of_each_order_alone():
    pairs = [("first", "first"), ("first", "second"), ("tie", "second"), ("second", "tie")]
    assert raw_counts(pairs) == {
        "straight": {"win": 2, "lose": 1, "tie": 1},
        "swapped": {"win": 2, "lose": 1, "tie": 1},
    }
    assert raw_counts([]) == {order: {"win": 0, "lose": 0, "tie": 0} for order in ("straight", "swapped")}


PAIRS = st.lists(st.tuples(st.sampled_from(VERDICTS), st.sampled_from(VERDICTS)), min_size=1, max_size=30)


@given(pairs=PAIRS)
def test_intervals_are_of_the_comparisons_shares(pairs):
    made, sure = compare(pairs), compare_intervals(pairs, resamples=50)
    for name in ("win", "lose", "tie", "flipped"):
        each = getattr(sure, name)
        assert each.value == pytest.approx(getattr(made, name) / len(pairs))
        assert 0 <= each.low <= each.high <= 1
    assert sure.win.value + sure.lose.value + sure.tie.value == pytest.approx(1)
    assert (sure.first_place is None) == (made.first_place is None)
    if sure.first_place is not None:
        assert sure.first_place.value == pytest.approx(made.first_place)


def test_the_interval_of_a_share_is_binomial():
    pairs = [("first", "second")] * 60 + [("second", "first")] * 40
    sure = compare_intervals(pairs, resamples=4000)
    assert (sure.win.low, sure.win.high) == pytest.approx((0.504, 0.696), abs=0.02)
    assert sure == compare_intervals(pairs, resamples=4000)


def test_the_interval_of_a_kappa_holds_it():
    generator = random.Random(0)
    one = generator.choices("abc", k=80)
    other = [each if generator.random() < 0.7 else generator.choice("abc") for each in one]
    third = [each if generator.random() < 0.7 else generator.choice("abc") for each in one]
    two = cohen_kappa_interval(one, other, resamples=300)
    assert two.value == cohen_kappa(one, other)
    assert -1 <= two.low < two.value < two.high <= 1
    rows = list(zip(one, other, third, strict=True))
    many = fleiss_kappa_interval(rows, resamples=300)
    assert many.value == fleiss_kappa(rows)
    assert two.low < many.value < many.high <= 1


@given(seed=st.integers(0, 10**6), count=st.integers(1, 30), raters=st.integers(2, 5))
def test_fleiss_kappa_is_of_no_order(seed, count, raters):
    generator = random.Random(seed)
    rows = [generator.choices("abcd", k=raters) for _ in range(count)]
    mixed = [generator.sample(row, raters) for row in generator.sample(rows, count)]
    assert fleiss_kappa(mixed) == pytest.approx(fleiss_kappa(rows))
    assert fleiss_kappa(rows) <= 1 + 1e-12


def test_fleiss_kappa_of_two_raters_is_scotts_pi():
    one, other = "aabbb", "aabba"
    expected = (0.5**2) * 2  # five a and five b in all
    assert fleiss_kappa(list(zip(one, other, strict=True))) == pytest.approx((0.8 - expected) / (1 - expected))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: compare_intervals([]), "of 0 items"),
        (lambda: cohen_kappa_interval("", ""), "0 and 0 ratings"),
        (lambda: cohen_kappa_interval("a", "ab"), "1 and 2 ratings"),
        (lambda: fleiss_kappa_interval([["a"]]), "two or more"),
        (lambda: fleiss_kappa_interval([["a", "b"], ["a"]]), "two or more"),
        (lambda: compare_intervals([("tie", "tie")], level=2), "level"),
    ],
)
def test_intervals_of_nothing_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
