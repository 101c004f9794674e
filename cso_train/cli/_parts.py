"""What the commands that evaluate have in common: errors as lines, the domain, a server's model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from mctsdialog import LocalChat, ResponseCache, build_stack
from mctsdialog.cli.keys import Servers, split_choice
from mctsdialog.files import inside
from mctsdialog.llm import Limits, SamplingModel

domain_option = click.option(
    "--domain", default="esc", show_default=True, metavar="NAME|FILE", help="Whose strategies count."
)


resamples_option = click.option(
    "--resamples",
    default=1000,
    show_default=True,
    type=click.IntRange(0),
    help="Bootstrap resamples for the intervals.",
)


def server_model(
    choice: str, options: Mapping[str, Any], *, limits: Limits, cache: ResponseCache | None = None, **layers: Any
) -> Any:
    """A chat model at an OpenAI-compatible server, to be used with ``async with``, behind cache, limits and retries.

    :param choice: the model's name at the main server, NAME@URL, or PROVIDER/NAME; "local" is mctsdialog's embedded
        model instead.
    :param options: of the command.
    :param cache: an open one; by default that of the folder ``out``.
    :param layers: further layers of :func:`~mctsdialog.build_stack`: a budget, a meter.
    :raises ConfigError: if a provider's own server is meant and there is no key.
    """
    if settings := options.get("chat_template_kwargs"):
        address = split_choice(choice)[1]
        extra = json.dumps({"chat_template_kwargs": settings})
        options = {**options, "extras": (*options["extras"], extra if address is None else f"{address}={extra}")}
    servers = Servers.of(
        options["server"],
        options["api_key_env"],
        option="--server",
        model=options["models"][0],
        headers=options["headers"],
        extras=options["extras"],
    )
    limit = options.get("max_reply_tokens")
    chat = LocalChat() if choice == "local" else servers.chat(choice, reasoning_headroom=limit is None)
    replies = cache or ResponseCache(inside(options["out"], "cache"))
    stack = build_stack(chat, cache=replies, limits=limits, **layers)
    return SamplingModel(stack, max_tokens=limit, reasoning_effort=options["reasoning_effort"])
