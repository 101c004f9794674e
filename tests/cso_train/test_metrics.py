"""Metrics: the oracle, degenerate matrices, and other people's implementations."""

import itertools
import json
import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cso_train.evaluation import (
    Evaluation,
    bootstrap_interval,
    evaluate_replies,
    preference_bias,
    rouge_l,
    strategy_scores,
)
from cso_train.evaluation._metrics import confusion_matrix, macro_f1, weighted_f1
from cso_train.evaluation._rouge import longest_common_subsequence
from mctsdialog.dialogue import Strategy, StrategySet

ORACLE = [[8, 1, 1], [4, 5, 1], [3, 2, 5]]
NAMES = ("Ask", "Comfort", "Plan")


def spread_out(matrix, names=NAMES):
    """Gold and predicted lists with that confusion matrix."""
    pairs = [
        (one, other)
        for one, row in zip(names, matrix, strict=True)
        for other, n in zip(names, row, strict=True)
        for _ in range(n)
    ]
    return [one for one, _ in pairs], [other for _, other in pairs]


def test_the_oracle():
    bias = preference_bias(ORACLE)
    assert bias.preferences == pytest.approx((1.917800, 0.634049, 0.448151), abs=1e-6)
    assert bias.value == pytest.approx(0.653405, abs=1e-6)
    assert not bias.saturated
    scores = strategy_scores(*spread_out(ORACLE), NAMES)
    assert macro_f1(scores) == pytest.approx(0.594597, abs=1e-6)
    assert weighted_f1(scores) == pytest.approx(0.594597, abs=1e-6)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_one_strategy_predicted_everywhere_saturates(count):
    matrix = [[5] + [0] * (count - 1) for _ in range(count)]
    bias = preference_bias(matrix)
    assert bias.saturated
    assert bias.value == pytest.approx(math.sqrt(count - 1))
    assert bias.preferences == (count, *[0.0] * (count - 1))


def test_eight_strategies_saturate_at_the_papers_2_65():
    assert round(preference_bias([[1] + [0] * 7 for _ in range(8)]).value, 2) == 2.65


@pytest.mark.parametrize("matrix", [[[3, 0], [0, 4]], [[0, 0], [0, 0]], [[5]], [[0]]])
def test_without_confusions_there_is_no_bias(matrix):
    bias = preference_bias(matrix)
    assert (bias.value, bias.saturated) == (0.0, False)
    assert bias.preferences == (1.0,) * len(matrix)


def test_symmetric_confusions_have_no_bias():
    assert preference_bias([[1, 2, 3], [2, 1, 4], [3, 4, 1]]).value == pytest.approx(0.0, abs=1e-6)


def test_a_strategy_that_is_never_gold_but_predicted_saturates():
    assert preference_bias([[4, 1, 1], [2, 4, 1], [0, 0, 0]]).saturated


def test_a_strategy_that_never_wins_has_no_preference():
    bias = preference_bias([[4, 1, 0], [2, 4, 0], [1, 1, 0]])
    assert bias.preferences[2] == 0.0
    assert not bias.saturated


matrices = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 9), min_size=n, max_size=n), min_size=n, max_size=n)
)


@given(matrix=matrices)
def test_bias_is_in_its_range_and_preferences_sum_to_their_number(matrix):
    bias = preference_bias(matrix)
    assert math.isfinite(bias.value)
    assert -1e-9 <= bias.value <= math.sqrt(len(matrix) - 1) + 1e-9
    assert sum(bias.preferences) == pytest.approx(len(matrix))


@given(matrix=matrices, factor=st.integers(2, 5))
def test_bias_is_of_shares_and_not_of_counts(matrix, factor):
    larger = [[factor * count for count in row] for row in matrix]
    assert preference_bias(larger).value == pytest.approx(preference_bias(matrix).value, abs=1e-9)


@given(seed=st.integers(0, 10**6), count=st.integers(1, 60), size=st.integers(2, 6))
def test_f1_is_scikit_learns(seed, count, size):
    metrics = pytest.importorskip("sklearn.metrics")
    generator = random.Random(seed)
    names = [f"s{place}" for place in range(size)]
    gold = generator.choices(names, k=count)
    predicted = generator.choices([*names, None], k=count)
    scores = strategy_scores(gold, predicted, names)
    told = [name if name is not None else "none" for name in predicted]
    shared = {"labels": names, "zero_division": 0}
    assert macro_f1(scores) == pytest.approx(metrics.f1_score(gold, told, average="macro", **shared))
    assert weighted_f1(scores) == pytest.approx(metrics.f1_score(gold, told, average="weighted", **shared))
    matrix = confusion_matrix(gold, predicted, names)
    assert [list(row) for row in matrix] == metrics.confusion_matrix(gold, told, labels=names).tolist()


WORDS = st.lists(st.sampled_from(["a", "b", "c", "The", "it's", "don't", "42", "..."]), max_size=12).map(" ".join)


@given(one=WORDS, other=WORDS)
def test_rouge_l_is_rouge_scores(one, other):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    assert rouge_l(one, other) == pytest.approx(scorer.score(other, one)["rougeL"].fmeasure)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Größe", "Grüße", 0.0),
        ("Größe", "GRÖSSE", 1.0),
        ("я тебя понимаю", "Я тебя понимаю.", 1.0),
        ("我能理解你", "我能理解你。", 1.0),
        ("我能理解你", "我不理解你", 0.8),
        ("ฉันเข้าใจ", "ฉันเข้าใจ", 1.0),
        ("أفهمك تماما", "أفهمك", 2 / 3),
        ("😀", "😀", 1.0),
        ("...", "...", 0.0),
    ],
)
def test_rouge_l_in_every_script(one, other, expected):
    assert rouge_l(one, other) == pytest.approx(expected)


@given(one=st.lists(st.integers(0, 3), max_size=8), other=st.lists(st.integers(0, 3), max_size=8))
def test_the_longest_common_subsequence_is_that_of_brute_force(one, other):
    def subsequences(items):
        return {each for size in range(len(items) + 1) for each in itertools.combinations(items, size)}

    assert longest_common_subsequence(one, other) == max(map(len, subsequences(one) & subsequences(other)))


@pytest.fixture
def strategies():
    return StrategySet(strategies=tuple(Strategy(name=name) for name in NAMES))


def test_replies_are_parsed_and_scored(strategies):
    gold = [("Ask", "Why is that?"), ("Comfort", "That is hard."), ("Plan", "Let us plan."), ("Ask", "How so?")]
    replies = ["(Ask) Why is that?", "(comfort) It is hard.", "no strategy here", "(Plan) How?"]
    made = evaluate_replies(gold, replies, strategies, resamples=50)
    assert made.count == 4
    assert made.parse_failures.value == 0.25
    assert made.confusion == ((1, 0, 1), (0, 1, 0), (0, 0, 0))
    f1 = (2 / 3, 1.0, 0.0)
    assert [score.f1 for score in made.strategies] == pytest.approx(f1)
    assert made.macro_f1.value == pytest.approx(100 * sum(f1) / 3)
    assert made.weighted_f1.value == pytest.approx(100 * (2 * f1[0] + f1[1] + f1[2]) / 4)
    assert made.rouge_l.value == pytest.approx(100 * (1 + 2 / 3 + 0 + 2 / 3) / 4)
    assert made.bias_saturated
    assert [f1.value for f1 in made.strategy_f1] == pytest.approx([100 * each for each in f1])
    for metric in (made.macro_f1, made.weighted_f1, made.rouge_l, made.bias, made.parse_failures, *made.strategy_f1):
        assert metric.low <= metric.high
    assert json.loads(made.to_json())["macro_f1"]["value"] == made.macro_f1.value


def test_intervals_are_the_same_for_the_same_seed_and_hold_the_value(strategies):
    generator = random.Random(0)
    gold = [(generator.choice(NAMES), "words here") for _ in range(60)]
    replies = [f"({generator.choice(NAMES)}) words there" for _ in gold]
    one, same, other = (evaluate_replies(gold, replies, strategies, resamples=200, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.macro_f1.value == other.macro_f1.value
    assert one.macro_f1 != other.macro_f1
    assert one.macro_f1.low < one.macro_f1.value < one.macro_f1.high


@pytest.mark.parametrize(
    ("gold", "replies"),
    [([("Sing", "La")], ["(Ask) a"]), ([("Ask", "a")], []), ([], [])],
    ids=["strategy", "length", "none"],
)
def test_what_cannot_be_scored_is_refused(strategies, gold, replies):
    with pytest.raises(ValueError, match="replies to"):
        evaluate_replies(gold, replies, strategies)


@given(matrix=matrices)
def test_the_bias_of_huge_counts_is_a_number(matrix):
    bias = preference_bias([[10**12 * count for count in row] for row in matrix])
    assert math.isfinite(bias.value)
    assert all(map(math.isfinite, bias.preferences))


@given(matrix=matrices, data=st.data())
def test_saturation_does_not_depend_on_the_strategies_order(matrix, data):
    order = data.draw(st.permutations(range(len(matrix))))
    one, other = preference_bias(matrix), preference_bias([[matrix[i][j] for j in order] for i in order])
    assert one.saturated == other.saturated
    if one.saturated:
        assert one.value == other.value == math.sqrt(len(matrix) - 1)


dense = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.integers(3, 30), min_size=n, max_size=n), min_size=n, max_size=n)
)


@given(matrix=dense, data=st.data())
def test_where_all_are_taken_for_all_the_order_of_the_strategies_is_nothing(matrix, data):
    order = data.draw(st.permutations(range(len(matrix))))
    one, other = preference_bias(matrix), preference_bias([[matrix[i][j] for j in order] for i in order])
    assert other.value == pytest.approx(one.value, abs=1e-6)
    assert other.preferences == pytest.approx([one.preferences[i] for i in order], abs=1e-6)


def in_blocks(*matrices):
    """Strategies that are confused within each matrix and never beyond it."""
    count, start = sum(map(len, matrices)), 0
    whole = [[0] * count for _ in range(count)]
    for matrix in matrices:
        for place, row in enumerate(matrix):
            whole[start + place][start : start + len(row)] = row
        start += len(matrix)
    return whole


@given(one=dense, other=dense, data=st.data())
def test_groups_that_are_never_confused_are_fitted_apart_in_any_order(one, other, data):
    matrix = in_blocks(one, other)
    order = data.draw(st.permutations(range(len(matrix))))
    whole, moved = preference_bias(matrix), preference_bias([[matrix[i][j] for j in order] for i in order])
    assert moved.value == pytest.approx(whole.value, abs=1e-6)
    assert moved.preferences == pytest.approx([whole.preferences[i] for i in order], abs=1e-6)
    parts = whole.preferences[: len(one)], whole.preferences[len(one) :]
    for part, alone in zip(parts, map(preference_bias, (one, other)), strict=True):
        scale = part[0] / alone.preferences[0]
        assert part == pytest.approx([scale * each for each in alone.preferences])
    middles = [math.prod(part) ** (1 / len(part)) for part in parts]
    assert middles[0] == pytest.approx(middles[1])


def test_one_that_never_wins_connects_no_groups():
    matrix = [[0, 4, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 9, 0], [0, 0, 1, 0, 0], [2, 0, 2, 0, 0]]
    p = preference_bias(matrix).preferences
    assert p[4] == 0
    assert p[0] * p[1] == pytest.approx(p[2] * p[3])


@given(matrix=dense, extra=st.lists(st.integers(0, 99), min_size=6, max_size=6))
def test_the_diagonal_is_unused(matrix, extra):
    changed = [[n + extra[i] * (i == j) for j, n in enumerate(row)] for i, row in enumerate(matrix)]
    assert preference_bias(changed) == preference_bias(matrix)


def test_scores_are_read_back(strategies):
    gold = [("Ask", "Why is that?"), ("Comfort", "That is hard."), ("Plan", "Let us plan.")]
    made = evaluate_replies(gold, ["(Ask) Why?", "no strategy", "(Ask) Plan."], strategies, resamples=20)
    assert Evaluation.from_json(made.to_json()) == made
    assert Evaluation.from_dict(made.to_dict()) == made
    assert made.failed == 1


@pytest.mark.parametrize(
    ("change", "match"),
    [({"count": None}, "count"), ({"more": 1}, "more"), ({"macro_f1": {"value": 1.0}}, r"macro_f1\.low")],
    ids=["type", "unknown", "missing"],
)
def test_scores_that_cannot_be_read_are_named_by_field(strategies, change, match):
    made = evaluate_replies([("Ask", "a")], ["(Ask) a"], strategies, resamples=0).to_dict()
    with pytest.raises(ValueError, match=match):
        Evaluation.from_dict(made | change)


@pytest.mark.parametrize("text", ["", "[]", "1"])
def test_other_json_is_no_evaluation(text):
    with pytest.raises(ValueError):  # noqa: PT011  # of json or of pydantic
        Evaluation.from_json(text)


@given(count=st.integers(1, 400), failures=st.integers(0, 400))
def test_failed_replies_are_counted(strategies_of_all, count, failures):
    failures = min(failures, count)
    replies = ["none"] * failures + ["(Ask) a"] * (count - failures)
    made = evaluate_replies([("Ask", "a")] * count, replies, strategies_of_all, resamples=0)
    assert made.failed == failures


@pytest.fixture(scope="module")
def strategies_of_all():
    return StrategySet(strategies=tuple(Strategy(name=name) for name in NAMES))


def test_every_reply_unparsed_is_all_wrong_and_no_bias(strategies):
    made = evaluate_replies([("Ask", "a"), ("Plan", "b")], ["x", "y"], strategies, resamples=10)
    assert (made.macro_f1.value, made.weighted_f1.value, made.bias.value, made.parse_failures.value) == (0, 0, 0, 1)
    assert not made.bias_saturated


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    generator = random.Random(0)
    numbers = [generator.gauss(0, 1) for _ in range(400)]
    made = bootstrap_interval(400, lambda places: sum(numbers[at] for at in places) / len(places), resamples=2000)
    deviation = math.sqrt(sum((each - made.value) ** 2 for each in numbers) / 400 / 400)
    assert made.low == pytest.approx(made.value - 1.96 * deviation, abs=0.15 * deviation)
    assert made.high == pytest.approx(made.value + 1.96 * deviation, abs=0.15 * deviation)
    half = bootstrap_interval(
        400, lambda places: sum(numbers[at] for at in places) / len(places), resamples=2000, level=0.5
    )
    assert made.low < half.low < half.high < made.high


def test_without_resamples_the_interval_is_the_value():
    made = bootstrap_interval(3, len, resamples=0)
    assert (made.value, made.low, made.high) == (3, 3, 3)


@pytest.mark.parametrize(
    ("count", "options", "match"),
    [
        (0, {}, "resamples of 0 items"),
        (3, {"resamples": -1}, "-1 resamples"),
        (3, {"level": 0.0}, "level"),
        (3, {"level": 1.0}, "level"),
        (3, {"level": math.nan}, "level"),
    ],
)
def test_numbers_out_of_range_are_refused(count, options, match):
    with pytest.raises(ValueError, match=match):
        bootstrap_interval(count, len, **options)


@pytest.mark.parametrize("options", [{"level": 95}, {"resamples": -5}])
def test_an_evaluation_refuses_them_too(strategies, options):
    with pytest.raises(ValueError, match=r"level|resamples"):
        evaluate_replies([("Ask", "a")], ["(Ask) a"], strategies, **options)


def test_importing_the_metrics_imports_nothing_heavy():
    heavy = ["torch", "transformers", "matplotlib", "numpy", "sklearn", "rouge_score"]
    code = f"import sys, cso_train.evaluation; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
