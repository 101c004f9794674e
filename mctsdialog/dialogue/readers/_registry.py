"""The known forms of dialogue files: those that are code, found by their being there, and those that are data."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from mctsdialog.dialogue.readers._common import Reader
from mctsdialog.dialogue.readers._mapped import FORMS

_GENERAL = ("messages", "rows")  # asked after all others


def _discover() -> dict[str, Reader]:
    here = Path(__file__).parent
    modules = sorted(each.name for each in pkgutil.iter_modules([str(here)]) if not each.name.startswith("_"))
    code = [import_module(f"mctsdialog.dialogue.readers.{name}").READER for name in modules]
    data = [form.reader() for form in FORMS.values()]
    special = [reader for reader in data if reader.name not in _GENERAL]
    general = [reader for reader in data if reader.name in _GENERAL]
    return {reader.name: reader for reader in (*special, *code, *general)}


READERS: dict[str, Reader] = _discover()
"""The readers by format, in the order in which they are asked whether an item is theirs."""


def form_of(value: Mapping[str, object]) -> tuple[str | None, bool]:
    """The format of an item, or None, and whether that is certain: a dialogue without turns may be of several."""
    if not value:
        return None, False
    found = next((name for name, reader in READERS.items() if reader.recognises(value)), None)
    if found is not None:
        return found, True
    plain = (form for form in FORMS.values() if form.plain and any(key in value for key in form.map.turns))
    return next((form.name for form in plain), None), False
