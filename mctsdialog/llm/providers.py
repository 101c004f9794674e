"""Providers by name: address, key variable and habits, as data over the one compatible client.

A row is all that a provider needs. What a model of it takes beyond that is found out at its first calls
(:mod:`mctsdialog.llm._adapt`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import httpx

from mctsdialog.errors import ConfigError
from mctsdialog.llm.address import OPENAI_URL, origin, server_address

EffortStyle: TypeAlias = Literal["effort", "openrouter", "anthropic", "deepseek", "together", "template", "unknown"]
"""How a server is told how much to reason; see :func:`effort_fields`."""

TokensName: TypeAlias = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of models with an OpenAI-compatible server.

    :param name: stands in front of a model's name: ``groq/llama-3.3-70b-versatile``.
    :param address: of the server; "" where the environment has it.
    :param key_variable: the environment variable that holds its key; None where it wants none.
    :param effort: how it is told how much to reason.
    :param tokens: what it calls the most tokens of a reply, to begin with.
    :param key_header: the header that carries the key; None for ``Authorization: Bearer``.
    """

    name: str
    address: str
    key_variable: str | None = None
    effort: EffortStyle = "effort"
    tokens: TokensName = "max_tokens"
    key_header: str | None = None


PROVIDERS: dict[str, Provider] = {
    row.name: row
    for row in (
        Provider("openai", OPENAI_URL, "OPENAI_API_KEY", tokens="max_completion_tokens"),
        Provider("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "anthropic"),
        Provider("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
        Provider("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "openrouter"),
        Provider("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "deepseek"),
        Provider("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        Provider("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        Provider("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
        Provider("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", "together"),
        Provider("azure", "", "AZURE_OPENAI_API_KEY", tokens="max_completion_tokens", key_header="api-key"),
        Provider("ollama", "http://localhost:11434/v1"),
        Provider("vllm", "http://localhost:8000/v1", effort="template"),
        Provider("lmstudio", "http://localhost:1234/v1"),
    )
}
_OTHER = Provider("", "", effort="unknown")
_AZURE_HOST = re.compile(r"\.(?:openai|services\.ai|cognitiveservices)\.azure\.(?:com|us|cn)$")
_AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
_AZURE_VERSIONS = ("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION")


def split_provider(model: str) -> tuple[Provider | None, str]:
    """The provider that a model's name begins with, and the rest; None and the whole name where it begins with none."""
    prefix, slash, rest = model.partition("/")
    found = PROVIDERS.get(prefix) if slash and rest else None
    return (None, model) if found is None else (found, rest)


def address_of(provider: Provider, model: str) -> str:
    """The address of a provider's model.

    :raises ConfigError: where the environment has to name it, and does not.
    """
    if provider.address:
        return provider.address
    endpoint = os.environ.get(_AZURE_ENDPOINT, "").strip().rstrip("/")
    if not endpoint:
        example = "https://NAME.openai.azure.com"
        raise ConfigError(f"{provider.name}/{model}: set {_AZURE_ENDPOINT} to your resource's address, {example}")
    version = next((os.environ[name] for name in _AZURE_VERSIONS if os.environ.get(name)), None)
    if version is None or re.search(r"/openai/v1$", endpoint):
        return endpoint if endpoint.endswith("/v1") else f"{endpoint}/openai/v1"
    return f"{endpoint}/openai/deployments/{model}?api-version={version}"


def provider_at(url: httpx.URL, name: str | None = None) -> Provider:
    """The provider called ``name``; for None the one whose server is at an address, or an unknown one.

    :raises ConfigError: for a name that is not in the table.
    """
    if name is not None:
        if name not in PROVIDERS:
            raise ConfigError(f"there is no provider {name!r}; there are {', '.join(PROVIDERS)}", field="provider")
        return PROVIDERS[name]
    if _AZURE_HOST.search(url.host):
        return PROVIDERS["azure"]
    local = ("localhost", "127.0.0.1")
    hosted = (row for row in PROVIDERS.values() if row.address and server_address(row.address)[0].host not in local)
    return next((row for row in hosted if origin(row.address) == origin(url)), _OTHER)


_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384}  # Anthropic's least is 1,024


def effort_fields(style: EffortStyle, effort: str) -> dict[str, Any]:
    """The body parameters that ask for an amount of reasoning.

    :param effort: "none", "minimal", "low", "medium" or "high".
    """
    if effort == "none":
        return dict(_OFF.get(style, _EFFORT_NONE))
    if style == "openrouter":
        return {"reasoning": {"effort": effort}}
    if style == "anthropic":
        return {"thinking": {"type": "enabled", "budget_tokens": _BUDGETS[effort]}}
    return ({"thinking": {"type": "enabled"}} if style == "deepseek" else {}) | {"reasoning_effort": effort}


_EFFORT_NONE = {"reasoning_effort": "none"}
# Qwen's and GLM's templates know the first name, DeepSeek's and Granite's the second.
_TEMPLATE_OFF = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}
_OFF: dict[EffortStyle, dict[str, Any]] = {
    "openrouter": {"reasoning": {"effort": "none"}},
    "anthropic": {"thinking": {"type": "disabled"}},
    "deepseek": {"thinking": {"type": "disabled"}},
    "together": {"reasoning": {"enabled": False}},
    "template": _TEMPLATE_OFF,
    "unknown": {**_EFFORT_NONE, **_TEMPLATE_OFF},
}
