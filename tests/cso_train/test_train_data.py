"""Rows for training: every form is read, every fault is named with its place."""

import json

import pytest

from cso_train._data import TrainingData, leaks, load_data, seed_of, trained_seeds
from cso_train.errors import TrainDataError
from cso_train.methods import METHODS
from mctsdialog import DataError, PreferenceDataset, Scenario, Tree, Turn, get_domain, save_tree, write_dataset


def esc_tree(index):
    """A tree with one valid path of two turns and three rejected siblings."""
    domain = get_domain("esc")
    names = domain.strategies.names
    tree = Tree(Scenario(id=f"tree-{index}"), domain, [Turn("seeker", f"I am number {index}.")])
    priors = dict.fromkeys(names, 1 / len(names))
    first = tree.expand(0, dict.fromkeys(names, 5), priors)
    good = tree.speak(first[0], f"How is number {index}?", "Tired.", gold=True)
    bad = [tree.speak(first[2], "Make a plan.", None), tree.speak(first[7], "Read a book.", None)]
    second = tree.expand(good.id, dict.fromkeys(names, 5), priors)
    end = tree.speak(second[1], "You did well.", None, gold=True)
    worse = tree.speak(second[4], "Whatever.", None)
    for node, value, visits in ((end, 0.9, 18), (worse, -1.0, 1), (bad[0], -0.5, 1), (bad[1], -0.7, 1)):
        node.value, node.visits = value, visits
    good.visits, good.value = 19, (18 * 0.9 - 1.0) / 19
    tree.root.visits, tree.root.value = 21, (19 * good.value - 1.2) / 21
    tree.check()
    return tree


@pytest.fixture(scope="module")
def dataset():
    return PreferenceDataset.from_trees(esc_tree(index) for index in range(4))


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    write_dataset(dataset.split({"train": 0.75, "test": 0.25}), out)
    return out


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def pair(**changes):
    row = {
        "prompt": [{"role": "system", "content": "Listen."}, {"role": "user", "content": "Hi."}],
        "chosen": [{"role": "assistant", "content": "(Affirmation) Good."}],
        "rejected": [{"role": "assistant", "content": "(Share Information) Bad."}],
    }
    return {**row, **changes}


@pytest.mark.parametrize(("kind", "rows"), [("preference", 9), ("unpaired", 15), ("sft", 3)])
def test_every_kind_from_a_datasets_folder(folder, kind, rows):
    data = load_data([folder], kind)
    assert (data.kind, len(data.rows)) == (kind, rows)
    assert data.strategies == get_domain("esc").strategies.names
    assert data.warnings == {}
    assert len(load_data([folder], kind, split="test").rows) == rows // 3
    with pytest.raises(TrainDataError, match="no split 'dev'"):
        load_data([folder], kind, split="dev")


def test_trees_give_the_rows_of_their_dataset(dataset, tmp_path):
    for index in range(4):
        save_tree(esc_tree(index), tmp_path / f"tree-{index}.json")
    out = tmp_path / "out"
    write_dataset({"train": dataset}, out)
    for kind in sorted({method.kind for method in METHODS.values()}):
        assert load_data([tmp_path], kind).rows == load_data([out], kind).rows


@pytest.mark.parametrize(
    ("form", "kinds"),
    [
        ("preference", {"preference": 9, "unpaired": 18 - 3}),
        ("unpaired", {"unpaired": 15}),
        ("sft", {"sft": 3}),
        ("research", {"preference": 9, "unpaired": 15}),
        ("tree", {"preference": 9, "unpaired": 15, "sft": 3}),
    ],
)
def test_single_files_of_every_form(folder, form, kinds):
    for kind in ("preference", "unpaired", "sft"):
        if kind in kinds:
            data = load_data([folder / form / "train.jsonl"], kind)
            assert len(data.rows) == kinds[kind], (form, kind)
            if form != "sft" and kind != "sft":
                assert data.rows[0]["prompt"][0]["role"] == "system"
        else:
            with pytest.raises(TrainDataError, match="does not serve"):
                load_data([folder / form / "train.jsonl"], kind)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("{", ""),
        ("[]", ""),
        ({"text": "Hi."}, ""),
        (pair(prompt="Hi."), "prompt"),
        (pair(prompt=[]), "prompt"),
        (pair(prompt=["Hi."]), "prompt[0]"),
        (pair(prompt=[{"role": "user", "content": " "}]), "prompt[0].content"),
        (pair(prompt=[{"role": "narrator", "content": "Hi."}]), "prompt[0].role"),
        (pair(prompt=[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]), "prompt[1].role"),
        (pair(prompt=[{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]), "prompt[1].role"),
        (pair(prompt=[{"role": "assistant", "content": "a"}]), "prompt"),
        (pair(chosen=[]), "chosen"),
        (pair(rejected=[{"role": "user", "content": "a"}]), "rejected"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_field(tmp_path, row, field):
    file = write(tmp_path / "rows.jsonl", pair(), row)
    with pytest.raises((TrainDataError, DataError)) as caught:
        load_data([file], "preference")
    assert str(caught.value).startswith(f"{file}: line 2")
    assert (caught.value.field or "") == field


def test_labels_must_be_true_or_false(tmp_path):
    row = {"prompt": pair()["prompt"], "completion": pair()["chosen"], "label": 1}
    with pytest.raises(TrainDataError, match="true or false"):
        load_data([write(tmp_path / "rows.jsonl", row)], "unpaired")


def test_what_cannot_be_trained_on_is_left_out_with_a_count(tmp_path):
    file = write(tmp_path / "rows.jsonl", pair(), pair(), pair(rejected=pair()["chosen"]), "")
    data = load_data([file], "preference")
    assert len(data.rows) == 1
    assert data.warnings == {
        "exact duplicates left out": 1,
        "pairs left out whose chosen reply is the rejected one": 1,
    }


def test_replies_without_a_known_strategy_are_counted(tmp_path):
    file = write(tmp_path / "rows.jsonl", pair(chosen=[{"role": "assistant", "content": "(Sing) La."}]))
    assert load_data([file], "preference").warnings == {"replies without a strategy of the domain": 1}


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_no_rows_are_an_error(tmp_path, text):
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    with pytest.raises(TrainDataError, match="no preference rows"):
        load_data([file], "preference")


def test_missing_files_are_an_error(tmp_path):
    for name in ("absent.jsonl", "absent.json", "rows.txt"):
        with pytest.raises(DataError, match=name):
            load_data([tmp_path / name], "preference")


def test_a_split_keeps_seeds_apart(folder):
    data = load_data([folder], "preference")
    train, held = data.split(0.3, seed=1)
    assert len(train.rows) + len(held.rows) == len(data.rows)
    assert leaks(train, held) == 0
    assert leaks(data, held) == len(held.rows) > 0
    assert data.split(0.3, seed=1)[1].rows == held.rows
    with pytest.raises(TrainDataError, match="cannot be split"):
        TrainingData("preference", data.rows[:1]).split(0.5, seed=0)


def test_the_seed_is_how_the_conversation_begins():
    greeting = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Hi."}]
    assert seed_of({"prompt": greeting}) != seed_of({"prompt": greeting[1:]})
    assert seed_of({"prompt": [{"role": "system", "content": "x"}, *greeting]}) == seed_of({"messages": greeting})


def test_the_digest_changes_with_any_text(folder):
    data = load_data([folder], "preference")
    assert data.digest == load_data([folder], "preference").digest
    assert data.digest != load_data([folder], "preference", split="test").digest


@pytest.mark.parametrize("form", ["preference", "unpaired", "sft", "research", "tree"])
def test_the_seeds_of_training_data_are_told_from_any_form(folder, form):
    seeds = trained_seeds(folder)
    assert len(seeds) == 3
    assert trained_seeds(folder / form / "train.jsonl") == seeds
    assert trained_seeds(folder / form / "test.jsonl").isdisjoint(seeds)


def test_the_seeds_of_trees_are_those_of_their_dialogues(tmp_path):
    save_tree(esc_tree(0), tmp_path / "tree.json")
    assert trained_seeds(tmp_path) == trained_seeds(tmp_path / "tree.json")
    assert len(trained_seeds(tmp_path)) == 1


def test_an_empty_file_has_no_seeds_and_is_an_error(tmp_path):
    with pytest.raises((TrainDataError, DataError)):
        trained_seeds(write(tmp_path / "empty.jsonl"))
