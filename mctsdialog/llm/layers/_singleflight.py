"""Equal requests in flight make one call."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from mctsdialog._arguments import checked
from mctsdialog.llm._loop_local import LoopLocal
from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, ModelLayer, identity_of, request_key


@dataclass(slots=True, eq=False)
class _Flight:
    """A call under way, and what became of it; neither reply nor error when its leader was cancelled."""

    reply: Completion | None = None
    error: Exception | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)


@checked()
class SingleFlight(ModelLayer):
    """Lets equal requests (one :func:`~mctsdialog.llm.base.request_key`) share a call while it is in flight.

    The first caller leads; the others wait, and get its reply as a cached one, or its error. When the leader is
    cancelled, a follower makes the call in its place. Requests of different event loops share nothing.
    """

    def __init__(self, inner: ChatModel) -> None:
        super().__init__(inner)
        self._flights: LoopLocal[dict[str, _Flight]] = LoopLocal(dict)
        self.joined = 0

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request, by an equal one's call if there is one."""
        flights = self._flights.get()
        key = request_key(identity_of(self.inner), request)
        while (flight := flights.get(key)) is not None:
            await flight.ended.wait()
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
            flight.ended.set()
        return flight.reply
