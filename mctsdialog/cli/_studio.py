"""``mctsdialog studio``: a page in the browser for the people who make the data."""

from __future__ import annotations

import gc
import secrets
import socket
from pathlib import Path

import click

from mctsdialog.cli.exits import BAD_INPUT, EPILOG, Failure, errors_as_exits, interruptible
from mctsdialog.cli.terminal import echo
from mctsdialog.errors import ConfigError
from mctsdialog.files import inside

_SECONDS_TO_END = 2  # that open pages are waited for
_WARNING = (
    "Warning: the network can reach this studio, and nothing is encrypted. Keep the address to yourselves, or leave "
    "--host out and use an SSH tunnel."
)


@click.command("studio", epilog=EPILOG)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
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
def studio_command(
    folders: tuple[Path, ...], reviews: Path | None, twice: float, host: str, port: int, open_it: bool
) -> None:
    """Open a page to review the pairs in FOLDERS: outputs of 'search' or 'preferences', or folders of trees.

    Everybody who has the printed address can use it; it holds a token that is new each time. What people decide is kept
    at once; 'mctsdialog preferences --reviews' applies it.
    """
    with errors_as_exits(), interruptible("The studio is closed. Everything that was decided is kept."):
        try:
            import uvicorn  # noqa: PLC0415  # optional, and heavy

            from mctsdialog.studio import ReviewDesk, Sources, studio_app  # noqa: PLC0415
            from mctsdialog.studio._guard import is_loopback  # noqa: PLC0415
        except ImportError as error:
            message = 'the studio needs Starlette and uvicorn: pip install "mctsdialog[studio]"'
            raise Failure(message, BAD_INPUT) from error
        echo("Reading ...", err=True)
        sources = Sources.of(list(folders))
        desk = None
        if any(record.pairs for dataset in sources.datasets for record in dataset.records):
            first = folders[0] if folders[0].is_dir() else folders[0].parent
            desk = ReviewDesk(sources.datasets, reviews or inside(first, "reviews.jsonl"), twice=twice)
        gc.freeze()  # what was read stays: no collection has to go through it
        token = secrets.token_urlsafe(24)
        with _listening(host, port) as listener:
            shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # not bound to, but shown
            shown = f"[{shown}]" if ":" in shown else shown
            address = f"http://{shown}:{listener.getsockname()[1]}/?token={token}"
            if not is_loopback(host):
                echo(
                    "Warning: the network can reach this studio, and nothing is encrypted. Keep the address to",
                    err=True,
                )
                echo("yourselves, or leave --host out and use an SSH tunnel.", err=True)
            if desk is not None:
                echo(f"{len(desk)} pairs to review; decisions go to {desk.path}")
            echo(f"Studio: {address}")
            echo("Ctrl-C ends it.")
            if open_it:
                click.launch(address)
            app = studio_app(
                desk, sources.sheets, sources.runs, token=token, host=host, ending=lambda: server.should_exit
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
