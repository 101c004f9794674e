"""Calls at once that follow the server: up while it takes them, down where it pushes back; on a clock of its own."""

from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

from mctsdialog.errors import ConfigError, ModelRequestError, ModelUnavailableError
from mctsdialog.llm import AdaptiveLimits, ChatRequest, Completion, LimitedModel, Message, Usage

pytestmark = pytest.mark.anyio

REQUEST = ChatRequest((Message("user", "hi"),))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Server:
    """Takes so many calls at once; more are refused, or slow all down."""

    name = "server"

    def __init__(self, capacity, clock, *, refuses):
        self.capacity, self.clock, self.refuses = capacity, clock, refuses
        self.open = self.peak = self.refused = 0

    async def complete(self, request):
        self.open += 1
        self.peak = max(self.peak, self.open)
        try:
            over = self.open > self.capacity
            if over and self.refuses:
                self.refused += 1
                raise ModelUnavailableError("busy", status=429)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            self.clock.now += 0.2 * max(1.0, (self.open / self.capacity) ** 3)
            return Completion("well", Usage(1, 1))
        finally:
            self.open -= 1

    async def aclose(self):
        pass


async def storm(server, limits, calls, workers=64):
    """Workers that call without a pause; a refused call is not made again."""
    model, left = LimitedModel(server, limits), iter(range(calls))
    sizes = []

    async def work():
        for _ in left:
            with suppress(ModelUnavailableError):
                await model.complete(REQUEST)
            sizes.append(limits.concurrency)

    async with anyio.create_task_group() as group:
        for _ in range(workers):
            group.start_soon(work)
    return sizes


async def test_it_finds_a_server_that_refuses():
    clock = Clock()
    server = Server(20, clock, refuses=True)
    limits = AdaptiveLimits(60, start=2, slower=1e9, clock=clock)
    sizes = await storm(server, limits, 4000)
    later = sizes[len(sizes) // 2 :]
    assert min(later) >= 14 * 0.7
    assert max(later) <= 22
    assert limits.falls > 0
    assert server.refused < 4000 * 0.1


async def test_it_grows_to_the_most_where_nothing_pushes_back():
    clock = Clock()
    limits = AdaptiveLimits(30, start=4, slower=1e9, clock=clock)
    sizes = await storm(Server(1000, clock, refuses=True), limits, 3000)
    assert sizes[-1] == 30
    assert limits.falls == 0


async def test_replies_that_take_much_longer_push_back_too():
    clock = Clock()

    limits = AdaptiveLimits(64, start=2, slower=2.0, clock=clock)
    await storm(Server(8, clock, refuses=False), limits, 3000)
    assert limits.falls > 0
    assert limits.concurrency < 64


async def test_calls_sent_before_a_fall_cause_no_other():
    clock = Clock()
    limits = AdaptiveLimits(64, start=16, clock=clock)
    claims = [await limits.enter(REQUEST) for _ in range(16)]
    clock.now = 1.0
    for claim in claims:
        limits.leave(claim, REQUEST, None, ModelUnavailableError("busy", status=503))
    assert (limits.concurrency, limits.falls) == (11, 1)
    assert limits.in_use == 0


async def test_it_does_not_grow_while_fewer_are_in_use_nor_fall_for_what_is_no_load():
    limits = AdaptiveLimits(64, start=8)
    for _ in range(40):
        limits.leave(await limits.enter(REQUEST), REQUEST, Completion("well", Usage(1, 1)))
    assert limits.concurrency == 8
    for error in (ModelRequestError("no", status=400), ModelUnavailableError("oops", status=500), KeyError("mine")):
        limits.leave(await limits.enter(REQUEST), REQUEST, None, error)
    assert (limits.concurrency, limits.falls) == (8, 0)
    for _ in range(9):
        limits.leave(await limits.enter(REQUEST), REQUEST, None, ModelUnavailableError("no answer"))
    assert limits.concurrency == 1


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"max_concurrency": 4, "min_concurrency": 5}, "min_concurrency"),
        ({"max_concurrency": 4, "min_concurrency": 0}, "min_concurrency"),
        ({"max_concurrency": 4, "decrease": 1.0}, "decrease"),
        ({"max_concurrency": 4, "slower": 1.0}, "slower"),
    ],
)
def test_values_out_of_range_are_told(settings, field):
    with pytest.raises(ConfigError) as caught:
        AdaptiveLimits(**settings)
    assert caught.value.field == field
    assert AdaptiveLimits(4, start=9).concurrency == 4
