"""Several trials under way in one tree: no barrier, no leaf twice, all counts released, order where it is wanted."""

import json
import random
from collections import Counter

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog._search import open_journal
from mctsdialog._search.scheduler import Scheduler
from mctsdialog.algorithms import CSO, Simulation
from mctsdialog.errors import BudgetExceededError, JournalError, JournalMismatchError, ReplyError
from mctsdialog.tree import SpokenNode, tree_to_document

pytestmark = pytest.mark.anyio

CONFIG = mctsdialog.SearchConfig(max_iterations=40, min_iterations=40, horizon=2, gold_visits=3, max_ends=1000)


class SlowRoles:
    """The pure roles, each call after a number of turns of the event loop that a seed draws.

    :ivar under_way: calls at this moment; ``peak``: most of them.
    """

    def __init__(self, functions, seed):
        self.functions, self.random = functions, random.Random(seed)
        self.under_way = self.peak = 0

    def roles(self, domain=None):
        fast, slow = self.functions.roles(domain), self

        def delayed(method):
            async def call(*arguments):
                slow.under_way += 1
                slow.peak = max(slow.peak, slow.under_way)
                try:
                    for _ in range(1 + slow.random.randrange(7)):
                        await anyio.lowlevel.checkpoint()
                    return await method(*arguments)
                finally:
                    slow.under_way -= 1

            return call

        made = {}
        for role, method in (("seeker", "reply"), ("supporter", "reply"), ("strategist", "score"), ("judge", "judge")):
            made[role] = type(role, (), {method: staticmethod(delayed(getattr(getattr(fast, role), method)))})()
        return mctsdialog.Roles(**made, domain=domain)


def document(tree):
    """The tree without the settings that it was grown by."""
    return {**tree_to_document(tree), "config": None}


def state(tree):
    return [(node.id, node.value, node.visits, node.children) for node in tree]


async def grow(start, functions, domain, seed=0, journal=None, **changes):
    slow = SlowRoles(functions, seed)
    config = CONFIG.replace(**changes)
    tree = await mctsdialog.search(start, slow.roles(), config, domain=domain, journal=journal)
    tree.check()
    return tree, slow.peak


@pytest.mark.parametrize("parallelism", [2, 7, 16])
async def test_deterministic_search_gives_one_tree_at_any_speed(domain, gold, hash_roles, parallelism):
    names = domain.strategies.names
    settings = {"parallelism": parallelism, "deterministic": True}
    trees = [document((await grow(gold, hash_roles(names), domain, seed, **settings))[0]) for seed in range(4)]
    assert all(tree == trees[0] for tree in trees)


async def test_one_trial_at_a_time_is_the_plain_search(domain, gold, hash_roles):
    names = domain.strategies.names
    plain, _ = await grow(gold, hash_roles(names), domain)
    ordered, _ = await grow(gold, hash_roles(names), domain, 3, deterministic=True)
    assert document(plain) == document(ordered)


async def test_free_search_keeps_all_places_taken_and_plays_no_leaf_twice(domain, gold, hash_roles):
    functions = hash_roles(domain.strategies.names, end_one_in=0)
    tree, peak = await grow(gold, functions, domain, parallelism=8)
    assert tree.iterations == 40
    assert peak >= 8
    said = Counter(str(call) for call in functions.calls if call[0] == "supporter")
    spoken = [node for node in tree if isinstance(node, SpokenNode) and not node.gold]
    steps = sum(len(node.rollout.steps) for node in spoken if node.rollout)
    assert sum(said.values()) == len(spoken) + steps, "every supporter turn that was paid for is in the tree"


async def test_there_is_no_barrier(domain, gold, hash_roles):
    """The first trial ends only after nine others were told."""
    functions = hash_roles(domain.strategies.names, end_one_in=0)
    roles = functions.roles()
    told, enough = [], anyio.Event()
    waiting = [True]

    class Supporter:
        async def reply(self, history, strategy, /):
            if waiting.pop() if waiting else False:
                await enough.wait()
            return functions.supporter(history, strategy)

    def count(tree):
        told.append(tree.iterations)
        if tree.iterations >= 9:
            enough.set()

    roles = mctsdialog.Roles(roles.seeker, Supporter(), roles.strategist, roles.judge)
    with anyio.fail_after(20):
        tree = await mctsdialog.search(gold, roles, CONFIG.replace(parallelism=3), domain=domain, on_progress=count)
    assert tree.iterations == 40
    tree.check()


async def test_a_trial_that_fails_lets_the_others_end_and_all_is_kept(tmp_path, domain, gold, hash_roles):
    functions = hash_roles(domain.strategies.names, end_one_in=0)
    judge = functions.judge

    def fails_once(history):
        if len(functions.calls) > 60 and not failed:
            failed.append(history)
            raise ReplyError("is no use", role="judge")
        return judge(history)

    failed = []
    functions.judge = fails_once
    path = tmp_path / "j.jsonl"
    for deterministic in (False, True):
        failed.clear()
        functions.calls.clear()
        path.unlink(missing_ok=True)
        with pytest.raises(ReplyError, match="is no use"):
            await grow(gold, functions, domain, journal=path, parallelism=6, deterministic=deterministic)
        before = len([line for line in path.read_text().splitlines() if '"type":"trial"' in line])
        assert before > 5
        functions.calls.clear()
        tree, _ = await grow(gold, functions, domain, journal=path, parallelism=6, deterministic=deterministic)
        assert tree.iterations == 40
        records = [json.loads(line)["record"] for line in path.read_text().splitlines()]
        assert sum(record.get("type") == "trial" for record in records) == 40


@pytest.mark.parametrize("how", ["fails", "cancelled", "too late"])
@pytest.mark.parametrize("deterministic", [False, True])
async def test_whatever_ends_a_trial_its_counts_are_released(domain, gold, hash_roles, how, deterministic):
    config = CONFIG.replace(parallelism=5, deterministic=deterministic)
    tree, _ = await grow(gold, hash_roles(domain.strategies.names), domain, max_iterations=12, min_iterations=12)
    before = state(tree)
    engine = CSO(tree, config)
    begun = anyio.Event()

    async def endless(trial, on_growth) -> Simulation:
        if engine.in_flight == 5:
            begun.set()
        if how == "fails" and trial.number == 2:
            raise ReplyError("is no use", role="judge")
        if how == "fails":
            await anyio.lowlevel.checkpoint()
            raise BudgetExceededError("calls", limit=1, used=1)
        await anyio.sleep_forever()

    scheduler = Scheduler(engine, endless, on_outcome=lambda *_: None, on_commit=lambda trial: None)
    if how == "fails":
        with pytest.raises(ReplyError):  # and not the budget's, which would be a clean stop
            await scheduler.run()
    elif how == "too late":
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.05):
                await scheduler.run()
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(scheduler.run)
            await begun.wait()
            group.cancel_scope.cancel()
    assert engine.in_flight == 0
    assert not engine._unobserved
    assert not engine._blocked
    assert state(tree) == before


@pytest.mark.parametrize("parallelism", [1, 4])
async def test_a_deterministic_search_resumed_anywhere_gives_the_undisturbed_tree(
    tmp_path, domain, gold, hash_roles, parallelism
):
    names, path = domain.strategies.names, tmp_path / "j.jsonl"
    settings = {"parallelism": parallelism, "deterministic": True}
    whole, _ = await grow(gold, hash_roles(names), domain, 5, journal=path, **settings)
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines), 3):
        path.write_bytes(b"".join(lines[:kept]))
        functions = hash_roles(names)
        tree, _ = await grow(gold, functions, domain, kept, journal=path, **settings)
        assert document(tree) == document(whole)
    functions = hash_roles(names)
    tree, _ = await grow(gold, functions, domain, journal=path, **settings)
    assert not functions.calls
    assert document(tree) == document(whole)


async def test_a_free_search_may_go_on_with_another_number_of_trials(tmp_path, domain, gold, hash_roles):
    functions, path = hash_roles(domain.strategies.names), tmp_path / "j.jsonl"
    await grow(gold, functions, domain, journal=path, max_iterations=13, min_iterations=13, parallelism=4)
    calls = len(functions.calls)
    tree, _ = await grow(gold, functions, domain, journal=path, parallelism=4, max_iterations=13, min_iterations=13)
    assert len(functions.calls) == calls
    tree, _ = await grow(gold, functions, domain, journal=path, parallelism=9)
    assert tree.iterations == 40


async def test_a_deterministic_search_refuses_another_number_and_a_wrong_trial(tmp_path, domain, gold, hash_roles):
    functions, path = hash_roles(domain.strategies.names), tmp_path / "j.jsonl"
    settings = {"parallelism": 3, "deterministic": True}
    await grow(gold, functions, domain, journal=path, **settings)
    with pytest.raises(JournalMismatchError) as caught:
        await grow(gold, functions, domain, journal=path, parallelism=4, deterministic=True)
    assert set(caught.value.differences) == {"config.parallelism"}
    with pytest.raises(JournalMismatchError) as caught:
        await grow(gold, functions, domain, journal=path, parallelism=3)
    assert "config.deterministic" in caught.value.differences
    with open_journal(path, _header(path)) as journal:
        records = journal.records
    moved = tmp_path / "moved.jsonl"
    with open_journal(moved, _header(path)) as journal:
        for record in records:
            journal.append({**record, "leaf": 1} if record.get("number") == 4 else record)
    with pytest.raises(JournalError, match=r"moved\.jsonl: .*trial 4 was played on node 1"):
        await grow(gold, functions, domain, journal=moved, **settings)


def _header(path):
    header = json.loads(path.read_text().splitlines()[0])["record"]
    return {name: header[name] for name in ("dialogue", "domain", "config", "roles", "prompts")}


async def test_a_spent_budget_is_a_clean_stop_with_all_that_ended_kept(domain, gold, hash_roles):
    functions = hash_roles(domain.strategies.names)
    supporter = functions.supporter

    def until_spent(history, strategy):
        if len(functions.calls) > 120:
            raise BudgetExceededError("calls", limit=120, used=120)
        return supporter(history, strategy)

    functions.supporter = until_spent
    tree, _ = await grow(gold, functions, domain, parallelism=5)
    assert tree.stop_reason == "budget: calls"
    assert 0 < tree.iterations < 40


async def test_gold_turns_are_scored_at_once_and_laid_in_order(tmp_path, domain, gold, hash_roles):
    functions = hash_roles(domain.strategies.names)
    alone = (await grow(gold, functions, domain, max_iterations=0))[0]
    for seed in range(5):
        path = tmp_path / f"{seed}.jsonl"
        slow = SlowRoles(hash_roles(domain.strategies.names), seed)
        config = CONFIG.replace(max_iterations=0, parallelism=3)
        tree = await mctsdialog.search(gold, slow.roles(), config, domain=domain, journal=path)
        assert slow.peak == 3
        assert document(tree) == document(alone)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]))  # one score of three is lost
        functions = hash_roles(domain.strategies.names)
        tree, _ = await grow(gold, functions, domain, journal=path, max_iterations=0)
        assert len(functions.calls) == 1
        assert document(tree) == document(alone)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parallelism=st.integers(1, 20), seed=st.integers(0, 999), iterations=st.integers(0, 60), ends=st.integers(0, 8))
async def test_any_free_search_ends_sound(domain, gold, hash_roles, parallelism, seed, iterations, ends):
    functions = hash_roles(domain.strategies.names, seed=seed, end_one_in=1 + ends)
    limits = {"max_iterations": iterations, "min_iterations": min(10, iterations), "max_ends": 1 + ends}
    tree, _ = await grow(gold, functions, domain, seed, parallelism=parallelism, **limits)
    assert tree.iterations <= iterations
    assert tree.stop_reason in ("max_iterations", "enough_ends", "max_ends")


async def test_others_go_on_below_a_leaf_whose_trial_is_still_simulating(domain, gold, hash_roles):
    """The root's own trial waits for its judge; meanwhile all others are played below the root."""
    functions = hash_roles(domain.strategies.names, end_one_in=0)
    roles, enough, first = functions.roles(), anyio.Event(), [True]

    class Judge:
        async def judge(self, history, /):
            if first.pop() if first else False:
                await enough.wait()
            return functions.judge(history)

    def count(tree):
        if tree.iterations >= 9:
            enough.set()

    start = mctsdialog.Scenario(id="s")
    roles = mctsdialog.Roles(roles.seeker, roles.supporter, roles.strategist, Judge())
    config = CONFIG.replace(parallelism=3, max_iterations=20, min_iterations=20)
    with anyio.fail_after(20):
        tree = await mctsdialog.search(start, roles, config, domain=domain, on_progress=count)
    tree.check()
    assert tree.root.visits == 20


@pytest.mark.parametrize("parallelism", [1, 4])
async def test_what_a_failed_trial_has_grown_is_finished_by_another(tmp_path, domain, hash_roles, parallelism):
    functions = hash_roles(domain.strategies.names, end_one_in=0)
    supporter, spoken = functions.supporter, []

    def fails_now_and_then(history, strategy):
        spoken.append(strategy)
        if len(spoken) % 9 == 0 and len(spoken) < 40:
            raise ReplyError("is no use", role="supporter")
        return supporter(history, strategy)

    functions.supporter = fails_now_and_then
    start, failures = mctsdialog.Scenario(id="s"), 0
    while True:
        try:
            with anyio.fail_after(30):
                tree, _ = await grow(start, functions, domain, journal=tmp_path / "j", parallelism=parallelism)
            break
        except ReplyError:
            failures += 1
    assert failures >= 1
    assert tree.root.visits == tree.iterations == 40
    rebuilt, _ = await grow(start, functions, domain, journal=tmp_path / "j", parallelism=1)
    assert state(rebuilt) == state(tree)


async def test_cut_after_any_record_a_journal_of_many_at_once_goes_on(tmp_path, domain, gold, hash_roles):
    functions = hash_roles(domain.strategies.names)
    small = {"max_iterations": 14, "min_iterations": 14}
    whole = tmp_path / "whole"
    await grow(gold, functions, domain, journal=whole, parallelism=4, **small)
    lines = whole.read_bytes().splitlines(keepends=True)
    assert any(b'"type":"growth"' in line for line in lines)
    for cut in range(1, len(lines)):
        part = tmp_path / f"{cut}"
        part.write_bytes(b"".join(lines[:cut]))
        tree, _ = await grow(gold, functions, domain, seed=cut, journal=part, parallelism=4, **small)
        assert tree.iterations == 14
        again, _ = await grow(gold, functions, domain, journal=part, parallelism=4, **small)
        assert state(again) == state(tree)
