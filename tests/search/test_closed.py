"""Branches that a model or its provider refuses for good: closed, worth nothing, and the search goes on."""

import json
import math
from collections import Counter
from functools import partial

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog._search import SearchConfig, open_journal
from mctsdialog._search.scheduler import Scheduler
from mctsdialog._search.simulate import CheckedRoles, run_trial
from mctsdialog.algorithms import CSO, Closure, Exchange, Growth, Simulation
from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.errors import JournalError, ModelRefusedError, ReplyError, TrialError
from mctsdialog.llm import Completion
from mctsdialog.tree import EndNode, Tree, UnexpandedNode, document_to_tree, tree_to_document

pytestmark = pytest.mark.anyio

ROLES = ("seeker", "supporter", "strategist", "judge")
WORST, BEST = (0.0,) * 4, (4.0,) * 4
SCORES = {"Ask": 5.0, "Comfort": 9.0, "Plan": 5.0}
REASONS = ("refusal", "content_filter")


def refusing(functions, refuses):
    """The pure roles, which refuse where ``refuses(role, what it was given)`` says so; noted as calls all the same."""

    def wrapped(role, answer):
        def call(*arguments):
            value = answer(*arguments)
            given = functions.calls[-1][1]
            if given and refuses(role, given):
                raise ModelRefusedError(f"{role}: no", reason=REASONS[len(str(given)) % 2])
            return value

        return call

    for role in ROLES:
        setattr(functions, role, wrapped(role, getattr(functions, role)))
    return functions


def one_in(number, seed=0, roles=ROLES):
    """Refuses about one call in that many, a pure function of what the role was given."""

    def refuses(role, given):
        text = json.dumps([seed, role, given])
        return role in roles and sum(map(ord, text)) * 7919 % 104729 % number == 0

    return refuses


def document(tree):
    return {**tree_to_document(tree), "config": None}


def engine(domain, **changes):
    return CSO(Tree(Scenario(id="t"), domain, (Turn("seeker", "Hello."),)), SearchConfig(**changes))


def state(tree):
    return [(node.id, node.type, node.value, node.visits, node.children, node.closed) for node in tree]


def expanded(child="answer", scores=BEST):
    return Simulation((scores,), scores=SCORES, child=Exchange("said", child))


# -- the whole search, against the slow reference ------------------------------------------------------------------


def assert_equal(tree, reference):
    nodes = reference.nodes()
    assert [node.type for node in tree] == [other["kind"] for other in nodes]
    for node, other in zip(tree, nodes, strict=True):
        assert node.closed == other["closed"]
        assert node.visits == other["N"]
        assert math.isclose(node.value, other["Q"], rel_tol=1e-9, abs_tol=1e-12)
        assert list(node.children) == [child["id"] for child in other["children"]]
        said = [(turn.speaker, turn.text, turn.strategy) for turn in tree.history(node)]
        assert said == reference.history(other)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=1, end_one_in=3, refused_one_in=1, roles={"judge"}, horizon=2, names=2, from_gold=False)
@example(seed=1, end_one_in=2, refused_one_in=1, roles={"strategist"}, horizon=2, names=3, from_gold=True)
@given(
    seed=st.integers(0, 10**6),
    end_one_in=st.integers(0, 5),
    refused_one_in=st.integers(2, 12),
    roles=st.sets(st.sampled_from(ROLES), min_size=1),
    horizon=st.integers(0, 3),
    names=st.integers(1, 4),
    from_gold=st.booleans(),
)
async def test_a_search_with_refusals_is_the_reference_search(
    reference, hash_roles, domain_maker, gold, scenario,
    seed, end_one_in, refused_one_in, roles, horizon, names, from_gold,
):  # fmt: skip
    domain = domain_maker(("Ask", "Comfort", "Plan", "Affirm")[: max(names, 3) if from_gold else names])
    refuses = one_in(refused_one_in, seed, roles)
    ours, theirs = (refusing(hash_roles(domain.strategies.names, seed, end_one_in), refuses) for _ in range(2))
    config = SearchConfig(horizon=horizon, max_iterations=25, min_iterations=20, max_ends=6)
    slow = reference(
        domain.strategies.names, theirs, gold if from_gold else None, horizon=horizon, refusal=ModelRefusedError
    )
    limits = (config.max_iterations, config.min_iterations, config.min_ends, config.max_ends)
    stops, before = [], []

    def step(tree):
        if stops:
            slow.iterate()
        before.append(sum(tree.closed().values()))
        assert_equal(tree, slow)
        tree.check()
        stops.append(slow.stopped(tree.iterations, *limits))

    tree = await mctsdialog.search(
        gold if from_gold else scenario, ours.roles(), config, domain=domain, on_progress=step
    )
    assert stops == [False] * (len(stops) - 1) + [True]
    assert tree.stop_reason in ("max_iterations", "enough_ends", "max_ends", "closed")
    assert len(stops) - 1 == tree.iterations + sum(tree.closed().values()) - before[0], "every trial is either"
    spoken = [[call for call in each.calls if call[0] != "judge"] for each in (ours, theirs)]
    assert sorted(map(repr, spoken[0])) == sorted(map(repr, spoken[1]))
    assert tree_to_document(document_to_tree(json.dumps(tree_to_document(tree)))) == tree_to_document(tree)


# -- several at once, and resumed ----------------------------------------------------------------------------------


class Slow:
    """Roles whose calls take a number of turns of the event loop that depends on what they are given."""

    def __init__(self, roles, seed):
        self.roles, self.seed = roles, seed

    def __getattr__(self, role):
        fast = getattr(self.roles, role)
        if role not in ROLES:
            return fast
        name = {"seeker": "reply", "supporter": "reply", "strategist": "score", "judge": "judge"}[role]

        async def call(*arguments):
            for _ in range(1 + sum(map(ord, str(arguments))) * (self.seed + 1) % 7):
                await anyio.lowlevel.checkpoint()
            return await getattr(fast, name)(*arguments)

        return type(role, (), {name: staticmethod(call)})()

    def made(self, domain):
        return mctsdialog.Roles(**{role: getattr(self, role) for role in ROLES}, domain=domain)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    refused_one_in=st.integers(1, 9),
    roles=st.sets(st.sampled_from(ROLES), min_size=1),
    parallelism=st.integers(2, 8),
    deterministic=st.booleans(),
    names=st.integers(1, 3),
)
async def test_several_at_once_leave_no_count_behind(
    hash_roles, domain_maker, seed, refused_one_in, roles, parallelism, deterministic, names
):
    domain = domain_maker(("Ask", "Comfort", "Plan")[:names])
    functions = refusing(hash_roles(domain.strategies.names, seed, 4), one_in(refused_one_in, seed, roles))
    config = SearchConfig(
        parallelism=parallelism, deterministic=deterministic, horizon=2, max_iterations=20, min_iterations=20
    )
    tree = Tree(Scenario(id="t"), domain, (Turn("seeker", "Hello."),))
    search = CSO(tree, config)
    players = CheckedRoles(Slow(functions.roles(), seed).made(domain), domain)
    told = []

    async def played(trial, on_growth):
        for node in tree.path(tree[trial.leaf])[1:]:
            assert node.closed is None or isinstance(node, EndNode), "a closed branch is played"
        return await run_trial(trial, players, domain, config.horizon, on_growth)

    with anyio.fail_after(30):
        await Scheduler(search, played, on_outcome=lambda *_: None, on_commit=lambda trial: told.append(1)).run()
    tree.check()
    assert search.in_flight == 0
    assert not search._unobserved
    assert search._blocked == search._shut
    assert {node.id for node in tree if node.closed is not None} <= search._shut
    assert search._shut == CSO(tree, config)._shut, "what is shut depends on the tree alone"
    assert search.stop_reason() in ("max_iterations", "closed", "max_ends", "enough_ends")
    assert len(told) >= tree.iterations + sum(tree.closed().values())


@pytest.mark.parametrize("roles", [("supporter",), ("judge",), ("strategist", "seeker"), ROLES])
@pytest.mark.parametrize("from_gold", [False, True])
async def test_a_search_resumed_at_any_record_makes_no_call_twice(
    tmp_path, domain, gold, scenario, hash_roles, roles, from_gold
):
    path, start = tmp_path / "j.jsonl", gold if from_gold else scenario
    config = SearchConfig(horizon=2, max_iterations=20, min_iterations=20)

    async def grow(calls_after=None):
        functions = refusing(hash_roles(domain.strategies.names, 5, 4), one_in(5, 3, roles))
        note = lambda tree: calls_after.append(len(functions.calls)) if calls_after is not None else None  # noqa: E731
        tree = await mctsdialog.search(start, functions.roles(), config, domain=domain, journal=path, on_progress=note)
        tree.check()
        return tree, functions.calls

    calls_after: list[int] = []
    whole, calls = await grow(calls_after)
    assert whole.closed()
    lines = path.read_bytes().splitlines(keepends=True)
    first = len(lines) - (len(calls_after) - 1)  # the header and what was asked before the first trial
    assert any(b'"closed"' in line for line in lines)
    for kept in range(1, len(lines) + 1):
        path.write_bytes(b"".join(lines[:kept]))
        tree, again = await grow()
        assert document(tree) == document(whole)
        if kept >= first:
            assert sorted(map(repr, again)) == sorted(map(repr, calls[calls_after[kept - first] :]))
        assert len(path.read_bytes().splitlines()) == len(lines)


@pytest.mark.parametrize("parallelism", [2, 5])
async def test_a_deterministic_search_with_refusals_resumed_anywhere_gives_the_undisturbed_tree(
    tmp_path, domain, gold, hash_roles, parallelism
):
    path = tmp_path / "j.jsonl"

    async def grow(speed, **changes):
        functions = refusing(hash_roles(domain.strategies.names, 2, 5), one_in(7, 1))
        config = SearchConfig(
            parallelism=parallelism, deterministic=True, horizon=2, max_iterations=24, min_iterations=24
        ).replace(**changes)
        roles = Slow(functions.roles(), speed).made(domain)
        tree = await mctsdialog.search(gold, roles, config, domain=domain, journal=path)
        tree.check()
        return tree, functions.calls

    whole, _ = await grow(0)
    assert sum(whole.closed().values()) > 2
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines), 4):
        path.write_bytes(b"".join(lines[:kept]))
        assert document((await grow(kept))[0]) == document(whole)
    path.write_bytes(b"".join(lines))
    tree, calls = await grow(1)
    assert not calls
    assert document(tree) == document(whole)


@pytest.mark.parametrize("seed", range(12))
async def test_a_deterministic_search_cut_short_by_its_limit_is_prolonged(tmp_path, domain, scenario, hash_roles, seed):
    """Near a limit fewer trials are under way; one that is closed there makes room for another, which comes late."""
    path = tmp_path / "j.jsonl"
    for most in (5, 9, 12, 30):
        functions = refusing(hash_roles(domain.strategies.names, seed, 5), one_in(3, seed, ("supporter", "judge")))
        config = SearchConfig(parallelism=4, deterministic=True, horizon=1, max_iterations=most, min_iterations=most)
        roles = Slow(functions.roles(), seed).made(domain)
        tree = await mctsdialog.search(scenario, roles, config, domain=domain, journal=path)
        tree.check()
        assert tree.iterations == most or tree.stop_reason in ("closed", "max_ends")


async def test_a_free_search_goes_on_after_a_branch_that_had_grown_is_closed(tmp_path, domain, scenario, hash_roles):
    path = tmp_path / "j.jsonl"

    async def grow(most):
        functions = refusing(hash_roles(domain.strategies.names, 4, 5), one_in(4, 2, ("supporter", "judge")))
        config = SearchConfig(parallelism=5, horizon=2, max_iterations=most, min_iterations=most)
        roles = Slow(functions.roles(), most).made(domain)
        tree = await mctsdialog.search(scenario, roles, config, domain=domain, journal=path)
        tree.check()
        return tree, functions.calls

    whole, _ = await grow(20)
    records = [json.loads(line)["record"] for line in path.read_text().splitlines()]
    grown = {record["number"] for record in records if record.get("type") == "growth"}
    assert grown & {record["number"] for record in records if record.get("type") == "closed"}
    tree, calls = await grow(20)
    assert not calls
    assert document(tree) == document(whole)
    tree, calls = await grow(30)
    assert tree.iterations == 30
    assert tree.closed().keys() <= {f"{role}: {reason}" for role in ("supporter", "judge") for reason in REASONS}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), refused_one_in=st.integers(2, 8), parallelism=st.integers(2, 6), names=st.integers(1, 3)
)
async def test_a_free_search_with_refusals_is_read_back_from_its_journal(
    tmp_path_factory, hash_roles, domain_maker, scenario, seed, refused_one_in, parallelism, names
):
    """Others go on below a leaf that has grown, and whose best child is refused later."""
    domain, path = domain_maker(("Ask", "Comfort", "Plan")[:names]), tmp_path_factory.mktemp("free") / "j.jsonl"

    async def grow(speed):
        functions = refusing(hash_roles(domain.strategies.names, seed, 4), one_in(refused_one_in, seed))
        config = SearchConfig(parallelism=parallelism, horizon=1, max_iterations=15, min_iterations=15)
        roles = Slow(functions.roles(), speed).made(domain)
        tree = await mctsdialog.search(scenario, roles, config, domain=domain, journal=path)
        tree.check()
        assert tree.iterations >= 15 or tree.stop_reason in ("closed", "max_ends")
        return tree, functions.calls

    whole, _ = await grow(seed)
    lines = path.read_bytes().splitlines(keepends=True)
    again, calls = await grow(seed + 1)
    assert not calls
    assert document(again) == document(whole)
    for kept in range(2, len(lines), 1 + len(lines) // 4):
        path.write_bytes(b"".join(lines[:kept]))
        await grow(seed + kept)


# -- when everything is refused, or the start ------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["supporter", "strategist", "judge", "seeker"])
@pytest.mark.parametrize("parallelism", [1, 4])
async def test_a_search_in_which_a_role_always_refuses_ends(domain, scenario, hash_roles, role, parallelism):
    functions = refusing(hash_roles(domain.strategies.names, end_one_in=0), lambda which, given: which == role)
    config = SearchConfig(max_iterations=10, parallelism=parallelism, deterministic=parallelism > 1)
    with anyio.fail_after(30):
        tree = await mctsdialog.search(scenario, functions.roles(), config, domain=domain)
    tree.check()
    assert tree.stop_reason == "closed"
    assert tree.iterations == tree.root.visits == 0
    assert {reason.partition(":")[0] for reason in tree.closed()} == {role}
    assert not tree.best_path()
    assert sum(tree.closed().values()) < 10 + parallelism


async def test_a_refused_opening_is_one_clear_error_and_can_be_tried_again(tmp_path, domain, scenario, hash_roles):
    functions = hash_roles(domain.strategies.names)
    seeker = functions.seeker

    def refuse(history):
        raise ModelRefusedError("seeker: the model refuses to answer", reason="refusal")

    functions.seeker = refuse
    search = partial(mctsdialog.search, scenario, domain=domain, journal=tmp_path / "j.jsonl")
    with pytest.raises(ModelRefusedError, match="seeker: the model refuses") as caught:
        await search(functions.roles(), SearchConfig(max_iterations=2))
    assert caught.value.closure == "seeker: refusal"
    functions.seeker = seeker
    assert (await search(functions.roles(), SearchConfig(max_iterations=2))).iterations == 2


@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize("parallelism", [1, 3])
async def test_a_refused_gold_turn_ends_the_gold_path_before_it(tmp_path, domain, gold, hash_roles, turn, parallelism):
    def refuses(role, given):
        gold_history = [[each.speaker, each.text, each.strategy] for each in gold.turns[: 1 + 2 * turn]]
        return role == "strategist" and given == gold_history

    async def grow():
        functions = refusing(hash_roles(domain.strategies.names), refuses)
        config = SearchConfig(max_iterations=8, min_iterations=8, parallelism=parallelism, gold_visits=2)
        roles, path = functions.roles(), tmp_path / "j.jsonl"
        return await mctsdialog.search(gold, roles, config, domain=domain, journal=path), functions.calls

    tree, _ = await grow()
    tree.check()
    gold_nodes = [node for node in tree if getattr(node, "gold", False)]
    last = gold_nodes[-1] if gold_nodes else tree.root
    assert len(gold_nodes) == turn
    assert last.closed is not None
    assert last.closed.startswith("strategist: ")
    assert tree.stop_reason == ("max_iterations" if turn else "closed")
    assert tree.iterations == (8 if turn else 0)
    again, calls = await grow()
    assert not calls
    assert tree_to_document(again) == tree_to_document(tree)


# -- by hand -------------------------------------------------------------------------------------------------------


def test_a_closed_leaf_is_not_asked_again_and_the_search_ends_when_none_is_left(domain):
    search = engine(domain)
    search.tell(search.ask(), expanded(scores=WORST))
    tree = search.tree
    before = state(tree)
    search.tell(search.ask(), Closure("supporter: refusal"))
    closed = [node for node in tree if node.closed is not None]
    assert [node.type for node in closed] == ["unexpanded"]
    assert [one for one, other in zip(before, state(tree), strict=True) if one != other] == [before[closed[0].id]]
    assert search.ask().leaf != closed[0].id
    search = CSO(tree, SearchConfig())
    while (trial := search.ask()) is not None:
        search.tell(
            trial, Closure("supporter: refusal") if trial.kind == "generate" else Closure("strategist: refusal")
        )
    assert search.stop_reason() == "closed"
    assert tree.iterations == 1
    assert tree.closed() == {"supporter: refusal": 2, "strategist: refusal": 1}
    tree.check()


def test_what_was_said_before_a_strategist_refused_is_kept(domain):
    search = engine(domain)
    search.tell(search.ask(), expanded(scores=WORST))
    trial = search.ask()
    search.tell(trial, Closure("strategist: content_filter", Exchange("why", "so")))
    node = search.tree[trial.leaf]
    assert (node.type, node.supporter, node.seeker, node.visits, node.children) == (
        "expanded",
        "why",
        "so",
        0,
        range(0),
    )
    assert node.closed == "strategist: content_filter"
    search.tree.check()
    with pytest.raises(Exception, match="only a root or expanded node"):
        search.tree.expand(node.id, SCORES, {"Ask": 1.0})


def test_a_refused_child_leaves_its_siblings_open(domain):
    search = engine(domain, c=10.0)
    search.tell(search.ask(), Closure("judge: refusal", scores=SCORES))
    tree = search.tree
    assert [child.closed for child in tree.children(tree.root)] == [None, "judge: refusal", None]
    assert all(isinstance(child, UnexpandedNode) for child in tree.children(tree.root))
    trial = search.ask()
    assert (trial.kind, trial.strategy) == ("finish", "Ask"), "a sibling takes its place"
    search.tell(trial, Simulation((BEST,), child=Exchange("why", "so")))
    tree.check()
    other = CSO(tree, SearchConfig())
    with pytest.raises(TrialError, match="does not fit"):
        other.replay("trial", 1, Simulation((BEST,), child=Exchange("why", "so")))
    # asked before its sibling was closed
    other.replay("trial", 3, Simulation((BEST,), generated=Exchange("then", None)))
    tree.check()


def test_an_end_that_the_judge_refuses_keeps_its_visits(domain):
    search = engine(domain, max_iterations=9, min_iterations=9)
    search.tell(search.ask(), expanded(child=None))
    end = search.tree.children(search.tree.root)[1]
    trials = []
    while len(trials) < 2:  # an end may be judged by two at a time
        trial = search.ask()
        trials += [trial] if trial.kind == "end" else []
    search.tell(trials[0], Closure("judge: refusal"))
    assert (end.visits, end.value, end.closed) == (1, 1.0, "judge: refusal")
    search.tell(trials[1], Simulation((BEST,)))
    assert (end.visits, search.tree.iterations) == (2, 2)
    assert search.ask().leaf != end.id
    assert not search.tree.best_path()
    search.tree.check()


def test_a_closure_that_does_not_fit_changes_nothing(domain):
    search = engine(domain)
    for wrong in (
        Closure("judge: refusal", generated=Exchange("a", "b")),
        Closure("judge: refusal", Exchange("a", "b"), SCORES),
    ):
        trial = search.ask()
        with pytest.raises(TrialError, match="does not fit"):
            search.tell(trial, wrong)
        search.release(trial)
    grown = search.ask()
    search.grow(grown, Growth(None, SCORES))
    with pytest.raises(TrialError, match="has grown its leaf"):
        search.tell(grown, Closure("supporter: refusal"))
    search.tell(grown, Closure("supporter: refusal", scores=SCORES))
    trial = search.ask()
    for wrong in (
        Closure("judge: refusal", generated=Exchange("a", None)),
        Closure("judge: refusal", scores=SCORES),
    ):
        with pytest.raises(TrialError, match="does not fit"):
            search.tell(trial, wrong)
    search.release(trial)
    with pytest.raises(TrialError, match="is closed"):
        search.replay("trial", 2, Closure("judge: refusal"))
    with pytest.raises(TrialError, match="not an open leaf"):
        search.replay_growth(2, Growth(None, SCORES))
    assert not search._unobserved


def test_closure_as_json():
    for closure in (
        Closure("judge: refusal"),
        Closure("strategist: refusal", Exchange("a", "b")),
        Closure("supporter: content_filter", Exchange("a", "b"), SCORES),
    ):
        assert Closure.from_dict(json.loads(json.dumps(closure.to_dict()))) == closure
    for wrong in (
        {},
        {"reason": 3},
        {"reason": " "},
        {"reason": "x" * 201},
        {"reason": "a", "scores": []},
        {"reason": "a", "generated": "ab"},
    ):
        with pytest.raises(ValueError, match=r"reason|scores|generated"):
            Closure.from_dict(wrong)


@pytest.mark.parametrize("change", [{"reason": None}, {"leaf": 0}, {"leaf": "1"}, {"scores": {"Dance": 1}}])
async def test_a_closed_record_that_does_not_fit_is_a_clear_error(tmp_path, domain, scenario, hash_roles, change):
    path = tmp_path / "j.jsonl"
    config = SearchConfig(max_iterations=12, min_iterations=12)
    functions = refusing(hash_roles(domain.strategies.names), one_in(3, 1, ("supporter",)))
    await mctsdialog.search(scenario, functions.roles(), config, domain=domain, journal=path)
    records = [json.loads(line)["record"] for line in path.read_text().splitlines()]
    header = {name: records[0][name] for name in ("dialogue", "domain", "config", "roles")}
    moved = tmp_path / "moved.jsonl"
    place = max(number for number, record in enumerate(records) if record.get("type") == "closed")
    with open_journal(moved, header) as journal:
        for number, record in enumerate(records[1:], start=1):
            journal.append({**record, **change} if number == place else record)
    with pytest.raises(JournalError, match=r"moved\.jsonl: .*does not fit"):
        await mctsdialog.search(scenario, functions.roles(), config, domain=domain, journal=moved)


# -- what a refusal in a rollout does ------------------------------------------------------------------------------


async def outcome_of(domain, hash_roles, refuses, trial=None, horizon=3):
    functions = refusing(hash_roles(domain.strategies.names, end_one_in=0), refuses)
    trial = trial or engine(domain).ask()
    return await run_trial(trial, CheckedRoles(functions.roles(), domain), domain, horizon), functions


@pytest.mark.parametrize("role", ["seeker", "supporter", "strategist", "judge"])
@pytest.mark.parametrize("rounds", [0, 1, 2])
async def test_a_refused_round_ends_the_rollout_before_it(domain, hash_roles, role, rounds):
    """Turns before: the opening, the child's two, and two a round; the strategist sees none of its round."""
    turns = 3 + 2 * rounds + {"supporter": 0, "strategist": 0, "seeker": 1, "judge": 1}[role]

    def refuses(which, given):
        return which == role and len(given) - (which == "supporter") == turns

    whole, _ = await outcome_of(domain, hash_roles, lambda which, given: False)
    found, _ = await outcome_of(domain, hash_roles, refuses)
    assert isinstance(found, Simulation)
    assert found.steps == whole.steps[:rounds]
    assert found.judgements == whole.judgements[: 1 + rounds]
    search = engine(domain)
    search.tell(search.ask(), found)
    search.tree.check()


@pytest.mark.parametrize("role", ["seeker", "supporter", "judge"])
async def test_a_child_whose_own_turn_is_refused_is_closed(domain, hash_roles, role):
    found, _ = await outcome_of(
        domain, hash_roles, lambda which, given: which == role and len(given) - (which == "supporter") < 3
    )
    assert isinstance(found, Closure)
    assert found.reason.startswith(f"{role}: ")
    assert found.generated is None
    assert set(found.scores) == {"Ask", "Comfort", "Plan"}


async def test_other_errors_still_fail_the_trial(domain, hash_roles):
    functions = hash_roles(domain.strategies.names)

    def no_use(history):
        raise ReplyError("is no use", role="judge")

    functions.judge = no_use
    with pytest.raises(ReplyError):
        await mctsdialog.search(Scenario(id="s"), functions.roles(), SearchConfig(max_iterations=3), domain=domain)


# -- planning --------------------------------------------------------------------------------------------------------


async def test_a_plan_goes_on_without_a_refused_branch_and_says_so_where_none_is_left(domain, hash_roles):
    history = [Turn("seeker", "Hello.")]
    functions = refusing(
        hash_roles(domain.strategies.names), lambda role, given: role == "supporter" and given[-1] != "Plan"
    )
    found = await mctsdialog.plan(history, functions.roles(domain), SearchConfig(max_iterations=6, horizon=1))
    assert found.strategy == "Plan"
    functions = refusing(hash_roles(domain.strategies.names), lambda role, given: role == "supporter")
    with pytest.raises(ModelRefusedError, match=r"every reply to this conversation: supporter: .* \("):
        await mctsdialog.plan(history, functions.roles(domain), SearchConfig(max_iterations=6), max_seconds=20)


async def test_a_plan_does_not_reuse_a_closed_node(domain, hash_roles):
    history = [Turn("seeker", "Hello.")]
    functions = hash_roles(domain.strategies.names, end_one_in=0)
    first = await mctsdialog.plan(history, functions.roles(domain), SearchConfig(max_iterations=1, horizon=0))
    node = next(node for node in first.tree.children(first.tree.root) if node.visits)
    first.tree.close(node.id, "strategist: refusal")
    longer = [*history, Turn("supporter", node.supporter), Turn("seeker", node.seeker)]
    config = SearchConfig(max_iterations=1, horizon=0)
    second = await mctsdialog.plan(longer, functions.roles(domain), config, previous=first)
    assert second.reused == 0
    assert first.tree.subtree(node.id).root.closed == "strategist: refusal"
    assert Counter(second.tree.closed()) == {}


# -- through the layers of a model -----------------------------------------------------------------------------------


class Filtered:
    """A model whose provider refuses every prompt that asks for one strategy's reply."""

    name = "filtered"

    def __init__(self, wanted):
        self.calls, self.wanted = 0, wanted

    async def complete(self, request):
        self.calls += 1
        if request.schema is None and self.wanted in request.messages[-1].content:
            raise ModelRefusedError("the provider's filter refuses the prompt", reason="content_filter", status=400)
        if request.schema is None:
            return Completion(f"Reply {self.calls}.", model=self.name)
        names = request.schema["required"]
        return Completion(json.dumps({name: 1 + (self.calls + place) % 4 for place, name in enumerate(names)}))

    async def aclose(self):
        pass


async def test_a_prompt_that_the_provider_refuses_closes_its_branch_alone(tmp_path, domain, scenario):
    config = SearchConfig(max_iterations=6, min_iterations=6, horizon=1)
    model = Filtered("Answer by Comfort")
    trees = []
    for _ in range(2):
        with mctsdialog.ResponseCache(tmp_path / "cache") as cache:
            roles = mctsdialog.Roles.from_model(mctsdialog.build_stack(model, cache=cache), domain=domain)
            trees.append(await mctsdialog.search(scenario, roles, config, journal=tmp_path / "j.jsonl"))
        if len(trees) == 1:
            calls = model.calls
    assert model.calls == calls
    assert document(trees[0]) == document(trees[1])
    assert trees[0].iterations == 6
    assert set(trees[0].closed()) == {"supporter: content_filter"}
    assert {node.strategy for node in trees[0] if node.closed is not None} == {"Comfort"}
    assert not any(getattr(node, "supporter", None) and node.strategy == "Comfort" for node in trees[0])


@pytest.mark.parametrize("parallelism", [1, 3])
async def test_a_favourite_strategy_that_is_always_refused_does_not_starve_the_search(
    domain, scenario, hash_roles, parallelism
):
    functions = refusing(
        hash_roles(domain.strategies.names), lambda role, given: role == "supporter" and given[-1] == "Plan"
    )
    functions.strategist = lambda history: {"Ask": 3, "Comfort": 4, "Plan": 10}
    config = SearchConfig(max_iterations=30, min_iterations=30, horizon=2, parallelism=parallelism)
    tree = await mctsdialog.search(scenario, functions.roles(), config, domain=domain)
    tree.check()
    assert tree.iterations == 30
    assert sum(tree.closed().values()) <= 30
    assert tree.best_path()
