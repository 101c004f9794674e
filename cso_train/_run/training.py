"""One training run, from its settings to the saved model: checked first, resumable, nothing half-written left as whole.

``OUT/run.json`` says what runs here, ``OUT/checkpoints`` lets it resume, ``OUT/metrics.jsonl`` has the log,
``OUT/model`` (and ``OUT/merged``) the result with its card, ``OUT/manifest.json`` is written last.
"""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from cso_train._callbacks import CleanStop, MetricsLog
from cso_train._config import Resolved, TrainConfig
from cso_train._deepspeed import import_deepspeed, single_process_environment
from cso_train._models import trainable_adapters
from cso_train._progress import quiet_libraries
from cso_train._run.folder import RunResult, claim, finished_run, last_checkpoint, run_identity
from cso_train._run.hub import check_hub, push
from cso_train._run.prepare import Prepared, model_loader, prepare, unpartitioned
from cso_train._run.save import save_run
from cso_train._trainer import build_trainer, training_settings
from cso_train.errors import RunError
from cso_train.packing._trainer import TreePacked
from mctsdialog._arguments import checked
from mctsdialog.text import visible

if TYPE_CHECKING:
    from transformers import Trainer


@checked()
@quiet_libraries()
def train(
    resolved: Resolved | TrainConfig,
    *,
    say: Callable[[str], object] = print,
    restart: bool = False,
    extend: bool = False,
) -> RunResult:
    """Train a model. The same call resumes a stopped run from its last checkpoint.

    :param resolved: the settings, from :func:`cso_train.resolve_config`; or a :class:`cso_train.TrainConfig`.
    :param say: called with lines of progress, in the first process only.
    :param restart: remove an earlier run from the folder.
    :param extend: continue a run that finished with fewer ``epochs`` or ``max_steps``. From there, the learning rate
        follows the schedule of the longer run.
    :raises TrainConfigError: if settings contradict each other or do not fit the machine.
    :raises TrainDataError: for wrong data; :class:`mctsdialog.DataError` for files that cannot be read.
    :raises TrainModelError: if the model cannot be loaded.
    :raises MemoryNeedError: if the run does not fit in memory.
    :raises RunError: if the folder holds another run, or the result cannot be saved.

    If the run is already finished, this is reported and nothing is done.
    """
    if isinstance(resolved, TrainConfig):
        resolved = Resolved.of(resolved)
    config = resolved.config
    first = int(os.environ.get("RANK", "0")) == 0

    def report(line: str) -> None:
        if first:
            say(visible(line))

    if config.push_to_hub is not None:
        check_hub(config.push_to_hub)
    prepared = prepare(config, report)
    folder = Path(config.output_dir)
    identity = run_identity(prepared)
    if first:
        claim(folder, identity, resolved, restart=restart, extend=extend)
    if not restart and (done := finished_run(folder, identity)) is not None:
        report(f"{folder}: this run is finished; nothing was done (--restart trains again)")
        return done
    trainer, stop = make_trainer(prepared, folder)
    if isinstance(trainer, TreePacked) and (count := trainer.unshared):
        report(f"warning: {count} rows stand apart: the chat template writes a turn otherwise once another follows it")
    if isinstance(trainer, TreePacked):
        trainer.say = report
    checkpoint = last_checkpoint(folder)
    if checkpoint is not None:
        report(f"resuming from {checkpoint}")
    report(f"training begins; its log is {folder / 'metrics.jsonl'}, and Ctrl-C stops it with a checkpoint")
    with stop, _as_run_errors(folder, config), _bar_closed(trainer):
        output = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if isinstance(trainer, TreePacked) and (lengths := trainer.compiled_lengths()):
        report(
            f"FlexAttention was compiled {len(lengths)} times, for packs of up to {', '.join(map(str, lengths))} tokens"
        )
    if stop.stopped:
        _leave_group_at_exit()
        report(f"stopped at step {trainer.state.global_step}; the same command resumes")
        return RunResult(folder, trainer.state.global_step, output.training_loss, finished=False)
    with _as_run_errors(folder, config):
        save_run(trainer, prepared, folder, resolved, output.training_loss)
    _leave_group_at_exit()
    report(f"saved in {folder / 'model'}")
    if config.push_to_hub is not None and first:
        report(f"pushed to {push(folder, config.push_to_hub)}")
    return RunResult(folder, trainer.state.global_step, output.training_loss, finished=True)


def _leave_group_at_exit() -> None:
    """Have this process leave the others once it ends: threads that still serve them would abort it.

    Not where a run fails: a process that leaves waits for the others, which may know of no failure.
    """
    atexit.unregister(_leave_group)
    atexit.register(_leave_group)


def _leave_group() -> None:
    import torch.distributed as dist  # noqa: PLC0415  # heavy

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def make_trainer(prepared: Prepared, folder: Path) -> tuple[Trainer, CleanStop]:
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
    load = model_loader(prepared)
    settings = training_settings(config, arguments)
    if plan.stage == 3:  # each process loads its part alone: they must know each other before
        _ = settings.device  # joins them
        import_deepspeed().init_distributed(verbose=False)
    with unpartitioned(settings) if prepared.source.gguf is not None else nullcontext():
        model = load()
        if prepared.source.adapter is not None:
            model = trainable_adapters(model, prepared.source.adapter)
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
def _as_run_errors(folder: Path, config: TrainConfig) -> Iterator[None]:
    """Raise what fails at the disk or for want of GPU memory, in whichever library, as one error of this package."""
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
        message = f"cannot be written ({free}): {error}; whole checkpoints are kept, and the same command resumes"
        raise RunError(message, folder=folder) from error
