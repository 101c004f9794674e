"""What the pages of runs and trees ask for, and what is sent to them as it happens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mctsdialog.errors import DataError, MctsDialogError
from mctsdialog.export._viewer import page_policy
from mctsdialog.studio._requests import body_of, page
from mctsdialog.studio._runs import Changes, Run, StopAsked, run_at

_EVERY = 1.0  # seconds between two looks
_ALIVE = 15  # looks without news, after which something is sent that a dead connection shows by


def runs_routes(runs: list[Run], ending: Callable[[], bool]) -> list[Route]:
    """The routes of runs and trees.

    :param ending: whether the studio is about to close: streams then end.
    """

    async def events(request: Request) -> Response:
        return _stream(Changes(runs).look, ending)

    async def stop(request: Request) -> Response:
        asked = await body_of(request, StopAsked)
        await to_thread.run_sync(run_at(runs, asked.run).stop)
        return JSONResponse({"stopping": True})

    async def tree_events(request: Request) -> Response:
        run, stem = _named(request)
        last: dict[str, Any] = {}

        def look() -> str | None:
            run.refresh()
            found = run.version(stem)
            if found == last:
                return None
            last.update(found)
            return json.dumps(found)

        await to_thread.run_sync(run.refresh)
        await to_thread.run_sync(run.version, stem)  # what is wrong is said before the stream begins
        return _stream(look, ending)

    async def tree_page(request: Request) -> Response:
        run, stem = _named(request)
        text = await to_thread.run_sync(run.page, stem)
        policy = {"content-security-policy": f"{page_policy()}; frame-ancestors 'self'"}
        return HTMLResponse(text, headers=policy)

    def _named(request: Request) -> tuple[Run, str]:
        number = request.query_params.get("run", "")
        if not number.isdecimal() or len(number) > 6:
            raise DataError("must be the number of a run", field="run")
        return run_at(runs, int(number)), request.query_params.get("stem", "")

    return [
        Route("/runs", page("runs.html")),
        Route("/tree", page("tree.html")),
        Route("/api/runs/events", events),
        Route("/api/runs/stop", stop, methods=["POST"]),
        Route("/api/tree/events", tree_events),
        Route("/api/tree/page", tree_page),
    ]


def _stream(look: Callable[[], str | None], ending: Callable[[], bool]) -> Response:
    """Server-sent events: what is found, about every second."""

    async def sent() -> AsyncIterator[str]:
        quiet = 0
        while not ending():
            try:
                news = await to_thread.run_sync(look)
            except (MctsDialogError, OSError) as error:
                yield f"event: wrong\ndata: {json.dumps(str(error))}\n\n"
                return
            quiet = 0 if news else quiet + 1
            if news:
                yield f"data: {news}\n\n"
            elif quiet % _ALIVE == 0:
                yield ":\n\n"
            for _ in range(4):
                if not ending():
                    await anyio.sleep(_EVERY / 4)

    return StreamingResponse(sent(), media_type="text/event-stream")
