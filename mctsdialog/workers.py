"""Several things at once, a bounded number of them: what every run of many model calls has in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from mctsdialog.errors import first_error

T = TypeVar("T")


async def for_each(items: Sequence[T], work: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """Do ``work`` for every item, ``at_once`` of them at a time, begun in their order.

    :param at_once: 1 or more.
    :raises: the first error of a worker, as itself; the others are cancelled.
    """
    todo = iter(items)

    async def worker() -> None:
        for item in todo:
            await work(item)

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(at_once, len(items))):
                group.start_soon(worker)
    except BaseExceptionGroup as error:  # callers meet the one error, not the task group around it
        raise first_error(error) from None
