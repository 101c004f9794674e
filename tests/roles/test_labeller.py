"""Labelling dialogues that have no strategies."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.dialogue import ESCONV, ESCONV_ZH, Dialogue, Turn, read_dialogues, write_dialogues
from mctsdialog.errors import BudgetExceededError, ConfigError
from mctsdialog.llm import Completion, Usage
from mctsdialog.roles import Labelling, TurnLabel, label_dialogues

pytestmark = pytest.mark.anyio


class Rater:
    """A model that rates the strategies by a function of the prompt."""

    name = "rater"

    def __init__(self, rate):
        self.rate, self.asked = rate, []

    async def complete(self, request):
        self.asked.append(request)
        answer = self.rate(request.messages[1].content)
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        return Completion(text, usage=Usage(1, 1))

    async def aclose(self):
        pass


def by_last_line(prompt):
    last = prompt.splitlines()[-3]
    name = "Question" if "?" in last else "Affirmation and Reassurance"
    return {each: 8 if each == name else 0 for each in ESCONV.strategies.names} | {"Information": 2}


def talk(id="a", labels=(None, None)):
    said = ["I lost my post.", "When did it happen?", "Last week.", "You will find your way."]
    turns = [Turn("seeker" if at % 2 == 0 else "supporter", text) for at, text in enumerate(said)]
    for place, label in zip((1, 3), labels, strict=True):
        turns[place] = Turn("supporter", said[place], label)
    return Dialogue(id=id, scene="Work", turns=tuple(turns))


async def test_every_supporter_turn_gets_a_strategy_with_a_confidence():
    model = Rater(by_last_line)
    done = await label_dialogues([talk()], model, ESCONV)
    assert [turn.strategy for turn in done.dialogues[0].turns] == [
        None,
        "Question",
        None,
        "Affirmation and Reassurance",
    ]
    assert [(label.turn, label.strategy, label.confidence) for label in done.labels] == [
        (1, "Question", 0.8),
        (3, "Affirmation and Reassurance", 0.8),
    ]
    assert (done.failures, done.checked, done.agreement, done.kappa, done.stop_reason) == ({}, 0, None, None, None)
    prompt = model.asked[0].messages[-1].content
    assert "When did it happen?" in prompt
    assert "Last week." not in prompt
    assert "Question" in model.asked[0].messages[0].content


async def test_labels_that_are_there_stay_and_are_checked_where_asked():
    labelled = talk(labels=("Information", None))
    model = Rater(by_last_line)
    done = await label_dialogues([labelled], model, ESCONV)
    assert (len(model.asked), done.dialogues[0].turns[1].strategy) == (1, "Information")
    both = [labelled, talk("b", ("Question", "Affirmation and Reassurance"))]
    checked = await label_dialogues(both, Rater(by_last_line), ESCONV, check=True)
    assert checked.dialogues[0].turns[1].strategy == "Information"
    assert (checked.checked, checked.agreement) == (3, 2 / 3)
    assert checked.kappa == pytest.approx((2 / 3 - 3 / 9) / (1 - 3 / 9))


async def test_what_fails_is_left_out_and_the_rest_goes_on():
    def rate(prompt):
        return "no idea" if "Help" in prompt else by_last_line(prompt)

    bad = Dialogue(id="bad", turns=(Turn("seeker", "Help"), Turn("supporter", "Yes.")))
    done = await label_dialogues([bad, talk()], Rater(rate), ESCONV)
    assert [each.id for each in done.dialogues] == ["a"]
    assert list(done.failures) == ["bad"]
    assert "turn 1: labeller: " in done.failures["bad"]


async def test_low_confidence_leaves_a_dialogue_out():
    done = await label_dialogues([talk()], Rater(by_last_line), ESCONV, min_confidence=0.9)
    assert (done.dialogues, done.failures) == ((), {"a": "turn 1: confidence 0.80, below 0.9"})
    nothing = await label_dialogues([talk()], Rater(lambda prompt: dict.fromkeys(ESCONV.strategies.names, 0)), ESCONV)
    assert [label.confidence for label in nothing.labels] == [0.0, 0.0]


async def test_a_spent_budget_keeps_what_is_whole():
    calls = iter(range(100))

    def rate(prompt):
        if next(calls) >= 3:
            raise BudgetExceededError("calls", limit=3, used=3)
        return by_last_line(prompt)

    done = await label_dialogues([talk("a"), talk("b"), talk("c")], Rater(rate), ESCONV, concurrency=1)
    assert [each.id for each in done.dialogues] == ["a"]
    assert done.stop_reason == "budget: calls"
    assert done.failures == dict.fromkeys(("b", "c"), "not asked about: a budget was spent")


async def test_chinese_is_asked_about_in_chinese(tmp_path):
    turns = [("求助者", "我最近总是睡不好。"), ("支持者", "什么时候开始的？")]
    path = tmp_path / "d.json"
    path.write_text(json.dumps([{"dialog": [{"speaker": who, "content": text} for who, text in turns]}]), "utf-8")
    model = Rater(lambda prompt: {name: 10 * (name == "提问") for name in ESCONV_ZH.strategies.names})
    found = read_dialogues(path, domain="esconv-zh", unlabelled=True)
    done = await label_dialogues(found, model, found.domain)
    assert done.dialogues[0].turns[1].strategy == "提问"
    assert "请阅读求助者与支持者的对话" in model.asked[0].messages[0].content
    again = read_dialogues(write_dialogues(tmp_path / "out.jsonl", done.dialogues, domain=found.domain))
    assert again[0].turns == done.dialogues[0].turns
    assert again.domain is ESCONV_ZH


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"min_confidence": 1.5}, {"min_confidence": -0.1}])
async def test_numbers_out_of_range(wrong):
    with pytest.raises(ConfigError, match="out of range"):
        await label_dialogues([talk()], Rater(by_last_line), ESCONV, **wrong)


LABELS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30)


@given(pairs=LABELS)
def test_kappa_is_scikit_learns(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    done = Labelling((), tuple(TurnLabel("d", at, one, 1.0, two) for at, (one, two) in enumerate(pairs)), {})
    ones, twos = zip(*pairs, strict=True)
    if done.kappa is None:
        assert len({*ones, *twos}) == 1
    else:
        assert done.kappa == pytest.approx(metrics.cohen_kappa_score(ones, twos))
