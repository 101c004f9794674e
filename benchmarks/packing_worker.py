"""One measurement of packing.py, in a process of its own: train some steps, and write down how long they took."""

import contextlib
import gc
import json
import resource
import sys
import time
from pathlib import Path

import torch
import trl
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback

import cso_train._run.prepare
import cso_train._run.training
from cso_train import resolve_config

LOGGED = ("loss", "rewards/margins", "logps/chosen", "logps/rejected")


def worker(file):
    """Train some steps as a file says, and write down how long it took."""
    given = json.loads(file.read_bytes())
    if given["device"] == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here that this PyTorch can use")
    if given.get("random"):
        random_weights()
    if given["settings"].get("zero_stage"):
        nothing_is_compiled()
    torch.backends.cuda.enable_cudnn_sdp(given.get("cudnn_sdpa", True))
    fixed = {"data": given["rows"], "zero_stage": "none", "logging_steps": 1, "report_to": ()}
    config = resolve_config(None, None, {**fixed, **given["settings"]}).config
    prepared = cso_train._run.prepare.prepare(config, lambda line: None)
    watch = Watch()
    watch.over_trl()
    trainer, _ = cso_train._run.training.make_trainer(prepared, file.parent / "run")  # the very trainer that a run has
    trainer.args.save_strategy = "no"  # a checkpoint is not what is measured
    watch.over(trainer)
    gc.collect()
    forget_peak()
    before = peak()
    trainer.train()
    rows, log = len(prepared.train.rows), trainer.state.log_history
    if not watch.tokens:
        watch.tokens = sum(each.get("tokens/packed", 0) for each in log)
    pairs = min(rows * prepared.config.epochs, prepared.config.batch_size * len(watch.steps))
    figures = {
        "pairs": pairs,
        "train": sum(watch.steps) / pairs,
        "processor": watch.processor / pairs,
        "reference": watch.reference / rows,
        "reference_processor": watch.reference_processor / rows,
        "tokens": watch.tokens / pairs,
        "memory": peak(),
        "memory_before": before,
        "steps": watch.steps,
        "compilations": compilations(),
        "kernel": kernel(trainer),
        "log": [{name: each[name] for name in LOGGED if name in each} for each in log if "loss" in each],
    }
    file.with_name("figures.json").write_text(json.dumps(figures), "utf-8")


def random_weights():
    """Have models made of their configuration where they are trained, the same in every process; nothing is loaded."""

    def made(source, *, dtype, attention=None, **options):
        config = AutoConfig.from_pretrained(source.location)
        kernel = {} if attention is None else {"attn_implementation": attention}
        torch.manual_seed(0)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, **kernel)
        model.config.use_cache = False
        return model.to(dtype)

    cso_train._run.prepare.load_model = made
    # names a file of reference log-probabilities that nothing reads again; for a large model it takes a minute
    trl.trainer.dpo_trainer.hash_module = lambda model: "random"


def nothing_is_compiled():
    """Keep DeepSpeed from compiling, for a minute, what speeds up several processes on a CPU: here is one."""
    cso_train._run.training.import_deepspeed().ops.__compatible_ops__ = {}


def compilations():
    """How often FlexAttention was compiled in this process."""
    flex = sys.modules.get("cso_train.packing._flex")
    return 0 if flex is None else len(flex.compiled)


def kernel(trainer):
    """The attention that trees were computed by; None without trees. A run falls back where the first pack is wrong."""
    objective = getattr(trainer, "objective", None)
    return None if objective is None else objective.masks.config._attn_implementation


class Watch:
    """What whole optimiser steps and the reference take in seconds, and the tokens of the passes that train."""

    def __init__(self):
        self.steps, self.reference, self.tokens = [], 0.0, 0
        self.processor = self.reference_processor = 0.0  # the same in seconds on the CPU

    def over_trl(self):
        """Time the reference that TRL computes while a trainer is made."""
        trl.DPOTrainer._precompute_ref_logps = self.timed(trl.DPOTrainer._precompute_ref_logps)

    def over(self, trainer):
        """Time a trainer's steps, and the reference that a packed trainer computes in its first one."""
        watch = self

        class Steps(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                self.began = now() - watch.reference
                self.worked = time.process_time() - watch.reference_processor

            def on_step_end(self, args, state, control, **kwargs):
                watch.steps.append(now() - watch.reference - self.began)
                watch.processor += time.process_time() - watch.reference_processor - self.worked

        trainer.add_callback(Steps())
        if objective := getattr(trainer, "objective", None):
            objective.ensure_reference = self.timed(objective.ensure_reference)
        else:
            trainer.compute_loss = self.counted(trainer.compute_loss)

    def timed(self, function):
        def timed(*args, **kwargs):
            began, worked = now(), time.process_time()
            result = function(*args, **kwargs)
            self.reference += now() - began
            self.reference_processor += time.process_time() - worked
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
