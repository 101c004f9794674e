"""A model as judge of two replies: both orders, bounded attempts, nothing invented."""

import json

import pytest

from cso_train.evaluation.pairwise import (
    HUMAN_CRITERIA,
    PairToJudge,
    PairwiseJudge,
    compare_replies,
    pairwise_table,
    rubric_criteria,
)
from mctsdialog import ModelRequestError, ReplyError, ScriptedModel, get_domain

pytestmark = pytest.mark.anyio

PAIRS = [PairToJudge(("Seeker: I am tired.",), f"good {index}", f"bad {index}") for index in range(6)]


def verdicts(letter):
    return json.dumps(dict.fromkeys(HUMAN_CRITERIA, letter))


def fair(request):
    """Prefers what is good, wherever it stands."""
    text = request.messages[1].content
    return verdicts("A" if "Answer A: good" in text else "B")


async def test_a_fair_judge_finds_the_better_system_in_both_orders():
    model = ScriptedModel(fair)
    made = await compare_replies(PairwiseJudge(model), PAIRS, concurrency=3)
    assert model.calls == 12
    for each in made.comparisons.values():
        assert (each.win, each.lose, each.tie, each.first_place) == (6, 0, 0, 0.5)
    table = pairwise_table(made, "new | model", "old")
    assert "| acceptance | 100.00 | 0.00 | 0.00 | 0.00 | 50.0 % |" in table
    assert "new \\| model vs. old" in table


async def test_a_judge_who_follows_the_order_decides_nothing():
    made = await compare_replies(PairwiseJudge(ScriptedModel(lambda request: verdicts("A"))), PAIRS)
    for each in made.comparisons.values():
        assert (each.win, each.tie, each.flipped, each.first_place) == (0, 6, 6, 1.0)


async def test_an_unusable_reply_is_shown_and_asked_for_again():
    model = ScriptedModel(["Both are fine.", '{"acceptance": "C"}', "```json\n" + verdicts(" b ") + "\n```"])
    made = await PairwiseJudge(model).judge(["Seeker: Hi."], "one", "two")
    assert set(made.values()) == {"second"}
    assert "cannot be used" in model.requests[1].messages[-1].content
    assert model.requests[0].schema["required"] == list(HUMAN_CRITERIA)


async def test_replies_that_stay_unusable_are_counted_and_never_become_a_tie():
    model = ScriptedModel(lambda request: "no" if "good 2" in request.messages[1].content else fair(request))
    made = await compare_replies(PairwiseJudge(model, attempts=2), PAIRS)
    assert made.failed == 1
    assert made.verdicts[2] is None
    assert all(each.count == 5 for each in made.comparisons.values())
    with pytest.raises(ReplyError, match="after 2 attempts"):
        await PairwiseJudge(ScriptedModel(["no"] * 2), attempts=2).judge([], "a", "b")


async def test_a_call_that_fails_for_good_ends_it():
    with pytest.raises(ModelRequestError, match="no"):
        await compare_replies(PairwiseJudge(ScriptedModel([ModelRequestError("no")] * 9)), PAIRS)


async def test_the_rubric_gives_the_criteria_of_a_domain():
    domain = get_domain("esc")
    assert list(rubric_criteria(domain)) == list(domain.criteria)
    judge = PairwiseJudge(ScriptedModel([json.dumps(dict.fromkeys(domain.criteria, "tie"))]), rubric_criteria(domain))
    assert set((await judge.judge([], "a", "b")).values()) == {"tie"}
