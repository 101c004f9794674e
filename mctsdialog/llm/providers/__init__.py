"""Providers by name: one file each, over the one compatible client.

A file holds a ``PROVIDER``: its name, address, key variable, and where it differs from OpenAI, how. What a model of it
takes beyond that is found out at its first calls (:mod:`mctsdialog.llm._openai.dialect`).
"""

from __future__ import annotations

import difflib
import pkgutil
from importlib import import_module

import httpx

from mctsdialog.errors import ConfigError
from mctsdialog.llm.providers._provider import Provider, Unknown

__all__ = ["PROVIDERS", "Provider", "discover", "named_provider", "provider_at", "split_provider"]


def discover() -> dict[str, Provider]:
    """The providers of this package's modules, by name."""
    modules = [each.name for each in pkgutil.iter_modules(__path__) if not each.name.startswith("_")]
    found = {name: getattr(import_module(f"{__name__}.{name}"), "PROVIDER", None) for name in sorted(modules)}
    if wrong := [name for name, provider in found.items() if not isinstance(provider, Provider)]:
        raise ConfigError(f"{__name__}.{wrong[0]} has no PROVIDER; see groq.py beside it", field="PROVIDER")
    return {provider.name: provider for provider in found.values() if isinstance(provider, Provider)}


PROVIDERS = discover()
_UNKNOWN = Unknown("", "")


def split_provider(model: str) -> tuple[Provider | None, str]:
    """The provider that a model's name begins with, and the rest; None and the whole name where it begins with none."""
    prefix, slash, rest = model.partition("/")
    found = PROVIDERS.get(prefix) if slash and rest else None
    return (None, model) if found is None else (found, rest)


def named_provider(model: str) -> tuple[Provider, str]:
    """The provider of a model for which no address was given, and its name there; OpenAI where none is named.

    OpenAI's own models have no slash in their names, so that a prefix that no provider has is a slip of the pen: key
    and dialogue must not go to OpenAI for it.

    :raises ConfigError: for such a prefix.
    """
    provider, name = split_provider(model)
    prefix, colon, rest = model.partition(":")
    if provider is None and colon and rest and prefix.lower() in PROVIDERS:
        written = f"a provider is written PROVIDER/NAME, as in {prefix.lower()}/{rest}"
        raise ConfigError(
            f"{model}: {written}. A model at a server of your own needs its address (base_url).", field="model"
        )
    if provider is None and "/" in model:
        prefix, _, rest = model.partition("/")
        near = difflib.get_close_matches(prefix.lower(), PROVIDERS, n=1, cutoff=0.75)
        hint = f"did you mean {near[0]}/{rest}?" if near else f"there are {', '.join(PROVIDERS)}."
        own = "A model at a server of your own needs its address (base_url)."
        raise ConfigError(f"{model}: there is no provider {prefix!r}; {hint} {own}", field="model")
    return provider or PROVIDERS["openai"], name


def provider_at(url: httpx.URL, name: str | None = None) -> Provider:
    """The provider called ``name``; for None the one whose server is at an address, or an unknown one.

    :raises ConfigError: for a name that no provider has.
    """
    if name is None:
        return next((provider for provider in PROVIDERS.values() if provider.is_at(url)), _UNKNOWN)
    if name not in PROVIDERS:
        raise ConfigError(f"there is no provider {name!r}; there are {', '.join(PROVIDERS)}", field="provider")
    return PROVIDERS[name]
