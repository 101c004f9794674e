"""Writing and removing inside a folder, and nowhere else: every place that writes or removes below OUT asks here.

A folder may come from a stranger. Its own path may be a symbolic link, since the user named it; what is below it may
not: a link there could lead a write or a removal anywhere. The check comes right before the use. Somebody who can
change the folder in between is not kept out; they could as well change what is in it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mctsdialog.errors import DataError


def inside(folder: str | Path, name: str) -> Path:
    """The path of a file or folder inside ``folder``, there or not yet, to write to or remove.

    :param name: relative to ``folder``, with ``/`` between its parts.
    :raises DataError: for a name that leads outside, is empty or no plain name, and for one that is a symbolic link or
        goes through one.
    """
    root, parts = Path(folder), name.split("/")
    if not all(map(_is_plain, parts)):
        raise DataError(f"this is not the name of a file inside the folder: {name!r}", file=root)
    path = root
    for part in parts:
        path /= part
        if path.is_symlink():
            message = "is a symbolic link inside a folder that is written to; remove it, or name another folder"
            raise DataError(message, file=path)
    if not path.resolve().is_relative_to(root.resolve()):  # a mount or junction that is no link
        raise DataError("lies outside the folder that is written to; name another folder", file=path)
    return path


def _is_plain(part: str) -> bool:
    return part not in ("", ".", "..") and "\\" not in part and "\0" not in part


def remove_file(folder: str | Path, name: str) -> None:
    """Remove a file inside ``folder``, if there is one.

    :raises DataError: as :func:`inside`, and for a folder of this name.
    :raises OSError: if it cannot be removed.
    """
    path = inside(folder, name)
    if path.is_dir():
        raise DataError("is a folder where a file is to be removed; remove it, or name another folder", file=path)
    path.unlink(missing_ok=True)


def remove_folder(folder: str | Path, name: str) -> None:
    """Remove a folder inside ``folder`` with all that is in it, if there is one. Links in it are removed as links.

    :raises DataError: as :func:`inside`.
    :raises OSError: if it cannot be removed.
    """
    path = inside(folder, name)
    if path.is_dir():
        shutil.rmtree(path)
