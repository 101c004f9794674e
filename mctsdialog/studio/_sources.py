"""What the folders hold that a studio is opened on: data and trees to review, sheets to fill in, runs to watch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mctsdialog.errors import DataError
from mctsdialog.preferences import PreferenceDataset, load_preferences, tree_files
from mctsdialog.preferences._read import MANIFEST
from mctsdialog.studio._judge import Sheet
from mctsdialog.studio._runs import Run
from mctsdialog.studio._watch import TreeWatch, datasets_of

SHEET = "sheet.csv"
ARENA = "arena.journal"


@dataclass
class Sources:
    """What a studio shows.

    :param datasets: pairs to review.
    :param sheets: sheets to fill in; of an arena the newest first.
    :param runs: output folders of searches.
    :param watch: reads the trees that the runs finish from now on.
    """

    datasets: list[PreferenceDataset] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    watch: TreeWatch = field(default_factory=TreeWatch)

    @classmethod
    def of(cls, folders: list[Path]) -> Sources:
        """Look into folders, and read the pairs in them.

        :raises DataError: for a folder that is not there or holds none of it, and for what cannot be read in it.
        """
        found = cls()
        for folder in dict.fromkeys(folders):
            if not folder.exists():
                raise DataError("there is no such file or folder", file=folder)
            found._take_in(folder)
        return found

    def _take_in(self, folder: Path) -> None:
        if (folder / MANIFEST).is_file():
            self.datasets += load_preferences(folder).values()
        elif (folder / SHEET).is_file():
            self.sheets.append(Sheet(folder))
        elif found := list((folder / "sheets").glob(f"*/{SHEET}")):
            found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            self.sheets += [Sheet(path.parent) for path in found]
        elif (folder / ARENA).is_file():
            message = "this arena has no sheets yet; run its command once more, to its end: it asks no model twice"
            raise DataError(message, file=folder)
        elif (folder / "journals").is_dir() or (folder / "trees").is_dir():
            self.runs.append(Run(folder))
            self.datasets += self.watch.add(folder)
        elif folder.is_file() or any(folder.glob("*.json")):
            self.datasets += datasets_of(tree_files(folder))
        else:
            wanted = (
                "the output of 'mctsdialog search' or 'preferences', trees, a sheet of 'pairwise' or 'rate', or the "
                "output of an arena"
            )
            raise DataError(f"holds nothing that the studio shows: {wanted}", file=folder)
