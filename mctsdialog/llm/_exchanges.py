"""What was asked of a model and what came back, kept to be shown: as it happens, or as a cache has it."""

from __future__ import annotations

from dataclasses import dataclass

from mctsdialog.errors import CacheMissError, MctsDialogError
from mctsdialog.llm.base import ChatModel, ChatRequest, ClosingModel, Completion, ModelLayer, former_keys, request_key
from mctsdialog.llm.layers._cache import ResponseCache


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its reply.

    :param request: what was asked.
    :param completion: the reply; None if there is none.
    :param model: the name of the model.
    :param error: why there is no reply.
    """

    request: ChatRequest
    completion: Completion | None
    model: str
    error: MctsDialogError | None = None


class RecordingModel(ModelLayer):
    """Passes calls on and keeps them with their replies.

    :ivar exchanges: in the order in which they ended.
    """

    def __init__(self, inner: ChatModel) -> None:
        super().__init__(inner)
        self.exchanges: list[Exchange] = []

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request."""
        try:
            completion = await self.inner.complete(request)
        except MctsDialogError as error:
            self.exchanges.append(Exchange(request, None, self.name, error))
            raise
        self.exchanges.append(Exchange(request, completion, self.name))
        return completion


class RecordedModel(ClosingModel):
    """A model of an earlier run, as its cache has it: calls nothing, and answers with the replies of then.

    Other than a replay, a reply has the latency that it had, and cut or unusable replies are answers too.

    :param name: the name of the model.
    :param cache: of the run; None for none.
    :param identity: the model's identity in that run; None for its name.
    """

    def __init__(self, name: str, cache: ResponseCache | None, *, identity: str | None = None) -> None:
        self.name = name
        self.identity = identity or name
        self._cache = cache

    async def complete(self, request: ChatRequest) -> Completion:
        """The reply to a request.

        :raises CacheMissError: if the cache has none.
        """
        key = request_key(self.identity, request)
        keys = [] if self._cache is None else [key, *former_keys(self.name, request)]
        entry = next((found for each in keys if self._cache and (found := self._cache.lookup(each))), None)
        if entry is None:
            reason = f"the cache holds no reply to this request ({key[:12]}…): it was made otherwise, or is removed"
            raise CacheMissError(reason, model=self.name, key=key)
        return entry.completion
