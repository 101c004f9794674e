"""``python -m cso_train arena``: its file, its folder, and what it prints."""

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cso_train.arena._config import ArenaConfig, WorldPart, read_arena
from cso_train.cli import main
from cso_train.evaluation.protocols import PROTOCOLS
from mctsdialog import read_dialogues

WORLD = {
    "world": {"seed": 7},
    "cards": 4,
    "rounds": 3,
    "resamples": 20,
    "systems": {
        "best": {"kind": "policy"},
        "half": {"kind": "policy", "slip": 0.5},
        "search": {"kind": "plan", "calls": 12},
        "script": {"kind": "script", "lines": ["I hear you."], "strategy": "Affirmation"},
    },
}
MODELS = {
    "seeker": {"model": "seeker"},
    "judges": {"one": {"model": "judge"}, "two": {"model": "other"}},
    "limit": 2,
    "rounds": 2,
    "resamples": 10,
    "systems": {
        "base": {"kind": "model", "model": "base"},
        "plan": {"kind": "plan", "model": "base", "calls": 12},
        "script": {"kind": "script", "lines": ["I hear you."]},
    },
}


@pytest.fixture
def arena(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "")

    def run(config, *words):
        text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
        (tmp_path / "arena.yaml").write_text(text, "utf-8")
        done = CliRunner().invoke(main, ["arena", "arena.yaml", "--no-figures", *words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done

    return run


def says(body, number):
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return f"(Affirmation) Reply {len(str(body))}."
    if "says" in schema["properties"]:
        return json.dumps({"thought": "Hm.", "emotion": 40, "need_met": 10, "says": "It is hard."})
    return json.dumps(
        {n: of["enum"][0] if "enum" in of else of["maximum"] // 2 for n, of in schema["properties"].items()}
    )


def test_an_arena_in_a_world_needs_no_model(arena, tmp_path):
    done = arena(WORLD)
    assert done.exit_code == 0, done.output
    assert "## True worth" in done.output
    assert "Exploration, Insight, Action" in done.output
    folder = tmp_path / "arena"
    report = json.loads((folder / "arena.json").read_text("utf-8"))
    assert report["conversations"] == 16
    assert (folder / "arena.md").read_text("utf-8") in done.output
    assert "toprule" in (folder / "arena.tex").read_text("utf-8")
    assert len(read_dialogues(folder / "transcripts" / "best.jsonl")) == 4
    again = arena(WORLD)
    assert json.loads((folder / "arena.json").read_text("utf-8")) == report
    assert "0 conversations and judgements were there already" in done.output
    assert "0 conversations and judgements were there already" not in again.output


def test_an_arena_of_models_asks_nothing_twice(arena, stub_server, tmp_path):
    stub_server.reply = says
    done = arena(MODELS, "--server", stub_server.url)
    assert done.exit_code == 0, done.output
    calls = len(stub_server.requests)
    assert f"{calls} calls" in done.output
    assert {body["model"] for body in stub_server.requests} == {"base", "seeker", "judge", "other"}
    again = arena(MODELS, "--server", stub_server.url)
    assert len(stub_server.requests) == calls
    assert again.exit_code == 0
    (tmp_path / "arena" / "arena.journal").unlink()
    arena(MODELS, "--server", stub_server.url)
    assert len(stub_server.requests) == calls, "replies are in the cache, too"
    more = {**MODELS, "systems": {**MODELS["systems"], "another": {"kind": "script", "lines": ["Go on."]}}}
    arena(more, "--server", stub_server.url)
    added = stub_server.requests[calls:]
    assert added
    assert not [body for body in added if body["model"] == "base"]


def test_a_worse_seeker_is_another_seeker(arena, stub_server):
    stub_server.reply = says
    config = {**MODELS, "protocols": ["interactive"], "judges": {}}
    arena(config, "--server", stub_server.url)
    calls = len(stub_server.requests)
    arena({**config, "seeker": {"model": "seeker", "setting": "worst"}}, "--server", stub_server.url)
    assert len(stub_server.requests) > calls
    assert "Your mood swings" in str(stub_server.requests[-1])


def test_a_budget_stops_an_arena_and_the_report_says_so(arena, stub_server):
    stub_server.reply = says
    done = arena({**MODELS, "budget": {"calls": 10}}, "--server", stub_server.url)
    assert done.exit_code == 1
    assert "Stopped early (budget: calls)" in done.output
    assert "raise the budget" in done.output
    assert len(stub_server.requests) == 10
    done = arena(MODELS, "--server", stub_server.url)
    assert done.exit_code == 0, done.output


def test_seekers_of_no_use_fail_the_command_after_the_report(arena, stub_server):
    stub_server.reply = lambda body, number: "no JSON"
    done = arena(MODELS, "--server", stub_server.url)
    assert done.exit_code == 1
    assert "no conversation can be scored" in done.output
    assert "failed: seeker" in done.output
    assert "Why conversations failed:" in done.output
    assert re.search(r"- 6 × seeker: .*JSON", done.output)  # 3 systems with 2 cards


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a mapping"),
        ("- 1", "must be a mapping"),
        ("a: [", "not YAML"),
        ("systems: {}\nworld: {}", "systems"),
        ("world: {}\nsystems:\n  a: {kind: policy}\n  a: {kind: policy}", ":4: systems.a stands here and in line 3"),
        ("world: {}\nsystems: {a: {kind: policy, slip: 2}}", ":2: systems.a.slip"),
        ("world: {}\nsystems: {a: {kind: policy, colour: 2}}", "systems.a"),
        ("world: {}\nsystems: {a: {kind: dance}}", ":2: systems.a"),
        ("world: {}\nsystems: {a: {kind: policy, policy: good}}", "policy must be one of"),
        ("world: {}\nsystems: {a: {kind: plan, calls: 1}}", "one trial can take"),
        ("world: {}\nsystems: {a: {kind: plan, algorithm: none}}", "algorithm"),
        ("world: {}\nsystems: {a: {kind: model, model: x}}\njudges: {j: {model: x}}", "leave seeker and judges out"),
        ("systems: {a: {kind: policy}}\nseeker: {model: x}", "there is no world"),
        ("systems: {a: {kind: script, lines: [x]}}", "seeker is missing"),
        ("systems: {a: {kind: script, lines: [x]}}\nseeker: {model: x}", "needs judges"),
        ("systems: {a: {kind: plan}}\nseeker: {model: x}", "needs a model"),
        ("systems: {a: {kind: script, lines: []}}\nseeker: {model: x}", "lines"),
        ("systems: &x {a: {kind: policy}}\nworld: *x", "an alias"),
        ("world: {}\nsystems: {a: {kind: policy}}\nprotocols: [sage]", "there is no protocol"),
        ("world: {}\nsystems: {a: {kind: policy}}\nprotocols: [eia, eia]", "twice"),
        ("world: {}\nsystems: {a: {kind: policy}}\ncards: none.jsonl", "how many"),
        ("seeker: {model: x}\nsystems: {a: {kind: script, lines: [x]}}\ncards: none.jsonl\nprotocols: [interactive]",
         "none.jsonl: cannot be read"),
        ("world: {}\nsystems: {a: {kind: policy}}\nrepeats: 0", ":3: repeats"),
        ("world: {}\nsystems: {a: {kind: policy}}\nconcurrency: many", ":3: concurrency"),
        ("world: {}\nsystems: {a: {kind: policy}}\nseed: " + "9" * 40, "64 bits"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_one_line_that_names_the_place(arena, text, said):
    done = arena(text)
    assert done.exit_code == 2, done.output
    errors = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in done.output


def documented():
    page = (Path(__file__).parents[2] / "docs" / "arena.md").read_text("utf-8")
    return re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)


@pytest.mark.parametrize("text", documented())
def test_the_files_of_the_documentation_are_sound(tmp_path, text):
    (tmp_path / "arena.yaml").write_text(text, "utf-8")
    assert read_arena(tmp_path / "arena.yaml").systems


def test_the_documentation_names_every_setting_and_kind():
    page = (Path(__file__).parents[2] / "docs" / "arena.md").read_text("utf-8")
    for name in (*ArenaConfig.model_fields, *WorldPart.model_fields, *PROTOCOLS, "adapter", "plan", "policy", "script"):
        assert f"`{name}`" in page, name


def test_cards_of_another_domain_are_refused(arena, tmp_path):
    card = {"id": "a", "domain": "mi", "persona": "x", "background": "x", "goal": "x", "hidden_need": "x"}
    (tmp_path / "cards.jsonl").write_text(json.dumps(card), "utf-8")
    done = arena({**MODELS, "cards": "cards.jsonl"}, "--server", "http://127.0.0.1:1/v1")
    assert done.exit_code == 2
    assert "is of domain 'mi', the arena of esc" in done.output


@pytest.mark.timeout(240)
def test_a_trained_model_is_loaded_and_talks(arena, stub_server, tiny_folder, tmp_path):
    stub_server.reply = says
    system = {"kind": "adapter", "base": str(tiny_folder), "max_tokens": 12}
    config = {**MODELS, "systems": {"tiny": system, "script": MODELS["systems"]["script"]}, "rounds": 1}
    done = arena(config, "--server", stub_server.url)
    assert done.exit_code == 0, done.output
    calls = len(stub_server.requests)
    lines = (tmp_path / "arena" / "transcripts" / "states.jsonl").read_text("utf-8").splitlines()
    assert len([line for line in lines if json.loads(line)["system"] == "tiny"]) == 2
    (tmp_path / "arena" / "arena.journal").unlink()
    arena(config, "--server", stub_server.url)
    assert len(stub_server.requests) == calls
