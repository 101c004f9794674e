import json

from mctsdialog.dialogue import ESC, read_dialogues, sample_dialogues, sample_dialogues_text


def test_there_are_twelve_dialogues_fit_for_a_search():
    samples = sample_dialogues()
    assert [dialogue.id for dialogue in samples] == [f"sample-{index:02d}" for index in range(12)]
    assert samples.domain is ESC
    assert samples.report.kept == samples.report.items == 12
    assert samples.report.malformed == 0
    assert not samples.report.keys_ignored
    for dialogue in samples:
        assert dialogue.scene
        assert dialogue.description
        assert dialogue.source == "sample_dialogues.json"
        assert dialogue.turns[0].speaker == "seeker"
        assert sum(turn.speaker == "supporter" for turn in dialogue.turns) >= 5


def test_they_use_every_strategy_and_nearly_every_label_of_extes():
    labels = [entry.get("AI Strategy") for item in json.loads(sample_dialogues_text()) for entry in item["content"]]
    assert len({label for label in labels if label}) == 16
    assert "" in labels
    strategies = {turn.strategy for dialogue in sample_dialogues() for turn in dialogue.turns}
    assert strategies == {*ESC.strategies.names, None}


def test_they_are_of_usual_length_and_all_different():
    items = json.loads(sample_dialogues_text())
    assert all(12 <= len(item["content"]) <= 16 for item in items)
    texts = [entry.get("User") or entry["AI"] for item in items for entry in item["content"]]
    assert len(set(texts)) == len(texts)
    assert len({item["scene"] for item in items}) == 12


def test_the_raw_text_is_a_file_for_the_reader(write):
    path = write(sample_dialogues_text(), "copy.json")
    assert [d.turns for d in read_dialogues(path)] == [d.turns for d in sample_dialogues()]
