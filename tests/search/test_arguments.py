"""What people try first with ``search`` and ``plan``: it works, or the error says what to do."""

from pathlib import Path

import anyio
import pytest

import mctsdialog
from mctsdialog import Dialogue, Roles, Scenario, ScriptedModel, SearchConfig, Turn
from mctsdialog.errors import ConfigError, DialogueError, DomainError
from mctsdialog.llm import Sampling
from mctsdialog.worlds import World

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

WORLD = World(seed=1)
ONE = SearchConfig(max_iterations=3, horizon=1)
TURNS = [Turn("seeker", "I cannot sleep.")]


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ([Dialogue(turns=TURNS)], "one dialogue, not several; did you mean search_corpus?"),
        (iter([Scenario()]), "did you mean search_corpus?"),
        ([], "did you mean search_corpus?"),
        ("dialogues.json", "not a path; read_dialogues() reads the file, search_corpus() searches all of it"),
        (Path("dialogues.json"), "not a path; read_dialogues() reads the file"),
        (TURNS, "not turns; make one of them: Dialogue(turns=...)"),
        (None, "search takes a Dialogue or a Scenario, not None"),
        ({"id": "x"}, "search takes a Dialogue or a Scenario, not {'id': 'x'}"),
    ],
)
async def test_search_says_what_to_do_with_what_is_no_dialogue(start, message):
    with pytest.raises(ConfigError) as caught:
        await mctsdialog.search(start, WORLD.roles())
    assert message in str(caught.value)
    assert caught.value.field == "start"


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (ScriptedModel([]), "make them: Roles.from_model(model)"),
        ("gpt-4o-mini", "make them: Roles.from_model(the model's name)"),
        (None, "roles must be Roles, not None"),
    ],
)
async def test_roles_are_made_of_models_first(roles, message):
    for call in (mctsdialog.search(Scenario(), roles), mctsdialog.plan(TURNS, roles)):
        with pytest.raises(ConfigError) as caught:
            await call
        assert message in str(caught.value)
        assert caught.value.field == "roles"


async def test_a_built_in_domain_can_be_named():
    roles = Roles.from_model(ScriptedModel([]), domain="persuasion")
    assert roles.domain is mctsdialog.get_domain("persuasion")
    plan = await mctsdialog.plan(
        [Turn("seeker", "Hello.")], WORLD.roles(), ONE, domain="esc", scenario=WORLD.scenario(0)
    )
    assert plan.tree.domain is mctsdialog.get_domain("esc")
    for call in (
        mctsdialog.search(Scenario(), WORLD.roles(), domain="eso"),
        mctsdialog.plan(TURNS, roles, domain="eso"),
    ):
        with pytest.raises(DomainError, match="no built-in domain 'eso'; did you mean 'esconv'"):
            await call


def test_a_list_of_stops_will_do():
    assert Sampling(stop=["\n", "."]) == Sampling(stop=("\n", "."))
    assert Sampling(stop="END").stop == ("END",)
    hash(Sampling(stop=["."]))


async def test_settings_are_a_search_config():
    for call in (
        mctsdialog.search(Scenario(), WORLD.roles(), {"c": 2}),
        mctsdialog.plan(TURNS, WORLD.roles(), {"c": 2}),
    ):
        with pytest.raises(ConfigError, match=r"make it: SearchConfig\(\*\*settings\)") as caught:
            await call
        assert caught.value.field == "config"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("max_iteration", "max_iterations"),
        ("concurrency", "parallelism"),
        ("iterations", "max_iterations"),
        ("Horizon", "horizon"),
    ],
)
def test_an_unknown_setting_names_the_nearest(given, meant):
    with pytest.raises(ConfigError, match=f"there is no such setting; did you mean '{meant}'") as caught:
        SearchConfig(**{given: 3})
    assert caught.value.field == given
    with pytest.raises(ConfigError, match=r"SearchConfig\.colour: there is no such setting$"):
        SearchConfig(colour="red")


@pytest.mark.parametrize(
    ("dialogues", "message"),
    [
        (Dialogue(turns=TURNS), "several dialogues, not one; did you mean search?"),
        ("dialogues.json", "not a path; read them with read_dialogues() or stream_dialogues()"),
    ],
)
async def test_search_corpus_says_what_to_do_with_one_dialogue_or_a_path(dialogues, message, tmp_path):
    with pytest.raises(ConfigError) as caught:
        await mctsdialog.search_corpus(dialogues, WORLD.roles(), ONE, out=tmp_path / "out")
    assert message in str(caught.value)
    assert caught.value.field == "dialogues"
    assert not (tmp_path / "out").exists()


async def test_search_corpus_takes_the_same_roles_for_all(tmp_path):
    report = await mctsdialog.search_corpus(WORLD.scenarios(2), WORLD.roles(), ONE, out=tmp_path / "one")
    made = await mctsdialog.search_corpus(WORLD.scenarios(2), lambda each: WORLD.roles(), ONE, out=tmp_path / "each")
    assert report.done == made.done == 2
    trees = [sorted((tmp_path / name / "trees").glob("*.json")) for name in ("one", "each")]
    assert [file.read_bytes() for file in trees[0]] == [file.read_bytes() for file in trees[1]]
    with pytest.raises(ConfigError, match="roles_factory must be Roles, or a function") as caught:
        await mctsdialog.search_corpus(WORLD.scenarios(2), ScriptedModel([]), ONE, out=tmp_path / "none")
    assert caught.value.field == "roles_factory"


async def test_a_plan_from_the_messages_of_a_chat_api():
    scenario = WORLD.scenario(0)
    opening = await WORLD.roles().bind(scenario).seeker.reply(())
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": opening}]
    plan = await mctsdialog.plan(messages, WORLD.roles(), ONE, scenario=scenario)
    same = await mctsdialog.plan([Turn("seeker", opening)], WORLD.roles(), ONE, scenario=scenario)
    assert (plan.strategy, plan.reply) == (same.strategy, same.reply)
    assert plan.tree.root.turns == (Turn("seeker", opening),)
    node = next(each for each in plan.tree if each.type == "expanded")
    messages += [
        {"role": "assistant", "content": node.supporter, "strategy": node.strategy},
        {"role": "user", "content": node.seeker},
    ]
    longer = await mctsdialog.plan(messages, WORLD.roles(), ONE, scenario=scenario, previous=plan)
    assert longer.tree.root.turns == plan.tree.history(node)
    assert longer.reused == node.visits


USER = {"role": "user", "content": "Hi."}


@pytest.mark.parametrize(
    ("history", "field", "message"),
    [
        ([], "history", "last turn is the seeker's"),
        ([USER, {"role": "assistant", "content": "Hello."}], "history", "last turn is the seeker's"),
        ("Hi.", "history", "a Dialogue or a list of turns or messages"),
        (3, "history", "a Dialogue or a list of turns or messages"),
        (USER, "history", "a Dialogue or a list of turns or messages"),
        (["Hi."], "history[0]", "a Turn or a message with role and content"),
        ([USER, {"role": "tool", "content": "x"}], "history[1].role", "'user' or 'assistant', not 'tool'"),
        ([USER, {"role": "system", "content": "x"}], "history[1].role", "'user' or 'assistant', not 'system'"),
        ([{"role": ["user"], "content": "x"}], "history[0].role", "'user' or 'assistant'"),
        ([{"role": "user"}], "history[0].content", "a text that is not blank, not None"),
        ([{"role": "user", "content": [{"type": "text"}]}], "history[0].content", "a text that is not blank"),
        ([USER | {"strategy": "Affirmation"}], "history[0].strategy", "of an assistant's message"),
    ],
)
async def test_a_history_that_is_none_is_named(history, field, message):
    with pytest.raises(DialogueError) as caught:
        await mctsdialog.plan(history, WORLD.roles(), ONE)
    assert caught.value.field == field
    assert message in str(caught.value)


# -- limits of one tree


@pytest.mark.parametrize("parallelism", [1, 4])
async def test_a_search_stops_within_its_calls_and_can_be_resumed(tmp_path, parallelism):
    config = SearchConfig(max_iterations=40, min_iterations=40, horizon=1, parallelism=parallelism)
    scenario, journal = WORLD.scenario(0), tmp_path / "journal.jsonl"
    count = Counted(WORLD.roles())
    tree = await mctsdialog.search(scenario, count.roles, config, journal=journal, max_calls=60)
    assert tree.stop_reason == "budget: calls"
    assert 0 < tree.iterations < 40
    assert count.calls <= 60
    tree.check()
    first = tree.iterations
    more = await mctsdialog.search(scenario, count.roles, config, journal=journal, max_calls=60)
    assert first < more.iterations < 40
    assert count.calls <= 120
    whole = await mctsdialog.search(scenario, count.roles, config, journal=journal)
    assert (whole.stop_reason, whole.iterations) == ("max_iterations", 40)


async def test_a_deterministic_search_that_was_limited_resumes(tmp_path):
    config = SearchConfig(max_iterations=40, min_iterations=40, horizon=1, parallelism=4, deterministic=True)
    scenario, journal = WORLD.scenario(0), tmp_path / "journal.jsonl"
    tree = await mctsdialog.search(scenario, WORLD.roles(), config, journal=journal, max_calls=60)
    assert tree.stop_reason == "budget: calls"
    whole = await mctsdialog.search(scenario, WORLD.roles(), config, journal=journal)
    assert (whole.stop_reason, whole.iterations) == ("max_iterations", 40)


async def test_the_calls_for_a_gold_dialogue_count():
    count = Counted(WORLD.roles())
    dialogue = WORLD.dialogue(WORLD.scenario(0))
    gold = sum(turn.speaker == "supporter" for turn in dialogue.turns)
    assert gold > 2
    tree = await mctsdialog.search(dialogue, count.roles, SearchConfig(horizon=0), max_calls=8)
    assert tree.stop_reason == "budget: calls"
    assert count.calls <= max(8, gold)


async def test_a_search_stops_after_its_seconds(tmp_path):

    slow = Counted(WORLD.roles(), seconds=0.01)
    config = SearchConfig(max_iterations=10_000, min_iterations=10_000, max_ends=10_000, horizon=1)
    with anyio.fail_after(30):
        tree = await mctsdialog.search(WORLD.scenario(0), slow.roles, config, max_seconds=0.5)
    assert tree.stop_reason == "budget: seconds"
    assert tree.iterations > 0
    tree.check()


@pytest.mark.parametrize("limits", [{"max_seconds": 0}, {"max_seconds": float("nan")}, {"max_calls": 3}])
async def test_limits_that_leave_no_room_are_refused(limits):
    for call in (
        mctsdialog.search(Scenario(), WORLD.roles(), **limits),
        mctsdialog.plan(TURNS, WORLD.roles(), **limits),
    ):
        with pytest.raises(ConfigError) as caught:
            await call
        assert caught.value.field == next(iter(limits))


async def test_the_limits_of_plan_by_their_names_of_version_0_1():
    scenario = WORLD.scenario(0)
    opening = [Turn("seeker", await WORLD.roles().bind(scenario).seeker.reply(()))]
    with pytest.warns(DeprecationWarning, match=r"plan\(calls=\.\.\.\) is now plan\(max_calls=\.\.\.\)"):
        plan = await mctsdialog.plan(opening, WORLD.roles(), ONE, scenario=scenario, calls=100)
    assert plan.calls <= 100


class Counted:
    """Roles whose calls are counted, and take some time."""

    def __init__(self, roles, seconds=0.0):
        self.calls = 0
        self._seconds = seconds
        made = {name: getattr(roles, name) for name in ("seeker", "supporter", "strategist", "judge")}
        self.roles = Roles(
            **{name: _Counter(self, role) for name, role in made.items()},
            domain=roles.domain,
            provenance=roles.provenance,
        )


class _Counter:
    def __init__(self, outer, role):
        self._outer, self._role = outer, role

    def for_scenario(self, scenario):
        return _Counter(self._outer, self._role.for_scenario(scenario))

    async def _ask(self, method, *arguments):

        self._outer.calls += 1
        await anyio.sleep(self._outer._seconds)
        return await getattr(self._role, method)(*arguments)

    async def reply(self, *arguments):
        return await self._ask("reply", *arguments)

    async def score(self, history):
        return await self._ask("score", history)

    async def judge(self, history):
        return await self._ask("judge", history)
