"""Replies that were made to be hard to read hold nothing up: parsing runs in the event loop."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctsdialog.dialogue import ESC, Turn
from mctsdialog.errors import ReplyError
from mctsdialog.llm import ScriptedModel
from mctsdialog.roles import LLMJudge
from mctsdialog.roles._replies import is_end, last_object, parse_judgement, parse_scores, parse_utterance

NAMES = ("seeker", "supporter", *ESC.strategies.names)
PARSERS = [
    lambda text: parse_utterance(text, NAMES),
    lambda text: parse_utterance(text, NAMES, cut=True),
    lambda text: parse_scores(text, ESC.strategies),
    lambda text: parse_judgement(text, ESC),
    lambda text: last_object(text, ESC.criteria, lambda value: isinstance(value, int)),
    is_end,
]
UNITS = [
    "{", '{"', '{"a":', '{"empathy": [', "[{", "[", "(", '"', "\\", '"a"a', '"a" "b"', ",", "a,", "/*", "//", "#", "\n",
    " ", "seeker*",
    "(seeker) ", "[seeker*", "\nseeker", "\n seeker ", "seeker: [seeker] ", "**", '."', "' ", "</end/>", "9",
]  # fmt: skip


def seconds(text):
    """The time that all parsers take; each gives something or one short ValueError."""
    began, longest = time.process_time(), 0
    for parse in PARSERS:
        try:
            parse(text)
        except ValueError as error:
            longest = max(longest, len(str(error)))
    assert longest < 1500
    return time.process_time() - began


@pytest.mark.parametrize("begin", ["", "{", '{"a": "', '{"a": ['])
@pytest.mark.parametrize("unit", UNITS)
def test_a_repeated_piece_of_any_length_is_read_at_once(begin, unit):
    for length in (30, 1500, 4000, 200_000):
        assert seconds((begin + unit * length)[:length]) < 2


@settings(max_examples=200)
@given(
    pieces=st.lists(st.sampled_from([*UNITS, '{"empathy": 3, ', "seeker:", "}", "]", ":", "3"]), max_size=12),
    times=st.integers(1, 300),
)
def test_any_mixture_is_read_at_once(pieces, times):
    assert seconds("".join(pieces) * times) < 2


@pytest.mark.parametrize(
    "value", ["[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900, "1" * 5000, "1" * 400, '"' + "x" * 10**6 + '"']
)
def test_a_score_of_any_shape_is_named_in_a_short_message(value):
    with pytest.raises(ValueError, match=r"(?s)^.{5,300}$"):
        parse_judgement(f'{{"empathy": {value}, "information": 1, "humanoid": 1, "strategy": 1}}', ESC)


def test_an_object_with_text_around_and_small_faults_is_still_read():
    text = (
        'Here it is:\n```json\n{"empathy": 3, "information": 2, humanoid: 4, "strategy": 1,}\n```\nI hope this helps.'
    )
    assert parse_judgement(text, ESC) == {"empathy": 3, "information": 2, "humanoid": 4, "strategy": 1}


@pytest.mark.anyio
async def test_a_model_is_told_what_was_wrong_in_few_words():
    model = ScriptedModel(['{"empathy": "' + "x" * 10**6 + '"}'] * 2)
    history = (Turn("seeker", "I failed."), Turn("supporter", "What happened?", "Questioning"))
    with pytest.raises(ReplyError) as caught:
        await LLMJudge(model, ESC, attempts=2).judge(history)
    assert max(len(message.content) for message in model.requests[1].messages[-2:]) < 3000
    assert len(str(caught.value)) < 2000
