"""``search --config``: the options of a command from a file, and the file that a run leaves."""

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import mctsdialog
from mctsdialog.cli import main
from mctsdialog.cli._search import budget_words

SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    (tmp_path / "gold.json").write_text(mctsdialog.dialogue.sample_dialogues_text())
    return tmp_path


def invoke(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def config(text):
    Path("run.yaml").write_text(text)
    return ("search", "--config", "run.yaml")


FEW = "files: [gold.json]\nlimit: 1\nmax_iterations: 3\nmin_iterations: 3\nhorizon: 0\n"


def test_a_file_is_a_whole_command_and_the_command_line_goes_before_it(stub_server, place):
    words = config(f"{FEW}model: stub\nbase_url: {stub_server.url}\nout: one\nprice: stub=1:2\n")
    done = invoke(*words)
    assert done.exit_code == 0, done.output
    tree = mctsdialog.load_tree(next((place / "one" / "trees").glob("*.json")))
    assert (tree.iterations, tree.config["horizon"]) == (3, 0)
    assert invoke(*words, "--max-iterations", 2, "--min-iterations", 2, "--out", "two").exit_code == 0
    assert mctsdialog.load_tree(next((place / "two" / "trees").glob("*.json"))).iterations == 2


def test_a_run_leaves_a_file_that_repeats_it(stub_server, place):
    words = config(f"{FEW}model: stub\nout: one\nadaptive: true\nalgorithm: calibrated\nsetting: {{max_rounds: 2}}\n")
    words = (*words, "--base-url", stub_server.url.replace("//", "//user:pass-word@"))
    first = invoke(*words, "--api-key-env", f"{stub_server.url}=OPENAI_API_KEY", "--extra", '{"top_k": 77777}')
    assert first.exit_code == 0, first.output
    text = (place / "one" / "config.yaml").read_text()
    written = yaml.safe_load(text)
    assert written["max_iterations"] == 3
    assert written["adaptive"] is True
    assert written["setting"] == {"max_rounds": 2}
    assert "horizon: 0  # file" in text
    assert "c: 1.0  # default" in text
    assert f'base_url: "{stub_server.url}"  # command line' in text
    for secret in (SECRET, "pass-word", "77777"):
        assert secret not in text
    assert "restart" not in written
    calls = len(stub_server.requests)
    again = invoke("search", "--config", "one/config.yaml", "--extra", '{"top_k": 77777}')
    assert again.exit_code == 0, again.output
    assert "1 finished before" in again.output
    assert len(stub_server.requests) == calls


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_iteration: 3", "line 1: max_iteration: there is no option of this name; did you mean max_iterations?"),
        ("\nmax_iterations: x", "line 2: max_iterations: 'x' is not a valid integer"),
        ("max_iterations: true", "line 1: max_iterations: must be text or a number"),
        ("max_iterations: [1, 2]", "max_iterations: takes one value, not a list"),
        ("adaptive: 1", "adaptive: must be true or false"),
        ("limit: 0", "line 1: limit: 0 is not in the range"),
        ("judge: loudly", "line 1: judge: 'loudly' is not one of"),
        ("setting: [x]", "setting: 'x' is not NAME=VALUE"),
        ("files: {a: 1}", "files: a value is a scalar or a list of scalars"),
        ("restart: true", "restart: there is no option of this name"),
        ("config: a.yaml", "config: there is no option of this name"),
        ("limit: 1\nlimit: 2", "line 2: limit stands here and in line 1"),
        ("- limit", "settings are `name: value`, one a line"),
        ("limit: &a [*a]", "line 1"),
        ("limit: !!python/object:os.system [ls]", "line 1"),
        ("model: '\x1b[2J'", "not YAML"),
    ],
)
def test_a_wrong_file_is_one_error_that_names_file_line_and_key(text, said):
    done = invoke(*config(text), "gold.json", "--dry-run")
    assert done.exit_code == 2
    assert done.output.startswith("Error: run.yaml: ")
    assert said in done.output
    assert len(done.output.splitlines()) == 1


def test_a_file_that_is_not_there_is_an_error():
    done = invoke("search", "--config", "none.yaml", "gold.json")
    assert (done.exit_code, "none.yaml: cannot be read" in done.output) == (2, True)


def test_without_files_anywhere_it_is_wrong_usage():
    done = invoke(*config("limit: 1"))
    assert (done.exit_code, "FILES" in done.output) == (2, True)


# -- estimates -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_embedded_model(monkeypatch):
    monkeypatch.setenv("MCTSDIALOG_MODEL", "none.gguf")


def test_an_estimate_calls_and_writes_nothing_and_needs_no_key(stub_server, place, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    words = ("gold.json", "--model", "gpt-x", "--limit", 2, "--price", "gpt-x=1:10")
    for command in (("estimate", *words), ("search", *words, "--dry-run")):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
        assert "2 trees to search" in done.output
    assert sorted(each.name for each in place.iterdir()) == ["gold.json"]
    assert not stub_server.requests


def test_the_bound_of_an_estimate_is_the_formula():
    turns = [sum(t.strategy is not None for t in each.turns) for each in list(mctsdialog.sample_dialogues())[:2]]
    most = 2 * 7 * mctsdialog.algorithms.most_calls(horizon=1, judge_samples=3) + sum(turns)
    words = ("estimate", "gold.json", "--model", "gpt-x", "--limit", 2, "--max-iterations", 7, "--horizon", 1)
    done = invoke(*words, "--judge-samples", 3)
    assert f"  calls   {most:,}\n" in done.output
    assert "money   unknown; give --price gpt-x=INPUT:OUTPUT" in done.output
    limited = invoke(*words, "--judge-samples", 3, "--max-calls", 20)
    assert "  calls   20 (stopped by --max-calls 20)\n" in limited.output
    per_tree = invoke(*words, "--max-calls-per-tree", 30)
    assert "  calls   60\n" in per_tree.output
    slow = invoke(*words, "--max-calls-per-tree", 30, "--concurrency", 4, "--seconds-per-call", 8)
    assert "time    0:02:00, with 4 calls at once of 8 s each" in slow.output


@pytest.mark.parametrize("algorithm", ["cso", "calibrated", "beam", "halving", "best_of_n"])
def test_no_search_takes_more_calls_than_estimated(stub_server, algorithm):
    words = ("gold.json", "--model", "stub", "--base-url", stub_server.url, "--limit", 1, "--max-iterations", 12)
    words = (*words, "--min-iterations", 12, "--horizon", 1, "--algorithm", algorithm)
    most = re.search(r"calls +([\d,]+)", invoke("estimate", *words).output)[1]
    assert invoke("search", *words, "--out", "o").exit_code == 0
    assert 0 < len(stub_server.requests) <= int(most.replace(",", ""))


def test_a_tree_that_more_iterations_would_prolong_is_not_finished(stub_server, place):
    words = ("gold.json", "--model", "stub", "--base-url", stub_server.url, "--out", "o", "--limit", 2, "--horizon", 0)
    assert invoke("search", *words, "--max-iterations", 2, "--min-iterations", 2).exit_code == 0
    same = invoke("search", *words, "--max-iterations", 2, "--min-iterations", 2, "--dry-run").output
    assert "0 trees to search; 2 more are finished" in same
    longer = invoke("search", *words, "--max-iterations", 4, "--min-iterations", 2, "--dry-run").output
    assert "2 trees to search" in longer
    assert "finished" not in longer


def test_a_bias_that_does_not_fit_the_rubric_is_told_before_any_call(stub_server, place, domain_maker):
    dump = json.loads(domain_maker().model_dump_json())
    for criterion in dump["rubric"]:
        criterion["levels"] = criterion["levels"][:3]
    (place / "own.json").write_text(json.dumps(dump))
    rows = [{"speaker": "seeker", "text": "Hi."}, {"speaker": "supporter", "text": "Hello.", "strategy": "Comfort"}]
    (place / "own.jsonl").write_text(json.dumps({"scene": "Work", "turns": rows}) + "\n")
    words = ("search", "own.jsonl", "--domain", "own.json", "--model", "stub", "--base-url", stub_server.url)
    said = invoke(*words, "--dry-run").stderr
    assert "with --bias -3 the rewards in" in said
    assert "-3 to -1" in said
    assert "search with --bias -1, which gives -1 to 1" in said
    assert "Warning" not in invoke(*words, "--dry-run", "--bias", "-1").stderr
    assert not stub_server.requests


def test_after_a_run_an_estimate_tells_what_its_trees_took(stub_server, place):
    words = ("gold.json", "--model", "stub", "--base-url", stub_server.url, "--price", "stub=1:2", "--out", "o")
    words = (*words, "--max-iterations", 3, "--min-iterations", 3, "--horizon", 1)
    assert invoke("search", *words, "--limit", 2).exit_code == 0
    summary = json.loads((place / "o" / "summary.json").read_text())
    done = invoke("estimate", *words, "--limit", 6)
    assert "4 trees to search; 2 more are finished" in done.output
    assert "As 2 finished trees in o went, if no reply is in the cache:" in done.output
    assert f"  calls   {2 * summary['calls']:,}\n" in done.output
    assert f"  money   {2 * summary['money']:,.2f}\n" in done.output
    before = estimated(done)
    for _ in range(2):  # from the cache, and then with nothing to do
        assert invoke("search", *words, "--limit", 2, *(["--restart"] if _ == 0 else [])).exit_code == 0
        assert json.loads((place / "o" / "summary.json").read_text())["calls"] == 0
        assert estimated(invoke("estimate", *words, "--limit", 6))["calls"] == before["calls"]
    assert invoke("search", *words, "--limit", 3).exit_code == 0
    once = estimated(invoke("estimate", *words, "--limit", 6, "--dialogues", 500))
    assert 500 * summary["calls"] / 4 < int(once["calls"].replace(",", "")) < 500 * summary["calls"]
    finished = invoke("estimate", *words, "--limit", 3).output
    assert "\n0 trees to search; 3 more are finished\n" in finished
    assert "A search would call no model. 'mctsdialog estimate --dialogues N'" in finished
    other = invoke("estimate", *words[:2], "gpt-x", *words[5:], "--price", "gpt-x=1:2", "--limit", 6).output
    assert "(by stub: another model takes another number of calls, and its time is no guide)" in other
    assert "by the lengths of the texts" in other[: other.index("At the most")]
    assert "calls at once of 1 s each (--seconds-per-call)" in other[: other.index("At the most")]
    (place / "o" / "summary.json").write_text('{"trees": {"done": NaN}}')
    assert "As 3 finished trees" in invoke("estimate", *words).output
    for journal in (place / "o" / "journals").iterdir():
        journal.write_text("no journal")
    assert "finished trees in" not in invoke("estimate", *words).output


def estimated(done):
    """The first block of numbers of an estimate."""
    return dict(re.findall(r"^  (calls|tokens|money|time) +(\S+)", done.output.partition("At the most")[0], re.M))


def test_an_estimate_of_more_dialogues_than_there_are_and_of_none_of_them_finished():
    words = ("estimate", "gold.json", "--model", "gpt-x", "--limit", 2, "--max-calls-per-tree", 30)
    assert "  calls   15,000\n" in invoke(*words, "--dialogues", 500).output
    one = invoke(*words, "--dialogues", 1).output
    assert "\n1 tree to search, of dialogues like those of the files\n" in one
    assert "  calls   30\n" in one


def test_an_estimate_says_which_price_is_not_used_and_which_option_there_is():
    words = (
        "gold.json",
        "--model",
        "gpt-4o-mini",
        "--limit",
        2,
        "--price",
        "gpt-4o=1:2",
        "--price",
        "openai/gpt-5=1:2",
    )
    for command in (("estimate", *words), ("search", *words, "--dry-run")):
        done = invoke(*command).output
        assert "unknown; give --price gpt-4o-mini=INPUT:OUTPUT (no model here is gpt-4o, gpt-5, so that" in done
    assert "of 1 s each ('mctsdialog estimate' has --seconds-per-call)" in done
    assert "is not used" not in invoke("estimate", *words[:3], "--limit", 2).output


def test_the_time_of_the_embedded_model_is_called_a_guess(place):
    (place / "tiny.gguf").write_bytes(b"GGUF")
    words = ("gold.json", "--local", "tiny.gguf", "--limit", 2, "--max-calls-per-tree", 30)
    for command in (("estimate", *words), ("search", *words, "--dry-run")):
        done = invoke(*command)
        assert "time    0:03:00, a guess: the embedded model takes about 3 s a call on two cores" in done.output
    slow = invoke("estimate", *words, "--seconds-per-call", 2, "--concurrency", 4)
    assert "time    0:00:30, with 4 calls at once of 2 s each (--seconds-per-call)" in slow.output


# -- a limit of calls for each tree ----------------------------------------------------------------------------------


def test_a_tree_is_done_when_its_own_calls_are_spent(stub_server, place):
    words = ("search", "gold.json", "--model", "stub", "--base-url", stub_server.url, "--out", "o", "--horizon", 0)
    words = (*words, "--limit", 2, "--max-calls-per-tree")
    done = invoke(*words, 40)
    assert done.exit_code == 0, done.output
    trees = [mctsdialog.load_tree(file) for file in (place / "o" / "trees").glob("*.json")]
    assert len(trees) == 2
    assert {tree.stop_reason for tree in trees} == {"budget: calls"}
    assert len(stub_server.requests) <= 80
    before = len(stub_server.requests)
    assert "2 finished before" in invoke(*words, 40).output
    assert len(stub_server.requests) == before
    more = invoke(*words, 60)
    assert more.exit_code == 0
    assert before < len(stub_server.requests)
    few = invoke(*words, 2)
    assert (few.exit_code, "one trial can take" in few.output) == (2, True)


def test_a_budget_of_the_whole_command_is_told_from_that_of_a_tree(stub_server):
    words = ("search", "gold.json", "--model", "stub", "--base-url", stub_server.url, "--out", "o", "--limit", 2)
    done = invoke(*words, "--max-calls-per-tree", 4000, "--max-calls", 30)
    assert done.exit_code == 3


def test_a_spent_budget_says_whose_it_is_and_presents_no_gold_dialogue_as_found(stub_server):
    words = ("search", "gold.json", "--model", "stub", "--base-url", stub_server.url, "--out", "o", "--limit", 2)
    done = invoke(*words, "--max-calls", 4)
    assert done.exit_code == 3
    assert "nothing generated, " in done.output
    assert "stopped after 0 iterations: the command's budget of 4 calls is spent" in done.output
    assert "the command's budget of 4 calls is spent; the same command, with a larger budget, resumes" in done.output
    assert "nothing was generated yet: the trees have no more than the dialogues they began with" in done.output
    assert "Best path" not in done.output
    assert json.loads(Path("o/summary.json").read_text())["best"] is None
    own = invoke(*words, "--max-calls-per-tree", 60)
    assert own.exit_code == 0
    assert "the command's budget" not in own.output
    assert "Best path" in own.output


def test_budgets_in_words_and_one_of_a_thing(stub_server):
    assert budget_words("calls", {"calls": 1}) == "the command's budget of 1 call is spent"
    assert budget_words("money", {"money": 2.5}) == "the command's budget of 2.5 (money) is spent"
    assert budget_words("seconds", {"seconds": 60}) == "the command's budget of 60 seconds is spent"
    assert budget_words("tokens", {}) == "the command's budget (tokens) is spent"
    words = ("search", "gold.json", "--model", "stub", "--base-url", stub_server.url, "--out", "o", "--limit", 1)
    output = invoke(*words, "--max-calls", 1).output
    assert re.search(r"^1 tree, \d+ nodes?, ", output, re.MULTILINE)
    assert re.search(r"^1 call  \d+ tokens", output, re.MULTILINE)
    assert "stub: 1 call, " in output
    assert not re.search(r"\b1 (trees|nodes|ends|calls|tokens|iterations|cache hits)\b", output)
