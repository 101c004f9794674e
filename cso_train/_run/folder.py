"""The folder of a run: whose it is, whether it is finished, what it can resume from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cso_train._config import Resolved
from cso_train._run.prepare import Prepared
from cso_train.errors import RunError
from mctsdialog.files import inside, parse_foreign_json, read_input, remove_file, remove_folder, sweep, write_atomically

_FILES = ("config.yaml", "manifest.json", "metrics.jsonl", "curves.png", "run.json")
_FOLDERS = ("checkpoints", "model", "merged", ".model.part", ".merged.part")
# settings that change nothing in what is trained
_MAY_DIFFER = ("output_dir", "report_to", "run_name", "logging_steps", "save_total_limit", "push_to_hub")


@dataclass(frozen=True)
class RunResult:
    """The result of a training run.

    :param folder: the run's folder.
    :param steps: total number of optimiser steps.
    :param loss: mean training loss since the last start; None if nothing was left to train.
    :param finished: False if it was interrupted; the same command resumes.
    """

    folder: Path
    steps: int
    loss: float | None
    finished: bool

    def __str__(self) -> str:
        loss = "nothing was left to train" if self.loss is None else f"mean loss {self.loss:.4f}"
        return f"{self.steps} steps, {loss}, model in {self.folder / 'model'}"


def run_identity(prepared: Prepared) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    settings = prepared.config.model_dump(mode="json")
    for name in _MAY_DIFFER:
        settings.pop(name, None)
    return {"config": settings, "data": prepared.train.digest, "world_size": prepared.plan.world_size}


def claim(
    folder: Path, identity: Mapping[str, Any], resolved: Resolved, *, restart: bool, extend: bool = False
) -> None:
    """Make the folder this run's, or see that it is.

    :param extend: let the run be longer than it was; it then resumes from its last checkpoint.
    """
    file = folder / "run.json"
    try:
        _check_links(folder)
        sweep(folder, *_FILES)
        if restart and file.is_file():
            for name in _FOLDERS:
                remove_folder(folder, name)
            for name in _FILES:  # run.json last: it says whose the rest is
                remove_file(folder, name)
        if file.is_file():
            if not _same(file, identity):
                if not _differs_in_length(file, identity):
                    message = "holds another run (other settings, data or number of processes); choose another folder"
                    raise RunError(f"{message}, or --restart", folder=folder)
                if not extend:
                    message = "holds this run with other epochs or max_steps; --extend trains it on to those"
                    raise RunError(message, folder=folder)
                remove_file(folder, "manifest.json")  # first: it says that the run is finished
                write_atomically(inside(folder, "config.yaml"), resolved.to_yaml())
                write_atomically(inside(folder, "run.json"), json.dumps(identity, indent=1) + "\n")
            if not (folder / "config.yaml").exists():  # a kill came in between
                write_atomically(inside(folder, "config.yaml"), resolved.to_yaml())
            return
        if folder.is_dir() and any(folder.iterdir()):
            raise RunError("holds other files; choose a new or empty folder", folder=folder)
        write_atomically(inside(folder, "run.json"), json.dumps(identity, indent=1) + "\n")
        write_atomically(inside(folder, "config.yaml"), resolved.to_yaml())
    except (OSError, ValueError) as error:
        raise RunError(f"cannot be used: {error}", folder=folder) from error


def _check_links(folder: Path) -> None:
    """Refuse links in what the libraries write to by themselves, and in place of what is removed.

    :raises mctsdialog.DataError: naming the first.
    """
    for name in (*_FILES, *_FOLDERS):
        inside(folder, name)
    for place, folders, files in os.walk(folder / "checkpoints"):
        for name in (*folders, *files):
            inside(folder, (Path(place) / name).relative_to(folder).as_posix())


def _same(file: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a run's file describes this run."""
    return bool(_used(_json(file)) == _used(json.loads(json.dumps(identity))))


def _differs_in_length(file: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a run's file describes this run but for how long it is trained."""

    def shorter(given: Any) -> Any:
        used = _used(given)
        if not isinstance(used, dict) or not isinstance(used.get("config"), dict):
            return used
        kept = {name: value for name, value in used["config"].items() if name not in ("epochs", "max_steps")}
        return {**used, "config": kept}

    return bool(shorter(_json(file)) == shorter(json.loads(json.dumps(identity))))


# What later versions added, by the value that leaves a run as it was without them.
_ADDED = {
    "nll_weight": 0.0,
    "label_smoothing": 0.0,
    "strategy_weight": 1.0,
    "reply_weight": 1.0,
    "confidence_weights": False,
    "packing_memory": "auto",
}


def _used(identity: Any) -> Any:
    """An identity without the settings that the run does not use: another version may not have them."""
    config = identity.get("config") if isinstance(identity, dict) else None
    if not isinstance(config, dict):
        return identity
    used = {name: value for name, value in config.items() if value is not None and value != _ADDED.get(name)}
    return {**identity, "config": used}


def _json(file: Path) -> Any:
    return parse_foreign_json(read_input(file).decode())  # a loss may be NaN


def finished_run(folder: Path, identity: Mapping[str, Any]) -> RunResult | None:
    """What this very run left, where it is finished."""
    try:
        manifest = _json(folder / "manifest.json")
        if not _same(folder / "run.json", identity):
            return None
        steps, loss = manifest["steps"], manifest["loss"]
        if type(steps) is not int or isinstance(loss, bool) or not isinstance(loss, int | float | None):
            raise ValueError("steps must be a whole number, and loss a number")
        return RunResult(folder, steps, None if loss is None else float(loss), finished=True)
    except FileNotFoundError:
        return None
    except (OSError, OverflowError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"its manifest cannot be read: {error}; --restart trains again", folder=folder) from error


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: the trainer's state is written last."""
    found = [path for path in (folder / "checkpoints").glob("checkpoint-*") if _whole(path / "trainer_state.json")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _whole(state: Path) -> bool:
    try:
        return state.parent.name.rpartition("-")[2].isdecimal() and bool(_json(state))
    except (OSError, ValueError):
        return False
