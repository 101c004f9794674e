"""Async functions in plain scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

from mctsdialog.errors import ConfigError, shown

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of an async call, for scripts: ``tree = mctsdialog.run(mctsdialog.search(dialogue, roles))``.

    It runs in an event loop of its own. Inside a running loop, as in a notebook or an async function, write
    ``await search(...)`` instead.

    :raises ConfigError: for anything but the call of an async function, and inside a running event loop.
    """
    if not isinstance(coroutine, Coroutine):
        raise ConfigError(
            f"run() takes the call of an async function, such as run(search(...)), not {shown(coroutine)}"
        )

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
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
