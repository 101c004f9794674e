"""Every algorithm that decides in batches, the built-in ones and a user's own, keeps what the search promises."""

import json
import os
import sys
import zlib
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog._search import SearchConfig
from mctsdialog.algorithms import Algorithm, BatchSearch, Request, algorithm_names, get_algorithm, register, uniform
from mctsdialog.corpus import RayExecutor, WorkerModels
from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.errors import BudgetExceededError, ConfigError, JournalError, ModelRefusedError, TreeError, TrialError
from mctsdialog.tree import EndNode, SpokenNode, Tree, document_to_tree, tree_to_document
from mctsdialog.worlds import World

pytestmark = pytest.mark.anyio

WORLD = World(3, rounds=3)
METHODS = {
    "seeker": ("reply",),
    "supporter": ("reply",),
    "strategist": ("score",),
    "judge": ("judge", "judge_again"),
}
NAMES = [name for name in algorithm_names() if issubclass(get_algorithm(name), BatchSearch) and name != "random_dives"]
LIMITS = {"min_iterations": 0, "min_ends": 10**6, "max_ends": 10**6}


@pytest.fixture(scope="module")
def own():
    """The module of a user's own algorithms, importable as any other."""
    sys.path.insert(0, str(Path(__file__).parent))
    import own_algorithms

    yield own_algorithms
    sys.path.remove(str(Path(__file__).parent))


class Noted:
    """A role of the world whose calls are noted, take their time, and are refused where it is said."""

    def __init__(self, inner, name, calls, refuses, speed):
        self.inner, self.name, self.calls, self.refuses, self.speed = inner, name, calls, refuses, speed
        for method in METHODS[name]:
            setattr(self, method, self.wrapped(method))

    def for_scenario(self, scenario):
        return Noted(self.inner.for_scenario(scenario), self.name, self.calls, self.refuses, self.speed)

    def wrapped(self, method):
        async def call(*arguments):
            given = json.dumps([self.name, method, str(arguments)])
            self.calls.append(given)
            for _ in range(int(uniform(given, self.speed) * 7)):
                await anyio.lowlevel.checkpoint()
            if self.name in self.refuses and len(arguments[0]) > 1 and uniform(given) < 0.2:
                raise ModelRefusedError(f"{self.name}: no", reason="refusal")
            return await getattr(self.inner, method)(*arguments)

        return call


def noted(calls, refuses=(), speed=0):
    roles = WORLD.roles()
    made = {name: Noted(getattr(roles, name), name, calls, refuses, speed) for name in METHODS}
    return mctsdialog.Roles(**made, domain=WORLD.domain)


def document(tree):
    return tree_to_document(tree) | {"config": None}


def check_whole(tree):
    """The tree is sound, and a file gives the same."""
    tree.check()
    written = tree_to_document(tree)
    assert tree_to_document(document_to_tree(json.dumps(written))) == written


def begin(from_gold, number=0):
    scenario = WORLD.scenario(number)
    return WORLD.dialogue(scenario) if from_gold else scenario


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(most=12, parallelism=1, deterministic=False, from_gold=True, refuses={"judge"}, number=1)
@example(most=150, parallelism=4, deterministic=True, from_gold=True, refuses={"strategist"}, number=2)
@given(
    most=st.integers(4, 120),
    parallelism=st.sampled_from([1, 4]),
    deterministic=st.booleans(),
    from_gold=st.booleans(),
    refuses=st.sets(st.sampled_from(sorted(METHODS))),
    number=st.integers(0, 50),
)
async def test_any_search_keeps_to_its_calls_and_gives_a_sound_tree(
    name, most, parallelism, deterministic, from_gold, refuses, number
):
    calls, seen = [], []
    config = SearchConfig(algorithm=name, parallelism=parallelism, deterministic=deterministic, **LIMITS)

    def look(tree):
        tree.check()
        assert len(tree) >= (seen[-1] if seen else 1)
        seen.append(len(tree))

    tree = await mctsdialog.search(
        begin(from_gold, number), noted(calls, refuses), config, max_calls=most, on_progress=look
    )
    assert len(calls) <= most + 3 * from_gold  # the strategist looks at all gold turns first
    assert len(seen) >= 1
    check_whole(tree)
    for node in tree:
        assert node.closed is None or node.closed.split(":")[0] in refuses
        if isinstance(node, SpokenNode) and node.rollout is None:
            assert node.gold, "every turn that is said is judged"
    if tree.stop_reason != "complete" and not refuses:
        assert most - len(calls) < 3 * parallelism
        assert tree.best_path() or most < 60


@pytest.mark.parametrize("name", NAMES)
async def test_a_search_of_many_calls_says_everything_and_finds_the_best_dialogue(name):
    world = World(3, rounds=2, judge_noise=0.0)
    config = SearchConfig(algorithm=name, max_iterations=10**6, **LIMITS)
    tree = await mctsdialog.search(world.scenario(0), world.roles(), config, max_calls=1200)
    strategies = tree.best_path().strategies
    assert world.value(world.scenario(0), strategies) == pytest.approx(world.best_value(world.scenario(0)), abs=0.11)


@pytest.mark.parametrize("refuses", [(), ("supporter", "judge"), ("seeker", "strategist")])
@pytest.mark.parametrize(("parallelism", "deterministic"), [(1, False), (4, True), (4, False)])
@pytest.mark.parametrize("name", NAMES)
async def test_killed_after_any_record_it_resumes(tmp_path, name, parallelism, deterministic, refuses):
    path = tmp_path / "j.jsonl"
    config = SearchConfig(
        algorithm=name, parallelism=parallelism, deterministic=deterministic, max_iterations=16, **LIMITS
    )

    async def grow(speed):
        calls = []
        start = begin(from_gold=parallelism == 4)
        tree = await mctsdialog.search(start, noted(calls, refuses, speed), config, journal=path, max_calls=200)
        check_whole(tree)
        return tree, calls

    whole, asked = await grow(0)
    lines = path.read_bytes().splitlines(keepends=True)
    exact = deterministic or parallelism == 1
    for kept in range(1, len(lines) + 1, 1 if exact and not refuses else 5):
        path.write_bytes(b"".join(lines[:kept]))
        tree, again = await grow(kept)
        written = path.read_bytes().splitlines(keepends=True)
        assert written[:kept] == lines[:kept]
        assert sum(call.startswith('["supporter"') for call in again) <= len(written) - kept, "nothing is said twice"
        assert tree.iterations == whole.iterations or tree.stop_reason == "complete"
        if exact:
            assert document(tree) == document(whole)
            assert len(again) <= len(asked)
        if kept == len(lines):
            assert not again
            assert document(tree) == document(whole)


@pytest.mark.parametrize("speed", [1, 2])
@pytest.mark.parametrize("limits", [{"max_calls": (30, 70, 150)}, {"max_iterations": (5, 11, 30)}])
@pytest.mark.parametrize("name", NAMES)
async def test_a_deterministic_search_is_prolonged_and_each_part_of_it_resumes(tmp_path, name, limits, speed):
    """Its journal keeps the limits that it planned by, so that a killed one is resumed exactly."""
    path = tmp_path / "j.jsonl"

    async def grow(number, speed):
        calls = []
        iterations = limits.get("max_iterations", (10**6,) * 3)[number]
        config = SearchConfig(algorithm=name, max_iterations=iterations, parallelism=4, deterministic=True, **LIMITS)
        most = limits.get("max_calls", (None,) * 3)[number]
        start = begin(from_gold=False)
        tree = await mctsdialog.search(start, noted(calls, (), speed), config, journal=path, max_calls=most)
        check_whole(tree)
        return tree, calls

    before = 0
    for number in range(3):
        tree, _ = await grow(number, speed)
        assert tree.iterations > before or tree.stop_reason == "complete"
        before = tree.iterations
        if "max_calls" in limits:  # they count anew in every part: one that is resumed goes further
            continue
        lines = path.read_bytes().splitlines(keepends=True)
        for lost in (0, 1, 3):
            path.write_bytes(b"".join(lines[: len(lines) - lost]))
            again, calls = await grow(number, 3 + lost)
            assert document(again) == document(tree)
            assert lost or not calls


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"type": "limits", "number": 0}, "max_iterations: "),
        ({"type": "limits", "number": "0", "max_iterations": 1}, "must be a whole number"),
        ({"type": "limits", "number": 0, "max_iterations": 1, "max_calls": "1"}, "must be a whole number"),
    ],
)
async def test_hostile_limits_of_a_journal_are_one_clear_error(tmp_path, record, message):
    path = tmp_path / "j.jsonl"
    config = SearchConfig(algorithm="beam", deterministic=True, max_iterations=3, **LIMITS)
    await mctsdialog.search(begin(from_gold=False), noted([]), config, journal=path)
    lines = path.read_bytes().splitlines(keepends=True)
    text = json.dumps(record).encode()
    changed = b'{"crc":"%08x","record":%s}\n' % (zlib.crc32(text), text)
    path.write_bytes(b"".join([*lines[:2], changed, *lines[3:]]))
    with pytest.raises(JournalError, match=message):
        await mctsdialog.search(begin(from_gold=False), noted([]), config, journal=path)


@pytest.mark.parametrize("name", NAMES)
async def test_a_search_is_prolonged_by_more_calls_and_keeps_every_turn(tmp_path, name):
    """The budget changes what is asked, but what a journal has stays where it was said."""
    path, before = tmp_path / "j.jsonl", None
    config = SearchConfig(algorithm=name, max_iterations=10**6, **LIMITS)
    for most in (30, 70, 150):
        tree = await mctsdialog.search(begin(from_gold=False), noted([]), config, journal=path, max_calls=most)
        check_whole(tree)
        said = {node.id: (node.strategy, tree.history(node)) for node in tree if isinstance(node, SpokenNode)}
        for history in (history for _, history in said.values()):
            strategies = [turn.strategy for turn in history if turn.speaker == "supporter"]
            assert WORLD.states(WORLD.scenario(0), strategies)
            spoken = [turn.text for turn in history if turn.speaker == "supporter"]
            assert spoken == [
                WORLD.roles().bind(WORLD.scenario(0)).supporter.says(strategies[: place + 1])
                for place in range(len(strategies))
            ]
        if before is not None:
            assert before.items() <= said.items()
            assert len(said) > len(before)
        before = said


async def test_trusted_gold_is_not_judged_and_judged_gold_is(tmp_path):
    for gold, judged in (("trusted", 0), ("judged", 3)):
        config = SearchConfig(algorithm="calibrated", settings={"gold": gold}, max_iterations=12, **LIMITS)
        tree = await mctsdialog.search(begin(from_gold=True), noted([]), config)
        check_whole(tree)
        turns = [node for node in tree if isinstance(node, SpokenNode) and node.gold]
        assert len(turns) == 3
        assert sum(node.rollout is not None for node in turns) == judged


@pytest.mark.parametrize("name", NAMES)
async def test_a_plan_says_a_good_reply_within_any_calls_and_takes_the_last_plan_over(name):
    config = SearchConfig(algorithm=name, **LIMITS)
    history = (Turn("seeker", "Hello."),)
    for most in (4, 9, 40, 90):
        calls = []
        plan = await mctsdialog.plan(history, noted(calls), config, scenario=WORLD.scenario(0), max_calls=most)
        assert len(calls) == plan.calls <= most
        assert plan.visits >= 1
        plan.tree.check()
    node = next(each for each in plan.tree.children(plan.tree.root) if each.strategy == plan.strategy)
    gone_on = (*history, Turn("supporter", plan.reply, plan.strategy), Turn("seeker", node.seeker))
    second = await mctsdialog.plan(gone_on, noted([]), config, scenario=WORLD.scenario(0), max_calls=40, previous=plan)
    assert second.reused == plan.tree.subtree(node.id).root.visits
    second.tree.check()


async def test_calls_that_do_not_suffice_for_a_reply_are_said_to_be_spent():
    config = SearchConfig(algorithm="calibrated", **LIMITS)
    with pytest.raises(BudgetExceededError, match="3 calls"):
        await mctsdialog.plan((Turn("seeker", "Hello."),), noted([]), config, scenario=WORLD.scenario(0), max_calls=3)
    with pytest.raises(ConfigError, match="one trial can take 3 calls of algorithm 'calibrated'"):
        await mctsdialog.plan((Turn("seeker", "Hello."),), noted([]), config, scenario=WORLD.scenario(0), max_calls=2)


# -- each by itself ------------------------------------------------------------------------------------------------


async def test_a_beam_of_one_says_every_strategy_after_the_best_beginning():
    config = SearchConfig(algorithm="beam", settings={"width": 1}, max_iterations=24, **LIMITS)
    tree = await mctsdialog.search(begin(from_gold=False), noted([]), config)
    node = tree.root
    while node.children:
        children = tree.children(node)
        assert all(child.visits for child in children)
        others = [child for child in children if child.children]
        assert all(child.rollout.reward >= other.rollout.reward for child in others for other in children)
        node = max(children, key=lambda child: child.rollout.reward)
    assert isinstance(node, EndNode)
    assert node in tree.best_path().nodes


@pytest.mark.parametrize("most", [1, 2, 5])
async def test_best_of_n_draws_so_many_dialogues_from_the_prior(most):
    config = SearchConfig(algorithm="best_of_n", settings={"n": most}, max_iterations=1000, **LIMITS)
    calls = []
    tree = await mctsdialog.search(begin(from_gold=False), noted(calls), config)
    assert tree.stop_reason == "complete"
    assert 1 <= tree.ends <= most
    assert len(calls) <= 1 + most * 3 * 4
    for number in range(most):
        node = tree.root
        for depth in range(3):
            left = uniform(tree.id, number, depth)
            for child in tree.children(node):
                left -= child.prior
                if left < 0:
                    break
            node = child
        assert isinstance(node, EndNode)


def test_children_without_visits_have_the_mixed_value():
    """Danihelka et al. (2022), equation 33, by hand."""
    from mctsdialog.algorithms._halving import _completed

    tree = Tree(Scenario(), WORLD.domain, (Turn("seeker", "Hello."),))
    first, second, *others = WORLD.domain.strategies.names
    tree.expand(0, {}, {first: 0.2, second: 0.6, others[0]: 0.2})
    for place, (value, visits) in enumerate([(-1.0, 3), (0.5, 1)]):
        child = tree.speak(tree.root.children[place], "said", "heard")
        child.value, child.visits = value, visits
    children = tree.children(tree.root)
    weighted = (0.2 * -1.0 + 0.6 * 0.5) / 0.8
    for value, mixed in ((-0.25, (-0.25 + 4 * weighted) / 5), (None, weighted)):
        found = _completed(children, value)
        assert [found[child.id] for child in children[:2]] == [-1.0, 0.5]
        assert [found[child.id] for child in children[2:]] == pytest.approx([mixed] * 6)


async def test_halving_gives_its_later_visits_to_the_better_candidates():
    config = SearchConfig(algorithm="halving", settings={"gumbel_scale": 0.0}, **LIMITS)
    visits = []
    for number in range(5):
        plan = await mctsdialog.plan(
            (Turn("seeker", "Hello."),), noted([]), config, scenario=WORLD.scenario(number), max_calls=120
        )
        children = plan.tree.children(plan.tree.root)
        assert min(child.visits for child in children) >= 1
        visits += [sorted(child.visits for child in children)]
    assert sum(each[-1] + each[-2] for each in visits) > sum(sum(each[:6]) for each in visits)


# -- a user's own --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random_dives", "one_dialogue"])
async def test_an_algorithm_of_ones_own_is_searched_planned_and_resumed(own, tmp_path, name):
    config = SearchConfig(algorithm=name, max_iterations=12, **LIMITS)
    path = tmp_path / "j.jsonl"
    whole = await mctsdialog.search(begin(from_gold=False), noted([]), config, journal=path, max_calls=80)
    check_whole(whole)
    assert whole.best_path()
    assert whole.config["algorithm"] == name
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines) + 1):
        path.write_bytes(b"".join(lines[:kept]))
        tree = await mctsdialog.search(begin(from_gold=False), noted([]), config, journal=path, max_calls=80)
        assert document(tree) == document(whole)
    with pytest.raises(JournalError, match="algorithm"):
        await mctsdialog.search(
            begin(from_gold=False), noted([]), config.replace(algorithm="beam"), journal=path, max_calls=80
        )
    plan = await mctsdialog.plan((Turn("seeker", "Hello."),), noted([]), config, scenario=WORLD.scenario(0))
    node = next(each for each in plan.tree.children(plan.tree.root) if each.strategy == plan.strategy)
    gone_on = (*plan.tree.root.turns, Turn("supporter", plan.reply, plan.strategy), Turn("seeker", node.seeker))
    again = await mctsdialog.plan(gone_on, noted([]), config, scenario=WORLD.scenario(0), previous=plan)
    assert again.reused >= 1
    assert (await mctsdialog.search(begin(from_gold=True), noted([]), config)).ends >= 1


async def test_a_corpus_by_an_algorithm_of_ones_own_resumes(own, tmp_path):
    config = SearchConfig(algorithm="random_dives", max_iterations=8, **LIMITS)
    starts = [WORLD.scenario(number) for number in range(3)]
    calls = []
    first = await mctsdialog.search_corpus(starts[:2], noted(calls), config, out=tmp_path)
    once = len(calls)
    made = await mctsdialog.search_corpus(starts, noted(calls), config, out=tmp_path)
    assert (first.done, made.done, made.skipped, made.complete) == (2, 1, 2, True)
    assert len(calls) < 2 * once
    for start in starts:
        alone = await mctsdialog.search(start, noted([]), config)
        assert document(mctsdialog.load_tree(tmp_path / "trees" / f"{start.id}.json")) == document(alone)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore")  # Ray's own
async def test_a_ray_worker_searches_by_an_algorithm_of_ones_own(own, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    config = SearchConfig(algorithm="random_dives", max_iterations=8, **LIMITS)
    starts = [WORLD.scenario(number) for number in range(2)]

    @asynccontextmanager
    async def open_worker(share):  # it knows nothing of the algorithm
        yield WorkerModels(lambda domain: World(3, rounds=3).roles())

    async with RayExecutor(open_worker, workers=1, address="local") as executor:
        made = await mctsdialog.search_corpus(
            starts, WORLD.roles(), config, out=tmp_path / "ray", executor=executor, concurrency=2
        )
    assert (made.done, made.complete) == (2, True)
    await mctsdialog.search_corpus(starts, WORLD.roles(), config, out=tmp_path / "here")
    for start in starts:
        one, other = (
            mctsdialog.load_tree(tmp_path / where / "trees" / f"{start.id}.json") for where in ("ray", "here")
        )
        assert tree_to_document(one) == tree_to_document(other)


async def test_batches_that_change_the_tree_themselves_are_an_error():
    class Meddler(BatchSearch):
        name = "meddler"

        def batches(self):
            self.expand(0, {})
            yield [Request("turn", 1)]

    meddler = Meddler(Tree(Scenario(), WORLD.domain, (Turn("seeker", "Hello."),)), SearchConfig())
    with pytest.raises(TrialError, match="changed the tree"):
        meddler.ask()


async def test_what_an_algorithm_promises_is_checked_of_its_trees(own):
    config = SearchConfig(algorithm="beam", max_iterations=12, **LIMITS)
    tree = await mctsdialog.search(begin(from_gold=False), noted([]), config)
    written = tree_to_document(tree)
    spoken = next(node for node in tree if isinstance(node, EndNode))
    spoken.visits += 1
    with pytest.raises(TreeError, match="visits"):
        tree.check()
    assert document_to_tree(json.dumps(written))


def test_bad_names_and_settings_are_one_clear_error():
    with pytest.raises(ConfigError, match="did you mean 'beam'") as caught:
        SearchConfig(algorithm="baem")
    assert caught.value.field == "algorithm"
    for name, values, field in (
        ("beam", {"width": 0}, "settings.width"),
        ("beam", {"widht": 3}, "settings.widht"),
        ("calibrated", {"gold": "silver"}, "settings.gold"),
        ("cso", {"width": 3}, "settings.width"),
    ):
        with pytest.raises(ConfigError) as caught:
            SearchConfig(algorithm=name, settings=values)
        assert caught.value.field == field
        assert str(values[field.split(".")[1]]) in str(caught.value) or "no such setting" in str(caught.value)


def test_only_an_algorithm_with_a_name_of_its_own_is_registered():
    with pytest.raises(ConfigError, match="subclass"):
        register(int)
    with pytest.raises(ConfigError, match="name"):
        register(type("Nameless", (BatchSearch,), {}))
    with pytest.raises(ConfigError, match="already"):
        register(type("Other", (BatchSearch,), {"name": "beam"}))
    assert issubclass(get_algorithm("beam"), Algorithm)


@given(st.lists(st.one_of(st.text(), st.integers(), st.floats(0, 1)), max_size=4))
def test_draws_are_below_1_and_depend_on_the_key_alone(key):
    assert 0.0 <= uniform(*key) < 1.0
    assert uniform(*key) == uniform(*key) != uniform(*key, 0)


def test_draws_are_even():
    draws = [uniform("tree", number) for number in range(4000)]
    for tenth in range(10):
        assert 320 < sum(tenth / 10 <= draw < (tenth + 1) / 10 for draw in draws) < 480
