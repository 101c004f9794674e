"""Preference data of version 0.1, in every form: read, counted, written again and taken in for training."""

import hashlib
import json
from pathlib import Path

import pytest

from cso_train._data import load_data, trained_seeds
from mctsdialog.cli import main
from mctsdialog.preferences import PreferenceConfig, load_preferences, read_rows, read_trees
from mctsdialog.statistics import DatasetStatistics, dataset_statistics

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.timeout(60)
FORMS = ("preference", "research", "sft", "tree", "unpaired")
FOLDERS = ("jsonl", "parquet")
NEEDED = {"preference": ("preference", "unpaired"), "research": ("preference", "unpaired")}
NEEDED |= {"unpaired": ("unpaired",), "sft": ("sft",), "tree": ("preference", "unpaired", "sft")}


@pytest.fixture
def data(take):
    """The folder of preference data."""
    return take("preferences") / "preferences"


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_read_with_all_its_splits(data, expected, holds, name):
    splits = load_preferences(data / name)
    assert list(splits) == ["train", "test"]
    for split, known in expected["preferences"]["splits"].items():
        found = splits[split]
        assert len(found.records) == known["trees"]
        holds([pair.provenance() for pair in found.pairs()], known["pairs"])
        assert [each.id for each in found.dialogues()] == known["dialogues"]
        assert [each.id for each in found.seeds()] == known["seeds"]
        assert (found.config.theta, found.config.min_visits) == (0.4, 1)
        assert found.domain.name == "kept"
    assert sum(len(known["pairs"]) for known in expected["preferences"]["splits"].values()) > 5


def test_every_file_has_its_rows_and_its_digest(data, expected):
    found = {
        path.relative_to(data).as_posix(): len(list(read_rows(path)))
        for path in data.rglob("*")
        if path.suffix in (".jsonl", ".parquet")
    }
    found = {name: rows for name, rows in found.items() if name.split("/")[0] in FOLDERS}
    assert found == expected["preferences"]["rows"]
    for folder in data.iterdir():
        for name, entry in json.loads((folder / "dataset.json").read_text("utf-8"))["files"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"]


@pytest.mark.parametrize("form", FORMS)
def test_parquet_has_the_rows_of_the_json_lines(data, holds, lines, form):
    for split in ("train", "test"):
        rows = lines(data / "jsonl" / form / f"{split}.jsonl")
        holds(list(read_rows(data / "parquet" / form / f"{split}.parquet")), rows)


def plain(message):
    return message["content"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FOLDERS)
def test_every_form_is_taken_in_for_training(data, lines, form, name):
    raw = lines(data / "jsonl" / "preference" / "train.jsonl")
    pairs = [(plain(row["chosen"][0]), plain(row["rejected"][0])) for row in raw]
    path = data / name / form / f"train.{name}"
    for kind in NEEDED[form]:
        found = load_data([path], kind, domain=load_preferences(data / name)["train"].domain)
        assert found.strategies == ("Ask", "Comfort", "Plan")
        assert "replies without a strategy of the domain" not in found.warnings
        if kind == "preference":
            assert [(plain(row["chosen"][0]), plain(row["rejected"][0])) for row in found.rows] == pairs
        if kind == "unpaired":
            assert {(plain(row["completion"][0]), row["label"]) for row in found.rows} >= {(pairs[0][1], False)}
        if kind == "sft":
            assert len(found.rows) == len(lines(data / "jsonl" / "sft" / "train.jsonl"))
            assert all(row["messages"][0]["role"] == "system" for row in found.rows)


def test_a_folder_and_searched_trees_are_taken_in_too(data, take, lines):
    take("search/finished")
    whole = [row for split in ("train", "test") for row in lines(data / "jsonl" / "preference" / f"{split}.jsonl")]
    split = load_data([data / "jsonl"], "preference", split="test")
    assert len(split.rows) == len(lines(data / "jsonl" / "preference" / "test.jsonl"))
    loose = PreferenceConfig(theta=0.4, min_visits=1)
    trees = load_data(["search/finished/trees"], "preference", preferences=loose)
    keys = ("prompt", "chosen", "rejected")
    texts = [[json.dumps({key: row[key] for key in keys}) for row in rows] for rows in (trees.rows, whole)]
    assert sorted(texts[0]) == sorted(texts[1])
    assert len(trained_seeds(data / "jsonl")) == 2


def test_the_pairs_are_extracted_from_the_trees_as_they_were(take, expected, holds):
    take("search/finished")
    found = read_trees("search/finished", PreferenceConfig(theta=0.4, min_visits=1))
    known = [pair for each in expected["preferences"]["splits"].values() for pair in each["pairs"]]
    by_place = sorted((pair.provenance() for pair in found.pairs()), key=json.dumps)
    holds(by_place, sorted(known, key=json.dumps))


@pytest.mark.parametrize("name", FOLDERS)
def test_statistics_of_a_folder_are_what_they_were(data, take, run, holds, name):
    take("statistics")
    known = json.loads(Path("statistics/statistics.json").read_text("utf-8"))
    assert (
        DatasetStatistics.model_validate_json(Path("statistics/statistics.json").read_bytes()).pairs == known["pairs"]
    )
    run(main, "stats", data / name, "--no-figures", "--out", "now")
    now = json.loads(Path("now/statistics.json").read_text("utf-8"))
    counted = (
        "trees",
        "pairs",
        "sizes",
        "strategy_counts",
        "stages",
        "transitions",
        "unscored_pairs",
        "pairs_by_depth",
    )
    for part in counted:
        holds(now[part], known[part], part)
    holds(now["margins"]["mean"], known["margins"]["mean"])
    assert dataset_statistics(load_preferences(data / "random")["train"]).unscored_pairs > 0


def test_an_old_folder_is_written_again_without_its_stale_files(data, take, run):
    take("search/finished")
    words = ("--theta", 0.4, "--min-visits", 1, "--format", "tree", "--out", data / "jsonl")
    run(main, "preferences", "search/finished/trees", *words)
    left = sorted(path.relative_to(data / "jsonl").as_posix() for path in (data / "jsonl").rglob("*") if path.is_file())
    assert left == ["README.md", "dataset.json", "tree/train.jsonl"]


def test_the_card_names_every_file(data):
    for folder in data.iterdir():
        card = (folder / "README.md").read_text("utf-8")
        files = json.loads((folder / "dataset.json").read_text("utf-8"))["files"]
        assert all(f'path: "{name}"' in card for name in files)
