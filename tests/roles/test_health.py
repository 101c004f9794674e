"""The health check: sound roles are never warned of, roles without a signal are, and counts of many trees add up."""

import json
import random
from dataclasses import replace

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.roles import AveragedScores, RoleHealth, check_roles
from mctsdialog.worlds import World

pytestmark = pytest.mark.timeout(120)

ESC = mctsdialog.get_domain("esc")
NAMES = ESC.strategies.names


def grown(roles, start, **config):
    """The tree of a search by these roles."""
    settings = mctsdialog.SearchConfig(**{"max_iterations": 30, "horizon": 2, **config})
    return anyio.run(mctsdialog.search, start, roles, settings)


class Says:
    """A role of one function, whichever method it is asked by."""

    def __init__(self, function):
        self.function = function

    async def reply(self, history, *strategy):
        return self.function(history, *strategy)

    async def judge(self, history):
        return self.function(history)

    score = judge


def world_roles(**roles):
    """A world's roles, some of them others."""
    return replace(World(5).roles(), provenance={}, **{name: Says(function) for name, function in roles.items()})


def warned(**roles):
    """The warnings about a tree of a world in which some roles are others."""
    return check_roles(grown(world_roles(**roles), World(5).dialogue(World(5).scenario(3)))).warnings


# -- sound roles -----------------------------------------------------------------------------------------------------


def starts(world, number, draw):
    """A scenario, its best dialogue, and one of random strategies."""
    scenario = world.scenario(number)
    return [scenario, world.dialogue(scenario), world.dialogue(scenario, lambda state, at: draw.choice(NAMES))]


@pytest.mark.parametrize("noise", [0.0, 0.25])
@pytest.mark.parametrize("seed", range(8))
def test_the_roles_of_a_world_are_never_warned_of(seed, noise):
    world, draw = World(seed, judge_noise=noise, rounds=4 if seed % 4 == 3 else 8), random.Random(seed)
    together = RoleHealth()
    for number, iterations in enumerate((1, 2, 4, 8, 16, 60)):
        for start in starts(world, 10 * seed + number, draw):
            found = check_roles(grown(world.roles(), start, max_iterations=iterations, horizon=1 + seed % 4))
            assert found.warnings == (), (seed, iterations)
            together += found
    assert together.trees == 18
    assert together.warnings == ()


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), iterations=st.integers(0, 12), horizon=st.integers(0, 4))
def test_roles_that_answer_at_random_are_never_warned_of(hash_roles, gold, domain_maker, seed, iterations, horizon):
    domain = domain_maker(("Ask", "Comfort", "Plan", "Tell", "Praise"))
    roles = hash_roles(domain.strategies.names, seed=seed, end_one_in=6).roles(domain)
    assert check_roles(grown(roles, gold, max_iterations=iterations, horizon=horizon)).warnings == ()


# -- roles without a signal ------------------------------------------------------------------------------------------


def test_what_the_embedded_model_does_is_warned_of():
    ratings = [dict(zip(NAMES, range(1, 9), strict=True)), dict.fromkeys(NAMES, 2.0)]
    found = warned(
        judge=lambda history: dict(zip(ESC.criteria, (4, 3, 2, 1), strict=True)),
        strategist=lambda history: ratings[len(history[-1].text) % 2],
        seeker=lambda history: f"I'm so sorry to hear that. I'm here to help you with {len(history)} things.",
    )
    judge, strategist, seeker = found
    assert "same scores (4, 3, 2, 1) to " in judge
    assert "pairs say only which turns were gold" in judge
    assert "rise or fall in the order of the list" in strategist
    assert "the same best score to most strategies" in strategist
    assert "spoke as the supporter" in seeker


def falling(history):
    top = 3 + len(history[-1].text) % 2
    return dict(zip(ESC.criteria, (top, top - 1, top - 2, top - 3 if len(history) % 3 else 0), strict=True))


def same_ratings(history):
    return dict(zip(NAMES, (3, 7, 2, 9, 4, 1, 6, 5), strict=True))


def one_favourite(history):
    draw = random.Random(history[-1].text)
    return {name: 10.0 if name == NAMES[3] else draw.randrange(9) for name in NAMES}


@pytest.mark.parametrize(
    ("role", "function", "sentence"),
    [
        ("judge", falling, "The judge's scores fall in the order in which the prompt lists the criteria, in "),
        ("judge", lambda history: dict.fromkeys(ESC.criteria, 3), r"The judge gave the same scores \(3, 3, 3, 3\) to "),
        ("strategist", lambda history: dict.fromkeys(NAMES, 5), r"The strategist gave the same scores \(5, 5, 5, "),
        ("strategist", same_ratings, r"The strategist gave the same scores \(3, 7, 2, 9, "),
        ("strategist", one_favourite, f"The strategist rated {NAMES[3]} best in "),
        ("supporter", lambda history, strategy: f"At {len(history)} I see how hard it is for you.", "repeated"),
        ("seeker", lambda history: f"(Affirmation) You did well, {len(history)} times over.", "under a label"),
        ("seeker", lambda history: f"Supporter: what happened at {len(history)}?", "under a label"),
        ("seeker", lambda history: history[-1].text, "in the words of the turn that it answers"),
        ("seeker", lambda history: None, "The seeker ended the dialogue at "),
    ],
)  # fmt: skip
def test_a_role_without_a_signal_is_warned_of_in_one_sentence(role, function, sentence):
    (found,) = warned(**{role: function})
    assert role in found.split(" ")[1]
    assert pytest.importorskip("re").search(sentence, found)


def test_a_seeker_that_never_ends_is_warned_of_once_dialogues_are_long():
    world = World(5, rounds=2)
    roles = world_roles(seeker=lambda history: f"And then {len(history)} other things happened to me.")
    found = check_roles(grown(roles, world.dialogue(world.scenario(1)), max_iterations=60)).warnings
    assert any(each.startswith("The seeker never ended a dialogue in ") for each in found)


def test_a_criterion_that_never_changes_is_warned_of_in_many_turns_alone():
    draw = random.Random(1)

    def judge(history):
        return {name: 2 if name == "humanoid" else draw.randrange(5) for name in ESC.criteria}

    assert warned(judge=judge) == ()
    world = World(5)
    many = RoleHealth()
    for scenario in world.scenarios(6):
        many += check_roles(grown(world_roles(judge=judge), world.dialogue(scenario), max_iterations=30, horizon=4))
    assert [each.split(" in ")[0] for each in many.warnings] == ["The judge gave humanoid the score 2"]


@pytest.mark.parametrize("iterations", [1, 2])
def test_too_few_observations_say_nothing(iterations):
    roles = world_roles(judge=lambda history: dict.fromkeys(ESC.criteria, 3), seeker=lambda history: "As an AI, no.")
    tree = grown(roles, World(5).scenario(1), max_iterations=iterations, horizon=0)
    assert check_roles(tree).warnings == ()


# -- counts ----------------------------------------------------------------------------------------------------------

tallies = st.dictionaries(st.sampled_from(["", "a", "b, c"]), st.integers(0, 50), max_size=3)
healths = st.builds(
    RoleHealth,
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(["judge.scores", "judge.form", "x"]), tallies, max_size=3),
    st.floats(0, 100),
    st.integers(0, 99),
)


@given(healths, healths)
def test_counts_add_up_and_survive_json(one, other):
    both = one + other
    assert RoleHealth.from_dict(json.loads(json.dumps(both.to_dict()))) == both
    for name in {*one.counts, *other.counts}:
        alone = sum(sum(each.counts.get(name, {}).values()) for each in (one, other))
        assert sum(both.counts.get(name, {}).values()) == alone
    assert (both.trees, both.freedom) == (one.trees + other.trees, one.freedom + other.freedom)
    assert all(isinstance(each, str) for each in both.warnings)


def test_counts_stay_small_however_many_trees_there_are():
    together = RoleHealth()
    for number in range(200):
        scores = {f"{number}, {at}": 1 for at in range(20)} | {"4, 3, 2, 1": 20}
        together += RoleHealth(1, {"judge.scores": scores})
    assert len(together.counts["judge.scores"]) < 20
    assert together.counts["judge.scores"]["4, 3, 2, 1"] == 4000
    assert sum(together.counts["judge.scores"].values()) == 8000


@pytest.mark.parametrize(
    "data",
    [
        None, [], {"trees": -1}, {"trees": True}, {"trees": 1.5}, {"counts": []}, {"counts": {"a": 3}}, {"other": 1},
        {"counts": {"a": {"b": -1}}}, {"counts": {"a": {"b": "1"}}}, {"squares": float("nan")}, {"squares": -1.0},
    ],
)  # fmt: skip
def test_other_data_is_refused(data):
    with pytest.raises(ValueError, match="validation error"):
        RoleHealth.from_dict(data)


# -- the judge's noise -----------------------------------------------------------------------------------------------


def test_the_noise_of_the_judge_is_that_of_its_single_draws():
    draw = random.Random(4)

    def judge(history):
        level = 1 + len(history[-1].text) % 3
        return AveragedScores(tuple({name: level + draw.choice((-1, 1)) for name in ESC.criteria} for _ in range(3)))

    tree = grown(world_roles(judge=judge), World(5).dialogue(World(5).scenario(3)), max_iterations=200)
    noise = check_roles(tree).judge_noise
    weights = list(ESC.weights.values())
    true = sum(weight**2 for weight in weights) ** 0.5 / sum(weights)  # each score is one off, independently
    turns = sum(len(node.rollout.draws) for node in tree if getattr(node, "rollout", None))
    assert noise.freedom == 2 * turns
    assert noise.deviation == pytest.approx(true, rel=0.1)


def test_a_judge_that_is_asked_once_has_no_noise_to_tell():
    assert check_roles(grown(World(1).roles(), World(1).scenario(0), max_iterations=3)).judge_noise is None
