"""Datasets on disk: every form read back by the loaders that trainers use."""

import html
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # rich brings it

from mctsdialog.errors import ConfigError, DataError
from mctsdialog.preferences import (
    FORMATS,
    PreferenceDataset,
    load_preferences,
    parse_reply,
    spoken,
    system_prompt,
    to_dataset,
    tree_files,
    write_dataset,
)
from mctsdialog.text import markdown_line, visible, yaml_text


def two_turn_tree(maker, id):
    tree = maker.tree(id=id, opening=f"I am {id}.")
    first = maker.family(tree, 0, {"Ask": (0.8, 5, "gold"), "Comfort": (0.2, 1), "Plan": (-0.5, 1)})
    maker.family(tree, first["Ask"], {"Comfort": (0.9, 2, "end", "gold"), "Plan": (-2.0, 1)})
    return tree


@pytest.fixture(scope="module")
def dataset(maker):
    return PreferenceDataset.from_trees([two_turn_tree(maker, f"tree {index}") for index in range(4)])


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_of_every_form(dataset, tmp_path):
    files = write_dataset({"train": dataset}, tmp_path)
    assert files == {
        "preference/train.jsonl": 12,
        "unpaired/train.jsonl": 20,
        "sft/train.jsonl": 4,
        "research/train.jsonl": 12,
        "tree/train.jsonl": 4,
    }
    system = {"role": "system", "content": system_prompt(dataset.domain)}
    row = lines(tmp_path / "preference/train.jsonl")[2]
    pair = list(dataset.pairs())[2]
    assert row["prompt"] == [
        system,
        {"role": "user", "content": "I am tree 0."},
        {"role": "assistant", "content": f"(Ask) {dataset.records[0][1].supporter}"},
        {"role": "user", "content": dataset.records[0][1].seeker},
    ]
    assert row["chosen"] == [{"role": "assistant", "content": f"(Comfort) {pair.chosen.supporter}"}]
    assert row["rejected"] == [{"role": "assistant", "content": f"(Plan) {pair.rejected.supporter}"}]
    assert row["provenance"] == pair.provenance()
    unpaired = lines(tmp_path / "unpaired/train.jsonl")
    keys = {json.dumps([each["prompt"], each["completion"], each["label"]]) for each in unpaired}
    assert len(keys) == len(unpaired)
    assert sum(each["label"] for each in unpaired) == 8
    sft = lines(tmp_path / "sft/train.jsonl")[0]
    assert sft["messages"][0] == system
    assert [each["role"] for each in sft["messages"][1:]] == ["user", "assistant", "user", "assistant"]
    research = lines(tmp_path / "research/train.jsonl")[2]
    assert list(research) == ["scene", "description", "messages", "chosen", "reject"]
    assert research["messages"] == row["prompt"][1:]
    assert research["chosen"] == row["chosen"][0]["content"]
    assert research["reject"] == row["rejected"][0]["content"]


@pytest.mark.parametrize("file_type", ["jsonl", "parquet"])
def test_a_written_dataset_is_read_back_whole(dataset, tmp_path, file_type):
    if file_type == "parquet":
        pytest.importorskip("pyarrow")
    splits = dataset.split({"train": 0.75, "test": 0.25})
    write_dataset(splits, tmp_path, file_type=file_type, subsets=[1, 2])
    again = load_preferences(tmp_path)
    assert list(again) == ["train", "test"]
    for name, split in splits.items():
        assert again[name].records == split.records
        assert (again[name].domain, again[name].config) == (split.domain, split.config)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("file_type", ["jsonl", "parquet"])
def test_the_hubs_loader_reads_every_form_by_the_cards_metadata(dataset, tmp_path, monkeypatch, file_type):
    hf = pytest.importorskip("datasets")
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    out = tmp_path / "out"
    files = write_dataset(dataset.split({"train": 0.5, "test": 0.5}), out, file_type=file_type, subsets=[1])
    for form in (*FORMATS, "preference-1"):
        loaded = hf.load_dataset(str(out), form, cache_dir=str(tmp_path / "cache"))
        for split, rows in loaded.items():
            assert len(rows) == files[f"{form}/{split}.{file_type}"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("form", list(FORMATS))
def test_in_memory_datasets_hold_the_rows(dataset, form):
    pytest.importorskip("datasets")
    rows = to_dataset(dataset, form)
    assert json.loads(json.dumps(rows.to_list())) == json.loads(json.dumps(list(FORMATS[form].rows(dataset))))


def test_files_of_an_earlier_call_do_not_stay(dataset, tmp_path):
    write_dataset(dataset.split({"train": 0.5, "test": 0.5}), tmp_path, formats=["preference"])
    assert (tmp_path / "preference/test.jsonl").exists()
    write_dataset({"train": dataset}, tmp_path, formats=["preference"])
    assert not (tmp_path / "preference/test.jsonl").exists()
    assert "test.jsonl" not in (tmp_path / "README.md").read_text("utf-8")


def test_a_folder_with_other_files_is_left_alone(dataset, tmp_path):
    (tmp_path / "thesis.txt").write_text("words")
    with pytest.raises(DataError, match="holds other files"):
        write_dataset({"train": dataset}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_manifest_that_points_outside_its_folder_is_refused(dataset, tmp_path):
    victim = tmp_path / "victim.jsonl"
    victim.write_text("mine")
    out = tmp_path / "out"
    write_dataset({"train": dataset}, out)
    manifest = json.loads((out / "dataset.json").read_text("utf-8"))
    manifest["files"] = {"../victim.jsonl": {"rows": 1}}
    (out / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="outside its folder"):
        write_dataset({"train": dataset}, out)
    assert victim.exists()


def test_the_card_has_counts_settings_domain_licence_and_use(dataset, tmp_path):
    write_dataset({"train": dataset}, tmp_path, license="cc-by-nc-4.0")
    card = (tmp_path / "README.md").read_text("utf-8")
    assert 'license: "cc-by-nc-4.0"' in card
    assert "| train | 4 | 4 | 4 | 12 |" in card
    assert "| theta | 0.5 |" in card
    assert "- Comfort" in card
    assert "Intended use" in card
    write_dataset({"train": dataset}, tmp_path)
    assert "Not stated" in (tmp_path / "README.md").read_text("utf-8")


def test_markup_in_names_is_inert_in_the_card(maker, domain_maker, tmp_path):
    hostile = domain_maker(("<script>alert(1)</script>", "[x](http://e.vil)|", "plain"))
    tree = maker.tree(id="t", domain=hostile)
    maker.family(tree, 0, {"plain": (0.9, 2, "end"), "[x](http://e.vil)|": (-1.0, 1)})
    write_dataset({"train": PreferenceDataset.from_trees([tree])}, tmp_path, license='"\n- evil: yes')
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "<script>" not in card
    assert "- [x]" not in card
    assert 'license: "\\"\\n- evil: yes"' in card


def test_errors_come_before_anything_is_written(dataset, tmp_path):
    out = tmp_path / "out"
    for settings in ({"formats": ["prose"]}, {"file_type": "csv"}, {"subsets": [99]}, {"formats": []}):
        with pytest.raises(ConfigError):
            write_dataset({"train": dataset}, out, **settings)
    with pytest.raises(ConfigError):
        write_dataset({}, out)
    assert not out.exists()


def test_half_a_surrogate_pair_is_one_clear_error(maker, tmp_path):
    tree = maker.tree(id="t")
    maker.family(tree, 0, {"Ask": (0.9, 2, "end", ("text", "broken \ud800")), "Plan": (-1.0, 1)})
    with pytest.raises(DataError, match="surrogate"):
        write_dataset({"train": PreferenceDataset.from_trees([tree])}, tmp_path / "out")


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda out: (out / "dataset.json").unlink(), "no dataset.json"),
        (lambda out: (out / "dataset.json").write_text("{"), "manifest"),
        (lambda out: (out / "dataset.json").write_text("[]"), "schema"),
        (lambda out: (out / "tree/train.jsonl").unlink(), "no such file"),
        (lambda out: (out / "tree/train.jsonl").write_text('{"schema": "mctsdialog.tree_rec'), "line 1"),
    ],
)
def test_a_spoilt_dataset_is_one_clear_error(dataset, tmp_path, spoil, match):
    write_dataset({"train": dataset}, tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=match):
        load_preferences(tmp_path)


def test_a_dataset_without_tree_records_says_so(dataset, tmp_path):
    write_dataset({"train": dataset}, tmp_path, formats=["sft"])
    with pytest.raises(DataError, match="form 'tree'"):
        load_preferences(tmp_path)


def test_tree_files_of_folders(tmp_path):
    (tmp_path / "trees").mkdir()
    for name in ("b.json", "a.json", "a.graphml", ".hidden.json"):
        (tmp_path / "trees" / name).write_text("{}")
    found = [tmp_path / "trees" / "a.json", tmp_path / "trees" / "b.json"]
    assert tree_files([tmp_path]) == tree_files([tmp_path / "trees"]) == found
    assert tree_files(tmp_path) == tree_files(str(tmp_path)) == found
    assert tree_files([found[1], tmp_path]) == [found[1], found[0]]
    (tmp_path / "empty").mkdir()
    for path in ("empty", "absent"):
        with pytest.raises(DataError) as caught:
            tree_files([tmp_path / path])
        assert path in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "strategy", "text"),
    [
        ("(Ask) Why?", "Ask", "Why?"),
        ("[ask]: Why?", "Ask", "Why?"),
        ("  (ASK)Why?", "Ask", "Why?"),
        ("(Sing) La", None, "(Sing) La"),
        ("Ask Why?", None, "Ask Why?"),
        ("", None, ""),
    ],
)
def test_replies_are_parsed_as_they_are_written(domain, reply, strategy, text):
    assert parse_reply(reply, domain.strategies) == (strategy, text)
    if strategy:
        assert parse_reply(spoken(strategy, text), domain.strategies) == (strategy, text)


HOSTILE = [
    "---\nlicense: x\n---",
    "![x](http://e.vil/a.png)",
    "[x](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    "a | b \\| c",
    "`code` ``` *bold* _it_ ~~no~~ $x$ :smile: {{ x }}",
    "- item",
    "1. item",
    "---",
    "===",
    "# head",
    "a\r\n\r\n# head\x1b[2J\u202eb",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_free_text_is_text_in_markdown(name):
    shown = markdown_line(name)
    assert len(shown.splitlines()) == 1
    hub = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    page = hub.render(f"- x {shown}\n- {shown}\n\n| a | b |\n|---|---|\n| {shown} | c |")
    assert set(re.findall(r"<(\w+)", page)) == {"ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    assert (page.count("<td"), page.count("<li")) == (2, 2)
    said = html.unescape(re.findall(r"<li>(.*)</li>", page)[1])
    assert said == visible(" ".join(name.split()))


@given(st.text())
def test_free_text_is_one_yaml_string(text):
    yaml = pytest.importorskip("yaml")
    line = yaml_text(text)
    assert len(line.splitlines()) == 1
    assert yaml.safe_load(f"license: {line}\nother: 1") == {"license": text, "other": 1}
