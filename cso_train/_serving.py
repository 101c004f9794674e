"""A trained model as a role of the search, in this process: search, train, search again.

Behind a server a trained model needs nothing of this: merge the adapter, serve the folder, and name it to
:class:`mctsdialog.OpenAIChat`, or convert it to GGUF for :class:`mctsdialog.LocalChat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from cso_train._models import Precision, load_for_answers
from cso_train.evaluation._replies import TransformersReplies
from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain, Turn
from mctsdialog.errors import ReplyError
from mctsdialog.preferences import chat_messages, system_prompt
from mctsdialog.roles import read_utterance, supporter_labels


class TrainedSupporter:
    """The supporter's role played by a model that was trained on preference data of the domain.

    The model sees what it saw in training, and its reply is made to begin with the strategy that the search asks for.

    :param model: the model.
    :param tokenizer: its tokenizer.
    :param domain: the domain of its training data.
    :param options: of :class:`~cso_train.evaluation._replies.TransformersReplies`: ``max_tokens``, ``temperature``, ...
    """

    def __init__(self, model: Any, tokenizer: Any, domain: Domain, **options: Any) -> None:
        self._replies = TransformersReplies(model, tokenizer, **options)
        self._labels = supporter_labels(domain)
        self._system = {"role": "system", "content": system_prompt(domain)}
        self._one_at_a_time = anyio.Lock()

    @classmethod
    @checked()
    def load(
        cls,
        model: str,
        domain: Domain,
        *,
        adapter: str | Path | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        dtype: Precision = "auto",
        **options: Any,
    ) -> TrainedSupporter:
        """Load a model, and the adapter that was trained for it.

        :param model: hub name, folder or GGUF file; "smollm2" for the embedded one. A folder of adapters is its base
            with them.
        :param adapter: folder of an adapter, such as ``run/model``; None for a whole model.
        :param revision: branch, tag or commit on the hub.
        :param trust_remote_code: run code that comes with the model.
        :param dtype: of the weights; "auto" is bf16 on a GPU that has it, else fp32.
        :raises TrainModelError: where one of them cannot be loaded.
        """
        about: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code, "dtype": dtype}
        return cls(*load_for_answers(model, adapter, **about), domain, **options)

    async def reply(self, history: Sequence[Turn], strategy: str, /) -> str:
        """The supporter's turn that carries out ``strategy``; "" where the model says nothing.

        A reply that ``max_tokens`` cuts is kept up to its last whole sentence.
        """
        async with self._one_at_a_time:
            prompt = [self._system, *chat_messages(history)]
            (completion,) = await self._replies.complete([prompt], beginnings=[f"({strategy})"])
        try:
            said = read_utterance(completion.text, self._labels, cut=completion.finish_reason == "length")
        except ValueError as error:
            raise ReplyError(str(error), role="supporter", last_reply=completion.text) from error
        return " ".join(said.text.split())
