"""Servers on the command line: where models are, with the key, headers and parameters that belong to each address."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, get_args

import click

from mctsdialog.errors import ConfigError
from mctsdialog.llm import OpenAIChat, ReasoningEffort
from mctsdialog.llm._address import OPENAI_URL, Origin, origin, server_address, shown_address
from mctsdialog.llm._named import address_of_choice
from mctsdialog.llm.providers import Provider, named_provider

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

KEY_VARIABLE = "OPENAI_API_KEY"

_OPTIONS = [
    click.option(
        "--api-key-env",
        metavar="[URL=]NAME",
        multiple=True,
        help="Environment variable that holds a key: NAME for the main server (default: the provider's own, or "
        f"{KEY_VARIABLE}), URL=NAME for another server. Repeatable. Servers without an entry are called without a key.",
    ),
    click.option(
        "--header",
        "headers",
        metavar="[URL=]NAME=VARIABLE",
        multiple=True,
        help="Send a header whose value is in an environment variable, to the main server or to URL. Repeatable.",
    ),
    click.option(
        "--extra",
        "extras",
        metavar="[URL=]JSON",
        multiple=True,
        help="Add these parameters to every call to the main server, or to URL: '{\"top_k\": 40}'.",
    ),
    click.option(
        "--reasoning-effort",
        type=click.Choice(get_args(ReasoningEffort)),
        help="How much a reasoning model thinks. Default: the server's.",
    ),
]

max_reply_tokens_option = click.option(
    "--max-reply-tokens",
    type=click.IntRange(1),
    help="Most tokens per reply, reasoning included. Default: by role, with more for reasoning models.",
)


def with_server_options(command: F) -> F:
    """The options that say how servers are called: keys, headers, parameters, amount of reasoning."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


LOCAL = "local"
"""The choice of the embedded model."""


def split_choice(choice: str) -> tuple[str, str | None]:
    """A model's name, and its server's address, of ``NAME`` or ``NAME@URL``."""
    name, *address = re.split(r"@(?=https?://)", choice, maxsplit=1, flags=re.IGNORECASE)
    return name, address[0] if address else None


def shown_choice(choice: str) -> str:
    """``NAME@URL`` without user, password and query."""
    name, address = split_choice(choice)
    return name if address is None else f"{name}@{shown_address(server_address(address)[0])}"


@dataclass(frozen=True)
class Servers:
    """Where the models of a command are, and what belongs to each server. Nothing goes to another one.

    :param main: address of the models without one of their own.
    :param option: the option that names it.
    :param variables: environment variables with keys, by server. A server that is not there gets no key.
    :param by_name: whether no main server was named, so that a name may begin with a provider's.
    :param headers: headers and the environment variables that hold their values, by server.
    :param extras: body parameters to add, by server.
    """

    main: str
    option: str
    variables: Mapping[Origin, str]
    by_name: bool = False
    headers: Mapping[Origin, Mapping[str, str]] = field(default_factory=dict)
    extras: Mapping[Origin, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        main: str | None,
        given: Sequence[str],
        *,
        option: str,
        model: str | None = None,
        headers: Sequence[str] = (),
        extras: Sequence[str] = (),
    ) -> Self:
        """What the options say.

        :param main: the main server; None for OpenAI's, or the provider's that ``model`` begins with.
        :param given: the values of ``--api-key-env``.
        :param model: the first model, ``NAME`` or ``PROVIDER/NAME``.
        :param headers: the values of ``--header``.
        :param extras: the values of ``--extra``.
        :raises ConfigError: for a value of another form, or two for one server.
        """
        first = main or address_of_choice(model or "")
        variables: dict[Origin, str] = {}
        for value in given:
            address, _, name = value.rpartition("=")
            if not _is_variable(name):  # it may be a key: not shown
                message = "is the name of an environment variable, or URL=NAME; a key itself is never given here"
                raise ConfigError(f"--api-key-env {message}", field="api_key_env")
            if variables.setdefault(origin(address or first), name) != name:
                raise ConfigError("--api-key-env names two variables for one server", field="api_key_env")
        if KEY_VARIABLE not in variables.values():
            variables.setdefault(origin(main or OPENAI_URL), KEY_VARIABLE)
        belongs = (_headers(headers, first), _extras(extras, first))
        return cls(main or OPENAI_URL, option, variables, main is None, *belongs)

    def _place(self, choice: str) -> tuple[str, str, Provider | None]:
        """Name and address of a model, and its provider where its name begins with one."""
        name, address = split_choice(choice)
        if re.search(r"@[\w+.-]+://", name):  # with a password in it, perhaps: not shown
            raise ConfigError("a model is NAME, or NAME@URL with http:// or https://", field="model")
        if address is not None or not self.by_name:
            return name, address or self.main, None
        provider, model = named_provider(name)
        return model, provider.address_of(model), None if model == name else provider

    def chat(self, choice: str, *, silent: bool = False, **options: Any) -> OpenAIChat:
        """A model at its server, with that server's key, headers and parameters.

        :param choice: ``NAME``, ``NAME@URL`` for another server, or where no main server is named ``PROVIDER/NAME``.
        :param silent: whether no call goes out, so that no key is needed.
        :param options: of :class:`~mctsdialog.OpenAIChat`.
        :raises ConfigError: if a provider's own server is meant and there is no key for it.
        """
        name, server, provider = self._place(choice)
        variable = self.variables.get(origin(server), None if provider is None else provider.key_variable)
        hosted = origin(server) == origin(OPENAI_URL) or (provider is not None and provider.key_variable is not None)
        if hosted and not silent and not os.environ.get(variable or ""):
            if variable is None:
                how = f"name the variable of its key with --api-key-env {OPENAI_URL}=NAME"
                raise ConfigError(f"{name}: {how}", field="api_key")
            how = f"set {variable} to your key, or name another server with {self.option}"
            raise ConfigError(f"{name}: {how}", field="api_key")
        return OpenAIChat(
            name,
            base_url=server,
            api_key="" if silent or variable is None else None,
            api_key_env=variable,
            headers={} if silent else _values(self.headers.get(origin(server), {})),
            extra=self.extras.get(origin(server)),
            provider=None if provider is None else provider.name,
            **options,
        )


def _is_variable(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None


def _headers(given: Sequence[str], main: str) -> dict[Origin, dict[str, str]]:
    """Headers and the variables of their values, by server."""
    found: dict[Origin, dict[str, str]] = {}
    for value in given:
        rest, _, variable = value.rpartition("=")
        address, _, name = rest.rpartition("=")
        if not _is_variable(variable) or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):  # not shown: a secret?
            form = "NAME=VARIABLE or URL=NAME=VARIABLE; the value stands in that environment variable"
            raise ConfigError(f"--header is {form}", field="headers")
        found.setdefault(origin(address or main), {})[name] = variable
    return found


def _values(headers: Mapping[str, str]) -> dict[str, str]:
    missing = [f"{variable} (header {name})" for name, variable in headers.items() if not os.environ.get(variable)]
    if missing:
        raise ConfigError(f"--header: set the environment variable {missing[0]}", field="headers")
    return {name: os.environ[variable].strip() for name, variable in headers.items()}


def _extras(given: Sequence[str], main: str) -> dict[Origin, dict[str, Any]]:
    """Body parameters by server."""
    found: dict[Origin, dict[str, Any]] = {}
    for value in given:
        address, text = "", value
        if re.match(r"https?://", value, re.IGNORECASE):
            address, _, text = value.partition("={")
            text = "{" + text
        try:
            parameters = json.loads(text)
        except (ValueError, RecursionError):
            parameters = None
        if not isinstance(parameters, dict):
            raise ConfigError("--extra is a JSON object, or URL=JSON, such as '{\"top_k\": 40}'", field="extra")
        found.setdefault(origin(address or main), {}).update(parameters)
    return found
