"""Journals of version 0.1: resumed, each ends in its tree, and only the calls that it lacks are made."""

import json
from pathlib import Path

import anyio
import pytest

import mctsdialog
from mctsdialog import Roles, Scenario, ScriptedModel, SearchConfig
from mctsdialog.preferences import PreferenceConfig, probe_siblings, random_record
from mctsdialog.tree import tree_to_document
from mctsdialog.worlds import World

pytestmark = pytest.mark.timeout(60)
SEARCHES = ("gold", "supporter-first", "scenario", "world", "deterministic", "parallel")
WORLD = World(seed=3, rounds=3)
LOOSE = PreferenceConfig(theta=0.4, min_visits=1)


def raw_nodes(name):
    """The nodes in a tree's file."""
    return json.loads(Path(f"trees/{name}.json").read_text("utf-8"))["nodes"]


@pytest.fixture
def domain(take):
    """The fixtures' domain, and what is needed beside it."""
    take("domain.json", "dialogues.jsonl", "trees", "journals")
    return mctsdialog.load_domain("domain.json")


@pytest.fixture
def dialogues(domain):
    """The gold dialogues, by id."""
    return {each.id: each for each in mctsdialog.read_dialogues("dialogues.jsonl", domain=domain)}


def test_the_dialogues_read_back(dialogues, holds):
    rows = [json.loads(line) for line in Path("dialogues.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == len(dialogues) == 3
    for row, dialogue in zip(rows, dialogues.values(), strict=True):
        turns = [{key: value for key, value in vars_of(turn).items() if value} for turn in dialogue.turns]
        holds({**dialogue.model_dump(), "domain": "kept", "turns": turns}, row)


def vars_of(turn):
    return {"speaker": turn.speaker, "text": turn.text, "strategy": turn.strategy}


@pytest.fixture
def begin(domain, dialogues, players):
    """What is searched, the roles, and a list of their calls, by the fixture's name."""

    def begin(name):
        if name == "world":
            roles, calls = players.noted_roles(WORLD.roles())
            return WORLD.scenario(1), roles, lambda: calls
        if name == "scenario":
            plain = players.PlainRoles()
            start = Scenario(scene="Work", description="Too much of it.", id="scenario", source="fixtures")
            return start, Roles(plain, plain, plain, plain, domain=domain), lambda: plain.calls
        model = ScriptedModel(players.scripted, name="scripted")
        start = dialogues["exam/2" if name == "supporter-first" else "work"]
        roles = Roles.from_model(model, domain=domain)
        return start, roles, lambda: [players.mark(players.asked(each)) for each in model.requests]

    return begin


def resume(start, roles, settings, journal):
    return anyio.run(lambda: mctsdialog.search(start, roles, SearchConfig(**settings), journal=journal))


@pytest.mark.parametrize("name", SEARCHES)
def test_a_whole_journal_gives_its_tree_without_a_call(begin, expected, holds, name):
    start, roles, calls = begin(name)
    known = expected["journals"][name]
    before = Path(f"journals/{name}.jsonl").read_bytes()
    tree = resume(start, roles, known["config"], f"journals/{name}.jsonl")
    assert calls() == []
    holds(tree_to_document(tree)["nodes"], raw_nodes(known["tree"]))
    assert tree.stop_reason == "max_iterations"
    assert Path(f"journals/{name}.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", SEARCHES)
def test_a_torn_journal_is_resumed_to_the_same_tree_by_the_missing_calls_alone(begin, expected, holds, name):
    start, roles, calls = begin(name)
    known = expected["journals"][name]
    assert 0 < len(known["missing"]) < known["calls"]
    tree = resume(start, roles, known["resume"], f"journals/{name}-half.jsonl")
    assert sorted(calls()) == known["missing"]
    holds(tree_to_document(tree)["nodes"], raw_nodes(known["resumed_tree"]))
    tree.check()
    again, roles, calls = begin(name)
    resume(again, roles, known["resume"], f"journals/{name}-half.jsonl")
    assert calls() == []


def test_what_version_0_1_began_goes_on_with_its_prompts_and_all_else_with_new_ones(begin, expected):
    """The requests of a resumed journal have the stop of version 0.1, its tree the provenance of its header."""
    requests = []
    for journal in ("gold-half", "new"):
        start, roles, _ = begin("gold")
        tree = resume(start, roles, expected["journals"]["gold"]["resume"], f"journals/{journal}.jsonl")
        header = json.loads(Path(f"journals/{journal}.jsonl").read_bytes().split(b"\n")[0])["record"]
        assert header["roles"] == json.loads(json.dumps(tree_to_document(tree)["roles"]))
        requests.append((header.get("prompts"), tree.roles["judge"].get("prompts"), roles.seeker.model.requests))
    (old, old_judge, before), (new, new_judge, now) = requests
    assert (old, old_judge, new, new_judge) == (None, None, 2, 2)
    assert {each.sampling.stop for each in before if each.schema is None} == {("\n\n",)}
    assert {each.sampling.stop for each in now} == {()}
    assert ({each.prompt_version for each in before}, {each.prompt_version for each in now}) == ({1}, {2})


def test_the_journals_have_records_of_every_kind(take):
    take("journals")
    kinds = set()
    for path in Path("journals").glob("*.jsonl"):
        whole = path.read_bytes().split(b"\n")[:-1]
        kinds |= {json.loads(line)["record"].get("type") for line in whole[1:]}
    assert kinds == {"opening", "gold", "trial", "growth", "reply"}


@pytest.fixture
def helpers(domain, players):
    """Roles as a command had them on the model "stub", and that model."""
    model = ScriptedModel(lambda request: players.answer("stub", players.asked(request), request.schema), name="stub")
    return Roles.from_model(model, domain=domain), model


def test_a_journal_of_probes_gives_the_probed_tree_without_a_call(helpers, holds):
    roles, model = helpers
    tree = mctsdialog.load_tree("trees/gold.json")
    options = {"max_per_turn": 2, "journal": "journals/gold.siblings.jsonl"}
    done = anyio.run(lambda: probe_siblings(tree, roles, LOOSE, **options))
    assert model.calls == 0
    assert done.asked == done.done == done.replayed > 1
    holds(tree_to_document(tree)["nodes"], raw_nodes("probes"))


def test_a_journal_of_random_replies_gives_the_record_without_a_call(helpers, take, holds, lines):
    roles, model = helpers
    take("preferences/random")
    tree = mctsdialog.load_tree("trees/gold.json")
    journal = "journals/gold.random.jsonl"
    record, done = anyio.run(lambda: random_record(tree, roles, LOOSE, journal=journal))
    assert model.calls == 0
    assert done.asked == done.replayed > 1
    holds(record.to_dict(), lines("preferences/random/tree/train.jsonl")[0])
