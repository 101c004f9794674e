"""Whatever a public function or class is given, what comes out is a result or one error of the package's own."""

import copy
import inspect
import pkgutil
import warnings
from importlib import import_module

import anyio
import pytest

import cso_train
import mctsdialog as m
from cso_train import arena, packing
from cso_train import evaluation as ev
from cso_train.evaluation import protocols
from mctsdialog import algorithms, corpus, dialogue, export, llm, preferences, roles, seekers, statistics, tree, worlds
from mctsdialog._arguments import checked
from mctsdialog.concurrency import for_each
from mctsdialog.errors import ConfigError, InsecureKeyWarning, MctsDialogError, TreeError

pytestmark = pytest.mark.timeout(60)

WORLD = worlds.World(seed=1)
CONFIG = m.SearchConfig(max_iterations=12, horizon=2)
TREE = m.run(m.search(WORLD.scenario(0), WORLD.roles(), CONFIG, domain=WORLD.domain))
DATA = m.PreferenceDataset.from_trees([TREE], preferences.PreferenceConfig(theta=-2.9, min_visits=0))
SAMPLES = m.sample_dialogues()
ESC = m.get_domain("esc")
TURNS = [m.Turn("seeker", "I cannot sleep.")]
CASE = ev.TestCase("a/1", ({"role": "user", "content": "Hi."},), ESC.strategies.names[0], "Hello.")
SCORES = ev.evaluate_replies([(CASE.strategy, "Hi.")], ["Ho."], ESC.strategies, resamples=2)
TRAIN = cso_train.TrainConfig()
PLAN = cso_train.plan_run(TRAIN, cso_train.Machine())
COUNT = cso_train.ParameterCount(10, 10, 10)
CARD = seekers.sample_cards("esc")[0]
WORLD_CARDS = [seekers.world_card(WORLD, number) for number in range(2)]
ENTRANTS = [arena.PolicyEntrant("best", WORLD), arena.ScriptEntrant("script", ("Go on.",))]
RUN = m.run(arena.run_arena(ENTRANTS, WORLD_CARDS, arena.WorldSeekers(WORLD), [protocols.Interactive(ESC)], rounds=2))
RESULT = arena.arena_result(RUN, resamples=2)


class Scorer:
    name, attributes = "words", ("toxicity",)

    async def score(self, texts):
        return [{"toxicity": 0.1} for _ in texts]


def model():
    return m.ScriptedModel(lambda request: "Hello.")


async def never(*arguments):
    raise AssertionError("not to be called")


VALUES = {
    "adapter": None, "address": "auto", "aliases": {}, "baseline": "none", "batch_size": 2, "c": 1.0, "calls": 1,
    "api_key": "sk-example", "api_key_env": None, "attempts": 2, "attempt": 1, "backup": algorithms.running_mean,
    "base_url": "http://localhost:1/v1", "bias": 5.0, "budget": m.Budget(), "cache": None, "cases": [CASE],
    "concurrency": 2, "config": None, "confusion": [[1, 0], [0, 1]], "content": "Hello.", "context": 8192, "count": 1,
    "criteria": {"fit": "Is it?"}, "data": {}, "dataset": DATA, "deadline": None, "description": "", "device": None,
    "dialogue_id": "a", "dialogues": SAMPLES.dialogues, "directory": "cache", "domain": ESC, "estimate": None,
    "evaluation": SCORES, "evaluations": {"a": SCORES}, "examples": (), "exclude": (), "executor": None, "extra": None,
    "favourites": (), "file": None, "file_type": "jsonl", "filename": "x.gguf", "first": 0, "folder": "folder",
    "form": "preference", "format": "auto", "formats": ("sft",), "gold": False, "gpus": 0, "headers": None,
    "history": TURNS, "horizon": 1, "http_client": None, "identity": "x", "inner": model(), "input": 1.0,
    "interval": None, "items": [], "item": None, "jitter": 0.5, "journal": None, "judge": WORLD.roles().judge,
    "judges": {}, "kind": "preference", "latency": 0.0, "lenient": False, "level": 0.9, "license": None,
    "limit": None, "limits": llm.Limits(), "local_world_size": None, "machine": cso_train.Machine(), "max_calls": None,
    "max_concurrency": 4, "max_failures": 0, "max_seconds": None, "messages": (llm.Message("user", "Hi."),),
    "metric": len, "model": model(), "money": None, "name": "esc", "names": ("a", "b"), "node": TREE.root,
    "node_id": 0, "number": 0, "on_progress": None, "on_tree": None, "one": ["a"], "other": ["a"], "out": "out",
    "open_worker": never, "output": 1.0, "overrides": None, "pairs": [], "parts": {"a": 1.0}, "path": "nowhere.json",
    "paths": ["nowhere"], "per_device": 2, "plan": PLAN, "policy": None, "predicted": ["a"], "prediction": "a",
    "preferences": None, "preset": None, "previous": None, "prices": None, "priors": {}, "provider": None,
    "ratings": [["a", "a"]], "reason": "refusal", "record": None, "records": DATA.records, "reference": "a",
    "replies": [], "reply": "Hello.", "repo": "a/b", "request": None, "requests_per_minute": None, "resamples": 2,
    "response_format": "json_schema", "restart": False, "retry_after": None, "role": "seeker", "roles": WORLD.roles(),
    "rounds": 8, "sampling": None, "scenario": WORLD.scenario(0), "score": algorithms.pucb, "scorer": Scorer(),
    "scores": {}, "seconds": 1.0, "seed": 0, "seeker": WORLD.roles().seeker, "sequences": [[1, 2]], "shard": None,
    "slots": 2, "slower": 3.0, "splits": {"train": DATA}, "start": WORLD.scenario(0), "statistics": DATA,
    "strategies": ESC.strategies, "strategist": WORLD.roles().strategist, "supporter": WORLD.roles().supporter,
    "temperature": 0.0, "text": "Hi.", "texts": ["Hi."], "theta": 0.5, "threads": None, "timeout": 1.0, "title": None,
    "tokens": 1, "transport": None, "tree": TREE, "trees": [TREE], "turns": TURNS, "unexpanded": True, "values": {},
    "version": 1, "verdicts": [({"fit": "one"}, {"fit": "one"})], "width": 32, "world_size": 1, "yaml_file": None,
    "load": None, "max_chars": 100, "max_length": 99, "max_tokens": 8, "samples": 1, "judge_samples": 1,
    "card": CARD, "cards": [CARD], "dialogue": SAMPLES[0], "entrants": ENTRANTS, "lines": ("Go on.",), "passed": 1,
    "protocols": [protocols.Interactive(ESC)], "result": RESULT, "results": RESULT.protocols, "run": RUN,
    "seekers": arena.WorldSeekers(WORLD), "state": WORLD.start(WORLD.scenario(0)), "wins": [[0.0, 1.0], [2.0, 0.0]],
    "world": WORLD,
}  # fmt: skip
"""An argument for each name of a required parameter, and for some others."""

OWN = {
    "speaker": "seeker", "roles_factory": WORLD.roles(), "bind": {}, "DatasetBuilder.config": DATA.config,
    "Engine.config": CONFIG, "PreferenceDataset.config": DATA.config, "PreferenceDataset.domain": DATA.domain,
    "memory_estimate.config": TRAIN, "memory_estimate.count": COUNT, "plan_run.config": TRAIN,
    "deepspeed_config.config": TRAIN,
    "OpenAIChat.model": "x", "LocalToxicityScorer.model": "none", "subset.dialogues": 1, "data": {},
    "TrainedSupporter.load.model": "/nowhere", "load_for_answers.name": "/nowhere", "ScriptedModel.replies": ["x"],
    "Sampling.stop": (), "check_fits.estimate": cso_train.memory_estimate(COUNT, TRAIN, PLAN), "gold": False,
    "evaluate_replies.gold": [(CASE.strategy, "Hi.")], "evaluate_replies.replies": ["a"], "strategy_scores.gold": ["a"],
    "strategy_scores.names": ["a"], "request_key.request": llm.ChatRequest((llm.Message("user", "Hi."),)),
    "complete.request": llm.ChatRequest((llm.Message("user", "Hi."),)), "LimitedModel.limits": llm.Limits(),
    "write_plots.statistics": statistics.dataset_statistics(DATA), "signal_cases.dialogues": SAMPLES.dialogues,
    "judge_signal.cases": [], "parse_shard.text": "0/1", "from_json.data": "{}", "to_dataset.data": DATA,
    "search_corpus.dialogues": [WORLD.scenario(0)], "chat_model.name": "ollama/x",
    "find_model_file.path": "nowhere.gguf", "load_preset.name": "smollm2", "accumulation_steps.batch_size": 8,
    "World.dialogue.scenario": WORLD.scenario(0), "document_to_tree.data": "{}", "write_report.replies": {"a": ["x"]},
    "plan.history": TREE.root.turns, "plan.scenario": WORLD.scenario(0), "plan.domain": WORLD.domain,
    "CachedModel.cache": None, "evaluate.replies": None, "spearman.one": [1.0, 2.0], "spearman.other": [2.0, 1.0],
    "run_arena.cards": WORLD_CARDS, "win_figure.result": RESULT.protocols[0], "PolicyEntrant.policy": "best",
    "world_value.dialogue": WORLD.dialogue(WORLD.scenario(0)),
}  # fmt: skip

WRONG = [object(), b"x", float("nan"), 1.5, [object()], {"a": object()}, -(10**6), model, TREE, WORLD.scenario]
FUNCTIONS = [
    m.search, m.plan, m.search_corpus, m.Budget, m.LocalChat, m.OpenAIChat, m.PreferenceDataset, m.ResponseCache,
    m.PreferenceDataset.from_trees, DATA.replace, DATA.subset, DATA.split, m.Roles, m.Roles.from_model,
    m.Roles.from_model(model()).bind, m.Roles.from_model(model()).with_prompts, m.Scenario, m.Dialogue, m.SearchConfig,
    m.ScriptedModel, m.Strategy, m.StrategySet, m.Tree, m.Turn, m.build_stack, m.get_domain, m.load_domain,
    m.load_tree, m.save_tree, m.preference_pairs, m.read_dialogues, m.write_dataset, m.run, m.sample_dialogues,
    TREE.children, TREE.parent, TREE.path, TREE.history, TREE.depth, TREE.subtree, TREE.__getitem__,
    algorithms.CSO, algorithms.most_calls, algorithms.most_calls_by_role, corpus.RayExecutor, corpus.in_shard,
    corpus.parse_shard, dialogue.stream_dialogues, dialogue.write_dialogues, dialogue.named_domain, dialogue.domains,
    export.NotebookProgress, export.save_graphml, export.save_html, export.to_dot, export.to_graphml, export.to_html,
    export.to_networkx, export.to_svg, llm.AdaptiveLimits, llm.Limits, llm.BudgetedModel, llm.CachedModel,
    llm.LimitedModel, llm.MeteredModel, llm.RetryingModel, llm.SamplingModel, llm.SingleFlight, llm.ChatRequest,
    llm.Message, llm.Price, llm.Retry, llm.Retry().wait, llm.Sampling, llm.estimate_tokens, llm.find_model_file,
    llm.request_key, llm.chat_model, model().complete, m.build_stack(model()).complete, preferences.DatasetBuilder,
    preferences.DatasetBuilder(DATA.config).add, preferences.PreferenceConfig, preferences.chat_messages,
    preferences.gold_dialogue, preferences.load_preferences, preferences.load_trees,
    preferences.parse_reply, preferences.probe_siblings,
    preferences.random_record, preferences.read_rows, preferences.read_trees, preferences.system_prompt,
    preferences.to_dataset, preferences.tree_files, preferences.tree_record, preferences.valid_paths, roles.LLMJudge,
    roles.LLMSeeker, roles.LLMStrategist, roles.LLMSupporter, roles.Prompt, roles.check_roles, roles.judge_signal,
    roles.packaged_template, roles.role_sampling, roles.signal_cases, statistics.LocalToxicityScorer,
    statistics.dataset_statistics, statistics.score_unique, statistics.toxicity_table, statistics.write_plots,
    tree.ValidPaths, tree.document_to_tree, algorithms.own_visits, tree.reward_range, tree.tree_to_document,
    worlds.World,
    WORLD.dialogue, WORLD.scenario, WORLD.scenarios, cso_train.Machine, cso_train.TrainConfig,
    cso_train.accumulation_steps,
    cso_train.check_fits, cso_train.deepspeed_config, cso_train.load_data, cso_train.load_preset,
    cso_train.memory_estimate, cso_train.plan_run, cso_train.resolve_config, ev.PairwiseJudge, ev.RatingJudge,
    ev.ServerReplies, ev.build_test_set, ev.cohen_kappa, ev.cohen_kappa_interval, ev.compare, ev.compare_intervals,
    ev.compare_replies, ev.evaluate, ev.evaluate_replies, ev.fleiss_kappa, ev.fleiss_kappa_interval, ev.json_table,
    ev.latex_table, ev.markdown_table, ev.preference_bias, ev.rate_replies, ev.rouge_l, ev.strategy_scores,
    ev.strategy_table, ev.write_pair_sheet, ev.write_plots, ev.write_rating_sheet, ev.write_report, ev.write_test_set,
    packing.token_tree, WORLD.imagined, seekers.CardSeeker, seekers.WorldSeeker, seekers.card_of_dialogue,
    seekers.cards_of_dialogues, seekers.read_cards, seekers.sample_cards, seekers.true_state, seekers.world_card,
    seekers.write_cards, arena.ModelEntrant, arena.ModelSeekers, arena.PlanEntrant, arena.PolicyEntrant,
    arena.ScriptEntrant, arena.WorldSeekers, arena.arena_json, arena.arena_latex, arena.arena_markdown,
    arena.arena_result, arena.bradley_terry, arena.run_arena, arena.spearman, arena.strength_figure,
    arena.trajectory_figure, arena.win_figure, arena.world_planner, arena.write_figures, arena.write_sheets,
    arena.write_transcripts,
    protocols.ModelJudge, protocols.WorldJudge, protocols.world_value,
]  # fmt: skip


CALLED = (
    "backup",
    "clock",
    "metric",
    "on_progress",
    "on_tree",
    "policy",
    "roles_factory",
    "score",
    "truth",
)  # a caller's own code


def value_for(function, parameter):
    name = f"{function.__name__}.{parameter.name}"
    for key in (name, parameter.name):
        if key in OWN:
            return OWN[key]
    return VALUES.get(parameter.name) if parameter.default is inspect.Parameter.empty else parameter.default


def call(function, arguments):
    """Call, and go through what a generator gives."""
    found = function(**arguments)
    if inspect.iscoroutine(found):

        async def main():
            with anyio.move_on_after(5):
                await found

        anyio.run(main)
    elif inspect.isgenerator(found):
        list(found)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.__qualname__)
def test_an_argument_of_a_wrong_type_is_one_error_of_the_package(function, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parameters = [
        each
        for each in inspect.signature(function).parameters.values()
        if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL, each.POSITIONAL_ONLY)
    ]
    for parameter in (each for each in parameters if each.name not in CALLED):
        for wrong in WRONG:
            arguments = {each.name: value_for(function, each) for each in parameters}
            arguments[parameter.name] = wrong
            try:
                call(function, arguments)
            except (MctsDialogError, OSError):  # a file that is not there is the system's error
                continue
            except Exception as error:
                raise AssertionError(f"{parameter.name}={wrong!r:.60}: {type(error).__name__}: {error}") from error


async def nothing(item):
    raise AssertionError("not to be called")


@pytest.mark.parametrize(
    "start",
    [
        lambda: for_each([1], nothing, concurrency=0),
        lambda: roles.judge_signal(WORLD.roles(), roles.signal_cases(SAMPLES, limit=1), concurrency=0),
        lambda: preferences.random_record(TREE, WORLD.roles(), DATA.config, concurrency=0),
        lambda: ev.rate_replies({"a": ev.RatingJudge(model())}, [ev.ReplyToRate("a", ("Hi.",), "Ho.")], concurrency=0),
    ],
)
def test_a_concurrency_of_0_is_an_error_and_not_a_run_that_does_nothing(start):
    with pytest.raises(ConfigError, match=r"concurrency must be (at least 1|1 or more), not 0"):
        m.run(start())


def test_the_argument_and_what_it_must_be_are_named():
    with pytest.raises(ConfigError, match=r"^search: max_calls must be a whole number or None, not '10'$") as caught:
        m.run(m.search(WORLD.scenario(0), WORLD.roles(), max_calls="10"))
    assert caught.value.field == "max_calls"
    with pytest.raises(ConfigError, match=r"^from_trees: trees\[1\] must be a Tree, not None$"):
        m.PreferenceDataset.from_trees([TREE, None])
    with pytest.raises(ConfigError, match=r"^LLMSeeker: attempts must be a whole number, not True$"):
        roles.LLMSeeker(model(), ESC, attempts=True)
    with pytest.raises(ConfigError, match=r"must be 'all' or 'end', not 'some'$"):
        m.preference_pairs(TREE, path_rule="some")
    with pytest.raises(TreeError, match=r"nodes are found by their ids, whole numbers, not by '1'$"):
        TREE.children("1")


def test_frequent_mistakes_get_advice():
    with pytest.raises(ConfigError, match=r"save_tree: tree must be a Tree, not .*; await it first$"):
        m.save_tree(m.search(WORLD.scenario(0), WORLD.roles()), "tree.json")
    with pytest.raises(ConfigError, match=r"must be a ChatModel with complete\(\), .*; give an object: LocalChat"):
        m.build_stack(m.LocalChat)


@pytest.mark.parametrize("wrong", [{"api_key": b"sk-secret-secret"}, {"headers": "X-Key: sk-secret-secret"}])
def test_a_secret_of_a_wrong_type_is_not_shown(wrong):
    with pytest.raises(ConfigError) as caught:
        m.OpenAIChat("x", **wrong)
    assert "secret-secret" not in str(caught.value)


def test_annotations_of_all_that_is_checked_can_be_read():
    """A name that only the type checker imports would be an error at the first call."""
    for package in (m, cso_train):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.endswith("__main__"):
                continue
            module = import_module(info.name)
            for each in list(vars(module).values()):
                functions = [each, *(vars(each).values() if isinstance(each, type) else ())]
                for function in (getattr(each, "__func__", each) for each in functions):
                    closure = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
                    if "hints" in closure.get("check", model).__code__.co_freevars:
                        inspect.getclosurevars(closure["check"]).nonlocals["hints"]()


def test_lists_and_numbers_of_other_kinds_will_do():
    numpy = pytest.importorskip("numpy")

    @checked()
    def function(number: float, count: int, names: tuple[str, ...] = (), pair: tuple[int, int] | None = None) -> object:
        return number, count, names, pair

    assert function(numpy.float32(1.5), numpy.int64(2), ["a"], (1, 2)) == (1.5, 2, ["a"], (1, 2))
    for wrong in ({"names": "a"}, {"names": [1]}, {"pair": (1, "2")}, {"pair": (1, 2, 3)}):
        with pytest.raises(ConfigError):
            function(1, 2, **wrong)
    with pytest.raises(TypeError, match=r"function\(\) got an unexpected keyword argument 'numbr'"):
        function(1, 2, numbr=3)


OBJECTS = [
    m.OpenAIChat("x", api_key="sk-secret-secret"), m.build_stack(model()), m.Roles.from_model(model()), m.Budget(),
    llm.Limits(2), llm.AdaptiveLimits(4), m.LocalChat(), model(), ESC, SAMPLES[0], m.SearchConfig(), llm.Retry(),
    m.Roles.from_model(m.OpenAIChat("x", api_key="sk-secret-secret")).judge, TREE, WORLD,
]  # fmt: skip


@pytest.mark.parametrize("thing", OBJECTS, ids=lambda each: type(each).__name__)
def test_public_objects_can_be_copied_hashed_and_shown_in_a_line(thing):
    copies = [copy.copy(thing), copy.deepcopy(thing)]
    assert [type(each) for each in copies] == [type(thing)] * 2
    assert isinstance(hash(thing), int)
    if type(thing).__eq__ is not object.__eq__:
        assert all(hash(each) == hash(thing) for each in copies if each == thing)
    for shown in (repr(thing), str(thing)):
        assert len(shown) < 600
        assert "\n" not in shown
        assert "secret-secret" not in shown


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: m.Dialogue(TURNS),
            r"Dialogue: takes its fields by name: Dialogue\(turns=...\); messages of a chat.*from_messages",
        ),
        (lambda: m.SearchConfig(3), r"takes its settings by name: SearchConfig\(c=...\)"),
        (lambda: cso_train.TrainConfig("x"), r"takes its settings by name: TrainConfig\(model=...\)"),
        (lambda: setattr(m.SearchConfig(), "c", 2.0), r"cannot be changed; make another: config.replace\(c=...\)"),
        (lambda: setattr(cso_train.TrainConfig(), "epochs", 2), r"make another: config.replace\(epochs=...\)"),
        (lambda: setattr(m.Scenario(), "id", "x"), "a Scenario cannot be changed; make another Scenario"),
        (lambda: ESC.mean_score({"x": 1}), "the scores lack the criterion 'empathy'"),
        (lambda: m.run(ev.compare_replies({}, [])), "judges must be one judge or more"),
        (lambda: roles.signal_cases(SAMPLES, limit=-1), "limit must be at least 1, not -1"),
        (lambda: TREE.plot(ax=3), "ax must be axes of matplotlib, not a int"),
    ],
)
def test_what_python_or_pydantic_would_refuse_is_refused_in_our_words(make, message):
    with pytest.raises(MctsDialogError, match=message):
        make()


def test_sources_of_functions_and_methods_are_found():
    """Those of classes are not, as in httpx and anyio: ``inspect`` looks in the module that a class is shown in."""
    for function in (m.search, m.load_tree, m.Tree.history, m.Roles.from_model, m.Budget.check, cso_train.evaluate):
        assert f"def {function.__name__}(" in inspect.getsource(function)


def test_former_names_of_arguments_and_attributes():
    for make, old, new in (
        (lambda **k: llm.AdaptiveLimits(**{"max_concurrency": 9, **k}), "least", "min_concurrency"),
        (llm.AdaptiveLimits, "most", "max_concurrency"),
        (llm.Retry, "maximum", "max_backoff"),
        (llm.Retry, "maximum_wait", "max_retry_after"),
    ):
        with pytest.warns(DeprecationWarning, match=rf"\({old}=...\) is now \w+\({new}=...\)") as told:
            made = make(**{old: 3})
        assert told[0].filename == __file__
        with pytest.warns(DeprecationWarning, match=rf"\.{old} is now \w+\.{new}"):
            assert getattr(made, old) == 3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert getattr(make(**{new: 3}), new) == 3
    with pytest.warns(DeprecationWarning, match=r"build_test_set\(least=...\) is now"):
        assert ev.build_test_set(SAMPLES, ESC, least=9)


def test_the_warning_of_a_key_in_the_clear_is_shown_at_the_callers_line():
    with pytest.warns(InsecureKeyWarning) as told:
        m.OpenAIChat("x", base_url="http://models.example/v1", api_key="sk-example")
    assert told[0].filename == __file__
