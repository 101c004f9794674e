"""Twelve gold dialogues for trying things out, written for this library in the raw format of ExTES.

They are invented; no person is meant. Greetings and goodbyes carry an empty strategy, as in ExTES itself.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

from mctsdialog.dialogue.readers import DialogueSet, read_dialogues


def sample_dialogues() -> DialogueSet:
    """The sample dialogues in the domain :data:`~mctsdialog.dialogue.ESC`, with the ids ``sample-00`` onwards."""
    with resources.as_file(_file()) as path:
        return read_dialogues(path, format="extes")


def sample_dialogues_text() -> str:
    """The raw JSON of the sample dialogues, to be written to a file and read or changed from there."""
    return _file().read_text(encoding="utf-8")


def _file() -> Traversable:
    return resources.files("mctsdialog.dialogue") / "data" / "sample_dialogues.json"
