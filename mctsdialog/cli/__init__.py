"""The command ``mctsdialog``."""

from mctsdialog.cli.main import main

__all__ = ["main"]
