"""The HTTP client against a real server on the loopback that misbehaves."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr

from mctsdialog.errors import (
    ConfigError,
    ModelAccountError,
    ModelError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
)
from mctsdialog.llm import ChatModel, OpenAIChat, ResponseCache, Retry, build_stack

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

SECRET = "sk-very-secret-0123456789"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
QUICK = Retry(attempts=3, initial=0.01, max_backoff=0.02)


def client(server: Any, **options: Any) -> OpenAIChat:
    return OpenAIChat("tiny", base_url=server.url, **{"timeout": 10.0, "api_key": SECRET, **options})


async def test_a_completion(faulty: Any, good: Any, ask: Any) -> None:
    server = faulty(good("hi", model="x"))
    async with client(server, extra={"top_k": 5}, headers={"x-team": "blue"}) as model:
        assert isinstance(model, ChatModel)
        completion = await model.complete(ask())
    assert (completion.text, completion.finish_reason, completion.model) == ("hi", "stop", "tiny")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (9, 3)
    assert completion.usage.cached_tokens == 4
    assert completion.latency > 0
    head, body = server.requests[0]
    assert head.startswith("POST /v1/chat/completions HTTP/1.1")
    assert f"authorization: bearer {SECRET}" in head.lower()
    assert "x-team: blue" in head.lower()
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 16,
        "top_k": 5,
    }


async def test_no_key_no_header(faulty: Any, good: Any, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = faulty(good())
    async with client(server, api_key=None) as model:
        await model.complete(ask())
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    async with client(server, api_key=None, api_key_env="OPENAI_API_KEY") as model:
        await model.complete(ask())
    async with client(server, api_key=None) as model:  # it is OpenAI's own
        await model.complete(ask())
    assert "authorization" not in server.requests[0][0].lower()
    assert f"bearer {SECRET}\r\n" in server.requests[1][0].lower()
    assert "authorization" not in server.requests[2][0].lower()


async def test_user_and_password_in_the_address(faulty: Any, reply: Any, good: Any, ask: Any) -> None:
    server = faulty(good(), reply(401, {"error": {"message": "user joe, password hunter22"}}))
    address = server.url.replace("http://", "http://joe:hunter22@")
    async with OpenAIChat("tiny", base_url=address) as model:
        await model.complete(ask())
        with pytest.raises(ModelRequestError) as caught:
            await model.complete(ask())
    assert "authorization: basic" in server.requests[0][0].lower()
    assert "hunter22" not in repr(model) + str(caught.value)


RECOVERS = {
    "429": lambda reply: reply(429, {"error": {"message": "slow down"}}),
    "429-retry-after": lambda reply: reply(429, "", retry_after="0"),
    "408": lambda reply: reply(408),
    "500": lambda reply: reply(500, "oops"),
    "503-html": lambda reply: reply(503, "<html>busy</html>"),
    "reset": lambda reply: "reset",
    "close": lambda reply: "close",
    "half-a-body": lambda reply: reply(200, '{"choices": [', length=500),
    "not-http": lambda reply: b"SSH-2.0-OpenSSH\r\n\r\n",
    "wrong-json": lambda reply: reply(200, '{"choices": [}'),
    "html": lambda reply: reply(200, "<html>Sign in</html>", content_type="text/html"),
    "empty": lambda reply: reply(200, ""),
    "list": lambda reply: reply(200, "[1]"),
    "no-choices": lambda reply: reply(200, {"id": 1}),
    "empty-choices": lambda reply: reply(200, {"choices": []}),
    "odd-choices": lambda reply: reply(200, {"choices": [3]}),
    "null-content": lambda reply: reply(200, {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}),
    "error-in-200": lambda reply: reply(200, {"error": {"message": "upstream died"}}),
    "204": lambda reply: reply(204),
    "deep-json": lambda reply: reply(200, "[" * 100_000),
}


@pytest.mark.parametrize("fault", RECOVERS)
async def test_a_passing_fault_is_retried(fault: str, faulty: Any, reply: Any, good: Any, ask: Any) -> None:
    server = faulty(RECOVERS[fault](reply), good("again"))
    stack = build_stack(client(server), retry=QUICK)
    assert (await stack.complete(ask())).text == "again"
    assert server.count == 2
    await stack.aclose()


@pytest.mark.parametrize("fault", RECOVERS)
async def test_a_lasting_fault_ends_in_one_error(fault: str, faulty: Any, reply: Any, ask: Any) -> None:
    server = faulty(RECOVERS[fault](reply))
    stack = build_stack(client(server), retry=QUICK)
    with pytest.raises((ModelUnavailableError, ModelResponseError)) as caught:
        await stack.complete(ask())
    assert server.count == 3
    assert caught.value.__notes__ == ["after 3 attempts"]
    expected = (
        ModelUnavailableError if fault[:1] in "45" or fault in ("503-html", "reset", "close", "not-http") else None
    )
    assert type(caught.value) is (expected or ModelResponseError)
    assert SECRET not in str(caught.value)
    await stack.aclose()


@pytest.mark.parametrize("fault", ["hang", "drip"])
async def test_a_call_is_bounded_in_time(fault: str, faulty: Any, ask: Any) -> None:
    server = faulty(fault)
    async with client(server, timeout=0.3) as model:
        with anyio.fail_after(5), pytest.raises(ModelUnavailableError, match=r"within 0\.3 s"):
            await model.complete(ask())
    assert server.count == 1


async def test_nobody_listens(faulty: Any, ask: Any) -> None:
    server = faulty("close")
    server.close()
    async with client(server) as model:
        with pytest.raises(ModelUnavailableError, match="no answer from http://127"):
            await model.complete(ask())


FINAL = {
    "400": (lambda reply: reply(400, {"error": {"message": f"bad {SECRET} thing"}}), "bad .redacted. thing"),
    "401": (lambda reply: reply(401, {"error": {"message": "Incorrect key: sk-ve**6789"}}), "check the key: api_key="),
    "403": (lambda reply: reply(403, "no"), "rights"),
    "404": (lambda reply: reply(404, "<html>nginx</html>"), "base_url.*'tiny'"),
    "422": (lambda reply: reply(422, {"detail": [{"loc": ["body"], "msg": "wrong"}]}), "wrong"),
    "307": (lambda reply: reply(307, "", location="http://u:p@other.example/v1?t=1"), r"http://other\.example/v1\)"),
    "quota": (lambda reply: reply(429, {"error": {"code": "insufficient_quota"}}), "no credit"),
}


@pytest.mark.parametrize("case", FINAL)
async def test_a_refusal_is_final(case: str, faulty: Any, reply: Any, ask: Any) -> None:
    make, words = FINAL[case]
    server = faulty(make(reply))
    stack = build_stack(client(server), retry=QUICK)
    with pytest.raises(ModelRequestError, match=words) as caught:
        await stack.complete(ask())
    assert server.count == 1
    assert SECRET not in str(caught.value)
    assert "sk-ve" not in str(caught.value)
    await stack.aclose()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after": "an hour from now"}, 3600),
        ({"retry_after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "soon"}, None),
        ({}, None),
    ],
)
async def test_retry_after(headers: Any, seconds: float | None, faulty: Any, reply: Any, ask: Any) -> None:
    if headers.get("retry_after") == "an hour from now":
        headers = {"retry_after": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}
    server = faulty(reply(429, "", **headers))
    async with client(server) as model:
        with pytest.raises(ModelUnavailableError) as caught:
            await model.complete(ask())
    assert caught.value.retry_after == (seconds if seconds is None else pytest.approx(seconds, abs=60))
    assert caught.value.status == 429


def refusing(reply: Any, good: Any, *, words: str, allowed: tuple[str, ...]) -> Callable[..., bytes]:
    def answer(_head: str, body: dict[str, Any]) -> bytes:
        kind = body.get("response_format", {}).get("type", "none")
        return good(kind) if kind in allowed else reply(400, {"error": {"message": words}})

    return answer


@pytest.mark.parametrize("words", ["'response_format' of type 'json_schema' is not supported", "bad request"])
@pytest.mark.parametrize(("allowed", "steps"), [(("json_object", "none"), 1), (("none",), 2)])
async def test_stepping_down(
    words: str, allowed: Any, steps: int, faulty: Any, reply: Any, good: Any, ask: Any, logs: Any
) -> None:
    server = faulty(refusing(reply, good, words=words, allowed=allowed))
    async with client(server) as model:
        assert (await model.complete(ask(schema=SCHEMA))).text == allowed[0]
        assert server.count == steps + 1
        assert (await model.complete(ask(schema=SCHEMA))).text == allowed[0]
        assert server.count == steps + 2
    assert model.response_format == allowed[0]
    assert model.step_downs == steps
    warnings = [record for record in logs.records if record.name == "mctsdialog.llm"]
    assert len(warnings) == 1
    assert SECRET not in logs.text


async def test_a_refusal_of_every_format_is_the_first_error(faulty: Any, reply: Any, good: Any, ask: Any) -> None:
    server = faulty(refusing(reply, good, words="bad request", allowed=()))
    async with client(server) as model:
        with pytest.raises(ModelRequestError, match="bad request"):
            await model.complete(ask(schema=SCHEMA))
    assert server.count == 3
    assert (model.response_format, model.step_downs) == ("json_schema", 0)


async def test_no_step_down_for_a_prompt_that_is_too_long(faulty: Any, reply: Any, ask: Any) -> None:
    server = faulty(reply(400, {"error": {"message": "This model's maximum context length is 10 tokens"}}))
    async with client(server) as model:
        with pytest.raises(ModelRequestError):
            await model.complete(ask(schema=SCHEMA))
    assert server.count == 1


async def test_no_step_down_once_the_format_is_proven(faulty: Any, reply: Any, good: Any, ask: Any) -> None:
    server = faulty(good(), reply(400, {"error": {"message": "bad request"}}))
    async with client(server) as model:
        await model.complete(ask(schema=SCHEMA))
        with pytest.raises(ModelRequestError):
            await model.complete(ask(schema=SCHEMA))
    assert server.count == 2
    sent = server.requests[0][1]["response_format"]
    assert sent == {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}


@pytest.mark.parametrize(
    ("choice", "text", "finish"),
    [
        ({"message": {"content": "cut"}, "finish_reason": "length"}, "cut", "length"),
        ({"message": {"content": "x"}}, "x", "other"),
        ({"message": {"content": "x"}, "finish_reason": "tool_calls"}, "x", "other"),
        ({"message": {"content": None, "refusal": "I can't"}, "finish_reason": "stop"}, "I can't", "refusal"),
        ({"message": {"content": None}, "finish_reason": "length"}, "", "length"),
        (
            {"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}, "finish_reason": "stop"},
            "ab",
            "stop",
        ),
        ({"message": {"content": "half \ud83d"}, "finish_reason": "stop"}, "half \ufffd", "stop"),
    ],
)
async def test_odd_replies(choice: Any, text: str, finish: str, faulty: Any, reply: Any, ask: Any) -> None:
    server = faulty(reply(200, {"choices": [choice], "usage": {"prompt_tokens": "many", "completion_tokens": -1}}))
    async with client(server) as model:
        completion = await model.complete(ask())
    assert (completion.text, completion.finish_reason) == (text, finish)
    assert completion.usage.total_tokens == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # trio: httpx's generators, left early
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_reply_without_end_is_cut_off(ask: Any) -> None:
    async def endless() -> Any:
        while True:
            await anyio.lowlevel.checkpoint()
            yield b" " * 2**20

    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=endless()))
    async with OpenAIChat("tiny", transport=transport, timeout=20) as model:
        with pytest.raises(ModelResponseError, match="more than"):
            await model.complete(ask())


async def test_a_hundred_and_twenty_eight_at_once(faulty: Any, good: Any, ask: Any) -> None:
    gate = threading.Barrier(128, timeout=30)

    def together(_head: str, _body: Any) -> bytes:
        gate.wait()  # passes only when 128 requests are in the server at once
        return good()

    server = faulty(together)
    async with client(server, max_connections=128, timeout=40) as model, anyio.create_task_group() as group:
        for index in range(256):
            group.start_soon(model.complete, ask(f"{index}"))
    assert server.count == 256
    assert server.peak == 128
    assert server.connections <= 256


async def test_connections_are_used_again(faulty: Any, good: Any, ask: Any) -> None:
    server = faulty(good())
    async with client(server) as model:
        for _ in range(5):
            await model.complete(ask())
    assert (server.count, server.connections) == (5, 1)


async def test_slots_come_back_after_cancellation(faulty: Any, good: Any, ask: Any) -> None:
    server = faulty("hang", "hang", good())
    async with client(server, max_connections=2) as model:
        async with anyio.create_task_group() as group:
            group.start_soon(model.complete, ask())
            group.start_soon(model.complete, ask())
            while server.count < 2:
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            assert (await model.complete(ask())).text == "fine"


def test_two_event_loops_one_client(anyio_backend: str, faulty: Any, good: Any, ask: Any) -> None:
    server = faulty(good())
    model = client(server)
    for _ in range(3):  # never closed: the end of each loop closes what was opened in it, or a ResourceWarning fails
        assert anyio.run(model.complete, ask(), backend=anyio_backend).text == "fine"
    assert server.count == 3


async def test_a_proxy_from_the_environment(faulty: Any, good: Any, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = faulty(good())
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1").replace("//", "//joe:pass-word@"))
    async with OpenAIChat("tiny", base_url="http://elsewhere.invalid/v1", timeout=10) as model:
        await model.complete(ask())
    assert server.requests[0][0].startswith("POST http://elsewhere.invalid/v1/chat/completions ")
    assert "proxy-authorization: basic" in server.requests[0][0].lower()
    monkeypatch.setenv("http_proxy", "socks5://joe:pass-word@127.0.0.1:1")
    async with OpenAIChat("tiny", base_url="http://elsewhere.invalid/v1", timeout=10) as model:
        with pytest.raises(ConfigError) as caught:
            await model.complete(ask())
    assert "pass-word" not in str(caught.value)


async def test_a_client_of_ones_own(faulty: Any, good: Any, ask: Any) -> None:
    server = faulty(good())
    seen: list[httpx.Request] = []

    async def hook(request: httpx.Request) -> None:
        seen.append(request)

    async with httpx.AsyncClient(event_hooks={"request": [hook]}, headers={"X-Team": "seven"}) as own:
        async with client(server, api_key="sk-of-mine", http_client=own) as model:
            assert (await model.complete(ask())).text == "fine"
        assert not own.is_closed
        assert (await model.complete(ask())).text == "fine"
    head = server.requests[0][0].lower()
    assert "authorization: bearer sk-of-mine" in head
    assert "x-team: seven" in head
    assert "user-agent: mctsdialog/" in head
    assert len(seen) == server.count == 2
    assert set(seen[0].extensions["timeout"].values()) == {None}  # httpx's 5 s are nobody's choice
    with pytest.raises(ConfigError, match="http_client"):
        client(server, http_client=own, transport=httpx.MockTransport(lambda _: httpx.Response(200)))


@pytest.mark.parametrize("wrong", [httpx.Client(), httpx.AsyncClient, "client"])
def test_what_is_no_client_of_httpx_is_an_error(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"^OpenAIChat: http_client must be an AsyncClient or None, not") as caught:
        OpenAIChat("x", http_client=wrong)
    assert caught.value.field == "http_client"


async def test_a_closed_client_of_ones_own_is_an_error(faulty: Any, good: Any, ask: Any) -> None:
    own = httpx.AsyncClient()
    await own.aclose()
    with pytest.raises(ConfigError, match=r"http_client cannot send \(.*closed.*\); give one that is open"):
        await client(faulty(good()), http_client=own).complete(ask())


async def test_a_model_is_asked_by_a_request(faulty: Any, good: Any) -> None:
    with pytest.raises(ConfigError, match=r"complete\(\) takes a ChatRequest, such as"):
        await client(faulty(good())).complete("Hello.")


async def test_a_client_of_ones_own_has_its_time_outs_and_follows_no_redirects(
    faulty: Any, reply: Any, ask: Any
) -> None:
    server = faulty(reply(307, location="http://127.0.0.1:1/v1"), "hang")
    async with httpx.AsyncClient(timeout=0.5, follow_redirects=True) as own:
        model = client(server, http_client=own, timeout=30)
        with pytest.raises(ModelAccountError, match="redirects are not followed"):
            await model.complete(ask())
        with anyio.fail_after(10), pytest.raises(ModelUnavailableError, match="ReadTimeout"):
            await model.complete(ask())


async def test_close_twice_and_go_on(faulty: Any, good: Any, ask: Any) -> None:
    model = client(faulty(good()))
    await model.aclose()
    await model.complete(ask())
    await model.aclose()
    await model.aclose()
    await model.complete(ask())
    await model.aclose()


async def test_the_secret_stays_secret(faulty: Any, reply: Any, good: Any, ask: Any, logs: Any, tmp_path: Any) -> None:
    server = faulty(reply(500, f"key {SECRET}"), reply(200, SECRET), good(), reply(418, f"Bearer {SECRET}"))
    cache = ResponseCache(tmp_path / "cache")
    model = client(server, api_key=SecretStr(SECRET), headers={"x-api-key": "another-secret-value"})
    stack = build_stack(model, cache=cache, retry=QUICK)
    await stack.complete(ask())
    with pytest.raises(ModelError) as caught:
        await stack.complete(ask("other"))
    await stack.aclose()
    cache.close()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "cache").iterdir())
    shown = repr(stack) + repr(vars(model)) + str(caught.value) + repr(caught.value) + logs.text
    for secret in (SECRET, "another-secret-value"):
        assert secret.encode() not in stored
        assert secret not in shown


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"model": ""}, "model"),
        ({"base_url": "nonsense"}, "base_url"),
        ({"base_url": "ftp://x/"}, "base_url"),
        ({"base_url": "http://[::1"}, "base_url"),
        ({"base_url": "https://x/v1?api_key=abc"}, "base_url"),
        ({"api_key": "two words"}, "api_key"),
        ({"api_key": "sk-’quoted’"}, "api_key"),
        ({"headers": {"x": "a\nb"}}, "headers"),
        ({"timeout": 0}, "timeout"),
        ({"max_connections": 0}, "max_connections"),
        ({"response_format": "xml"}, "response_format"),
        ({"extra": {"x": object()}}, "extra"),
    ],
)
def test_settings_are_checked(options: Any, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAIChat(**{"model": "m", **options})
    assert caught.value.field == field
    assert "abc" not in str(caught.value)
    assert "quoted" not in str(caught.value)


def test_extra_parameters_are_part_of_the_name() -> None:
    plain, one, two = (OpenAIChat("m", api_key="", extra=extra) for extra in (None, {"a": 1}, {"a": 2}))
    assert plain.name == "m"
    assert len({plain.name, one.name, two.name}) == 3
    assert OpenAIChat("m", api_key="", extra={"a": 1}, name="mine").name == "mine"
    assert json.dumps(one.name)
