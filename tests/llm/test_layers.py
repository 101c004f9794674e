"""Single flight, limits, budget, retry, meter, and the stack of them all."""

import hashlib
import json
import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.errors import (
    BudgetExceededError,
    ConfigError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
    ScriptExhaustedError,
)
from mctsdialog.llm import (
    Budget,
    BudgetedModel,
    ChatModel,
    ChatRequest,
    Completion,
    LimitedModel,
    Limits,
    Message,
    Meter,
    MeteredModel,
    Price,
    ResponseCache,
    Retry,
    RetryingModel,
    Sampling,
    ScriptedModel,
    SingleFlight,
    Usage,
    build_stack,
    request_key,
)
from mctsdialog.llm.base import former_keys, identity_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

MILLION = Usage(1_000_000, 1_000_000, 500_000)


# request_key

texts = st.text(max_size=20)
requests_ = st.builds(
    ChatRequest,
    messages=st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), max_size=3).map(
        tuple
    ),
    sampling=st.builds(
        Sampling,
        temperature=st.none() | st.floats(0, 2),
        top_p=st.none() | st.floats(0.1, 1),
        frequency_penalty=st.none() | st.floats(-2, 2),
        max_tokens=st.none() | st.integers(1, 99),
        seed=st.none() | st.integers(0, 99),
        stop=st.lists(texts, max_size=2).map(tuple),
        reasoning_effort=st.none() | st.sampled_from(["none", "low", "high"]),
    ),
    schema=st.none() | st.dictionaries(texts, st.integers() | texts | st.dictionaries(texts, texts), max_size=3),
    sample=st.integers(0, 5),
    prompt_version=st.integers(1, 2),
)


@given(requests_, requests_, texts, texts)
def test_the_key_differs_when_any_part_does(one: ChatRequest, two: ChatRequest, name: str, other: str) -> None:
    assert (request_key(name, one) == request_key(other, two)) == (one == two and name == other)
    assert (request_key(name, one) == request_key(other, one)) == (name == other)


@given(requests_, texts)
def test_the_key_is_of_canonical_json(request: ChatRequest, name: str) -> None:
    content = former_content(name, request) | {"prompts": request.prompt_version, "version": 2}
    assert request_key(name, request) == digest(content)


def former_content(name: str, request: ChatRequest) -> dict[str, Any]:
    """What was part of a key in version 0.1."""
    sampling = asdict(request.sampling)
    numbers = [sampling.pop(each) for each in ("temperature", "top_p", "frequency_penalty")]
    values = [None if each is None else each + 0.0 for each in numbers] + list(sampling.values())
    while len(values) > 6 and values[-1] is None:
        values.pop()
    return {
        "model": name,
        "messages": [[message.role, message.content] for message in request.messages],
        "sampling": values,
        "schema": request.schema,
        "sample": request.sample,
    }


def digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@given(requests_, texts, st.booleans())
def test_the_former_keys_are_those_of_version_0_1(request: ChatRequest, name: str, paragraph: bool) -> None:
    """Version 0.1 had six settings, and sent a stop for an utterance."""
    request = replace(request, first_paragraph=paragraph)
    if request.sampling.reasoning_effort is not None:  # version 0.1 did not know it
        assert former_keys(name, request) == []
        return
    content = former_content(name, request)
    wanted = [digest(content)]
    if paragraph and not request.sampling.stop:
        content["sampling"][5] = ["\n\n"]
        wanted.insert(0, digest(content))
    assert former_keys(name, request) == wanted
    assert request_key(name, request) not in wanted


@given(st.dictionaries(texts, st.dictionaries(texts, texts, max_size=3), max_size=4))
def test_the_key_is_stable_under_dict_order(schema: dict[str, Any]) -> None:
    turned = {name: dict(reversed(part.items())) for name, part in reversed(schema.items())}
    assert request_key("m", ChatRequest((), schema=schema)) == request_key("m", ChatRequest((), schema=turned))


def test_the_key_is_fixed_for_good() -> None:
    request = ChatRequest((Message("user", "é"),), Sampling(temperature=1), {"type": "object"}, 2)
    assert request_key("m", request) == request_key(
        "m", ChatRequest((Message("user", "é"),), Sampling(temperature=1.0), {"type": "object"}, 2, print)
    )
    assert request_key("m", request) == KEY

    assert former_keys("m", request) == [FORMER_KEY]


KEY = "9c2d430077ac0f123baf38dbb32fd86120623ab48d7f2f318a7d6ce804827560"
FORMER_KEY = "0fdfeb94faea6e9f0342e67ce7db2a14b6632a2916a708b946bd1699a8abfe77"


def test_an_identity_passes_through_layers_and_is_the_name_where_there_is_none() -> None:
    class Plain:
        name = "plain"

    at_server = ScriptedModel([], name="m", identity="m@https://a.example/v1")
    assert identity_of(build_stack(at_server)) == "m@https://a.example/v1"
    assert identity_of(SingleFlight(MeteredModel(at_server, Meter()))) == "m@https://a.example/v1"
    assert build_stack(at_server).name == "m"
    assert identity_of(Plain()) == "plain"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "field", [{"temperature": -1}, {"temperature": math.nan}, {"top_p": 0}, {"frequency_penalty": 3}, {"max_tokens": 0}]
)
def test_sampling_is_checked(field: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Sampling(**field)
    assert caught.value.field in field


# ScriptedModel


async def test_scripted(ask: Any) -> None:
    async def slowly(request: ChatRequest) -> str:
        await anyio.sleep(0)
        return request.messages[0].content.upper()

    model = ScriptedModel(["a", Completion("b", "length"), ModelRequestError("c")])
    assert (await model.complete(ask())).usage.total_tokens > 0
    assert (await model.complete(ask())).finish_reason == "length"
    with pytest.raises(ModelRequestError):
        await model.complete(ask())
    with pytest.raises(ScriptExhaustedError, match="call 4 of a script with 3 replies") as caught:
        await model.complete(ask())
    assert isinstance(caught.value, AssertionError)
    assert (model.calls, model.requests[0], model.in_flight) == (4, ask(), 0)
    assert (await ScriptedModel(slowly).complete(ask("x"))).text == "X"
    assert isinstance(model, ChatModel)


# SingleFlight


async def test_equal_requests_share_a_call(ask: Any, at_once: Any) -> None:
    script = ScriptedModel(lambda request: request.messages[0].content, latency=0.05)
    model = SingleFlight(script)
    replies = await at_once(model.complete, [ask("a")] * 5 + [ask("b"), ask("a", sample=1)])
    assert [reply.text for reply in replies] == ["a"] * 5 + ["b", "a"]
    assert sorted(reply.cached for reply in replies[:5]) == [False, True, True, True, True]
    assert [reply.cached for reply in replies[5:]] == [False, False]
    assert (script.calls, model.joined) == (3, 4)
    await model.complete(ask("a"))  # it remembers nothing
    assert script.calls == 4


async def test_followers_get_the_leaders_error(ask: Any, at_once: Any) -> None:
    script = ScriptedModel([ModelUnavailableError("down")], latency=0.05)
    results = await at_once(SingleFlight(script).complete, [ask()] * 3)
    assert [str(result) for result in results] == ["down"] * 3
    assert script.calls == 1


async def test_a_follower_takes_over_from_a_cancelled_leader(ask: Any) -> None:
    script = ScriptedModel(lambda _request: "x", latency=0.5)
    model = SingleFlight(script)
    replies = []

    async def follow() -> None:
        replies.append(await model.complete(ask()))

    async with anyio.create_task_group() as group, anyio.create_task_group() as leaders:
        leaders.start_soon(model.complete, ask())
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            group.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        leaders.cancel_scope.cancel()
    assert [reply.text for reply in replies] == ["x"] * 3
    assert sorted(reply.cached for reply in replies) == [False, True, True]
    assert script.calls == 2


async def test_a_cancelled_follower_leaves_the_leader_alone(ask: Any) -> None:
    script = ScriptedModel(["x"], latency=0.1)
    model = SingleFlight(script)
    async with anyio.create_task_group() as group:
        group.start_soon(model.complete, ask())
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.01) as scope:
            await model.complete(ask())
    assert scope.cancelled_caught
    assert script.calls == 1


# Limits


async def test_concurrency_is_limited(ask: Any) -> None:
    script = ScriptedModel(lambda _request: "x", latency=0.02)
    limits = Limits(concurrency=3)
    models = [LimitedModel(script, limits), LimitedModel(script, limits)]
    async with anyio.create_task_group() as group:
        for index in range(20):
            group.start_soon(models[index % 2].complete, ask(f"{index}"))
    assert (script.calls, script.peak_in_flight) == (20, 3)


@pytest.mark.parametrize("limits", [Limits(concurrency=1), Limits(concurrency=1, requests_per_minute=100)])
async def test_callers_are_served_in_order(limits: Limits, ask: Any) -> None:
    gate = anyio.Event()

    async def reply(_request: ChatRequest) -> str:
        await gate.wait()
        return "x"

    script = ScriptedModel(reply)
    async with anyio.create_task_group() as group:
        for index in range(10):
            group.start_soon(LimitedModel(script, limits).complete, ask(f"{index}"))
            await anyio.wait_all_tasks_blocked()
        gate.set()
    assert [request.messages[0].content for request in script.requests] == [f"{index}" for index in range(10)]


async def test_requests_per_minute(ask: Any, monkeypatch: pytest.MonkeyPatch, at_once: Any) -> None:
    monkeypatch.setattr(Limits, "period", 0.3)
    times: list[float] = []

    def note(_request: ChatRequest) -> str:
        times.append(time.monotonic())
        return "x"

    await at_once(LimitedModel(ScriptedModel(note), Limits(requests_per_minute=2)).complete, [ask()] * 5)
    assert all(later - earlier >= 0.29 for earlier, later in zip(times, times[2:], strict=False))


async def test_tokens_per_minute_are_corrected_by_usage(ask: Any) -> None:
    script = ScriptedModel(lambda _request: Completion("x", usage=Usage(5, 5)))
    limits = Limits(tokens_per_minute=1000)
    with anyio.fail_after(10):  # two estimates of 400 fill a minute; 50 usages of 10 fit in one
        for _ in range(50):
            await LimitedModel(script, limits).complete(ask(max_tokens=400))
    with anyio.move_on_after(0.2) as scope:
        await LimitedModel(script, limits).complete(ask(max_tokens=900))
    assert scope.cancelled_caught
    assert script.calls == 50


async def test_a_waiting_request_hears_of_a_correction(ask: Any, at_once: Any) -> None:
    script = ScriptedModel(lambda _request: Completion("x", usage=Usage(5, 5)), latency=0.05)
    with anyio.fail_after(10):
        await at_once(LimitedModel(script, Limits(tokens_per_minute=1000)).complete, [ask(max_tokens=900)] * 5)
    assert script.peak_in_flight == 1


async def test_slots_come_back(ask: Any) -> None:
    script = ScriptedModel([ModelUnavailableError("x"), "a", "b"], latency=0.01)
    model = LimitedModel(script, Limits(concurrency=1, requests_per_minute=100))
    with pytest.raises(ModelUnavailableError):
        await model.complete(ask())
    with anyio.move_on_after(0.001):
        await model.complete(ask())
    with anyio.fail_after(5):
        assert (await model.complete(ask())).text == "b"


def test_limits_serve_several_event_loops(anyio_backend: str, ask: Any, at_once: Any) -> None:
    script = ScriptedModel(lambda _request: "x")
    stack = build_stack(script, limits=Limits(concurrency=1, requests_per_minute=100))
    for _ in range(3):
        anyio.run(at_once, stack.complete, [ask(f"{index}") for index in range(3)], backend=anyio_backend)
    assert script.calls == 9


# Budget


async def test_calls_are_exact(ask: Any, at_once: Any) -> None:
    script = ScriptedModel(lambda _request: "x", latency=0.01)
    budget = Budget(calls=3)
    results = await at_once(BudgetedModel(script, budget).complete, [ask(f"{index}") for index in range(8)])
    refused = [result for result in results if isinstance(result, BudgetExceededError)]
    assert (script.calls, len(refused)) == (3, 5)
    assert (refused[0].kind, refused[0].limit, refused[0].used) == ("calls", 3, 3)
    assert (budget.used.calls, budget.remaining.calls, budget.remaining.tokens) == (3, 0, math.inf)


async def test_tokens_and_money(ask: Any) -> None:
    def model(budget: Budget, name: str = "m") -> BudgetedModel:
        return BudgetedModel(ScriptedModel([Completion("x", usage=MILLION)] * 3, name=name), budget)

    budget = Budget(tokens=3_000_000)
    tokens = model(budget)
    for _ in range(2):
        await tokens.complete(ask())
    with pytest.raises(BudgetExceededError, match="tokens"):
        await tokens.complete(ask())
    assert budget.used.tokens == 4_000_000
    prices = {"m": Price(2.0, 8.0, cached_input=1.0), "n": Price(1.0, 1.0)}
    budget = Budget(money=10, prices=prices)
    money = model(budget, name="m#0123abcd")
    await money.complete(ask())
    assert budget.used.money == pytest.approx(1.0 + 0.5 + 8.0)
    assert budget.remaining.money == pytest.approx(0.5)
    await model(budget, name="n").complete(ask())
    with pytest.raises(BudgetExceededError, match="money"):
        await money.complete(ask())
    with pytest.raises(ConfigError, match="'other'"):
        await model(budget, name="other").complete(ask())


async def test_time_bounds_a_call_in_flight(ask: Any) -> None:
    model = BudgetedModel(ScriptedModel(lambda _request: "x", latency=30), Budget(seconds=0.1))
    with anyio.fail_after(5):
        for _ in range(2):
            with pytest.raises(BudgetExceededError) as caught:
                await model.complete(ask())
            assert caught.value.kind == "seconds"
    assert model.budget.used.calls == 1


async def test_failed_calls_count_and_missing_usage_is_estimated(ask: Any, caplog: Any) -> None:
    budget = Budget(tokens=1000)
    model = BudgetedModel(ScriptedModel([ModelUnavailableError("x"), Completion("y" * 400)]), budget)
    with pytest.raises(ModelUnavailableError):
        await model.complete(ask())
    assert (budget.used.calls, budget.used.tokens) == (1, 0)
    await model.complete(ask())
    assert budget.used.tokens > 100
    assert "no token usage" in caplog.text


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Budget(calls=-1), "calls"),
        (lambda: Budget(tokens=-1), "tokens"),
        (lambda: Budget(seconds=math.nan), "seconds"),
        (lambda: Budget(money=-0.5, prices={"m": Price(1, 1)}), "money"),
        (lambda: Budget(money=1), "prices"),
        (lambda: Price(-1, 1), "input"),
        (lambda: Price(1, math.inf), "output"),
        (lambda: Limits(concurrency=0), "concurrency"),
        (lambda: Limits(requests_per_minute=0), "requests_per_minute"),
        (lambda: Limits(tokens_per_minute=0), "tokens_per_minute"),
        (lambda: Retry(attempts=0), "attempts"),
        (lambda: Retry(initial=-1), "initial"),
        (lambda: Retry(max_backoff=math.inf), "max_backoff"),
        (lambda: Retry(jitter=2), "jitter"),
        (lambda: Retry(max_retry_after=-1), "max_retry_after"),
    ],
)
def test_ranges(make: Any, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field


# Retry


class Waits:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await anyio.sleep(0)


def retrying(script: ScriptedModel, retry: Retry | None = None) -> tuple[RetryingModel, Waits]:
    model, waits = RetryingModel(script, retry), Waits()
    model._sleep = waits
    return model, waits


async def test_backoff_doubles_up_to_its_maximum(ask: Any) -> None:
    script = ScriptedModel([ModelUnavailableError("a"), ModelResponseError("b")] * 3)
    model, waits = retrying(script, Retry(max_backoff=4.0))
    with pytest.raises(ModelResponseError) as caught:
        await model.complete(ask())
    assert caught.value.__notes__ == ["after 6 attempts"]
    assert (script.calls, model.retries) == (6, 5)
    for wait, full in zip(waits.seconds, [0.5, 1, 2, 4, 4], strict=True):
        assert full / 2 <= wait <= full


async def test_retry_after_is_honoured_up_to_a_bound(ask: Any) -> None:
    script = ScriptedModel([ModelUnavailableError("a", retry_after=120), "x"])
    model, waits = retrying(script)
    await model.complete(ask())
    assert 120 <= waits.seconds[0] <= 121
    script = ScriptedModel([ModelUnavailableError("busy", status=429, retry_after=3600)])
    model, waits = retrying(script)
    with pytest.raises(ModelUnavailableError, match=r"busy; .* 3600 s, more than the 300 s") as caught:
        await model.complete(ask())
    assert (script.calls, waits.seconds, caught.value.status) == (1, [], 429)


@pytest.mark.parametrize(
    "error", [ModelRequestError("x"), BudgetExceededError("calls", limit=1, used=1), KeyError("x")]
)
async def test_nothing_else_is_retried(error: Exception, ask: Any) -> None:
    model, waits = retrying(ScriptedModel([error]))
    with pytest.raises(type(error)) as caught:
        await model.complete(ask())
    assert caught.value is error
    assert waits.seconds == []


# Meter and stack


async def test_meter(ask: Any, at_once: Any) -> None:
    script = ScriptedModel(["a", ModelUnavailableError("x"), "b"], latency=0.02)
    model = MeteredModel(script)
    await at_once(model.complete, [ask()] * 3)
    meter = model.meter.snapshot()
    assert (meter.calls, meter.failures, meter.in_flight, meter.peak_in_flight) == (3, 1, 0, 3)
    assert meter.seconds >= 0.05
    assert meter.usage.total_tokens > 0


async def test_the_stack(tmp_path: Path, ask: Any, at_once: Any) -> None:
    script = ScriptedModel([ModelUnavailableError("a"), ModelUnavailableError("b"), "x", "y"], latency=0.01)
    budget, meter, limits = Budget(calls=2), Meter(), Limits(concurrency=4)
    with ResponseCache(tmp_path) as cache:
        stack = build_stack(script, cache=cache, budget=budget, limits=limits, meter=meter, retry=Retry(initial=0.01))
        replies = await at_once(stack.complete, [ask()] * 4)
        assert {reply.text for reply in replies} == {"x"}
        assert (await stack.complete(ask())).cached
        assert (script.calls, meter.calls, meter.failures, budget.used.calls) == (3, 3, 2, 1)
        assert (cache.stats.hits, cache.stats.stored) == (1, 1)
        await stack.complete(ask("other"))
        assert (await stack.complete(ask())).cached  # the spent budget does not stop the cache
        with pytest.raises(BudgetExceededError):
            await stack.complete(ask("third"))
    assert repr(stack) == (
        "SingleFlight(CachedModel(BudgetedModel(RetryingModel(LimitedModel(MeteredModel("
        "ScriptedModel(name='scripted', calls=4)))))))"
    )
    await stack.aclose()
    assert script.closed


async def test_no_slot_is_held_while_a_retry_waits(ask: Any) -> None:
    def reply(request: ChatRequest) -> str | Exception:
        first = request.messages[0].content == "a" and script.calls == 1
        return ModelUnavailableError("x", retry_after=0.3) if first else "fine"

    script = ScriptedModel(reply)
    stack = build_stack(script, limits=Limits(concurrency=1))
    async with anyio.create_task_group() as group:
        group.start_soon(stack.complete, ask("a"))
        await anyio.sleep(0.05)
        group.start_soon(stack.complete, ask("b"))
    assert [request.messages[0].content for request in script.requests] == ["a", "b", "a"]
