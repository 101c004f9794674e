"""What people decided about pairs: read whole or refused, what many mean together, and what becomes of the data."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from mctsdialog import SearchConfig, run, search
from mctsdialog.agreement import cohen_kappa, krippendorff_alpha
from mctsdialog.cli import main
from mctsdialog.errors import ConfigError, DataError
from mctsdialog.preferences import (
    PreferenceDataset,
    Review,
    TreeRecord,
    load_preferences,
    read_reviews,
    to_dataset,
    write_dataset,
)
from mctsdialog.preferences._reviews import pair_keys, standing
from mctsdialog.tree import save_tree
from mctsdialog.worlds import World


@pytest.fixture
def tree(maker):
    """Two turns; three pairs at the first, one at the second."""
    tree = maker.tree()
    first = maker.family(tree, 0, {"Ask": (0.9, 9), "Comfort": (-0.5, 2), "Plan": (-0.7, 1)})
    maker.family(tree, first["Ask"], {"Comfort": (0.9, 5, "end"), "Plan": (-0.9, 1)})
    for node in (1, 2, 3):
        tree[node].posterior = (0.9 if node == 1 else -0.5, 0.2)
    return tree


@pytest.fixture
def dataset(tree):
    return PreferenceDataset.from_trees([tree])


def keys(dataset):
    return [key for record in dataset.records for _, key in pair_keys(record)]


def review(pair, verdict, reviewer="Ana", number=0, **more):
    return Review(f"{reviewer}-{verdict}-{number:08}".replace(" ", "-"), pair, reviewer, verdict, **more)


def texts(dataset):
    return [(pair.chosen.supporter, pair.rejected.supporter) for pair in dataset.pairs()]


def test_an_accepted_pair_stays_and_says_who_accepted_it(dataset):
    made = dataset.with_reviews([review(keys(dataset)[0], "accept")])
    assert texts(made) == texts(dataset)
    first, second, *_ = made.pairs()
    assert first.provenance()["review"] == {
        "verdict": "accept",
        "reviewers": ["Ana"],
        "others": 0,
        "original_chosen": None,
        "original_rejected": None,
        "confidence": next(dataset.pairs()).confidence,
    }
    assert first.confidence == next(dataset.pairs()).confidence
    assert second.provenance()["review"] is None
    assert list(made.dialogues()) == list(dataset.dialogues())


def test_a_swapped_pair_is_the_other_way_round_and_the_dialogues_are_what_they_were(dataset):
    made = dataset.with_reviews([review(keys(dataset)[0], "swap")])
    (chosen, rejected), *others = texts(dataset)
    assert texts(made) == [(rejected, chosen), *others]
    pair = next(made.pairs())
    assert pair.confidence is None
    assert pair.margin is None
    assert pair.review.confidence == next(dataset.pairs()).confidence > 0.6
    assert pair.history == next(dataset.pairs()).history
    assert list(made.dialogues()) == list(dataset.dialogues())


def test_an_edited_reply_keeps_its_original_and_loses_its_confidence(dataset):
    made = dataset.with_reviews([review(keys(dataset)[0], "accept", chosen="Better words.")])
    (chosen, rejected), *others = texts(dataset)
    assert texts(made) == [("Better words.", rejected), *others]
    pair = next(made.pairs())
    assert pair.confidence is None
    assert (pair.review.original_chosen, pair.review.original_rejected) == (chosen, None)
    assert list(made.dialogues()) == list(dataset.dialogues())  # the conversation went on from the original


def test_edits_name_the_searchs_sides_and_follow_a_swap(dataset):
    made = dataset.with_reviews([review(keys(dataset)[0], "swap", chosen="Was chosen.", rejected="Was rejected.")])
    assert texts(made)[0] == ("Was rejected.", "Was chosen.")
    chosen, rejected = texts(dataset)[0]
    first = next(made.pairs()).review
    assert (first.original_chosen, first.original_rejected) == (rejected, chosen)


@pytest.mark.parametrize(("verdict", "dialogues"), [("tie", 1), ("reject", 0), ("flag", 0)])
def test_other_verdicts_leave_the_pair_out(dataset, verdict, dialogues):
    made = dataset.with_reviews([review(keys(dataset)[0], verdict)])
    assert texts(made) == texts(dataset)[1:]
    assert len(list(made.dialogues())) == dialogues
    assert made.reviews.verdicts == {verdict: 1}
    assert f"1 left out: {'a tie' if verdict == 'tie' else verdict.removesuffix('g')}" in str(made.report)


def test_of_several_reviewers_more_than_half_decide_and_one_flag_is_enough(dataset):
    one, two, three = keys(dataset)
    said = [
        review(one, "accept", "Ana"),
        review(one, "swap", "Ben"),
        review(two, "accept", "Ana"),
        review(two, "accept", "Ben"),
        review(two, "swap", "Cy"),
        review(three, "accept", "Ana"),
        review(three, "accept", "Cy"),
        review(three, "flag", "Ben"),
    ]
    made = dataset.with_reviews(said)
    assert made.reviews.verdicts == {"accept": 1, "disagreed": 1, "flag": 1}
    (pair,) = made.pairs()
    assert pair.review.reviewers == ("Ana", "Ben")
    assert pair.review.others == 1


def test_the_last_decision_counts_and_undo_brings_the_one_before_back(dataset):
    pair = keys(dataset)[0]
    said = [review(pair, "accept", number=1), review(pair, "swap", number=2)]
    assert standing(said)[pair]["Ana"].verdict == "swap"
    said.append(review(pair, "undo", number=3))
    assert standing(said)[pair]["Ana"].verdict == "accept"
    said += [review(pair, "undo", number=4), review(pair, "undo", number=5)]
    assert standing(said) == {}
    assert dataset.with_reviews(said).reviews.pairs == 0


def test_reviews_of_pairs_that_are_gone_are_counted(dataset):
    made = dataset.with_reviews([review("0" * 32, "accept"), review(keys(dataset)[0], "accept", number=2)])
    assert (made.reviews.pairs, made.reviews.unknown) == (1, 1)
    assert "1 reviewed pairs are not in this data" in str(made.reviews)


def test_the_agreement_of_those_who_reviewed_the_same(dataset):
    one, two, three = keys(dataset)
    said = [review(one, "accept", "Ana"), review(one, "accept", "Ben"), review(three, "tie", "Ana")]
    said += [review(two, "swap", "Ana"), review(two, "accept", "Ben")]
    found = dataset.with_reviews(said).reviews
    assert found.twice == 2
    assert found.kappa == pytest.approx(cohen_kappa(["accept", "swap"], ["accept", "accept"]))
    assert found.alpha == pytest.approx(0.0)


def test_krippendorffs_alpha_is_that_of_his_example():
    """Krippendorff (2011), example C: four observers, twelve units, some left out; alpha = 0.743."""
    units = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=0.0005)
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) == 1.0
    with pytest.raises(ConfigError):
        krippendorff_alpha([["a"], []])


@pytest.mark.parametrize("file_type", ["jsonl", "parquet"])
def test_what_is_written_says_so_in_rows_card_and_manifest_and_is_read_back(dataset, tmp_path, file_type):
    one, two, three = keys(dataset)
    said = [review(one, "swap", chosen="Edited."), review(two, "accept", "B|en"), review(three, "flag", reason="rude")]
    made = dataset.with_reviews(said)
    write_dataset({"train": made}, tmp_path, file_type=file_type)
    again = load_preferences(tmp_path)["train"]
    assert again.records == made.records
    assert again.reviews == made.reviews
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "## Review by people" in card
    assert "Ana (2)" in card
    assert r"B\|en (1)" in card
    rows = list(to_dataset(again))
    assert [row["provenance"]["review"]["verdict"] for row in rows] == ["swap", "accept"]
    assert rows[0]["provenance"]["review"]["original_rejected"] == texts(dataset)[0][0]
    labels = {row["completion"][0]["content"]: row["label"] for row in to_dataset(again, "unpaired")}
    assert labels["(Ask) Edited."] is False


def test_a_subset_and_a_split_keep_what_people_decided(dataset):
    made = dataset.with_reviews([review(keys(dataset)[0], "swap")])
    assert texts(made.subset(1)) == texts(made)
    assert made.subset(1).reviews == made.reviews


def test_reviews_are_written_with_their_record_and_one_without_them_is_read(dataset):
    (record,) = dataset.records
    written = record.to_dict()
    assert (written.pop("reviews"), written.pop("no_dialogue")) == ([], [])
    assert TreeRecord.from_dict(json.loads(json.dumps(written))) == record  # of an earlier version
    made = dataset.with_reviews([review(keys(dataset)[0], "swap")]).records[0]
    assert TreeRecord.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    broken = made.to_dict()
    broken["reviews"][0]["chosen"] = 1
    with pytest.raises(DataError, match="are no pair of this record"):
        TreeRecord.from_dict(broken)


# -- files ----------------------------------------------------------------------------------------------------------


def written(path, *reviews):
    path.write_text("".join(each.to_line() for each in reviews), "utf-8")
    return path


def test_what_is_written_is_read_and_the_same_decision_counts_once(dataset, tmp_path):
    said = review(keys(dataset)[0], "accept", reason="l\u2028ine\n", seconds=1.5)
    assert read_reviews(written(tmp_path / "r.jsonl", said, said)) == [said]


def test_a_torn_last_line_was_never_acknowledged(dataset, tmp_path):
    said = review(keys(dataset)[0], "accept")
    file = written(tmp_path / "r.jsonl", said, replace(said, id="another-one"))
    file.write_bytes(file.read_bytes()[:-9])
    assert read_reviews(file) == [said]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("verdict", "maybe"),
        ("pair", "../x"),
        ("reviewer", " "),
        ("id", "x"),
        ("chosen", ""),
        ("more", 1),
        ("seconds", -1),
    ],
)
def test_a_wrong_line_is_named(dataset, tmp_path, field, value):
    line = json.loads(review(keys(dataset)[0], "accept").to_line())
    file = tmp_path / "r.jsonl"
    file.write_text(review(keys(dataset)[0], "tie").to_line() + json.dumps({**line, field: value}) + "\n", "utf-8")
    with pytest.raises(DataError) as caught:
        read_reviews(file)
    assert (str(caught.value.file), caught.value.item) == (str(file), "line 2")
    assert field in caught.value.field


@pytest.mark.parametrize("content", ["[]\n", "{}\n", "x\n", '{"schema": "other"}\n'])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "r.jsonl").write_text(content, "utf-8")
    with pytest.raises(DataError, match="line 1"):
        read_reviews(tmp_path / "r.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_reviews(tmp_path)


def test_the_command_applies_them(tmp_path):
    world, config = World(7), SearchConfig(algorithm="calibrated", max_iterations=60)
    tree = run(search(world.scenario(1), world.roles(), config))
    dataset = PreferenceDataset.from_trees([tree])
    save_tree(tree, tmp_path / "tree.json")
    file = written(tmp_path / "r.jsonl", review(keys(dataset)[0], "swap"), review(keys(dataset)[1], "reject"))
    words = ["preferences", str(tmp_path / "tree.json"), "--out", str(tmp_path / "out"), "--reviews"]
    done = CliRunner().invoke(main, [*words, str(file)])
    assert done.exit_code == 0, done.output
    assert "1 left out: rejected by review" in done.output
    assert "reviewed pairs: 2 (reject 1, swap 1)" in done.output
    rows = [json.loads(line) for line in (tmp_path / "out/preference/train.jsonl").read_text("utf-8").splitlines()]
    assert [row["provenance"]["review"] and row["provenance"]["review"]["verdict"] for row in rows] == [
        "swap",
        *[None] * (len(keys(dataset)) - 2),
    ]
    done = CliRunner().invoke(main, [*words, str(tmp_path / "absent.jsonl")])
    assert done.exit_code == 2
    assert "absent.jsonl" in done.output
