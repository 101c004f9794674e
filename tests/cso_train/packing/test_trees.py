"""Prefix trees of tokens, their cuts and the plans of steps: properties over any sequences."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cso_train.methods import Reply, ReplySet
from cso_train.packing._pieces import cut_into_pieces, sees
from cso_train.packing._plan import Planner
from cso_train.packing._split import Forest, Unit, split
from cso_train.packing._trie import common_prefix, segments, token_tree, tree_mask

pytestmark = pytest.mark.timeout(120)

# few different tokens, so that much is shared
sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7).map(np.array), min_size=1, max_size=8)


@given(sequences)
def test_a_tree_has_every_beginning_once_and_each_token_sees_its_own(given_sequences):
    tree = token_tree(given_sequences)
    beginnings = {tuple(each[: end + 1]) for each in given_sequences for end in range(len(each))}
    assert len(tree) == len(beginnings)
    mask = tree_mask(tree)
    for ids, path in zip(given_sequences, tree.paths, strict=True):
        assert tree.ids[path].tolist() == ids.tolist()
        assert tree.depths[path].tolist() == list(range(len(ids)))
        for depth, place in enumerate(path):
            assert np.flatnonzero(mask[place]).tolist() == path[: depth + 1].tolist()
            assert tree.parents[place] == (path[depth - 1] if depth else -1)


@given(sequences, st.integers(1, 5))
def test_a_window_leaves_the_last_tokens(given_sequences, window):
    tree = token_tree(given_sequences)
    mask = tree_mask(tree, window)
    for path in tree.paths:
        for depth, place in enumerate(path):
            assert np.flatnonzero(mask[place]).tolist() == path[max(0, depth + 1 - window) : depth + 1].tolist()


@given(sequences)
def test_segments_count_every_token_once(given_sequences):
    tree = token_tree(given_sequences)
    pieces, lengths = segments(tree)
    assert lengths.sum() == len(tree)
    for ids, path in zip(given_sequences, pieces, strict=True):
        assert sum(lengths[list(path)]) == len(ids)
    shared = set(pieces[0]) & set(pieces[-1])
    assert sum(lengths[list(shared)]) == common_prefix(given_sequences[0], given_sequences[-1])


def test_a_tree_of_nothing_is_refused():
    for wrong in ([], [np.array([], int)]):
        with pytest.raises(ValueError, match="none of them empty"):
            token_tree(wrong)


@given(sequences, st.integers(1, 9))
def test_a_piece_sees_itself_and_one_path(given_sequences, size):
    tree = token_tree(given_sequences)
    pieces, mask = cut_into_pieces(tree, size), tree_mask(tree)
    assert [place for piece in pieces for place in piece.tokens] == list(range(len(tree)))
    for piece in pieces:
        assert 0 < piece.last - piece.first <= size
        outside = np.flatnonzero(mask[piece.tokens].any(0))
        assert set(outside[outside < piece.first]) <= set(piece.path.tolist())
        assert [*piece.path, piece.first] == np.flatnonzero(mask[piece.first]).tolist()
        columns = np.concatenate([piece.path, piece.tokens])
        for window in (None, 2):
            seen = sees(tree, piece.tokens, columns, window)
            assert np.array_equal(seen, tree_mask(tree, window)[piece.tokens][:, columns])


def test_a_piece_ends_where_the_next_path_is_short():
    draw = np.random.default_rng(0)
    system = np.arange(20)
    tree = token_tree([np.concatenate([system, draw.integers(100, 900, 85)]) for _ in range(4)])
    assert [piece.first for piece in cut_into_pieces(tree, 110)][1:] == [105, 190, 275]
    assert all(len(piece.path) == 20 for piece in cut_into_pieces(tree, 110)[1:])


def test_paths_are_taken_where_packs_repeat_much_or_do_not_hold_a_row():
    trunk = np.arange(100)
    rows = [ReplySet((Reply(np.concatenate([trunk, [200 + n] * 10]), np.arange(100, 110)),)) for n in range(12)]

    def by_path(budget, memory, processes=1):
        plans = [Planner(rows, 12, budget, "pairs", 0, processes, process, memory) for process in range(processes)]
        found = [planner.step(planner.order(0), 0) for planner in plans]
        assert len({plan.by_path for plan in found}) == 1
        assert all(len(plan.packs) == 1 for plan in found if plan.by_path)
        return found[0].by_path

    assert not by_path(300, "auto")
    assert by_path(120, "auto")  # each would repeat the trunk
    assert by_path(120, "auto", 2)
    assert by_path(60, "auto")
    assert by_path(300, "path")
    assert not by_path(60, "pack")


def units_of(many):
    """Pairs of neighbouring sequences."""
    return [Unit(number, (many[number], many[number - 1]), 1) for number in range(len(many))]


@settings(max_examples=60)
@given(sequences, st.integers(3, 20))
def test_the_cut_keeps_the_budget_and_repeats_least(given_sequences, budget):
    forest = Forest(units_of(given_sequences))
    count = len(forest.units)
    cuts = forest.cut(budget)
    assert [first for first, _ in cuts] == [0, *[last for _, last in cuts[:-1]]]
    assert cuts[-1][1] == count
    assert all(forest.tokens(*each) <= budget or each[1] - each[0] == 1 for each in cuts)
    best = float("inf")
    for inner in itertools.chain.from_iterable(itertools.combinations(range(1, count), n) for n in range(count)):
        edges = list(zip([0, *inner], [*inner, count], strict=True))
        if all(forest.tokens(*each) <= budget or each[1] - each[0] == 1 for each in edges):
            best = min(best, sum(forest.tokens(*each) + 32 for each in edges))
    assert sum(forest.tokens(*each) + 32 for each in cuts) == best


@settings(max_examples=60)
@given(sequences, st.integers(3, 20), st.integers(1, 4))
def test_every_row_goes_to_one_process_and_all_have_as_many_packs(given_sequences, budget, processes):
    units = units_of(given_sequences)
    shares = split(Forest(units), budget, processes)
    assert len(shares) == processes
    assert len({len(packs) for packs in shares}) == 1
    assert sorted(row for packs in shares for pack in packs for row in pack) == list(range(len(units)))
    forest = Forest(units)
    for pack in itertools.chain.from_iterable(shares):
        inside = Forest([units[row] for row in pack]) if pack else None
        assert inside is None or len(pack) == 1 or inside.tokens(0, len(pack)) <= budget
    assert forest.tokens(0, len(units)) == len(token_tree([ids for unit in units for ids in unit.sequences]))


def test_packs_are_shared_out_evenly():
    trunk = np.arange(100)
    many = [np.concatenate([trunk, [1000 + number] * 50]) for number in range(40)]
    shares = split(Forest([Unit(number, (ids,), 100) for number, ids in enumerate(many)]), 10_000, 4)
    loads = [sum(len(token_tree([many[row] for row in pack])) for pack in packs if pack) for packs in shares]
    assert max(loads) <= 1.2 * min(loads)
    assert max(loads) < 0.5 * (100 + 40 * 50)


def rows_of(seeds):
    return [ReplySet((Reply(np.array([1, 2, number]), np.array([2])),), seed=seed) for number, seed in enumerate(seeds)]


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=12),
    st.integers(1, 5),
    st.sampled_from(["pairs", "dialogues"]),
)
def test_an_epoch_takes_every_row_once_whatever_the_processes(seeds, batch, sampler):
    rows = rows_of(seeds)
    planners = [Planner(rows, batch, 100, sampler, 0, processes=2, process=process) for process in (0, 1)]
    taken = []
    for number in range(planners[0].steps):
        plans = [planner.step(planner.order(3), number) for planner in planners]
        assert plans[0].rows == plans[1].rows
        assert sorted(row for plan in plans for pack in plan.packs for row in pack) == sorted(plans[0].rows)
        taken += plans[0].rows
    assert sorted(taken) == list(range(len(rows)))
    assert all(len(planners[0].step(planners[0].order(3), n).rows) == batch for n in range(planners[0].steps - 1))


def test_dialogues_stay_together_and_epochs_differ():
    rows = rows_of("abcdefgh" * 4)
    planner = Planner(rows, 8, 100, "dialogues", 0)
    order = planner.order(0)
    assert [rows[index].seed for index in order[::4]] == [rows[index].seed for index in order[3::4]]
    assert order == planner.order(0) != planner.order(1)
    shuffled = Planner(rows, 8, 100, "pairs", 0).order(0)
    assert [rows[index].seed for index in shuffled[::4]] != [rows[index].seed for index in shuffled[3::4]]
