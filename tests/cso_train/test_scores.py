"""Scores that stand up to a reviewer: read in any form, over dialogues, with differences of their own."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cso_train.evaluation import (
    Evaluation,
    PairToJudge,
    bootstrap_interval,
    difference,
    difference_table,
    evaluate_replies,
    latex_table,
    markdown_table,
    parse_leniently,
)
from cso_train.evaluation._contexts import TestCase as Case
from cso_train.evaluation._evaluate import write_tables
from cso_train.evaluation._judging import dialogue_of
from cso_train.evaluation._pairwise import Judged, PairwiseResult, pairwise_shares
from cso_train.evaluation._ratings import RatingResult, ReplyToRate, rating_summaries
from mctsdialog import get_domain
from mctsdialog.dialogue import Strategy, StrategySet
from mctsdialog.preferences import parse_reply

ESC = get_domain("esc").strategies
NAMES = ("Ask", "Comfort", "Plan")
SET = StrategySet(strategies=tuple(Strategy(name=name) for name in NAMES))


# -- the lenient parse ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        "Affirmation: You did well.",
        "Affirmation：You did well.",
        "Affirmation - You did well.",
        "Affirmation\nYou did well.",
        "Affirmation. You did well.",
        "**Affirmation** You did well.",
        "**Affirmation:** You did well.",
        "*affirmation*\n\nYou did well.",
        "(Strategy: Affirmation) You did well.",
        "Strategy: Affirmation\nYou did well.",
        "**Strategy:** Affirmation\n\nYou did well.",
        "[Strategy] Affirmation: You did well.",
        '"Affirmation" You did well.',
        "“Affirmation” You did well.",
        "（Affirmation）You did well.",
        "【Affirmation】You did well.",
        "「Affirmation」You did well.",
        "<Affirmation> You did well.",
        "- Affirmation: You did well.",
        "1. Affirmation: You did well.",
        "(Affirmation, Share Information) You did well.",
        "(Affirmation / Share Information): You did well.",
        "（Affirmation、Share Information）You did well.",
        "Affirmation and Share Information: You did well.",
        "  (AFFIRMATION)  You did well.",
    ],
)
def test_a_strategy_is_read_in_any_form(reply):
    assert parse_leniently(reply, ESC) == ("Affirmation", "You did well.")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "You did well.",
        "Affirmation of what you feel matters.",
        "Affirmation, as they say, matters.",
        "I would choose (Affirmation) here.",
        "(Singing) La.",
        "(Affirmation You did well.",
        "Affirmative: yes.",
    ],
)
def test_a_word_of_the_text_is_no_strategy(reply):
    assert parse_leniently(reply, ESC) == (None, reply.strip())


@given(text=st.text(max_size=60), name=st.sampled_from(ESC.names))
@settings(deadline=None)
def test_what_the_strict_parse_reads_the_lenient_one_reads_alike(text, name):
    for reply in (f"({name}) {text}", text, f"[{name}]: {text}"):
        strict = parse_reply(reply, ESC)
        assert strict[0] is None or parse_leniently(reply, ESC) == strict


def test_names_of_several_words_and_aliases_are_read():
    assert parse_leniently("Emotional-Validation: Yes.", ESC)[0] == "Emotional Validation"
    assert parse_leniently("(Strategy: share\u3000information)Yes.", ESC)[0] == "Share Information"
    named = StrategySet(strategies=SET.strategies, aliases={"Question": "Ask"})
    assert parse_leniently("**Question**: Why?", named) == ("Ask", "Why?")


def test_both_parses_stand_in_every_table(tmp_path):
    gold = [("Ask", "Why?"), ("Plan", "Then go."), ("Comfort", "That is hard.")]
    plain = evaluate_replies(gold, ["Ask: Why?", "**Plan** Go.", "(Comfort) Hard."], SET, resamples=20)
    assert plain.macro_f1.value == pytest.approx(100 / 3)
    assert plain.lenient.macro_f1.value == 100
    assert (plain.failed, plain.lenient.parse_failures.value) == (2, 0)
    trained = evaluate_replies(gold, ["(Ask) Why?", "(Plan) Go.", "(Comfort) Hard."], SET, resamples=20)
    assert trained.lenient.macro_f1 == trained.macro_f1
    both = {"plain": plain, "trained": trained}
    head, _, row, _ = markdown_table(both, intervals=False).splitlines()
    cells = dict(zip(head.split("|"), row.split("|"), strict=True))
    assert cells[" Q ↑ "].strip() == "33.33"
    assert cells[" Q lenient "].strip() == "100.00"
    assert cells[" unparsed lenient "].strip() == "0.0 %"
    assert "$Q$ lenient" in latex_table(both)
    assert "plain & 33.33 & 0.00 & 33.33 & " in latex_table(both)
    files = write_tables(tmp_path, both, resamples=20)
    assert json.loads(files[2].read_text("utf-8"))["plain"]["lenient"]["macro_f1"]["value"] == 100


# -- the bias ---------------------------------------------------------------------------------------------------------


def test_a_model_that_names_no_strategy_does_not_win_the_bias():
    gold = [(name, "a") for name in NAMES] * 4
    silent = evaluate_replies(gold, ["Well."] * 12, SET, resamples=20)
    mostly = evaluate_replies(gold, ["(Ask) a", *["Well."] * 11], SET, resamples=20)
    spoken = evaluate_replies(gold, [f"({NAMES[place % 2]}) a" for place in range(12)], SET, resamples=20)
    table = {"silent": silent, "mostly": mostly, "spoken": spoken}
    rows = [line.split("|")[3].strip() for line in markdown_table(table, intervals=False).splitlines()[2:]]
    assert rows == ["–", "0.00", f"**{spoken.bias.value:.2f}**" + "†" * spoken.bias_saturated]
    latex = [line.split(" & ")[2] for line in latex_table(table).splitlines()[4:7]]
    assert latex[0] == "--"
    assert "textbf" not in latex[1]
    assert difference(silent, spoken, resamples=10).bias is None
    assert "| – |" in difference_table({"spoken": difference(silent, spoken, resamples=10)}, "silent")


@given(seed=st.integers(0, 10**6), count=st.integers(2, 30), one_sided=st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_interval_holds_its_value_and_that_of_the_bias_its_range(seed, count, one_sided):
    generator = random.Random(seed)
    gold = [(generator.choice(NAMES), "a b c") for _ in range(count)]
    said = [NAMES[0] if one_sided else generator.choice(NAMES) for _ in gold]
    dialogues = [str(generator.randrange(5)) for _ in gold]
    made = evaluate_replies(gold, [f"({name}) a b" for name in said], SET, resamples=30, dialogues=dialogues)
    numbers = [made.macro_f1, made.weighted_f1, made.bias, made.rouge_l, made.parse_failures, *made.strategy_f1]
    assert all(each.low <= each.value <= each.high for each in numbers)
    assert made.bias.low >= 0
    assert made.bias.high <= 2**0.5 + 1e-9


# -- dialogues --------------------------------------------------------------------------------------------------------


def test_contexts_of_one_dialogue_are_drawn_together():
    gold = [("Ask" if place % 2 else "Plan", "a") for place in range(80)]
    replies = [f"({'Ask' if place % 2 else 'Plan'}) a" if place < 40 else "(Comfort) a" for place in range(80)]
    apart = evaluate_replies(gold, replies, SET, resamples=300)
    together = evaluate_replies(gold, replies, SET, resamples=300, dialogues=[str(place // 10) for place in range(80)])
    assert (apart.dialogues, together.dialogues) == (None, 8)
    assert together.macro_f1.value == apart.macro_f1.value
    assert together.macro_f1.high - together.macro_f1.low > 2 * (apart.macro_f1.high - apart.macro_f1.low)
    assert "| 80 (8) |" in markdown_table({"it": together})


def test_groups_of_one_item_each_are_no_groups():
    numbers = [random.Random(1).random() for _ in range(30)]

    def mean(places):
        return sum(numbers[at] for at in places) / len(places)

    plain = bootstrap_interval(30, mean, resamples=100)
    assert bootstrap_interval(30, mean, resamples=100, groups=range(30)) == plain
    with pytest.raises(ValueError, match="2 groups of 30 items"):
        bootstrap_interval(30, mean, groups=[1, 2])


def test_a_case_tells_its_dialogue():
    prompt = ({"role": "user", "content": "I lost my job on Friday and my rent is due next week."},)
    assert Case("d-1/5", prompt, "Ask", "a").dialogue == "d-1"
    assert Case("esc/d-1/5", prompt, "Ask", "a").dialogue == "esc/d-1"
    assert Case("7", prompt, "Ask", "a").dialogue == Case("8", prompt, "Plan", "b").dialogue


def test_judgements_of_one_dialogue_are_drawn_together():
    raters = {"one": [Judged({"all": "win" if place < 20 else "lose"}) for place in range(40)]}
    pairs = [PairToJudge((f"Seeker: {place // 10}", "b", "c", str(place)), "x", "y") for place in range(40)]
    apart = pairwise_shares(PairwiseResult(("all",), raters), resamples=300)["all"].win
    dialogues = [dialogue_of(pair.history) for pair in pairs]
    assert len(set(dialogues)) == 4
    together = pairwise_shares(PairwiseResult(("all",), raters, dialogues), resamples=300)["all"].win
    assert together.value == apart.value == 0.5
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_ratings_of_one_dialogue_are_drawn_together():
    def summed(histories):
        items = [ReplyToRate("it", history, "a") for history in histories]
        rated = [{"acceptance": 5 if place < 20 else 1} for place in range(40)]
        return rating_summaries(RatingResult(items, {"one": rated}), resamples=300)["acceptance"].means["it"]

    apart, together = summed([()] * 40), summed([(f"Seeker: {place // 10}", "b") for place in range(40)])
    assert together.value == apart.value == 3
    assert together.high - together.low > 2 * (apart.high - apart.low)


# -- differences ------------------------------------------------------------------------------------------------------


def two_systems(count=60):
    """Two systems that are right and wrong on the same contexts, the second on a few more."""
    generator = random.Random(0)
    gold = [(generator.choice(NAMES), "a b") for _ in range(count)]
    right = [generator.random() < 0.5 for _ in gold]
    first = [f"({wanted if fine else 'Ask'}) a" for (wanted, _), fine in zip(gold, right, strict=True)]
    second = [
        f"({wanted if fine or place % 5 == 0 else 'Ask'}) a"
        for place, ((wanted, _), fine) in enumerate(zip(gold, right, strict=True))
    ]
    dialogues = [str(place // 2) for place in range(count)]
    return [evaluate_replies(gold, said, SET, resamples=300, dialogues=dialogues) for said in (first, second)]


def test_the_same_contexts_make_a_difference_clear_where_intervals_overlap():
    first, second = two_systems()
    assert first.macro_f1.high > second.macro_f1.low  # they overlap
    made = difference(first, second, resamples=300)
    assert made.macro_f1.value == pytest.approx(second.macro_f1.value - first.macro_f1.value)
    assert made.macro_f1.low > 0
    assert made.rouge_l.value == 0
    turned = difference(second, first, resamples=300)
    assert (turned.macro_f1.low, turned.macro_f1.high) == pytest.approx((-made.macro_f1.high, -made.macro_f1.low))
    assert made == difference(first, second, resamples=300)
    shown = difference_table({"b": made}, "a | b")
    assert f"**{made.macro_f1.value:+.2f}**" in shown
    assert r"less a \| b" in shown


def test_no_difference_is_none():
    first, _ = two_systems()
    made = difference(first, first, resamples=50)
    assert (made.macro_f1.low, made.macro_f1.value, made.macro_f1.high) == (0, 0, 0)


def test_systems_of_other_contexts_have_no_difference(tmp_path):
    first, second = two_systems()
    fewer = two_systems(40)[0]
    with pytest.raises(ValueError, match="other contexts"):
        difference(first, fewer)
    old = {name: value for name, value in second.to_dict().items() if name not in ("outcomes", "lenient", "dialogues")}
    with pytest.raises(ValueError, match=r"version 0\.1"):
        difference(first, Evaluation.from_dict(old))
    files = write_tables(tmp_path, {"a": first, "b": second, "c": fewer, "d": Evaluation.from_dict(old)}, resamples=20)
    assert list(json.loads(files[3].read_text("utf-8"))) == ["b"]
    assert "## Differences" in files[0].read_text("utf-8")


def test_what_version_0_1_wrote_is_read_and_shown():
    _, second = two_systems()
    old = {name: value for name, value in second.to_dict().items() if name not in ("outcomes", "lenient", "dialogues")}
    read = Evaluation.from_dict(old)
    assert (read.lenient, read.outcomes, read.dialogues) == (None, None, None)
    assert "Q lenient" not in markdown_table({"old": read})
    assert markdown_table({"old": read, "new": second}, intervals=False).splitlines()[2].count("–") == 3
    assert Evaluation.from_json(second.to_json()) == second
