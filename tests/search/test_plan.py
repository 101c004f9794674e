"""Planning in a live conversation: the best reply, within limits, and the subtree taken over on the next turn."""

import math
from itertools import pairwise

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.algorithms import most_calls
from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.errors import BudgetExceededError, ConfigError, DialogueError, ReplyError, TreeError
from mctsdialog.tree import EndNode, ExpandedNode, SpokenNode, tree_to_document

pytestmark = pytest.mark.anyio

CONFIG = mctsdialog.SearchConfig(max_iterations=30, min_iterations=30, horizon=2, max_ends=1000)
HELLO = (Turn("seeker", "I lost my job."),)


def went_on(history, plan, node):
    """The conversation after the plan's reply, answered as a node has it."""
    return (*history, Turn("supporter", node.supporter, node.strategy), Turn("seeker", node.seeker))


async def test_the_reply_is_the_most_visited_of_the_same_search(domain, hash_roles):
    roles = hash_roles(domain.strategies.names).roles(domain)
    plan = await mctsdialog.plan(HELLO, roles, CONFIG)
    spoken = [child for child in plan.tree.children(plan.tree.root) if isinstance(child, SpokenNode)]
    best = max(spoken, key=lambda child: (child.visits, child.value))
    assert (plan.strategy, plan.reply, plan.value, plan.visits) == (
        best.strategy,
        best.supporter,
        best.value,
        best.visits,
    )
    assert plan.tree.iterations == 30
    assert (plan.stopped, plan.reused) == ("max_iterations", 0)
    assert plan.tree.root.turns == HELLO
    plan.tree.check()


async def test_calls_are_counted_and_never_more_than_allowed(domain, hash_roles):
    for parallelism in (1, 4):
        for calls in (most_calls(2), 40, 97):
            functions = hash_roles(domain.strategies.names, end_one_in=0)
            config = CONFIG.replace(parallelism=parallelism)
            plan = await mctsdialog.plan(HELLO, functions.roles(domain), config, max_calls=calls)
            assert len(functions.calls) == plan.calls <= calls
            assert plan.calls > calls - most_calls(2) * parallelism
            assert plan.stopped == "calls"
            plan.tree.check()


@pytest.mark.parametrize("horizon", [0, 1, 3])
async def test_no_trial_takes_more_calls_than_is_said(domain, hash_roles, horizon):
    functions = hash_roles(domain.strategies.names, end_one_in=0)
    made = []
    config = CONFIG.replace(horizon=horizon)
    roles = functions.roles()
    await mctsdialog.search(
        Scenario(), roles, config, domain=domain, on_progress=lambda tree: made.append(len(functions.calls))
    )
    assert max(after - before for before, after in pairwise(made)) == most_calls(horizon)


async def test_time_is_a_limit_but_the_first_reply_is_waited_for(domain, hash_roles):
    functions = hash_roles(domain.strategies.names, end_one_in=0)
    fast = functions.roles()
    begun = []

    class Judge:
        async def judge(self, history, /):
            begun.append(history)
            if len(begun) > 3:  # the first trial has three judgements
                await anyio.sleep_forever()
            await anyio.sleep(0.05)
            return functions.judge(history)

    roles = mctsdialog.Roles(fast.seeker, fast.supporter, fast.strategist, Judge(), domain=domain)
    with anyio.fail_after(20):
        plan = await mctsdialog.plan(HELLO, roles, CONFIG, max_seconds=0.001)
    assert plan.stopped == "seconds"
    assert plan.tree.iterations >= 1
    plan.tree.check()


async def test_the_subtree_is_taken_over_where_the_seeker_says_what_was_foreseen(domain, hash_roles):
    roles = hash_roles(domain.strategies.names, end_one_in=0).roles(domain)
    first = await mctsdialog.plan(HELLO, roles, CONFIG)
    node = next(
        child for child in first.tree.children(first.tree.root) if getattr(child, "supporter", "") == first.reply
    )
    history = went_on(HELLO, first, node)
    spaced = (*history[:-1], Turn("seeker", f"  {node.seeker}\n"))
    second = await mctsdialog.plan(spaced, roles, CONFIG, previous=first)
    below = first.tree.subtree(node.id).root.visits
    assert second.reused == below > 0
    assert second.tree.root.turns == history
    assert second.tree.iterations == 30
    second.tree.check()
    fresh = await mctsdialog.plan(history, roles, CONFIG)
    assert second.calls < fresh.calls


async def test_other_words_of_the_seeker_begin_anew(domain, hash_roles):
    roles = hash_roles(domain.strategies.names, end_one_in=0).roles(domain)
    scenario = Scenario(scene="work", description="lost a job")
    first = await mctsdialog.plan(HELLO, roles, CONFIG, scenario=scenario)
    history = (*HELLO, Turn("supporter", first.reply, first.strategy), Turn("seeker", "Let us talk of the weather."))
    second = await mctsdialog.plan(history, roles, CONFIG, previous=first)
    assert second.reused == 0
    assert second.tree.root.turns == history
    assert second.tree.scenario == scenario
    for other in (history[2:], HELLO, (Turn("seeker", "Hello."), *history[1:])):
        assert (await mctsdialog.plan(other, roles, CONFIG, previous=first)).reused in (0, 30)


async def test_a_whole_conversation_by_plans(domain, hash_roles):
    """The seeker is the search's own, so every turn but the first is foreseen."""
    functions = hash_roles(domain.strategies.names, end_one_in=4)
    roles = functions.roles(domain)
    history, last, turns = HELLO, None, 0
    while turns < 6:
        last = await mctsdialog.plan(history, roles, CONFIG, previous=last)
        history = (*history, Turn("supporter", last.reply, last.strategy))
        said = functions.seeker(tuple(Turn(turn.speaker, turn.text) for turn in history))
        turns += 1
        if turns > 1:
            assert last.reused > 0
        if said is None:
            break
        history = (*history, Turn("seeker", said))
    assert turns > 1


async def test_a_spent_budget_is_a_clean_stop_once_there_is_a_reply(domain, hash_roles):
    functions = hash_roles(domain.strategies.names, end_one_in=0)
    fast = functions.roles()

    def spent_after(calls):
        class Judge:
            async def judge(self, history, /):
                if len(functions.calls) > calls:
                    raise BudgetExceededError("calls", limit=1, used=1)
                return functions.judge(history)

        return mctsdialog.Roles(fast.seeker, fast.supporter, fast.strategist, Judge(), domain=domain)

    plan = await mctsdialog.plan(HELLO, spent_after(40), CONFIG)
    assert plan.stopped == "budget: calls"
    plan.tree.check()
    with pytest.raises(BudgetExceededError):
        await mctsdialog.plan(HELLO, spent_after(0), CONFIG)


async def test_wrong_use_is_one_clear_error(domain, hash_roles):
    roles = hash_roles(domain.strategies.names).roles(domain)
    with pytest.raises(DialogueError, match="last turn is the seeker's"):
        await mctsdialog.plan((*HELLO, Turn("supporter", "Oh.")), roles, CONFIG)
    with pytest.raises(DialogueError, match="last turn is the seeker's"):
        await mctsdialog.plan((), roles, CONFIG)
    with pytest.raises(ConfigError, match="one trial can take 14 calls at horizon 2, not 3"):
        await mctsdialog.plan(HELLO, roles, CONFIG, max_calls=3)
    with pytest.raises(ConfigError, match="seconds"):
        await mctsdialog.plan(HELLO, roles, CONFIG, max_seconds=0)
    with pytest.raises(ConfigError, match="at least one iteration"):
        await mctsdialog.plan(HELLO, roles, CONFIG.replace(max_iterations=0))
    other = await mctsdialog.plan(HELLO, hash_roles(mctsdialog.get_domain("esc").strategies.names).roles(), CONFIG)
    with pytest.raises(ConfigError, match="of the domain 'esc'"):
        await mctsdialog.plan(HELLO, roles, CONFIG, previous=other)


async def test_an_error_of_a_role_is_the_callers(domain, hash_roles):
    fast = hash_roles(domain.strategies.names).roles()

    class Judge:
        async def judge(self, history, /):
            raise ReplyError("is no use", role="judge")

    roles = mctsdialog.Roles(fast.seeker, fast.supporter, fast.strategist, Judge(), domain=domain)
    with pytest.raises(ReplyError, match="is no use"):
        await mctsdialog.plan(HELLO, roles, CONFIG, max_seconds=5)


@pytest.fixture
def grown(domain, gold, hash_roles):
    """Trees of several seeds, with gold turns and without."""

    def grown(seed, start=None):
        async def run():
            roles = hash_roles(domain.strategies.names, seed=seed).roles()
            return await mctsdialog.search(start or gold, roles, CONFIG, domain=domain)

        return anyio.run(run)

    return grown


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_subtree_is_a_whole_tree_of_the_same_nodes(grown, data):
    tree = grown(data.draw(st.integers(0, 5)), data.draw(st.sampled_from([None, Scenario()])))
    before = tree_to_document(tree)
    inner = [node for node in tree if not node.children or isinstance(node, ExpandedNode)]
    top = data.draw(st.sampled_from([tree.root, *inner]))
    if not isinstance(top, ExpandedNode) and top is not tree.root:
        with pytest.raises(TreeError, match="no conversation goes on"):
            tree.subtree(top.id)
        return
    part = tree.subtree(top.id)
    part.check()
    assert tree_to_document(tree) == before
    assert part.root.turns == tree.history(top)
    pairs = list(zip(tree.walk(top), part.walk(), strict=True))
    for old, new in pairs[1:]:
        assert (new.strategy, new.value, new.visits, new.prior) == (old.strategy, old.value, old.visits, old.prior)
        assert part.history(new) == tree.history(old)
        assert new is not old
    assert part.ends == sum(isinstance(node, EndNode) for node in part)
    assert math.isfinite(part.root.value)
