"""Valid paths and pairs: hand-made trees with known answers, and brute force written from equations 5 and 6."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctsdialog.dialogue import Turn
from mctsdialog.errors import ConfigError
from mctsdialog.preferences import PreferenceConfig, PreferenceDataset, preference_pairs, tree_record, valid_paths
from mctsdialog.tree import EndNode, ExpandedNode


def ids(paths):
    return [[node.id for node in path] for path in paths]


def pair_ids(tree, **settings):
    return [(pair.chosen.id, pair.rejected.id) for pair in preference_pairs(tree, **settings)]


def brute_force_paths(tree, theta, min_visits, path_rule):
    """Equation 5, for every node of the tree."""
    found = []
    for node in tree:
        path = tree.path(node)
        if not isinstance(node, EndNode) or node.visits < min_visits or node.closed is not None:
            continue
        tested = path if path_rule == "all" else [node]
        if all(each.value >= theta for each in tested):
            found.append([each.id for each in path])
    return found


def brute_force_pairs(tree, theta, min_visits, path_rule):
    """Equation 6, path by path; duplicates go."""
    paths = brute_force_paths(tree, theta, min_visits, path_rule)
    on_a_path = {node_id for path in paths for node_id in path}
    found = set()
    for path in paths:
        for w in path[1:]:
            for low in tree.children(tree[tree[w].parent]):
                tried = isinstance(low, ExpandedNode | EndNode) and low.closed is None
                if low.id != w and tried and low.id not in on_a_path and low.value < theta and low.visits >= 1:
                    found.add((w, low.id))
    return found


def test_no_valid_path_no_pairs(maker):
    tree = maker.tree()
    maker.family(tree, 0, {"Ask": (0.9, 5), "Plan": (-1.0, 3)})
    assert valid_paths(tree) == []
    assert preference_pairs(tree) == []


def test_a_path_and_its_low_sibling(maker):
    tree = maker.tree()
    first = maker.family(tree, 0, {"Ask": (0.8, 5), "Comfort": (0.2, 1), "Plan": (0.49, 2)})
    second = maker.family(tree, first["Ask"], {"Comfort": (0.9, 2, "end"), "Plan": (-2.0, 1, "end")})
    assert ids(valid_paths(tree)) == [[0, first["Ask"], second["Comfort"]]]
    assert pair_ids(tree) == [
        (first["Ask"], first["Comfort"]),
        (first["Ask"], first["Plan"]),
        (second["Comfort"], second["Plan"]),
    ]


def test_an_end_of_one_visit_is_not_enough(maker):
    tree = maker.tree()
    made = maker.family(tree, 0, {"Ask": (0.9, 1, "end"), "Plan": (-1.0, 1)})
    assert valid_paths(tree) == []
    assert ids(valid_paths(tree, min_visits=1)) == [[0, made["Ask"]]]


def test_q_equal_to_theta_is_valid_and_so_never_rejected(maker):
    tree = maker.tree(value=0.5)
    made = maker.family(tree, 0, {"Ask": (0.5, 2, "end"), "Comfort": (0.5, 2), "Plan": (0.4999, 2)})
    assert ids(valid_paths(tree)) == [[0, made["Ask"]]]
    assert pair_ids(tree) == [(made["Ask"], made["Plan"])]


@pytest.mark.parametrize("weak", ["root", "middle"])
def test_one_weak_node_spoils_the_path_unless_the_end_alone_counts(maker, weak):
    tree = maker.tree(value=0.1 if weak == "root" else 0.9)
    first = maker.family(tree, 0, {"Ask": (0.1 if weak == "middle" else 0.9, 4), "Plan": (-1.0, 1)})
    maker.family(tree, first["Ask"], {"Comfort": (0.9, 2, "end")})
    assert valid_paths(tree) == []
    assert len(valid_paths(tree, path_rule="end")) == 1
    assert pair_ids(tree, path_rule="end") == [(first["Ask"], first["Plan"])]


def test_shared_beginnings_give_each_pair_once(maker):
    tree = maker.tree()
    first = maker.family(tree, 0, {"Ask": (0.8, 9), "Plan": (-1.0, 1)})
    second = maker.family(tree, first["Ask"], {"Ask": (0.7, 3, "end"), "Comfort": (0.9, 2, "end"), "Plan": (0.0, 1)})
    assert len(valid_paths(tree)) == 2
    assert pair_ids(tree) == [
        (first["Ask"], first["Plan"]),
        (second["Ask"], second["Plan"]),
        (second["Comfort"], second["Plan"]),
    ]


def test_a_gold_path_says_that_it_is_gold(maker):
    tree = maker.tree()
    first = maker.family(tree, 0, {"Ask": (0.9, 101, "gold"), "Plan": (-1.0, 1)})
    maker.family(tree, first["Ask"], {"Comfort": (1.0, 100, "end", "gold")})
    (pair,) = preference_pairs(tree)
    assert pair.chosen.gold
    assert not pair.rejected.gold
    assert pair.provenance() == {
        "tree": "tree-1",
        "domain": "test",
        "turn": 1,
        "depth": 1,
        "parent": 0,
        "chosen_node": first["Ask"],
        "chosen_strategy": "Ask",
        "chosen_value": 0.9,
        "chosen_visits": 101,
        "rejected_node": first["Plan"],
        "rejected_strategy": "Plan",
        "rejected_value": -1.0,
        "rejected_visits": 1,
        "gold": True,
        "confidence": None,
        "chosen_worth": 0.9,
        "rejected_worth": -1.0,
        "review": None,
    }


def test_a_sibling_on_another_valid_path_is_not_rejected_even_when_only_the_end_counts(maker):
    tree = maker.tree()
    first = maker.family(tree, 0, {"Ask": (0.9, 4), "Comfort": (-0.5, 4), "Plan": (-0.6, 1)})
    maker.family(tree, first["Ask"], {"Ask": (0.8, 2, "end")})
    maker.family(tree, first["Comfort"], {"Ask": (0.8, 2, "end")})
    assert pair_ids(tree, path_rule="end") == [
        (first["Ask"], first["Plan"]),
        (first["Comfort"], first["Plan"]),
    ]
    assert pair_ids(tree) == [(first["Ask"], first["Comfort"]), (first["Ask"], first["Plan"])]


def test_untried_and_unvisited_siblings_and_good_ones_are_not_rejected(maker):
    tree = maker.tree()
    maker.family(tree, 0, {"Ask": (0.9, 2, "end"), "Comfort": (0.0, 0), "Plan": (0.6, 7)})
    assert preference_pairs(tree) == []


def test_replies_with_the_same_words_are_pairs_where_their_strategies_differ(maker):
    tree = maker.tree()
    same = ("text", "I hear you.")
    maker.family(tree, 0, {"Ask": (0.9, 2, "end", same), "Comfort": (0.0, 1, same), "Plan": (-1.0, 1, same)})
    assert len(preference_pairs(tree)) == 2


def test_a_closed_node_is_neither_chosen_nor_rejected(maker):
    tree = maker.tree()
    first = maker.family(tree, 0, {"Ask": (0.8, 5), "Comfort": (0.2, 1), "Plan": (0.4, 2)})
    second = maker.family(tree, first["Ask"], {"Ask": (0.9, 2, "end"), "Comfort": (0.9, 2, "end"), "Plan": (-2.0, 1)})
    for closed in (first["Comfort"], second["Ask"], second["Plan"]):
        tree.close(closed, "judge: refusal")
    assert ids(valid_paths(tree)) == [[0, first["Ask"], second["Comfort"]]]
    assert pair_ids(tree) == [(first["Ask"], first["Plan"])]
    report = PreferenceDataset.from_trees([tree]).report
    assert report.closed == {"judge: refusal": 3}
    assert "closed nodes, in no pair: 3 (judge: refusal 3)" in str(report)
    tree.close(second["Comfort"], "judge: refusal")
    assert valid_paths(tree) == []


def test_the_history_is_whole_and_ends_with_the_seeker(maker):
    tree = maker.tree()
    first = maker.family(tree, 0, {"Ask": (0.8, 5)})
    maker.family(tree, first["Ask"], {"Comfort": (0.9, 2, "end"), "Plan": (-2.0, 1)})
    (pair,) = preference_pairs(tree)
    node = tree[first["Ask"]]
    assert pair.history == (
        Turn("seeker", "I am tired."),
        Turn("supporter", node.supporter, "Ask"),
        Turn("seeker", node.seeker),
    )
    assert (pair.turn, pair.depth, pair.tree_id) == (3, 2, "tree-1")
    assert pair.margin == pytest.approx(2.9)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    theta=st.sampled_from([0.5, 0.4999, 0.7, -0.3, 1.0]),
    min_visits=st.integers(0, 3),
    path_rule=st.sampled_from(["all", "end"]),
)
def test_pairs_are_those_of_brute_force(make_random_tree, seed, theta, min_visits, path_rule):
    tree = make_random_tree(seed, 150)
    rules = {"theta": theta, "min_visits": min_visits, "path_rule": path_rule}
    assert ids(valid_paths(tree, **rules)) == brute_force_paths(tree, **rules)
    found = pair_ids(tree, **rules)
    assert len(found) == len(set(found))
    assert set(found) == brute_force_pairs(tree, **rules)
    for pair in preference_pairs(tree, **rules):
        assert pair.history == tree.history(tree[pair.chosen.parent])
        for side in (pair.chosen, pair.rejected):
            node = tree[side.id]
            assert (side.strategy, side.supporter, side.value) == (node.strategy, node.supporter, node.value)


def test_margins_are_strict(maker):
    tree = maker.tree()
    made = maker.family(tree, 0, {"Ask": (0.75, 2, "end"), "Comfort": (0.25, 1), "Plan": (0.0, 1)})
    assert pair_ids(tree, min_margin=0.5) == [(made["Ask"], made["Plan"])]
    assert len(preference_pairs(tree, min_margin=0.49)) == 2


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), draw=st.integers(0, 3), turn_cap=st.integers(1, 3), tree_cap=st.integers(1, 12))
def test_caps_keep_some_of_the_pairs_the_same_for_the_same_seed(make_random_tree, seed, draw, turn_cap, tree_cap):
    tree = make_random_tree(seed)
    every = pair_ids(tree)
    kept = pair_ids(tree, max_per_turn=turn_cap, max_per_tree=tree_cap, seed=draw)
    assert kept == pair_ids(tree, max_per_turn=turn_cap, max_per_tree=tree_cap, seed=draw)
    assert [pair for pair in every if pair in kept] == kept
    per_turn = {}
    for chosen, _ in every:
        per_turn[tree[chosen].parent] = per_turn.get(tree[chosen].parent, 0) + 1
    assert len(kept) == min(tree_cap, sum(min(turn_cap, count) for count in per_turn.values()))


def test_another_seed_draws_other_pairs(make_random_tree):
    tree = next(tree for tree in map(make_random_tree, range(100)) if len(preference_pairs(tree)) > 15)
    drawn = {tuple(pair_ids(tree, max_per_tree=5, seed=seed)) for seed in range(10)}
    assert len(drawn) > 5


@pytest.mark.parametrize("theta", [1.01, -3.01, float("nan"), float("inf")])
def test_a_theta_that_is_no_reward_is_refused(maker, theta):
    tree = maker.tree()
    with pytest.raises(ConfigError, match="theta") as caught:
        preference_pairs(tree, theta=theta)
    assert caught.value.field == "theta"


def test_the_range_of_theta_is_that_of_the_trees_own_bias(maker):
    tree = maker.tree()
    tree.config = {"bias": 0.0}
    assert preference_pairs(tree, theta=3.5) == []
    with pytest.raises(ConfigError, match="0 to 4"):
        preference_pairs(tree, theta=-0.5)


@pytest.mark.parametrize(
    "settings",
    [{"min_visits": -1}, {"path_rule": "some"}, {"max_per_turn": 0}, {"max_per_tree": 0}, {"min_margin": float("nan")}],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ConfigError) as caught:
        PreferenceConfig(**settings)
    assert caught.value.field == next(iter(settings))


def test_a_chain_of_10000_turns(maker):
    tree = maker.tree()
    node_id = 0
    for _ in range(10_000):
        node_id = maker.family(tree, node_id, {"Ask": (0.9, 3), "Plan": (-1.0, 1)})["Ask"]
    maker.family(tree, node_id, {"Ask": (0.9, 3, "end"), "Plan": (-1.0, 1)})
    record = tree_record(tree)
    assert len(record.pairs) == 10_001
    assert len(list(record.expand())[-1].history) == 20_001
    assert len(next(iter(record.dialogues())).turns) == 20_002
