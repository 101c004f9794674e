"""One measurement of packing.py, in a process of its own: train some steps, and write down how long they took."""

import contextlib
import json
import resource
import sys
import time
from pathlib import Path

import torch
import trl
from transformers import TrainerCallback

from cso_train.config import resolve_config
from cso_train.run import _trainer, prepare  # the very trainer that a run has


def worker(file):
    """Train some steps as a file says, and write down how long it took."""
    given = json.loads(file.read_bytes())
    fixed = {"data": given["rows"], "zero_stage": "none", "logging_steps": 1, "report_to": ()}
    prepared = prepare(resolve_config(None, None, {**fixed, **given["settings"]}).config, lambda line: None)
    watch = Watch()
    watch.over_trl()
    trainer, _ = _trainer(prepared, file.parent / "run")
    watch.over(trainer)
    forget_peak()
    trainer.train()
    rows = len(prepared.train.rows)
    if not watch.tokens:
        watch.tokens = sum(each.get("tokens/packed", 0) for each in trainer.state.log_history)
    pairs = min(rows, prepared.config.batch_size * len(watch.steps))
    figures = {
        "pairs": pairs,
        "train": sum(watch.steps) / pairs,
        "reference": watch.reference / rows,
        "tokens": watch.tokens / pairs,
        "memory": peak(),
        "steps": watch.steps,
    }
    file.with_name("figures.json").write_text(json.dumps(figures), "utf-8")


class Watch:
    """What whole optimiser steps and the reference take in seconds, and the tokens of the passes that train."""

    def __init__(self):
        self.steps, self.reference, self.tokens = [], 0.0, 0

    def over_trl(self):
        """Time the reference that TRL computes while a trainer is made."""
        trl.DPOTrainer._precompute_ref_logps = self.timed(trl.DPOTrainer._precompute_ref_logps)

    def over(self, trainer):
        """Time a trainer's steps, and the reference that a packed trainer computes in its first one."""
        watch = self

        class Steps(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                self.began = now() - watch.reference

            def on_step_end(self, args, state, control, **kwargs):
                watch.steps.append(now() - watch.reference - self.began)

        trainer.add_callback(Steps())
        if hasattr(trainer, "_ensure_reference"):
            trainer._ensure_reference = self.timed(trainer._ensure_reference)
        else:
            trainer.compute_loss = self.counted(trainer.compute_loss)

    def timed(self, function):
        def timed(*args, **kwargs):
            began = now()
            result = function(*args, **kwargs)
            self.reference += now() - began
            return result

        return timed

    def counted(self, function):
        def counted(model, inputs, *args, **kwargs):
            self.tokens += inputs["input_ids"].numel()
            return function(model, inputs, *args, **kwargs)

        return counted


def now():
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def forget_peak():
    """Count memory from here on: loading a model may take more than training it."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # Linux alone
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak():
    """Most memory since, in GB: the GPU's, or this process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text("ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
