"""What a run does beside training: a log of its metrics, and a clean stop."""

from __future__ import annotations

import json
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mctsdialog.cli.terminal import echo
from mctsdialog.files import inside, parse_foreign_json, write_atomically


class MetricsLog(TrainerCallback):
    """Every logged value as a line of JSON: ``{"step", "epoch", name: number, ...}``.

    Lines of steps after the checkpoint that a run goes on from are dropped, so that each step is there once.

    :param path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Drop what the run will do again."""
        if state.is_world_process_zero and self._path.is_file():
            lines = self._path.read_text("utf-8", "replace").splitlines(keepends=True)
            kept = [line for line in lines if (step := _step(line)) is not None and step <= state.global_step]
            write_atomically(inside(self._path.parent, self._path.name), "".join(kept))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Write a line."""
        if not state.is_world_process_zero or not logs:
            return
        numbers = {name: value for name, value in logs.items() if isinstance(value, int | float) and name != "epoch"}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with inside(self._path.parent, self._path.name).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, "epoch": state.epoch, **numbers}) + "\n")


class LogLines(TrainerCallback):
    """What is logged as a short line each: the step, the values that a reader follows, and how long a step takes."""

    def __init__(self) -> None:
        self._begun = (0.0, 0)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Time steps from here on."""
        self._begun = (time.monotonic(), state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Print a line; what is logged at the end is the run's to tell."""
        if not state.is_local_process_zero or not logs or "train_runtime" in logs:
            return
        shown = [
            f"{prefix}{label} {float(logs[prefix + name]):z.{digits}f}"
            for prefix in ("", "eval_")
            for name, label, digits in _SHOWN
            if prefix + name in logs
        ]
        if shown:
            echo(f"step {state.global_step}/{state.max_steps}: {', '.join([*shown, *self._pace(state, logs)])}")

    def _pace(self, state: TrainerState, logs: dict[str, Any]) -> list[str]:
        """Seconds a step since the start, and the time left; evaluations in between count as well."""
        began, first = self._begun
        if "loss" not in logs or state.global_step <= first:
            return []
        each = (time.monotonic() - began) / (state.global_step - first)
        left = timedelta(seconds=round(each * (state.max_steps - state.global_step)))
        return [f"{each:.2g} s a step", *([f"{left} left"] if left else [])]


_SHOWN = (
    ("loss", "loss", 4),
    ("rewards/margins", "margin", 3),
    ("rewards/accuracies", "accuracy", 2),
    ("mean_token_accuracy", "token accuracy", 2),
)


def _step(line: str) -> int | None:
    """The step of a line of metrics; None for one that no run can have written."""
    try:
        entry = parse_foreign_json(line)
        numbers = [float(value) for value in entry.values() if isinstance(value, int)]  # what is too large fails
        return entry["step"] if numbers and type(entry["step"]) is int else None
    except (ValueError, OverflowError, KeyError, AttributeError):
        return None


class CleanStop(TrainerCallback):
    """Ctrl-C and SIGTERM end the step that is under way, save a checkpoint and stop; a second Ctrl-C ends at once.

    Of several processes the signal may reach each in another step, or only one of them: they agree after every step.

    :ivar stopped: whether the run was stopped so.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._earlier[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stopped and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.stopped:
            echo("stopping after this step, with a checkpoint; Ctrl-C again ends at once")
        self.stopped = True  # SIGTERM may come more than once: launchers pass on what they get

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Save and stop, where that was asked for."""
        self.stopped = _in_any_process(self.stopped, args.device)
        if self.stopped and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True
        elif self.stopped:
            self.stopped = False  # it was the last step: the run is finished
        return control


def _in_any_process(here: bool, device: torch.device) -> bool:
    """Whether something holds in this process or another of the run."""
    if not (dist.is_available() and dist.is_initialized()):
        return here
    flag = torch.tensor(float(here), device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())
