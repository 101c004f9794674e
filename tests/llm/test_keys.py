"""A key goes to its own server alone, and what servers echo of it is shown nowhere."""

import base64
import html
import json
import urllib.parse
import warnings
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.errors import ConfigError, InsecureKeyWarning, ModelError, ModelRequestError
from mctsdialog.llm import OpenAIChat, build_stack
from mctsdialog.llm._address import origin, shown_address

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

KEY = "sk-proj-Ab1_Cd2-Ef3Gh4Ij5"
ODD_KEY = "ab/c+d=e&f'g\"h\\i<j>klmn.op~qr"
PASSWORD = "hunter2+/x y"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OTHER_KEY", "other-key-123456")


SAME = [
    ("https://api.openai.com/v1", "HTTPS://API.OpenAI.com:443/other"),
    ("https://api.openai.com/v1", "https://api.openai.com./v1"),
    ("https://api.openai.com/v1", "https://joe:pw@api.openai.com"),
    ("http://[::1]:80/v1", "http://[0:0:0:0:0:0:0:1]"),
    ("http://bücher.example/v1", "http://xn--bcher-kva.example/v1"),
]
OTHER = [
    ("https://api.openai.com/v1", "http://api.openai.com/v1"),
    ("https://api.openai.com/v1", "http://api.openai.com:443/v1"),
    ("https://api.openai.com/v1", "https://api.openai.com:8443/v1"),
    ("https://api.openai.com/v1", "https://api.openai.com.evil.example/v1"),
    ("https://api.openai.com/v1", "https://api.openai.com@evil.example/v1"),
    ("https://api.openai.com/v1", "https://evil.example/https://api.openai.com/v1"),
    ("http://127.0.0.1:8000/v1", "http://127.0.0.1:80/v1"),
    ("http://127.0.0.1:8000/v1", "http://localhost:8000/v1"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_server_however_it_is_written(one: str, other: str) -> None:
    assert origin(one) == origin(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_another_server_however_alike(one: str, other: str) -> None:
    assert origin(one) != origin(other)


@pytest.mark.parametrize("address", [other for _, other in SAME[:2]])
async def test_the_environments_key_goes_to_openai(address: str, ask: Any) -> None:
    assert await sent_key(OpenAIChat("m", base_url=address, transport=httpx.MockTransport(echo)), ask) == KEY


@pytest.mark.parametrize("address", [other for _, other in OTHER])
async def test_the_environments_key_goes_nowhere_else(address: str, ask: Any) -> None:
    model = OpenAIChat("m", base_url=address, transport=httpx.MockTransport(echo))
    assert KEY not in str(await sent_key(model, ask))


async def test_a_variable_that_is_named_goes_to_the_address_it_is_named_for(ask: Any) -> None:
    address = {"base_url": "https://b.example/v1", "transport": httpx.MockTransport(echo)}
    assert await sent_key(OpenAIChat("m", **address, api_key_env="OTHER_KEY"), ask) == "other-key-123456"
    assert await sent_key(OpenAIChat("m", **address, api_key_env="ABSENT_KEY"), ask) is None
    assert await sent_key(OpenAIChat("m", **address, api_key="given", api_key_env="OTHER_KEY"), ask) == "given"


def echo(request: httpx.Request) -> httpx.Response:
    echo.seen = request.headers.get("authorization")  # type: ignore[attr-defined]
    message = {"message": {"content": "fine"}, "finish_reason": "stop"}
    return httpx.Response(200, json={"choices": [message]})


async def sent_key(model: OpenAIChat, ask: Any) -> str | None:
    async with model:
        await model.complete(ask())
    seen: str | None = echo.seen  # type: ignore[attr-defined]
    return None if seen is None else seen.removeprefix("Bearer ")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_takes_the_key_nowhere(status: int, faulty: Any, reply: Any, good: Any, ask: Any) -> None:
    target = faulty(good())
    server = faulty(reply(status, "", location=f"{target.url}/chat/completions"))
    async with OpenAIChat("m", base_url=server.url, api_key=KEY) as model:
        with pytest.raises(ModelRequestError, match="redirects are not followed"):
            await model.complete(ask())
    assert (server.count, target.count, target.connections) == (1, 0, 0)


HINTS = {
    "environment": ({"api_key_env": "OTHER_KEY"}, r"check the key: the environment variable OTHER_KEY\)"),
    "given": ({"api_key": KEY}, r"check the key: api_key=\)"),
    "unset": ({"api_key_env": "ABSENT_KEY"}, r"no key was sent: set the environment variable ABSENT_KEY\)"),
    "none": ({}, r"no key was sent: give api_key=, or for the commands --api-key-env http://127\S+/v1=VARIABLE\)"),
}


@pytest.mark.parametrize("case", HINTS)
async def test_a_refusal_says_which_key_to_set(case: str, faulty: Any, reply: Any, ask: Any) -> None:
    options, hint = HINTS[case]
    server = faulty(reply(401, ""))
    async with OpenAIChat("m", base_url=server.url, **options) as model:
        with pytest.raises(ModelRequestError, match=hint):
            await model.complete(ask())


INSECURE = ["http://b.example/v1", "http://10.0.0.3:8000/v1", "http://localhost.evil.example/v1", "http://[fe80::1]/v1"]
SECURE = [
    "https://b.example/v1",
    "http://localhost/v1",
    "http://LOCALHOST.:80/v1",
    "http://127.3.2.1:8000/v1",
    "http://[::1]/v1",
]


@pytest.mark.parametrize("address", INSECURE)
@pytest.mark.parametrize("how", [{"api_key": KEY}, {"headers": {"X-Api-Key": KEY}}, "userinfo"])
def test_a_key_over_plain_http_is_a_warning(address: str, how: Any) -> None:
    options = {} if how == "userinfo" else how
    place = address.replace("//", "//joe:pw@") if how == "userinfo" else address
    with pytest.warns(InsecureKeyWarning) as caught:
        OpenAIChat("m", base_url=place, **options)
    assert address in str(caught[0].message)
    assert KEY not in str(caught[0].message)
    OpenAIChat("m", base_url=address, api_key="", headers={"x-team": "blue"})


@pytest.mark.parametrize("address", SECURE)
def test_a_key_on_this_machine_or_over_https_is_none(address: str) -> None:
    OpenAIChat("m", base_url=address, api_key=KEY)


def test_the_warning_comes_once_for_a_server() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for name in ("a", "b", "c"):
            OpenAIChat(name, base_url="http://once.example/v1", api_key=KEY)
    assert len(caught) == 1


def masked(key: str) -> list[str]:
    return [f"{key[:5]}{mask}{key[-4:]}" for mask in ("***********", "...", "…", "••••", "XXXXXXXX")]


ECHOES = {
    "as it is": lambda key: [key, key.upper()],
    "header": lambda key: [f"Bearer {key}", f"authorization: Bearer {key}", repr({"Authorization": f"Bearer {key}"})],
    "masked": masked,
    "end": lambda key: [f"********{key[-6:]}"],
    "URL": lambda key: [
        urllib.parse.quote(key, safe=""),
        urllib.parse.quote_plus(key),
        urllib.parse.quote(key).lower(),
    ],
    "JSON": lambda key: [json.dumps(key), json.dumps({"key": f"Bearer {key}"})],
    "HTML": lambda key: [html.escape(key)],
    "base64": lambda key: [base64.b64encode(key.encode()).decode(), base64.urlsafe_b64encode(key.encode()).decode()],
}


@pytest.mark.parametrize("key", [KEY, ODD_KEY], ids=["OpenAI's", "odd"])
@pytest.mark.parametrize("case", ECHOES)
@pytest.mark.parametrize(
    "wrap", [str, lambda text: {"error": {"message": text}}, lambda text: {"detail": [{"x": text}]}]
)
async def test_what_a_server_echoes_of_a_key_is_not_shown(
    case: str, key: str, wrap: Any, faulty: Any, reply: Any, ask: Any
) -> None:
    for said in ECHOES[case](key):
        server = faulty(reply(401, wrap(f"Incorrect API key provided: {said}. See the page.")))
        async with OpenAIChat("m", base_url=server.url, api_key=key) as model:
            with pytest.raises(ModelError) as caught:
                await model.complete(ask())
        message = str(caught.value) + repr(caught.value)
        assert "[redacted]" in message
        assert said not in message
        pieces = [key[at : at + 6] for at in range(len(key) - 5)]
        assert not [piece for piece in pieces if piece.lower() in message.lower()]


async def test_a_password_and_its_base64_are_not_shown(faulty: Any, reply: Any, ask: Any) -> None:
    login = base64.b64encode(f"joe:{PASSWORD}".encode()).decode()
    server = faulty(*(reply(403, f"no: {said} here") for said in (login, f"Basic {login}", PASSWORD)))
    address = server.url.replace("//", f"//joe:{urllib.parse.quote(PASSWORD, safe='')}@")
    async with OpenAIChat("m", base_url=address) as model:
        for _ in range(3):
            with pytest.raises(ModelError) as caught:
                await model.complete(ask())
            for secret in (login[:-2], PASSWORD, "hunter2"):
                assert secret not in str(caught.value) + repr(model) + repr(vars(model))


@pytest.mark.parametrize("kept", [4, 10, len(KEY) - 1])
@pytest.mark.parametrize(("status", "most"), [(400, 20_000), (200, 2000)])
async def test_a_key_that_the_cut_goes_through_is_not_shown(
    kept: int, status: int, most: int, faulty: Any, reply: Any, ask: Any
) -> None:
    body = "denied " + " " * (most - 7 - kept) + KEY + " end"
    server = faulty(reply(status, body))
    async with OpenAIChat("m", base_url=server.url, api_key=KEY) as model:
        with pytest.raises(ModelError, match="denied") as caught:
            await model.complete(ask())
    assert KEY[:4] not in str(caught.value)


async def test_a_key_in_a_reply_gets_into_no_completion(faulty: Any, good: Any, ask: Any) -> None:
    server = faulty(
        good(f"Your key is {KEY}, joe."), good("I am joe, a supporter; key-words and sk- stay as they are.")
    )
    async with build_stack(OpenAIChat("m", base_url=server.url, api_key=KEY)) as model:
        assert (await model.complete(ask())).text == "Your key is [redacted], joe."
        assert (await model.complete(ask("x"))).text == "I am joe, a supporter; key-words and sk- stay as they are."


SECRETS_IN_QUERIES = [
    "api-key",
    "api_key",
    "key",
    "sig",
    "code",
    "access_token",
    "X-Amz-Signature",
    "pwd",
    "subscription-key",
]


@pytest.mark.parametrize("name", SECRETS_IN_QUERIES)
def test_a_secret_in_the_query_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(ConfigError, match="must not carry a secret") as caught:
        OpenAIChat("m", base_url=f"https://joe:pass-word@b.example/v1?api-version=1&{name}=swordfish")
    assert "swordfish" not in repr(caught.value)
    assert "pass-word" not in repr(caught.value)


def test_the_rest_of_a_query_is_sent_and_not_shown() -> None:
    model = OpenAIChat("m", base_url="https://b.example/v1?api-version=2024-06-01", api_key=KEY)
    assert "api-version" not in repr(model)
    with pytest.raises(ConfigError):
        OpenAIChat("m", base_url=f"https://b.example/v1?x={KEY}")


@given(st.sampled_from(["user", "us er", "ü"]), st.text(min_size=6).filter(lambda text: text.strip("*•.… ")))
def test_no_password_of_an_address_is_shown(user: str, password: str) -> None:
    try:
        login = f"{urllib.parse.quote(user)}:{urllib.parse.quote(password, safe='')}"
        model = OpenAIChat("m", base_url=f"https://{login}@host.example/v1")
    except (ConfigError, UnicodeEncodeError):
        return
    assert repr(model) == "OpenAIChat('m', base_url='https://host.example/v1')"
    assert shown_address(httpx.URL(f"https://{login}@host.example/v1?sig=abc#x")) == "https://host.example/v1"
