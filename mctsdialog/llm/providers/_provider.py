"""What a provider of models is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import httpx

from mctsdialog.llm._address import origin, server_address

TokensName: TypeAlias = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True)
class Provider:
    """A provider of models with an OpenAI-compatible server; a subclass says what it does otherwise.

    :param name: stands in front of a model's name: ``groq/llama-3.3-70b-versatile``.
    :param address: of the server; "" where it is not fixed.
    :param key_variable: the environment variable that holds its key; None if it wants none.
    :param tokens: what it calls the most tokens of a reply, to begin with.
    :param key_header: the header that carries the key; None for ``Authorization: Bearer``.
    """

    name: str
    address: str
    key_variable: str | None = None
    tokens: TokensName = "max_tokens"
    key_header: str | None = None

    def address_of(self, model: str) -> str:
        """The address of a model's server.

        :raises ConfigError: if the environment has to name it, and does not.
        """
        return self.address

    def is_at(self, url: httpx.URL) -> bool:
        """Whether an address is this provider's. One on this machine may be anybody's."""
        hosted = self.address and server_address(self.address)[0].host not in ("localhost", "127.0.0.1")
        return bool(hosted) and origin(self.address) == origin(url)

    def effort_fields(self, effort: str) -> dict[str, Any]:
        """The body parameters that ask for an amount of reasoning.

        :param effort: "none", "minimal", "low", "medium" or "high".
        """
        return {"reasoning_effort": effort}


# Qwen's and GLM's templates know the first name, DeepSeek's and Granite's the second.
TEMPLATE_OFF = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}


class Unknown(Provider):
    """A server that may be anybody's: it is told not to reason in the two ways that most understand."""

    def effort_fields(self, effort: str) -> dict[str, Any]:
        return super().effort_fields(effort) | (TEMPLATE_OFF if effort == "none" else {})
