"""Equal requests in flight make one call."""

from __future__ import annotations

import anyio
from anyio.lowlevel import RunVar

from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, ModelLayer, request_key


class _Flight:
    """A call under way, and what became of it; neither reply nor error when its leader was cancelled."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.reply: Completion | None = None
        self.error: Exception | None = None


class SingleFlight(ModelLayer):
    """Lets equal requests (one :func:`~mctsdialog.llm.base.request_key`) share a call while it is in flight.

    The first caller leads; the others wait, and get its reply as a cached one, or its error. When the leader is
    cancelled, a follower makes the call in its place. Requests of different event loops share nothing.
    """

    def __init__(self, inner: ChatModel) -> None:
        super().__init__(inner)
        self._flights: RunVar[dict[str, _Flight]] = RunVar("flights")
        self.joined = 0

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request, by an equal one's call where there is one."""
        flights = self._of_this_loop()
        key = request_key(self.name, request)
        while (flight := flights.get(key)) is not None:
            await flight.done.wait()
            if flight.error is not None:
                raise flight.error
            if flight.reply is not None:
                self.joined += 1
                return flight.reply.as_cached()
        return await self._lead(request, flights, key)

    async def _lead(self, request: ChatRequest, flights: dict[str, _Flight], key: str) -> Completion:
        flight = flights[key] = _Flight()
        try:
            flight.reply = await self.inner.complete(request)
        except Exception as error:
            flight.error = error
            raise
        finally:
            del flights[key]
            flight.done.set()
        return flight.reply

    def _of_this_loop(self) -> dict[str, _Flight]:
        flights = self._flights.get(None)
        if flights is None:
            flights = {}
            self._flights.set(flights)
        return flights
