"""The judge by several draws and by expected scores, and whether a judge carries a signal."""

import json
import math
from itertools import pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.algorithms import most_calls
from mctsdialog.errors import BudgetExceededError, ConfigError, JournalMismatchError, ReplyError
from mctsdialog.llm import (
    Budget,
    BudgetedModel,
    CachedModel,
    Completion,
    ResponseCache,
    Sampling,
    ScriptedModel,
    SingleFlight,
    TokenLogprobs,
)
from mctsdialog.roles import JudgeSignal, LLMJudge, Roles, check_roles, judge_signal, signal_cases
from mctsdialog.roles._expected import expected_scores
from mctsdialog.worlds import World

HISTORY = (mctsdialog.Turn("seeker", "I froze."), mctsdialog.Turn("supporter", "That is hard.", "Comfort"))
NAMES = ("empathy", "information", "humanoid", "strategy")
SCORES = dict(zip(NAMES, (1, 2, 3, 4), strict=True))


def tokens(*parts):
    """Tokens from texts, or from (text, {alternative: probability})."""
    made = []
    for part in parts:
        text, chances = part if isinstance(part, tuple) else (part, {part: 1.0})
        top = tuple((each, math.log(chance)) for each, chance in chances.items())
        made.append(TokenLogprobs(text, math.log(chances.get(text, 1e-9)), top))
    return tuple(made)


def reply(chances, *, before=' "', after='": '):
    """A judge's reply whose digits have these probabilities, by criterion."""
    parts = ["{"]
    for place, name in enumerate(chances):
        digit = max(chances[name], key=chances[name].get)
        parts += [before if place else before.strip(), name, after, (digit, chances[name]), ","]
    written = tokens(*parts[:-1], "}")
    return Completion("".join(each.text for each in written), logprobs=written)


CHANCES = {
    "empathy": {"1": 0.5, "2": 0.5 - 1e-9},
    "information": {"2": 0.6, "0": 0.4},
    "humanoid": {"3": 1.0},
    "strategy": {"4": 0.5, "3": 0.25, "7": 0.25},
}
EXPECTED = {"empathy": 1.5, "information": 1.2, "humanoid": 3, "strategy": (4 * 0.5 + 3 * 0.25) / 0.75}

# -- expected scores -------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_expected_scores_are_means_over_the_digits_that_the_rubric_allows(domain):
    model = ScriptedModel([reply(CHANCES)])
    judged = await LLMJudge(model, domain, scoring="expected").judge(HISTORY)
    assert dict(judged) == pytest.approx(EXPECTED)
    assert model.requests[0].logprobs == 8
    assert model.requests[0].sampling.temperature == 0


@pytest.mark.anyio
async def test_without_log_probabilities_it_is_one_clear_error_and_never_the_digits(domain, gold, tmp_path):
    model = ScriptedModel(lambda request: json.dumps(SCORES))
    with pytest.raises(ConfigError, match="scripted returned none; take judge='digits'") as caught:
        await LLMJudge(model, domain, scoring="expected").judge(HISTORY)
    assert (model.calls, caught.value.field) == (1, "judge")

    def answer(request):
        system = request.messages[0].content
        if request.schema is None:
            return "Something."
        return json.dumps(dict.fromkeys(request.schema["required"], 1)) if system else ""

    model = ScriptedModel(answer)
    roles = Roles.from_model(model, domain=domain, judge="expected")
    with pytest.raises(ConfigError, match="needs log-probabilities"):
        await mctsdialog.search_corpus([gold], lambda start: roles, out=tmp_path)  # the whole run ends


SPELLINGS = {
    "a digit alone": tokens('{"', "m", '": ', ("2", {"2": 0.75, "3": 0.25}), "}"),
    "behind a space": tokens('{"', "m", '":', (" 2", {" 2": 0.5, " 3": 0.125, "3": 0.125, "2": 0.25}), "}"),
    "with the comma": tokens('{"', "m", '": ', ("2,", {"2,": 0.5, "2": 0.25, "3,": 0.125, "3}": 0.125}), ' "o": 1}'),
    "with the colon": tokens('{"', "m", ('": 2', {'": 2': 0.75, '": 3': 0.25, '":': 1e-6}), "}"),
    "as text": tokens('{"', "m", '": "', ('2"', {'2"': 0.75, '3"': 0.25}), "}"),
    "with a point": tokens('{"m": ', ("2", {"2": 0.75, "3": 0.25}), ".", "0", "}"),
    "in one token": tokens(('{"m": 2}', {'{"m": 2}': 0.75, '{"m": 3}': 0.25})),
    "of other things": tokens('{"m": ', ("2", {"2": 0.45, "3": 0.15, "{": 0.1, "1.5": 0.1, "25": 0.1, '"': 0.1}), "}"),
    "a name inside a string": tokens('{"why": "the \\"m\\": 1", "m": ', ("2", {"2": 0.75, "3": 0.25}), "}"),
    "an escaped name": tokens('{"\\u006d": ', ("2", {"2": 0.75, "3": 0.25}), "}"),
    "after a thought": tokens('<think>"m": 4</think>', '{"m": ', ("2", {"2": 0.75, "3": 0.25}), "}<|im_end|>"),
    "fenced, after é": tokens("é ```json\n", '{\n"m": ', ("2", {"2": 0.75, "3": 0.25}), "\n}\n```"),
    "not among the likeliest": (
        *tokens('{"m": '), TokenLogprobs("2", math.log(0.75), (("3", math.log(0.25)),)), *tokens("}"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_however_the_tokens_are_cut_the_digits_are_found(spelling):
    written = SPELLINGS[spelling]
    whole = "".join(each.text for each in written)
    said = whole.removeprefix('<think>"m": 4</think>').removesuffix("<|im_end|>")
    assert expected_scores(written, said, {"m": 2.0}, 4) == pytest.approx({"m": 2.25})


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (tokens('{"m": ', "2", "}"), '{"m":2}'),  # of another text
        (tokens('{"m": 2', ', "m": 2}'), '{"m": 2, "m": 2}'),  # twice
        (tokens("{'m': 2}"), "{'m': 2}"),  # no JSON
        (tokens('{"m": 3}'), '{"m": 3}'),  # another number than was read
        (tokens('{"m": 2, "o": 1}'), '{"m": 2, "o": 1}'),  # two digits in one token
        (tokens('{"m": ', "2", "0", "}"), '{"m": 20}'),
        ((), '{"m": 2}'),
    ],
)
def test_a_place_that_cannot_be_told_is_refused(written, said):
    with pytest.raises(ValueError, match=r"cannot be told|another text|another number"):
        expected_scores(written, said, {"m": 2.0}, 4)


@given(st.lists(st.floats(-30, 0), min_size=5, max_size=5), st.integers(0, 4))
def test_the_expectation_is_that_of_the_probabilities(logprobs, digit):
    top = tuple((str(number), logprob) for number, logprob in enumerate(logprobs))
    written = (*tokens('{"m": '), TokenLogprobs(str(digit), logprobs[digit], top), *tokens("}"))
    found = expected_scores(written, f'{{"m": {digit}}}', {"m": float(digit)}, 4)["m"]
    chances = [math.exp(each) for each in logprobs]
    wanted = sum(number * chance for number, chance in enumerate(chances)) / sum(chances)
    assert found == pytest.approx(wanted, abs=1e-9)
    assert 0 <= found <= 4


def test_a_rubric_of_two_digits_has_no_expected_scores(domain_maker):
    with pytest.raises(ConfigError, match="goes up to 10"):
        LLMJudge(ScriptedModel([]), domain_maker(max_score=10), scoring="expected")


# -- several draws ---------------------------------------------------------------------------------------------------


def by_sample(request):
    return json.dumps(dict.fromkeys(NAMES, request.sample % 5))


@pytest.mark.anyio
async def test_several_draws_are_averaged_and_kept(domain):
    model = ScriptedModel(by_sample)
    judged = await LLMJudge(model, domain, samples=4).judge(HISTORY)
    assert dict(judged) == dict.fromkeys(NAMES, 1.5)
    assert [draw["empathy"] for draw in judged.draws] == [0, 1, 2, 3]
    assert sorted(request.sample for request in model.requests) == [0, 1, 2, 3]
    assert {request.sampling.temperature for request in model.requests} == {1.0}
    assert len({request.messages for request in model.requests}) == 1


@pytest.mark.anyio
async def test_one_draw_asks_as_ever(domain):
    plain, once = ScriptedModel(by_sample), ScriptedModel(by_sample)
    await LLMJudge(plain, domain).judge(HISTORY)
    judge = LLMJudge(once, domain, samples=1, scoring="digits")
    await judge.judge(HISTORY)
    assert once.requests == plain.requests
    assert judge.provenance == LLMJudge(plain, domain).provenance
    assert (once.requests[0].sample, once.requests[0].logprobs) == (0, 0)


@pytest.mark.anyio
async def test_an_error_of_a_draw_is_met_as_itself(domain):
    model = ScriptedModel(lambda request: "nonsense" if request.sample == 1 else by_sample(request))
    with pytest.raises(ReplyError):
        await LLMJudge(model, domain, samples=3, attempts=2).judge(HISTORY)
    short = BudgetedModel(ScriptedModel(by_sample), Budget(calls=2))
    with pytest.raises(BudgetExceededError):
        await LLMJudge(short, domain, samples=3).judge(HISTORY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "judge_samples must be 1 or more"),
        ({"samples": 2, "sampling": Sampling(temperature=0)}, "all the same"),
        ({"scoring": "guess"}, "must be digits or expected"),
    ],
)
def test_settings_out_of_range(domain, options, message):
    with pytest.raises(ConfigError, match=message):
        LLMJudge(ScriptedModel([]), domain, **options)


def test_the_settings_belong_to_what_decides_the_replies_and_go_with_the_scenario(domain, scenario):
    model = ScriptedModel([])
    made = [
        Roles.from_model(model, domain=domain),
        Roles.from_model(model, domain=domain, judge_samples=3),
        Roles.from_model(model, domain=domain, judge="expected"),
    ]
    assert [{"samples", "scoring"} & set(each.provenance["judge"]) for each in made] == [
        set(),
        {"samples"},
        {"scoring"},
    ]
    assert len({json.dumps(each.provenance, sort_keys=True) for each in made}) == 3
    bound = [each.bind(scenario).judge for each in made]
    assert [(each.samples, each.scoring) for each in bound] == [(1, "digits"), (3, "digits"), (1, "expected")]


class Noisy:
    """A model for all roles whose judge is off by its draw."""

    def __call__(self, request):
        if request.schema is None:
            return f"So it is, {len(request.messages)}."
        if "empathy" in request.schema["required"]:
            return json.dumps(dict.fromkeys(NAMES, 1 + request.sample % 3))
        return json.dumps({name: len(name) for name in request.schema["required"]})


@pytest.mark.anyio
async def test_a_search_keeps_the_draws_through_journal_tree_and_file(domain, gold, tmp_path):
    model = ScriptedModel(Noisy())
    config = mctsdialog.SearchConfig(max_iterations=4, horizon=1)
    roles = Roles.from_model(model, domain=domain, judge_samples=3)
    tree = await mctsdialog.search(gold, roles, config, journal=tmp_path / "j")
    rollouts = [node.rollout for node in tree if getattr(node, "rollout", None)]
    assert rollouts
    for rollout in rollouts:
        assert all(draws == ((1.0,) * 4, (2.0,) * 4, (3.0,) * 4) for draws in rollout.draws)
        assert rollout.judgements == ((2.0,) * 4,) * len(rollout.draws)
        assert rollout.reward == 2.0 - 3.0
    assert check_roles(tree).judge_noise.deviation == pytest.approx(1.0)
    mctsdialog.save_tree(tree, tmp_path / "tree.json")
    again = mctsdialog.load_tree(tmp_path / "tree.json")
    assert [node.rollout for node in again if getattr(node, "rollout", None)] == rollouts
    calls = model.calls
    resumed = await mctsdialog.search(gold, roles, config, journal=tmp_path / "j")
    assert model.calls == calls
    assert check_roles(resumed) == check_roles(tree)
    with pytest.raises(JournalMismatchError, match="samples"):
        await mctsdialog.search(gold, Roles.from_model(model, domain=domain), config, journal=tmp_path / "j")


@pytest.mark.anyio
async def test_a_trial_takes_no_more_calls_than_are_told(domain, scenario):
    made = []
    for samples in (1, 3):
        model = ScriptedModel(Noisy())
        roles = Roles.from_model(model, domain=domain, judge_samples=samples)
        counts = [model.calls]
        config = mctsdialog.SearchConfig(max_iterations=3, horizon=2)
        await mctsdialog.search(scenario, roles, config, on_progress=lambda tree, m=model, c=counts: c.append(m.calls))
        made.append(max(after - before for before, after in pairwise(counts[1:])))
    assert made == [most_calls(2), most_calls(2, 3)]


# -- a cache and a file of log-probabilities -------------------------------------------------------------------------


@pytest.mark.anyio
async def test_log_probabilities_are_kept_in_the_cache_and_digits_are_no_answer_to_them(domain, tmp_path):
    model = ScriptedModel(lambda request: reply(CHANCES) if request.logprobs else json.dumps(SCORES))
    with ResponseCache(tmp_path) as cache:
        cached = SingleFlight(CachedModel(model, cache))
        digits = await LLMJudge(cached, domain).judge(HISTORY)
        first = await LLMJudge(cached, domain, scoring="expected").judge(HISTORY)
    with ResponseCache(tmp_path, mode="read-only") as cache:
        again = await LLMJudge(CachedModel(ScriptedModel([]), cache), domain, scoring="expected").judge(HISTORY)
    assert model.calls == 2
    assert dict(again) == dict(first) == pytest.approx(EXPECTED)
    assert dict(digits) == SCORES


# -- the signal ------------------------------------------------------------------------------------------------------


def rating(value):
    """Roles whose judge gives a value of the history to every criterion."""

    class Judge:
        async def judge(self, history):
            return dict.fromkeys(NAMES, value(history))

    rest = World().roles()
    return Roles(rest.seeker, rest.supporter, rest.strategist, Judge(), domain=rest.domain)


def test_cases_put_a_turn_of_another_dialogue_in_place_of_the_real_one():
    dialogues = list(mctsdialog.sample_dialogues())
    cases = signal_cases(dialogues)
    texts = {dialogue.id: {turn.text for turn in dialogue.turns} for dialogue in dialogues}
    assert len(cases) == sum(turn.strategy is not None for dialogue in dialogues for turn in dialogue.turns[1:])
    for case in cases:
        assert case.real.text in texts[case.scenario.id]
        assert case.swapped.text not in texts[case.scenario.id]
        assert case.history[-1].speaker == "seeker"
        assert None not in (case.real.strategy, case.swapped.strategy)
    assert signal_cases(dialogues, limit=5) == cases[:5]
    assert signal_cases(dialogues, seed=1) != cases
    with pytest.raises(ConfigError, match="two dialogues"):
        signal_cases(dialogues[:1])


@pytest.mark.parametrize(
    ("known", "found"), [("real", (20, 0, 0)), ("swapped", (0, 0, 20)), ("none", (0, 20, 0))]
)  # fmt: skip
def test_a_judge_that_knows_the_real_turns_is_told_from_one_that_does_not(known, found):
    cases = signal_cases(list(mctsdialog.sample_dialogues()), limit=20)
    liked = [(*case.history, getattr(case, known)) for case in cases] if known != "none" else []
    seen = []
    roles = rating(lambda history: 3 if history in liked else 1)
    signal = anyio.run(lambda: judge_signal(roles, cases, on_progress=lambda *at: seen.append(at)))
    assert (signal.better, signal.equal, signal.worse) == found
    assert signal.tells_apart is (known == "real")
    assert seen == [(done, 20) for done in range(1, 21)]
    with pytest.raises(ConfigError, match="no case"):
        anyio.run(judge_signal, roles, [])


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_the_interval_holds_the_share(better, equal, worse):
    if not better + equal + worse:
        return
    signal = JudgeSignal(better, equal, worse)
    low, high = signal.interval
    assert 0 <= low <= signal.share <= high <= 1
    mirrored = JudgeSignal(worse, equal, better).interval
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))
    assert not (signal.tells_apart and better <= worse)


def test_the_interval_is_wilsons():
    assert JudgeSignal(20, 5, 23).interval == pytest.approx((0.335, 0.607), abs=0.001)
    assert "above in 20 of 48 cases, equal in 5, below in 23" in str(JudgeSignal(20, 5, 23))
