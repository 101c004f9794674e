"""Values that belong to an event loop."""

import asyncio
from itertools import count

import anyio
import pytest
import trio

from mctsdialog.llm._loop_local import LoopLocal

pytestmark = pytest.mark.timeout(30)


async def twice(local: LoopLocal[int]) -> tuple[int, int]:
    first = local.get()
    await anyio.lowlevel.checkpoint()
    return first, local.get()


def test_each_loop_has_its_own_value():
    local = LoopLocal(count().__next__)
    runs = [anyio.run(twice, local, backend=backend) for backend in ("asyncio", "trio", "asyncio", "asyncio", "trio")]
    assert runs == [(number, number) for number in range(5)]


def test_loops_in_threads_share_nothing():
    local = LoopLocal(count().__next__)

    async def beside() -> tuple[int, int, tuple[int, int]]:
        before = local.get()
        other = await anyio.to_thread.run_sync(lambda: anyio.run(twice, local))
        return before, local.get(), other

    assert anyio.run(beside) == (0, 0, (1, 1))


def test_trio_inside_an_asyncio_loop_is_a_loop_of_its_own():
    local = LoopLocal(count().__next__)

    async def host() -> tuple[int, tuple[int, int], int]:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        before, guest = local.get(), []

        def ended(outcome) -> None:
            guest.append(outcome.unwrap())
            done.set()

        trio.lowlevel.start_guest_run(
            twice, local, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=ended
        )
        await done.wait()
        return before, guest[0], local.get()

    assert asyncio.run(host()) == (0, (1, 1), 0)
