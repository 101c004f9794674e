"""Ask and tell: by hand, out of order, twice, released; gold seeding; stop rules."""

import math
import random

import pytest

from mctsdialog._search import SearchConfig
from mctsdialog._search.simulate import CheckedRoles, run_trial
from mctsdialog.algorithms import CSO, Exchange, Growth, Simulation
from mctsdialog.dialogue import Scenario, Turn
from mctsdialog.errors import ConfigError, TrialError
from mctsdialog.roles import Roles
from mctsdialog.tree import RolloutStep, Tree

OPENING = (Turn("seeker", "Hello."),)
WORST, BEST = (0.0,) * 4, (4.0,) * 4


def engine(domain, **settings):
    return CSO(Tree(Scenario(id="t"), domain, OPENING), SearchConfig(**settings))


def state(tree):
    return [(node.id, node.type, node.value, node.visits, node.children) for node in tree]


def expanded(*judgements, child="answer", scores=None, steps=()):
    return Simulation(
        judgements,
        scores=scores or {"Ask": 5.0, "Comfort": 9.0, "Plan": 5.0},
        child=Exchange("said", child),
        steps=steps,
    )


def generated():
    return Simulation((BEST,), generated=Exchange("why", "so"), scores={"Plan": 3.0}, child=Exchange("a", "b"))


def test_first_iteration_by_hand(domain):
    search = engine(domain)
    trial = search.ask()
    assert (trial.leaf, trial.kind, trial.strategy, trial.history) == (0, "expand", None, OPENING)
    step = RolloutStep("Ask", "more", None)
    assert search.tell(trial, expanded((4.0, 4.0, 4.0, 2.0), (0.0, 0.0, 0.0, 4.0), steps=(step,)))
    tree = search.tree
    total = ((12 + 14) / 10 - 3 + 28 / 10 - 3) / 2
    assert total == pytest.approx(-0.3)
    assert [node.visits for node in tree] == [1, 0, 1, 0]
    assert [node.value for node in tree] == pytest.approx([total, 0, total, 0])
    weights = [math.exp(1), math.exp(1.8), math.exp(1)]
    assert [child.prior for child in tree.children(tree.root)] == pytest.approx([w / sum(weights) for w in weights])
    assert tree[2].rollout.steps == (step,)
    tree.check()


def test_selection_by_hand(domain):
    """After one bad trial, the first of two equal siblings beats the visited child."""
    search = engine(domain)
    search.tell(search.ask(), expanded(WORST))
    trial = search.ask()
    assert (trial.leaf, trial.kind, trial.strategy) == (1, "generate", "Ask")
    search.tell(trial, generated())
    tree = search.tree
    assert [node.visits for node in tree] == [2, 1, 1, 0, 0, 0, 1]
    assert tree.root.value == pytest.approx((-3 + 1) / 2)
    assert tree[1].rollout is None
    assert [child.prior for child in tree.children(tree[1])] == [0, 0, 1]
    tree.check()


def test_an_end_node_is_judged_again_at_each_visit(domain):
    search = engine(domain, max_iterations=10)
    search.tell(search.ask(), expanded(BEST, child=None))
    assert search.tree.ends == 1
    for visits in range(2, 5):
        trial = search.ask()
        assert (trial.leaf, trial.kind) == (2, "end")
        assert trial.history[-1] == Turn("supporter", "said", "Comfort")
        search.tell(trial, Simulation((BEST,)))
        assert search.tree[2].visits == visits
    search.tree.check()


def test_an_end_node_is_judged_by_several_trials_at_once_and_no_other_leaf(domain):
    """As one trial after the other would; the visits under way count, so that in the end another leaf is chosen."""
    search = engine(domain, max_iterations=100)
    search.tell(search.ask(), expanded(BEST, child=None))
    trials = [search.ask() for _ in range(60)]
    leaves = [trial.leaf for trial in trials if trial is not None]
    assert leaves.count(2) > 10
    assert [leaves.count(leaf) for leaf in (1, 3)] == [1, 1]
    for trial in reversed(trials):
        search.tell(trial, Simulation((BEST,)) if trial.kind == "end" else generated())
    assert search.in_flight == 0
    assert search.tree[2].visits == 1 + leaves.count(2)
    search.tree.check()


def test_told_twice_changes_nothing(domain):
    search = engine(domain)
    trial = search.ask()
    assert search.tell(trial, expanded(BEST))
    before = state(search.tree)
    assert not search.tell(trial, expanded(WORST))
    search.release(trial)
    assert state(search.tree) == before
    assert search.in_flight == 0


def test_a_released_trial_leaves_the_tree_as_it_was(domain):
    search = engine(domain)
    search.tell(search.ask(), expanded(BEST))
    before, leaf = state(search.tree), search.select()
    trial = search.ask()
    search.release(trial)
    search.release(trial)
    assert state(search.tree) == before
    assert search.select() is leaf
    assert search.ask().leaf == trial.leaf
    with pytest.raises(TrialError, match="not in progress"):
        search.tell(trial, expanded(BEST))
    with pytest.raises(TrialError, match="not in progress"):
        engine(domain).tell(trial, expanded(BEST))


@pytest.mark.parametrize(
    "outcome",
    [
        Simulation((BEST,)),
        Simulation((), scores={"Ask": 1.0}, child=Exchange("a", "b")),
        Simulation((BEST,), scores={"Ask": 1.0}),
        Simulation((BEST, BEST), scores={"Ask": 1.0}, child=Exchange("a", "b")),
        Simulation((BEST,), generated=Exchange("a", None), scores={"Ask": 1.0}, child=Exchange("a", "b")),
        expanded(BEST, BEST, child=None, steps=(RolloutStep("Ask", "a", "b"),)),
        expanded(*(BEST,) * 6, steps=(RolloutStep("Ask", "a", "b"),) * 5),
    ],
)
def test_an_outcome_that_does_not_fit_is_refused_and_changes_nothing(domain, outcome):
    search = engine(domain)
    trial = search.ask()
    before = state(search.tree)
    with pytest.raises(TrialError, match="does not fit"):
        search.tell(trial, outcome)
    assert state(search.tree) == before
    assert search.tell(trial, expanded(BEST))


def test_while_the_root_is_under_way_nothing_else_starts(domain):
    search = engine(domain)
    assert search.ask() is not None
    assert search.ask() is None
    assert search.stop_reason() is None


def test_trials_under_way_are_distinct_and_counts_only_delay_them(domain):
    search = engine(domain)
    search.tell(search.ask(), expanded(BEST))
    trials = [search.ask() for _ in range(3)]
    assert len({trial.leaf for trial in trials}) == 3
    assert search.ask() is None
    before = state(search.tree)
    for trial in trials:
        search.release(trial)
    assert state(search.tree) == before
    assert search.in_flight == 0


def test_unobserved_counts_are_those_of_wu_uct(domain):
    """With N + U for N: two trials below child 2 make it less attractive by the formula, Q untouched."""
    search = engine(domain, c=1.0)
    search.tell(search.ask(), expanded(BEST))
    search.tell(search.ask(), expanded(BEST))  # below node 2, which has the best Q
    tree = search.tree
    first = search.ask()
    under_way = {node.id for node in tree.path(tree[first.leaf])}
    counts = {node.id: node.visits + (node.id in under_way) for node in tree}
    expected = tree.root
    while expected.children:
        free = [child for child in tree.children(expected) if child.id != first.leaf]
        expected = max(
            free,
            key=lambda n: n.value + n.prior * math.sqrt(counts[n.parent]) / (1 + counts[n.id]),
        )
    assert search.ask().leaf == expected.id


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(5))
async def test_told_out_of_order_with_failures_the_tree_stays_sound(domain, hash_roles, seed, anyio_backend_name):
    rng = random.Random(seed)
    search = engine(domain, max_iterations=80, min_iterations=80, max_ends=1000)
    functions = hash_roles(domain.strategies.names, seed, end_one_in=7)
    players = CheckedRoles(functions.roles(), domain)
    waiting = []
    while True:
        while len(waiting) < 6 and (trial := search.ask()) is not None:
            waiting.append(trial)
        if not waiting:
            break
        trial = waiting.pop(rng.randrange(len(waiting)))
        if rng.random() < 0.2:
            search.release(trial)
            continue
        search.tell(trial, await run_trial(trial, players, domain, search.config.horizon))
        search.tree.check()
    assert search.tree.iterations == 80
    assert search.in_flight == 0


def test_seeding_a_gold_turn(domain):
    search = engine(domain)
    node = search.seed(0, {"Comfort": 5.0, "Plan": 5.0}, "Ask", Exchange("What is it?", "Work."))
    tree = search.tree
    assert (node.value, node.visits, node.gold) == (1.0, 100, True)
    assert (tree.root.value, tree.root.visits) == (1.0, 100)
    assert [child.prior for child in tree.children(tree.root)] == pytest.approx([0.1, 0.45, 0.45])
    assert [(child.value, child.visits) for child in tree.children(tree.root)[1:]] == [(0.0, 0), (0.0, 0)]
    end = search.seed(node.id, {"Ask": 1.0, "Comfort": 1.0, "Plan": 1.0}, "Plan", Exchange("Let us plan.", None))
    assert end.type == "end"
    assert tree.ends == 1
    tree.check()


@pytest.mark.parametrize(
    ("settings", "iterations", "ends", "reason"),
    [
        ({"max_iterations": 3}, 3, 0, "max_iterations"),
        ({"min_iterations": 2, "min_ends": 0}, 2, 0, "enough_ends"),
        ({"min_iterations": 2, "min_ends": 1}, 2, 0, None),
        ({"min_iterations": 2, "min_ends": 1}, 2, 1, "enough_ends"),
        ({"min_iterations": 9, "max_ends": 2}, 2, 2, "max_ends"),
        ({"min_iterations": 9, "max_ends": 3}, 2, 2, None),
        ({}, 0, 0, None),
    ],
)
def test_stop_rules(domain, settings, iterations, ends, reason):
    search = engine(domain, **settings)
    search.tree.iterations, search.tree._ends = iterations, ends
    before = state(search.tree)
    assert search.stop_reason() == reason
    assert state(search.tree) == before
    assert (search.ask() is None) == (reason is not None)


def test_no_stop_but_max_iterations_while_the_next_selection_is_an_end_node(domain):
    search = engine(domain, min_iterations=1, max_ends=1, max_iterations=3)
    search.tell(search.ask(), expanded(BEST, child=None))
    assert search.tree.ends == 1
    assert search.stop_reason() is None
    search.tell(search.ask(), Simulation((WORST,)))
    assert search.tree[2].value == pytest.approx(-1.0)
    assert search.stop_reason() == "enough_ends"


def test_trials_under_way_count_against_max_iterations(domain):
    search = engine(domain, max_iterations=2)
    search.tell(search.ask(), expanded(BEST))
    assert search.ask() is not None
    assert search.ask() is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("c", -1.0), ("prior_temperature", 0.0), ("horizon", -1), ("max_ends", 0), ("bias", math.nan), ("horizon", "4"),
     ("max_iterations", 1.5), ("gold_prior", 1.0), ("no_such_field", 1)],
)  # fmt: skip
def test_config_out_of_range_names_the_field(field, value):
    with pytest.raises(ConfigError, match=field) as caught:
        SearchConfig(**{field: value})
    assert caught.value.field == field


def test_roles_without_the_method_are_refused():
    with pytest.raises(ConfigError, match=r"seeker.*reply"):
        Roles(object(), object(), object(), object())


def test_a_grown_leaf_is_open_to_others_and_its_trial_stays_counted(domain):
    search = engine(domain)
    first = search.ask()
    assert search.ask() is None
    scores = {"Ask": 5.0, "Comfort": 9.0, "Plan": 5.0}
    search.grow(first, Growth(None, scores))
    with pytest.raises(TrialError, match="has grown its leaf already"):
        search.grow(first, Growth(None, scores))
    second, third = search.ask(), search.ask()
    assert [(trial.leaf, trial.kind) for trial in (second, third)] == [(1, "generate"), (3, "generate")]
    assert search.ask() is None  # the child of highest prior is the first trial's
    with pytest.raises(TrialError, match="does not fit"):
        search.grow(second, Growth(None, scores))
    search.tell(first, expanded(WORST))
    assert [node.visits for node in search.tree] == [1, 0, 1, 0]
    search.tree.check()
    search.release(second)
    search.release(third)
    assert search.in_flight == 0
    assert not search._unobserved
    assert not search._blocked


def test_what_a_released_trial_has_grown_is_finished_with_one_visit(domain):
    search = engine(domain)
    first = search.ask()
    search.grow(first, Growth(None, {"Ask": 5.0, "Comfort": 9.0, "Plan": 5.0}))
    search.release(first)
    search.tree.check()
    trial = search.ask()
    while trial.leaf != 2:
        trial = search.ask()
    assert (trial.kind, trial.strategy, trial.history) == ("finish", "Comfort", OPENING)
    with pytest.raises(TrialError, match="does not fit"):
        search.tell(trial, expanded(WORST))
    step = RolloutStep("Ask", "more", None)
    search.tell(trial, Simulation((WORST, BEST), child=Exchange("said", "answer"), steps=(step,)))
    assert search.tree[2].visits == search.tree.root.visits == 1
    assert search.tree[2].rollout.steps == (step,)
    search.tree.check()
