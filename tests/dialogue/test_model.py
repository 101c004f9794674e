import copy
import json
import pickle
import re

import pytest
from pydantic import ValidationError

from mctsdialog.dialogue import (
    ESC,
    Criterion,
    Dialogue,
    Domain,
    RoleDescription,
    Scenario,
    Strategy,
    StrategySet,
    Turn,
    load_domain,
)
from mctsdialog.errors import DialogueError, DomainError


def dialogue(*turns):
    return Dialogue(turns=tuple(Turn(*turn) for turn in turns))


def test_a_dialogue_alternates_and_either_side_may_begin():
    assert len(dialogue(("seeker", "a"), ("supporter", "b", "S"), ("seeker", "c")).turns) == 3
    assert dialogue(("supporter", "b"), ("seeker", "a")).turns[0].speaker == "supporter"
    assert Dialogue().turns == ()


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([("seeker", "a"), ("seeker", "b")], "turns 0 and 1 are both the seeker's"),
        ([("seeker", " \n")], "turn 0: the text is blank"),
        ([("seeker", "a", "Affirmation")], "a seeker turn has no strategy"),
    ],
)
def test_a_dialogue_refuses_wrong_turns(turns, message):
    with pytest.raises(DialogueError, match=message) as caught:
        dialogue(*turns)
    assert caught.value.field == "turns"


@pytest.mark.parametrize(
    ("speaker", "hint"),
    [("judge", "'judge'$"), ("user", "seeker is the word"), ("assistant", "supporter is the word"), (None, "None$")],
)
def test_another_speaker_is_refused_at_once(speaker, hint):
    with pytest.raises(DialogueError, match=f"speaker must be seeker or supporter, not .*{hint}") as caught:
        Turn(speaker, "a")
    assert caught.value.field == "speaker"


def test_lists_will_do_where_tuples_are_kept():
    turns = [Turn("seeker", "a"), Turn("supporter", "b", "Plan")]
    assert Dialogue(turns=turns) == Dialogue(turns=tuple(turns))
    assert StrategySet(strategies=[Strategy(name="Plan")]).names == ("Plan",)


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        (Dialogue, {"turns": "hello"}, "turns"),
        (Dialogue, {"turns": [Turn("seeker", "a"), {"role": "assistant"}]}, "turns[1]"),
        (Dialogue, {"turn": []}, "turn"),
        (Scenario, {"id": 3}, "id"),
        (Strategy, {"name": " "}, "name"),
        (StrategySet, {"strategies": ["Plan"]}, "strategies[0]"),
        (Criterion, {"name": "empathy", "levels": ["none"]}, "levels"),
        (Domain, {**dict(ESC), "name": 3}, "name"),
    ],
)
def test_a_wrong_argument_is_an_error_of_ours_that_names_the_field(kind, values, field):
    error = DialogueError if issubclass(kind, Scenario) else DomainError
    with pytest.raises(error, match=f"^{kind.__name__}: {re.escape(field)}: ") as caught:
        kind(**values)
    assert caught.value.field == field


def test_a_subclass_of_a_public_model_can_be_made():
    class Rated(Dialogue):
        stars: int = 0

    assert Rated(turns=[Turn("seeker", "a")], stars=3).stars == 3
    with pytest.raises(DialogueError, match=r"^Rated: stars: "):
        Rated(stars="many")


def test_json_of_a_dialogue_is_read_as_before():
    made = Dialogue(turns=[Turn("seeker", "a")])
    assert Dialogue.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(ValidationError, match=r"turns\.0\.speaker"):
        Dialogue.model_validate_json('{"turns": [{"speaker": "user", "text": "a"}]}')


def test_a_dialogue_is_immutable_and_has_its_scenario():
    made = Dialogue(scene="s", description="d", id="1", source="f", turns=(Turn("seeker", "a"),))
    with pytest.raises(DialogueError, match="cannot be changed"):
        made.scene = "other"
    assert made.scenario == Scenario(scene="s", description="d", id="1", source="f")


def test_a_strategy_set_is_a_sequence_with_names():
    strategies = StrategySet(
        strategies=(Strategy(name="Self-disclosure"), Strategy(name="Plan")), aliases={"P": "Plan"}
    )
    assert len(strategies) == 2
    assert [strategy.name for strategy in strategies] == list(strategies.names) == ["Self-disclosure", "Plan"]
    assert strategies[1] is strategies["Plan"]
    assert "Plan" in strategies
    assert strategies[0] in strategies
    assert "plan" not in strategies
    with pytest.raises(KeyError):
        strategies["P"]


def test_a_strategy_set_resolves_letter_case_hyphens_and_aliases():
    strategies = StrategySet(
        strategies=(Strategy(name="Self-disclosure"), Strategy(name="Plan")), aliases={"P": "Plan"}
    )
    assert strategies.resolve("self  DISCLOSURE") == "Self-disclosure"
    assert strategies.resolve("self_disclosure") == "Self-disclosure"
    assert strategies.resolve("p") == "Plan"
    assert strategies.resolve("Q") is None
    assert strategies.resolve("") is None


@pytest.mark.parametrize(
    ("names", "aliases", "message"),
    [
        (["A", "a"], {}, "two strategies are named 'a'"),
        ([" A"], {}, "begin or end in a space"),
        (["A"], {"x": "B"}, "alias 'x' points to 'B'"),
        ([], {}, "at least 1"),
    ],
)
def test_a_strategy_set_refuses_what_is_ambiguous(names, aliases, message):
    with pytest.raises(DomainError, match=message):
        StrategySet(strategies=tuple(Strategy(name=name) for name in names), aliases=aliases)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {"empathy": 1.0}}, "weights are for"),
        ({"weights": {**ESC.weights, "strategy": 0.0}}, "must be above 0"),
        ({"weights": {**ESC.weights, "strategy": float("nan")}}, "must be above 0"),
        ({"rubric": (*ESC.rubric[:3], Criterion(name="strategy", levels=("a", "b")))}, "same number of levels"),
        ({"rubric": (*ESC.rubric, ESC.rubric[0])}, "the same name"),
        ({"templates": {"narrator": "x"}}, "unknown templates"),
        ({"name": "Not A Key"}, "pattern"),
    ],
)
def test_a_domain_refuses_what_contradicts_itself(change, message):
    with pytest.raises(ValidationError, match=message):
        Domain.model_validate({**dict(ESC), **change})


@pytest.mark.parametrize(("seeker", "supporter"), [("agent", "agent"), ("Help-Seeker", "help seeker")])
def test_two_sides_of_one_name_are_refused_but_for_what_was_written_earlier(seeker, supporter, tmp_path):
    plain = ESC.model_dump(mode="json")
    plain |= {"seeker": {"name": seeker, "description": ""}, "supporter": {"name": supporter, "description": ""}}
    message = f"seeker and supporter are both named '{seeker}'"
    path = tmp_path / "d.json"
    path.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(DomainError, match=message) as caught:
        load_domain(path)
    assert (caught.value.file, caught.value.field) == (str(path), "supporter.name")
    sides = {"seeker": RoleDescription(name=seeker), "supporter": RoleDescription(name=supporter)}
    with pytest.raises(DomainError, match=message):
        Domain(**{**dict(ESC), **sides})
    assert Domain.model_validate(plain).seeker.name == seeker  # as trees, journals and data sets are read


def test_weights_can_be_changed_without_changing_the_domain():
    changed = ESC.with_weights(strategy=3.0)
    assert changed.weights == {"empathy": 1, "information": 1, "humanoid": 1, "strategy": 3}
    assert ESC.weights["strategy"] == 7


def test_a_domain_can_be_pickled_copied_and_written():
    for twin in (
        pickle.loads(pickle.dumps(ESC)),
        copy.deepcopy(ESC),
        Domain.model_validate_json(ESC.model_dump_json()),
    ):
        assert twin == ESC
        assert twin.strategies.resolve("offer hope") == "Affirmation"
