"""Reading replies, and what a role may answer at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.roles import checked_judgement, checked_scores, checked_text
from mctsdialog.roles.replies import is_end, parse_judgement, parse_scores, parse_utterance

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
    ],
)
def test_bad_scores_say_what_is_wrong(text, problem, domain):
    with pytest.raises(ValueError, match=problem):
        parse_scores(text, domain.strategies)


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
