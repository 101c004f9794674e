"""The time left of a run: by the work that was really done, and by the limit that ends each tree first."""

import pytest

import mctsdialog
from mctsdialog import SearchConfig
from mctsdialog._search.run import search_within
from mctsdialog.corpus._pace import Pace
from mctsdialog.worlds import World


def left_at(pace, second, left, *, paid=True):
    pace.sample(float(second), paid=paid)
    return pace.to_end(left)


def test_a_tree_that_came_from_the_cache_says_nothing_of_the_time():
    pace = Pace()
    pace.came_to("first", 1.0)
    pace.sample(0.5, paid=True)
    pace.ended("first", done=True)
    pace.came_to("second", 0.0)
    seen = []
    for second in range(1, 201):
        pace.came_to("second", second / 200)
        seen.append(left_at(pace, second, 1))
    assert not any(seen[:9])
    for second in (30, 60, 90, 120, 150, 190):
        assert seen[second - 1] == pytest.approx(200 - second, abs=12), "it was the time gone: 30, 60, 90, ..."
    pace.ended("second", done=True)
    assert left_at(pace, 200, 0) == 0.0


def test_what_took_no_call_is_no_work():
    pace = Pace()
    for second in range(1, 20):  # hits alone
        pace.came_to("a", second / 20)
        assert left_at(pace, second, 3, paid=False) is None
    for second in range(20, 80):
        pace.came_to("b", (second - 19) / 100)
        found = left_at(pace, second, 3)
    assert found == pytest.approx(100 * (3 - 0.95 - 0.6), rel=0.1)


def test_what_a_journal_has_is_no_work_and_a_stalled_run_has_no_estimate():
    pace = Pace()
    pace.came_to("a", 0.5)  # resumed
    assert left_at(pace, 1, 1) is None
    pace.came_to("a", 0.6)
    assert left_at(pace, 10, 1) == pytest.approx(40, rel=0.15)
    for second in range(11, 60):
        found = left_at(pace, second, 1)
    assert found is None


def test_a_long_run_keeps_few_samples():
    pace = Pace()
    for second in range(1, 20_000):
        pace.came_to("a", second / 40_000)
        found = left_at(pace, second, 1)
    assert len(pace._samples) < 500
    assert found == pytest.approx(20_000, rel=0.02)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("algorithm", "from_gold", "most", "limits"),
    [
        ("calibrated", True, 30, {}),
        ("cso", True, None, {"max_iterations": 60, "min_iterations": 20, "horizon": 1}),
        ("cso", False, None, {"max_iterations": 30, "min_iterations": 30, "horizon": 1}),
        ("cso", True, 100, {"horizon": 1}),
        ("beam", False, 60, {}),
    ],
)
async def test_how_far_a_search_is_goes_by_the_limit_that_ends_it(algorithm, from_gold, most, limits):
    world, seen = World(5), []
    start = world.scenario(1)
    start = world.dialogue(start) if from_gold else start
    config = SearchConfig(algorithm=algorithm, **limits)
    tree, _ = await search_within(start, world.roles(), config, max_calls=most, on_share=seen.append)
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= 0.3
    assert seen[-1] == 1.0, tree.stop_reason
    half = seen[len(seen) // 2]
    assert 0.3 < half < 0.75, "it comes on evenly"


@pytest.mark.anyio
async def test_a_run_shows_no_time_before_there_is_a_pace_and_then_how_far_its_trees_are(tmp_path):
    world, seen = World(5), []
    starts = [world.scenario(number).model_copy(update={"id": f"s{number}"}) for number in range(3)]
    config = SearchConfig(algorithm="calibrated")
    await mctsdialog.search_corpus(
        starts, world.roles(), config, out=tmp_path, max_calls_per_tree=40, concurrency=1, on_progress=seen.append
    )
    assert seen[0].eta is None
    assert seen[-1].eta == 0.0
    assert seen[-1].open_share == 0.0
