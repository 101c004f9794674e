"""The tree record: linear, exact, and read with distrust."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctsdialog.errors import DataError
from mctsdialog.preferences import PreferenceConfig, TreeRecord, preference_pairs, tree_record, valid_paths
from mctsdialog.tree import EndNode


def pair_ids(pairs):
    return [(pair.chosen.id, pair.rejected.id) for pair in pairs]


@pytest.fixture
def record(maker):
    tree = maker.tree()
    first = maker.family(tree, 0, {"Ask": (0.8, 5, "gold"), "Comfort": (0.2, 1), "Plan": (0.6, 4)})
    maker.family(tree, first["Ask"], {"Comfort": (0.9, 2, "end", "gold"), "Plan": (-2.0, 1)})
    maker.family(tree, first["Plan"], {"Ask": (0.9, 2, "end"), "Comfort": (-1.0, 1)})
    return tree_record(tree)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6))
def test_expanding_gives_exactly_the_pairs_and_the_paths(make_random_tree, seed):
    tree = make_random_tree(seed, 150)
    record = tree_record(tree)
    assert pair_ids(record.expand()) == pair_ids(preference_pairs(tree))
    again = TreeRecord.from_json(json.dumps(record.to_dict()))
    assert again == record
    assert pair_ids(again.expand()) == pair_ids(record.expand())
    paths = valid_paths(tree)
    assert sorted(record.ends) == sorted(path[-1].id for path in paths)
    for dialogue, end in zip(record.dialogues(), record.ends, strict=True):
        assert isinstance(tree[end], EndNode)
        assert dialogue.turns == tree.history(tree[end])


def test_every_turn_is_there_once(record):
    ids = [node.id for node in record.nodes]
    assert len(ids) == len(set(ids)) == 7
    assert len(record.pairs) == 4  # Comfort beside Ask and beside Plan, and one below each


def test_rejected_turns_in_no_pair_are_left_out(maker):
    tree = maker.tree()
    maker.family(tree, 0, {"Ask": (0.75, 2, "end"), "Comfort": (0.25, 1), "Plan": (0.0, 1)})
    record = tree_record(tree, PreferenceConfig(min_margin=0.6))
    assert [node.strategy for node in record.nodes] == ["Ask", "Plan"]


def test_a_restricted_record_has_the_paths_asked_for_and_their_pairs_alone(record):
    first, second = record.ends
    part = record.restricted([first])
    assert part.ends == (first,)
    kept = {node.id for node in record.path(first)}
    assert set(part.pairs) == {pair for pair in record.pairs if pair[0] in kept}
    assert part.fault() is None
    assert record.restricted([first, second]) == record


def test_the_seed_is_the_gold_dialogue(record):
    seed = record.seed_dialogue()
    assert [turn.speaker for turn in seed.turns] == ["seeker", "supporter", "seeker", "supporter"]
    assert [turn.strategy for turn in seed.turns] == [None, "Ask", None, "Comfort"]


def test_digests_tell_texts_strategies_and_histories_apart(maker):
    digests = set()
    for text, name in (("same", "Ask"), ("other", "Ask"), ("same", "Comfort")):
        tree = maker.tree()
        made = maker.family(tree, 0, {name: (0.9, 4, ("text", text))})
        end = maker.family(tree, made[name], {"Ask": (0.9, 2, "end", ("text", "bye")), "Plan": (0, 1, ("text", "no"))})
        record = tree_record(tree)
        digests.update(digest for pair, digest in record.pair_digests() if pair[0] == end["Ask"])
    assert len(digests) == 3


def spoil(record, change):
    content = json.loads(json.dumps(record.to_dict()))
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d.update(version=2), "version"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d.pop("system"), "system"),
        (lambda d: d["nodes"][0].update(value="high"), "nodes.0.value"),
        (lambda d: d["nodes"][0].update(value=float("nan")), "nodes.0.value"),
        (lambda d: d["nodes"][1].update(id=d["nodes"][0]["id"]), "nodes.1"),
        (lambda d: d["nodes"][0].update(parent=999), "nodes.0"),
        (lambda d: d["pairs"].append([1, 1]), "pairs.4"),
        (lambda d: d["pairs"].append([1, 99999]), "pairs.4"),
        (lambda d: d["pairs"][0].reverse(), "pairs.0"),
        (lambda d: d["nodes"][0].update(polarity="fine"), "nodes.0.polarity"),
        (lambda d: d["nodes"][0].update(seeker=None), "nodes"),
        (lambda d: d.update(opening=[]), "opening"),
    ],
)
def test_what_is_unsound_is_refused_by_field(record, change, field):
    with pytest.raises(DataError) as caught:
        TreeRecord.from_json(spoil(record, change), file="train.jsonl", item="line 3")
    assert str(caught.value).startswith("train.jsonl: line 3")
    assert (caught.value.field or "").startswith(field)


@pytest.mark.parametrize("data", ["", "{", "[]", "null", '{"schema": "mctsdialog.tree"}', "[" * 100_000])
def test_what_is_no_record_is_refused(data):
    with pytest.raises(DataError):
        TreeRecord.from_json(data)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(data):
    with pytest.raises(DataError):
        TreeRecord.from_json(data)
