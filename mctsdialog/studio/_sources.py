"""What the folders hold that a studio is opened on: data and trees to review, sheets to fill in, runs to watch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mctsdialog.errors import DataError
from mctsdialog.preferences import (
    DatasetBuilder,
    PreferenceConfig,
    PreferenceDataset,
    load_preferences,
    system_prompt,
    tree_files,
)
from mctsdialog.preferences._read import MANIFEST, add_tree, loaded_trees
from mctsdialog.studio._judge import Sheet
from mctsdialog.studio._runs import Run

SHEET = "sheet.csv"
ARENA = "arena.journal"


@dataclass
class Sources:
    """What a studio shows.

    :param datasets: pairs to review.
    :param sheets: sheets to fill in; of an arena the newest first.
    :param runs: output folders of searches.
    """

    datasets: list[PreferenceDataset] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

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
            if any((folder / "trees").glob("*.json")):
                self.datasets += _of_trees(folder)
        elif folder.is_file() or any(folder.glob("*.json")):
            self.datasets += _of_trees(folder)
        else:
            wanted = (
                "the output of 'mctsdialog search' or 'preferences', trees, a sheet of 'pairwise' or 'rate', or the "
                "output of an arena"
            )
            raise DataError(f"holds nothing that the studio shows: {wanted}", file=folder)


def _of_trees(folder: Path) -> list[PreferenceDataset]:
    """The pairs of trees by the paper's settings, the trees of each domain apart."""
    builders: dict[tuple[str, str], DatasetBuilder] = {}
    for file, tree in loaded_trees(tree_files(folder)):
        domain = (tree.domain.name, system_prompt(tree.domain))
        add_tree(builders.setdefault(domain, DatasetBuilder(PreferenceConfig())), file, tree)
    return [builder.build() for builder in builders.values()]
