"""What the commands that evaluate have in common: errors as lines, the domain, a server's model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from cso_train.errors import CsoTrainError, TrainConfigError
from mctsdialog import Limits, LocalChat, OpenAIChat, ResponseCache, build_stack
from mctsdialog.cli.exits import BAD_INPUT, FAILED, Failure, errors_as_exits


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Errors as one line each: bad input exits with 2, what failed with 1."""
    try:
        with errors_as_exits():
            yield
    except CsoTrainError as error:
        code = BAD_INPUT if isinstance(error, ValueError) else FAILED
        raise Failure(str(error), code) from error


domain_option = click.option(
    "--domain", default="esc", show_default=True, metavar="NAME|FILE", help="Whose strategies count."
)


def server_model(name: str, *, server: str | None, key_variable: str, cache: Path, limits: Limits) -> Any:
    """A chat model at an OpenAI-compatible server, to be used with ``async with``, behind cache, limits and retries.

    :param name: the model's at the server; "local" is mctsdialog's embedded model instead.
    :param server: its address up to ``/v1``; api.openai.com by default.
    :param key_variable: environment variable with the key.
    :raises TrainConfigError: where api.openai.com is meant and there is no key.
    """
    chat = LocalChat() if name == "local" else _at_server(name, server, key_variable)
    return build_stack(chat, cache=ResponseCache(cache), limits=limits)


def _at_server(name: str, server: str | None, key_variable: str) -> OpenAIChat:
    key = os.environ.get(key_variable)
    if server is not None:
        return OpenAIChat(name, base_url=server, api_key=key or "")
    if key is None:
        raise TrainConfigError(f"set {key_variable} to your key, or name a --server", field="server")
    return OpenAIChat(name, api_key=key)
