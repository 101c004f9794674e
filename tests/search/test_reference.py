"""A whole search against the slow reference, node by node, after every iteration."""

import copy
import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog._search import SearchConfig

pytestmark = pytest.mark.anyio


def compare(tree, reference):
    nodes = reference.nodes()
    assert len(tree) == len(nodes)
    for node, other in zip(tree, nodes, strict=True):
        assert node.id == other["id"]
        assert node.type == other["kind"]
        assert node.visits == other["N"]
        assert math.isclose(node.value, other["Q"], rel_tol=1e-9, abs_tol=1e-12)
        assert list(node.children) == [child["id"] for child in other["children"]]
        said = [(turn.speaker, turn.text, turn.strategy) for turn in tree.history(node)]
        assert said == reference.history(other)
        if other["kind"] != "root":
            assert node.strategy == other["strategy"]
            assert math.isclose(node.prior, other["P"], rel_tol=1e-12)
            assert node.score == other["score"] or (math.isnan(node.score) and other["score"] is None)


async def run_both(reference_class, hash_class, domain, start, dialogue, seed, end_one_in, leave_out=(), **settings):
    names = domain.strategies.names
    ours = hash_class(names, seed, end_one_in, leave_out)
    theirs = hash_class(names, seed, end_one_in, leave_out)
    config = SearchConfig(**settings)
    reference = reference_class(
        names, theirs, dialogue, config.c, config.prior_temperature, 7.0, config.bias, config.horizon
    )
    steps = []

    def step(tree):
        if steps:
            reference.iterate()
        steps.append(len(tree))
        compare(tree, reference)
        tree.check()
        limits = (config.max_iterations, config.min_iterations, config.min_ends, config.max_ends)
        stops.append(reference.stopped(tree.iterations, *limits))

    stops = []
    tree = await mctsdialog.search(start, ours.roles(), config, domain=domain, on_progress=step)
    assert tree.iterations == len(steps) - 1
    assert stops == [False] * (len(stops) - 1) + [True]
    assert sorted(map(repr, ours.calls)) == sorted(map(repr, theirs.calls))
    return tree


async def test_gold_dialogue_200_iterations(reference, hash_roles, domain, gold):
    tree = await run_both(reference, hash_roles, domain, gold, gold, seed=1, end_one_in=9, min_iterations=200)
    assert tree.iterations >= 200 or tree.stop_reason == "max_ends"


@pytest.mark.parametrize("seed", range(4))
async def test_scenario(reference, hash_roles, domain, scenario, seed):
    await run_both(reference, hash_roles, domain, scenario, None, seed, 4, max_iterations=60, min_iterations=40)


async def test_strategist_leaves_strategies_out(reference, hash_roles, domain, gold):
    """Gold "Ask" is never scored: it gets 0.1, the others 0.9 of theirs; elsewhere it has prior 0."""
    tree = await run_both(reference, hash_roles, domain, gold, gold, 3, 7, leave_out=("Ask",), max_iterations=50)
    assert tree[tree.root.children[0]].prior == pytest.approx(0.1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(  # two children are equal but for rounding
    seed=882, end_one_in=0, c=0.0, temperature=1.0, horizon=4, names=2, from_gold=False, max_ends=1
)
@given(
    seed=st.integers(0, 10**6),
    end_one_in=st.integers(0, 8),
    c=st.floats(0, 3),
    temperature=st.floats(0.2, 20),
    horizon=st.integers(0, 5),
    names=st.integers(1, 5),
    from_gold=st.booleans(),
    max_ends=st.integers(1, 10),
)
async def test_any_settings(
    reference, hash_roles, domain_maker, gold, scenario, seed, end_one_in, c, temperature, horizon, names, from_gold,
    max_ends,
):  # fmt: skip
    domain = domain_maker(("Ask", "Comfort", "Plan", "Affirm", "Inform")[: max(names, 3) if from_gold else names])
    await run_both(
        reference, hash_roles, domain, gold if from_gold else scenario, gold if from_gold else None, seed, end_one_in,
        c=c, prior_temperature=temperature, horizon=horizon, max_iterations=30, min_iterations=20, max_ends=max_ends,
    )  # fmt: skip


async def test_supporter_first_and_trailing_seeker(reference, hash_roles, domain, gold):
    turns = copy.deepcopy(gold.turns)
    greeting = mctsdialog.Turn("supporter", "Hello.", "Ask")
    dialogue = gold.model_copy(update={"turns": (greeting, *turns, mctsdialog.Turn("seeker", "Yes."))})
    tree = await run_both(reference, hash_roles, domain, dialogue, dialogue, 5, 6, max_iterations=30)
    assert tree.root.turns == (greeting, turns[0])
