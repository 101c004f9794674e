import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from mctsdialog.errors import MctsDialogError
from mctsdialog.llm import ChatRequest, Message, Sampling


def _load(name: str) -> ModuleType:
    """A helper module beside this file; with --import-mode=importlib tests cannot import one another."""
    spec = importlib.util.spec_from_file_location(f"llm_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_fault_server = _load("fault_server")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "MCTSDIALOG_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def faulty() -> Iterator[Callable[..., Any]]:
    """Starts servers on 127.0.0.1: ``faulty(script)``, one step of the script per request."""
    servers: list[Any] = []

    def start(*script: Any) -> Any:
        server = _fault_server.FaultServer(script)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def at_once() -> Callable[..., Any]:
    """Calls made at the same moment: ``await at_once(function, [argument, ...])`` gives what each returned or raised.

    An argument may be a tuple of several.
    """

    async def all_of(function: Callable[..., Any], arguments: Sequence[Any]) -> list[Any]:
        found: list[Any] = [None] * len(arguments)

        async def one(at: int) -> None:
            given = arguments[at] if isinstance(arguments[at], tuple) else (arguments[at],)
            try:
                found[at] = await function(*given)
            except MctsDialogError as error:
                found[at] = error

        async with anyio.create_task_group() as group:
            for at in range(len(arguments)):
                group.start_soon(one, at)
        return found

    return all_of


@pytest.fixture
def reply() -> Callable[..., bytes]:
    """Raw HTTP responses: ``reply(200, body, **headers)``."""
    return _fault_server.response


@pytest.fixture
def good() -> Callable[..., bytes]:
    """A raw HTTP response that is a completion."""
    return _fault_server.completion


@pytest.fixture
def ask() -> Callable[..., ChatRequest]:
    def make(text: str = "hello", *, max_tokens: int | None = 16, **fields: Any) -> ChatRequest:
        return ChatRequest((Message("user", text),), Sampling(max_tokens=max_tokens), **fields)

    return make


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog
