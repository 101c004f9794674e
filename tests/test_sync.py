"""``mctsdialog.run``: async functions in scripts."""

import asyncio
import warnings

import pytest
import trio

import mctsdialog
from mctsdialog.errors import ConfigError
from mctsdialog.worlds import World


async def double(number):
    await asyncio.sleep(0)
    if number < 0:
        raise mctsdialog.DataError("negative")
    return 2 * number


def test_a_search_in_a_script():
    world = World(seed=1)
    config = mctsdialog.SearchConfig(max_iterations=3)
    tree = mctsdialog.run(mctsdialog.search(world.scenario(0), world.roles(), config, domain=world.domain))
    assert tree.iterations == 3
    assert mctsdialog.run(double(2)) == 4  # a loop of its own each time


def test_errors_come_as_they_are():
    with pytest.raises(mctsdialog.DataError, match="negative"):
        mctsdialog.run(double(-1))


@pytest.mark.parametrize("wrong", [double, None, 3, [double]])
def test_what_is_no_call_of_an_async_function(wrong):
    with pytest.raises(
        ConfigError, match=r"run\(\) takes the call of an async function, such as run\(search\(\.\.\.\)\)"
    ):
        mctsdialog.run(wrong)


def test_inside_a_running_loop_the_error_says_await_and_nothing_is_left_over():
    async def cell():
        mctsdialog.run(double(1))

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "coroutine was never awaited"
        with pytest.raises(ConfigError, match=r"inside a running event loop, .*: use await instead"):
            asyncio.run(cell())
        with pytest.raises(ConfigError, match=r"inside a running event loop, .*: use await instead"):
            trio.run(cell)


def test_a_call_is_run_once():
    begun = double(2)
    assert mctsdialog.run(begun) == 4
    with pytest.raises(ConfigError, match=r"this one has begun: write the call again"):
        mctsdialog.run(begun)
