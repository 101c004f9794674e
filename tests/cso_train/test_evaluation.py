"""Evaluation from a test set to the table: contexts, replies in process and from a server, baselines, the command."""

import json
import os
import subprocess
import sys

import anyio
import pytest
from click.testing import CliRunner

from cso_train._data import seed_of
from cso_train.cli import main
from cso_train.errors import TrainDataError
from cso_train.evaluation import (
    ServerReplies,
    build_test_set,
    evaluate_replies,
    json_table,
    latex_table,
    markdown_table,
    read_test_set,
    strategy_table,
    write_plots,
    write_test_set,
)
from cso_train.evaluation._baselines import direct_refine, self_refine, with_example
from cso_train.evaluation._evaluate import evaluate, write_tables
from mctsdialog import OpenAIChat, ScriptedModel, get_domain, sample_dialogues
from mctsdialog.dialogue import write_dialogues
from mctsdialog.preferences import chat_messages, system_prompt

ESC, ESCONV = get_domain("esc"), get_domain("esconv")


@pytest.fixture(scope="module")
def cases():
    return build_test_set(sample_dialogues(), ESC)


def test_contexts_are_of_the_wanted_length_and_end_on_the_seeker(cases):
    assert len(cases) > 20
    wanted = {turn.text for dialogue in sample_dialogues() for turn in dialogue.turns}
    for case in cases:
        system, *turns = case.prompt
        assert system == {"role": "system", "content": system_prompt(ESC)}
        assert 5 <= len(turns) <= 15
        assert turns[-1]["role"] == "user"
        assert case.strategy in ESC.strategies.names
        assert case.text in wanted
    assert len({case.id for case in cases}) == len(cases)


def test_a_limit_draws_by_seed(cases):
    drawn = [build_test_set(sample_dialogues(), ESC, limit=7, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    places = [cases.index(case) for case in drawn[0]]
    assert places == sorted(places)


def test_dialogues_without_such_a_turn_are_an_error():
    with pytest.raises(TrainDataError, match="no supporter turn"):
        build_test_set(sample_dialogues(), ESC, min_turns=90, max_turns=95)


def test_dialogues_that_a_model_is_trained_on_can_be_left_out(cases):
    trained = {seed_of({"messages": chat_messages(dialogue.turns)}) for dialogue in sample_dialogues()[:3]}
    left = build_test_set(sample_dialogues(), ESC, exclude=trained)
    assert 0 < len(left) < len(cases)
    assert {case.id.rpartition("/")[0] for case in left}.isdisjoint({d.id for d in sample_dialogues()[:3]})
    assert all(case in cases for case in left)


def test_leaving_out_every_dialogue_is_an_error():
    every = {seed_of({"messages": chat_messages(dialogue.turns)}) for dialogue in sample_dialogues()}
    with pytest.raises(TrainDataError, match="trained on are left out"):
        build_test_set(sample_dialogues(), ESC, exclude=every)


def test_a_test_set_is_read_back(cases, tmp_path):
    assert read_test_set(write_test_set(tmp_path / "test.jsonl", cases), ESC) == cases


@pytest.mark.parametrize(
    ("line", "match"),
    [("{}", "row 2: is no test case"), ("[]", "row 2: is no test case"), ("", "")],
)
def test_a_malformed_test_set_is_named_by_row(cases, tmp_path, line, match):
    file = write_test_set(tmp_path / "test.jsonl", cases[:1])
    file.write_text(file.read_text("utf-8") + line + "\n", "utf-8")
    if not line:
        assert len(read_test_set(file, ESC)) == 1
        return
    with pytest.raises(TrainDataError, match=match):
        read_test_set(file, ESC)


def test_a_strategy_of_another_domain_is_refused(cases, tmp_path):
    file = write_test_set(tmp_path / "test.jsonl", cases[:1])
    with pytest.raises(TrainDataError, match="is no strategy of the domain persuasion"):
        read_test_set(file, get_domain("persuasion"))


class Echo:
    """Answers with a number, and notes what it was asked."""

    def __init__(self):
        self.asked = []

    async def answer(self, prompts, on_progress=None):
        self.asked.append([list(prompt) for prompt in prompts])
        return [f"(Affirmation) answer {len(self.asked)}" for _ in prompts]


def test_direct_refine_asks_twice_and_self_refine_three_times(cases):
    prompts = [list(case.prompt) for case in cases[:2]]
    echo = Echo()
    assert anyio.run(direct_refine, echo, prompts) == ["(Affirmation) answer 2"] * 2
    first, second = echo.asked
    assert first == prompts
    assert [each["role"] for each in second[0][-2:]] == ["assistant", "user"]
    assert second[0][-2]["content"] == "(Affirmation) answer 1"
    echo = Echo()
    assert anyio.run(self_refine, echo, prompts) == ["(Affirmation) answer 3"] * 2
    assert [len(asked[0]) - len(prompts[0]) for asked in echo.asked] == [0, 2, 4]


def test_an_example_of_the_training_set_stands_in_the_system_prompt(cases):
    (shown,) = with_example([list(cases[0].prompt)], [cases[-1]])
    assert shown[0]["content"].startswith(system_prompt(ESC))
    assert f"Supporter: ({cases[-1].strategy}) {cases[-1].text}" in shown[0]["content"]
    assert shown[1:] == list(cases[0].prompt[1:])
    with pytest.raises(ValueError, match="needs examples"):
        anyio.run(lambda: evaluate(Echo(), cases[:1], ESC, baseline="example"))


def test_a_perfect_model_scores_so(cases):
    class Perfect:
        async def answer(self, prompts, on_progress=None):
            return [f"({case.strategy}) {case.text}" for case in cases]

    made, said = anyio.run(lambda: evaluate(Perfect(), cases, ESC, resamples=20))
    assert (made.weighted_f1.value, made.rouge_l.value, made.bias.value) == (
        pytest.approx(100),
        pytest.approx(100),
        0.0,
    )
    assert made.parse_failures.value == 0.0
    assert len(said) == len(cases)


def test_a_server_answers_in_order_many_at_once(cases, stub_server):
    stub_server.reply = lambda body, number: "(Affirmation) to: " + body["messages"][-1]["content"][:20]
    prompts = [list(case.prompt) for case in cases]
    seen = []

    async def ask():
        async with OpenAIChat("stub", base_url=stub_server.url, api_key="x") as chat:
            return await ServerReplies(chat, concurrency=4).answer(prompts, lambda *now: seen.append(now))

    said = anyio.run(ask)
    expected = ["(Affirmation) to: " + prompt[-1]["content"][:20] for prompt in prompts]
    assert said == [each.strip() for each in expected]
    assert seen[-1] == (len(prompts), len(prompts))


def test_the_first_error_of_a_server_ends_all(cases):
    model = ScriptedModel(["one"])
    with pytest.raises(AssertionError, match="script"):
        anyio.run(ServerReplies(model, concurrency=3).answer, [list(case.prompt) for case in cases[:5]])


@pytest.fixture(scope="module")
def evaluations():
    gold = [("Affirmation", "well done"), ("Share Information", "a fact"), ("Affirmation", "good")]
    good = ["(Affirmation) well done", "(Share Information) a fact", "(Affirmation) good"]
    bad = ["(Affirmation) well done", "(Affirmation) no", "nothing"]
    return {
        "good | one": evaluate_replies(gold, good, ESC.strategies, resamples=10),
        "bad_&_50%": evaluate_replies(gold, bad, ESC.strategies, resamples=10),
    }


def test_tables_mark_the_best_of_every_column(evaluations):
    lines = markdown_table(evaluations, intervals=False).splitlines()
    assert lines[2].count("**") == 8
    assert lines[3].count("**") == 0
    assert "†" in lines[3]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    latex = latex_table(evaluations)
    assert r"bad\_\&\_50\%" in latex
    assert latex.count(r"\textbf") == 4
    assert json.loads(json_table(evaluations))["bad_&_50%"]["bias_saturated"] is True
    assert "Rows gold" in strategy_table(evaluations["good | one"])


def test_figures_are_drawn_and_the_same_again(evaluations, tmp_path):
    pytest.importorskip("matplotlib")
    files, again = (write_plots(evaluations, tmp_path / name) for name in ("one", "two"))
    assert [path.name for path in files] == ["confusion.png", "strategies.png", "preferences.png"]
    for one, other in zip(files, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_tables_of_several_evaluations_are_joined(evaluations, tmp_path):
    one, other = evaluations.items()
    files = [write_tables(tmp_path / name, dict([each]))[2] for name, each in (("one", one), ("other", other))]
    done = CliRunner().invoke(main, ["table", *map(str, files), "--out", str(tmp_path / "both"), "--no-figures"])
    assert done.exit_code == 0, done.output
    assert markdown_table(evaluations) in done.output
    assert (tmp_path / "both" / "evaluation.json").read_text("utf-8") == json_table(evaluations)


def test_what_does_not_fit_in_one_table_is_refused(evaluations, cases, tmp_path):
    file = write_tables(tmp_path / "first", evaluations)[2]
    further = {"more": evaluate_replies([("Affirmation", "a")], ["(Affirmation) a"], ESC.strategies, resamples=0)}
    (tmp_path / "bad.json").write_text('{"one": {"count": 1}}')
    messages = {
        file: "is in an earlier file too",
        write_tables(tmp_path / "other", further)[2]: "more: is of another test set",
        tmp_path / "bad.json": "is no evaluation.json",
        write_test_set(tmp_path / "test.jsonl", cases[:2]): "is no evaluation.json",
        tmp_path / "absent.json": "cannot be read",
    }
    for wrong, message in messages.items():
        done = CliRunner().invoke(main, ["table", str(file), str(wrong), "--out", str(tmp_path / "both")])
        assert (done.exit_code, message in done.output) == (2, True), done.output
        assert f"Error: {wrong}: " in done.output
    assert not (tmp_path / "both").exists()


def run(*words, **environment):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **environment}
    command = [sys.executable, "-m", "cso_train", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False, env=environment)
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    return done


@pytest.fixture
def test_file(cases, tmp_path):
    return write_test_set(tmp_path / "test.jsonl", cases[:6])


def test_the_command_makes_the_test_set(tmp_path):
    write_dialogues(tmp_path / "dialogues.jsonl", sample_dialogues(), domain="esc")
    done = run("testset", tmp_path / "dialogues.jsonl", "--out", tmp_path / "made.jsonl", "--limit", "6")
    assert done.returncode == 0, done.stderr
    assert "6 contexts" in done.stdout
    assert "12 of 12 dialogues kept" in done.stderr
    assert len(read_test_set(tmp_path / "made.jsonl", ESC)) == 6


def test_the_test_set_is_of_the_formats_own_domain(tmp_path):
    turns = [{"speaker": "seeker", "content": f"It is hard, {n}."} for n in range(4)]
    replies = [
        {"speaker": "supporter", "content": "Why?", "annotation": {"strategy": "Question"}},
        {"speaker": "supporter", "content": "I see.", "annotation": {"strategy": "Others"}},
    ]
    dialog = [turn for n in range(4) for turn in (turns[n], replies[n % 2])]
    item = {"situation": "Work.", "problem_type": "job", "emotion_type": "fear", "dialog": dialog}
    (tmp_path / "ESConv.json").write_text(json.dumps([item]), "utf-8")
    words = ("testset", tmp_path / "ESConv.json", "--out", tmp_path / "made.jsonl", "--least", 1)
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert {case.strategy for case in read_test_set(tmp_path / "made.jsonl", ESCONV)} == {"Question", "Others"}
    write_dialogues(tmp_path / "dialogues.jsonl", sample_dialogues(), domain="esc")
    done = run(*words, tmp_path / "dialogues.jsonl")
    assert done.returncode == 2
    assert "is of domain esc, the files before it of esconv" in done.stderr


def test_the_command_leaves_out_the_dialogues_of_the_training_data(tmp_path):
    write_dialogues(tmp_path / "dialogues.jsonl", sample_dialogues(), domain="esc")
    dialogue = sample_dialogues()[0]
    messages = chat_messages(dialogue.turns)
    last = max(place for place, each in enumerate(messages) if each["role"] == "assistant")
    row = {"messages": messages[: last + 1]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    words = ["testset", tmp_path / "dialogues.jsonl", "--out", tmp_path / "made.jsonl"]
    done = run(*words, "--exclude", tmp_path / "train.jsonl")
    assert done.returncode == 0, done.stderr
    made = read_test_set(tmp_path / "made.jsonl", ESC)
    assert dialogue.id not in {case.id.rpartition("/")[0] for case in made}
    assert "of 11 dialogues" in done.stdout
    assert run(*words, "--exclude", tmp_path / "none.jsonl").returncode == 2


@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.timeout(300)
def test_the_command_scores_a_model_its_adapter_and_its_baselines(tiny_folder, test_file, tmp_path):
    pytest.importorskip("peft")
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    adapted = get_peft_model(base, LoraConfig(target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "lora")
    words = ["evaluate", "--test", test_file, "--model", tiny_folder, "--adapter", tmp_path / "lora"]
    words += ["--max-tokens", "6", "--examples", test_file]
    for baseline in ("direct-refine", "self-refine", "example"):
        words += ["--baseline", baseline]
    done = run(*words, "--max-length", "400", "--resamples", "20", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "out" / "evaluation.md").read_text("utf-8")
    for name in ("Direct-Refine", "Self-Refine", "w/ Example", "lora"):
        assert name in table
    scores = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert len(scores) == 5
    assert (tmp_path / "out" / "confusion.png").is_file()
    assert all(each["count"] == 6 for each in scores.values())
    rows = [json.loads(line) for line in (tmp_path / "out" / "replies.jsonl").read_text("utf-8").splitlines()]
    said = {name: [row["replies"][name] for row in rows] for name in scores}
    assert said[str(tiny_folder)] != said[str(tmp_path / "lora")]


@pytest.mark.timeout(300)
def test_batches_give_the_replies_of_one_at_a_time(tiny_folder, test_file, tmp_path):
    replies = []
    for size in (1, 4):
        out = tmp_path / str(size)
        words = ["evaluate", "--test", test_file, "--model", tiny_folder, "--max-tokens", "6", "--max-length", "400"]
        assert run(*words, "--batch-size", size, "--resamples", "0", "--out", out).returncode == 0
        replies.append((out / "replies.jsonl").read_text("utf-8"))
    assert replies[0] == replies[1]


def test_the_command_asks_a_server_and_keeps_its_answers(stub_server, test_file, tmp_path):
    stub_server.reply = lambda body, number: "(Affirmation) Well done."
    words = ["evaluate", "--test", test_file, "--model", "stub", "--server", stub_server.url, "--out", tmp_path / "out"]
    done = run(*words, OPENAI_API_KEY="sk-secret")
    assert done.returncode == 0, done.stderr
    assert len(stub_server.requests) == len(set(map(json.dumps, stub_server.requests))) == 6
    done = run(*words, "--model", "other", OPENAI_API_KEY="sk-secret")
    assert done.returncode == 0, done.stderr
    assert [body["model"] for body in stub_server.requests] == ["stub"] * 6 + ["other"] * 6
    assert list(json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))) == ["stub", "other"]
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"sk-secret" not in file.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--test", "absent.jsonl"), "absent.jsonl: there is no such file"),
        (("--baseline", "example"), "needs --examples"),
        (("--model", "./absent"), "./absent: there is no such file or folder"),
        (("--domain", "nothing"), "nothing"),
        (("--server", "http://127.0.0.1:1/v1", "--adapter", "x"), "a server has its own adapters"),
    ],
)
def test_bad_input_is_one_clear_line(test_file, tmp_path, words, message):
    base = () if "--test" in words else ("--test", test_file)
    done = run("evaluate", *base, *words, "--out", tmp_path / "out")
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "out").exists()
