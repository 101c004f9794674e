"""Run notebooks of this folder and save them with their outputs: ``python examples/run_notebooks.py quickstart``.

Without names, all of them. Each runs in an empty folder of its own, so that no path of this machine and no file of an
earlier run gets into it. It needs the extras ``local``, ``train`` and ``notebook``, and ``pip install nbclient``.
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read(path):
    """A notebook, seen to be one."""
    content = nbformat.reads(path.read_text("utf-8"), as_version=4)
    nbformat.validate(content)
    return content


def execute(content, folder, timeout=900):
    """Run a notebook in a folder; a cell that fails is an error."""
    NotebookClient(content, timeout=timeout, resources={"metadata": {"path": str(folder)}}).execute()
    return content


def cleaned(content):
    """Without what tells of the machine and the time alone."""
    content.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(content.cells):
        cell.metadata = {}
        cell.id = f"cell-{number}"
    return content


def main(names):
    there = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    if unknown := sorted(set(names) - set(there)):
        sys.exit(f"there is no notebook {', '.join(unknown)}; there are {', '.join(there)}")
    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            content = cleaned(execute(read(path), folder))
        path.write_text(nbformat.writes(content) + "\n", "utf-8")
        print(path.name, path.stat().st_size // 1024, "kB")


if __name__ == "__main__":
    main(sys.argv[1:])
