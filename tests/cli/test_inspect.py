"""``mctsdialog inspect``, and the options by which commands read files."""

import json

import pytest
from click.testing import CliRunner

from mctsdialog.cli import main

TALK = [("human", "I cannot sleep."), ("gpt", "That sounds tiring."), ("human", "It is."), ("gpt", "Since when?")]


def sharegpt(label=None):
    return {"conversations": [{"from": who, "value": said, "strategy": label} for who, said in TALK]}


@pytest.fixture
def inspect(tmp_path):
    def run(value, *options, name="d.json"):
        path = tmp_path / name
        path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        return CliRunner().invoke(main, ["inspect", str(path), *options])

    return run


def test_a_file_without_strategies_is_sent_to_the_labeller(inspect, tmp_path):
    done = inspect([sharegpt()] * 1200)
    assert done.exit_code == 0
    assert "a ShareGPT file of 1,200 conversations of 4.0 turns without strategies" in done.output
    assert "1200 x no supporter turn left" in done.output
    assert f"Next: mctsdialog label {tmp_path}/d.json --format sharegpt --domain esc" in done.output
    assert done.output.count("supporter: That sounds tiring.") == 3


def test_a_labelled_file_is_sent_to_the_search(inspect, tmp_path):
    done = inspect([sharegpt("Question")], "--domain", "esconv")
    assert "of 1 conversation of 4.0 turns with a strategy of the domain esconv on every turn" in done.output
    assert "supporter (Question): That sounds tiring." in done.output
    assert f"Next: mctsdialog search {tmp_path}/d.json --format sharegpt --domain esconv" in done.output


def test_a_map_on_the_command_line(inspect):
    item = {"talk": [{"who": who, "says": said} for who, said in TALK]}
    assert "say which key holds what" in inspect([item]).output
    done = inspect([item], "--map", "turns=talk,speaker=who,text=says")
    assert "of 1 conversation of 4.0 turns without strategies" in done.output
    assert inspect([item], "--map", "turns").exit_code == 2


def test_chinese(inspect):
    turns = [("求助者", "我最近总是睡不好。", None), ("支持者", "听起来你很累。", "情感反映")]
    dialog = [{"speaker": who, "content": said, "annotation": {"strategy": label}} for who, said, label in turns]
    done = inspect([{"problem_type": "睡眠", "dialog": dialog}])
    assert "a strategy of the domain esconv-zh on every turn" in done.output
    assert "supporter (情感反映): 听起来你很累。" in done.output


def test_what_is_no_dialogue_is_an_error(inspect):
    done = inspect({"a": 1})
    assert done.exit_code == 2
    assert "keys a" in done.output


def test_a_data_set_by_name(inspect, tmp_path):
    pytest.importorskip("datasets")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(sharegpt("Question")) + "\n" for _ in range(3)))
    done = CliRunner().invoke(main, ["inspect", f"hf:{folder}", "--domain", "esconv"])
    assert "a ShareGPT file of 3 conversations" in done.output, done.output
    done = CliRunner().invoke(main, ["inspect", f"hf:{folder}@nowhere"])
    assert done.exit_code == 2
    assert f"hf:{folder}@nowhere: cannot be loaded" in done.output.replace("\n", "")
