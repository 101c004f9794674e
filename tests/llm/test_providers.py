"""What today's servers do, case by case, and what the client makes of it: a request that fits, or one clear error."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from mctsdialog.errors import (
    ConfigError,
    ModelAccountError,
    ModelError,
    ModelRefusedError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
)
from mctsdialog.llm import ChatRequest, Message, OpenAIChat, Sampling, Usage, chat_model, providers
from mctsdialog.llm._openai.error_body import read_error_body
from mctsdialog.llm._wire import parse_usage
from mctsdialog.llm.providers import PROVIDERS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 4}},
    "required": ["a"],
    "additionalProperties": False,
}
SAMPLING = Sampling(temperature=0.7, top_p=0.9, frequency_penalty=0.4, max_tokens=100, seed=1, reasoning_effort="low")


def client(server: Any, **options: Any) -> OpenAIChat:
    return OpenAIChat("tiny", base_url=server.url, **{"timeout": 10.0, "api_key": "", **options})


def request(schema: Any = None, sampling: Sampling = SAMPLING, text: str = "hello", system: str = "Be kind.") -> Any:
    return ChatRequest((Message("system", system), Message("user", text)), sampling, schema)


def warnings(logs: Any) -> list[str]:
    return [each.getMessage() for each in logs.records if each.levelname == "WARNING"]


def reply_with(reply: Any, text: Any = "fine", finish: str = "stop", usage: Any = None, **message: Any) -> bytes:
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return bytes(reply(200, {"choices": [choice], "usage": usage or {"prompt_tokens": 300, "completion_tokens": 30}}))


# -- parameters ----------------------------------------------------------------------------------------------------


def openai(name: str, words: str, code: str = "unsupported_parameter") -> dict[str, Any]:
    return {"error": {"message": words, "type": "invalid_request_error", "param": name, "code": code}}


def google(words: str) -> list[Any]:
    return [{"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}]


def fastapi(*path: Any, kind: str = "extra_forbidden", words: str = "Extra inputs are not permitted") -> dict[str, Any]:
    return {"detail": [{"type": kind, "loc": ["body", *path], "msg": words, "input": 0.4}]}


REFUSED = {
    "OpenAI, a parameter": (
        "frequency_penalty",
        400,
        openai("frequency_penalty", "Unsupported parameter: 'frequency_penalty' is not supported with this model."),
    ),
    "OpenAI, a value": (
        "temperature",
        400,
        openai(
            "temperature",
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is "
            "supported.",
            "unsupported_value",
        ),
    ),
    "OpenAI, in words alone": (
        "top_p",
        400,
        openai("", "Unrecognized request argument supplied: top_p", "") | {"param": None},
    ),
    "OpenAI, effort": ("reasoning_effort", 400, openai("", "Unrecognized request argument supplied: reasoning_effort")),
    "Google, a penalty": ("frequency_penalty", 400, google("Penalty is not enabled for models/gemini-2.5-flash")),
    "Google, a name": (
        "seed",
        400,
        google('Invalid JSON payload received. Unknown name "seed": Cannot find field.'),
    ),
    "xAI, in camel case": (
        "frequency_penalty",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "Model grok-4 does not support parameter frequencyPenalty.",
        },
    ),
    "xAI, at the end": ("seed", 400, {"code": "x", "error": "Argument not supported on this model: seed"}),
    "FastAPI": ("frequency_penalty", 422, fastapi("frequency_penalty")),
    "FastAPI, a rule of its own": (
        "temperature",
        422,
        fastapi("temperature", kind="value_error", words="Value error, temperature is not supported by this model"),
    ),
    "Mistral": ("frequency_penalty", 422, {"object": "error", "message": fastapi("frequency_penalty"), "code": None}),
    "vLLM, a list in a text": (
        "frequency_penalty",
        400,
        {
            "object": "error",
            "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'frequency_penalty'), 'msg': "
            "'Extra inputs are not permitted', 'input': 0.4}]",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    "Anthropic": (
        "top_p",
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "top_p: Extra inputs are not permitted"},
        },
    ),
    "Anthropic, thinking": (
        "temperature",
        400,
        {"error": {"message": "`temperature` may only be set to 1 when thinking is enabled. Please consult the docs."}},
    ),
    "Anthropic, deprecated": (
        "temperature",
        400,
        {"error": {"message": "`temperature` is deprecated for this model."}},
    ),
    "Groq": ("frequency_penalty", 400, {"error": {"message": "property 'frequency_penalty' is unsupported"}}),
    "Moonshot": ("temperature", 400, {"error": {"message": "invalid temperature: only 1 is allowed for this model"}}),
    "Ollama": ("reasoning_effort", 400, {"error": '"tiny" does not support thinking'}),
    "a gateway's quote": (
        "top_p",
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": json.dumps({"error": {"message": "Unsupported parameter: 'top_p'"}})},
            }
        },
    ),
    "another list of those that are supported": (
        "seed",
        400,
        {"error": {"message": "Unknown parameter: 'seed'. Supported parameters are: temperature, top_p, max_tokens."}},
    ),
    "a list of names and messages": (
        "frequency_penalty",
        422,
        {"errors": [{"field": "frequency_penalty", "message": "is not allowed"}]},
    ),
    "names and lists of messages": ("seed", 422, {"detail": {"seed": ["Unknown field."]}}),
    "a set in a text": ("top_p", 422, {"detail": "Unexpected fields in the request: {'top_p'}"}),
    "Rust, plain text": (
        "frequency_penalty",
        422,
        "Failed to deserialize the JSON body: unknown field `frequency_penalty`, expected one of `messages`, `seed`",
    ),
    "OpenRouter, effort": (
        "reasoning_effort",
        400,
        {"error": {"message": "Reasoning is mandatory for this endpoint and cannot be disabled."}},
    ),
    "a gateway's own": (
        "temperature",
        400,
        {"error": {"message": "UnsupportedParamsError: o3 models don't support temperature=0.7. Only 1 is supported."}},
    ),
    "is not a supported parameter": ("top_p", 400, {"detail": "'top_p' is not a supported parameter for tiny"}),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_parameter_that_is_refused_is_dropped_once_for_all(
    case: str, faulty: Any, reply: Any, good: Any, logs: Any, at_once: Any
) -> None:
    name, status, body = REFUSED[case]

    def answer(_head: str, sent: dict[str, Any]) -> Any:
        text = body if isinstance(body, str) else json.dumps(body)
        return reply(status, text) if name in sent else good("taken")

    server = faulty(answer)
    async with client(server) as model:
        found = await at_once(model.complete, [request(SCHEMA), *(request(text=f"{at}") for at in range(8))])
        assert [each.text for each in found] == ["taken"] * 9
        before = server.count
        await model.complete(request(text="later"))
        assert server.count == before + 1
    assert len(warnings(logs)) == 1, warnings(logs)
    assert name in warnings(logs)[0]
    assert {"temperature", "top_p", "frequency_penalty", "seed"} - {name} <= server.requests[-1][1].keys()
    assert model.response_format == "json_schema"


@pytest.mark.parametrize("old", ["max_tokens", "max_completion_tokens"])
async def test_the_limit_of_a_reply_has_two_names(old: str, faulty: Any, reply: Any, good: Any, logs: Any) -> None:
    new = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}[old]

    def answer(_head: str, sent: dict[str, Any]) -> Any:
        words = f"Unsupported parameter: '{old}' is not supported with this model. Use '{new}' instead."
        return reply(400, openai(old, words)) if old in sent else good()

    server = faulty(answer)
    async with client(server, provider="openai" if old != "max_tokens" else None) as model:
        await model.complete(request())
        await model.complete(request())
    assert server.count == 3
    assert server.requests[-1][1][new] >= 100
    assert sum("sent instead" in each for each in warnings(logs)) == 1


async def test_no_limit_is_sent_where_both_names_are_refused(faulty: Any, reply: Any, good: Any) -> None:
    def answer(_head: str, sent: dict[str, Any]) -> Any:
        wrong = sent.keys() & {"max_tokens", "max_completion_tokens"}
        return reply(422, fastapi(min(wrong))) if wrong else good()

    server = faulty(answer)
    async with client(server) as model:
        await model.complete(request())
    assert server.count == 3


UNTOUCHED = {
    "out of range": (400, {"error": {"message": "temperature must be between 0 and 1", "param": "temperature"}}),
    "out of range, 422": (422, fastapi("top_p", kind="less_than_equal", words="Input should be less than 1")),
    "too many tokens": (400, {"error": {"message": "max_tokens is too large: 100. At most 64 are supported"}}),
    "messages": (422, fastapi("messages", 0, "name")),
    "a message that quotes": (
        400,
        openai("messages", "Invalid value in 'messages[1].content': 'temperature' is not supported", "invalid_value"),
    ),
    "another field": (422, fastapi("stream_options")),
    "another field in words": (
        400,
        {"error": {"message": "Unknown parameter: 'stream_options'.", "param": "stream_options"}},
    ),
    "too long for the limit of a minute": (
        413,
        {"error": {"message": "Request too large: Limit 6000, Requested 7000", "code": "rate_limit_exceeded"}},
    ),
    "too long": (400, {"error": {"message": "This model's maximum context length is 8192 tokens, top_p or not"}}),
}


@pytest.mark.parametrize("case", UNTOUCHED)
async def test_what_is_no_refused_parameter_is_one_error_at_once(case: str, faulty: Any, reply: Any, logs: Any) -> None:
    status, body = UNTOUCHED[case]
    server = faulty(reply(status, body))
    async with client(server) as model:
        with pytest.raises(ModelRequestError) as caught:
            await model.complete(request(SCHEMA))
    assert (server.count, warnings(logs)) == (1, [])
    if "field" in case:
        assert "stream_options" in str(caught.value)


async def test_a_parameter_of_the_users_own_is_never_dropped(faulty: Any, reply: Any) -> None:
    server = faulty(reply(400, openai("top_k", "Unsupported parameter: 'top_k'")))
    async with client(server, extra={"top_k": 5}) as model:
        with pytest.raises(ModelRequestError, match="top_k"):
            await model.complete(request())
    assert server.count == 1


async def test_a_server_that_refuses_everything_ends_in_its_first_clear_error(faulty: Any, reply: Any) -> None:
    def answer(_head: str, sent: dict[str, Any]) -> Any:
        name = next(iter(sent))
        return reply(400, {"error": {"message": f"'{name}' is not supported"}})

    server = faulty(answer)
    async with client(server) as model:
        with anyio.fail_after(10), pytest.raises(ModelRequestError, match="is not supported"):
            await model.complete(request(SCHEMA))
    assert server.count <= 16


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "System role not supported"),
        (500, "System role not supported"),
        (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (400, "Only user and assistant roles are supported!"),
        (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
        (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        (400, "messages.0.role: Input should be 'user' or 'assistant'"),
        (400, "role 'system' is not supported"),
        (400, "'system' role messages are not supported for this model"),
        (400, "Invalid 'messages[0].role': must be one of user, assistant."),
    ],
)
async def test_a_model_without_a_system_role_gets_it_in_the_first_message(
    status: int, words: str, faulty: Any, reply: Any, good: Any, logs: Any, at_once: Any
) -> None:
    def answer(_head: str, sent: dict[str, Any]) -> Any:
        roles = [each["role"] for each in sent["messages"]]
        return good() if "system" not in roles else reply(status, {"error": {"message": words}})

    server = faulty(answer)
    async with client(server) as model:
        await at_once(model.complete, [request(), request(SCHEMA)])
        await model.complete(request())
    assert server.requests[-1][1]["messages"] == [{"role": "user", "content": "Be kind.\n\nhello"}]
    assert server.count == 5
    assert len(warnings(logs)) == 1


# -- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "bad", "left"),
    [
        ("Invalid schema for response_format 'reply': 'minimum' is not permitted.", "minimum", "additionalProperties"),
        (
            "Invalid JSON payload received. Unknown name \"additionalProperties\" at 'generation_config'",
            "additionalProperties",
            "required",
        ),
    ],
)
async def test_a_schema_is_asked_for_without_keywords_first(
    words: str, bad: str, left: str, faulty: Any, reply: Any, good: Any, logs: Any
) -> None:
    def answer(_head: str, sent: dict[str, Any]) -> Any:
        return reply(400, {"error": {"message": words}}) if bad in json.dumps(sent) else good()

    server = faulty(answer)
    async with client(server) as model:
        for _ in range(2):
            await model.complete(request(SCHEMA))
    sent = server.requests[-1][1]["response_format"]
    assert (server.count, sent["type"], model.step_downs, len(warnings(logs))) == (3, "json_schema", 1, 1)
    assert left in sent["json_schema"]["schema"]
    assert sent["json_schema"]["strict"] == ("additionalProperties" in sent["json_schema"]["schema"])


PASSING_400 = [
    {"error": {"message": "Failed to generate JSON. Please adjust your prompt.", "code": "json_validate_failed"}},
    {"error": {"message": "Generated JSON does not match the expected schema.", "code": "json_validate_failed"}},
    {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": "upstream hiccup"}}},
    {"error": {"message": "The model produced invalid content.", "type": "invalid_request_error"}},
]


@pytest.mark.parametrize("body", PASSING_400)
async def test_a_passing_400_is_a_failed_reply_and_the_format_stays(
    body: Any, faulty: Any, reply: Any, good: Any
) -> None:
    server = faulty(reply(400, body), good())
    async with client(server) as model:
        with pytest.raises(ModelResponseError):
            await model.complete(request(SCHEMA))
        await model.complete(request(SCHEMA))
    assert server.count == 2
    assert server.requests[1][1]["response_format"]["type"] == "json_schema"
    assert model.step_downs == 0


async def test_stop_is_not_sent_and_replies_end_there(faulty: Any, good: Any) -> None:
    server = faulty(good("One.\n\nTwo.\n\nThree."))
    async with client(server) as model:
        completion = await model.complete(request(sampling=Sampling(stop=("\n\n", "Two"))))
    assert completion.text == "One."
    assert "stop" not in server.requests[0][1]


# -- room for reasoning --------------------------------------------------------------------------------------------


def thinker(reply: Any, needs: int, names: Any = ("max_tokens", "max_completion_tokens")) -> Any:
    def answer(_head: str, sent: dict[str, Any]) -> Any:
        limit = next(sent[name] for name in names if name in sent)
        spent = min(limit, needs)
        usage = {
            "prompt_tokens": 10,
            "completion_tokens": spent,
            "completion_tokens_details": {"reasoning_tokens": spent},
        }
        return reply_with(reply, "", "length", usage) if limit < needs else reply_with(reply, "said", "stop", usage)

    return answer


async def test_a_reply_without_room_is_asked_for_once_more_and_both_are_paid(
    faulty: Any, reply: Any, logs: Any, at_once: Any
) -> None:
    server = faulty(thinker(reply, 500))
    async with client(server) as model:
        first, *_ = await at_once(model.complete, [request(), request(text="a"), request(text="b")])
        assert (first.text, first.usage.completion_tokens, first.usage.prompt_tokens) == ("said", 600, 20)
        count = server.count
        assert (await model.complete(request())).usage.completion_tokens == 500
        assert server.count == count + 1
    assert len(warnings(logs)) == 1
    assert "--max-reply-tokens" in warnings(logs)[0]


async def test_room_is_bounded_and_the_last_reply_is_told_as_cut(faulty: Any, reply: Any) -> None:
    server = faulty(thinker(reply, 10**6))
    async with client(server) as model:
        for _ in range(4):
            cut = await model.complete(request())
            assert (cut.text, cut.finish_reason) == ("", "length")
    limits = [body["max_tokens"] for _, body in server.requests]
    assert limits == [100, 800, 800, 6400, 6400, 6400]


async def test_room_that_the_server_refuses_is_given_back(faulty: Any, reply: Any) -> None:
    def answer(head: str, sent: dict[str, Any]) -> Any:
        if sent["max_tokens"] > 400:
            return reply(400, {"error": {"message": "max_tokens is too large: at most 400 are allowed"}})
        return thinker(reply, 500)(head, sent)

    server = faulty(answer)
    async with client(server) as model:
        assert (await model.complete(request())).finish_reason == "length"
        assert (await model.complete(request())).finish_reason == "length"
    assert [body["max_tokens"] for _, body in server.requests] == [100, 800, 100]


async def test_a_model_that_says_in_an_error_that_it_ran_out_of_tokens_gets_more(faulty: Any, reply: Any) -> None:
    def answer(head: str, sent: dict[str, Any]) -> Any:
        if sent["max_tokens"] < 500:
            words = (
                "Could not finish the message because max_tokens or model output limit was reached. Please try again."
            )
            return reply(400, {"error": {"message": words, "type": "invalid_request_error"}})
        return thinker(reply, 500)(head, sent)

    server = faulty(answer)
    async with client(server) as model:
        assert (await model.complete(request())).text == "said"
    assert [body["max_tokens"] for _, body in server.requests] == [100, 800]


async def test_tokens_that_are_not_in_the_reply_were_reasoning(faulty: Any, reply: Any) -> None:
    server = faulty(reply_with(reply, None, "stop", {"prompt_tokens": 300, "completion_tokens": 5000}))
    async with client(server) as model:
        completion = await model.complete(request())
    assert (completion.text, completion.usage) == ("", Usage(300, 5000, 0, 5000))


async def test_a_limit_that_the_user_chose_stays(faulty: Any, reply: Any) -> None:
    server = faulty(thinker(reply, 500))
    async with client(server, reasoning_headroom=False) as model:
        assert (await model.complete(request())).usage.completion_tokens == 100
        await model.complete(request())
    assert [body["max_tokens"] for _, body in server.requests] == [100, 100]


async def test_a_long_reply_of_a_model_that_does_not_reason_is_cut_as_before(faulty: Any, reply: Any) -> None:
    server = faulty(reply_with(reply, "So much to", "length"))
    async with client(server) as model:
        assert (await model.complete(request())).text == "So much to"
    assert server.count == 1


async def test_a_whole_run_at_a_model_such_as_gpt_5(faulty: Any, reply: Any, logs: Any) -> None:
    def answer(head: str, sent: dict[str, Any]) -> Any:
        if "max_tokens" in sent:
            words = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            return reply(400, openai("max_tokens", words))
        if sent.get("temperature") not in (None, 1):
            words = "Unsupported value: 'temperature' does not support 0.7. Only the default (1) value is supported."
            return reply(400, openai("temperature", words, "unsupported_value"))
        for name in ("frequency_penalty", "top_p", "stop"):
            if name in sent:
                return reply(400, openai(name, f"Unsupported parameter: '{name}' is not supported with this model."))
        return thinker(reply, 200)(head, sent)

    server = faulty(answer)
    async with client(server) as model:
        for schema in (None, SCHEMA, None):
            assert (await model.complete(request(schema))).text == "said"
    assert server.count == 4 + 3
    assert len(warnings(logs)) == 5  # a parameter each, and the room


# -- how much to reason --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "effort", "sent"),
    [
        ("openai", "low", {"reasoning_effort": "low"}),
        ("gemini", "none", {"reasoning_effort": "none"}),
        ("ollama", "none", {"reasoning_effort": "none"}),
        ("openrouter", "high", {"reasoning": {"effort": "high"}}),
        ("openrouter", "none", {"reasoning": {"effort": "none"}}),
        ("anthropic", "none", {"thinking": {"type": "disabled"}}),
        ("anthropic", "medium", {"thinking": {"type": "enabled", "budget_tokens": 4096}, "max_tokens": 4196}),
        ("deepseek", "none", {"thinking": {"type": "disabled"}}),
        ("deepseek", "high", {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
        ("vllm", "none", {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
        ("vllm", "high", {"reasoning_effort": "high"}),
    ],
)
async def test_every_family_is_told_in_its_own_way(
    provider: str, effort: Any, sent: Any, faulty: Any, good: Any
) -> None:
    server = faulty(good())
    async with client(server, provider=provider) as model:
        await model.complete(request(sampling=Sampling(max_tokens=100, reasoning_effort=effort)))
        await model.complete(request(sampling=Sampling(max_tokens=100)))
    assert sent.items() <= server.requests[0][1].items()
    names = PROVIDERS[provider].effort_fields(effort).keys()
    assert not names & server.requests[1][1].keys()


@pytest.mark.parametrize(
    ("listed", "instead"),
    [("'minimal', 'low', 'medium', and 'high'", "minimal"), ("'low', 'medium', and 'high'", "low"), ("'high'", None)],
)
async def test_none_becomes_the_least_that_the_model_takes(
    listed: str, instead: Any, faulty: Any, reply: Any, good: Any, logs: Any
) -> None:
    def answer(_head: str, sent: dict[str, Any]) -> Any:
        if sent.get("reasoning_effort") == "none":
            words = f"Unsupported value: 'reasoning_effort' does not support 'none'. Supported values are: {listed}."
            return reply(400, openai("reasoning_effort", words, "unsupported_value"))
        return good()

    server = faulty(answer)
    async with client(server, provider="openai") as model:
        for _ in range(2):
            await model.complete(request(sampling=Sampling(reasoning_effort="none")))
        await model.complete(request(sampling=Sampling(reasoning_effort="high")))
    assert server.requests[1][1].get("reasoning_effort") == instead
    assert server.requests[3][1]["reasoning_effort"] == "high"
    assert (server.count, len(warnings(logs))) == (4, 1)


# -- kinds of failure ----------------------------------------------------------------------------------------------

ACCOUNT = {
    "OpenAI, no credit": (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}),
    "no code, no wait": (429, {"error": {"message": "You exceeded your current quota, please check your plan."}}),
    "Moonshot": (
        429,
        {"error": {"message": "Your account org-x is suspended", "type": "exceeded_current_quota_error"}},
    ),
    "DeepSeek": (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}),
    "OpenRouter, 200": (200, {"error": {"code": 402, "message": "Insufficient credits. Add more."}, "user_id": "u"}),
    "Anthropic": (400, {"error": {"message": "Your credit balance is too low to access the Anthropic API."}}),
    "402 without words": (402, ""),
    "401": (401, {"error": {"message": "Incorrect API key provided"}}),
    "Google, key": (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}]),
    "403": (403, {"error": {"message": "You have insufficient permissions"}}),
    "OpenAI, model": (404, {"error": {"message": "The model `gpt-9` does not exist", "code": "model_not_found"}}),
    "OpenRouter, model": (400, {"error": {"message": "foo/bar is not a valid model ID", "code": 400}}),
    "Mistral, model": (400, {"object": "error", "message": "Invalid model: foo-1.5", "code": "1500"}),
    "DeepSeek, model": (400, {"error": {"message": "Model Not Exist"}}),
    "Ollama, model": (404, {"error": {"message": "model 'llama9:1b' not found, try pulling it first"}}),
    "Groq, model": (
        400,
        {"error": {"message": "The model `x-1.1` has been decommissioned", "code": "model_decommissioned"}},
    ),
    "LM Studio": (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
    "no such path": (404, {"detail": "Not Found"}),
    "a page's path": (405, "<html>Method Not Allowed</html>"),
    "a redirect": (308, ""),
    "a code in a 200": (200, {"code": "1113", "msg": "Insufficient balance. Please recharge.", "success": False}),
    "MiniMax": (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
    "Zhipu": (429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}),
    "an error without an object": (200, {"error": "Insufficient credits"}),
    "Anthropic, a limit of one's own": (
        429,
        {"error": {"message": "You have reached your specified API usage limits."}},
    ),
    "OpenRouter, a key's limit": (403, {"error": {"message": "Key limit exceeded (monthly limit).", "code": 403}}),
    "no chat model": (400, {"error": 'model "tiny" does not support chat'}),
    "a firewall's page": (403, "<html><title>Just a moment...</title></html>"),
    "unauthorized in a 200": (200, {"message": "Unauthorized"}),
    "TLS wanted": (400, "Client sent an HTTP request to an HTTPS server.\n"),
}


@pytest.mark.parametrize("case", ACCOUNT)
async def test_what_holds_for_every_call_says_what_to_do(case: str, faulty: Any, reply: Any, logs: Any) -> None:
    status, body = ACCOUNT[case]
    server = faulty(reply(status, json.dumps(body) if isinstance(body, list) else body))
    async with client(server) as model:
        with pytest.raises(ModelAccountError, match=r"\(.*(check|give|see to|set|fetch|write)") as caught:
            await model.complete(request(SCHEMA))
    assert (server.count, warnings(logs)) == (1, [])
    assert len(str(caught.value)) < 700


FILTERED = {
    "Azure": (
        400,
        {"error": {"message": "The response was filtered", "code": "content_filter", "innererror": {"code": "x"}}},
    ),
    "OpenAI": (400, {"error": {"message": "Your request was rejected", "code": "content_policy_violation"}}),
    "OpenAI, prompt": (400, {"error": {"message": "Invalid prompt: flagged as violating our usage policy."}}),
    "OpenRouter": (
        403,
        {"error": {"code": 403, "message": "Your chosen model requires moderation; input was flagged"}},
    ),
    "xAI": (403, {"code": "403", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}),
    "Bedrock": (400, {"message": "The model returned: guardrail_intervened"}),
    "DeepSeek": (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}),
    "Alibaba": (
        400,
        {"error": {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}},
    ),
    "in a 200": (200, {"error": {"code": 403, "message": "blocked by the safety filter"}}),
    "Google, in a 200": (200, {"choices": [], "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
    "a gateway's 500": (500, {"error": {"message": "The prompt was filtered", "code": "content_filter"}}),
    "for legal reasons": (451, {"error": {"message": "Unavailable"}}),
    "moderation": (400, {"detail": "Content blocked by moderation"}),
    "Zhipu": (400, {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}),
}


@pytest.mark.parametrize("case", FILTERED)
async def test_a_filtered_prompt_is_a_refusal_at_once(case: str, faulty: Any, reply: Any) -> None:
    server = faulty(reply(*FILTERED[case]))
    async with client(server) as model:
        with pytest.raises(ModelRefusedError) as caught:
            await model.complete(request(SCHEMA))
    assert (caught.value.reason, server.count) == ("content_filter", 1)


@pytest.mark.parametrize(
    ("status", "body", "kind", "inner"),
    [
        (200, {"error": {"code": 429, "message": "Provider returned error"}}, ModelUnavailableError, 429),
        (200, {"error": {"code": 502, "message": "Upstream died"}}, ModelUnavailableError, 502),
        (200, {"error": {"message": "Rate limit exceeded, wait a minute"}}, ModelUnavailableError, 429),
        (200, {"error": {"message": "upstream died"}}, ModelResponseError, 200),
        (400, {"error": {"message": "ThrottlingException: Too many requests"}}, ModelUnavailableError, 400),
        (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, ModelUnavailableError, 529),
        (524, "<!DOCTYPE html><html>A timeout occurred</html>", ModelUnavailableError, 524),
        (404, {"error": {"message": "model is loading, try again later"}}, ModelUnavailableError, 503),
        (500, {"error": "Model tiny is currently loading", "estimated_time": 20.0}, ModelUnavailableError, 503),
        (200, {"error": "Rate limit exceeded"}, ModelUnavailableError, 429),
        (200, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, ModelUnavailableError, 429),
        (
            429,
            {"error": {"message": "Upgrade at x/billing", "code": "rate_limit_exceeded"}},
            ModelUnavailableError,
            429,
        ),
    ],
)
async def test_what_passes_is_told_so(status: int, body: Any, kind: Any, inner: int, faulty: Any, reply: Any) -> None:
    server = faulty(reply(status, body))
    async with client(server) as model:
        with pytest.raises(ModelError) as caught:
            await model.complete(request(SCHEMA))
    assert (type(caught.value), caught.value.status, server.count) == (kind, inner, 1)


# -- shapes of replies ---------------------------------------------------------------------------------------------

WHOLE = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}
CHUNK = {"choices": [{"delta": {"content": "Hi"}, "index": 0}]}


@pytest.mark.parametrize(
    "body",
    [
        "\n         \n\n        " + json.dumps(WHOLE),
        ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n" + json.dumps(WHOLE),
        "data: " + json.dumps(WHOLE) + "\n\ndata: [DONE]\n\n",
        "\ufeff" + json.dumps(WHOLE),
    ],
)
async def test_a_whole_reply_is_read_with_what_stands_around_it(body: str, faulty: Any, reply: Any) -> None:
    async with client(faulty(reply(200, body))) as model:
        assert (await model.complete(request())).text == "fine"


@pytest.mark.parametrize(
    ("body", "words", "lasting"),
    [
        ("<!doctype html><html><title>Open WebUI</title></html>", r"a web page \(Open WebUI\).*base_url", True),
        ("<html>Sign in</html>", "a web page, not a completion", True),
        ("data: " + json.dumps(CHUNK) + "\n\ndata: [DONE]\n\n", "streams its reply", True),
        (": hello\n\nevent: message\ndata: " + json.dumps(CHUNK) + "\n\n", "streams its reply", True),
        ("", "empty", False),
        ('{"choices": [{"mess', "not JSON.*broke off", False),
        ("Bad gateway", "not JSON: 'Bad gateway'", False),
    ],
)
async def test_what_is_no_reply_says_what_it_is(body: str, words: str, lasting: bool, faulty: Any, reply: Any) -> None:
    async with client(faulty(reply(200, body))) as model:
        with pytest.raises(ModelResponseError, match=words) as caught:
            await model.complete(request())
    assert caught.value.lasting is lasting


SHAPES = {
    "no index": {"message": {"content": "fine"}, "finish_reason": "stop"},
    "no reason": {"message": {"content": "fine"}},
    "a reason in capitals": {"message": {"content": "fine"}, "finish_reason": "STOP"},
    "a constant's name": {"message": {"content": "fine"}, "finish_reason": "FinishReason.STOP"},
    "the form of old completions": {"text": "fine", "finish_reason": "stop"},
    "one part that is in no list": {"message": {"content": {"type": "text", "text": "fine"}}, "finish_reason": "stop"},
    "parts that are null": {"message": {"content": [None, {"type": "text", "text": "fine"}]}, "finish_reason": "stop"},
    "parts that are text": {"message": {"content": ["fi", "ne"]}, "finish_reason": "stop"},
    "null beside": {"message": {"content": "fine", "refusal": None, "tool_calls": None}, "finish_reason": "stop"},
    "details of reasoning": {
        "message": {"content": "fine", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
        "finish_reason": "stop",
    },
    "a part of reasoning": {
        "message": {"content": [{"type": "reasoning.text", "text": "Hm."}, {"type": "text", "text": "fine"}]},
        "finish_reason": "stop",
    },
}


@pytest.mark.parametrize("case", SHAPES)
async def test_a_choice_is_read_in_every_form(case: str, faulty: Any, reply: Any) -> None:
    async with client(faulty(reply(200, {"choices": [SHAPES[case]]}))) as model:
        completion = await model.complete(request())
    assert (completion.text, completion.thought) == ("fine", "Hm." if "reasoning" in case else "")
    assert completion.finish_reason in ("stop", "other")


SORRY = "I'm sorry, but I can't assist with that request."
REFUSALS = {
    "a field": {"message": {"content": None, "refusal": SORRY}, "finish_reason": "stop"},
    "a field that is an object": {"message": {"content": "", "refusal": {"text": SORRY}}, "finish_reason": "stop"},
    "a field that says yes": {"message": {"content": "", "refusal": True}, "finish_reason": "stop"},
    "a field beside what was begun": {"message": {"content": "I hear", "refusal": SORRY}, "finish_reason": "stop"},
    "a part": {"message": {"content": [{"type": "refusal", "refusal": SORRY}]}, "finish_reason": "stop"},
    "a part after what was begun": {
        "message": {"content": [{"type": "text", "text": "I hear"}, {"type": "refusal", "refusal": SORRY}]},
        "finish_reason": "stop",
    },
    "a reason": {"message": {"content": ""}, "finish_reason": "refusal"},
    "the text": {"message": {"content": SORRY}, "finish_reason": "stop"},
    "the text after a thought": {"message": {"content": f"<think>No.</think>{SORRY}"}, "finish_reason": "stop"},
    "the word of the model behind a gateway": {
        "message": {"content": "I hear"},
        "finish_reason": "stop",
        "native_finish_reason": "refusal",
    },
    "a filter, in capitals": {"message": {"content": "I hear"}, "finish_reason": "SAFETY"},
    "a filter, with its reason": {
        "message": {"role": "assistant"},
        "finish_reason": "content_filter: PROHIBITED_CONTENT",
    },
    "a filter, a constant's name": {"message": {"content": "I hear"}, "finish_reason": "FINISH_REASON_SAFETY"},
    "a filter behind a gateway": {
        "message": {"content": "I hear"},
        "finish_reason": None,
        "native_finish_reason": "PROHIBITED_CONTENT",
    },
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_is_known_in_every_form(case: str, faulty: Any, reply: Any) -> None:
    async with client(faulty(reply(200, {"choices": [REFUSALS[case]]}))) as model:
        completion = await model.complete(request())
    assert completion.finish_reason == ("content_filter" if "filter" in case else "refusal")


async def test_nobody_listens_is_told_with_its_cause(faulty: Any) -> None:
    server = faulty("close")
    server.close()
    async with client(server) as model:
        with pytest.raises(ModelUnavailableError, match="nobody listens there") as caught:
            await model.complete(request())
    assert caught.value.lasting


async def test_tls_to_a_plain_port_is_told_with_its_cause() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        async with OpenAIChat("m", base_url=address, api_key="", timeout=5) as model:
            with pytest.raises(ModelUnavailableError, match="does not speak TLS"):
                await model.complete(request())
        thread.join(5)


@pytest.mark.parametrize("end", ["/chat/completions", "/chat/completions/", "/"])
async def test_the_whole_address_of_the_call_is_as_good(end: str, faulty: Any, good: Any) -> None:
    server = faulty(good())
    async with OpenAIChat("m", base_url=server.url + end, api_key="") as model:
        await model.complete(request())
    assert server.requests[0][0].startswith("POST /v1/chat/completions ")


USAGE = {
    "plain": ({"prompt_tokens": 300, "completion_tokens": 30, "total_tokens": 330}, Usage(300, 30)),
    "fractions": ({"prompt_tokens": 1000.0, "completion_tokens": 100.0}, Usage(1000, 100)),
    "reasoning inside": (
        {"prompt_tokens": 300, "completion_tokens": 150, "completion_tokens_details": {"reasoning_tokens": 120}},
        Usage(300, 150, 0, 120),
    ),
    "reasoning in the total alone": (
        {"prompt_tokens": 300, "completion_tokens": 30, "total_tokens": 1330},
        Usage(300, 1030, 0, 1000),
    ),
    "reasoning beside it": (
        {
            "prompt_tokens": 300,
            "completion_tokens": 30,
            "total_tokens": 1330,
            "completion_tokens_details": {"reasoning_tokens": 1000},
        },
        Usage(300, 1030, 0, 1000),
    ),
    "thought alone": ({"prompt_tokens": 300, "total_tokens": 428}, Usage(300, 128)),
    "cached": ({"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 800}}, Usage(1000, 0, 800)),
    "DeepSeek's cached": ({"prompt_tokens": 1000, "prompt_cache_hit_tokens": 800}, Usage(1000, 0, 800)),
    "Anthropic's words": ({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 4}, Usage(10, 5, 4)),
    "Anthropic's own, beside what was cached": (
        {"input_tokens": 200, "output_tokens": 5, "cache_read_input_tokens": 800},
        Usage(1000, 5, 800),
    ),
    "texts": ({"prompt_tokens": "300", "completion_tokens": "30", "total_tokens": "1330.0"}, Usage(300, 1030, 0, 1000)),
    "camel case": ({"promptTokens": 300, "completionTokens": 30, "reasoningTokens": 20}, Usage(300, 30, 0, 20)),
    "Google's own": (
        {"prompt_token_count": 300, "candidates_token_count": 30, "thoughts_token_count": 100},
        Usage(300, 130, 0, 100),
    ),
    "reasoning beside it, without a total": (
        {"prompt_tokens": 300, "completion_tokens": 30, "completion_tokens_details": {"reasoning_tokens": 1000}},
        Usage(300, 1030, 0, 1000),
    ),
    "vLLM's cached": ({"prompt_tokens": 1000, "num_cached_tokens": 800}, Usage(1000, 0, 800)),
    "a gateway's cached": ({"prompt_tokens": 9, "prompt_tokens_details": {"cache_read_tokens": 8}}, Usage(9, 0, 8)),
    "more cached than read": ({"prompt_tokens": 5, "cached_tokens": 80}, Usage(5, 0, 5)),
    "nonsense": ({"prompt_tokens": "many", "completion_tokens": -1, "total_tokens": True}, Usage()),
    "infinity": ({"prompt_tokens": float("inf"), "completion_tokens": float("nan")}, Usage()),
    "null": (None, Usage()),
}  # fmt: skip


@pytest.mark.parametrize("case", USAGE)
def test_tokens_are_counted_as_they_are_billed(case: str) -> None:
    told, usage = USAGE[case]
    assert parse_usage(told) == usage


# -- providers -----------------------------------------------------------------------------------------------------


def test_every_provider_has_its_address_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/")
    for name, row in PROVIDERS.items():
        if row.key_variable is not None:
            monkeypatch.delenv(row.key_variable, raising=False)
            with pytest.raises(ConfigError, match=row.key_variable):
                chat_model(f"{name}/some-model")
            monkeypatch.setenv(row.key_variable, f"sk-key-of-{name}-0123456789")
        model = chat_model(f"{name}/some-model")
        assert model.model == "some-model"
        assert row.address in repr(model)
        assert "sk-key" not in repr(model)
        assert model.identity.startswith("some-model@http")


async def test_azures_key_goes_in_a_header_of_its_own(faulty: Any, good: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = faulty(good())
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url.removesuffix("/v1"))
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key-0123456789")
    await chat_model("azure/gpt-mine").complete(request())
    monkeypatch.setenv("AZURE_OPENAI_API_VERSION", "2025-01-01-preview")
    await chat_model("azure/gpt-mine").complete(request())
    heads = [head.lower() for head, _ in server.requests]
    assert heads[0].startswith("post /openai/v1/chat/completions ")
    assert heads[1].startswith("post /openai/deployments/gpt-mine/chat/completions?api-version=2025-01-01-preview ")
    assert all("api-key: azure-key-0123456789" in head and "authorization" not in head for head in heads)
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT")
    with pytest.raises(ConfigError, match="AZURE_OPENAI_ENDPOINT"):
        chat_model("azure/gpt-mine")


ACME = """
from mctsdialog.llm.providers import Provider


class Acme(Provider):
    def effort_fields(self, effort):
        return {"ponder": effort != "none"}


PROVIDER = Acme("acme", "https://api.acme.example/v1", "ACME_API_KEY", tokens="max_completion_tokens")
"""


def test_a_provider_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme.py").write_text(ACME, "utf-8")
    monkeypatch.setattr(providers, "__path__", [*providers.__path__, str(tmp_path)])
    monkeypatch.setattr(providers, "PROVIDERS", providers.discover())
    monkeypatch.setenv("ACME_API_KEY", "sk-key-of-acme-0123456789")
    asked = ChatRequest((Message("user", "hello"),), Sampling(max_tokens=9, reasoning_effort="low"))
    sent = {"model": "big", "messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 9}
    for model in (chat_model("acme/big"), OpenAIChat("big", base_url="https://api.acme.example/v1/")):
        assert model.address == "https://api.acme.example/v1"
        assert model.body(asked) == sent | {"ponder": True}
    with pytest.raises(ConfigError, match="acme, anthropic"):
        OpenAIChat("big", provider="acmee")
    assert "acme" not in PROVIDERS


def test_two_servers_with_one_model_are_two_models() -> None:
    one, two = (OpenAIChat("m", base_url=f"http://{host}.example/v1", api_key="") for host in "ab")
    assert one.name == two.name
    assert one.identity != two.identity
    assert OpenAIChat("m", base_url="http://a.example/v1/", api_key="").identity == one.identity
    assert OpenAIChat("m", base_url="http://a.example/v1", api_key="", extra={"a": 1}).identity != one.identity
    assert OpenAIChat("m", name="mine", base_url="http://b.example/v1", api_key="").identity == "mine"


def test_an_unknown_provider_is_told() -> None:
    with pytest.raises(ConfigError, match="groq"):
        OpenAIChat("m", base_url="http://a.example/v1", provider="grok")
    with pytest.raises(ConfigError, match="OpenAIChat"):
        chat_model("groq/x", base_url="http://a.example")


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[]", b"[[[]]]", b"null", b'{"error": {"error": {"error": {}}}}', b"[" * 9999]
)
def test_odd_errors_have_words(body: bytes) -> None:
    assert isinstance(read_error_body(400, body).message, str)


@pytest.mark.parametrize(
    ("model", "better"), [("openai:gpt-4o-mini", "openai/gpt-4o-mini"), ("OpenRouter:a/b", "openrouter/a/b")]
)
def test_a_provider_with_a_colon_is_told_how_it_is_written(model: str, better: str, monkeypatch: Any) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=f"a provider is written PROVIDER/NAME, as in {better}") as caught:
        OpenAIChat(model)
    assert caught.value.field == "model"
    assert OpenAIChat("ft:gpt-4o:mine", api_key="sk-x").model == "ft:gpt-4o:mine"
    assert OpenAIChat(model, base_url="http://127.0.0.1:9/v1").model == model
