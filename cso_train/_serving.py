"""A trained model as a role of the search, in this process: search, train, search again.

Behind a server a trained model needs nothing of this: merge the adapter, serve the folder, and name it to
:class:`mctsdialog.OpenAIChat`, or convert it to GGUF for :class:`mctsdialog.LocalChat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from cso_train._chat import ChatFormat
from cso_train._models import Precision, load_for_answers
from cso_train.evaluation._replies import TransformersReplies
from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain, Turn
from mctsdialog.errors import ReplyError
from mctsdialog.preferences import chat_messages, system_prompt
from mctsdialog.roles import read_utterance, supporter_labels


class TrainedSupporter:
    """The supporter, played by a model trained on preference data of the domain.

    The model gets the same prompts as in training. Its reply has to start with the strategy that the search chose.

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
        :raises TrainModelError: if one of them cannot be loaded.
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


class TrainedStrategist:
    """The strategist's role played by a trained model: what it would name itself, as scores.

    ``score = 10 + T * (log p - log p_best)``, 0 at the least, with ``p`` the probability of ``(Strategy)`` at the
    beginning of its reply: under a search's ``prior_temperature`` T (5 by default) priors are the model's own
    probabilities, but for those below ``exp(-10 / T)`` of the best.

    :param model: the model.
    :param tokenizer: its tokenizer.
    :param domain: the domain of its training data.
    :param temperature: T, above 0.
    """

    def __init__(self, model: Any, tokenizer: Any, domain: Domain, *, temperature: float = 5.0) -> None:
        self._model, self._chat = model, ChatFormat.of(tokenizer)
        self._names, self._temperature = domain.strategies.names, temperature
        self._system = {"role": "system", "content": system_prompt(domain)}
        self._pad = tokenizer.pad_token_id or 0
        self._one_at_a_time = anyio.Lock()

    async def score(self, history: Sequence[Turn], /) -> dict[str, float]:
        """Scores from 0 to 10 by strategy."""
        async with self._one_at_a_time:
            logs = await anyio.to_thread.run_sync(self.log_probabilities, [self._system, *chat_messages(history)])
        best = max(logs.values())
        return {name: max(0.0, 10.0 + self._temperature * (value - best)) for name, value in logs.items()}

    def log_probabilities(self, prompt: list[dict[str, str]]) -> dict[str, float]:
        """Log-probability of ``(Strategy)`` as the beginning of the reply, by strategy; all in one pass."""
        import torch  # noqa: PLC0415  # heavy

        before = self._chat.prompt_tokens(prompt)
        rows = [self._chat.tokens_of(self._chat.begun(prompt, f"({name})")) for name in self._names]
        starts = [common_length(before, row) for row in rows]
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._pad] * (width - len(row))] for row in rows], device=self._model.device)
        seen = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self._model.device)
        with torch.no_grad():
            logits = self._model(input_ids=ids, attention_mask=seen).logits[:, :-1].float()
        logs = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])[:, :, 0]
        found = (float(logs[at, starts[at] - 1 : len(rows[at]) - 1].sum()) for at in range(len(rows)))
        return dict(zip(self._names, found, strict=True))


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
