"""What a newcomer types in the first hour gives what was meant, or one error that says what to do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

import cso_train
import mctsdialog as m
from cso_train import methods
from cso_train.evaluation import preference_bias
from mctsdialog.cli.keys import Servers
from mctsdialog.errors import (
    ConfigError,
    DataError,
    DialogueError,
    JournalMismatchError,
    MctsDialogError,
    TreeError,
)
from mctsdialog.tree import tree_to_document

pytestmark = pytest.mark.timeout(60)

KEY = "sk-0123456789abcdef"


@pytest.fixture
def openai_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("grok/llama", "did you mean groq/llama?"),
        ("Groq/llama", "did you mean groq/llama?"),
        ("antropic/claude", "did you mean anthropic/claude?"),
        ("meta-llama/Llama-3", "there are anthropic, azure"),
        ("/llama", "there are anthropic, azure"),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda name: m.llm.chat_model(name, api_key="gsk-mine-0123456789"),
        m.llm.chat_model,
        lambda name: m.OpenAIChat(name, api_key="gsk-mine-0123456789"),
        m.Roles.from_model,
        lambda name: m.Roles.from_model(m.ScriptedModel([]), models={"judge": name}),
        lambda name: Servers.of(None, (), option="--base-url", model=name).chat(name),
    ],
)
def test_no_key_goes_to_openai_for_a_provider_that_is_misspelt(make, name, hint, openai_key):
    with pytest.raises(ConfigError) as caught:
        make(name)
    assert hint in str(caught.value)
    assert name in str(caught.value)
    assert "gsk-mine" not in str(caught.value)


def test_a_known_providers_model_needs_its_client(openai_key):
    with pytest.raises(ConfigError, match=r"chat_model\('groq/llama'\) calls groq"):
        m.OpenAIChat("groq/llama")


def test_a_name_with_a_slash_is_whole_at_an_address_of_its_own(openai_key):
    assert m.OpenAIChat("meta-llama/Llama-3", base_url="http://localhost:1/v1").model == "meta-llama/Llama-3"
    assert m.llm.chat_model("openrouter/grok/x", api_key="or-0123456789").model == "grok/x"


def test_openai_is_not_called_without_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="gpt-4o-mini: set OPENAI_API_KEY to your key, give api_key="):
        m.OpenAIChat("gpt-4o-mini")
    with pytest.raises(ConfigError, match="ABSENT"):
        m.OpenAIChat("gpt-4o-mini", api_key_env="ABSENT")
    assert m.OpenAIChat("gpt-4o-mini", api_key="").model == "gpt-4o-mini"
    assert m.OpenAIChat("gpt-4o-mini", base_url="http://localhost:1/v1").model == "gpt-4o-mini"


WORLD = m.worlds.World(7, rounds=2)
CONFIG = m.SearchConfig(max_iterations=40, horizon=2)


class OwnRole:
    """A role of a caller's own that does as one of the world's."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        if name in ("for_scenario", "for_prompts", "provenance"):
            raise AttributeError(name)
        return getattr(self.inner, name)


class OtherRole(OwnRole):
    pass


def own_roles(judge=OwnRole, **more):
    roles = WORLD.roles().bind(WORLD.scenario(0))
    kinds = {"seeker": OwnRole, "supporter": OwnRole, "strategist": OwnRole, "judge": judge}
    return m.Roles(**{name: kind(getattr(roles, name)) for name, kind in kinds.items()}, domain=WORLD.domain, **more)


def to_values(tree):
    return tree_to_document(tree)


def journaled(roles, path):
    return m.run(m.search(WORLD.scenario(0), roles, CONFIG, journal=path))


@pytest.mark.parametrize(
    "other",
    [
        lambda: own_roles(judge=OtherRole),
        lambda: replace(own_roles(), judge=OtherRole(WORLD.roles().judge)),
        lambda: own_roles(provenance={"judge": {"class": "OwnRole", "level": 3}}),
        lambda: m.Roles.from_model(m.ScriptedModel([]), domain=WORLD.domain),
        lambda: replace(WORLD.roles(), judge=OtherRole(WORLD.roles().judge)),
    ],
)
def test_a_journal_of_other_own_roles_is_refused(other, tmp_path):
    path = tmp_path / "journal.jsonl"
    tree = journaled(own_roles(), path)
    assert tree.roles["judge"] == {"class": "OwnRole"}
    assert to_values(journaled(own_roles(), path)) == to_values(tree)
    with pytest.raises(JournalMismatchError, match="roles"):
        journaled(other(), path)


def test_a_role_that_replaces_an_llms_is_not_taken_for_it():
    roles = m.Roles.from_model(m.ScriptedModel([]))
    mixed = replace(roles, judge=OwnRole(WORLD.roles().judge))
    assert mixed.provenance == {**roles.provenance, "judge": {"class": "OwnRole"}}
    other = replace(roles, judge=m.roles.LLMJudge(m.ScriptedModel([], name="other"), m.get_domain("esc")))
    assert other.provenance["judge"]["model"] == "other"


TREE = m.run(m.search(WORLD.scenario(0), WORLD.roles(), CONFIG))
DATA = m.PreferenceDataset.from_trees([TREE], m.preferences.PreferenceConfig(theta=-1.6, min_visits=0))
MODEL = m.ScriptedModel(lambda request: "Hello.")
MESSAGES = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "I cannot sleep."},
    {"role": "assistant", "content": "Since when?", "strategy": "Clarification"},
    {"role": "user", "content": "Since May."},
]


def search(**given):
    return m.run(m.search(**{"start": WORLD.scenario(0), "roles": WORLD.roles(), "config": CONFIG} | given))


# -- results that would be wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [[[1, 2, 3], [1, 2]], [[1, 2]], ["xy", "xy"], [[1, "a"], [1, 1]], [[1, -1], [1, 1]]])
def test_a_bias_needs_a_square_of_counts(wrong):
    with pytest.raises(ConfigError, match="confusion"):
        preference_bias(wrong)


class AsyncCall:
    async def __call__(self, tree):
        raise AssertionError("never")


async def async_progress(tree):
    raise AssertionError("never")


@pytest.mark.parametrize("wrong", [async_progress, AsyncCall()])
def test_an_async_callback_that_nobody_would_await_is_refused(wrong, tmp_path):
    with pytest.raises(ConfigError, match=r"on_progress must be a function or None, .* must not be async"):
        search(on_progress=wrong)
    with pytest.raises(ConfigError, match=r"on_tree must be .* must not be async"):
        m.run(m.search_corpus([WORLD.scenario(0)], WORLD.roles(), CONFIG, out=tmp_path, on_tree=wrong))


def test_a_dataset_without_pairs_says_why(tmp_path, caplog):
    empty = m.PreferenceDataset.from_trees([TREE], m.preferences.PreferenceConfig(theta=0.9, min_visits=50))
    m.write_dataset({"train": empty}, tmp_path / "whole")
    assert "there are no pairs in this dataset; 1 trees, 0 with a valid path" in caplog.text
    assert "more paths are valid at a theta below 0.9" in caplog.text
    few = m.PreferenceDataset.from_trees(
        [TREE], m.preferences.PreferenceConfig(theta=-1.0, min_margin=99.0, path_rule="end")
    )
    m.write_dataset({"train": few}, tmp_path / "few")
    assert "a min_margin below 99 keeps more of them" in caplog.text
    every = m.PreferenceDataset.from_trees([TREE], m.preferences.PreferenceConfig(theta=-3.0, min_visits=0))
    assert not list(every.pairs())
    m.write_dataset({"train": every}, tmp_path / "every")
    assert "more replies are rejected at a theta above -3" in caplog.text
    m.write_dataset({"train": m.PreferenceDataset((), WORLD.domain, DATA.config)}, tmp_path / "part")
    assert "print(dataset.report)" in caplog.text
    caplog.clear()
    m.write_dataset({"train": empty}, tmp_path / "sft", formats=("sft",))
    assert not caplog.text


def test_a_file_of_which_no_dialogue_is_kept_says_so(caplog):
    report = m.dialogue.ReadReport(items=3, dialogues_dropped={"no turns": 3})
    found = m.dialogue.DialogueSet((), WORLD.domain, report)
    assert "3 of 3 left out, see .report" in repr(found)
    assert "no dialogue was read: 0 of 3 dialogues kept; dialogues dropped: 3; 3 x no turns" in caplog.text


def test_the_best_child_was_visited():
    best = TREE.best_child()
    assert best.visits == max(child.visits for child in TREE.children(TREE.root)) > 0
    assert TREE.best_child(0) is TREE.best_child(TREE.root) is best
    unvisited = next(node for node in TREE if not node.visits and node.type == "unexpanded")
    assert TREE.best_child(unvisited) is None


def test_nodes_and_ids_are_taken_alike():
    tree = m.tree.document_to_tree(json.dumps(tree_to_document(TREE)))
    node = tree.best_child()
    for ask in (tree.children, tree.path, tree.history, tree.depth, tree.parent, tree.best_child):
        assert ask(node) == ask(node.id)
    assert list(tree.walk(node)) == list(tree.walk(node.id))
    assert tree_to_document(tree.subtree(node)) == tree_to_document(tree.subtree(node.id))
    leaf = next(each for each in tree if each.type == "unexpanded")
    spoken = tree.speak(leaf, "Well?", "So.")
    assert tree[leaf] is tree[leaf.id] is spoken
    assert len(tree.expand(spoken, {}, {})) == len(tree.domain.strategies)
    tree.close(tree.children(spoken)[0], "supporter: refusal")
    for ask in (tree.children, tree.path, tree.history, tree.depth, tree.parent, tree.walk):
        with pytest.raises(TreeError, match="no such node"):
            ask(10**6)


# -- trees of a folder ---------------------------------------------------------------------------------------------


def test_trees_of_a_folder_come_in_order(tmp_path):
    for name in ("b", "a"):
        tree = m.Tree(m.Scenario(id=name), WORLD.domain, TREE.root.turns)
        m.save_tree(tree, tmp_path / "trees" / f"{name}.json")
    assert [tree.id for tree in m.load_trees(tmp_path)] == ["a", "b"]
    assert [tree.id for tree in m.load_trees(tmp_path / "trees")] == ["a", "b"]
    (tmp_path / "trees" / "b.json").write_text("{}")
    trees = m.load_trees(tmp_path)
    assert next(trees).id == "a"
    with pytest.raises(DataError, match=r"b\.json"):
        next(trees)
    with pytest.raises(DataError, match="nowhere"):
        m.load_trees(tmp_path / "nowhere")


# -- dialogues of messages -----------------------------------------------------------------------------------------


def test_messages_become_a_dialogue():
    found = m.Dialogue.from_messages(MESSAGES, id="a", scene="sleep")
    turns = (
        m.Turn("seeker", "I cannot sleep."),
        m.Turn("supporter", "Since when?", "Clarification"),
        m.Turn("seeker", "Since May."),
    )
    assert found == m.Dialogue(id="a", scene="sleep", turns=turns)
    assert m.Dialogue.from_messages(turns).turns == turns
    with pytest.raises(DialogueError, match=r"messages\[1\]\.role: must be 'user' or 'assistant', not 'tool'"):
        m.Dialogue.from_messages([MESSAGES[1], {"role": "tool", "content": "x"}])
    with pytest.raises(DialogueError, match="messages: must be"):
        m.Dialogue.from_messages("Hello.")


# -- errors that say what to do ------------------------------------------------------------------------------------


class Sync:
    def judge(self, history):
        return m.JudgeScores(1, 1, 1, 1)


class Undecorated(methods.DPO):
    name: ClassVar[str] = "undecorated"
    extra: float = 1.0


ROLES = WORLD.roles()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.Dialogue([("user", "Hi.")]), "Dialogue(turns=...); messages of a chat API: Dialogue.from_messages"),
        (lambda: m.Dialogue(turns=[("user", "Hi.")]), "make it: Turn('seeker', 'text'). Messages of a chat API"),
        (lambda: m.Dialogue(turns=MESSAGES), "Dialogue.from_messages(messages)"),
        (lambda: m.build_stack("gpt-4o-mini"), "make it: llm.chat_model(name)"),
        (lambda: m.build_stack(MODEL, cache="cache"), "make it: ResponseCache(folder)"),
        (lambda: m.build_stack(MODEL, cache=Path("cache")), "make it: ResponseCache(folder)"),
        (lambda: m.build_stack(MODEL, limits=8), "make it: llm.Limits(concurrency=...)"),
        (lambda: m.build_stack(MODEL, budget=5), "make it: Budget(calls=...)"),
        (lambda: m.build_stack(MODEL, retry=3), "make it: llm.Retry(attempts=...)"),
        (lambda: m.Roles.from_model(MODEL, sampling={"seeker": {"temperature": 1}}), "make it: Sampling(**settings)"),
        (lambda: m.PreferenceDataset.from_trees(TREE), "trees must be a list of Trees, not Tree("),
        (lambda: m.PreferenceDataset.from_trees(TREE), "put it into a list"),
        (lambda: m.PreferenceDataset.from_trees("out"), "make it: load_tree(file), or load_trees(folder) for many"),
        (lambda: DATA.split(0.8), "make it: {'train': 0.9, 'test': 0.1}"),
        (lambda: m.preference_pairs([TREE]), "give them one at a time"),
        (lambda: m.export.save_html([TREE], "x.html"), "give them one at a time"),
        (lambda: m.preference_pairs("tree.json"), "make it: load_tree(file), or load_trees(folder) for many"),
        (lambda: m.write_dataset(DATA, "out"), "give it a name: {'train': ...}"),
        (lambda: m.statistics.dataset_statistics("pref3"), "preferences.load_preferences(folder)['train']"),
        (lambda: m.statistics.dataset_statistics([TREE]), "PreferenceDataset.from_trees(trees)"),
        (lambda: m.statistics.write_plots(DATA, "out"), "make it: statistics.dataset_statistics(dataset)"),
        (lambda: m.PreferenceDataset.from_trees([TREE], {"theta": 0.1}), "make it: PreferenceConfig(**settings)"),
        (lambda: m.PreferenceDataset.from_trees([TREE], theta=0.1), "config=PreferenceConfig(theta=...)"),
        (lambda: search(max_iterations=3), "search() has no argument 'max_iterations'; it is a setting"),
        (lambda: search(start=MESSAGES), "make one of them: Dialogue.from_messages(messages)"),
        (lambda: m.run(m.search_corpus(["a"], ROLES, out="o")), "what a seeker brings is Scenario(description="),
        (
            lambda: m.run(m.search_corpus([WORLD.scenario(0)], ROLES, out="o", shard="1/2")),
            "shard must be (a whole number, a whole number) or None, not '1/2'",
        ),
        (lambda: m.Roles.from_model("local"), "the embedded model is LocalChat()"),
        (lambda: cso_train.resolve_config({"max_steps": 2}), "given by name: resolve_config(**settings)"),
        (lambda: m.Roles.from_model(MODEL, sampling=m.llm.Sampling()), "give it a name: {name: ...}"),
        (lambda: m.Roles.from_model(MODEL, seeker=MODEL), "unexpected keyword argument 'seeker'"),
        (lambda: cso_train.train("pref3"), "make it: resolve_config(data=path)"),
        (lambda: cso_train.train(data="pref3"), "it is a setting: resolved=TrainConfig(data=...)"),
        (lambda: search(start="I lost my job"), "What a seeker brings is Scenario(description=...)"),
        (lambda: m.run(m.plan(MESSAGES, ROLES, previous=TREE)), "make it: plan(...), whose tree this is"),
        (lambda: replace(ROLES, seeker=type(ROLES.seeker)), "must be an object, not a class; make one: _Seeker(...)"),
        (lambda: m.Roles(ROLES.supporter, ROLES.seeker, ROLES.strategist, ROLES.judge), "asked by reply(history);"),
        (lambda: replace(ROLES, supporter=ROLES.seeker), "the supporter is asked by reply(history, strategy)"),
        (lambda: replace(ROLES, judge=MODEL), "from_model(model, models={'judge': other})"),
        (lambda: m.Roles.from_model(MODEL, judge=MODEL), "another model: models={'judge': ...}"),
        (lambda: search(roles=replace(ROLES, judge=Sync())), "judge() is not async; write: async def judge"),
        (lambda: search(start=m.sample_dialogues()[0]), "a world knows its own scenarios, world.scenario(0)"),
        (lambda: methods.register(dict), "a training method is a subclass of Method with a name, not <class 'dict'>"),
        (lambda: methods.register(Undecorated), "Undecorated: put @dataclass(frozen=True) above it"),
        (lambda: m.preferences.load_preferences("nope"), "nope: no such folder; write_dataset() makes one"),
        (m.Domain, "(and 5 more faults: strategies, seeker, supporter, rubric, weights)"),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((MctsDialogError, TypeError)) as caught:
        call()
    assert message in str(caught.value)


def test_two_scenarios_without_an_id_are_named(tmp_path):
    two = [WORLD.scenario(0).model_copy(update={"id": ""})] * 2
    with pytest.raises(DialogueError, match="a dialogue without an id: id: another dialogue has this id; give them"):
        m.run(m.search_corpus(two, ROLES, CONFIG, out=tmp_path))


# -- training from Python ------------------------------------------------------------------------------------------


def test_settings_of_training_are_given_by_name():
    resolved = cso_train.resolve_config(max_steps=2, method="ipo")
    assert (resolved.config.max_steps, resolved.config.method) == (2, "ipo")
    assert (resolved.origins["max_steps"], resolved.origins["model"]) == ("the program", "default")
    assert cso_train.resolve_config(overrides={"max_steps": 3}, max_steps=2).config.max_steps == 2
    with pytest.raises(MctsDialogError, match=r"^max_steps: Input should be a valid integer"):
        cso_train.resolve_config(max_steps="x")
    with pytest.raises(MctsDialogError, match=r"^unknown setting 'max_step'; did you mean 'max_steps'\?"):
        cso_train.resolve_config(max_step=2)
    with pytest.raises(ConfigError, match=r"resolve_config\(\*\*settings\)"):
        cso_train.train({"max_steps": 2})


def test_a_config_is_resolved_as_its_settings_are():
    config = cso_train.TrainConfig(max_steps=2)
    assert cso_train.Resolved.of(config) == cso_train.resolve_config(max_steps=2)
    assert "# the program" in cso_train.Resolved.of(config).to_yaml()


def test_one_path_of_data_will_do(tmp_path):
    m.write_dataset({"train": DATA}, tmp_path / "pref")
    found = cso_train.load_data(tmp_path / "pref")
    assert len(found.rows) == len(list(DATA.pairs())) > 0
    assert found.rows == cso_train.load_data([str(tmp_path / "pref")], "preference").rows


@pytest.mark.parametrize("module", [cso_train, m.figures], ids=lambda each: each.__name__)
def test_a_module_shows_what_is_public(module):
    names = dir(module)
    assert set(module.__all__) <= set(names)
    assert not {"Any", "TYPE_CHECKING", "import_module", "Path", "annotations"} & set(names)
    assert all(hasattr(module, name) for name in names)
