"""Reading replies, and what a role may answer at all."""

import json
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.dialogue import ESC
from mctsdialog.roles import checked_judgement, checked_scores, checked_text
from mctsdialog.roles._replies import is_end, parse_judgement, parse_scores, parse_utterance

SCORES = {"Ask": 3, "Comfort": 10, "Plan": 0}
PLAIN = json.dumps(SCORES)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"```json\n{PLAIN}\n```",
        f"Here are my ratings:\n\n{PLAIN}\n\nI hope this helps!",
        json.dumps({"scores": SCORES}),
        json.dumps([SCORES]),
        '{"plan": 0, "COMFORT": 10, " ask ": 3}',
        '{"Ask": "3", "Comfort": "10", "Plan": 0.0}',
        "{'Ask': 3, 'Comfort': 10, 'Plan': 0,}",
        '{"Ask": 3, // a comment\n "Comfort": 10, "Plan": 0}',
    ],
)
def test_scores_are_read(text, domain):
    assert list(parse_scores(text, domain.strategies).items()) == [("Ask", 3.0), ("Comfort", 10.0), ("Plan", 0.0)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no JSON object"),
        ("I would ask.", "no JSON object"),
        ("[1, 2, 3]", "no JSON object"),
        ('{"Ask": 11, "Comfort": 1, "Plan": 1}', "from 0 to 10"),
        ('{"Ask": -1, "Comfort": 1, "Plan": 1}', "whole number"),
        ('{"Ask": 7.5, "Comfort": 1, "Plan": 1}', "whole number"),
        ('{"Ask": "7/10", "Comfort": 1, "Plan": 1}', "whole number"),
        ('{"Ask": "high", "Comfort": 1, "Plan": 1}', "whole number"),
        ('{"Ask": true, "Comfort": 1, "Plan": 1}', "whole number"),
        ('{"Ask": null, "Comfort": 1, "Plan": 1}', "whole number"),
        ('{"Ask": NaN, "Comfort": 1, "Plan": 1}', "whole number"),
        ('{"Ask": [3], "Comfort": 1, "Plan": 1}', "whole number"),
        ('{"Ask": 1, "Comfort": 1}', "no rating for Plan"),
        ('{"Ask": 1, "Comfort": 1, "Pla', "cut off"),
        (PLAIN[:-1], "cut off"),
        ('{"Ask": 1, "Comfort": 1, "Plan": 1, "Hypnosis": 1}', "no strategy 'Hypnosis'"),
        ('{"Ask": 1, "ask": 2, "Comfort": 1, "Plan": 1}', "scored twice"),
        ("[" * 5000, "JSON"),
        ('{"Ask": ' + "[" * 940 + "]" * 940 + ', "Comfort": 1, "Plan": 1}', "whole number|JSON"),
    ],
)
def test_bad_scores_say_what_is_wrong(text, problem, domain):
    with pytest.raises(ValueError, match=problem):
        parse_scores(text, domain.strategies)


CHOICES = {
    "a draft before it": 'First: {"Ask": 1, "Comfort": 1, "Plan": 1}. No: {good}',
    "the form that was asked for after it": '{good} as {"Ask": <number>, "Comfort": <number>, "Plan": <number>}',
    "the form that was asked for before it": '{"Ask": <number>, "Comfort": <number>, "Plan": <number>}\n{good}',
    "an explanation in it": '{"scores": {good}, "why": {"Ask": "good", "Comfort": "better", "Plan": "too soon"}}',
    "an explanation after it": '{good}\n{"Ask": "it is good", "Comfort": "it is better", "Plan": "too soon"}',
    "a draft inside": '{"draft": {"Ask": 1, "Comfort": 1, "Plan": 1}, "final": {good}}',
    "another object after it": '{good} {"confidence": 3}',
    "a list": "[{good}]",
    "a fence and prose": "Sure { here it is:\n```json\n{good}\n```\nHope it helps :}",
    "a quotation mark in prose": 'He is 5" tall. {good} and 6".',
    "a brace in a text": '{"note": "a } or {", "scores": {good}}',
    "markdown": '{"**Ask**": 3, "_Comfort_": "10", " plan ": 0}',
    "no quotes": "{Ask: 3, Comfort: 10, Plan: 0}",
    "typographic quotes": "{“Ask”: 3, “Comfort”: 10, “Plan”: 0}",
    "full width": "｛＂Ask＂：３，＂Comfort＂：１０，＂Plan＂：０｝",
    "comments": '{"Ask": 3, # no\n"Comfort": 10, /* it\'s {so} */ "Plan": 0, // "Plan": 4\n}',
    "a line break in a text": '{"scores": {good}, "why": "one\ntwo"}',
    "in LaTeX": "\\boxed{{good}}",
    "a long way before it": "{" + '"a": ' * 40_000 + "}} {good}",
}


@pytest.mark.parametrize("choice", CHOICES)
def test_the_last_whole_object_with_values_counts(choice, domain):
    text = CHOICES[choice].replace("{good}", PLAIN)
    assert parse_scores(text, domain.strategies) == {"Ask": 3, "Comfort": 10, "Plan": 0}


@pytest.mark.parametrize(
    "text",
    [
        f'{PLAIN} or {{"Ask": 1, "Comfort": 1',
        f'{PLAIN} or {{"Ask": 1, "Com',
        f"{PLAIN} or {{",
        f'{PLAIN} or {{"Ask": 1 "Comfort": 1, "Plan": 1}}',
        f'{PLAIN} or {{"Ask": 1, "Comfort": 1}}',
        f'{{"draft": {PLAIN}, "final": {{"Ask": 1,',
        f'{{"scores": {PLAIN}',
        f"[{PLAIN}, {{'Ask': 1",
        '{"Ask": 1, "Ask": 3, "Comfort": 10, "Plan": 0}',
        "{'Ask': 1, 'Ask': 3, 'Comfort': 10, 'Plan': 0,}",
        '{"Ask": 3 or 4, "Comfort": 10, "Plan": 0}',
        '{"Ask": 1 2, "Comfort": 10, "Plan": 0}',
        '{"Ask": 3 (good), "Comfort": 10, "Plan": 0}',
        '{"Ask": 10%, "Comfort": 10, "Plan": 0}',
        '{"Ask": 3-4, "Comfort": 10, "Plan": 0}',
        '{"Ask": "3/10", "Comfort": 10, "Plan": 0}',
        '{"Ask": ~3, "Comfort": 10, "Plan": 0}',
        '{"Ask": , "Comfort": 10, "Plan": 0}',
        '{"Ask": 1,000, "Comfort": 10, "Plan": 0}',
        '{"Ask": 0x3, "Comfort": 10, "Plan": 0}',
        '{"Ask": <number>, "Comfort": <number>, "Plan": <number>}',
        '[{"Ask": 3}, {"Comfort": 10}, {"Plan": 0}]',
    ],
)
def test_no_value_is_guessed(text, domain):
    with pytest.raises(ValueError, match=r"."):
        parse_scores(text, domain.strategies)


@given(
    st.integers(0, 10),
    st.integers(0, 10),
    st.integers(0, 10),
    st.integers(0, 60),
    st.sampled_from(["", "x", " }", '"']),
)
def test_a_cut_object_is_never_scores(one, two, three, length, more):
    domain = mctsdialog.get_domain("esc")
    whole = json.dumps(dict.fromkeys(domain.strategies.names, one) | {domain.strategies.names[0]: two})
    cut = whole[: max(1, len(whole) - 1 - length)]
    assume("}" not in more or length)
    with pytest.raises(ValueError, match=r"."):
        parse_scores(json.dumps({"draft": three}) + cut + more, domain.strategies)


@pytest.mark.parametrize(
    "piece",
    [
        "{",
        "}",
        '{"',
        '{"Ask":',
        '{"Ask":1}',
        "{}",
        '"',
        "[{",
        '{"Ask": "',
        "\\",
        "{'",
        "{//",
        "{/*",
        "{a:",
        '{"Ask":1,',
        "a ",
    ],
)
def test_a_hostile_reply_is_read_in_a_moment(piece, domain):
    for text in (piece * (1_000_000 // len(piece)), piece * 5000 + "}" * 5000):
        begun = time.process_time()
        with pytest.raises(ValueError, match=r"."):
            parse_scores(text, domain.strategies)
        assert time.process_time() - begun < 1


def test_judgements_come_in_the_order_of_the_criteria(domain):
    text = '{"strategy": 4, "Humanoid": 2, "empathy": 1, "information": 0}'
    assert list(parse_judgement(text, domain).items()) == [
        ("empathy", 1.0), ("information", 0.0), ("humanoid", 2.0), ("strategy", 4.0),
    ]  # fmt: skip
    for bad in ('{"empathy": 5, "information": 0, "humanoid": 2, "strategy": 4}', '{"empathy": 1}'):
        with pytest.raises(ValueError, match=r"from 0 to 4|missing"):
            parse_judgement(bad, domain)


@given(st.text())
def test_any_text_is_read_or_refused_with_a_value_error(text):
    domain = mctsdialog.get_domain("esc")
    for parse, argument in ((parse_scores, domain.strategies), (parse_judgement, domain)):
        try:
            parsed = parse(text, argument)
        except ValueError:
            continue
        assert all(0 <= score <= 10 for score in parsed.values())


@given(st.text(alphabet="abc \n.,!*#", max_size=80), st.text(alphabet="abc \n.,!*#", max_size=80))
def test_scores_survive_noise_around_them(before, after):
    strategies = mctsdialog.get_domain("esconv").strategies
    scores = {name: index for index, name in enumerate(strategies.names)}
    assert parse_scores(before + json.dumps(scores) + after, strategies) == scores


NAMES = ("seeker", "supporter", "Ask", "Plan")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello.", "Hello."),
        ("  Hello.\n", "Hello."),
        ("Supporter: Hello.", "Hello."),
        ("**Supporter:** Hello.", "Hello."),
        ("(Ask) What is it?", "What is it?"),
        ("[Ask]: What is it?", "What is it?"),
        ("Supporter (Ask): What is it?", "What is it?"),
        ('"Hello."', "Hello."),
        ("\u201cHello.\u201d", "Hello."),
        ('"Yes," he said, "no."', '"Yes," he said, "no."'),
        ("Hello.\nSeeker: Hi!", "Hello."),
        ("Hello.\nsupporter: And more.", "Hello."),
        ("Ask me anything.", "Ask me anything."),
        ("Plan: first sleep.", "first sleep."),
    ],
)
def test_utterances_without_what_models_put_around_them(text, said):
    assert parse_utterance(text, NAMES) == said


def test_a_cut_utterance_ends_at_its_last_whole_sentence():
    assert parse_utterance("I see. That is hard! And then you", NAMES, cut=True) == "I see. That is hard!"
    assert parse_utterance('He said "no." And th', NAMES, cut=True) == 'He said "no."'
    with pytest.raises(ValueError, match="too long"):
        parse_utterance("and then and then and", NAMES, cut=True)


@pytest.mark.parametrize("text", ["", "  \n", "Supporter:", '""', "(Ask)"])
def test_an_empty_utterance_is_refused(text):
    with pytest.raises(ValueError, match="empty"):
        parse_utterance(text, NAMES)


@given(st.text())
def test_any_utterance_is_text_or_a_value_error(text):
    try:
        said = parse_utterance(text, NAMES)
    except ValueError:
        return
    assert said == said.strip() != ""
    said.encode("utf-8")


def test_end_tokens():
    for text in ("</end/>", " </END/> ", "Thank you. </end/>", "< /end/ >"):
        assert is_end(text)
    for text in ("end", "the end", "<end>", ""):
        assert not is_end(text)


def test_checks_of_what_any_role_answers(domain):
    assert checked_text(" a\ud800 ") == "a?"
    for bad in (None, 3, b"x", "", " \n"):
        with pytest.raises(ValueError, match=r"text|empty"):
            checked_text(bad)
    assert list(checked_scores({"plan": 1, "Ask": 2.5}, domain.strategies)) == ["Ask", "Plan"]
    for bad in ({}, None, [1], {"Ask": float("nan")}, {"Ask": "3"}, {"Ask": True}, {"Nope": 1}, {1: 1}, {"Ask": 10.1}):
        with pytest.raises(ValueError, match=r"."):
            checked_scores(bad, domain.strategies)
    good = {"empathy": 1, "information": 2.5, "humanoid": 3, "strategy": 4}
    assert checked_judgement(good, domain) == (1.0, 2.5, 3.0, 4.0)
    for bad in ({}, good | {"more": 1}, good | {"empathy": 4.5}, good | {"empathy": -0.1}, "good"):
        with pytest.raises(ValueError, match=r"."):
            checked_judgement(bad, domain)


def test_judge_scores_are_a_mapping():
    scores = mctsdialog.JudgeScores(1, 2, 3, 4)
    assert scores == {"empathy": 1, "information": 2, "humanoid": 3, "strategy": 4}
    assert dict(scores)["humanoid"] == 3
    with pytest.raises(KeyError):
        scores["warmth"]


@pytest.mark.parametrize("kind", ["float32", "int64", "float64"])
def test_scores_of_numpy_are_numbers(kind):
    numpy = pytest.importorskip("numpy")
    scores = dict.fromkeys(ESC.criteria, getattr(numpy, kind)(3))
    assert checked_judgement(scores, ESC) == (3.0,) * len(ESC.criteria)
    for wrong in (numpy.float32("nan"), numpy.float32(9), numpy.zeros(2), numpy.bool_(True)):
        with pytest.raises(ValueError, match="must be a number from 0"):
            checked_judgement(dict.fromkeys(ESC.criteria, wrong), ESC)
