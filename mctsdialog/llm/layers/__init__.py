"""Layers around any model: each is a model itself (:class:`~mctsdialog.llm.ModelLayer`).

The order in which :func:`~mctsdialog.llm.build_stack` puts them together stands in ``_stack.py``.
"""
