"""What the pages of runs and trees ask for, and what is sent to them as it happens."""

from __future__ import annotations

import json
import time
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

_EVERY = 0.25  # seconds between two looks
_SHARE = 0.2  # of the time, at most, that looking takes: folders of very many trees are looked at less often
_SLOWEST = 1.5  # seconds between two looks, at most
_ALIVE = 15.0  # seconds without news, after which something is sent that a dead connection shows by


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
            found = run.follow(stem)
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
        Route("/runs", page("runs")),
        Route("/tree", page("tree")),
        Route("/api/runs/events", events),
        Route("/api/runs/stop", stop, methods=["POST"]),
        Route("/api/tree/events", tree_events),
        Route("/api/tree/page", tree_page),
    ]


def _stream(look: Callable[[], str | None], ending: Callable[[], bool]) -> Response:
    """Server-sent events: what is found, some times a second."""

    async def sent() -> AsyncIterator[str]:
        said = time.monotonic()
        while not ending():
            began = time.monotonic()
            try:
                news = await to_thread.run_sync(look)
            except (MctsDialogError, OSError) as error:
                yield f"event: wrong\ndata: {json.dumps(str(error))}\n\n"
                return
            now = time.monotonic()
            if news or now - said > _ALIVE:
                yield f"data: {news}\n\n" if news else ":\n\n"
                said = now
            pause = min(_SLOWEST, max(_EVERY, (now - began) / _SHARE))
            for _ in range(round(pause / _EVERY)):
                if not ending():
                    await anyio.sleep(_EVERY)

    return StreamingResponse(sent(), media_type="text/event-stream")
