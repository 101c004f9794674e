"""``python -m mctsdialog``: the command ``mctsdialog``."""

from mctsdialog.cli import main

if __name__ == "__main__":
    main()
