"""Keys on the command line: each belongs to the address of one server, and comes from an environment variable."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import click

from mctsdialog.errors import ConfigError
from mctsdialog.llm import OpenAIChat
from mctsdialog.llm.address import OPENAI_URL, Origin, origin, server_address, shown_address

KEY_VARIABLE = "OPENAI_API_KEY"

api_key_option = click.option(
    "--api-key-env",
    metavar="[URL=]NAME",
    multiple=True,
    help="Environment variable with a key: NAME for the main server "
    f"(default: {KEY_VARIABLE}), URL=NAME for another; again for several. Other servers are called without a key.",
)


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
    """Where the models of a command are, and which environment variable holds each server's key.

    :param main: address of the models without one of their own.
    :param option: the option that names it.
    :param variables: variables by server. A server that is not there gets no key.
    """

    main: str
    option: str
    variables: Mapping[Origin, str]

    @classmethod
    def of(cls, main: str | None, given: Sequence[str], *, option: str) -> Self:
        """What the options say.

        :param main: the main server; None for OpenAI's.
        :param given: the values of ``--api-key-env``.
        :raises ConfigError: for a value that is no variable's name, or two for one server.
        """
        main = main or OPENAI_URL
        variables: dict[Origin, str] = {}
        for value in given:
            address, _, name = value.rpartition("=")
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):  # it may be a key: not shown
                message = "is the name of an environment variable, or URL=NAME; a key itself is never given here"
                raise ConfigError(f"--api-key-env {message}", field="api_key_env")
            if variables.setdefault(origin(address or main), name) != name:
                raise ConfigError("--api-key-env names two variables for one server", field="api_key_env")
        if KEY_VARIABLE not in variables.values():
            variables.setdefault(origin(main), KEY_VARIABLE)
        return cls(main, option, variables)

    def chat(self, choice: str, *, silent: bool = False, **options: Any) -> OpenAIChat:
        """A model at its server, with that server's key.

        :param choice: ``NAME``, or ``NAME@URL`` for another server.
        :param silent: whether no call goes out, so that no key is needed.
        :param options: of :class:`~mctsdialog.OpenAIChat`.
        :raises ConfigError: where OpenAI's own server is meant and there is no key for it.
        """
        name, address = split_choice(choice)
        if re.search(r"@[\w+.-]+://", name):  # with a password in it, perhaps: not shown
            raise ConfigError("a model is NAME, or NAME@URL with http:// or https://", field="model")
        server = address or self.main
        variable = self.variables.get(origin(server))
        if origin(server) == origin(OPENAI_URL) and not silent and not os.environ.get(variable or ""):
            if variable is None:
                how = f"name the variable of its key with --api-key-env {OPENAI_URL}=NAME"
                raise ConfigError(f"{name}: {how}", field="api_key")
            how = f"set {variable} to your key, or name another server with {self.option}"
            raise ConfigError(f"{name}: {how}", field="api_key")
        key = "" if silent or variable is None else None
        return OpenAIChat(name, base_url=server, api_key=key, api_key_env=variable, **options)
