"""Data sets of the Hugging Face hub, by the package ``datasets`` where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mctsdialog.dialogue.readers._files import RawItem
from mctsdialog.errors import ConfigError, DialogueError

PREFIX = "hf:"


@dataclass(frozen=True)
class HubItems:
    """The rows of a data set, read as a stream each time they are gone through.

    :param name: of the data set or of a folder of one, with ``@SPLIT`` behind it for another split than "train".
    :raises ConfigError: if ``datasets`` is not installed.
    """

    name: str

    def __post_init__(self) -> None:
        try:
            import datasets  # noqa: F401, PLC0415  # optional
        except ImportError as error:
            message = f'{PREFIX}{self.name} needs the package datasets: pip install "mctsdialog[train]"'
            raise ConfigError(message, field="path") from error

    def __iter__(self) -> Iterator[RawItem]:
        from datasets import load_dataset  # noqa: PLC0415
        from datasets.exceptions import DatasetsError  # noqa: PLC0415

        name, _, split = self.name.partition("@")
        try:
            rows = load_dataset(name, split=split or "train", streaming=True)
            for number, row in enumerate(rows):
                yield RawItem(number, row)
        except (DatasetsError, OSError, ValueError) as error:  # OSError: no such data set, or no network
            reason = str(error).partition("\n")[0]
            raise DialogueError(f"cannot be loaded: {reason}", file=f"{PREFIX}{self.name}") from error
