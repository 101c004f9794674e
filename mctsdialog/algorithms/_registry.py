"""The algorithms that are known, by name."""

from __future__ import annotations

import difflib
from typing import Any, Final

from mctsdialog.errors import ConfigError

ALGORITHMS: Final[dict[str, type[Any]]] = {}
"""Subclasses of :class:`mctsdialog.algorithms.Algorithm`."""


def algorithm_names() -> tuple[str, ...]:
    """The algorithms that are known, in the order they were registered."""
    return tuple(ALGORITHMS)


def get_algorithm(name: str) -> type[Any]:
    """The algorithm of that name.

    :raises ConfigError: if there is none.
    """
    if name not in ALGORITHMS:
        near = difflib.get_close_matches(name, ALGORITHMS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(ALGORITHMS)}; register your own first"
        raise ConfigError(f"there is no algorithm {name!r}; {hint}", field="algorithm")
    return ALGORITHMS[name]
