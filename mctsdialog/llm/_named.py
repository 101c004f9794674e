"""Models by name: ``groq/llama-3.3-70b-versatile``."""

from __future__ import annotations

import os
from typing import Any

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError
from mctsdialog.llm._address import OPENAI_URL
from mctsdialog.llm._openai.client import OpenAIChat
from mctsdialog.llm.providers import named_provider, split_provider


@checked()
def chat_model(name: str, **options: Any) -> OpenAIChat:
    """A model by its provider's name and its own, with the provider's address, key and habits.

    ``chat_model("groq/llama-3.3-70b-versatile")`` takes its key from GROQ_API_KEY. Providers are openai, anthropic,
    gemini, openrouter, deepseek, mistral, groq, xai, together, azure (address from AZURE_OPENAI_ENDPOINT, API version
    from AZURE_OPENAI_API_VERSION), ollama, vllm and lmstudio. A name without a provider is OpenAI's. For a server at an
    address of your own use :class:`OpenAIChat`.

    :param name: ``PROVIDER/MODEL``.
    :param options: of :class:`OpenAIChat`; ``api_key`` and ``api_key_env`` go before the provider's variable.
    :raises ConfigError: for an unknown provider, where the key's variable is not set, for a ``base_url``, and as
        :class:`OpenAIChat` does.
    """
    if "base_url" in options:
        raise ConfigError("an address of your own is OpenAIChat(name, base_url=...)", field="base_url")
    if name == "local":  # the commands' word
        raise ConfigError("the embedded model is LocalChat(), not a model of a provider", field="name")
    found, model = named_provider(name)
    variable = options.pop("api_key_env", None) or found.key_variable
    if options.get("api_key") is None and variable is not None and not os.environ.get(variable):
        raise ConfigError(f"{name}: set {variable} to your key", field="api_key")
    return OpenAIChat(model, base_url=found.address_of(model), api_key_env=variable, provider=found.name, **options)


def address_of_choice(name: str) -> str:
    """The address of a model that has none of its own: its provider's, or OpenAI's."""
    provider, model = split_provider(name)
    return OPENAI_URL if provider is None else provider.address_of(model)
