"""What all routes share: pages from the package, and what a page sends, checked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import resources
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from mctsdialog.errors import DataError
from mctsdialog.files import dotted, first_fault, parse_json

M = TypeVar("M", bound=BaseModel)


@functools.cache
def asset(name: str) -> bytes:
    """A file of the pages."""
    return (resources.files("mctsdialog.studio") / "web" / name).read_bytes()


def page(name: str) -> Callable[[Request], Any]:
    """An endpoint that gives a page: the shell of all pages, with the content and the script of this one."""
    title = "Studio" if name == "home" else f"{name.capitalize()} · Studio"
    shell, content = (asset(f"{each}.html").decode() for each in ("shell", name))
    text = shell.format(title=title, name=name, content=content)

    async def given(request: Request) -> Response:
        return Response(text, media_type="text/html")

    return given


async def body_of(request: Request, model: type[M]) -> M:
    """What a page has sent.

    :raises DataError: for anything but what the model has.
    """
    try:
        body = await request.body()
        parse_json(body)  # what is nested too deeply, or holds half of a surrogate pair, goes into no file
        return model.model_validate_json(body)
    except ValidationError as error:
        place, message = first_fault(error)
        raise DataError(message, field=dotted(place) or None) from error
    except ValueError as error:
        raise DataError(f"the request is not JSON: {error}") from error
