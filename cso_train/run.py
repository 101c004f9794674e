"""One training run, from its settings to the saved model: checked first, resumable, nothing half-written left as whole.

``OUT/run.json`` says what runs here, ``OUT/checkpoints`` lets it go on, ``OUT/metrics.jsonl`` has the log,
``OUT/model`` (and ``OUT/merged``) the result with its card, ``OUT/manifest.json`` is written last.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cso_train.callbacks import CleanStop, MetricsLog
from cso_train.card import model_card
from cso_train.chat import ChatFormat
from cso_train.config import Resolved, TrainConfig
from cso_train.curves import save_curves
from cso_train.data import KINDS, TrainingData, leaks, load_data
from cso_train.errors import RunError, TrainConfigError
from cso_train.methods import build_trainer, training_settings
from cso_train.models import ModelSource, load_model, load_tokenizer, model_type
from cso_train.packing.attention import PACKABLE, attention_kernel, check_packable
from cso_train.progress import quiet_libraries
from cso_train.zero import (
    Machine,
    Plan,
    check_fits,
    count_parameters,
    deepspeed_config,
    import_deepspeed,
    memory_estimate,
    plan_run,
    single_process_environment,
    world_from_environment,
)
from mctsdialog._text import visible
from mctsdialog.files import (
    inside,
    parse_foreign_json,
    read_input,
    remove_file,
    remove_folder,
    sweep,
    sync_files,
    sync_folder,
    write_atomically,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "datasets", "mctsdialog")
_FILES = ("config.yaml", "manifest.json", "metrics.jsonl", "curves.png", "run.json")
_FOLDERS = ("checkpoints", "model", "merged", ".model.part", ".merged.part")
# settings that change nothing in what is trained
_MAY_DIFFER = ("output_dir", "report_to", "run_name", "logging_steps", "save_total_limit")


@dataclass(frozen=True)
class RunResult:
    """What a run left.

    :param folder: of the run.
    :param steps: optimiser steps in all.
    :param loss: mean training loss since the last start; None where nothing was left to train.
    :param finished: False where it was interrupted; the same command goes on.
    """

    folder: Path
    steps: int
    loss: float | None
    finished: bool


@dataclass(frozen=True)
class Prepared:
    """A run that was checked and can begin."""

    config: TrainConfig
    plan: Plan
    deepspeed: dict[str, Any] | None
    source: ModelSource
    attention: str | None
    tokenizer: PreTrainedTokenizerBase
    train: TrainingData
    evaluation: TrainingData | None


@quiet_libraries()
def train(resolved: Resolved, *, say: Callable[[str], object] = print, restart: bool = False) -> RunResult:
    """Train a model by a run's settings. A run that was stopped goes on from its last checkpoint.

    :param resolved: the settings, from :func:`cso_train.resolve_config`.
    :param say: takes lines for the user; called in the first process alone.
    :param restart: remove what an earlier run left in the folder.
    :raises TrainConfigError: for settings that do not fit each other or the machine.
    :raises TrainDataError: for data that is wrong; :class:`mctsdialog.DataError` for files that cannot be read.
    :raises TrainModelError: for a model that cannot be loaded.
    :raises MemoryNeedError: where the run cannot fit.
    :raises RunError: where the folder holds another run, or the result cannot be saved.

    A run that is finished is left as it is, and told.
    """
    config = resolved.config
    first = int(os.environ.get("RANK", "0")) == 0
    tell = _told_by(say) if first else _silent
    prepared = prepare(config, tell)
    folder = Path(config.output_dir)
    identity = _identity(prepared)
    if first:
        _claim(folder, identity, resolved, restart=restart)
    if not restart and (done := _finished(folder, identity)) is not None:
        tell(f"{folder}: this run is finished; nothing was done (--restart trains again)")
        return done
    trainer, stop = _trainer(prepared, folder)
    if apart := getattr(trainer, "apart", 0):
        tell(f"warning: {apart} rows stand apart: the chat template writes a turn otherwise once another follows it")
    checkpoint = _last_checkpoint(folder)
    if checkpoint is not None:
        tell(f"going on from {checkpoint}")
    with stop, _told(folder, config), _bar_closed(trainer):
        output = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if stop.stopped:
        _part_at_exit()
        tell(f"stopped at step {trainer.state.global_step}; the same command goes on")
        return RunResult(folder, trainer.state.global_step, output.training_loss, finished=False)
    with _told(folder, config):
        _save(trainer, prepared, folder, resolved, output.training_loss)
    _part_at_exit()
    tell(f"saved in {folder / 'model'}")
    return RunResult(folder, trainer.state.global_step, output.training_loss, finished=True)


def _told_by(say: Callable[[str], object]) -> Callable[[str], object]:
    return lambda line: say(visible(line))


def _silent(line: str) -> None:
    """Says nothing: only the first process speaks."""


def _part_at_exit() -> None:
    """Have this process leave the others once it ends: threads that still serve them would abort it.

    Not where a run fails: a process that leaves waits for the others, which may know of no failure.
    """
    atexit.unregister(_part)
    atexit.register(_part)


def _part() -> None:
    import torch.distributed as dist  # noqa: PLC0415  # heavy

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def prepare(config: TrainConfig, say: Callable[[str], object]) -> Prepared:
    """Everything that can go wrong before weights are loaded: data, batch, DeepSpeed, memory, chat template."""
    if config.data is None:
        raise TrainConfigError("there is no data to train on; give --data", field="data")
    _check_trackers(config)
    kind = KINDS[config.method]
    train_data = load_data([config.data], kind)
    evaluation = None
    if config.eval_data is not None:
        evaluation = load_data([config.eval_data], kind, split="test")
    elif config.eval_fraction:
        train_data, evaluation = train_data.split(config.eval_fraction, config.seed)
    world, local = world_from_environment()
    machine = Machine.here()
    if not machine.gpus:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed, which trl imports, warns of it otherwise
    source = ModelSource.of(config.model)
    options: dict[str, Any] = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    config, kernel = _packing(config, model_type(source, **options), machine)
    plan = plan_run(config, machine, world_size=world, local_world_size=local)
    deepspeed = deepspeed_config(config, plan)
    estimate = memory_estimate(count_parameters(config, source.location, **source.options(**options)), config, plan)
    say(str(estimate))
    for warning in check_fits(estimate, machine.device_bytes, machine.host_bytes):
        say(f"warning: {warning}")
    tokenizer = load_tokenizer(source, **options)
    chat = ChatFormat.of(tokenizer)  # type: ignore[arg-type]  # a transformers tokenizer is one
    train_data = chat.fit(train_data, config.max_length, config.max_completion_tokens)
    if evaluation is not None:
        evaluation = chat.fit(evaluation, config.max_length, config.max_completion_tokens)
    _tell_data(chat, train_data, evaluation, say, packed=config.packing == "tree")
    return Prepared(config, plan, deepspeed, source, kernel, tokenizer, train_data, evaluation)


def _packing(config: TrainConfig, architecture: str, machine: Machine) -> tuple[TrainConfig, str | None]:
    """The settings with packing decided, and the attention implementation to load the model with."""
    on_gpu = machine.gpus > 0
    if config.packing == "auto":
        trees = architecture in PACKABLE and not on_gpu and config.attention != "flash_attention_2"
        config = config.replace(packing="tree" if trees else "none")
    elif config.packing == "tree":
        check_packable(architecture)
    return config, attention_kernel(config.attention, architecture, packed=config.packing == "tree", on_gpu=on_gpu)


def _check_trackers(config: TrainConfig) -> None:
    for tracker in config.report_to:
        if importlib.util.find_spec(tracker) is None:
            raise TrainConfigError(f"report_to: {tracker} is not installed; pip install {tracker}", field="report_to")


def _tell_data(
    chat: ChatFormat,
    train_data: TrainingData,
    evaluation: TrainingData | None,
    say: Callable[[str], object],
    *,
    packed: bool,
) -> None:
    held = "" if evaluation is None else f", {len(evaluation.rows)} for evaluation"
    say(f"{len(train_data.rows)} {train_data.kind} rows{held}{', on trees' if packed else ''}")
    if chat.system == "merged":
        say("warning: the chat template has no system role; the system prompt goes into the first user message")
    for what, count in train_data.warnings.items():
        if count:
            say(f"warning: {count} {what}")
    if evaluation is not None and (shared := leaks(train_data, evaluation)):
        say(f"warning: {shared} evaluation rows are of dialogues that are trained on; split by seed dialogue")


def _identity(prepared: Prepared) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    settings = prepared.config.model_dump(mode="json")
    for name in _MAY_DIFFER:
        settings.pop(name, None)
    return {"config": settings, "data": prepared.train.digest, "world_size": prepared.plan.world_size}


def _claim(folder: Path, identity: Mapping[str, Any], resolved: Resolved, *, restart: bool) -> None:
    """Make the folder this run's, or see that it is."""
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
                message = "holds another run (other settings, data or number of processes); choose another folder"
                raise RunError(f"{message}, or --restart", folder=folder)
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
    """Whether a run's file tells of this run."""
    return bool(_json(file) == json.loads(json.dumps(identity)))


def _json(file: Path) -> Any:
    return parse_foreign_json(read_input(file).decode())  # a loss may be NaN


def _finished(folder: Path, identity: Mapping[str, Any]) -> RunResult | None:
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


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: the trainer's state is written last."""
    found = [path for path in (folder / "checkpoints").glob("checkpoint-*") if _whole(path / "trainer_state.json")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _whole(state: Path) -> bool:
    try:
        return state.parent.name.rpartition("-")[2].isdecimal() and bool(_json(state))
    except (OSError, ValueError):
        return False


@contextmanager
def _bar_closed(trainer: Trainer) -> Iterator[None]:
    """After an error no progress bar is left to be drawn once more below it."""
    from transformers.trainer_callback import ProgressCallback  # noqa: PLC0415  # heavy

    try:
        yield
    finally:
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, ProgressCallback) and callback.training_bar is not None:
                callback.training_bar.close()


@contextmanager
def _told(folder: Path, config: TrainConfig) -> Iterator[None]:
    """What fails at the disk or for want of GPU memory, in whatever library, as one error of this package."""
    import torch  # noqa: PLC0415  # heavy
    from safetensors import SafetensorError  # noqa: PLC0415

    try:
        yield
    except torch.OutOfMemoryError as error:
        helps = "gradient_checkpointing, zero_stage 3 or offload" if config.lora else "lora, zero_stage 3 or offload"
        message = f"the GPU's memory is spent: take a lower per_device_batch_size or max_length, {helps}"
        raise RunError(message, folder=folder) from error
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):
            raise  # torch.save has no error of its own
        free = f"{shutil.disk_usage(folder).free / 2**20:.1f} MiB free"
        message = f"cannot be written ({free}): {error}; whole checkpoints are kept, and the same command goes on"
        raise RunError(message, folder=folder) from error


def _loader(prepared: Prepared) -> Callable[[], PreTrainedModel]:
    """Loads the run's model in the format of its weights."""
    import torch  # noqa: PLC0415  # heavy

    config = prepared.config
    return partial(
        load_model,
        prepared.source,
        dtype=torch.bfloat16 if prepared.plan.weights == "bf16" else torch.float32,
        attention=prepared.attention,
        revision=config.revision,
        trust_remote_code=config.trust_remote_code,
    )


def _trainer(prepared: Prepared, folder: Path) -> tuple[Trainer, CleanStop]:
    config, plan = prepared.config, prepared.plan
    if plan.stage is not None:
        os.environ.update(single_process_environment())
    arguments = {
        "output_dir": str(folder / "checkpoints"),
        "per_device_train_batch_size": plan.per_device_batch_size,
        "per_device_eval_batch_size": plan.per_device_batch_size,
        "gradient_accumulation_steps": plan.accumulation,
        "bf16": plan.precision == "bf16",
        "use_cpu": not plan.on_gpu,
        "deepspeed": prepared.deepspeed,
    }
    load = _loader(prepared)
    settings = training_settings(config, arguments)
    if plan.stage == 3:  # each process loads its part alone: they must know each other before
        _ = settings.device  # joins them
        import_deepspeed().init_distributed(verbose=False)
    with _whole_model(settings) if prepared.source.gguf is not None else nullcontext():
        model = load()
        reference = load() if config.reference_model and not config.lora else None
    stop = CleanStop()
    callbacks = [MetricsLog(folder / "metrics.jsonl"), stop]
    trainer = build_trainer(
        config,
        model,
        prepared.tokenizer,
        prepared.train,
        prepared.evaluation,
        reference=reference,
        settings=settings,
        callbacks=callbacks,
        reference_table=folder / "checkpoints" / "reference.safetensors",
    )
    return trainer, stop


@contextmanager
def _whole_model(settings: Any) -> Iterator[None]:
    """Load a model whole even under ZeRO-3, where transformers would load each process's part: GGUF is dequantised."""
    from transformers.integrations import deepspeed  # noqa: PLC0415  # heavy

    deepspeed.unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if (holder := getattr(settings, "hf_deepspeed_config", None)) is not None:
            deepspeed.set_hf_deepspeed_config(holder)  # type: ignore[no-untyped-call]


def _save(trainer: Trainer, prepared: Prepared, folder: Path, resolved: Resolved, loss: float) -> None:
    """Model or adapters, tokenizer and card; then curves; then the manifest, last."""
    model: Any = trainer.model
    model.config.use_cache = True  # it was off for training alone
    with _whole_folder(folder / "model", trainer) as part:
        trainer.save_model(str(part))
        _name_base(part, prepared.source, trainer)
        if trainer.is_world_process_zero():
            (part / "training_args.bin").unlink(missing_ok=True)  # a pickle, and of no use to who loads the model
            prepared.tokenizer.save_pretrained(str(part))
            (part / "README.md").write_text(model_card(prepared.config, prepared.source, prepared.train), "utf-8")
    if prepared.config.merge_adapter:
        _save_merged(trainer, prepared, folder)
    if trainer.is_world_process_zero():
        with suppress(ImportError):  # matplotlib is optional
            save_curves(folder / "metrics.jsonl", folder / "curves.png")
        manifest = {**_manifest(trainer, prepared, resolved), "loss": loss}
        write_atomically(inside(folder, "manifest.json"), json.dumps(manifest, indent=1) + "\n")


def _name_base(part: Path, source: ModelSource, trainer: Trainer) -> None:
    """Name the model that adapters are of as it was asked for, where it is no folder that transformers knows."""
    file = part / "adapter_config.json"
    if source.gguf is not None and trainer.is_world_process_zero() and file.is_file():
        settings = json.loads(file.read_bytes())
        settings["base_model_name_or_path"] = source.name
        write_atomically(file, json.dumps(settings, indent=2, sort_keys=True) + "\n")


class _whole_folder:  # noqa: N801  # reads as a function where it is used
    """A folder that appears whole: written under another name, then renamed by the first process."""

    def __init__(self, target: Path, trainer: Trainer) -> None:
        self._target, self._trainer = target, trainer
        self._part = target.with_name(f".{target.name}.part")

    def __enter__(self) -> Path:
        if self._trainer.is_world_process_zero():
            remove_folder(self._part.parent, self._part.name)
            self._part.mkdir(parents=True)
        self._trainer.accelerator.wait_for_everyone()
        return self._part

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is not None:
            shutil.rmtree(self._part, ignore_errors=True)
            return
        self._trainer.accelerator.wait_for_everyone()
        if self._trainer.is_world_process_zero():
            sync_files(self._part)
            remove_folder(self._target.parent, self._target.name)
            self._part.rename(self._target)
            sync_folder(self._target.parent)


def _save_merged(trainer: Trainer, prepared: Prepared, folder: Path) -> None:
    """The saved adapters merged into the model, loaded anew on the CPU: under ZeRO-3 no process has it whole."""
    with _whole_folder(folder / "merged", trainer) as part:
        if not trainer.is_world_process_zero():
            return
        from peft import PeftModel  # noqa: PLC0415  # heavy

        with _whole_model(trainer.args):
            adapted: Any = PeftModel.from_pretrained(_loader(prepared)(), str(folder / "model"))
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
