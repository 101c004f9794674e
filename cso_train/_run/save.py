"""What a run leaves: model or adapters, merged model, card, curves, and the manifest last."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cso_train._card import model_card
from cso_train._config import Resolved
from cso_train._curves import save_curves
from cso_train._deepspeed import Plan
from cso_train._models import ModelSource
from cso_train._run.prepare import Prepared, model_loader, unpartitioned
from mctsdialog.errors import ConfigError
from mctsdialog.files import inside, remove_folder, sync_files, sync_folder, write_atomically

if TYPE_CHECKING:
    from transformers import Trainer

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "datasets", "mctsdialog")


def save_run(trainer: Trainer, prepared: Prepared, folder: Path, resolved: Resolved, loss: float) -> None:
    """Model or adapters, tokenizer and card; then curves; then the manifest, last."""
    model: Any = trainer.model
    model.config.use_cache = True  # it was off for training alone
    with _whole_folder(folder / "model", trainer) as part:
        trainer.save_model(str(part))
        _name_base(part, prepared.source, trainer)
        if trainer.is_world_process_zero():
            remove_folder(part, "ref")  # TRL's copy of the adapters that a run began with
        if trainer.is_world_process_zero():
            (part / "training_args.bin").unlink(missing_ok=True)  # a pickle, and of no use to who loads the model
            prepared.tokenizer.save_pretrained(str(part))
            (part / "README.md").write_text(model_card(prepared.config, prepared.source, prepared.train), "utf-8")
    if prepared.config.merge_adapter:
        _save_merged(trainer, prepared, folder)
    if trainer.is_world_process_zero():
        with suppress(ConfigError):  # matplotlib is optional
            save_curves(folder / "metrics.jsonl", folder / "curves.png")
        manifest = {**_manifest(trainer, prepared, resolved), "loss": loss}
        write_atomically(inside(folder, "manifest.json"), json.dumps(manifest, indent=1) + "\n")


def _name_base(part: Path, source: ModelSource, trainer: Trainer) -> None:
    """Name the model that adapters are of as it was asked for, where it is no folder that transformers knows."""
    file = part / "adapter_config.json"
    own = source.gguf is not None and source.adapter is None  # adapters that a run began with name theirs
    if own and trainer.is_world_process_zero() and file.is_file():
        settings = json.loads(file.read_bytes())
        settings["base_model_name_or_path"] = source.name
        write_atomically(file, json.dumps(settings, indent=2, sort_keys=True) + "\n")


@contextmanager
def _whole_folder(target: Path, trainer: Trainer) -> Iterator[Path]:
    """A folder that appears whole: written under another name, then renamed by the first process."""
    part = target.with_name(f".{target.name}.part")
    if trainer.is_world_process_zero():
        remove_folder(part.parent, part.name)
        part.mkdir(parents=True)
    trainer.accelerator.wait_for_everyone()
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        sync_files(part)
        remove_folder(target.parent, target.name)
        part.rename(target)
        sync_folder(target.parent)


def _save_merged(trainer: Trainer, prepared: Prepared, folder: Path) -> None:
    """The saved adapters merged into the model, loaded anew on the CPU: under ZeRO-3 no process has it whole."""
    with _whole_folder(folder / "merged", trainer) as part:
        if not trainer.is_world_process_zero():
            return
        from peft import PeftModel  # noqa: PLC0415  # heavy

        with unpartitioned(trainer.args):
            adapted: Any = PeftModel.from_pretrained(model_loader(prepared, whole=True)(), str(folder / "model"))
        merged = adapted.merge_and_unload()
        merged.config.use_cache = True
        merged.save_pretrained(str(part))
        prepared.tokenizer.save_pretrained(str(part))
        (part / "README.md").write_text(model_card(prepared.config, prepared.source, prepared.train), "utf-8")


def _manifest(trainer: Trainer, prepared: Prepared, resolved: Resolved) -> dict[str, Any]:
    versions = {}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "schema": "cso_train.run",
        "version": 1,
        "config": resolved.config.model_dump(mode="json"),
        "origins": dict(resolved.origins),
        "preset": resolved.preset,
        "data": {
            "sha256": prepared.train.digest,
            "rows": len(prepared.train.rows),
            "warnings": {name: count for name, count in prepared.train.warnings.items() if count},
            "evaluation_rows": 0 if prepared.evaluation is None else len(prepared.evaluation.rows),
        },
        "world_size": prepared.plan.world_size,
        "zero_stage": prepared.plan.stage,
        "precision": prepared.plan.precision,
        "packing": prepared.config.packing,
        "per_device_batch_size": prepared.plan.per_device_batch_size,
        "accumulation": prepared.plan.accumulation,
        "steps": trainer.state.global_step,
        "device_peak_bytes": _device_peak(prepared.plan),
        "versions": versions,
        "commit": _commit(),
    }


def _device_peak(plan: Plan) -> int | None:
    """Most memory that this process had on its GPU at once."""
    import torch  # noqa: PLC0415  # heavy

    return torch.cuda.max_memory_allocated() if plan.on_gpu else None


def _commit() -> str | None:
    """The git commit of the folder that the run was started in, where there is one."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(  # noqa: S603  # a fixed command
        [git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
    )
    return done.stdout.strip() or None
