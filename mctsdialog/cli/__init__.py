"""The command ``mctsdialog``."""

from mctsdialog.cli._main import main

__all__ = ["main"]
