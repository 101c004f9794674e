"""The pages and what they ask for."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mctsdialog.errors import DataError, MctsDialogError, first_error
from mctsdialog.studio._chat import ChatAsked, ChatDesk, NewAsked, ReplyAsked, SayAsked
from mctsdialog.studio._guard import Guard, is_loopback, known_hosts
from mctsdialog.studio._judge import Answered, ItemsAsked, Sheet
from mctsdialog.studio._requests import M, asset, body_of, page
from mctsdialog.studio._review import ReviewDesk
from mctsdialog.studio._review_asked import Decided, QueueAsked, UndoAsked
from mctsdialog.studio._runs import Run
from mctsdialog.studio._runs_routes import runs_routes
from mctsdialog.studio._watch import TreeWatch
from mctsdialog.text import visible_line

_WATCH: Final = 2.0  # seconds between two looks for new trees
_KINDS: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


def studio_app(
    review: ReviewDesk | None,
    sheets: Sequence[Sheet] = (),
    runs: Sequence[Run] = (),
    chat: ChatDesk | None = None,
    *,
    watch: TreeWatch | None = None,
    token: str,
    host: str = "127.0.0.1",
    ending: Callable[[], bool] = lambda: False,
) -> Starlette:
    """The studio as an ASGI application.

    :param review: the desk where pairs are reviewed; None without pairs.
    :param sheets: sheets to fill in.
    :param runs: folders of searches to watch.
    :param chat: the chats, and who answers in them; None for none.
    :param watch: reads the trees that runs finish; their pairs go to the desk.
    :param token: whoever sends it is let in.
    :param host: that the server listens on.
    :param ending: whether the server is about to close: pages that are kept up to date are then let go, and replies
        that are searched for are given up.
    """
    routes = [
        Route("/", page("home")),
        Route("/static/{name}", _static),
    ]
    pages: dict[str, dict[str, Any]] = {}
    if review is not None:
        routes += _review_routes(review)
        pages["review"] = {}
    if sheets:
        routes += _judge_routes(sheets)
        pages["judge"] = {"sheets": len(sheets)}
    if runs:
        routes += runs_routes(list(runs), ending)
        pages["runs"] = {"runs": len(runs)}
    if chat is not None:
        routes += _chat_routes(chat, ending)
        pages["chat"] = {}
    routes.append(Route("/api/home", functools.partial(_home, pages, review)))
    guard = Middleware(Guard, token=token, hosts=known_hosts(host), any_address=not is_loopback(host))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as closing:
            if chat is not None:
                chat.open(closing)
            if review is not None and watch is not None:
                group = await closing.enter_async_context(anyio.create_task_group())
                group.start_soon(_watching, watch, review)
                closing.callback(group.cancel_scope.cancel)
            yield
        if review is not None:
            review.close()

    handlers: dict[Any, Any] = {MctsDialogError: _wrong, OSError: _not_saved, HTTPException: _http_error}
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers, lifespan=lifespan)


# -- shared ---------------------------------------------------------------------------------------------------------


_ASSETS: Final = frozenset(
    {"studio.css", "studio.js", "home.js", "review.js", "judge.js", "runs.js", "tree.js", "chat.js"}
)


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise HTTPException(404)
    return Response(asset(name), media_type=_KINDS[name.rpartition(".")[2]])


async def _wrong(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": visible_line(str(error))}, 400)


async def _not_saved(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    return JSONResponse({"error": f"This could not be saved: {error.strerror or error}"}, 507)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


async def _home(pages: Mapping[str, Mapping[str, Any]], review: ReviewDesk | None, request: Request) -> Response:
    counts = {name: count for each in pages.values() for name, count in each.items()}
    if review is not None:
        counts["pairs"] = len(review)
    return JSONResponse({"pages": list(pages), **counts})


async def _watching(watch: TreeWatch, desk: ReviewDesk) -> None:
    """Bring the pairs of new trees to the desk."""
    desk.unread = watch.unread
    while True:
        found = await to_thread.run_sync(watch.look)
        if found:
            await to_thread.run_sync(desk.add, found)
        await anyio.sleep(_WATCH)


# -- review ---------------------------------------------------------------------------------------------------------


def _review_routes(desk: ReviewDesk) -> list[Route]:
    async def state(request: Request) -> Response:
        reviewer = request.query_params.get("reviewer", "")[:60]
        return JSONResponse(await to_thread.run_sync(desk.state, reviewer))

    async def queue(request: Request) -> Response:
        return JSONResponse(await to_thread.run_sync(desk.queue, await body_of(request, QueueAsked)))

    async def decide(request: Request) -> Response:
        await to_thread.run_sync(desk.decide, await body_of(request, Decided))
        return JSONResponse({"saved": True})

    async def undo(request: Request) -> Response:
        return JSONResponse(await to_thread.run_sync(desk.undo, await body_of(request, UndoAsked)))

    return [
        Route("/review", page("review")),
        Route("/api/review/state", state),
        Route("/api/review/queue", queue, methods=["POST"]),
        Route("/api/review/decide", decide, methods=["POST"]),
        Route("/api/review/undo", undo, methods=["POST"]),
    ]


# -- judging --------------------------------------------------------------------------------------------------------


def _judge_routes(sheets: Sequence[Sheet]) -> list[Route]:
    def sheet(number: int) -> Sheet:
        if number >= len(sheets):
            raise DataError("there is no such sheet here; was the studio started with other folders?", field="sheet")
        return sheets[number]

    async def every(request: Request) -> Response:
        return JSONResponse({"sheets": [each.about() for each in sheets]})

    async def items(request: Request) -> Response:
        asked = await body_of(request, ItemsAsked)
        return JSONResponse(await to_thread.run_sync(sheet(asked.sheet).items, asked))

    async def answer(request: Request) -> Response:
        given = await body_of(request, Answered)
        # An answer that waited in a browser knows the sheet's number from before the studio was started again.
        found = next((each for each in sheets if given.item in each), None)
        await to_thread.run_sync((found or sheet(given.sheet)).answer, given)
        return JSONResponse({"saved": True})

    return [
        Route("/judge", page("judge")),
        Route("/api/judge/sheets", every),
        Route("/api/judge/items", items, methods=["POST"]),
        Route("/api/judge/answer", answer, methods=["POST"]),
    ]


async def _cancel_at_end(scope: anyio.CancelScope, ending: Callable[[], bool]) -> None:
    """End work that takes long, as a reply that is searched for, when the server closes."""
    while not ending():  # noqa: ASYNC110  # a signal sets it, outside the loop
        await anyio.sleep(0.1)
    scope.cancel()


# -- chat -----------------------------------------------------------------------------------------------------------


def _chat_routes(desk: ChatDesk, ending: Callable[[], bool]) -> list[Route]:
    def asking(model: type[M], answer: Callable[[M], Awaitable[dict[str, Any]]]) -> Callable[[Request], Any]:
        async def asked(request: Request) -> Response:
            given = await body_of(request, model)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(_cancel_at_end, group.cancel_scope, ending)
                    found = await answer(given)
                    group.cancel_scope.cancel()
                    return JSONResponse(found)
            except BaseExceptionGroup as error:
                raise first_error(error) from None
            return JSONResponse({"error": "the studio is closing"}, status_code=503)

        return asked

    async def about(request: Request) -> Response:
        return JSONResponse(desk.about())

    async def one(asked: ChatAsked) -> dict[str, Any]:
        return desk.chat(asked.chat)

    async def new(asked: NewAsked) -> dict[str, Any]:
        return desk.new(asked)

    posts = {
        "one": asking(ChatAsked, one),
        "new": asking(NewAsked, new),
        "say": asking(SayAsked, desk.say),
        "reply": asking(ReplyAsked, desk.reply),
        "suggest": asking(ChatAsked, desk.suggest),
        "seeker": asking(ChatAsked, desk.seeker),
        "undo": asking(ChatAsked, desk.undo),
    }
    return [
        Route("/chat", page("chat")),
        Route("/api/chat/about", about),
        *(Route(f"/api/chat/{name}", each, methods=["POST"]) for name, each in posts.items()),
    ]
