"""``mctsdialog label``: from dialogues without strategies to dialogues that a search takes."""

import json

import pytest
from click.testing import CliRunner

from mctsdialog import get_domain
from mctsdialog.cli import main
from mctsdialog.dialogue import read_dialogues

TALK = [("human", "I cannot sleep."), ("gpt", "That sounds tiring."), ("human", "It is."), ("gpt", "Since when?")]


@pytest.fixture
def label(tmp_path, stub_server):
    path = tmp_path / "d.json"
    items = [
        {"id": f"d{n}", "conversations": [{"from": who, "value": f"{said} {n}"} for who, said in TALK]}
        for n in range(3)
    ]
    path.write_text(json.dumps(items))

    def run(*options):
        model = ["--model", "stub", "--base-url", stub_server.url, "--out", str(tmp_path / "out")]
        return CliRunner().invoke(main, ["label", str(path), *model, *options], env={"OPENAI_API_KEY": "k"})

    return run


def test_labelled_dialogues_can_be_searched(label, tmp_path, stub_server):
    done = label()
    assert done.exit_code == 0, done.output
    assert "3 of 3 dialogues labelled, 6 turns" in done.output
    assert f"Next: mctsdialog search {tmp_path / 'out' / 'dialogues.jsonl'} --domain esc" in done.output
    found = read_dialogues(tmp_path / "out" / "dialogues.jsonl")
    assert found.report.kept == 3
    assert not found.report.supporter_turns_dropped
    labels = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    assert [each["turn"] for each in labels] == [1, 3] * 3
    assert all(0 < each["confidence"] <= 1 and each["given"] is None for each in labels)
    assert all(request["messages"] for request in stub_server.requests)


def test_the_same_command_again_asks_nothing(label, stub_server):
    assert label().exit_code == 0
    asked = len(stub_server.requests)
    again = label()
    assert len(stub_server.requests) == asked == 6
    assert "6 cache hits" in again.output


def test_a_budget_stops_it_and_it_resumes(label):
    first = label("--max-calls", "3", "--concurrency", "1")
    assert first.exit_code == 3
    assert "1 of 3 dialogues labelled" in first.output
    assert "stopped: budget: calls" in first.output
    assert "3 of 3 dialogues labelled" in label().output


def test_agreement_with_labels_that_are_there(label, tmp_path):
    assert label().exit_code == 0
    labelled = tmp_path / "out" / "dialogues.jsonl"
    copy = tmp_path / "d.json"
    copy.write_text(labelled.read_text())
    done = label("--check")
    assert "agreement with the 6 labels that were there: 100.0%" in done.output, done.output


def test_a_file_without_dialogues_is_bad_input(label, tmp_path):
    (tmp_path / "d.json").write_text('[{"conversations": []}]')
    done = label()
    assert done.exit_code == 2
    assert "no dialogue is left to label" in done.output


def rated(ratings):
    """A reply of the labeller for ESC: ``ratings`` of the first strategies, 0 for the others."""
    names = get_domain("esc").strategies.names
    return json.dumps({name: ratings[at] if at < len(ratings) else 0 for at, name in enumerate(names)})


def test_labels_are_counted_and_their_confidence_is_compared_with_chance(label, stub_server):
    stub_server.reply = lambda body, number: rated([0, 9, 1] if number % 3 else [8, 0, 2])
    done = label("--concurrency", "1")
    assert "\nlabels: 4 x Affirmation, 2 x Emotional Validation\n" in done.output
    assert "\nmean confidence: 0.87; the same rating for all 8 strategies would give 0.12\n" in done.output
    assert "hardly tells" not in done.output


def test_a_labeller_that_rates_all_alike_is_noticed(label, stub_server):
    stub_server.reply = lambda body, number: rated([6, 5, 5, 5, 5, 5, 5, 5])
    done = label()
    assert "\nlabels: 6 x Emotional Validation\nmean confidence: 0.15; the same rating" in done.output
    assert "The model hardly tells the strategies apart" in done.output


def test_five_strategies_are_counted_and_the_others_summed_up(label, stub_server):
    stub_server.reply = lambda body, number: rated([0] * number + [9])
    done = label("--concurrency", "1")
    line = next(line for line in done.output.splitlines() if line.startswith("labels: "))
    assert line.count("1 x ") == 5
    assert line.endswith(" and 1 more")


def test_labels_that_were_there_are_not_counted_as_new(label, tmp_path):
    assert label().exit_code == 0
    (tmp_path / "d.json").write_text((tmp_path / "out" / "dialogues.jsonl").read_text())
    assert "labels: " not in label("--check").output
