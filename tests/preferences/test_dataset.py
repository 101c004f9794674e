"""Datasets of many trees: duplicates, splits by seed, subsets, and what the report says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctsdialog.errors import ConfigError, DataError
from mctsdialog.preferences import DatasetBuilder, PreferenceConfig, PreferenceDataset


def small_tree(maker, id, opening=None, paths=1):
    tree = maker.tree(id=id, opening=opening or f"I am {id}.")
    names = ("Ask", "Comfort")[:paths]
    children = {name: (0.9, 2, "end", ("text", f"{name} of {opening or id}")) for name in names}
    maker.family(tree, 0, {**children, "Plan": (-1.0, 1, ("text", "Do it."))})
    return tree


def pairs(dataset):
    return [(pair.tree_id, pair.chosen.id, pair.rejected.id) for pair in dataset.pairs()]


def ids(dataset):
    return {record.id for record in dataset.records}


def test_exact_duplicates_of_other_trees_go_and_are_counted(maker):
    trees = [small_tree(maker, "one", "Hello."), small_tree(maker, "two", "Hello."), small_tree(maker, "three")]
    dataset = PreferenceDataset.from_trees(trees)
    assert [pair[0] for pair in pairs(dataset)] == ["one", "three"]
    assert dataset.report.counts["exact duplicates"] == 1
    assert "1 left out: exact duplicates" in str(dataset.report)
    assert [dialogue.id for dialogue in dataset.dialogues()] == ["one/1", "three/1"]


def test_trees_without_a_valid_path_are_counted_by_reason(maker):
    no_end = maker.tree(id="no end")
    maker.family(no_end, 0, {"Ask": (0.9, 3)})
    few = maker.tree(id="few visits")
    maker.family(few, 0, {"Ask": (0.9, 1, "end")})
    low_root = maker.tree(0.4, id="low root")
    maker.family(low_root, 0, {"Ask": (0.9, 3, "end")})
    low = maker.tree(id="low")
    maker.family(low, 0, {"Ask": (0.4, 3, "end")})
    dataset = PreferenceDataset.from_trees([no_end, few, low_root, low, small_tree(maker, "fine")])
    assert dataset.report.without_path == {
        "no end node": 1,
        "no end node with 2 visits": 1,
        "root below theta": 1,
        "no path at theta or above": 1,
    }
    assert "5 trees, 1 with a valid path" in str(dataset.report)
    assert len(dataset.records) == 5


def test_trees_of_different_domains_are_refused(maker, domain_maker):
    other = domain_maker(("Ask", "Comfort", "Push"))
    strange = maker.tree(id="strange", domain=other)
    with pytest.raises(DataError, match="another 'test'") as caught:
        PreferenceDataset.from_trees([small_tree(maker, "one"), strange])
    assert "strange" in str(caught.value)


def test_no_trees_are_refused():
    with pytest.raises(DataError, match="no trees"):
        DatasetBuilder(PreferenceConfig()).build()


@settings(max_examples=40)
@given(count=st.integers(2, 30), part=st.floats(0.05, 0.95), seed=st.integers(0, 5))
def test_a_split_takes_every_tree_once_and_no_seed_twice(maker, count, part, seed):
    trees = [small_tree(maker, f"t{index}", f"opening {index // 2}") for index in range(count)]
    if count < 3:
        trees.append(small_tree(maker, "more"))
    dataset = PreferenceDataset.from_trees(trees, PreferenceConfig(seed=seed))
    splits = dataset.split({"train": part, "test": 1 - part})
    assert [len(splits["train"].records) + len(splits["test"].records)] == [len(trees)]
    openings = [{record.opening for record in split.records} for split in splits.values()]
    assert not openings[0] & openings[1]
    assert all(openings)
    assert sorted(pairs(splits["train"]) + pairs(splits["test"])) == sorted(pairs(dataset))


def test_trees_with_one_id_are_one_seed(maker):
    trees = [small_tree(maker, f"t{index % 5}", f"opening {index}") for index in range(10)]
    splits = PreferenceDataset.from_trees(trees).split({"train": 0.6, "test": 0.4})
    assert not ids(splits["train"]) & ids(splits["test"])
    assert len(splits["train"].records) == 6


def test_splits_depend_on_the_seed_and_on_nothing_else(maker):
    trees = [small_tree(maker, f"t{index}") for index in range(12)]
    chosen = [
        ids(PreferenceDataset.from_trees(order, PreferenceConfig(seed=seed)).split({"a": 0.5, "b": 0.5})["a"])
        for order, seed in ((trees, 0), (trees[::-1], 0), (trees, 1))
    ]
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize("parts", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 0.5, "b": 0.6}])
def test_fractions_must_sum_to_one(maker, parts):
    with pytest.raises(ConfigError, match="sum to 1"):
        PreferenceDataset.from_trees([small_tree(maker, "one")]).split(parts)


def test_every_part_has_seeds_with_a_valid_path(maker):
    empty = []
    for index in range(6):
        tree = maker.tree(id=f"e{index}", opening=f"nothing {index}")
        maker.family(tree, 0, {"Plan": (-1.0, 1)})
        empty.append(tree)
    trees = [*empty, small_tree(maker, "one"), small_tree(maker, "two")]
    splits = PreferenceDataset.from_trees(trees).split({"train": 0.9, "test": 0.1})
    assert len(pairs(splits["train"])) == len(pairs(splits["test"])) == 1
    assert len(splits["train"].records) == 7


def test_more_parts_than_seeds_are_refused(maker):
    dataset = PreferenceDataset.from_trees([small_tree(maker, "one"), small_tree(maker, "two", "I am one.")])
    with pytest.raises(ConfigError, match="1 seed dialogues"):
        dataset.split({"train": 0.9, "test": 0.1})


def test_subsets_are_nested_and_hold_the_pairs_of_their_dialogues(maker):
    dataset = PreferenceDataset.from_trees([small_tree(maker, f"t{index}", paths=2) for index in range(6)])
    assert len(list(dataset.dialogues())) == 12
    before = set()
    for size in (1, 4, 7, 12):
        part = dataset.subset(size)
        dialogues = {dialogue.id for dialogue in part.dialogues()}
        assert len(dialogues) == size
        assert before <= dialogues
        assert {f"{tree}/{chosen}" for tree, chosen, _ in pairs(part)} == dialogues  # one turn a dialogue
        before = dialogues
    assert sorted(pairs(dataset.subset(12))) == sorted(pairs(dataset))
    with pytest.raises(ConfigError, match="there are 12"):
        dataset.subset(13)


def test_seeds_are_there_once(maker):
    trees = []
    for name in ("one", "two"):
        tree = maker.tree(id=name)
        maker.family(tree, 0, {"Ask": (0.9, 101, "end", "gold", ("text", "How so?"))})
        trees.append(tree)
    assert [seed.id for seed in PreferenceDataset.from_trees(trees).seeds()] == ["one"]
