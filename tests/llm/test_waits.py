"""How long servers ask to wait, wherever they say so, and how long they are waited for."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.errors import ModelAccountError, ModelResponseError, ModelUnavailableError
from mctsdialog.llm import (
    Budget,
    Completion,
    Meter,
    OpenAIChat,
    Price,
    Retry,
    RetryingModel,
    ScriptedModel,
    Usage,
    build_stack,
)
from mctsdialog.llm._openai.retry_after import asked_wait

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

HOUR = pytest.approx(3600, abs=60)
FORMS = {
    "DATE": lambda then: format_datetime(then, usegmt=True),
    "ISO": lambda then: then.isoformat(),
    "EPOCH": lambda then: str(then.timestamp()),
    "EPOCH MS": lambda then: str(int(1000 * then.timestamp())),
}


def in_an_hour(text: str) -> str:
    """``text``, or for the name of a form the moment in an hour in that form."""
    return FORMS[text](datetime.now(UTC) + timedelta(hours=1)) if text in FORMS else text


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "20s"}, 20),
        ({"retry-after-ms": "1700", "Retry-After": "60"}, 1.7),
        ({"retry-after": "3, 3"}, 3),
        ({"x-retry-after": "4"}, 4),
        ({"x-ratelimit-retry-after": "4"}, 4),
        ({"retry-after-seconds": "9"}, 9),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"x-rate-limit-reset": "5"}, 5),
        ({"ratelimit": "limit=10, remaining=0, reset=7"}, 7),
        ({"retry-after": "DATE"}, HOUR),
        ({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}, 30),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"X-RateLimit-Reset-Tokens": "1.5s"}, 1.5),
        ({"x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-reset": "EPOCH"}, HOUR),
        ({"x-ratelimit-reset": "EPOCH MS"}, HOUR),
        ({"x-ratelimit-reset": "ISO"}, HOUR),
        ({"ratelimit-reset": "12"}, 12),
        ({"ratelimit": '"default";r=0;t=30'}, 30),
        ({"ratelimit": '"default";r=5;t=30'}, None),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "ISO"}, HOUR),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "3s",
                "x-ratelimit-remaining-tokens": "5000",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            3,
        ),
        ({"x-ratelimit-remaining-tokens": "10", "x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"x-ratelimit-reset-requests": "99999999999999999999"}, None),
        ({}, None),
    ],
)
def test_waits_in_headers(headers: dict[str, str], wait: Any) -> None:
    headers = {name: in_an_hour(value) for name, value in headers.items()}
    assert asked_wait(headers, None, "", limited=True) == (wait if wait is None else pytest.approx(wait))


def test_a_reset_counts_for_a_limit_alone() -> None:
    assert asked_wait({"x-ratelimit-reset-requests": "30s"}, None, "", limited=False) is None


@pytest.mark.parametrize(
    ("message", "wait"),
    [
        ("Rate limit reached. Please try again in 48.5s.", 48.5),
        ("Please retry in 34.07s.", 34.07),
        ("Please try again in 2m59.56s. Need more?", 179.56),
        ("Please retry after 20 seconds", 20),
        ("Rate limit: try again in 120ms.", 0.12),
        ("Please wait for 3 minutes", 180),
        ("Limit reached, please try again in 1 hour 3 minutes.", 3780),
        ("Your quota resets in 1h2m.", 3720),
        ("Please wait 2 seconds before retrying", 2),
        ("Wait 1m30s", 90),
        ("Next request allowed in 7s", 7),
        ("Cooldown: 15s", 15),
        ("The model is loading, estimated time 20.0 s", 20),
        ("Please wait and try again in a minute", 60),
        ("rate limited; retry-after: 4", 4),
        ("retry_after=2.5", 2.5),
        ("Limit 20 requests per 60 seconds", None),
        ("try again later", None),
        ("Retry in a while; 3 of 4 seconds", None),
    ],
)
def test_waits_in_words(message: str, wait: Any) -> None:
    assert asked_wait({}, None, message, limited=True) == (wait if wait is None else pytest.approx(wait))


@pytest.mark.parametrize(
    ("data", "wait"),
    [
        ([{"error": {"code": 429, "details": [{"@type": "x"}, RETRY_INFO]}}], 34),
        ({"error": {"details": [{**RETRY_INFO, "retryDelay": {"seconds": 12}}]}}, 12),
        ({"error": {"retry_after": 3.5}}, 3.5),
        ({"retry_after_ms": 250}, 0.25),
        ({"error": "Model is currently loading", "estimated_time": 20.0}, 20),
        ({"retry_in": 4}, 4),
        ({"error": {"retry_after": True}}, None),
        ("text", None),
    ],
)
def test_waits_in_the_body(data: Any, wait: Any) -> None:
    assert asked_wait({}, data, "", limited=True) == wait


def test_waits_in_headers_that_a_gateway_quotes() -> None:
    data = {"error": {"metadata": {"headers": {"X-RateLimit-Reset": in_an_hour("EPOCH MS")}}}}
    assert asked_wait({}, data, "", limited=True) == HOUR


@given(
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset", "ratelimit"]), st.text()),
    st.recursive(st.none() | st.text() | st.floats(), lambda inner: st.dictionaries(st.text(), inner)),
    st.text(),
)
def test_a_wait_is_a_number_of_seconds_or_none(headers: Any, data: Any, message: str) -> None:
    wait = asked_wait(headers, data, message, limited=True)
    assert wait is None or 0 <= wait < float("inf")


# -- waiting -------------------------------------------------------------------------------------------------------


class Waits:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await anyio.sleep(0)


def waiting(script: ScriptedModel, retry: Retry | None = None) -> tuple[RetryingModel, Waits]:
    model, waits = RetryingModel(script, retry), Waits()
    model._sleep = waits
    return model, waits


def lines(logs: Any) -> list[str]:
    return [each.getMessage() for each in logs.records if each.levelname == "WARNING"]


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_a_busy_server_is_waited_for_some_minutes(status: int, ask: Any, logs: Any) -> None:
    busy = ModelUnavailableError("busy", status=status)
    model, waits = waiting(ScriptedModel(lambda request: busy))
    with pytest.raises((ModelUnavailableError, ModelAccountError)):
        await model.complete(ask())
    assert 150 < sum(waits.seconds) <= 301
    assert waits.seconds[4] > 2 * waits.seconds[1]
    assert len(lines(logs)) == 1  # of a moment, as no time passes here
    assert "busy" in lines(logs)[0]


async def test_patience_is_a_setting(ask: Any) -> None:
    busy = ModelUnavailableError("busy", status=503, retry_after=10.0)
    model, waits = waiting(ScriptedModel(lambda request: busy), Retry(patience=45, jitter=0))
    with pytest.raises(ModelUnavailableError):
        await model.complete(ask())
    assert waits.seconds == [10, 10, 10, 10]
    model, waits = waiting(ScriptedModel(lambda request: busy), Retry(attempts=2))
    with pytest.raises(ModelUnavailableError):
        await model.complete(ask())
    assert len(waits.seconds) == 1


async def test_a_wait_of_no_time_that_is_asked_for_again_and_again_grows(ask: Any) -> None:
    busy = ModelUnavailableError("busy", status=429, retry_after=0.0)
    script = ScriptedModel(lambda request: busy)
    model, _ = waiting(script)
    with pytest.raises(ModelAccountError):
        await model.complete(ask())
    assert script.calls < 60


async def test_a_quota_that_never_recovers_ends_the_run_and_says_what_to_do(ask: Any) -> None:
    model, waits = waiting(ScriptedModel(lambda request: ModelUnavailableError("quota", status=429, retry_after=34.0)))
    with pytest.raises(ModelAccountError, match=r"no call was let through in 2\d\d s .*--requests-per-minute"):
        await model.complete(ask())
    assert 200 < sum(waits.seconds) <= 301


async def test_a_limit_of_hours_ends_the_run_at_once(ask: Any) -> None:
    day = ModelUnavailableError("free requests per day", status=429, retry_after=7200.0)
    model, waits = waiting(ScriptedModel(lambda request: day))
    with pytest.raises(ModelUnavailableError, match=r"asks to wait 7200 s") as caught:
        await model.complete(ask())
    assert caught.value.lasting
    assert waits.seconds == []


async def test_where_other_calls_are_let_through_a_limit_fails_its_call_alone(ask: Any) -> None:
    def answer(request: Any) -> Any:
        unlucky = request.messages[0].content == "unlucky"
        return ModelUnavailableError("quota", status=429, retry_after=34.0) if unlucky else "fine"

    model, _ = waiting(ScriptedModel(answer))

    async def others(_: float) -> None:
        await model.inner.complete(ask())
        model._answered_at = time.monotonic()

    model._sleep = others
    with pytest.raises(ModelUnavailableError):
        await model.complete(ask("unlucky"))


async def test_a_limit_that_one_call_meets_makes_the_others_wait(ask: Any) -> None:
    script = ScriptedModel([ModelUnavailableError("slow", status=429, retry_after=20.0), "a", "b"])
    model, waits = waiting(script)
    await model.complete(ask("a"))
    await model.complete(ask("b"))
    assert [round(each) for each in waits.seconds] == [20, 20]


async def test_a_fault_that_lasts_is_tried_a_few_times_until_the_model_has_answered_once(ask: Any) -> None:
    gone = ModelUnavailableError("nobody listens", lasting=True)
    script = ScriptedModel(lambda request: "fine" if script.calls == 4 else gone)
    model, _ = waiting(script)
    with pytest.raises(ModelUnavailableError):
        await model.complete(ask())
    assert script.calls == 3
    assert (await model.complete(ask())).text == "fine"
    with pytest.raises(ModelUnavailableError):
        await model.complete(ask())
    assert script.calls == 4 + 6


async def test_other_faults_are_tried_six_times(ask: Any) -> None:
    script = ScriptedModel(lambda request: ModelUnavailableError("oops", status=500))
    model, waits = waiting(script)
    with pytest.raises(ModelUnavailableError):
        await model.complete(ask())
    assert script.calls == 6
    assert sum(waits.seconds) < 20


async def test_the_servers_wait_reaches_the_retry_layer(
    faulty: Any, reply: Any, good: Any, ask: Any, logs: Any
) -> None:
    words = {"error": {"message": "Rate limit reached. Please try again in 12s."}}
    server = faulty(reply(429, words), reply(503, {"error": {"message": "Loading model"}}), good())
    model, waits = RetryingModel(OpenAIChat("tiny", base_url=server.url, api_key="")), Waits()
    model._sleep = waits
    assert (await model.complete(ask())).text == "fine"
    assert round(waits.seconds[0]) == 12
    assert "waiting 12 s, then asking again" in lines(logs)[0]
    await model.aclose()


# -- what failed calls cost ----------------------------------------------------------------------------------------

PRICES = {"scripted": Price(1.0, 2.0, cached_input=0.5)}


async def test_failed_replies_that_were_billed_are_spent_and_counted(ask: Any) -> None:
    broken = ModelResponseError("broke off", usage=Usage(1000, 500))
    script = ScriptedModel([broken, Completion("fine", usage=Usage(100, 50, 40, 10)), broken])
    budget, meter = Budget(tokens=10_000, prices=PRICES), Meter()
    stack = build_stack(script, budget=budget, meter=meter, retry=Retry(initial=0.001, attempts=2))
    completion = await stack.complete(ask("a", role="judge"))
    assert completion.usage == Usage(1100, 550, 40, 10)
    assert budget.used.tokens == 1650
    assert budget.used.money == pytest.approx((1060 * 1 + 40 * 0.5 + 550 * 2) / 1e6)
    script._replies = [broken] * 9
    with pytest.raises(ModelResponseError):
        await stack.complete(ask("b", role="seeker"))
    assert budget.used.tokens == 1650 + 3000
    judge, seeker = meter.tallies["judge", "scripted"], meter.tallies["seeker", "scripted"]
    assert (judge.calls, judge.failures, judge.usage) == (2, 1, Usage(1100, 550, 40, 10))
    assert (seeker.calls, seeker.failures, seeker.usage) == (2, 2, Usage(2000, 1000))
    assert meter.usage == judge.usage + seeker.usage
