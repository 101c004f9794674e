"""A model as judge of two replies: both orders, bounded attempts, nothing invented."""

import json

import pytest

from cso_train.evaluation._pairwise import (
    HUMAN_CRITERIA,
    Judged,
    PairToJudge,
    PairwiseJudge,
    PairwiseResult,
    compare_replies,
    pairwise_shares,
    pairwise_table,
    pairwise_values,
    rubric_criteria,
)
from mctsdialog import ReplyError, ScriptedModel, get_domain
from mctsdialog.errors import ModelRequestError

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
    made = await compare_replies({"fair": PairwiseJudge(model)}, PAIRS, concurrency=3)
    assert model.calls == 12
    shares = pairwise_shares(made)
    for each in shares.values():
        assert (each.win.value, each.lose.value, each.tie.value, each.count) == (1, 0, 0, 6)
        assert (each.first_place, each.flipped, each.kappa) == (0.5, 0, None)
    table = pairwise_table(shares, made, "new | model", "old")
    row = "| acceptance | 100.00 (100.0 to 100.0) | 0.00 (0.0 to 0.0) | 0.00 (0.0 to 0.0) | 0.00 | 50.00 | – |"
    assert row in table.splitlines()
    assert "new \\| model vs. old" in table
    assert "6 pairs" in table
    assert "Raters: fair." in table


async def test_a_judge_who_follows_the_order_decides_nothing():
    made = await compare_replies({"first": PairwiseJudge(ScriptedModel(lambda request: verdicts("A")))}, PAIRS)
    for each in pairwise_shares(made).values():
        assert (each.win.value, each.tie.value, each.flipped, each.first_place) == (0, 1, 1, 1.0)


async def test_two_judges_are_counted_together_and_their_agreement_said():
    other = ScriptedModel(lambda request: verdicts("tie"))
    made = await compare_replies({"fair": PairwiseJudge(ScriptedModel(fair)), "dull": PairwiseJudge(other)}, PAIRS)
    each = pairwise_shares(made)["satisfaction"]
    assert (each.win.value, each.tie.value, each.count) == (0.5, 0.5, 12)
    assert each.kappa.value == 0  # each gives one label alone: no better than chance
    again = {name: PairwiseJudge(ScriptedModel(fair)) for name in ("one", "two", "three")}
    assert pairwise_shares(await compare_replies(again, PAIRS))["satisfaction"].kappa.value == 1


async def test_repeats_are_asked_apart():
    model = ScriptedModel(fair)
    judges = {str(sample): PairwiseJudge(model, temperature=1.0, sample=sample) for sample in range(2)}
    await compare_replies(judges, PAIRS[:1])
    assert sorted(request.sample for request in model.requests) == [0, 0, 1, 1]
    assert {request.sampling.temperature for request in model.requests} == {1.0}


async def test_an_unusable_reply_is_shown_and_asked_for_again():
    model = ScriptedModel(["Both are fine.", '{"acceptance": "C"}', "```json\n" + verdicts(" b ") + "\n```"])
    made = await PairwiseJudge(model).judge(["Seeker: Hi."], "one", "two")
    assert set(made.values()) == {"second"}
    assert "cannot be used" in model.requests[1].messages[-1].content
    assert model.requests[0].schema["required"] == list(HUMAN_CRITERIA)


async def test_replies_that_stay_unusable_are_counted_and_never_become_a_tie():
    model = ScriptedModel(lambda request: "no" if "good 2" in request.messages[1].content else fair(request))
    made = await compare_replies({"judge": PairwiseJudge(model, attempts=2)}, PAIRS)
    assert made.failed() == {"judge": 1}
    assert made.raters["judge"][2] is None
    shares = pairwise_shares(made)
    assert all(each.count == 5 and each.win.value == 1 for each in shares.values())
    assert "judge (1 unusable)" in pairwise_table(shares, made, "new", "old")
    assert pairwise_values(shares, made, "new", "old")["unusable"] == {"judge": 1}
    with pytest.raises(ReplyError, match="after 2 attempts"):
        await PairwiseJudge(ScriptedModel(["no"] * 2), attempts=2).judge([], "a", "b")


def test_where_nobody_says_anything_there_are_no_figures():
    made = PairwiseResult(("satisfaction",), {"one": [None, None], "two": [Judged({}), None]})
    each = pairwise_shares(made)["satisfaction"]
    assert (each.win, each.kappa, each.count, each.first_place) == (None, None, 0, None)
    assert "| satisfaction | – | – | – | – | – | – |" in pairwise_table({"satisfaction": each}, made, "a", "b")


async def test_a_call_that_fails_for_good_ends_it():
    with pytest.raises(ModelRequestError, match="no"):
        await compare_replies({"judge": PairwiseJudge(ScriptedModel([ModelRequestError("no")] * 9))}, PAIRS)


async def test_the_rubric_gives_the_criteria_of_a_domain():
    domain = get_domain("esc")
    assert list(rubric_criteria(domain)) == list(domain.criteria)
    judge = PairwiseJudge(ScriptedModel([json.dumps(dict.fromkeys(domain.criteria, "tie"))]), rubric_criteria(domain))
    assert set((await judge.judge([], "a", "b")).values()) == {"tie"}
