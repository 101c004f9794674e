"""How objects show themselves in a notebook, without the lower floors knowing of the upper ones.

``mctsdialog.export`` registers what a tree and a dialogue look like; their ``_repr_html_`` and ``plot``
look it up here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mctsdialog.errors import ConfigError

_HTML: dict[type, Callable[[Any], str]] = {}
_PLOT: dict[type, Callable[..., Any]] = {}


def register(kind: type, *, html: Callable[[Any], str] | None = None, plot: Callable[..., Any] | None = None) -> None:
    """Say how objects of a class, and of its subclasses, are shown. A later call takes the place of an earlier one.

    :param kind: the class.
    :param html: gives HTML for a notebook; None leaves what is registered.
    :param plot: draws the object, the object first; None leaves what is registered.
    """
    if html is not None:
        _HTML[kind] = html
    if plot is not None:
        _PLOT[kind] = plot


def html_of(obj: object) -> str | None:
    """The object as HTML; None where nothing is registered for its class, which notebooks take as "no HTML"."""
    for kind in type(obj).__mro__:
        if kind in _HTML:
            return _HTML[kind](obj)
    return None


def plot(obj: object, **settings: Any) -> Any:
    """Draw the object; what comes back is the registered function's.

    :raises ConfigError: if no plot is registered for its class.
    """
    for kind in type(obj).__mro__:
        if kind in _PLOT:
            return _PLOT[kind](obj, **settings)
    raise ConfigError(f"no plot is registered for {type(obj).__name__}; import mctsdialog.export, which registers them")
