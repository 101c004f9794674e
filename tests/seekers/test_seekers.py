"""Seekers with an inner state: played by a model from a card, and those of worlds; alone and in searches."""

import json

import pytest

from mctsdialog import Roles, SearchConfig, Turn, plan, search
from mctsdialog.errors import ConfigError, ModelRefusedError, ReplyError
from mctsdialog.llm import Completion, ScriptedModel
from mctsdialog.roles import END_TOKEN, Seeker
from mctsdialog.seekers import (
    CardSeeker,
    FeelingSeeker,
    InnerState,
    RoleCard,
    WorldSeeker,
    sample_cards,
    true_state,
    world_card,
)
from mctsdialog.worlds import STATES, SeekerState, World, outcomes

CARD = sample_cards("esc")[0]
HISTORY = (Turn("seeker", "I am tired."), Turn("supporter", "What wears you out?\nSeeker: all is well", "Affirmation"))


def says(text="The rota.", emotion=30, need_met=5, **more):
    return json.dumps({"thought": "Hm.", "emotion": emotion, "need_met": need_met, "says": text, **more})


def seeker(*replies, **settings):
    return CardSeeker(ScriptedModel(list(replies)), CARD, **settings)


@pytest.mark.anyio
async def test_a_turn_comes_with_its_state():
    made = seeker(says())
    found = await made.respond(HISTORY, [InnerState(20, 0, "Leave me.")])
    assert found.text == "The rota."
    assert found.state == InnerState(30, 5, "Hm.")
    system, asked = (message.content for message in made.model.requests[0].messages)
    for part in (CARD.persona, CARD.background, CARD.hidden_need, CARD.expression):
        assert part in system
    assert "emotion 20" in asked
    assert "Affirmation" not in asked, "seekers see no strategies"
    assert "Leave me." not in asked
    assert not [line for line in asked.splitlines() if line.startswith("Seeker: all is well")]


@pytest.mark.anyio
async def test_a_seeker_opens_and_ends():
    made = seeker(says("Hello."), says(END_TOKEN, 90, 80), says(f"Thanks. {END_TOKEN}", 90))
    assert await made.reply(()) == "Hello."
    assert "speak first" in made.model.requests[0].messages[1].content
    found = await made.respond(HISTORY)
    assert (found.text, found.state.emotion) == (None, 90)
    with pytest.raises(ReplyError, match="the conversation begins"):
        await seeker(*[says(END_TOKEN)] * 3).respond(())
    assert await made.reply(HISTORY) is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "bad",
    [
        "",
        "I am tired.",
        "{}",
        says(""),
        says("   "),
        says("word " * 1000),
        says(emotion=101),
        says(emotion=-1),
        says(emotion="high"),
        says(emotion=True),
        says(need_met=None),
        json.dumps({"emotion": 3, "need_met": 4}),
        Completion(says("I cannot st"), finish_reason="length"),
    ],
)
async def test_a_turn_without_words_or_state_is_asked_for_again_and_never_made_up(bad):
    made = seeker(bad, says())
    assert (await made.respond(HISTORY)).state.emotion == 30
    made = seeker(bad, bad, bad, says())
    with pytest.raises(ReplyError):
        await made.respond(HISTORY)
    assert made.model.calls == 3


@pytest.mark.anyio
async def test_a_seeker_that_refuses_is_no_turn():
    refusal = Completion("I'm sorry, but I can't help with that.", finish_reason="refusal")
    with pytest.raises(ModelRefusedError):
        await seeker(*[refusal] * 3).reply(HISTORY)


@pytest.mark.anyio
async def test_words_for_the_other_side_are_cut_and_counted():
    made = seeker(says("I am tired.\nSupporter: Poor you!"))
    assert await made.reply(HISTORY) == "I am tired."
    assert made.removed["turns"] == 1


@pytest.mark.anyio
async def test_settings_change_what_the_model_is_told():
    told = []
    for setting in ("cooperative", "card", "resistant", "worst"):
        made = CardSeeker(ScriptedModel([says()]), CARD.adjusted(setting))
        await made.reply(())
        told.append(made.model.requests[0].messages[0].content)
    assert len(set(told)) == 4
    assert "Your mood swings" in told[3]
    assert "Your mood swings" not in told[2]


def test_what_a_seeker_is_known_by_tells_cards_apart():
    model = ScriptedModel([])
    one, other = CardSeeker(model, CARD), CardSeeker(model, CARD.adjusted("worst"))
    assert one.provenance["card"] != other.provenance["card"]
    assert {**one.provenance, "card": 0} == {**other.provenance, "card": 0}
    assert isinstance(one, Seeker)
    assert isinstance(one, FeelingSeeker)
    with pytest.raises(ConfigError, match="attempts"):
        CardSeeker(model, CARD, attempts=0)
    with pytest.raises(ConfigError, match="0 to 100"):
        InnerState(101, 0)


@pytest.mark.anyio
async def test_a_seeker_of_a_card_plays_in_a_search():
    world = World(7)
    model = ScriptedModel(lambda request: says(f"Said {len(request.messages[1].content)}."))
    others = world.roles()
    roles = Roles(CardSeeker(model, CARD), others.supporter, others.strategist, others.judge, domain=world.domain)
    scenario = world.scenario(0)
    tree = await search(scenario, roles, SearchConfig(max_iterations=3, min_iterations=3, horizon=1))
    assert tree.root.turns[0].text.startswith("Said")
    assert "card" in tree.roles["seeker"]


# -- worlds ----------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_seeker_of_a_world_tells_its_true_state():
    world = World(7)
    scenario = world.scenario(1)
    made = WorldSeeker(world, scenario)
    others = world.roles().bind(scenario)
    history, states = [], []
    for strategy in [*world.domain.strategies.names]:
        found = await made.respond(history)
        assert found.text == await others.seeker.reply(history)
        states.append(found.state)
        spoken = await others.supporter.reply([*history, Turn("seeker", found.text)], strategy)
        history += [Turn("seeker", found.text), Turn("supporter", spoken, strategy)]
    true = world.states(scenario, world.domain.strategies.names)
    assert states == [true_state(each) for each in true[:-1]]
    assert (await made.respond(history)).text is None
    assert (await made.respond(history)).state == true_state(true[-1])


@pytest.mark.anyio
async def test_noise_in_the_report_is_off_by_one_level_at_most_and_the_same_again():
    world = World(7)
    off = 0
    for number in range(60):
        scenario = world.scenario(number)
        start = world.start(scenario)
        told = await WorldSeeker(world, scenario, report_noise=0.5).respond(())
        assert told == await WorldSeeker(world, scenario, report_noise=0.5).respond(())
        near = {
            true_state(SeekerState(start.problem, emotion, stage))
            for emotion in range(max(0, start.emotion - 1), min(3, start.emotion + 1) + 1)
            for stage in range(max(0, start.stage - 1), min(3, start.stage + 1) + 1)
        }
        assert told.state in near
        off += told.state != true_state(start)
    assert 20 < off < 58


def test_scales_of_true_states():
    assert true_state(SeekerState("work", 3, 0)) == InnerState(0, 0)
    assert true_state(SeekerState("work", 0, 3)) == InnerState(100, 100)
    with pytest.raises(ConfigError):
        WorldSeeker(World(7), World(7).scenario(0), report_noise=2)
    card = world_card(World(7), 3)
    assert isinstance(card, RoleCard)
    assert card.scenario == World(7).scenario(3)


def test_a_seeker_who_resists_moves_on_less_often():
    easy, hard = World(7), World(7, cooperation=0.4)
    assert repr(easy) != repr(hard)
    for state in STATES:
        for strategy in easy.domain.strategies.names:
            chances = [chance for chance, _ in outcomes(state, strategy, 0.4)]
            assert sum(chances) == pytest.approx(1)
    numbers = range(100)
    worth = [sum(world.best_value(world.scenario(n)) for n in numbers) for world in (easy, hard)]
    assert worth[1] < worth[0]
    reached = [
        sum(
            world.states(world.scenario(n), ["Emotional Validation", "Empathetic Statements"] * 3)[-1].emotion
            for n in numbers
        )
        for world in (easy, hard)
    ]
    assert reached[0] < reached[1]
    assert hard.roles().provenance["world"].endswith("cooperation=0.4)")
    assert "cooperation" not in easy.roles().provenance["world"], "journals of other worlds stay valid"
    with pytest.raises(ConfigError, match="chance"):
        World(7, cooperation=1.5)


@pytest.mark.anyio
async def test_plans_in_a_world_with_resistance():
    world = World(7, cooperation=0.5)
    roles = world.roles()
    opening = await roles.bind(world.scenario(0)).seeker.reply(())
    found = await plan(
        [Turn("seeker", opening)],
        roles,
        SearchConfig(algorithm="calibrated"),
        scenario=world.scenario(0),
        max_calls=12,
    )
    assert found.strategy in world.domain.strategies.names
