"""Single replies rated: three criteria and alignment, satisfaction their mean, agreement of the raters."""

import json
import random

import pytest

from cso_train.evaluation._agreement import mean_weighted_kappa, raters_agreement, weighted_kappa
from cso_train.evaluation._ratings import (
    RatingJudge,
    RatingResult,
    ReplyToRate,
    rate_replies,
    rating_json,
    rating_summaries,
    rating_table,
)
from mctsdialog import ScriptedModel
from mctsdialog.errors import ModelRequestError

pytestmark = pytest.mark.anyio

HISTORY = ("Seeker: I am tired.",)
ITEMS = [
    ReplyToRate("new", HISTORY, "good 1", "Affirmation"),
    ReplyToRate("old", HISTORY, "bad 1"),
    ReplyToRate("new", HISTORY, "good 2", "Affirmation"),
    ReplyToRate("old", HISTORY, "bad 2"),
]


def fair(request):
    """Four for what is good, else two; one more in sensitivity; whatever criteria are asked for."""
    score = 4 if "Answer: good" in request.messages[1].content else 2
    return json.dumps({name: score + (name == "sensitivity") for name in request.schema["required"]})


async def test_means_by_group_and_satisfaction_is_the_mean_of_three():
    model = ScriptedModel(fair)
    made = await rate_replies({"judge": RatingJudge(model)}, ITEMS)
    assert model.calls == 4
    found = rating_summaries(made)
    assert found["acceptance"].means["new"].value == 4
    assert found["sensitivity"].means["old"].value == 3
    assert found["satisfaction"].means["new"].value == pytest.approx(13 / 3)
    assert found["alignment"].means["new"].value == 4
    assert found["alignment"].means["old"] is None
    assert found["satisfaction"].kappa is None
    table = rating_table(found, made)
    assert "| | new | old | κ |" in table
    assert "| Sat | 4.33 (4.33 to 4.33) | 2.33 (2.33 to 2.33) | – |" in table
    assert "| Align | 4.00 (4.00 to 4.00) | – | – |" in table
    assert "new 2, old 2; 2 name no strategy" in table
    assert json.loads(rating_json(found, made))["groups"] == {"new": 2, "old": 2}


async def test_only_a_known_strategy_is_asked_about():
    model = ScriptedModel(fair)
    for item in ITEMS[:2]:
        await RatingJudge(model).rate(item)
    with_strategy, without = model.requests
    assert "Intended strategy: Affirmation" in with_strategy.messages[1].content
    assert "alignment" in with_strategy.schema["required"]
    assert "strategy" not in without.messages[1].content
    assert "alignment" not in without.schema["required"]
    assert "new" not in with_strategy.messages[1].content


@pytest.mark.parametrize("score", [0, 6, 2.5, True, "4", None])
async def test_a_score_that_is_none_is_asked_for_again(score):
    wrong = json.dumps({"acceptance": score, "effectiveness": 1, "sensitivity": 1})
    model = ScriptedModel([wrong, '{"acceptance": 3.0, "effectiveness": 1, "sensitivity": 5}'])
    made = await RatingJudge(model).rate(ITEMS[1])
    assert made == {"acceptance": 3, "effectiveness": 1, "sensitivity": 5}
    assert "acceptance must be a whole number from 1 to 5" in model.requests[1].messages[-1].content


async def test_unusable_replies_are_counted_and_left_out():
    model = ScriptedModel(lambda request: "?" if "good 2" in request.messages[1].content else fair(request))
    made = await rate_replies({"judge": RatingJudge(model, attempts=2)}, ITEMS)
    assert made.failed() == {"judge": 1}
    assert rating_summaries(made)["acceptance"].means["new"].value == 4
    with pytest.raises(ModelRequestError):
        await rate_replies({"judge": RatingJudge(ScriptedModel([ModelRequestError("no")] * 9))}, ITEMS)


def test_agreement_is_over_the_replies_that_all_rated():
    one = [{"acceptance": 1, "effectiveness": 2, "sensitivity": 3}, None, {"acceptance": 5}, {"acceptance": 2}]
    two = [{"acceptance": 1, "effectiveness": 2, "sensitivity": 3}, {"acceptance": 5}, {"acceptance": 4}, None]
    found = rating_summaries(RatingResult(ITEMS, {"one": one, "two": two}))
    assert found["acceptance"].kappa.value == pytest.approx(weighted_kappa([1, 5], [1, 4]))
    assert found["satisfaction"].kappa.value == 1  # one reply, on which they agree
    assert found["satisfaction"].means["old"] is None
    assert found["alignment"].kappa is None


def test_weighted_kappa_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = random.Random(3)
    for _ in range(20):
        one = [draw.randint(1, 5) for _ in range(30)]
        other = [min(5, max(1, score + draw.randint(-1, 1))) for score in one]
        wanted = metrics.cohen_kappa_score(one, other, weights="quadratic")
        assert weighted_kappa(one, other) == pytest.approx(wanted, abs=1e-12)
    assert weighted_kappa([3, 3], [3, 3]) == 1
    for wrong in ([], [1]):
        with pytest.raises(ValueError, match="there must be as many"):
            weighted_kappa(wrong, [])


def test_of_more_than_two_raters_it_is_the_mean_over_pairs():
    rows = [(1, 1, 2), (4, 4, 4), (5, 3, 2), (2, 2, 1)]
    columns = list(zip(*rows, strict=True))
    pairs = [weighted_kappa(columns[a], columns[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert mean_weighted_kappa(rows) == pytest.approx(sum(pairs) / 3)
    assert raters_agreement([(1,), (2,)], mean_weighted_kappa) is None
    with pytest.raises(ValueError, match="two or more"):
        mean_weighted_kappa([(1,)])
