"""Layers around any model: each is a model itself (:class:`~mctsdialog.llm.ModelLayer`).

The order in which :func:`~mctsdialog.llm.build_stack` puts them together stands in ``_stack.py``.
"""

from typing import TYPE_CHECKING

from mctsdialog._moved import moved_names

if not TYPE_CHECKING:
    __getattr__ = moved_names(__name__)
