"""What a file of dialogues contains, for a person who wants to use it."""

from __future__ import annotations

from dataclasses import dataclass

from mctsdialog.dialogue._domains import domain_option
from mctsdialog.dialogue._model import Dialogue, Domain
from mctsdialog.dialogue.readers._mapped import KeyMap
from mctsdialog.dialogue.readers._registry import READERS
from mctsdialog.dialogue.readers._report import ReadReport
from mctsdialog.text import shell_word

SHOWN = 3
"""How many dialogues an inspection shows."""


@dataclass(frozen=True)
class Inspection:
    """What a file looks like.

    :param file: as the caller named it.
    :param format: the name of its form, as ``format=`` takes it.
    :param title: what a person calls such a file ("a ShareGPT file").
    :param domain: the one that its labels are read with.
    :param dialogues: how many conversations there are, labelled or not.
    :param turns: how many turns they have, after turns of one side are joined.
    :param supporter_turns: how many of these are the supporter's.
    :param labelled: how many supporter turns have a strategy of the domain.
    :param report: what a search would read of it: a report of reading it, labels required.
    :param shown: the first few conversations.
    :param map: the map that it was read with.
    :param domain_file: the name or the file that the caller named the domain by.
    """

    file: str
    format: str
    title: str
    domain: Domain
    dialogues: int
    turns: int
    supporter_turns: int
    labelled: int
    report: ReadReport
    shown: tuple[Dialogue, ...]
    map: KeyMap | None = None
    domain_file: str | None = None

    @property
    def labels(self) -> str:
        """How many of the supporter's turns have a strategy, in words."""
        if not self.supporter_turns:
            return "without turns of the supporter"
        if not self.labelled:
            return "without strategies"
        if self.labelled == self.supporter_turns:
            return f"with a strategy of the domain {self.domain.name} on every turn of the supporter"
        share = f"{self.labelled:,} of {self.supporter_turns:,} turns of the supporter"
        return f"with a strategy of the domain {self.domain.name} on {share}"

    @property
    def advice(self) -> str:
        """How to go on."""
        if self.report.kept and (self.labelled or not self.supporter_turns):
            return self._command("search")
        if self.supporter_turns:
            return self._command("label")
        if self.report.malformed:
            return "mend what is malformed, as said above; nothing else is in the file"
        return "it holds nothing to search: nobody speaks, and there is no scene or description to start from"

    def _command(self, name: str) -> str:
        """A command that reads the file as it was inspected."""
        form = self.format if self.format in READERS else "auto"  # not so where a map says everything
        domain = domain_option(self.domain, self.domain_file)
        return reading_command(name, self.file, form, self.map, domain, lenient=self.report.malformed > 0)

    def __str__(self) -> str:
        many = f"{self.dialogues:,} conversation{'s' * (self.dialogues != 1)}"
        length = f" of {self.turns / self.dialogues:.1f} turns" if self.turns else ""
        return f"{self.title} of {many}{length} {self.labels}"


def reading_command(
    name: str, file: object, format: str, map: KeyMap | str | None, domain_option: str, *, lenient: bool
) -> str:
    """A command of this program that reads a file, to be copied into a shell."""
    parts = [f"mctsdialog {name} {shell_word(file)}"]
    if format != "auto":
        parts.append(f"--format {format}")
    if map is not None:
        parts.append(f"--map {shell_word(map)}")
    parts.append(domain_option)
    if lenient:
        parts.append("--lenient")
    return " ".join(parts)
