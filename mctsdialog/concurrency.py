"""Several things at once, a bounded number of them: what every run of many model calls has in common."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import anyio

from mctsdialog.errors import ConfigError, first_error

T = TypeVar("T")

_YOUNG = 10_000  # new objects before the collector looks at them


async def for_each(items: Sequence[T], work: Callable[[T], Awaitable[None]], *, concurrency: int) -> None:
    """Do ``work`` for every item, ``concurrency`` of them at a time, begun in their order.

    :param concurrency: 1 or more.
    :raises ConfigError: for a concurrency below 1.
    :raises: the first error of a worker, as itself; the others are cancelled.
    """
    if concurrency < 1:  # else nothing would be done, and nobody would know
        raise ConfigError(f"concurrency must be at least 1, not {concurrency}", field="concurrency")
    todo = iter(items)

    async def worker() -> None:
        for item in todo:
            await work(item)

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(concurrency, len(items))):
                group.start_soon(worker)
    except BaseExceptionGroup as error:  # callers meet the one error, not the task group around it
        raise first_error(error) from None


@contextmanager
def rare_collections() -> Iterator[None]:
    """Has the garbage collector look for cycles more rarely.

    Hundreds of calls under way are many thousands of young objects that live for a second and are in no cycle; by the
    usual threshold they are looked through again and again, a tenth of what a call costs.
    """
    before = gc.get_threshold()
    ours = (max(before[0], _YOUNG), *before[1:])
    if before[0]:  # else it is off
        gc.set_threshold(*ours)
    try:
        yield
    finally:
        if gc.get_threshold() == ours:
            gc.set_threshold(*before)
