"""``mctsdialog studio``: a page in the browser for the people who make the data."""

from __future__ import annotations

import gc
import secrets
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mctsdialog.cli._models import ModelSetup, bare_model, with_model_options
from mctsdialog.cli.exits import BAD_INPUT, EPILOG, Failure, errors_as_exits, interruptible
from mctsdialog.cli.terminal import echo
from mctsdialog.dialogue import named_domain
from mctsdialog.errors import ConfigError
from mctsdialog.files import inside
from mctsdialog.llm import ChatModel
from mctsdialog.roles import Roles
from mctsdialog.text import counted

if TYPE_CHECKING:
    from mctsdialog.studio import ChatDesk, ReviewDesk, Sources

_SECONDS_TO_END = 2  # that open pages are waited for
_TRAINED = "trained"
_WARNING = (
    "Warning: the network can reach this studio, and nothing is encrypted. Keep the address to yourselves, or leave "
    "--host out and use an SSH tunnel."
)


@click.command("studio", epilog=EPILOG)
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--reviews",
    type=click.Path(path_type=Path),
    help="File of the decisions, a JSON line each. Default: reviews.jsonl in the first of FOLDERS.",
)
@click.option(
    "--twice",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the pairs that two people review, so that their agreement is known.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. With another than this machine's own, everybody on the network who has the printed "
    "address can use the studio, and nothing is encrypted.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option("--open", "open_it", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--chat",
    type=click.Path(path_type=Path),
    help="Also open a page to talk on, and keep the conversations in this folder. The models below answer.",
)
@click.option("--domain", default="esc", show_default=True, metavar="NAME|FILE", help="Domain of the chats.")
@click.option(
    "--reply-seconds",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="How long the supporter may search for a reply in a chat.",
)
@click.option("--trained", metavar="NAME[@URL]", help="A trained model that can answer in chats, at a server.")
@with_model_options
def studio_command(folders: tuple[Path, ...], **options: Any) -> None:
    """Open a page on FOLDERS: review pairs, fill in sheets, watch searches; with --chat, talk to the policy.

    FOLDERS are outputs of 'search' or 'preferences', folders of trees, sheets of 'python -m cso_train pairwise' or
    'rate', or outputs of 'python -m cso_train arena'.

    Everybody who has the printed address can use it; it holds a token that is new each time. What people decide is kept
    at once; 'mctsdialog preferences --reviews' applies it.
    """
    with errors_as_exits(), interruptible("The studio is closed. Everything that was decided is kept."):
        if not folders and options["chat"] is None:
            raise Failure("name a folder to open, or --chat FOLDER", BAD_INPUT)
        _check_installed()
        echo("Reading ...", err=True)
        _serve(folders, options)


def _check_installed() -> None:
    try:
        import starlette  # noqa: F401, PLC0415  # optional, and heavy
        import uvicorn  # noqa: F401, PLC0415
    except ImportError as error:
        message = 'the studio needs Starlette and uvicorn: pip install "mctsdialog[studio]"'
        raise Failure(message, BAD_INPUT) from error


def _serve(folders: tuple[Path, ...], options: dict[str, Any]) -> None:
    import uvicorn  # noqa: PLC0415

    from mctsdialog.studio import Sources, studio_app  # noqa: PLC0415

    sources = Sources.of(list(folders))
    desk, chat, host = _desk(sources, folders, options), _chat(options), options["host"]
    gc.freeze()  # what was read stays: no collection has to go through it
    token = secrets.token_urlsafe(24)
    with _listening(host, options["port"]) as listener:
        address = _tell(listener, token, desk, host, watched=any(run.refresh()["running"] for run in sources.runs))
        if options["open_it"]:
            click.launch(address)
        app = studio_app(
            desk,
            sources.sheets,
            sources.runs,
            chat,
            watch=sources.watch if sources.runs else None,
            token=token,
            host=host,
            ending=lambda: server.should_exit,
        )
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # it would hold the token
            server_header=False,
            timeout_graceful_shutdown=_SECONDS_TO_END,
        )
        server = uvicorn.Server(config)
        server.run(sockets=[listener])


def _desk(sources: Sources, folders: tuple[Path, ...], options: dict[str, Any]) -> ReviewDesk | None:
    from mctsdialog.studio import ReviewDesk  # noqa: PLC0415

    if not sources.runs and not any(record.pairs for dataset in sources.datasets for record in dataset.records):
        return None
    first = folders[0] if folders[0].is_dir() else folders[0].parent
    file = options["reviews"] or inside(first, "reviews.jsonl")
    return ReviewDesk(sources.datasets, file, twice=options["twice"])


def _chat(options: dict[str, Any]) -> ChatDesk | None:
    from mctsdialog.studio import ChatDesk  # noqa: PLC0415

    folder: Path | None = options["chat"]
    if folder is None:
        return None
    domain = named_domain(options["domain"])
    setup = ModelSetup.from_options(options, inside(folder, "cache"))
    if options["trained"]:
        setup = replace(setup, bare={**setup.bare, _TRAINED: bare_model(options["trained"], options)})

    def models(closing: AsyncExitStack) -> tuple[Roles, ChatModel | None]:
        opened = setup.open(closing)
        roles = {name: model for name, model in opened.models.items() if name != _TRAINED}
        return replace(opened, models=roles).roles(domain), opened.models.get(_TRAINED)

    return ChatDesk(
        folder,
        domain,
        models,
        seconds=options["reply_seconds"],
        has_trained=options["trained"] is not None,
        domain_file=options["domain"],
    )


def _tell(listener: socket.socket, token: str, desk: ReviewDesk | None, host: str, *, watched: bool) -> str:
    """Print where the studio is; the address.

    :param watched: whether a search is running in one of the folders.
    """
    from mctsdialog.studio._guard import is_loopback  # noqa: PLC0415

    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # not bound to, but shown
    shown = f"[{shown}]" if ":" in shown else shown
    address = f"http://{shown}:{listener.getsockname()[1]}/?token={token}"
    if not is_loopback(host):
        echo(_WARNING, err=True)
    if desk is not None:
        more = "; those of trees that a search still finishes are added" if watched else ""
        echo(f"{counted(len(desk), 'pair')} to review{more}; decisions go to {desk.path}")
    echo(f"Studio: {address}")
    echo("Ctrl-C ends it.")
    return address


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    :raises ConfigError: for a host that is not this machine's, or a port that is taken.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}; choose another --port or --host") from error
    return listener
