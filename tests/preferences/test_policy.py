"""Every reply of a turn, what each is worth, and the policy over strategies; data of earlier versions."""

import json
import re
from functools import partial

import anyio
import pytest

import mctsdialog
from mctsdialog.algorithms import Calibration
from mctsdialog.errors import DataError
from mctsdialog.preferences import (
    ALL_FORMATS,
    PreferenceConfig,
    PreferenceDataset,
    TreeRecord,
    load_preferences,
    tree_record,
    write_dataset,
)
from mctsdialog.worlds import World


@pytest.fixture(scope="module")
def calibrated():
    """A small tree of the calibrated search."""
    world = World(7)
    config = mctsdialog.SearchConfig(algorithm="calibrated", max_iterations=10**6)
    return anyio.run(partial(mctsdialog.search, world.scenario(3), world.roles(), config, max_calls=400))


@pytest.fixture
def plain(maker):
    """A tree of Q and N alone: at its root one good reply, one bad, one that is neither."""
    tree = maker.tree()
    maker.family(tree, 0, {"Ask": (0.8, 5, "end"), "Comfort": (0.2, 3), "Plan": (0.6, 2)})
    return tree


def test_a_turn_has_every_reply_that_was_tried(plain):
    record = tree_record(plain)
    assert [node.strategy for node in record.nodes] == ["Ask", "Comfort"]
    assert [(node.strategy, node.polarity) for node in record.others] == [("Plan", "other")]
    (turn,) = record.turns()
    assert [node.strategy for node in turn.nodes] == ["Ask", "Comfort", "Plan"]
    assert turn.worths == (0.8, 0.2, 0.6)
    assert turn.confidences is None
    assert turn.policy == {"Ask": 0.8, "Comfort": 0.2, "Plan": 0.6}


def test_what_was_not_tried_has_the_mean_of_what_was(maker):
    tree = maker.tree()
    maker.family(tree, 0, {"Ask": (0.8, 5, "end"), "Plan": (0.6, 2)})
    (turn,) = tree_record(tree).turns()
    assert turn.policy == {"Ask": 0.8, "Comfort": pytest.approx(0.7), "Plan": 0.6}  # completed Q under equal priors


def test_rejected_replies_in_no_pair_are_among_the_others(plain):
    record = tree_record(plain, PreferenceConfig(min_margin=0.7))
    assert not record.pairs
    assert sorted(node.strategy for node in record.others) == ["Comfort", "Plan"]


def test_a_reply_that_was_refused_has_no_worth(maker):
    tree = maker.tree()
    maker.family(tree, 0, {"Ask": (0.8, 5, "end"), "Plan": (0.6, 2)})
    refused = next(child for child in tree.children(0) if child.supporter is None)
    tree.close(refused.id, "supporter: refusal")
    (turn,) = tree_record(tree).turns()
    assert turn.policy["Comfort"] is None
    (row,) = ALL_FORMATS["turns"].rows(PreferenceDataset.from_trees([tree]))
    assert [each["strategy"] for each in row["policy"]] == ["Ask", "Plan"]


def test_worths_are_of_posteriors_and_the_untried_are_predicted(calibrated):
    record = tree_record(calibrated)
    learnt = Calibration.from_dict(calibrated.calibration, record.strategies)
    turns = [turn for turn in record.turns() if turn.depth == 2]
    assert turns
    for turn in turns:
        for node, worth in zip(turn.nodes, turn.worths, strict=True):
            assert worth == pytest.approx(node.posterior[0] + node.value * 2 / 2)
            assert turn.policy[node.strategy] == pytest.approx(worth)
        above = calibrated[turn.parent].posterior[0]
        for child in calibrated.children(turn.parent):
            if child.supporter is None:
                own = learnt.predict(child.strategy, child.score) - 3
                assert turn.policy[child.strategy] == pytest.approx(own + (above + own) / 2)
        best = max(range(len(turn.nodes)), key=turn.worths.__getitem__)
        if len(turn.nodes) > 1:
            assert turn.confidences[best] > 0.49
            assert all(0 < each < 1 for each in turn.confidences)


def test_it_is_in_the_data_and_read_back(calibrated, tmp_path):
    dataset = PreferenceDataset.from_trees([calibrated])
    write_dataset({"train": dataset}, tmp_path / "data", formats=("tree", "turns"))
    again = load_preferences(tmp_path / "data")["train"]
    assert again.records == dataset.records
    rows = list(map(json.loads, (tmp_path / "data" / "turns" / "train.jsonl").read_text("utf-8").splitlines()))
    assert rows == list(ALL_FORMATS["turns"].rows(again))
    assert len(rows) == len(list(dataset.records[0].turns()))


def test_parquet_holds_it_too(calibrated, tmp_path):
    pytest.importorskip("pyarrow")
    dataset = PreferenceDataset.from_trees([calibrated])
    write_dataset({"train": dataset}, tmp_path / "data", formats=("tree", "turns"), file_type="parquet")
    assert load_preferences(tmp_path / "data")["train"].records == dataset.records


def test_a_record_of_an_earlier_version_has_the_replies_of_its_pairs(plain):
    data = tree_record(plain).to_dict()
    del data["others"], data["policies"]
    record = TreeRecord.from_dict(data)
    (turn,) = record.turns()
    assert [node.strategy for node in turn.nodes] == ["Ask", "Comfort"]
    assert turn.policy is None
    (row,) = ALL_FORMATS["turns"].rows(PreferenceDataset((record,), plain.domain, PreferenceConfig()))
    assert row["policy"] == []


def test_a_part_of_a_record_has_the_others_of_its_turns(calibrated):
    record = tree_record(calibrated)
    part = record.restricted(record.ends[:1])
    before = {node.parent for node in part.chosen}
    assert {node.parent for node in part.others} <= before == {policy.parent for policy in part.policies}
    assert TreeRecord.from_json(json.dumps(part.to_dict())) == part


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda data: data["others"][0].update(parent=99), "others.0"),
        (lambda data: data["others"][0].update(polarity="chosen"), "others.0.polarity"),
        (lambda data: data["others"][0].update(id=data["nodes"][0]["id"]), "others.0"),
        (lambda data: data["policies"][0].update(parent=99), "policies.0"),
        (lambda data: data["policies"][0].update(worths=[0.0]), "policies.0"),
        (lambda data: data["policies"][0].update(worths=["much"]), "policies.0.worths.0"),
    ],
)
def test_what_is_wrong_there_is_named(plain, change, field):
    data = tree_record(plain).to_dict()
    change(data)
    with pytest.raises(DataError) as caught:
        TreeRecord.from_dict(data)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "settings", [{"min_confidence": 0.9}, {"min_margin": 0.4}, {"max_per_turn": 1}, {"max_per_tree": 3}, {}]
)
def test_the_report_counts_every_pair_that_is_left_out(calibrated, settings):
    dataset = PreferenceDataset.from_trees([calibrated], PreferenceConfig(**settings))
    kept, found = re.search(r"pairs: (\d+) of (\d+) kept", str(dataset.report)).groups()
    assert int(kept) == len(list(dataset.pairs()))
    gone = [int(each) for each in re.findall(r"(\d+) left out", str(dataset.report))]
    assert int(kept) + sum(gone) == int(found)
    assert gone or not settings
