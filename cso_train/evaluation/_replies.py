"""Where a model's replies come from: transformers in this process, or a server through mctsdialog's model stack."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, Protocol, cast

import anyio.to_thread

from cso_train._chat import ChatFormat, Messages
from mctsdialog._arguments import checked
from mctsdialog.concurrency import for_each
from mctsdialog.llm import ChatModel, ChatRequest, Completion, Message, MessageRole, Sampling

_log = logging.getLogger("cso_train.evaluation")

Progress = Callable[[int, int], object]


class Replies(Protocol):
    """Anything that answers conversations."""

    async def answer(self, prompts: Sequence[Messages], on_progress: Progress | None = None) -> list[str]:
        """The replies without reasoning, in the prompts' order; "" where nothing was said.

        :param prompts: conversations that end with the user.
        :param on_progress: called with (done, all) as replies come.
        """
        ...


@checked()
class TransformersReplies:
    """A transformers model in this process, several prompts at once.

    :param model: a causal language model, with or without adapters.
    :param tokenizer: its tokenizer.
    :param batch_size: prompts at once, 1 or more.
    :param max_length: longest prompt and reply in tokens; longer prompts lose their oldest turns.
    :param max_tokens: longest reply in tokens.
    :param temperature: 0 takes the likeliest token; above, replies are drawn.
    :param seed: of the draws.
    :param chat_template_kwargs: settings of the model's chat template; thinking is off where the template has it and
        nothing is said.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        batch_size: int = 8,
        max_length: int = 2048,
        max_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._chat = ChatFormat.of(tokenizer, chat_template_kwargs)
        self._batch_size, self._max_length, self._max_tokens = batch_size, max_length, max_tokens
        self._temperature, self._seed = temperature, seed

    async def answer(
        self,
        prompts: Sequence[Messages],
        on_progress: Progress | None = None,
        *,
        beginnings: Sequence[str] | None = None,
    ) -> list[str]:
        """The replies; the model works in a thread of its own.

        :param beginnings: how each reply must begin, where it would stand in training; the rest is returned.
        """
        return [each.text for each in await self.complete(prompts, on_progress, beginnings=beginnings)]

    async def complete(
        self,
        prompts: Sequence[Messages],
        on_progress: Progress | None = None,
        *,
        beginnings: Sequence[str] | None = None,
    ) -> list[Completion]:
        """The replies as :meth:`answer` gives them, with their reasoning, and whether ``max_tokens`` cut them."""
        replies = [Completion("")] * len(prompts)
        begun = [""] * len(prompts) if beginnings is None else beginnings
        order = sorted(range(len(prompts)), key=lambda place: self._chat.length(prompts[place], reply_follows=True))
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            batch = [(prompts[place], begun[place]) for place in places]
            said = await anyio.to_thread.run_sync(self._batch, batch)
            for place, reply in zip(places, said, strict=True):
                replies[place] = reply
            if on_progress:
                on_progress(min(start + self._batch_size, len(order)), len(order))
        return replies

    def _batch(self, batch: Sequence[tuple[Messages, str]]) -> list[Completion]:
        import torch  # noqa: PLC0415  # heavy

        texts = [self._text(prompt, beginning) for prompt, beginning in batch]
        self._tokenizer.padding_side = "left"
        inputs = self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = {name: inputs[name].to(self._model.device) for name in ("input_ids", "attention_mask")}
        drawn = {"do_sample": True, "temperature": self._temperature} if self._temperature else {"do_sample": False}
        torch.manual_seed(self._seed)
        with torch.no_grad():
            tokens = self._model.generate(
                **inputs,
                **drawn,
                max_new_tokens=self._max_tokens,
                pad_token_id=self._tokenizer.pad_token_id,
                eos_token_id=sorted(self._ends()),
            )
        return [self._read(row) for row in tokens[:, inputs["input_ids"].shape[1] :].tolist()]

    def _text(self, prompt: Messages, beginning: str) -> str:
        shorter = self._chat.shortened(prompt, self._max_length - self._max_tokens)
        return self._chat.begun(shorter, beginning) if beginning else self._chat.opened(shorter)

    def _ends(self) -> set[int]:
        """The tokens that end a reply: the model's own, and the one that the template writes after a reply."""
        own = self._model.generation_config.eos_token_id
        known = {self._tokenizer.eos_token_id, *(own if isinstance(own, list) else [own]), *self._chat.stops}
        return {each for each in known if each is not None}

    def _read(self, tokens: list[int]) -> Completion:
        """A reply up to its end: reasoning is told by marks, some of which are special tokens."""
        ends = {*self._ends(), self._tokenizer.pad_token_id}
        said = list(takewhile(lambda token: token not in ends, tokens))
        cut = len(said) == len(tokens) >= self._max_tokens
        read = Completion(self._tokenizer.decode(said), "length" if cut else "stop").as_read()
        text = read.text
        for mark in self._tokenizer.all_special_tokens:
            text = text.replace(mark, "")
        return replace(read, text=text.strip())


@checked()
class ServerReplies:
    """A model behind a server, many calls at once, through mctsdialog's stack of cache, limits and retries.

    :param model: any chat model.
    :param concurrency: calls at once, 1 or more.
    :param max_tokens: longest reply in tokens.
    :param temperature: 0 takes the likeliest token, where the server can.
    """

    def __init__(
        self, model: ChatModel, *, concurrency: int = 8, max_tokens: int = 128, temperature: float = 0.0
    ) -> None:
        self._model = model
        self._concurrency = concurrency
        self._sampling = Sampling(temperature=temperature, max_tokens=max_tokens)

    async def answer(self, prompts: Sequence[Messages], on_progress: Progress | None = None) -> list[str]:
        """The replies; the first error ends all. A refusal is no reply.

        A warning is logged where the model ran out of tokens while it was thinking.
        """
        replies: list[str] = [""] * len(prompts)
        done = 0
        thinking: list[bool] = []

        async def ask(place: int) -> None:
            nonlocal done
            messages = tuple(Message(cast(MessageRole, each["role"]), each["content"]) for each in prompts[place])
            completion = (await self._model.complete(ChatRequest(messages, self._sampling))).as_read()
            if completion.finish_reason not in ("refusal", "content_filter"):
                replies[place] = completion.text
            thinking.append(not completion.text and completion.finish_reason == "length")
            done += 1
            if on_progress:
                on_progress(done, len(prompts))

        await for_each(range(len(prompts)), ask, concurrency=self._concurrency)
        if any(thinking):
            _log.warning(
                "%s: %d of %d replies are empty: it ran out of tokens while thinking; raise --max-tokens (now %s)",
                self._model.name,
                sum(thinking),
                len(prompts),
                self._sampling.max_tokens,
            )
        return replies
