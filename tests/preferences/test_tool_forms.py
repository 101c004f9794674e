"""The forms of other tools against their documented schemas, twins, and the hub."""

import json
from dataclasses import replace

import jsonschema
import pytest

from mctsdialog.dialogue import Turn
from mctsdialog.errors import ConfigError, DataError
from mctsdialog.preferences import (
    FORMATS,
    TOOL_FORMATS,
    PreferenceDataset,
    load_preferences,
    push_to_hub,
    to_dataset,
    write_dataset,
)


def message(*roles):
    properties = {"role": {"enum": list(roles)}, "content": {"type": "string", "minLength": 1}}
    return {"type": "object", "properties": properties, "required": ["role", "content"], "additionalProperties": False}


def exactly(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def sharegpt(*sides):
    return exactly(**{"from": {"enum": list(sides)}, "value": {"type": "string", "minLength": 1}})


CHAT = {"type": "array", "items": message("system", "user", "assistant"), "minItems": 2}
ANSWER = {"type": "array", "items": message("assistant"), "minItems": 1, "maxItems": 1}

# after data/README.md of LLaMA-Factory, docs/rlhf of Axolotl, examples of OpenRLHF, and OpenAI's guide to preference
# fine-tuning
SCHEMAS = {
    "llamafactory": exactly(
        system={"type": "string"},
        conversations={"type": "array", "items": sharegpt("human", "gpt"), "minItems": 1},
        chosen=sharegpt("gpt"),
        rejected=sharegpt("gpt"),
    ),
    "axolotl": exactly(messages=CHAT, chosen=message("assistant"), rejected=message("assistant")),
    "openrlhf": exactly(chosen=CHAT, rejected=CHAT),
    "openai": exactly(input=exactly(messages=CHAT), preferred_output=ANSWER, non_preferred_output=ANSWER),
}


@pytest.fixture
def dataset(maker):
    tree = maker.tree(id="one", opening="I am tired.")
    first = maker.family(tree, 0, {"Ask": (0.8, 5, "gold"), "Comfort": (0.2, 1)})
    maker.family(tree, first["Ask"], {"Comfort": (0.9, 2, "end", "gold"), "Plan": (-2.0, 1)})
    return PreferenceDataset.from_trees([tree])


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("form", list(TOOL_FORMATS))
@pytest.mark.parametrize("supporter_first", [False, True])
def test_rows_are_of_the_documented_schema(dataset, tmp_path, form, supporter_first):
    if supporter_first:
        opening = (Turn("supporter", "Hello.", "Ask"), Turn("seeker", "I am tired."))
        dataset = dataset.replace([replace(record, opening=opening) for record in dataset.records])
    files = write_dataset({"train": dataset}, tmp_path, formats=[form])
    assert files == {f"{form}/train.jsonl": 2}
    rows = lines(tmp_path / form / "train.jsonl")
    for row in rows:
        jsonschema.validate(row, SCHEMAS[form])
    assert "other tools" not in (tmp_path / "README.md").read_text("utf-8")
    assert f"{form}/train.jsonl" in (tmp_path / "README.md").read_text("utf-8").replace("\\", "")


def test_rows_say_what_the_pairs_say(dataset):
    pairs = list(FORMATS["preference"].rows(dataset))
    rows = {form: list(spec.rows(dataset)) for form, spec in TOOL_FORMATS.items()}
    for number, pair in enumerate(pairs):
        said = [pair[side][0]["content"] for side in ("chosen", "rejected")]
        factory, axolotl, rlhf, openai = (
            rows[form][number] for form in ("llamafactory", "axolotl", "openrlhf", "openai")
        )
        assert [factory[side]["value"] for side in ("chosen", "rejected")] == said
        assert [axolotl[side]["content"] for side in ("chosen", "rejected")] == said
        assert [rlhf[side][-1]["content"] for side in ("chosen", "rejected")] == said
        assert [openai[side][0]["content"] for side in ("preferred_output", "non_preferred_output")] == said
        assert axolotl["messages"] == openai["input"]["messages"] == rlhf["chosen"][:-1] == pair["prompt"]
        assert [factory["system"], *(each["value"] for each in factory["conversations"])] == [
            each["content"] for each in pair["prompt"]
        ]


def test_llamafactory_lets_the_human_speak_first(dataset):
    opening = (Turn("supporter", "Hello.", "Ask"), Turn("seeker", "I am tired."))
    changed = dataset.replace([replace(record, opening=opening) for record in dataset.records])
    for row in TOOL_FORMATS["llamafactory"].rows(changed):
        assert [each["from"] for each in row["conversations"]][:3] == ["human", "gpt", "human"]
        assert len(row["conversations"]) % 2 == 1


@pytest.mark.parametrize("form", list(TOOL_FORMATS))
def test_parquet_and_memory_hold_the_same_rows(dataset, tmp_path, form):
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("datasets")
    write_dataset({"train": dataset}, tmp_path, formats=[form], file_type="parquet")
    expected = list(TOOL_FORMATS[form].rows(dataset))
    assert parquet.read_table(tmp_path / form / "train.parquet").to_pylist() == expected
    assert to_dataset(dataset, form).to_list() == expected


def with_twins(dataset):
    """The dataset with one pair that prefers a reply to itself, and one that says the opposite of another."""
    record = dataset.records[0]
    best, worst = (record[node] for node in record.pairs[0])
    same = replace(worst, id=90, strategy=best.strategy, supporter=f"  {best.supporter}\n")
    first = replace(record, nodes=(*record.nodes, same), pairs=(*record.pairs, (best.id, same.id)))
    high, low = replace(worst, polarity="chosen"), replace(best, polarity="rejected", seeker=None)
    other = replace(record, scenario=record.scenario.model_copy(update={"id": "two"}), nodes=(high, low))
    return dataset.replace([first, replace(other, pairs=((high.id, low.id),))])


def test_twins_are_left_out_and_counted(dataset, tmp_path):
    files = write_dataset({"train": with_twins(dataset)}, tmp_path)
    assert files["preference/train.jsonl"] == files["research/train.jsonl"] == 2
    left_out = json.loads((tmp_path / "dataset.json").read_text("utf-8"))["left_out"]
    assert left_out == {
        "pairs whose chosen reply is the rejected one": 1,
        "pairs that say the opposite of an earlier pair": 1,
    }
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "Left out: 1 pairs whose chosen reply is the rejected one, 1 pairs that say the opposite" in card
    again = load_preferences(tmp_path)["train"]
    assert [len(record.pairs) for record in again.records] == [2, 0]


def test_without_twins_nothing_is_said(dataset, tmp_path):
    write_dataset({"train": dataset}, tmp_path)
    assert "left_out" not in json.loads((tmp_path / "dataset.json").read_text("utf-8"))
    assert "Left out" not in (tmp_path / "README.md").read_text("utf-8")


class Hub:
    """Stands in for the hub's client: notes what it is asked."""

    asked = ()
    error = None

    def create_repo(self, name, **options):
        if self.error is not None:
            raise self.error
        Hub.asked = [("create", name, options)]

        class Place(str):
            repo_id = name

        return Place(f"https://hub.example/datasets/{name}")

    def upload_folder(self, **options):
        Hub.asked.append(("upload", options))


def test_a_dataset_is_pushed_to_the_hub_as_it_was_written(dataset, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "HfApi", Hub)
    write_dataset({"train": dataset}, tmp_path, formats=["openai"])
    (tmp_path / "secret.txt").write_text("mine")
    assert push_to_hub(tmp_path, "me/pairs") == "https://hub.example/datasets/me/pairs"
    (_, name, options), (_, upload) = Hub.asked
    assert (name, options["private"], options["repo_type"]) == ("me/pairs", True, "dataset")
    assert upload["allow_patterns"] == ["dataset.json", "README.md", "openai/train.jsonl"]
    monkeypatch.setattr(Hub, "error", OSError("no network\nand more"))
    with pytest.raises(DataError, match=r"could not be uploaded as 'me/pairs': no network$"):
        push_to_hub(tmp_path, "me/pairs")


def test_what_is_no_dataset_is_not_pushed(tmp_path, dataset):
    with pytest.raises(DataError, match="no manifest"):
        push_to_hub(tmp_path, "me/pairs")
    with pytest.raises(ConfigError, match=r"openai., not .trl"):
        write_dataset({"train": dataset}, tmp_path, formats=["trl"])
