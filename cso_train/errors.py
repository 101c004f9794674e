"""Every error that cso_train raises on purpose.

The tree::

    CsoTrainError               a mctsdialog.MctsDialogError
    ├── TrainConfigError        a run's configuration is wrong (carries field, file, line)
    │   └── PresetError         no such preset, or one of another model, method or kind of training (carries preset)
    ├── TrainDataError          the data to train on is wrong (carries file, item, field)
    ├── TrainModelError         a model cannot be found or loaded (carries model)
    ├── RunError                a run cannot start, go on or save (carries folder)
    └── MemoryNeedError         a run needs more memory than there is (carries place, needed, available)

Errors carry data as attributes, so that programs need not parse messages. No error carries a secret. As with other
errors of mctsdialog, ``str(error)`` shows characters that a terminal acts on as escapes.
"""

from __future__ import annotations

from pathlib import Path

from mctsdialog.errors import MctsDialogError, shortened


class CsoTrainError(MctsDialogError):
    """Root of every error raised on purpose by this package."""


class TrainConfigError(CsoTrainError, ValueError):
    """A run's configuration is wrong: an unknown key, a value out of range, two keys that contradict.

    The message begins with the place, where a file is to blame: ``file:line: what is wrong``.

    :param field: the key to blame, where there is one.
    :param file: the file that it stands in, where it stands in one.
    :param line: its line there, from 1.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        file: str | Path | None = None,
        line: int | None = None,
    ) -> None:
        place = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        self.reason = shortened(message)
        super().__init__(place + self.reason)
        self.field = field
        self.file = None if file is None else str(file)
        self.line = line


class PresetError(TrainConfigError):
    """There is no such preset, or it is of another model, method or kind of training than was asked for.

    :param preset: name of the preset.
    """

    def __init__(
        self,
        message: str,
        *,
        preset: str,
        field: str | None = None,
        file: str | Path | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message, field=field, file=file, line=line)
        self.preset = preset


class TrainDataError(CsoTrainError, ValueError):
    """The data to train on is malformed, or not of the kind that the method needs.

    The message begins with the place: ``file: item: field: what is wrong``.

    :param file: the file, where there is one.
    :param item: index of the item in the file, from 0, or a name for it ("line 3").
    :param field: path of the field inside the item.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        item: int | str | None = None,
        field: str | None = None,
    ) -> None:
        where = [str(file)] if file is not None else []
        if item is not None:
            where.append(f"item {item}" if isinstance(item, int) else shortened(item, 200))
        if field is not None:
            where.append(shortened(field, 200))
        self.reason = shortened(message)
        super().__init__(": ".join([*where, self.reason]))
        self.file = None if file is None else str(file)
        self.item = item
        self.field = field


class TrainModelError(CsoTrainError, ValueError):
    """A model cannot be found or loaded. The message begins with its name.

    :param model: the model, as it was asked for.
    """

    def __init__(self, message: str, *, model: str) -> None:
        super().__init__(f"{model}: {message}")
        self.reason = message
        self.model = model


class MemoryNeedError(CsoTrainError):
    """A run needs more memory than there is, by the estimate made before its model is loaded.

    :param place: "device" (each GPU) or "host" (each machine).
    :param needed: bytes that the run needs there at the least.
    :param available: bytes that there are.
    """

    def __init__(self, message: str, *, place: str, needed: int, available: int) -> None:
        super().__init__(message)
        self.place = place
        self.needed = needed
        self.available = available


class RunError(CsoTrainError):
    """A run cannot start, go on or save in its folder.

    :param folder: the folder of the run.
    """

    def __init__(self, message: str, *, folder: str | Path) -> None:
        super().__init__(f"{folder}: {message}")
        self.folder = str(folder)
