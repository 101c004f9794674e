"""Async functions in plain scripts."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import sniffio

from mctsdialog.errors import ConfigError, shown

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run one async call in a script: ``tree = mctsdialog.run(mctsdialog.search(dialogue, roles))``.

    It starts a new event loop. Inside a running loop, such as in a notebook or an async function, write
    ``await search(...)`` instead.

    :raises ConfigError: for anything other than a fresh call of an async function, and inside a running event loop.
    """
    if not isinstance(coroutine, Coroutine):
        raise ConfigError(
            f"run() takes the call of an async function, such as run(search(...)), not {shown(coroutine)}"
        )
    if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED:
        raise ConfigError("run() takes each call of an async function once; this one has begun: write the call again")

    async def main() -> T:
        return await coroutine

    try:
        if _inside_a_loop():
            raise ConfigError(
                "run() cannot be used inside a running event loop, as a notebook has one: use await instead"
            )
        return anyio.run(main)
    finally:
        coroutine.close()  # if it never began


def _inside_a_loop() -> bool:
    with suppress(sniffio.AsyncLibraryNotFoundError):
        return bool(sniffio.current_async_library())
    with suppress(RuntimeError):  # in a callback there is a loop but no task
        return bool(asyncio.get_running_loop())
    return False
