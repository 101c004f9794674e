"""The tree: growing, looking up, walking, checking, at any depth."""

import gc
import math
import tracemalloc

import pytest

from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.errors import TreeError
from mctsdialog.tree import EndNode, ExpandedNode, Rollout, RolloutStep, RootNode, Tree, UnexpandedNode

OPENING = (Turn("seeker", "Hello."),)


def uniform(domain):
    names = domain.strategies.names
    return dict.fromkeys(names, 5.0), dict.fromkeys(names, 1 / len(names))


@pytest.fixture
def tree(domain):
    """Root, three children; the first expanded, the second an end, the third unexpanded; nothing visited."""
    tree = Tree(Scenario(id="t"), domain, OPENING)
    tree.expand(0, *uniform(domain))
    tree.speak(1, "Why?", "Because.")
    tree.speak(2, "Bye.", None)
    return tree


def visit(node, visits, value=0.5):
    node.visits, node.value = visits, value


def chain(domain, depth):
    tree = Tree(Scenario(id="chain"), domain, OPENING)
    node_id = 0
    for level in range(depth):
        node_id = tree.expand(node_id, *uniform(domain))[0]
        node = tree.speak(node_id, f"s{level}", f"u{level}", gold=True)
        node.visits, node.value = 1, 0.5
    tree.root.visits, tree.root.value = 1, 0.5
    return tree


def test_types_ids_and_links(tree):
    assert [type(node) for node in tree] == [RootNode, ExpandedNode, EndNode, UnexpandedNode]
    assert [node.id for node in tree] == [0, 1, 2, 3]
    assert tree.root.children == range(1, 4)
    assert [child.strategy for child in tree.children(tree.root)] == ["Ask", "Comfort", "Plan"]
    assert tree.parent(tree[3]) is tree.root
    assert tree.parent(tree.root) is None
    assert tree.counts() == {"root": 1, "unexpanded": 1, "expanded": 1, "end": 1}
    assert tree.ends == 1
    assert tree[1].children == range(0)


def test_history_has_strategies_and_stops_at_the_parent_of_an_unexpanded_node(tree, domain):
    tree.expand(1, *uniform(domain))
    assert tree.history(tree[1]) == (*OPENING, Turn("supporter", "Why?", "Ask"), Turn("seeker", "Because."))
    assert tree.history(tree[2]) == (*OPENING, Turn("supporter", "Bye.", "Comfort"))
    assert tree.history(tree[4]) == tree.history(tree[1])


def test_walk_is_depth_first_and_parents_come_first(tree, domain):
    tree.expand(1, *uniform(domain))
    assert [node.id for node in tree.walk()] == [0, 1, 4, 5, 6, 2, 3]
    assert [node.id for node in tree.walk(tree[1])] == [1, 4, 5, 6]


def test_unknown_id_and_impossible_growth(tree, domain):
    for node_id in (-1, 99):
        with pytest.raises(TreeError, match="no such node"):
            tree[node_id]
    with pytest.raises(TreeError, match="node 2"):
        tree.expand(2, *uniform(domain))
    with pytest.raises(TreeError, match="without children"):
        tree.expand(0, *uniform(domain))
    with pytest.raises(TreeError, match="unexpanded"):
        tree.speak(1, "Again?", "Yes.")
    with pytest.raises(TreeError, match="seeker"):
        Tree(Scenario(), domain, (Turn("supporter", "Hi.", "Ask"),))


def test_equal_replies_stay_separate_nodes(tree, domain):
    tree.speak(3, "Why?", "Because.")
    assert tree[1] is not tree[3]
    assert tree[3].supporter == tree[1].supporter


def test_best_path_is_the_highest_mean_and_ties_go_to_the_first(domain):
    tree = chain(domain, 3)
    for node_id, value in ((8, 0.2), (9, 0.9)):
        node = tree.speak(node_id, "end", None)
        node.visits, node.value = 1, value
    best = tree.best_path()
    assert best
    assert [node.id for node in best.nodes] == [0, 1, 4, 9]
    assert best.value == pytest.approx((0.5 + 0.5 + 0.9) / 3)
    assert best.turns == tree.history(tree[9])
    assert best.strategies == tuple(tree[place].strategy for place in (1, 4, 9))


def test_a_tree_without_a_visited_end_has_an_empty_best_path(domain):
    best = Tree(Scenario(), domain, OPENING).best_path()
    assert not best
    assert (len(best), best.nodes, best.turns, best.strategies) == (0, (), (), ())
    assert math.isnan(best.value)


def test_the_pair_of_version_0_1_can_still_be_taken_from_a_best_path(domain):
    tree = chain(domain, 3)
    tree.speak(8, "end", None).visits = 1
    best = tree.best_path()
    with pytest.warns(DeprecationWarning, match="an object with nodes, turns and value"):
        nodes, value = best
    assert (nodes, value) == (list(best.nodes), best.value)
    with pytest.warns(DeprecationWarning, match="an object with nodes, turns and value"):
        assert best[1] == best.value


def test_what_a_node_does_not_hold_is_none(domain):
    tree = Tree(Scenario(), domain, OPENING)
    untried, *_ = (tree[place] for place in tree.expand(0, {}, dict.fromkeys(domain.strategies.names, 1 / 3)))
    assert (untried.strategy, untried.supporter, untried.seeker) == (domain.strategies.names[0], None, None)
    assert (tree.root.strategy, tree.root.supporter, tree.root.seeker) == (None, None, None)
    end = tree.speak(untried.id, "Bye.", None)
    assert (end.supporter, end.seeker) == ("Bye.", None)
    assert tree.speak(2, "And?", "So.").seeker == "So."
    with pytest.raises(AttributeError):
        untried.supporter = "text"


def test_a_chain_of_10000_nodes_works_everywhere(domain):
    tree = chain(domain, 10_000)
    last = tree[len(tree) - 3]
    assert len(tree.history(last)) == 20_001
    assert len(tree.path(last)) == 10_001
    assert tree.depth(last) == 10_000
    assert sum(1 for _ in tree.walk()) == len(tree) == 30_001
    assert not tree.best_path()
    tree.check()


def test_check_accepts_own_visit_of_the_highest_prior_child(domain):
    tree = Tree(Scenario(), domain, OPENING)
    tree.expand(0, {"Ask": 1.0, "Comfort": 9.0}, {"Ask": 0.2, "Comfort": 0.7, "Plan": 0.1})
    node = tree.speak(2, "Oh.", "Yes.")
    node.rollout = Rollout((RolloutStep("Ask", "a", None),), ((1.0,) * 4, (2.0,) * 4), -1.5)
    node.visits = tree.root.visits = 1
    node.value = tree.root.value = -1.5
    tree.check()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tree: setattr(tree[1], "visits", 5), "visits"),
        (lambda tree: setattr(tree[4], "value", 0.9), "mean|value"),
        (lambda tree: (visit(tree.root, 2), visit(tree[3], 1)), "unexpanded"),
        (lambda tree: setattr(tree[1], "prior", 0.9), "sum to 1"),
        (lambda tree: (setattr(tree[1], "prior", -0.1), setattr(tree[2], "prior", 2.3 / 3)), "prior -0.1"),
        (lambda tree: setattr(tree[2], "parent", 1), "another parent"),
        (lambda tree: setattr(tree[1], "value", float("nan")), "Q ="),
        (lambda tree: setattr(tree[2], "strategy", "Ask"), "strategy, in order"),
        (lambda tree: setattr(tree[2], "id", 7), "position"),
        (lambda tree: setattr(tree, "_ends", 3), "end nodes"),
        (lambda tree: setattr(tree[4], "_children", range(2, 5)), "linked|range"),
    ],
)
def test_check_finds_each_broken_invariant(domain, spoil, message):
    tree = chain(domain, 2)
    tree.check()
    spoil(tree)
    with pytest.raises(TreeError, match=message):
        tree.check()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_at_most_300_bytes_a_node_beside_text(domain_maker, hash_roles):
    """A searched tree of eight strategies; every text is one shared object, so that it costs nothing."""
    import mctsdialog

    domain = domain_maker(tuple("ABCDEFGH"))
    roles = hash_roles(domain.strategies.names, end_one_in=0)
    roles.seeker = lambda history: "well"
    roles.supporter = lambda history, strategy: "so"
    scores = roles.strategist
    roles.strategist = lambda history: dict(scores(history[-1:]))
    roles.judge = lambda history: mctsdialog.JudgeScores(1, 2, 3, len(history) % 4)
    config = mctsdialog.SearchConfig(max_iterations=600, min_iterations=600, c=8.0)
    await mctsdialog.search(mctsdialog.Scenario(), roles.roles(), config.replace(max_iterations=2), domain=domain)
    roles.calls.clear()  # the double's own notes
    gc.collect()
    tracemalloc.start()
    try:
        tree = await mctsdialog.search(mctsdialog.Scenario(), roles.roles(), config, domain=domain)
        roles.calls.clear()
        gc.collect()
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(tree) > 4000
    assert used / len(tree) <= 300
