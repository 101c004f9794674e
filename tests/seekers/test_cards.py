"""Role cards: read, refused, written, adjusted, and those that ship."""

import json
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.dialogue import domains, sample_dialogues
from mctsdialog.errors import BudgetExceededError, ConfigError, DataError, DialogueError
from mctsdialog.llm import ScriptedModel
from mctsdialog.seekers import (
    SETTINGS,
    RoleCard,
    card_of_dialogue,
    cards_of_dialogues,
    read_cards,
    sample_cards,
    write_cards,
)

NEEDED = {"persona": "A cook.", "background": "Burnt out.", "goal": "Sleep.", "hidden_need": "Praise."}
CARD = RoleCard(id="a", **NEEDED)


def test_cards_come_back_as_they_were_written(tmp_path):
    cards = [CARD, RoleCard(id="b", resistance="strong", volatile=True, emotion=7, scene="Ü\nx", **NEEDED)]
    assert list(read_cards(write_cards(cards, tmp_path / "cards.jsonl"))) == cards
    (tmp_path / "list.json").write_text(json.dumps([each.model_dump() for each in cards]), "utf-8")
    assert list(read_cards(tmp_path / "list.json")) == cards


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no cards"),
        ("[]", "has no cards"),
        ("[1]", "item 0: a card is an object"),
        ("{", "line 1: is no JSON"),
        (json.dumps([{"id": "a", **NEEDED, "goal": 3}]), "item 0: goal: "),
        (json.dumps([{"id": "a", "goal": "x"}]), "item 0: persona: "),
        (json.dumps([{"id": "a", **NEEDED, "colour": "x"}]), "item 0: colour: "),
        (json.dumps([{"id": "a", **NEEDED, "emotion": 101}]), "item 0: emotion: "),
        (json.dumps([{"id": "a", **NEEDED, "resistance": "huge"}]), "item 0: resistance: "),
        (json.dumps([{"id": " ", **NEEDED}]), "item 0: id: "),
        (json.dumps([{"id": "a", **NEEDED}] * 2), "item 1: id: item 0 has the same id"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_error_that_names_the_place(tmp_path, text, said):
    file = tmp_path / "cards.json"
    file.write_text(text, "utf-8")
    with pytest.raises(DataError) as told:
        read_cards(file)
    assert str(told.value).startswith(f"{file}: ")
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_cards(tmp_path / "none.json")


@given(st.data())
def test_a_spoilt_file_is_read_or_refused(tmp_path_factory, spoilt, data):
    file = tmp_path_factory.mktemp("cards") / "cards.json"
    file.write_text(spoilt(data, [each.model_dump() for each in sample_cards()[:2]]), "utf-8")
    with suppress(DataError):
        assert read_cards(file)


def test_a_worse_seeker_is_the_same_person():
    for setting in SETTINGS:
        changed = CARD.adjusted(setting)
        assert (changed.id, changed.persona, changed.hidden_need) == ("a", "A cook.", "Praise.")
    assert CARD.adjusted("card") == CARD
    worst = CARD.adjusted("worst")
    assert (worst.resistance, worst.disclosure, worst.engagement, worst.volatile) == ("strong", "guarded", "low", True)
    with pytest.raises(ConfigError, match="one of card, cooperative, resistant, worst"):
        CARD.adjusted("hard")


def test_other_roles_see_the_scenario_alone():
    card = RoleCard(id="a", scene="Work", description="Tired.", **NEEDED)
    assert set(card.scenario.model_dump()) == {"scene", "description", "id", "source"}
    assert "Praise" not in str(card.scenario.model_dump())


def test_the_cards_that_ship():
    cards = sample_cards()
    assert Counter(card.domain for card in cards) == dict.fromkeys(("esc", "mi", "persuasion", "bargaining"), 10)
    assert {card.domain for card in cards} <= set(domains())
    assert all(card.description and card.expression and card.source for card in cards)
    assert len({card.background for card in cards}) == 40
    for name in ("resistance", "disclosure", "engagement", "volatile"):
        assert len({getattr(card, name) for card in cards}) > 1
    for card in cards:
        assert card.hidden_need not in card.description + card.goal + card.background
    assert sample_cards("mi") == tuple(card for card in cards if card.domain == "mi")
    with pytest.raises(ConfigError, match="there are cards for esc, mi"):
        sample_cards("none")


# -- cards written by a model -----------------------------------------------------------------------------------------

WRITTEN = {**NEEDED, "expression": "Short.", "resistance": "strong", "disclosure": "open", "emotion": 20}


@pytest.mark.anyio
async def test_a_model_writes_the_card_of_a_dialogue(domain):
    dialogue = sample_dialogues()[0]
    model = ScriptedModel([f"Here it is:\n```json\n{json.dumps(WRITTEN)}\n```"])
    card = await card_of_dialogue(dialogue, model, domain)
    assert (card.id, card.domain, card.resistance, card.emotion) == (dialogue.id, "test", "strong", 20)
    request = model.requests[0]
    assert dialogue.turns[0].text.splitlines()[0] in request.messages[1].content
    assert "never an instruction" in request.messages[0].content


@pytest.mark.anyio
async def test_a_card_of_no_use_is_asked_for_again_and_then_counted(domain):
    dialogues = list(sample_dialogues())[:3]
    bad = [json.dumps(WRITTEN | {"emotion": 300}), json.dumps({"persona": "x"}), "no"]
    good = json.dumps(WRITTEN)
    model = ScriptedModel([bad[0], good, *bad, good])
    found = await cards_of_dialogues(dialogues, model, domain, concurrency=1)
    assert [card.id for card in found.cards] == [dialogues[0].id, dialogues[2].id]
    assert list(found.failures) == [dialogues[1].id]
    assert "emotion" in model.requests[1].messages[-1].content
    assert found.stop_reason is None


@pytest.mark.anyio
async def test_a_budget_ends_the_writing_and_keeps_what_was_written(domain):
    dialogues = list(sample_dialogues())[:3]
    spent = BudgetExceededError("calls", limit=1, used=1)
    model = ScriptedModel(lambda request: spent if len(model.requests) > 1 else json.dumps(WRITTEN))
    found = await cards_of_dialogues(dialogues, model, domain, concurrency=1)
    assert len(found.cards) == 1
    assert found.stop_reason == "budget: calls"
    assert model.calls == 2


def test_a_card_is_made_by_names():
    with pytest.raises(DialogueError, match="RoleCard"):
        RoleCard("a cook")
