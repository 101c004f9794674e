"""A model that is loaded in this process, as a chat model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import anyio

from cso_train._models import load_for_answers
from cso_train.evaluation._replies import TransformersReplies
from mctsdialog._arguments import checked
from mctsdialog.llm import ChatRequest, Completion
from mctsdialog.llm.base import ClosingModel


class LoadedModel(ClosingModel):
    """A transformers model as a chat model, one request at a time.

    :param model: the model.
    :param tokenizer: its tokenizer.
    :param name: in reports.
    :param identity: what its replies are known by in the cache.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, identity: str) -> None:
        self._model, self._tokenizer = model, tokenizer
        self.name, self.identity = name, identity
        self._one_at_a_time = anyio.Lock()

    @classmethod
    @checked()
    def load(cls, base: str, adapter: str | None = None) -> LoadedModel:
        """Load a model, and the adapter that was trained for it.

        :param base: hub name, folder or GGUF file; "smollm2" for the embedded one.
        :param adapter: folder of an adapter; None for the model as it is.
        :raises TrainModelError: if one of them cannot be loaded.
        """
        name = base if adapter is None else f"{base}+{adapter}"
        return cls(*load_for_answers(base, adapter), name=name, identity=f"{name} {_mark(adapter or base)}")

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request; its sample index is the seed of the draw. Schemas are not enforced."""
        sampling = request.sampling
        replies = TransformersReplies(
            self._model,
            self._tokenizer,
            batch_size=1,
            max_tokens=sampling.max_tokens or 128,
            temperature=sampling.temperature or 0.0,
            seed=request.sample,
        )
        prompt = [{"role": each.role, "content": each.content} for each in request.messages]
        async with self._one_at_a_time:
            (completion,) = await replies.complete([prompt])
        return completion


def _mark(place: str) -> str:
    """What tells the files of a folder from those of another training: a digest of their names, sizes and times."""
    folder = Path(place)
    found = sorted(folder.rglob("*")) if folder.is_dir() else [folder] if folder.is_file() else []
    marks = [f"{each.name} {each.stat().st_size} {each.stat().st_mtime_ns}" for each in found if each.is_file()]
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:12]
