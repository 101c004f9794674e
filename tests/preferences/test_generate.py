"""Probes of untried siblings and random replies: what is asked, what is kept, and going on after a fault."""

import json

import anyio
import pytest

from mctsdialog._search import SearchConfig, search
from mctsdialog.algorithms import CSO, Simulation
from mctsdialog.errors import (
    BudgetExceededError,
    ConfigError,
    JournalError,
    ModelRefusedError,
    ReplyError,
    TreeError,
    TrialError,
)
from mctsdialog.export import load_tree, save_tree, to_networkx
from mctsdialog.preferences import (
    PreferenceConfig,
    preference_pairs,
    probe_siblings,
    random_record,
    tree_record,
    valid_paths,
)
from mctsdialog.roles import Roles
from mctsdialog.tree import SpokenNode, UnexpandedNode

pytestmark = pytest.mark.anyio


@pytest.fixture
def functions(hash_roles, domain):
    return hash_roles(domain.strategies.names, end_one_in=5)


@pytest.fixture
async def tree(functions, domain, gold):
    """A gold dialogue searched a little: two of its three turns have no rejected sibling."""
    config = SearchConfig(max_iterations=2, min_iterations=2, horizon=2)
    grown = await search(gold, functions.roles(domain), config)
    functions.calls.clear()
    return grown


def open_turns(tree, config=None):
    """Ids of untried siblings at turns of valid paths without a rejected one, by turn."""
    record = tree_record(tree, config)
    beside = {tree[rejected].parent for _, rejected in record.pairs}
    parents = dict.fromkeys(node.parent for node in record.nodes if node.polarity == "chosen")
    return {
        parent: [child.id for child in tree.children(tree[parent]) if isinstance(child, UnexpandedNode)]
        for parent in parents
        if parent not in beside
    }


def snapshot(tree):
    return [(node.id, node.type, node.value, node.visits, getattr(node, "supporter", None)) for node in tree]


class Broken:
    """A supporter that fails from some call on."""

    def __init__(self, functions, error, after):
        self.functions, self.error, self.after, self.calls = functions, error, after, 0

    async def reply(self, history, strategy):
        self.calls += 1
        if self.calls > self.after:
            raise self.error
        return self.functions.supporter(history, strategy)

    def roles(self, domain):
        whole = self.functions.roles(domain)
        type(self).__qualname__ = type(whole.supporter).__qualname__  # the same supporter, on a bad day
        return Roles(whole.seeker, self, whole.strategist, whole.judge, domain=domain)


async def test_every_open_turn_gets_its_siblings_and_nothing_else_changes(tree, functions, domain):
    wanted = open_turns(tree)
    assert wanted
    before, paths = snapshot(tree), valid_paths(tree)
    done = await probe_siblings(tree, functions.roles(domain))
    probed = {node_id for each in wanted.values() for node_id in each}
    assert (done.asked, done.done, done.replayed, done.stop_reason) == (len(probed), len(probed), 0, None)
    after = snapshot(tree)
    assert [row for row in after if row[0] not in probed] == [row for row in before if row[0] not in probed]
    for node_id in probed:
        node = tree[node_id]
        assert isinstance(node, SpokenNode)
        assert (node.probe, node.visits, node.value) == (True, 1, node.rollout.reward)
    tree.check()
    assert [[node.id for node in path] for path in valid_paths(tree)] == [[node.id for node in path] for path in paths]
    assert {parent for parent in open_turns(tree) if open_turns(tree)[parent]} == set()


async def test_a_probe_is_played_as_the_best_child_of_a_leaf_would_be(tree, functions, domain):
    await probe_siblings(tree, functions.roles(domain))
    probe = next(node for node in tree if isinstance(node, SpokenNode) and node.probe and node.rollout.steps)
    history = tree.history(tree[probe.parent])
    plain = [type(turn)(turn.speaker, turn.text) for turn in history]
    assert probe.supporter == functions.supporter(plain, probe.strategy)
    told = [*history, type(history[0])("supporter", probe.supporter, probe.strategy)]
    scores = functions.judge(told)
    assert probe.rollout.judgements[0] == tuple(float(scores[name]) for name in domain.criteria)
    assert len(probe.rollout.steps) <= 2  # the search's own horizon


async def test_pairs_grow_and_old_ones_stay(tree, functions, domain):
    before = {(pair.chosen.id, pair.rejected.id) for pair in preference_pairs(tree)}
    await probe_siblings(tree, functions.roles(domain), horizon=0)
    after = {(pair.chosen.id, pair.rejected.id) for pair in preference_pairs(tree)}
    assert before < after


async def test_max_per_turn_takes_the_least_likely_first(tree, functions, domain):
    wanted = open_turns(tree)
    await probe_siblings(tree, functions.roles(domain), max_per_turn=1)
    for untried in wanted.values():
        least = min(untried, key=lambda node_id: tree[node_id].prior)
        assert [node_id for node_id in untried if tree[node_id].type != "unexpanded"] == [least]


async def test_a_probed_tree_is_saved_and_loaded_whole(tree, functions, domain, tmp_path):
    await probe_siblings(tree, functions.roles(domain))
    again = load_tree(save_tree(tree, tmp_path / "tree.json"))
    assert snapshot(again) == snapshot(tree)
    probes = [node.id for node in tree if isinstance(node, SpokenNode) and node.probe]
    assert [node.id for node in again if isinstance(node, SpokenNode) and node.probe] == probes
    assert [node for node, data in to_networkx(tree).nodes(data=True) if data.get("probe")] == probes


async def test_a_search_may_go_on_through_a_probe(tree, functions, domain):
    await probe_siblings(tree, functions.roles(domain), horizon=0)
    from mctsdialog._search.simulate import CheckedRoles, run_trial

    engine = CSO(tree, SearchConfig(max_iterations=60, min_iterations=60, horizon=1))
    players = CheckedRoles(functions.roles(domain), domain)
    while (trial := engine.ask()) is not None:
        engine.tell(trial, await run_trial(trial, players, domain, 1))
        tree.check()
    assert any(node.probe and node.visits > 1 for node in tree if isinstance(node, SpokenNode))


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_after_an_error_nothing_done_is_asked_again(tree, functions, domain, tmp_path, after):
    journal, original = tmp_path / "journal.jsonl", tmp_path / "tree.json"
    save_tree(tree, original)
    broken = Broken(functions, ReplyError("said nothing", role="supporter"), after)
    with pytest.raises(ReplyError, match="said nothing"):
        await probe_siblings(tree, broken.roles(domain), horizon=0, journal=journal, concurrency=1)
    kept = sum(node.probe for node in tree if isinstance(node, SpokenNode))
    assert kept == after
    functions.calls.clear()
    again = load_tree(original)
    done = await probe_siblings(again, functions.roles(domain), horizon=0, journal=journal)
    assert (done.replayed, done.done) == (after, done.asked)
    assert sum(kind == "supporter" for kind, _ in functions.calls) == done.asked - after
    undisturbed = load_tree(original)
    await probe_siblings(undisturbed, functions.roles(domain), horizon=0)
    assert snapshot(again) == snapshot(undisturbed)


async def test_a_spent_budget_is_a_clean_stop(tree, functions, domain):
    broken = Broken(functions, BudgetExceededError("calls", limit=2, used=2), 2)
    done = await probe_siblings(tree, broken.roles(domain), horizon=0, concurrency=2)
    assert (done.done, done.stop_reason) == (2, "budget: calls")
    tree.check()


async def test_as_many_are_under_way_as_wanted(tree, functions, domain):
    under_way, most = 0, 0

    class Slow:
        async def reply(self, history, strategy):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await anyio.sleep(0.01)
            under_way -= 1
            return functions.supporter(history, strategy)

    whole = functions.roles(domain)
    roles = Roles(whole.seeker, Slow(), whole.strategist, whole.judge, domain=domain)
    seen = []
    await probe_siblings(tree, roles, horizon=0, concurrency=3, on_progress=lambda *now: seen.append(now))
    assert most == 3
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(ConfigError, match="concurrency"):
        await probe_siblings(tree, roles, concurrency=0)


async def test_a_journal_of_something_else_is_refused(tree, functions, domain, tmp_path):
    journal = tmp_path / "journal.jsonl"
    await probe_siblings(tree, functions.roles(domain), journal=journal)
    with pytest.raises(JournalError, match="another search"):
        await random_record(tree, functions.roles(domain), journal=journal)


async def test_a_record_that_does_not_fit_is_one_clear_error(tree, functions, domain, tmp_path):
    journal, original = tmp_path / "journal.jsonl", tmp_path / "tree.json"
    save_tree(tree, original)
    await probe_siblings(tree, functions.roles(domain), journal=journal, horizon=0)
    from mctsdialog.journal import _decode, _encode

    lines = [_decode(line) for line in journal.read_bytes().splitlines(keepends=True)]
    lines[1]["judgements"] = []
    journal.write_bytes(b"".join(map(_encode, lines)))
    with pytest.raises(JournalError, match="does not fit"):
        await probe_siblings(load_tree(original), functions.roles(domain), journal=journal, horizon=0)


async def test_the_engine_refuses_what_is_no_probe(tree):
    engine = CSO(tree, SearchConfig())
    with pytest.raises(TrialError):
        engine.probe(1, Simulation(judgements=((1.0, 1.0, 1.0, 1.0),)))
    spoken = next(node.id for node in tree if isinstance(node, SpokenNode))
    from mctsdialog.algorithms import Exchange

    with pytest.raises(TreeError, match="unexpanded"):
        engine.probe(spoken, Simulation(judgements=((1.0, 1.0, 1.0, 1.0),), child=Exchange("a", "b")))


async def test_random_pairs_have_a_random_strategy_that_is_not_preferred(tree, functions, domain, tmp_path):
    before = snapshot(tree)
    record, done = await random_record(tree, functions.roles(domain), journal=tmp_path / "journal.jsonl")
    assert snapshot(tree) == before
    chosen = {node.id for node in record.chosen}
    assert {pair[0] for pair in record.pairs} == chosen
    assert done.asked == done.done == len({pair[1] for pair in record.pairs})
    for pair in record.expand():
        assert pair.rejected.id not in chosen
        assert tree[pair.rejected.id].parent == pair.chosen.parent
        assert tree[pair.rejected.id].strategy == pair.rejected.strategy
        assert (pair.rejected.value, pair.rejected.visits, pair.margin) == (None, 0, None)
        plain = [type(turn)(turn.speaker, turn.text) for turn in pair.history]
        assert pair.rejected.supporter == functions.supporter(plain, pair.rejected.strategy)
    assert record.fault() is None
    json.dumps(record.to_dict(), allow_nan=False)
    functions.calls.clear()
    again, replayed = await random_record(tree, functions.roles(domain), journal=tmp_path / "journal.jsonl")
    assert again == record
    assert functions.calls == []
    assert replayed.replayed == done.asked


async def test_random_strategies_depend_on_the_seed(tree, functions, domain):
    drawn = set()
    for seed in range(8):
        record, _ = await random_record(tree, functions.roles(domain), PreferenceConfig(seed=seed))
        drawn.add(record.pairs)
    assert len(drawn) > 2


async def test_a_turn_at_which_every_strategy_is_preferred_has_no_random_pair(maker, functions, domain):
    tree = maker.tree()
    maker.family(tree, 0, dict.fromkeys(domain.strategies.names, (0.9, 2, "end")))
    record, done = await random_record(tree, functions.roles(domain))
    assert (record.pairs, done.asked) == ((), 0)
    assert len(record.chosen) == 3


class Refusing(Broken):
    """A supporter that refuses some strategies for good."""

    def __init__(self, functions, refused):
        super().__init__(functions, None, 0)
        self.refused = refused

    async def reply(self, history, strategy):
        self.calls += 1
        if strategy in self.refused:
            raise ModelRefusedError("supporter: no", reason="refusal")
        return self.functions.supporter(history, strategy)


async def test_a_sibling_that_is_refused_is_closed_and_not_asked_for_again(tree, functions, domain, tmp_path):
    wanted = [node_id for each in open_turns(tree).values() for node_id in each]
    refused = [node_id for node_id in wanted if tree[node_id].strategy == "Plan"]
    assert 0 < len(refused) < len(wanted)
    untouched, again, path = load_copy(tree, tmp_path), load_copy(tree, tmp_path), tmp_path / "j.jsonl"
    supporter = Refusing(functions, {"Plan"})
    done = await probe_siblings(tree, supporter.roles(domain), journal=path)
    assert (done.asked, done.done, done.closed) == (len(wanted), len(wanted) - len(refused), len(refused))
    assert {node.id for node in tree if node.closed is not None} == set(refused)
    assert tree.closed() == {"supporter: refusal": len(refused)}
    assert all(isinstance(tree[node_id], UnexpandedNode) for node_id in refused)
    tree.check()
    calls = supporter.calls
    done = await probe_siblings(again, supporter.roles(domain), journal=path)
    assert supporter.calls == calls
    assert (done.done, done.replayed, done.closed) == (len(wanted) - len(refused),) * 2 + (len(refused),)
    assert snapshot(again) == snapshot(tree)
    assert again.closed() == tree.closed()
    assert len(path.read_text().splitlines()) == 1 + len(wanted)
    left = {node_id for each in open_turns(tree).values() for node_id in each}
    assert left <= set(refused), "a turn with refused siblings alone still has no rejected one"
    assert (await probe_siblings(load_copy(tree, tmp_path), supporter.roles(domain))).asked == 0
    assert not untouched.closed()


async def test_a_random_reply_that_is_refused_is_in_no_pair(tree, functions, domain, tmp_path):
    whole, _ = await random_record(tree, functions.roles(domain))
    refused = {pair.rejected.strategy for pair in whole.expand()} - {"Ask"}
    supporter, path = Refusing(functions, refused), tmp_path / "j.jsonl"
    record, done = await random_record(tree, supporter.roles(domain), journal=path)
    assert done.closed == sum(pair.rejected.strategy in refused for pair in whole.expand())
    assert done.done == len(record.pairs) == len(whole.pairs) - done.closed
    calls = supporter.calls
    again, _ = await random_record(tree, supporter.roles(domain), journal=path)
    assert supporter.calls == calls
    assert again == record
    assert not tree.closed(), "the tree is not changed"


async def test_a_closed_sibling_is_not_drawn_at_random(tree, functions, domain):
    whole, _ = await random_record(tree, functions.roles(domain))
    for _, rejected in whole.pairs:
        if not isinstance(tree[rejected], SpokenNode) or not tree[rejected].children:
            tree.close(rejected, "supporter: refusal")
    record, _ = await random_record(tree, functions.roles(domain))
    assert record.pairs
    assert not {rejected for _, rejected in record.pairs} & {node.id for node in tree if node.closed is not None}


def load_copy(tree, folder):
    return load_tree(save_tree(tree, folder / "copy.json"))
