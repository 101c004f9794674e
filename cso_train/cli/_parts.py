"""What the commands that evaluate have in common: errors as lines, the domain, a server's model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from cso_train.errors import CsoTrainError
from mctsdialog import LocalChat, ResponseCache, build_stack
from mctsdialog._text import visible_line
from mctsdialog.cli.exits import BAD_INPUT, FAILED, Failure, errors_as_exits
from mctsdialog.cli.keys import Servers
from mctsdialog.files import inside
from mctsdialog.llm import Limits, SamplingModel


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Errors as one line each: bad input exits with 2, what failed with 1."""
    try:
        with errors_as_exits():
            yield
    except CsoTrainError as error:
        code = BAD_INPUT if isinstance(error, ValueError) else FAILED
        raise Failure(visible_line(str(error)), code) from error


domain_option = click.option(
    "--domain", default="esc", show_default=True, metavar="NAME|FILE", help="Whose strategies count."
)


def server_model(choice: str, options: Mapping[str, Any], *, limits: Limits) -> Any:
    """A chat model at an OpenAI-compatible server, to be used with ``async with``, behind cache, limits and retries.

    :param choice: the model's name at the main server, NAME@URL, or PROVIDER/NAME; "local" is mctsdialog's embedded
        model instead.
    :param options: of the command.
    :raises ConfigError: where a provider's own server is meant and there is no key.
    """
    servers = Servers.of(
        options["server"],
        options["api_key_env"],
        option="--server",
        model=options["models"][0],
        headers=options["headers"],
        extras=options["extras"],
    )
    limit = options.get("max_reply_tokens")
    chat = LocalChat() if choice == "local" else servers.chat(choice, reasoning_room=limit is None)
    stack = build_stack(chat, cache=ResponseCache(inside(options["out"], "cache")), limits=limits)
    return SamplingModel(stack, max_tokens=limit, reasoning_effort=options["reasoning_effort"])
