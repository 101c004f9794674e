"""``mctsdialog doctor`` against a server on loopback: what it sends, says and advises."""

import json

import pytest
from click.testing import CliRunner

import mctsdialog
from mctsdialog.algorithms import most_calls, most_calls_by_role
from mctsdialog.cli import main

GOLD_TURNS = sum(turn.strategy is not None for turn in next(iter(mctsdialog.sample_dialogues())).turns)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return tmp_path


@pytest.fixture
def doctor(stub_server):
    """Runs the command against the stub server: (exit code, output)."""

    def run(*words):
        command = ["doctor", "--model", "stub", "--base-url", stub_server.url, *map(str, words)]
        done = CliRunner().invoke(main, command)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done.exit_code, done.output

    return run


def role_of(body):
    """The role that a request is of, by the JSON Schema or its system message."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is not None:
        return "judge" if "empathy" in schema["required"] else "strategist"
    return "seeker" if body["messages"][0]["content"].startswith("You play") else "supporter"


def refused(message, code=None, param=None):
    return 400, {"error": {"message": message, "code": code, "param": param}}


def spent(text, usage, finish="stop"):
    """A reply with other tokens and another end than the stub's own."""
    return 200, {"choices": [{"message": {"content": text}, "finish_reason": finish}], "usage": usage}


def advised(output):
    return output.split("What to change\n")[1]


def test_a_model_that_plays_all_roles(doctor, stub_server, place):
    code, output = doctor("--judge-pairs", 3)
    assert code == 0
    assert output.startswith("10 calls: ")
    assert len(stub_server.requests) == 10
    assert [role_of(body) for body in stub_server.requests] == ["supporter", "seeker", "strategist", *["judge"] * 7]
    for text in (
        "All four roles can be played",
        "100 tokens read (40 cached), 10 written",
        "You judge",
        "without a key",
    ):
        assert text in output
    assert "json_schema" in output.split(" takes\n")[1]
    assert list(place.iterdir()) == []


def test_prompts_and_replies_are_whole_with_v(doctor, stub_server):
    long = "word " * 200 + "end."
    stub_server.reply = lambda body, number: stub_server.good(body) if "response_format" in body else long
    assert long not in doctor("--judge-pairs", 0)[1]
    output = doctor("--judge-pairs", 0, "-v")[1]
    assert long in output
    for message in stub_server.requests[0]["messages"]:
        for line in message["content"].splitlines():
            assert line in output


def test_the_estimate(doctor):
    words = ("--judge-pairs", 0, "--dialogues", 3, "--max-iterations", 50, "--horizon", 2, "--price", "stub=1:2:0.5")
    code, output = doctor(*words)
    calls = 3 * (50 * most_calls(2) + GOLD_TURNS)
    assert code == 0
    assert f"{calls:,}" in output
    assert f"{calls * (60 * 1 + 40 * 0.5 + 10 * 2) / 1e6:.2f}" in output.split("money ")[-1]
    assert "unknown: give --price stub=INPUT:OUTPUT" in doctor("--judge-pairs", 0)[1]


def test_a_judge_that_is_asked_several_times(doctor, stub_server):
    words = ("--judge-pairs", 1, "--judge-samples", 3, "--max-iterations", 10, "--horizon", 1, "--price", "stub=0:1e3")
    code, output = doctor(*words)
    assert code == 0
    assert output.startswith("12 calls: ")
    assert len(stub_server.requests) == 12
    calls = 10 * most_calls(1, judge_samples=3) + GOLD_TURNS
    assert f"calls           {calls}\n" in output
    assert f"money           {calls * 10 * 1e3 / 1e6:.2f}" in output


def test_expected_scores_need_log_probabilities(doctor, stub_server):
    code, output = doctor("--judge", "expected")
    assert code == 1
    assert "needs log-probabilities, and stub returned none" in output
    assert "These roles cannot be played: judge." in output


@pytest.mark.parametrize("horizon", [0, 1, 4, 9])
def test_calls_by_role_are_all_calls(horizon):
    assert sum(most_calls_by_role(horizon).values()) == most_calls(horizon) == 6 + 4 * horizon


def test_what_the_server_refuses_is_said(doctor, stub_server):
    def reply(body, number):
        for name in ("temperature", "frequency_penalty"):
            if name in body:
                return refused(f"Unsupported parameter: '{name}' is not supported with this model.", param=name)
        if body.get("response_format", {}).get("type") == "json_schema":
            return refused("This model does not support response format `json_schema`.", param="response_format")
        best = 4 if "empathy" in body["messages"][0]["content"] else 10
        keys = [part.rsplit('"', 2)[1] for part in body["messages"][0]["content"].split(": <number>")[:-1]]
        return json.dumps({key: at % best for at, key in enumerate(keys)}) if "response_format" in body else "A reply."

    stub_server.reply = reply
    code, output = doctor("--judge-pairs", 0)
    assert code == 0
    assert "json_object; it refuses json_schema" in output
    assert "frequency_penalty, temperature" in output
    assert "does not take temperature" in output


def test_replies_that_reasoning_leaves_no_room_for(doctor, stub_server):
    def reply(body, number):
        most = body["max_tokens"]
        usage = {"prompt_tokens": 9, "completion_tokens": most, "completion_tokens_details": {"reasoning_tokens": most}}
        return spent("", usage, "length")

    stub_server.reply = reply
    code, output = doctor()
    assert code == 1
    assert "still reasoning: let it reason less with --reasoning-effort low, or use --max-reply-tokens" in advised(
        output
    )
    assert "cannot be played: supporter, seeker, strategist, judge" in output
    assert output.count("sent again  the same, as another draw") == 4 * 2


def test_replies_that_are_cut_short(doctor, stub_server):
    cut = spent("One sentence. And a hal", {"prompt_tokens": 9, "completion_tokens": 192}, "length")
    stub_server.reply = lambda body, number: cut if role_of(body) == "supporter" else stub_server.good(body)
    code, output = doctor("--judge-pairs", 0)
    assert code == 0
    assert "read as     One sentence.\n" in output
    assert "All four roles can be played, but see above what to change." in output
    assert "The supporter (at 192 tokens) had replies cut short: use --max-reply-tokens 1000" in advised(output)


@pytest.mark.parametrize(
    "said",
    [
        (429, {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}),
        (401, {"error": {"message": "no key"}}),
        (402, {"error": {"message": "Insufficient Balance"}}),
        (404, {"error": {"message": "The model does not exist", "code": "model_not_found"}}),
    ],
)
def test_an_account_error_stops_at_once_and_says_what_to_do(doctor, stub_server, said):
    stub_server.reply = lambda body, number: said
    code, output = doctor()
    assert code == 1
    assert len(stub_server.requests) == 1
    assert output.count("the same server failed for the supporter") == 3
    assert "do what the message above says" in advised(output)
    assert "mctsdialog doctor" not in output


def test_a_provider_that_refuses_is_told_once_for_all_roles(doctor, stub_server):
    stub_server.reply = lambda body, number: (400, {"error": {"message": "filtered", "code": "content_filter"}})
    code, output = doctor()
    assert code == 1
    assert len(stub_server.requests) == 4
    whole = "The model refuses to play the supporter and the seeker and the strategist and the judge"
    assert advised(output).startswith(f"  {whole}: choose another with --model.\n\n")


def test_no_key_was_sent(doctor, stub_server):
    stub_server.reply = lambda body, number: (401, {"error": {"message": "missing"}})
    assert "no key was sent" in doctor()[1]


def test_a_role_that_fails_does_not_end_the_others(doctor, stub_server):
    stub_server.reply = lambda body, number: "no JSON" if role_of(body) == "strategist" else stub_server.good(body)
    code, output = doctor("--judge-pairs", 2)
    assert code == 1
    assert "These roles cannot be played: strategist." in output
    assert "higher in" in output  # the judge was tried
    assert "replies for the strategist cannot be used: choose another with --strategist-model" in advised(output)
    assert "A run of" not in output


def test_another_server_for_one_role_is_tried_where_the_first_fails(doctor, stub_server):
    code, output = doctor("--judge-pairs", 1, "--supporter-model", "other@http://127.0.0.1:1/v1")
    assert code == 1
    assert "cannot be played: supporter." in output
    assert "nobody listens" in output


def test_a_judge_without_a_signal_is_told(doctor, stub_server):
    same = json.dumps({"empathy": 4, "information": 3, "humanoid": 2, "strategy": 1})
    stub_server.reply = lambda body, number: same if role_of(body) == "judge" else stub_server.good(body)
    output = doctor("--judge-pairs", 2)[1]
    assert "higher in 0 of 2 pairs (equal in 2, lower in 0)" in output
    assert "The judge gave the same scores (4, 3, 2, 1) to all 5 turns" in advised(output)


def test_a_judge_that_tells_turns_apart_is_left_alone(doctor, stub_server):
    real = {turn.text for each in mctsdialog.sample_dialogues() for turn in each.turns}
    dialogues = [[turn.text for turn in each.turns] for each in mctsdialog.sample_dialogues()]

    def reply(body, number):
        if role_of(body) != "judge":
            return stub_server.good(body)
        shown = body["messages"][1]["content"]
        said = [text for text in real if text in shown]
        good = any(all(text in dialogue for text in said) for dialogue in dialogues)
        return json.dumps(dict.fromkeys(("empathy", "information", "humanoid", "strategy"), 4 if good else 1))

    stub_server.reply = reply
    code, output = doctor()
    assert code == 0
    assert "higher in 8 of 8 pairs" in output
    assert "judge" not in advised(output)


def test_a_strategist_that_fills_in_a_form_is_told(doctor, stub_server):
    def reply(body, number):
        if role_of(body) != "strategist":
            return stub_server.good(body)
        names = body["response_format"]["json_schema"]["schema"]["required"]
        return json.dumps({name: number for number, name in enumerate(names)})

    stub_server.reply = reply
    assert "The strategist gave scores that count the strategies" in advised(doctor("--judge-pairs", 0)[1])


def test_replies_are_kept_where_asked(doctor, stub_server, place):
    assert doctor("--judge-pairs", 1, "--cache", "kept")[0] == 0
    count = len(stub_server.requests)
    code, output = doctor("--judge-pairs", 1, "--cache", "kept")
    assert code == 0
    assert output.count("come from the cache") == 2  # neither what the server takes nor its speed is known
    assert len(stub_server.requests) == count
    assert (place / "kept").is_dir()


def test_a_budget_ends_it(doctor, stub_server):
    code, output = doctor("--max-calls", 2)
    assert code == 3
    assert "the budget of 2 calls is spent" in output
    assert len(stub_server.requests) == 2


HINT = "mctsdialog doctor --model ... shows what the server takes"


@pytest.mark.parametrize(
    "said", [(401, {"error": {"message": "no key"}}), (400, {"error": {"message": "bad"}}), "no JSON"]
)
def test_errors_of_servers_point_to_it_once(stub_server, place, said):
    stub_server.reply = lambda body, number: said
    (place / "gold.json").write_text(mctsdialog.dialogue.sample_dialogues_text())
    words = ["search", "gold.json", "--limit", "1", "--model", "stub", "--base-url", stub_server.url]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert done.output.count(HINT) == 1


def test_other_errors_do_not(place):
    done = CliRunner().invoke(
        main, ["search", "missing.json", "--model", "stub", "--base-url", "http://127.0.0.1:1/v1"]
    )
    assert done.exit_code == 2
    assert HINT not in done.output
