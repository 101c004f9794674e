"""``mctsdialog search`` as a user runs it: in a process of its own, against a server on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib

import networkx
import pytest

import mctsdialog
from mctsdialog.files import file_stem

pytestmark = pytest.mark.timeout(180)

SECRET = "sk-very-secret-key"


@pytest.fixture(autouse=True)
def hear_interrupts():
    """A shell's background jobs, and what they start, ignore Ctrl-C; the command under test must not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run(tmp_path, stub_server):
    """Runs the command in ``tmp_path`` against the stub server."""
    (tmp_path / "gold.json").write_text(mctsdialog.dialogue.sample_dialogues_text())

    def run(*words, server=True, wait=True, key=SECRET):
        command = [sys.executable, "-W", "error", "-m", "mctsdialog", "search", *words]
        if server:
            command += ["--model", "stub", "--base-url", stub_server.url]
        environment = {**os.environ, "COLUMNS": "200"} | ({} if key is None else {"OPENAI_API_KEY": key})
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if not wait:
            return process
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        assert SECRET not in out + err
        return process.returncode, out, err

    return run


FEW = ("gold.json", "--out", "o", "--limit", "2", "--max-iterations", "4", "--min-iterations", "4")


def test_searches_writes_and_a_second_run_calls_nothing(run, tmp_path, stub_server):
    code, out, err = run(*FEW)
    assert code == 0
    assert "2 trees" in out
    assert "calls" in out
    assert "Best path" in out
    assert "gold.json: " in err
    assert "sample" in err or "gold-0" in err
    trees = sorted((tmp_path / "o" / "trees").glob("*.json"))
    assert len(trees) == 2
    for file in trees:
        tree = mctsdialog.load_tree(file)
        assert tree.iterations == 4
        assert tree.roles["judge"]["model"] == "stub"
        assert len(networkx.read_graphml(file.with_suffix(".graphml"))) == len(tree)
    calls = len(stub_server.requests)
    before = {file: file.read_bytes() for file in trees}
    assert stub_server.headers[0]["authorization"] == f"Bearer {SECRET}"
    code, out, _ = run(*FEW)
    assert code == 0
    assert len(stub_server.requests) == calls
    assert "0 calls" in out
    assert {file: file.read_bytes() for file in trees} == before
    for file in (tmp_path / "o").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


def test_several_trials_at_once_and_one_tree_in_fixed_order(run, tmp_path):
    at_once = ("gold.json", "--limit", "1", "--max-iterations", "12", "--parallelism", "5", "--deterministic")
    for out in ("one", "two"):
        code, _, err = run(*at_once, "--out", out)
        assert code == 0, err
    trees = [json.loads(next((tmp_path / out / "trees").glob("*.json")).read_text()) for out in ("one", "two")]
    assert trees[0] == trees[1]
    assert (trees[0]["config"]["parallelism"], trees[0]["config"]["deterministic"]) == (5, True)


def test_restart_takes_replies_from_the_cache_and_replay_never_calls(run, stub_server):
    run(*FEW)
    calls = len(stub_server.requests)
    code, out, _ = run(*FEW, "--restart", "--replay")
    assert code == 0
    assert len(stub_server.requests) == calls
    assert "0 calls" in out
    code, _, err = run(*FEW, "--restart", "--replay", "--seeker-model", "other")
    assert code == 1
    assert "cache" in err
    assert len(stub_server.requests) == calls


def test_a_replay_needs_no_key_and_a_search_does(run, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    run(*FEW)
    code, out, _ = run(*FEW, "--restart", "--replay", key=None)
    assert code == 0
    assert "0 calls" in out
    hosted = (*FEW, "--restart", "--model", "stub")
    code, _, err = run(*hosted, "--replay", server=False, key=None)
    assert code == 1  # no key is asked for, but another server's replies are others
    assert "the cache o/cache holds no reply" in err
    code, _, err = run(*hosted, server=False, key=None)
    assert code == 2
    assert "set OPENAI_API_KEY" in err


def test_another_model_on_the_same_output_is_refused_with_the_difference(run):
    run(*FEW)
    code, _, err = run(*FEW, "--judge-model", "other")
    assert code == 2
    assert "roles.judge.model" in err
    assert "--restart" in err
    assert "'stub'" in err
    assert "'other'" in err


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on_and_loses_nothing(run, tmp_path, stub_server, sent):
    code, _, _ = run("gold.json", "--out", "whole", "--limit", "1", "--max-iterations", "12")
    assert code == 0
    answered = len(stub_server.requests)
    gate = threading.Event()

    def reply(body, number):
        if number >= answered + 40:
            gate.wait(60)  # the search is still at work when the signal comes
        return stub_server.good(body)

    stub_server.reply = reply
    process = run("gold.json", "--out", "parts", "--limit", "1", "--max-iterations", "12", wait=False)
    deadline = time.monotonic() + 60
    while len(stub_server.requests) <= answered + 40 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    gate.set()
    assert process.returncode == 130
    assert "the same command resumes" in err
    assert "Traceback" not in err
    code, _, _ = run("gold.json", "--out", "parts", "--limit", "1", "--max-iterations", "12")
    assert code == 0
    (whole,) = (tmp_path / "whole" / "trees").glob("*.json")
    assert (tmp_path / "parts" / "trees" / whole.name).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("pause", [0, 0.02, 0.1])
@pytest.mark.parametrize("sent", [("SIGINT", "SIGTERM"), ("SIGTERM", "SIGTERM", "SIGINT")])
def test_signals_during_the_clean_up_change_nothing(run, stub_server, sent, pause):
    gate = threading.Event()

    def reply(body, number):
        if number >= 20:
            gate.wait(60)
        return stub_server.good(body)

    stub_server.reply = reply
    process = run("gold.json", "--out", "o", "--limit", "1", wait=False)
    deadline = time.monotonic() + 60
    while len(stub_server.requests) <= 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    for name in sent:
        process.send_signal(getattr(signal, name))
        time.sleep(pause)
    _, err = process.communicate(timeout=30)
    gate.set()
    assert process.returncode == 130
    assert err.count("the same command resumes") == 1
    assert "Traceback" not in err


def test_a_spent_budget_exits_3_and_a_larger_one_goes_on(run):
    code, out, _ = run(*FEW, "--max-calls", "30")
    assert code == 3
    code, out, _ = run(*FEW, "--max-calls", "10000")
    assert code == 0
    assert "2 trees" in out


def test_money_is_shown_and_bounded(run):
    code, out, _ = run(*FEW, "--price", "stub=1:2", "--max-money", "0.001")
    assert code == 3
    assert "cost 0.00" in out
    code, _, err = run(*FEW, "--price", "stub", "--max-money", "1")
    assert code == 2
    assert "MODEL=INPUT:OUTPUT" in err


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_model_ends_it_at_once_and_says_what_to_check(run, stub_server, status):
    stub_server.reply = lambda body, number: (status, {"error": {"message": f"no, {SECRET} is wrong"}})
    code, _, err = run("gold.json", "--out", "o", "--max-iterations", "4")
    assert code == 1
    assert err.splitlines()[-2].startswith("Error: ")
    assert err.splitlines()[-1].startswith("mctsdialog doctor --model ")
    assert len(stub_server.requests) <= 3 * 8  # the trees that were open


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
        (402, {"message": "Insufficient Balance"}),
        (200, {"message": "Insufficient credits", "code": 402}),
        (400, {"message": "Model Not Exist"}),
    ],
)
def test_a_spent_account_or_an_unknown_model_ends_it_at_once_and_keeps_what_is_done(
    run, stub_server, tmp_path, status, error
):
    stub_server.reply = lambda body, number: stub_server.good(body) if number < 60 else (status, {"error": error})
    code, _, err = run("gold.json", "--out", "o", "--max-iterations", "4", "--concurrency", "4")
    assert code == 1
    said, hint = err.splitlines()[-2:]
    assert "check the model name" in said or "no credit left" in said
    assert "mctsdialog doctor" in hint
    assert len(stub_server.requests) <= 60 + 3 * 4  # the calls that were under way
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["stop_reason"].startswith("ModelAccountError")
    assert summary["failures"] == []
    assert sum(row["calls"] for row in summary["costs"]) == summary["calls"]
    stub_server.reply = lambda body, number: stub_server.good(body)
    code, _, err = run("gold.json", "--out", "o", "--max-iterations", "4", "--concurrency", "4")
    assert code == 0, err


def test_a_refused_request_fails_its_dialogue_and_too_many_end_it(run, stub_server, tmp_path):
    stub_server.reply = lambda body, number: (400, {"error": {"message": f"too long, {SECRET}"}})
    code, out, err = run(*FEW)
    assert code == 1
    assert "2 dialogues failed" in out
    assert "too long" in err
    code, _, err = run("gold.json", "--out", "o", "--max-failures", "2")
    assert code == 1
    assert "3 dialogues failed, more than the 2 allowed" in err.splitlines()[-2]
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert 3 <= len(summary["failures"]) <= 8  # those that were open
    assert "too long" in summary["failures"][0]["error"]
    assert SECRET not in json.dumps(summary)


def test_shards_are_searched_apart_and_together_complete(run, tmp_path):
    some = ("gold.json", "--out", "o", "--limit", "5", "--max-iterations", "2", "--min-iterations", "2")
    for shard in ("1/2", "2/2"):
        code, _, err = run(*some, "--shard", shard)
        assert code == 0, err
    assert len(list((tmp_path / "o" / "trees").glob("*.json"))) == 5
    counts = [json.loads((tmp_path / "o" / f"summary-{i}-of-2.json").read_text())["trees"]["done"] for i in (1, 2)]
    assert sum(counts) == 5
    code, out, _ = run(*some)
    assert code == 0
    assert "5 finished before" in out
    assert "0 calls" in out
    code, _, err = run(*some, "--shard", "3/2")
    assert code == 2
    assert "a shard is i/n" in err


def test_json_lines_are_streamed_and_the_number_of_calls_found(run, tmp_path):
    mctsdialog.dialogue.write_dialogues(tmp_path / "all.jsonl", mctsdialog.sample_dialogues(), domain="esc")
    code, out, err = run("all.jsonl", "--adaptive", "--max-iterations", "2", "--min-iterations", "2")
    assert code == 0, err
    assert "12 trees" in out
    assert "12 of 12 dialogues kept" in err


def test_a_role_that_never_answers_well_fails_its_dialogues_and_the_rest_goes_on(run, stub_server):
    def reply(body, number):
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
        if "empathy" in schema.get("properties", {}):
            return '{"empathy": 9, "information": 1, "humanoid": 1, "strategy": 1}'
        return stub_server.good(body)

    stub_server.reply = reply
    code, out, err = run(*FEW)
    assert code == 1
    assert "0 trees" in out
    assert "2 dialogues failed" in out
    assert "judge" in err
    assert "from 0 to 4" in err


def test_wrong_scores_are_asked_for_again_and_the_search_recovers(run, stub_server):
    wrong = []

    def reply(body, number):
        first = len(body["messages"]) == 2 and "response_format" in body
        if first and zlib.crc32(body["messages"][1]["content"].encode()) % 3 == 0:
            wrong.append(number)
            return "I would say: all fine."
        return stub_server.good(body)

    stub_server.reply = reply
    code, out, _ = run(*FEW)
    assert code == 0
    assert "2 trees" in out
    assert wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("missing.json",), "missing.json"),
        (("gold.json", "--c", "-1"), "SearchConfig.c"),
        (("gold.json", "--c", "one"), "--c"),
        (("gold.json", "--domain", "escc"), "esc"),
        (("gold.json", "--format", "esconv"), "gold.json"),
        (("gold.json", "--base-url", "http://127.0.0.1:9/v1"), "--model"),
        (("gold.json", "--local", "nothing.gguf"), "nothing.gguf"),
        (("gold.json", "--local", "gold.json"), "GGUF"),
        (("gold.json", "--no-cache", "--replay", "--model", "x"), "--replay"),
        (("gold.json", "gold.json", "--model", "x"), "id"),
        ((), "FILES"),
    ],
)
def test_wrong_usage_is_one_clear_error(run, words, message):
    code, _, err = run(*words, server=False)
    assert code in (1, 2)
    assert message in err
    assert len(err.strip().splitlines()) <= 6 or words[1:2] == ("gold.json",)


def test_without_a_key_the_error_names_the_variable(tmp_path):
    (tmp_path / "gold.json").write_text(mctsdialog.dialogue.sample_dialogues_text())
    command = [sys.executable, "-m", "mctsdialog", "search", "gold.json", "--model", "gpt"]
    environment = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "OPENAI_API_KEY" in done.stderr


def test_counts_of_what_was_dropped_are_shown(run, tmp_path):
    items = json.loads((tmp_path / "gold.json").read_text())[:2]
    items[0]["content"][1]["AI Strategy"] = "Hypnosis"
    (tmp_path / "some.json").write_text(json.dumps(items))
    words = ("some.json", "--out", "o", "--max-iterations", "1", "--min-iterations", "1")
    code, _, err = run(*words)
    assert code == 0
    line = next(line for line in err.splitlines() if line.startswith("some.json: "))
    assert "2 of 2 dialogues kept; 4 supporter turns dropped" in line
    assert line.endswith("(-v says more)")
    assert "Hypnosis" in run(*words, "-v")[2]


def test_file_stems_are_safe_and_distinct():
    names = ["sample-00", "../../etc/passwd", "a/b", "a_b", "", ".", "..", "ü", "x" * 300, "con\n"]
    stems = [file_stem(name) for name in names]
    assert stems[0] == "sample-00"
    assert len(set(stems)) == len(stems)
    assert all(stem and "/" not in stem and not stem.startswith(".") and len(stem) < 120 for stem in stems)


def without_a_signal(good):
    """Replies of a model whose judge and strategist fill in the form."""

    def reply(body, number):
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        if schema is None:
            return good(body)
        names = schema["required"]
        return json.dumps({name: 4 - place if len(names) == 4 else place for place, name in enumerate(names)})

    return reply


def test_roles_without_a_signal_are_warned_of_at_the_end_and_in_the_summary(run, tmp_path, stub_server):
    stub_server.reply = without_a_signal(stub_server.good)
    words = ("gold.json", "--out", "o", "--max-iterations", "4", "--min-iterations", "4")
    for limit in ("2", "3"):  # the second run skips what the first has finished
        code, out, _ = run(*words, "--limit", limit)
        assert code == 0
        warnings = [line for line in out.splitlines() if line.startswith("Warning: ")]
        found = json.loads((tmp_path / "o" / "summary.json").read_text("utf-8"))["health"]
        turns = sum(found["counts"]["judge.scores"].values())
        assert found["counts"]["judge.scores"] == {"4, 3, 2, 1": turns}
        assert f"same scores (4, 3, 2, 1) to {turns} of {turns} turns" in warnings[0]
        assert "The strategist gave" in warnings[1]
        assert [f"Warning: {each}" for each in found["warnings"]] == warnings
        assert found["trees"] == int(limit)


def test_sound_roles_are_not_warned_of(run, tmp_path):
    code, out, _ = run(*FEW)
    assert code == 0
    assert "Warning" not in out
    assert json.loads((tmp_path / "o" / "summary.json").read_text("utf-8"))["health"]["warnings"] == []


def test_the_judge_is_asked_several_times_and_its_noise_is_shown(run, tmp_path, stub_server):
    def reply(body, number):
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
        if "empathy" not in schema.get("properties", {}):
            return stub_server.good(body)
        assert body["temperature"] == 1.0
        return json.dumps(dict.fromkeys(schema["required"], 1 + number % 3))

    stub_server.reply = reply
    code, out, err = run(*FEW, "--judge-samples", "2")
    assert code == 0, err
    noise = json.loads((tmp_path / "o" / "summary.json").read_text("utf-8"))["health"]["judge_noise"]
    assert noise["deviation"] > 0
    assert f"judge's noise: {noise['deviation']:.3f} of reward" in out
    calls = len(stub_server.requests)
    code, _, err = run(*FEW, "--judge-samples", "2")  # every draw is in the cache, every trial in the journal
    assert (code, len(stub_server.requests)) == (0, calls), err
    code, _, err = run(*FEW)
    assert code == 2
    assert "samples" in err


def test_expected_scores_without_log_probabilities_end_the_run_with_one_clear_error(run, stub_server):
    code, _, err = run(*FEW, "--judge", "expected")
    assert code == 2
    assert "judge='expected' needs log-probabilities, and stub returned none" in err


@pytest.mark.parametrize(("name", "warned"), [("SmolLM2-135M-Instruct.Q4_1", True), ("SmolLM2-1.7B", False)])
def test_the_embedded_model_is_said_to_be_no_judge_and_others_are_not(name, warned, capsys):
    from mctsdialog.cli._health import warn
    from mctsdialog.roles import RoleHealth

    warn(RoleHealth(), mctsdialog.ScriptedModel([], name=name))
    assert ("cannot judge" in capsys.readouterr().out) == warned
