"""Trees of runs, read as the runs finish them, so that their pairs can be reviewed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mctsdialog.errors import MctsDialogError
from mctsdialog.preferences import DatasetBuilder, PreferenceConfig, PreferenceDataset, system_prompt
from mctsdialog.preferences._read import add_tree, loaded_trees

_MOST_AT_ONCE = 20  # trees that are read before what they have is shown


class TreeWatch:
    """The trees of some output folders, each read once, and once more if its search went on."""

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.unread: dict[Path, str] = {}
        """What is wrong with trees that cannot be read."""
        self._known: dict[Path, tuple[int, int]] = {}

    def add(self, folder: Path) -> list[PreferenceDataset]:
        """Watch a folder; the pairs that its trees have now.

        :raises DataError: for a file among them that is no sound tree.
        """
        self.folders.append(folder)
        return datasets_of(self._new(folder))

    def look(self) -> list[PreferenceDataset]:
        """The pairs of trees that were written since the last time. A tree that cannot be read goes into ``unread``."""
        found: list[PreferenceDataset] = []
        files = [path for folder in self.folders for path in self._new(folder, most=_MOST_AT_ONCE)]
        for path in files:
            try:
                found += datasets_of([path])
                self.unread.pop(path, None)
            except (MctsDialogError, OSError) as error:
                self.unread[path] = str(error)
        return found

    def _new(self, folder: Path, most: int | None = None) -> list[Path]:
        """Trees that are new, or other than they were, by time and size."""
        found: list[Path] = []
        for path in sorted((folder / "trees").glob("*.json")):
            if path.name.startswith(".") or len(found) == most:
                continue
            try:
                status = path.stat()
            except OSError:  # it was just taken away
                continue
            known = (status.st_mtime_ns, status.st_size)
            if self._known.get(path) != known:
                self._known[path] = known
                found.append(path)
        return found


def datasets_of(files: Iterable[Path]) -> list[PreferenceDataset]:
    """The pairs of trees by the paper's settings, the trees of each domain apart.

    :raises DataError: for a file that is no sound tree.
    """
    builders: dict[tuple[str, str], DatasetBuilder] = {}
    for file, tree in loaded_trees(files):
        domain = (tree.domain.name, system_prompt(tree.domain))
        add_tree(builders.setdefault(domain, DatasetBuilder(PreferenceConfig())), file, tree)
    return [builder.build() for builder in builders.values()]
