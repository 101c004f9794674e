"""The response cache: a reply that was paid for once is not paid for again, and a run can be replayed exactly."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias, cast, get_args

import anyio
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from mctsdialog._arguments import checked
from mctsdialog.errors import CacheMissError, ConfigError
from mctsdialog.files import seal, sealed
from mctsdialog.llm._loop_local import LoopLocal
from mctsdialog.llm.base import (
    ChatModel,
    ChatRequest,
    Completion,
    FinishReason,
    ModelLayer,
    TokenLogprobs,
    Usage,
    former_keys,
    identity_of,
    request_key,
)
from mctsdialog.llm.layers._budget import Price, cost, price_of
from mctsdialog.llm.layers._cache_store import CorruptEntry, DiskStore, ReadOnlyStore, Store

CacheMode: TypeAlias = Literal["read-write", "read-only"]

_VERSION = 2  # with a checksum and reasoning; version 1, of mctsdialog 0.1, had neither
_MOST_SECONDS = 1e9  # of a call; what is more was not measured
_USAGE = {1: 3, 2: 4}
"""Numbers in an entry's usage, by the entry's version."""


@dataclass(slots=True)
class CacheStats:
    """What a cache did since it was opened.

    :param hits: replies served.
    :param misses: requests that went on to the model, or failed in read-only mode.
    :param stored: replies written, the bad ones included.
    :param bad: of these, replies that were cut or not accepted.
    :param corrupt: entries that were refused: not ours, damaged, or hostile. Each is also a miss.
    :param tokens_saved: tokens of the replies served.
    :param money_saved: their price, where prices were given.
    """

    hits: int = 0
    misses: int = 0
    stored: int = 0
    bad: int = 0
    corrupt: int = 0
    tokens_saved: int = 0
    money_saved: float = 0.0


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache holds.

    :param entries: how many replies.
    :param size: bytes on disk.
    :param path: its folder.
    """

    entries: int
    size: int
    path: Path


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored reply.

    :param completion: what was said and thought; the text of version 0.1 is read as a server's reply.
    :param good: whether it was whole and accepted when it was stored.
    :param owner: identity of the model that took over an entry of version 0.1; None for other entries.
    """

    completion: Completion
    good: bool
    owner: str | None = None


@dataclass(slots=True)
class _Batch:
    """Replies that are written together, and what became of it."""

    replies: list[tuple[str, Entry]]
    written: anyio.Event = field(default_factory=anyio.Event)
    error: Exception | None = None


@dataclass(slots=True)
class _Writer:
    """What one event loop is about to write."""

    batch: _Batch | None = None


@checked()
class ResponseCache:
    """A folder of replies by :func:`~mctsdialog.llm.base.request_key`.

    Safe to share between threads and processes. Nothing is ever evicted. Entries are JSON text and hold the reply
    alone: no request, header or key. Opening a folder from a stranger runs no code.

    Keys know a model by its identity (:func:`~mctsdialog.llm.base.identity_of`), so two servers with one model name do
    not answer for each other. Entries of version 0.1 do not say which server they came from: each belongs to the first
    model of its name that uses it, and no other gets it. In read-only mode, which calls no server, an entry that nobody
    has used yet answers any model of its name.

    :param directory: the folder; made when missing, in read-write mode.
    :param mode: "read-write"; or "read-only", which replays: nothing is written, and a request that is not there
        is an error.
    :param prices: by model name, to tell the money saved.
    :raises ConfigError: for an unknown mode, or a folder that cannot be used.
    :raises CacheError: for a folder that holds something else than a response cache, or a damaged one.
    :raises DataError: for a symbolic link in it, and where another process has it locked for long.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        mode: CacheMode = "read-write",
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        if mode not in get_args(CacheMode):
            raise ConfigError(f"the cache's mode is one of {', '.join(get_args(CacheMode))}", field="mode")
        self.path = Path(directory).expanduser()
        self.mode = mode
        self._prices = dict(prices or {})
        self._stats = CacheStats()
        self._writer: LoopLocal[_Writer] = LoopLocal(_Writer)
        self._store: Store = DiskStore(self.path) if mode == "read-write" else ReadOnlyStore(self.path)
        self._may_be_former = self._store.size()[0] > 0  # what is new has no entry of version 0.1

    @property
    def stats(self) -> CacheStats:
        """A copy of the counts so far."""
        return replace(self._stats)

    def lookup(self, key: str) -> Entry | None:
        """The entry under ``key``; None if there is none, or one that is refused (counted as corrupt)."""
        text = self._store.get(key)
        if text is None:
            return None
        entry = None if isinstance(text, CorruptEntry) else _decode(key, text)
        if entry is None:
            self._stats.corrupt += 1
        return entry

    def fetch(self, model: str, request: ChatRequest, *, identity: str | None = None) -> Completion | None:
        """The reply to ``request``, or None for a miss.

        In read-write mode only good replies that the request still accepts; in read-only mode every one, so that a
        replay meets the bad replies of the run too.

        :param model: the model's name.
        :param identity: the model's identity; None for its name.
        :raises CacheMissError: for a miss in read-only mode.
        :raises DataError: when an entry of version 0.1 cannot be taken over.
        """
        identity = identity or model
        key = request_key(identity, request)
        entry = self.lookup(key) or self._take_over(model, identity, key, request)
        if entry is None or not self._serves(entry, request):
            self._stats.misses += 1
            if self.mode == "read-only":
                reason = f"{model}: the cache {self.path} holds no reply to this request ({key[:12]}…)"
                raise CacheMissError(
                    f"{reason}; model, server, prompts, settings or code differ from the recorded run",
                    model=model,
                    key=key,
                )
            return None
        self._stats.hits += 1
        self._stats.tokens_saved += entry.completion.usage.total_tokens
        price = price_of(self._prices, model)
        self._stats.money_saved += cost(entry.completion.usage, price) if price is not None else 0.0
        return entry.completion.as_cached()

    def _serves(self, entry: Entry, request: ChatRequest) -> bool:
        return self.mode == "read-only" or (entry.good and request.is_good(entry.completion))

    def _take_over(self, model: str, identity: str, key: str, request: ChatRequest) -> Entry | None:
        """An entry of version 0.1 that answers the request; it belongs to ``identity`` from now on."""
        for former in former_keys(model, request) if self._may_be_former else ():
            entry = self.lookup(former)
            if entry is None or entry.owner not in (None, identity) or not self._serves(entry, request):
                continue
            if self.mode == "read-write":
                self._store.put({key: _encode(key, entry), former: _encode(former, replace(entry, owner=identity))})
            return entry
        return None

    def keep(self, identity: str, request: ChatRequest, completion: Completion) -> None:
        """Store a reply. One that was cut or is not accepted never takes the place of a good one.

        :raises DataError: when it cannot be written.
        """
        self._write([(request_key(identity, request), Entry(completion, request.is_good(completion)))])

    async def store(self, identity: str, request: ChatRequest, completion: Completion) -> None:
        """Store a reply as :meth:`keep` does, in one transaction with those that come in at the same moment.

        It is written when this returns, and also where the caller is cancelled meanwhile. With a transaction for each
        reply, a call takes 0.92 ms of CPU in place of 0.79 (benchmarks/throughput.py, 128 slots).

        :raises DataError: when it cannot be written.
        """
        reply = (request_key(identity, request), Entry(completion, request.is_good(completion)))
        writer = self._writer.get()
        batch = writer.batch
        if batch is not None:
            batch.replies.append(reply)
            await batch.written.wait()
        else:
            batch = writer.batch = _Batch([reply])
            try:
                await anyio.lowlevel.cancel_shielded_checkpoint()  # lets others join
            finally:
                writer.batch = None
                self._write_batch(batch)
        if batch.error is not None:
            raise batch.error

    def _write_batch(self, batch: _Batch) -> None:
        try:
            self._write(batch.replies)
        except Exception as error:  # noqa: BLE001 - every caller raises it
            batch.error = error
        finally:
            batch.written.set()

    def _write(self, replies: Sequence[tuple[str, Entry]]) -> None:
        texts: dict[str, str] = {}
        for key, entry in replies:
            if entry.good:
                texts[key] = _encode(key, entry)
                continue
            self._stats.bad += 1
            known = self.lookup(key)
            if known is None or not known.good:
                texts.setdefault(key, _encode(key, entry))
        if texts:
            self._store.put(texts)
        self._stats.stored += len(texts)

    def info(self) -> CacheInfo:
        """How much the cache holds, and where."""
        entries, size = self._store.size()
        return CacheInfo(entries=entries, size=size, path=self.path)

    def clear(self) -> int:
        """Remove every entry; returns how many there were.

        :raises ConfigError: in read-only mode.
        """
        return self._store.clear()

    def close(self) -> None:
        """Close the database. May be called twice."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ResponseCache({str(self.path)!r}, mode={self.mode!r})"


@checked()
class CachedModel(ModelLayer):
    """Answers from a cache, and stores what the wrapped model answers.

    :param cache: may be shared by several models; closing the layer does not close it.
    """

    def __init__(self, inner: ChatModel, cache: ResponseCache) -> None:
        super().__init__(inner)
        self.cache = cache

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer one request.

        :raises CacheMissError: for a miss in read-only mode.
        """
        identity = identity_of(self.inner)
        known = self.cache.fetch(self.name, request, identity=identity)
        if known is not None:
            return known
        completion = await self.inner.complete(request)
        await self.cache.store(identity, request, completion)
        return completion


def _encode(key: str, entry: Entry) -> str:
    completion, usage = entry.completion, entry.completion.usage
    content: dict[str, object] = {
        "v": _VERSION,
        "model": completion.model,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "usage": [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens],
        "latency": completion.latency,
        "good": entry.good,
        "created": time.time(),
    }
    if completion.thought:
        content["thought"] = completion.thought
    if entry.owner is not None:
        content["owner"] = entry.owner
    if completion.logprobs:
        content["logprobs"] = [[each.text, each.logprob, each.top] for each in completion.logprobs]
    return seal(json.dumps(content, ensure_ascii=True), key)  # SQLite text cannot hold half a surrogate pair


def _decode(key: str, text: str) -> Entry | None:
    """The entry in a stored text; None for one that is not of our making, is damaged, or belongs to another key."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not _is_whole(data.get("v"), text, key) or not isinstance(data.get("good"), bool):
        return None
    version, usage = data.get("v"), data.get("usage")
    if type(version) is not int or not isinstance(usage, list):
        return None
    if len(usage) != _USAGE.get(version) or not all(type(n) is int and n >= 0 for n in usage):
        return None
    words = (data.get("text"), data.get("model"), data.get("thought", ""), data.get("owner", ""))
    latency, finish = data.get("latency"), data.get("finish_reason")
    logprobs = _read_logprobs(data.get("logprobs"))
    known = finish in get_args(FinishReason) and isinstance(latency, int | float) and 0 <= latency < _MOST_SECONDS
    if not known or logprobs is None or not all(isinstance(word, str) for word in words):
        return None
    said, model, thought, owner = map(str, words)
    reason, seconds = cast(FinishReason, finish), float(cast(float, latency))
    completion = Completion(said, reason, Usage(*usage), seconds, model, thought=thought, logprobs=logprobs)
    return Entry(completion if version > 1 else completion.as_read(), data["good"], owner or None)


_LOGPROBS = TypeAdapter(list[tuple[str, FiniteFloat, list[tuple[str, FiniteFloat]]]])


def _read_logprobs(data: object) -> tuple[TokenLogprobs, ...] | None:
    """The tokens of a stored reply; None for what are none."""
    if data is None:
        return ()
    try:
        found = _LOGPROBS.validate_json(json.dumps(data), strict=True)
    except ValidationError:
        return None
    return tuple(TokenLogprobs(text, logprob, tuple(top)) for text, logprob, top in found)


def _is_whole(version: object, text: str, key: str) -> bool:
    """Whether a stored text is of a known version, and its checksum, from version 2 on, is right."""
    return sealed(text, key) is True if version == _VERSION else version == 1 and sealed(text, key) is None
