"""The training methods, one file each: what a method trains on, its settings, its trainer and its loss.

To add one, copy ``dpo.py``: write a frozen dataclass over :class:`Method` and add it below. A method of another
package calls :func:`register` before the settings are resolved.
"""

from collections.abc import Callable

from cso_train.methods._base import (
    PAIR_METRICS,
    Kind,
    Method,
    Metrics,
    Reply,
    ReplySet,
    Scores,
    Span,
    from_trl,
    log_sigmoid,
    pair_metrics,
    setting,
)
from cso_train.methods.dpo import DPO
from cso_train.methods.ipo import IPO
from cso_train.methods.kto import KTO
from cso_train.methods.orpo import ORPO
from cso_train.methods.sft import SFT
from cso_train.methods.simpo import SimPO

METHODS: dict[str, type[Method]] = {each.name: each for each in (SFT, DPO, IPO, SimPO, KTO, ORPO)}
"""The methods by name."""

_watchers: list[Callable[[type[Method]], None]] = []


def register(method: type[Method]) -> type[Method]:
    """Make a method known by its name; usable as a decorator.

    :raises ValueError: if another method has the name.
    """
    if METHODS.setdefault(method.name, method) is not method:
        raise ValueError(f"there is already a training method {method.name!r}")
    for watcher in _watchers:
        watcher(method)
    return method


def on_register(watcher: Callable[[type[Method]], None]) -> None:
    """Call ``watcher`` with every method: those there are now, and those registered later."""
    _watchers.append(watcher)
    for method in METHODS.values():
        watcher(method)


__all__ = [
    "DPO",
    "IPO",
    "KTO",
    "METHODS",
    "ORPO",
    "PAIR_METRICS",
    "SFT",
    "Kind",
    "Method",
    "Metrics",
    "Reply",
    "ReplySet",
    "Scores",
    "SimPO",
    "Span",
    "from_trl",
    "log_sigmoid",
    "on_register",
    "pair_metrics",
    "register",
    "setting",
]
