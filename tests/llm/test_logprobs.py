"""Log-probabilities of tokens: asked for, read in whatever shape a server sends, part of the key."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.llm import LocalChat, OpenAIChat, TokenLogprobs, request_key
from mctsdialog.llm._wire import parse_completion, parse_logprobs

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

SECRET = "sk-very-secret-0123456789"


def entry(text: str, logprob: Any = -0.5, top: Any = (), **more: Any) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "top_logprobs": [{"token": a, "logprob": b} for a, b in top], **more}


def body(text: str, *entries: Any) -> dict[str, Any]:
    choice = {"message": {"content": text}, "finish_reason": "stop", "logprobs": {"content": list(entries)}}
    return {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}


async def test_they_are_asked_for_and_read(faulty: Any, reply: Any, ask: Any) -> None:
    server = faulty(
        reply(200, json.dumps(body("4", entry("4", -0.1, [("4", -0.1), ("3", -2.5)])))),
        reply(200, json.dumps(body("4"))),
    )
    async with OpenAIChat("tiny", base_url=server.url, api_key=SECRET) as model:
        with_them = await model.complete(ask(logprobs=8))
        without = await model.complete(ask())
    assert with_them.logprobs == (TokenLogprobs("4", -0.1, (("4", -0.1), ("3", -2.5))),)
    assert without.logprobs == ()
    first, second = (request[1] for request in server.requests)
    assert (first["logprobs"], first["top_logprobs"]) == (True, 8)
    assert not {"logprobs", "top_logprobs"} & set(second)


async def test_a_reply_with_a_secret_in_it_keeps_no_tokens(faulty: Any, reply: Any, ask: Any) -> None:
    server = faulty(reply(200, json.dumps(body(f"It is {SECRET}", entry("It is "), entry(SECRET)))))
    async with OpenAIChat("tiny", base_url=server.url, api_key=SECRET) as model:
        completion = await model.complete(ask(logprobs=8))
    assert SECRET not in repr(completion)


def test_they_are_part_of_the_key_and_without_them_it_is_as_ever(ask: Any) -> None:
    assert request_key("m", ask()) == request_key("m", ask(logprobs=0))
    assert len({request_key("m", ask(logprobs=number)) for number in (0, 1, 8)}) == 3


def test_characters_cut_into_several_tokens_are_put_together() -> None:
    cut = [entry("\\xe4\\xbd", bytes=[0xE4, 0xBD]), entry("\\xa0", bytes=[0xA0]), entry(" 4", bytes=[0x20, 0x34])]
    assert "".join(token.text for token in parse_logprobs({"content": cut})) == "你 4"


@pytest.mark.parametrize(
    ("value", "logprob"),
    [(None, -9999.0), (math.nan, -9999.0), (-math.inf, -9999.0), (1e-9, 0.0), (0, 0.0), (-3, -3.0)],
)
def test_every_number_becomes_a_log_probability(value: Any, logprob: float) -> None:
    (token,) = parse_logprobs({"content": [entry("a", value, [("b", value)])]})
    assert token == TokenLogprobs("a", logprob, (("b", logprob),))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["content", "token", "logprob", "bytes", "top_logprobs"]), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(values)
def test_whatever_a_server_sends_it_is_tokens_or_nothing(value: Any) -> None:
    completion = parse_completion({**body("4"), "choices": [{**body("4")["choices"][0], "logprobs": value}]}, model="m")
    for token in completion.logprobs:
        json.dumps([token.text, token.top]).encode()
        assert token.text.encode() is not None
        assert all(-9999 <= each <= 0 for each in (token.logprob, *(chance for _, chance in token.top)))


@pytest.mark.model
@pytest.mark.timeout(280)
async def test_the_real_model_returns_them(ask: Any, embedded_model: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 4, "minimum": 0}}, "required": ["a"]}
    async with LocalChat(embedded_model, context=512, slots=1) as model:
        completion = await model.complete(ask("Give a number from 0 to 4 as JSON.", schema=schema, logprobs=8))
    assert completion.text in "".join(token.text for token in completion.logprobs)
    assert all(len(token.top) == 8 and token.logprob < 0 for token in completion.logprobs[:3])
