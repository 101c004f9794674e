"""``python -m cso_train``."""

from cso_train.cli import main

main(prog_name="python -m cso_train")
