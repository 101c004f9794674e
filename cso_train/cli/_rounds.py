"""``python -m cso_train rounds``: search, train, hold dialogues, again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mctsdialog.cli.exits import INTERRUPTED, errors_as_exits
from mctsdialog.cli.terminal import echo


@click.command("rounds")
@click.argument("config", type=click.Path(path_type=Path))
def rounds_command(config: Path) -> None:
    """Search with a model, train it on the result, evaluate it in dialogues, and repeat.

    CONFIG is a YAML file with model, dialogues, partners (who play seeker and judge), rounds, held, search,
    preferences, train and output_dir. In the next round's searches, the trained model plays supporter and
    strategist. Rounds stop early if the model's dialogues become worth less. The same command resumes at every stage.
    """
    from cso_train.rounds import read_rounds_config, run_rounds  # noqa: PLC0415  # heavy
    from cso_train.rounds._table import rounds_table, write_rounds  # noqa: PLC0415

    with errors_as_exits():
        settings = read_rounds_config(config)
        try:
            result = run_rounds(settings, say=lambda line: echo(line, err=True))
        except KeyboardInterrupt:
            echo("\nInterrupted; the same command resumes.", err=True)
            sys.exit(INTERRUPTED)
        files = write_rounds(result, settings.output_dir)
        echo(rounds_table(result))
        echo(f"\nbest: {'round ' + str(result.best.number) if result.best.number else 'the model to begin with'}")
        echo(f"model: {result.best.model}\nwritten: {', '.join(map(str, files))}")
