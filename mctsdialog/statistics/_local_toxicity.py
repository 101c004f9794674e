"""A toxicity classifier that runs inside this process, through transformers."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread
from anyio.lowlevel import checkpoint

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError, ModelNotFoundError
from mctsdialog.llm._secret import shorten
from mctsdialog.llm.base import ClosingModel
from mctsdialog.statistics._toxicity import ATTRIBUTES, check_scores, check_texts, highest

_LABELS = {
    "toxic": "TOXICITY",
    "toxicity": "TOXICITY",
    "severe_toxic": "SEVERE_TOXICITY",
    "severe_toxicity": "SEVERE_TOXICITY",
    "identity_hate": "IDENTITY_ATTACK",
    "identity_attack": "IDENTITY_ATTACK",
    "insult": "INSULT",
    "obscene": "PROFANITY",
    "profanity": "PROFANITY",
    "threat": "THREAT",
}
_LEAST_TOKENS = 16


@checked()
class LocalToxicityScorer(ClosingModel):
    """Rates texts with a local classifier; needs the extra ``train`` (torch and transformers).

    The config and tokenizer are read at once, the weights when the first text is scored. Work is done in a thread,
    batch by batch, so that the event loop stays free; calls that overlap take turns. A text of more than
    ``max_tokens`` is cut into windows that overlap by an eighth; the highest score of the windows is the text's.

    Labels become attributes: toxic(ity) TOXICITY, severe_toxic(ity) SEVERE_TOXICITY, identity_hate and
    identity_attack IDENTITY_ATTACK, insult INSULT, obscene and profanity PROFANITY, threat THREAT. Attributes without
    a label are not in :attr:`attributes`; other labels are not used.

    Scores are the sigmoid of each label's logit for a multi-label model and the softmax over the labels for a
    single-label one. The config's ``problem_type`` tells which; where it does not, a model of two labels of which
    one is known (toxic against neutral) is single-label, and any other multi-label.

    :param model: name on the Hugging Face hub, or the path of a folder.
    :param device: where it runs ("cpu", "cuda:0"); None takes a CUDA device if there is one.
    :param batch_size: windows that are scored together, at least 1.
    :param max_tokens: longest window, at least 16; the model's own limit where that is smaller.
    :raises ConfigError: for a value out of range, without the extra, for a model that has none of the labels or is
        no classifier.
    :raises ModelNotFoundError: for a model that is not there or cannot be fetched.
    """

    def __init__(
        self,
        model: str | Path = "unitary/toxic-bert",
        *,
        device: str | None = None,
        batch_size: int = 16,
        max_tokens: int = 512,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}", field="batch_size")
        if max_tokens < _LEAST_TOKENS:
            raise ConfigError(f"max_tokens must be at least {_LEAST_TOKENS}, not {max_tokens}", field="max_tokens")
        self._path = str(model)
        if self._path.startswith(("/", ".", "~")) or isinstance(model, Path):
            self._path = str(Path(model).expanduser())
            if not Path(self._path).is_dir():
                raise ModelNotFoundError(f"{self._path}: no such folder", model=self._path)
        self._device = device
        self._batch_size = batch_size
        config = self._load("AutoConfig")
        self._columns = _columns(self._path, config)
        self._single = _is_single_label(self._path, config, known=len(self._columns))
        self._tokenizer = self._load("AutoTokenizer")
        if not self._tokenizer.is_fast or self._tokenizer.pad_token_id is None:
            raise ConfigError(f"{self._path}: needs a fast tokenizer (tokenizer.json) that can pad", field="model")
        positions = getattr(config, "max_position_embeddings", None) or max_tokens
        self._max_tokens = int(min(max_tokens, self._tokenizer.model_max_length, positions))
        self._model: Any = None
        self._lock = threading.Lock()  # neither loading nor the tokenizer may be entered by two threads

    @property
    def name(self) -> str:
        """The model's name or path."""
        return self._path

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes that the model has labels for, in the order of :data:`ATTRIBUTES`."""
        return tuple(attribute for attribute in ATTRIBUTES if attribute in self._columns)

    async def score(self, texts: Sequence[str], /) -> list[dict[str, float]]:
        """Rate texts; equal ones are scored once.

        :returns: for every text, in their order, the probability in [0, 1] of each attribute.
        :raises DataError: for an empty text, or one that is none; ``item`` is its index.
        :raises ConfigError: for a device that cannot be used.
        :raises ModelNotFoundError: for weights that are not there.
        :raises ModelResponseError: for a score that is no probability (NaN weights).
        """
        unique = list(check_texts(texts))
        if not unique:
            await checkpoint()
            return []
        windows, owners = await anyio.to_thread.run_sync(self._windows, unique)
        order = sorted(range(len(windows)), key=lambda index: len(windows[index]))  # little padding
        parts: list[list[dict[str, float]]] = [[] for _ in unique]
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            rows = await anyio.to_thread.run_sync(self._classify, [windows[index] for index in batch])
            for index, row in zip(batch, rows, strict=True):
                parts[owners[index]].append(self._scores(row))
        scores = {text: highest(of_text) for text, of_text in zip(unique, parts, strict=True)}
        return [dict(scores[text]) for text in texts]

    def _windows(self, texts: list[str]) -> tuple[list[list[int]], list[int]]:
        """Token windows of the texts, and for each the index of its text. Runs in a thread."""
        with self._lock:
            encoded = self._tokenizer(
                texts,
                truncation=True,
                max_length=self._max_tokens,
                stride=self._max_tokens // 8,
                return_overflowing_tokens=True,
            )
        return encoded["input_ids"], encoded["overflow_to_sample_mapping"]

    def _classify(self, windows: list[list[int]]) -> list[list[float]]:
        """A probability for each window and label. Runs in a thread."""
        torch = _runtime("torch")
        with self._lock, torch.inference_mode():
            model = self._weights()
            longest = max(len(window) for window in windows)
            padded = [window + [self._tokenizer.pad_token_id] * (longest - len(window)) for window in windows]
            mask = [[1] * len(window) + [0] * (longest - len(window)) for window in windows]
            ids, mask = (torch.tensor(rows, device=model.device) for rows in (padded, mask))
            logits = model(input_ids=ids, attention_mask=mask).logits.float()
            probabilities = logits.softmax(-1) if self._single else logits.sigmoid()
            rows: list[list[float]] = probabilities.cpu().tolist()
        return rows

    def _scores(self, row: list[float]) -> dict[str, float]:
        values = {attribute: row[self._columns[attribute]] for attribute in self.attributes}
        return check_scores(values, self.attributes, name=self.name)

    def _weights(self) -> Any:
        if self._model is None:
            torch = _runtime("torch")
            model, report = self._load(
                "AutoModelForSequenceClassification", dtype=torch.float32, output_loading_info=True
            )
            if report["missing_keys"]:  # made up at random
                missing = shorten(", ".join(sorted(report["missing_keys"])), 120)
                raise ConfigError(f"{self._path}: not a trained classifier, it lacks {missing}", field="model")
            device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
            try:
                self._model = model.to(device).eval()
            except (RuntimeError, AssertionError, ValueError) as error:  # torch's three ways to say so
                reason = f"device {device!r} cannot be used: {shorten(str(error))}"
                raise ConfigError(reason, field="device") from error
        return self._model

    def _load(self, kind: str, **options: Any) -> Any:
        """A part of the model, by one of transformers' Auto classes."""
        _runtime("torch")
        auto = getattr(_runtime("transformers"), kind)
        try:
            return auto.from_pretrained(self._path, **options)
        except ImportError as error:
            raise ConfigError(f"{self._path}: {shorten(str(error))}", field="model") from error
        except Exception as error:  # its errors are of many kinds: network, disk, rights, names, formats
            reason = f"{self._path} cannot be loaded ({type(error).__name__}: {shorten(str(error))})"
            advice = "give a folder that holds a classifier and its tokenizer, or a hub name if there is a network"
            raise ModelNotFoundError(f"{reason}; {advice}", model=self._path) from error

    async def aclose(self) -> None:
        """Free the weights; a later call reads them again. May be called twice."""
        self._model = None

    def __repr__(self) -> str:
        return f"LocalToxicityScorer({self._path!r})"


def _runtime(module: str) -> Any:
    try:
        return importlib.import_module(module)  # seconds, and gigabytes to install: only where it is used
    except ImportError as error:
        reason = f"LocalToxicityScorer needs {module}: pip install 'mctsdialog[train]'"
        raise ConfigError(reason, field="model") from error


def _columns(path: str, config: Any) -> dict[str, int]:
    """For each attribute the column of the model's output that holds it."""
    columns: dict[str, int] = {}
    labels = {int(index): str(label) for index, label in (getattr(config, "id2label", None) or {}).items()}
    for index, label in sorted(labels.items()):
        attribute = _LABELS.get(label.strip().lower().replace("-", "_").replace(" ", "_"))
        if attribute is not None:
            columns.setdefault(attribute, index)
    if not columns:
        shown = shorten(", ".join(labels.values())) or "none"
        reason = f"{path}: none of its labels is a known attribute of toxicity; it has: {shown}"
        raise ConfigError(f"{reason}; known are {', '.join(_LABELS)}", field="model")
    return columns


def _is_single_label(path: str, config: Any, *, known: int) -> bool:
    problem = getattr(config, "problem_type", None)
    if problem == "regression":
        raise ConfigError(f"{path}: a regression model gives no probabilities", field="model")
    if problem is None:
        return bool(config.num_labels == 2 and known == 1)
    return bool(problem == "single_label_classification")
