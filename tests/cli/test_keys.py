"""Keys on the command line: each goes to the server that it was named for, in both packages."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

import mctsdialog
from mctsdialog.cli import main
from mctsdialog.cli.keys import Servers, shown_choice, split_choice
from mctsdialog.errors import ConfigError

MAIN, OTHER = "sk-main-key-0123456789", "sk-other-key-987654321"


@pytest.fixture
def second_server(stub_server):
    server = type(stub_server)()
    yield server
    server.close()


@pytest.fixture
def run(tmp_path):
    def run(*words, code=0, **keys):
        environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
        environment |= {"COLUMNS": "200", "OPENAI_API_KEY": MAIN, "OTHER_KEY": OTHER, **keys}
        done = subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        for file in tmp_path.rglob("*"):
            assert not file.is_file() or not any(
                key.encode() in file.read_bytes() for key in (MAIN, OTHER, "swordfish")
            )
        assert not any(key in done.stdout + done.stderr for key in (MAIN, OTHER, "swordfish"))
        return done.stdout + done.stderr

    return run


def keys(server):
    assert server.headers
    return {headers.get("authorization") for headers in server.headers}


@pytest.fixture
def search(run, tmp_path, stub_server, second_server):
    """A short search whose judge is at another server."""
    (tmp_path / "gold.json").write_text(mctsdialog.dialogue.sample_dialogues_text())
    few = ("--limit", 1, "--max-iterations", 2, "--min-iterations", 2, "--horizon", 0)
    main = ("--model", "m", "--base-url", stub_server.url)
    judge = ("--judge-model", f"j@{second_server.url}")
    return lambda *words, **options: run("mctsdialog", "search", "gold.json", *few, *main, *judge, *words, **options)


def test_a_role_at_another_address_gets_no_key(search, stub_server, second_server):
    search()
    assert (keys(stub_server), keys(second_server)) == ({f"Bearer {MAIN}"}, {None})


def test_another_address_has_a_variable_of_its_own(search, stub_server, second_server):
    search("--api-key-env", f"{second_server.url}=OTHER_KEY")
    assert (keys(stub_server), keys(second_server)) == ({f"Bearer {MAIN}"}, {f"Bearer {OTHER}"})


def test_a_key_that_is_named_for_another_address_does_not_go_to_the_main_one(search, stub_server, second_server):
    search("--api-key-env", f"{second_server.url}=OPENAI_API_KEY")
    assert (keys(stub_server), keys(second_server)) == ({None}, {f"Bearer {MAIN}"})


def test_a_refusal_says_which_option_to_give(search, second_server):
    second_server.reply = lambda body, number: (401, {"error": {"message": "no"}})
    output = search("--max-failures", 0, code=1)
    assert f"no key was sent: give api_key=, or for the commands --api-key-env {second_server.url}=VARIABLE" in output


@pytest.fixture
def replies(tmp_path):
    row = {"id": "d/0", "prompt": [{"role": "user", "content": "Hi."}], "replies": {"a": "Well.", "b": "Yes."}}
    (tmp_path / "replies.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path / "replies.jsonl"


@pytest.mark.parametrize("named", [False, True])
def test_a_judge_at_another_address_gets_no_key_but_its_own(run, replies, stub_server, named):
    stub_server.reply = lambda body, number: json.dumps(
        dict.fromkeys(body["response_format"]["json_schema"]["schema"]["required"], "A")
    )
    names = ("--replies", replies, "--first", "a", "--second", "b", "--model", f"j@{stub_server.url}")
    words = ("--api-key-env", f"{stub_server.url}=OTHER_KEY") if named else ()
    run("cso_train", "pairwise", *names, *words)
    assert keys(stub_server) == {f"Bearer {OTHER}" if named else None}


def test_a_password_in_a_judges_address_is_sent_and_kept_nowhere(run, replies, tmp_path, stub_server):
    stub_server.reply = lambda body, number: json.dumps(
        dict.fromkeys(body["response_format"]["json_schema"]["schema"]["required"], 3)
    )
    address = stub_server.url.replace("//", "//joe:swordfish@")
    output = run("cso_train", "rate", "--replies", replies, "--model", f"j@{address}")
    assert keys(stub_server) == {"Basic am9lOnN3b3JkZmlzaA=="}
    assert stub_server.requests[0]["model"] == "j"
    assert f"j@{stub_server.url}" in (tmp_path / "ratings" / "scores.jsonl").read_text()
    assert "am9lOnN3b3JkZmlzaA" not in output


@pytest.mark.parametrize("words", [("search", "gold.json"), ("preferences", "trees", "--random")])
@pytest.mark.parametrize(
    "address", ["https://b.example/v1?sig=swordfish", "ftp://joe:swordfish@b.example", "http://swordfish@:x"]
)
def test_a_bad_address_is_an_error_that_shows_no_secret(folder, tmp_path, monkeypatch, words, address):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gold.json").write_text(mctsdialog.dialogue.sample_dialogues_text())
    done = CliRunner().invoke(main, [*map(str, words), "--model", "m", "--base-url", address])
    assert (done.exit_code, "Error: base_url must" in done.output, "swordfish" in done.output) == (2, True, False)


def test_a_key_over_plain_http_is_told_once(run, tmp_path):
    (tmp_path / "gold.json").write_text(mctsdialog.dialogue.sample_dialogues_text())
    words = ("--model", "m", "--seeker-model", "n", "--base-url", "http://b.example/v1", "--max-failures", 0)
    output = run("mctsdialog", "search", "gold.json", "--limit", 1, "--max-calls", 0, *words, code=3)
    assert output.count("sent unencrypted") == 1


def test_a_model_and_its_address():
    assert split_choice("qwen") == ("qwen", None)
    assert split_choice("@cf/meta/llama@HTTP://a.example/v1") == ("@cf/meta/llama", "HTTP://a.example/v1")
    assert split_choice("m@https://joe:p@ss@a.example/v1") == ("m", "https://joe:p@ss@a.example/v1")
    assert shown_choice("m@https://joe:p%40ss@a.example/v1?api-version=2") == "m@https://a.example/v1"


@pytest.mark.parametrize(
    "given",
    [("sk-not-a-name",), ("https://b.example/v1=sk-not",), ("A", "B"), ("A", "https://API.openai.com:443=B"), ("=A=",)],
)
def test_a_wrong_variable_is_an_error_that_does_not_show_it(given):
    with pytest.raises(ConfigError) as caught:
        Servers.of(None, given, option="--server")
    assert "sk-not" not in str(caught.value)


@pytest.mark.parametrize(
    ("main", "given", "choice", "variable"),
    [
        (None, (), "m", "OPENAI_API_KEY"),
        (None, ("MINE",), "m@https://API.openai.com:443/v2", "MINE"),
        ("http://a.example/v1", (), "m", "OPENAI_API_KEY"),
        ("http://a.example/v1", (), "m@http://a.example:8000/v1", None),
        ("http://a.example/v1", ("MINE",), "m@https://a.example/v1", None),
        ("http://a.example/v1", ("MINE", "http://b.example=ITS"), "m@http://B.example.:80/v1", "ITS"),
        ("http://a.example/v1", ("http://b.example=OPENAI_API_KEY",), "m", None),
    ],
)
def test_the_variable_of_a_server(main, given, choice, variable):
    servers = Servers.of(main, given, option="--server")
    address = split_choice(choice)[1] or servers.main
    assert servers.variables.get(mctsdialog.llm._address.origin(address)) == variable


def test_openai_without_a_key_is_told(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="m: set OPENAI_API_KEY to your key, or name another server with --server"):
        Servers.of(None, (), option="--server").chat("m")
    with pytest.raises(ConfigError, match="--api-key-env https://api"):
        Servers.of("http://127.0.0.1/v1", (), option="--server").chat("m@https://api.openai.com/v1")


def test_an_address_of_another_kind_is_no_name():
    with pytest.raises(ConfigError, match="NAME@URL") as caught:
        Servers.of(None, (), option="--server").chat("m@ftp://joe:swordfish@b.example")
    assert "swordfish" not in str(caught.value)


def test_headers_and_parameters_go_to_their_server_alone(search, stub_server, second_server):
    search(
        *("--header", "X-Team=TEAM", "--header", f"{second_server.url}=X-Secret-Key=OTHER_KEY"),
        *("--extra", '{"top_k": 5}', "--extra", f'{second_server.url}={{"top_k": 7, "note": "a={{b"}}'),
        TEAM="blue-team",
    )
    assert {headers.get("x-team") for headers in stub_server.headers} == {"blue-team"}
    assert {headers.get("x-secret-key") for headers in stub_server.headers} == {None}
    assert {(each.get("x-team"), each.get("x-secret-key")) for each in second_server.headers} == {(None, OTHER)}
    assert {body.get("top_k") for body in stub_server.requests} == {5}
    assert {(body.get("top_k"), body.get("note")) for body in second_server.requests} == {(7, "a={b")}


def test_the_amount_of_reasoning_and_the_limit_of_a_reply_reach_every_role(search, stub_server, second_server):
    search("--reasoning-effort", "low", "--max-reply-tokens", 3000)
    sent = [*stub_server.requests, *second_server.requests]
    assert {(body["reasoning_effort"], body["max_tokens"]) for body in sent} == {("low", 3000)}


def test_judges_of_pairs_take_them_too(run, replies, stub_server):
    stub_server.reply = lambda body, number: json.dumps(
        dict.fromkeys(body["response_format"]["json_schema"]["schema"]["required"], "A")
    )
    names = ("--replies", replies, "--first", "a", "--second", "b", "--model", "j", "--server", stub_server.url)
    words = (
        "--reasoning-effort",
        "none",
        "--max-reply-tokens",
        900,
        "--extra",
        '{"top_k": 3}',
        "--header",
        "X-A=OTHER_KEY",
    )
    run("cso_train", "pairwise", *names, *words)
    assert {(body["max_tokens"], body["top_k"]) for body in stub_server.requests} == {(900, 3)}
    assert {body["chat_template_kwargs"]["enable_thinking"] for body in stub_server.requests} == {False}
    assert {headers["x-a"] for headers in stub_server.headers} == {OTHER}


def test_a_provider_by_its_name(search, stub_server, tmp_path, run):
    few = ("--limit", 1, "--max-iterations", 2, "--min-iterations", 2, "--horizon", 0)
    endpoint = {"AZURE_OPENAI_ENDPOINT": stub_server.url, "AZURE_OPENAI_API_KEY": OTHER, "no_proxy": "*"}
    output = run(
        "mctsdialog", "search", "gold.json", *few, "--model", "azure/mine", "--price", "azure/mine=1:2", **endpoint
    )
    assert {headers.get("api-key") for headers in stub_server.headers} == {OTHER}
    assert keys(stub_server) == {None}
    assert {body["model"] for body in stub_server.requests} == {"mine"}
    assert "cost 0." in output
    summary = json.loads((tmp_path / "mctsdialog-output" / "summary.json").read_text())
    assert {row["role"] for row in summary["costs"]} == {"seeker", "supporter", "strategist", "judge"}
    assert sum(row["calls"] for row in summary["costs"]) == summary["calls"] == len(stub_server.requests)
    assert sum(row["money"] for row in summary["costs"]) == pytest.approx(summary["money"])
    assert sum(row["cached_tokens"] for row in summary["costs"]) == 40 * summary["calls"]


def test_a_name_with_a_slash_is_the_main_servers_own(search, stub_server):
    search("--seeker-model", "anthropic/claude")
    assert {body["model"] for body in stub_server.requests} == {"m", "anthropic/claude"}


@pytest.mark.parametrize(
    ("model", "given", "variable", "address"),
    [
        ("groq/llama-3.3-70b", (), "GROQ_API_KEY", "https://api.groq.com/openai/v1"),
        ("groq/llama-3.3-70b", ("MINE",), "MINE", "https://api.groq.com/openai/v1"),
        ("openrouter/anthropic/claude", (), "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
        ("ollama/qwen3:4b", (), None, "http://localhost:11434/v1"),
        ("llama", (), "OPENAI_API_KEY", "https://api.openai.com/v1"),
    ],
)
def test_a_providers_address_and_key(model, given, variable, address, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if variable is not None:
        monkeypatch.delenv(variable, raising=False)
        with pytest.raises(ConfigError, match=variable):
            Servers.of(None, given, option="--server", model=model).chat(model)
        monkeypatch.setenv(variable, MAIN)
    assert address in repr(Servers.of(None, given, option="--server", model=model).chat(model))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"headers": ("X-Key=sk-not a name",)}, "headers"),
        ({"headers": ("X-Key: sk-not",)}, "headers"),
        ({"headers": ("X Key=NAME",)}, "headers"),
        ({"extras": ("[1]",)}, "extra"),
        ({"extras": ("{top_k: 5}",)}, "extra"),
        ({"extras": ("http://b.example/v1",)}, "extra"),
    ],
)
def test_a_malformed_header_or_parameter_is_told(options, field):
    with pytest.raises(ConfigError) as caught:
        Servers.of("http://a.example/v1", (), option="--server", **options)
    assert caught.value.field == field
    assert "sk-not" not in str(caught.value)


def test_a_header_whose_variable_is_not_set_is_told(monkeypatch):
    monkeypatch.delenv("ABSENT", raising=False)
    servers = Servers.of("http://a.example/v1", (), option="--server", headers=("X-Team=ABSENT",))
    with pytest.raises(ConfigError, match="set the environment variable ABSENT"):
        servers.chat("m")
    assert servers.chat("m", silent=True)


def test_headers_and_parameters_without_a_server_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gold.json").write_text(mctsdialog.dialogue.sample_dialogues_text())
    done = CliRunner().invoke(main, ["search", "gold.json", "--extra", '{"top_k": 5}'])
    assert (done.exit_code, "--header and --extra are for models at a server" in done.output) == (2, True)
