"""Models from command-line options, and their layers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from mctsdialog.errors import ConfigError
from mctsdialog.llm import (
    Budget,
    ChatModel,
    Limits,
    LocalChat,
    Meter,
    OpenAIChat,
    Price,
    ResponseCache,
    build_stack,
)
from mctsdialog.roles import ROLE_NAMES


@dataclass(frozen=True)
class ModelOptions:
    """Which models play, as the options say it.

    :param model: model name at a server; None for the embedded model.
    :param base_url: the server of ``model`` and of role models without an address of their own.
    :param local: a GGUF file, or None.
    :param role_models: ``NAME``, ``NAME@URL`` or ``local`` by role, for roles with a model of their own.
    :param api_key_env: environment variable that holds the server's key.
    :param slots: calls at once in the embedded model.
    """

    model: str | None
    base_url: str | None
    local: Path | None
    role_models: Mapping[str, str]
    api_key_env: str
    slots: int

    def make(self) -> dict[str, ChatModel]:
        """A bare model for each role; equal choices share one model.

        :raises ConfigError: where the options contradict each other.
        """
        if self.model is not None and self.local is not None:
            raise ConfigError("--model and --local name two models; give one, or one role a model of its own")
        if self.model is None and self.base_url is not None:
            raise ConfigError("--base-url needs --model NAME, the model's name at that server", field="model")
        made: dict[str, ChatModel] = {}
        chosen = {role: self.role_models.get(role) or self.model or "local" for role in ROLE_NAMES}
        for choice in chosen.values():
            if choice not in made:
                made[choice] = self._local() if choice == "local" else self._server(choice)
        return {role: made[choice] for role, choice in chosen.items()}

    def _local(self) -> ChatModel:
        return LocalChat(self.local, slots=self.slots)

    def _server(self, choice: str) -> ChatModel:
        name, _, address = choice.rpartition("@") if "@http" in choice else (choice, "", "")
        url = address or self.base_url
        key = os.environ.get(self.api_key_env)
        if url is None:
            if key is None:
                raise ConfigError(
                    f"{name}: set {self.api_key_env} to your key, or name another server with --base-url",
                    field="api_key",
                )
            return OpenAIChat(name, api_key=key)
        return OpenAIChat(name, base_url=url, api_key=key or "")


def layered(
    bare: Mapping[str, ChatModel],
    closing: AsyncExitStack,
    *,
    cache: ResponseCache | None,
    budget: Budget,
    limits: Limits,
    meter: Meter,
) -> dict[str, ChatModel]:
    """Each role's model in its layers; one stack a model, closed with ``closing``."""
    stacks: dict[int, ChatModel] = {}
    for model in bare.values():
        if id(model) not in stacks:
            stack = build_stack(model, cache=cache, budget=budget, limits=limits, meter=meter)
            stacks[id(model)] = stack
            closing.push_async_callback(stack.aclose)
    return {role: stacks[id(model)] for role, model in bare.items()}


def parse_prices(values: tuple[str, ...]) -> dict[str, Price]:
    """Prices from ``MODEL=INPUT:OUTPUT[:CACHED]``, money per million tokens.

    :raises ConfigError: for another form.
    """
    prices = {}
    for value in values:
        model, _, numbers = value.rpartition("=")
        try:
            parts = [float(part) for part in numbers.split(":")]
            prices[model] = Price(parts[0], parts[1], *parts[2:3])
        except (ValueError, IndexError):
            parts = []
        if not model or not 2 <= len(parts) <= 3:
            raise ConfigError(
                f"a price is MODEL=INPUT:OUTPUT or MODEL=INPUT:OUTPUT:CACHED, not {value!r}", field="price"
            )
    return prices
