"""``mctsdialog show --calls``: every call of a run is found behind a node, and nothing that was not one."""

import json
import re
import shutil
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

import mctsdialog
from mctsdialog._search import SearchConfig
from mctsdialog._search.calls import RecordedRoles, questions_behind
from mctsdialog.cli import main
from mctsdialog.llm import Completion, ResponseCache, ScriptedModel, build_stack

OLD = Path(__file__).resolve().parents[1] / "fixtures" / "v0.1" / "search" / "finished"


def invoke(*words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.output


def scores(request):
    best = next(iter(request.schema["properties"].values()))["maximum"]
    return json.dumps({name: (at + 1) % (best + 1) for at, name in enumerate(request.schema["required"])})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A searched dialogue, and what the model was asked. Some of the judge's first replies cannot be used."""
    out = tmp_path_factory.mktemp("made")

    def reply(request):
        text = request.messages[-1].content
        if request.schema is None:
            return f"Reply {len(text)} to {len(request.messages)} messages."
        bad = "empathy" in request.schema["required"] and len(request.messages) == 2 and len(text) % 2
        return "I would rather not." if bad else scores(request)

    async def grow():
        model = ScriptedModel(reply, name="stub")
        with ResponseCache(out / "cache") as cache:
            roles = mctsdialog.Roles.from_model(build_stack(model, cache=cache))
            config = SearchConfig(max_iterations=8, min_iterations=8, horizon=2)
            dialogues = list(mctsdialog.sample_dialogues())[:1]
            report = await mctsdialog.search_corpus(dialogues, lambda dialogue: roles, config, out=out, concurrency=1)
        assert report.complete, report.failures
        return model.requests

    return out, anyio.run(grow)


@pytest.fixture
def run(made, tmp_path):
    """The folder of the run, to change."""
    return shutil.copytree(made[0], tmp_path / "out")


def tree_of(run):
    (file,) = (run / "trees").glob("*.json")
    return file


def found_behind(tree, cache, nodes=None, **known):
    """What is found for all nodes, or some."""

    async def find():
        roles = RecordedRoles(tree, cache)
        return [
            await roles.find(question) for node in nodes or tree for question in questions_behind(tree, node, **known)
        ]

    return anyio.run(find)


def test_every_call_of_a_run_is_behind_a_node_and_no_other(run, made):
    tree = mctsdialog.load_tree(tree_of(run))
    with ResponseCache(run / "cache", mode="read-only") as cache:
        found = found_behind(tree, cache, opened=False)
    assert {each.problem for each in found} == {""}
    assert {each.fit for each in found} == {"same"}
    asked = {exchange.request.messages for one in found for exchange in one.exchanges}
    sent = {request.messages for request in made[1]}
    assert asked == sent
    assert any(len(each.exchanges) == 2 for each in found)


def test_a_node_is_shown_with_its_calls(run):
    tree = mctsdialog.load_tree(tree_of(run))
    node = next(each for each in tree if each.type == "expanded" and each.rollout is not None and each.rollout.steps)
    code, output = invoke("show", tree_of(run), "--calls", "--node", node.id, "--price", "stub=1000:2000")
    assert code == 0
    for text in (
        "Supporter: its turn", "Seeker: the answer to it", "Judge: its turn", "Supporter: round 1 of its rollout",
        "journal: generated as the best child in trial", "tokens read", "money",
        node.supporter, "You judge", "as it stands in the tree",
    ):  # fmt: skip
        assert text in output
    assert "no reply" not in output
    whole = invoke("show", tree_of(run), "--calls", "--node", node.id, "--full")[1]
    assert len(whole) > 2 * len(output)


def test_gold_turns_were_asked_of_nobody(run):
    tree = mctsdialog.load_tree(tree_of(run))
    ends = [node for node in tree if node.type == "end" and node.gold and node.visits == tree.config["gold_visits"]]
    assert not any(questions_behind(tree, node) for node in ends)
    gold = next(node for node in tree if node.type == "expanded" and node.gold)
    assert {question.role for question in questions_behind(tree, gold)} == {"strategist"}


def changed(run, edit):
    """The tree's file with a change."""
    data = json.loads(tree_of(run).read_text())
    edit(data)
    tree_of(run).write_text(json.dumps(data))
    return tree_of(run)


def first_spoken(data):
    return next(node for node in data["nodes"] if node["type"] == "expanded" and not node["gold"])


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda data: data["roles"]["supporter"].update(template="0" * 12), "asks otherwise than the tree's did"),
        (lambda data: data["roles"]["supporter"].update(model="another"), "the cache holds no reply to this request"),
        (lambda data: data["roles"]["supporter"]["sampling"].update(temperature=0.1), "the cache holds no reply"),
        (lambda data: data["roles"]["supporter"]["sampling"].update(temperature=-1), "replies of this role were drawn"),
        (lambda data: data["roles"]["supporter"]["sampling"].update(mood=1), "how the replies of this role were drawn"),
        (lambda data: data["roles"]["supporter"].update(model=[]), "does not say which model"),
        (lambda data: data["roles"]["supporter"].update(prompts=[]), "asks otherwise than the tree's did (prompts)"),
        (lambda data: data["roles"].update(supporter=None), "does not say which model"),
        (lambda data: data.update(roles={}), "does not say which model"),
        (lambda data: first_spoken(data).update(supporter="Never said."), "NOT what the tree has"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said_and_never_made_up(run, edit, reason):
    node = first_spoken(json.loads(tree_of(run).read_text()))["id"]
    code, output = invoke("show", changed(run, edit), "--calls", "--node", node)
    assert code == 0
    first = output.split("Supporter: its turn\n")[1].split("\n\n")[0]
    assert reason in first
    assert ("reply       " in first) == ("NOT" in reason)


@pytest.mark.parametrize(
    "known", [{"samples": 10**9}, {"samples": "x"}, {"samples": 2}, {"scoring": []}, {"scoring": "x"}]
)
def test_a_judge_that_cannot_have_been_asked_so(run, known):
    """A hostile tree starts no thousand million questions, and ends in no other error."""
    node = next(each for each in json.loads(tree_of(run).read_text())["nodes"] if each.get("rollout"))["id"]
    code, output = invoke(
        "show", changed(run, lambda data: data["roles"]["judge"].update(known)), "--calls", "--node", node
    )
    assert code == 0
    assert "the tree does not say how the judge was asked" in output
    assert "as it stands in the tree" in output  # the other roles


def test_a_closed_branch_shows_the_refusals(tmp_path, domain, scenario):
    def reply(request):
        if request.role == "supporter" and "Comfort" in request.messages[-1].content:
            return Completion("I cannot help with that.", "refusal")
        if request.schema is None:
            return f"Reply to {len(request.messages)} messages."
        return scores(request)

    async def grow():
        with ResponseCache(tmp_path / "cache") as cache:
            roles = mctsdialog.Roles.from_model(build_stack(ScriptedModel(reply), cache=cache), domain=domain)
            config = SearchConfig(max_iterations=6, min_iterations=6, horizon=0)
            return await mctsdialog.search(scenario, roles, config)

    tree = anyio.run(grow)
    file = tmp_path / "trees" / "tree.json"
    mctsdialog.save_tree(tree, file)
    closed = next(node for node in tree if node.closed is not None)
    output = invoke("show", file, "--calls", "--node", closed.id)[1]
    assert output.count("I cannot help with that. (refused)") == 3
    assert "of no use" in output
    assert "no reply to" not in output


def test_a_tree_without_its_run(run, tmp_path):
    alone = shutil.copy(tree_of(run), tmp_path / "alone.json")
    node = first_spoken(json.loads(tree_of(run).read_text()))["id"]
    output = invoke("show", alone, "--calls", "--node", node)[1]
    assert "cache: none in" in output
    assert "journal: none beside the tree" in output
    assert "no reply    no cache" in output
    assert "as it stands" in invoke("show", alone, "--calls", "--node", node, "--cache", run / "cache")[1]
    assert invoke("show", alone, "--calls", "--node", node, "--cache", tmp_path)[0] == 2
    assert invoke("show", alone, "--calls", "--node", 10**6)[0] == 2


def test_showing_changes_nothing(run):
    def content():
        return {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and "-shm" not in file.name
                and "-wal" not in file.name}  # fmt: skip

    before = content()
    for node in range(12):
        assert invoke("show", tree_of(run), "--calls", "--node", node)[0] == 0
    assert content() == before


def test_a_run_of_version_01(tmp_path):
    """Its cache and its trees go together as they did."""
    folder = shutil.copytree(OLD, tmp_path / "old")
    with ResponseCache(folder / "cache", mode="read-only") as cache:
        for file in sorted((folder / "trees").glob("*.json")):
            found = found_behind(mctsdialog.load_tree(file), cache, opened=False)
            assert found
            assert {(each.fit, each.problem) for each in found} == {("same", "")}


def test_an_opening_that_the_seeker_spoke(tmp_path, domain, scenario):
    """With the journal it is known that the root's turn was asked for; without, the cache is asked."""

    def reply(request):
        return f"Reply to {len(request.messages)} messages." if request.schema is None else scores(request)

    async def grow():
        with ResponseCache(tmp_path / "cache") as cache:
            roles = mctsdialog.Roles.from_model(build_stack(ScriptedModel(reply), cache=cache), domain=domain)
            config = SearchConfig(max_iterations=3, min_iterations=3, horizon=1)
            return await mctsdialog.search(scenario, roles, config, journal=tmp_path / "journals" / "tree.jsonl")

    file = tmp_path / "trees" / "tree.json"
    mctsdialog.save_tree(anyio.run(grow), file)
    for journal in (True, False):
        output = invoke("show", file, "--calls")[1]
        assert "Seeker: the opening" in output
        assert output.count("as it stands in the tree") == 2
        assert ("expanded in trial 0" in output) == journal
        shutil.rmtree(tmp_path / "journals", ignore_errors=True)


def test_a_journal_that_is_none_is_an_error(run):
    (journal,) = (run / "journals").glob("*.jsonl")
    journal.write_text("no journal\n")
    code, output = invoke("show", tree_of(run), "--calls")
    assert code == 2
    assert "is not a journal" in output


# -- in the viewer ----------------------------------------------------------------------------------------------------


def page_data(file):
    return json.loads(re.search(r'id="data">(.*?)</script>', file.read_text("utf-8"), re.DOTALL)[1])


def test_a_page_has_the_calls_behind_its_nodes(run, made):
    (file,) = (run / "trees").glob("*.json")
    for words in ((file,), (run,)):
        code, output = invoke("view", *words, "--calls")
        assert code == 0, output
        data = page_data(file.with_suffix(".html"))
        asked = [request.messages for request in made[1]]
        for node, calls in data["calls"]:
            assert calls, node
            for call in calls:
                prompt = [tuple(data["messages"][at]) for at in call["prompt"]]
                assert prompt in [[(each.role, each.content) for each in messages] for messages in asked]
                assert call["model"] == "stub"
        assert len({tuple(each) for each in data["messages"]}) == len(data["messages"]), "each is there once"
    assert invoke("view", file)[0] == 0
    assert "calls" not in page_data(file.with_suffix(".html"))


def test_a_page_with_calls_needs_a_cache(run):
    shutil.rmtree(run / "cache")
    (file,) = (run / "trees").glob("*.json")
    code, output = invoke("view", file, "--calls")
    assert (code, "holds no cache of replies; name one with --cache" in output) == (2, True)
