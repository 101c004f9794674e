"""mctsdialog."""
