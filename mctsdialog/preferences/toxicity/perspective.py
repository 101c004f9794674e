"""The Perspective API, by which the paper rates its corpora (Appendix C.4, Table 7)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from anyio.lowlevel import checkpoint
from pydantic import SecretStr

from mctsdialog._concurrency import for_each
from mctsdialog.errors import ConfigError, DataError, ModelResponseError
from mctsdialog.llm import ChatRequest, Limits, Message, ResponseCache, Retry, build_stack
from mctsdialog.llm.address import origin, warn_of_plain_http
from mctsdialog.llm.base import ClosingModel
from mctsdialog.llm.secret import checked_key
from mctsdialog.preferences.toxicity.base import ATTRIBUTES, check_scores, check_texts, highest
from mctsdialog.preferences.toxicity.perspective_http import TEXT_FIELD, PacedModel, PerspectiveModel

MOST_BYTES = 20_480
"""The longest text that the API takes, in bytes of UTF-8."""

_GOOGLE = "https://commentanalyzer.googleapis.com/v1alpha1"
_PATIENT = Retry(attempts=8, initial=1.0)  # a minute and more: the API counts its quota by the minute


class PerspectiveScorer(ClosingModel):
    """Rates texts through the Perspective API (which its makers close at the end of 2026).

    The API takes one text a call and by default one call a second. Scores are kept in ``cache`` as they come: after
    an error or a crash, the same call goes on with the texts that are left. A text of more than 20,480 bytes is cut
    at white space into parts, which are scored one by one; the highest score of the parts is the text's. The server
    is asked not to store the texts.

    One object serves several calls at once and several event loops; pace and concurrency hold for all of them.

    :param api_key: None takes the environment variable PERSPECTIVE_API_KEY where ``base_url`` is Google's own server;
        another server's key must be given here. It is sent as a header and appears in no address, repr, error, log or
        cache. With a cache it may be missing: texts that the cache holds need none.
    :param base_url: the server, up to and including the version; without user, password and query.
    :param requests_per_second: most calls that begin in a second, retries included, evenly spaced; above 0.
        ``math.inf`` for no pace. The default is the API's own quota.
    :param concurrency: most calls at once, at least 1.
    :param cache: folder of the scores, or an open cache; a read-only one replays without network. The model behind
        the API may change; a cached score stays. None for no cache.
    :param language: ISO code of the texts' language. None lets the server detect it for each text, and a text in a
        language that it does not rate is a :class:`DataError`.
    :param attributes: some or all of :data:`ATTRIBUTES`; not all of them exist in every language.
    :param retry: how faults that pass (429, 5xx, connections, senseless answers) are met; None for one attempt.
    :param timeout: seconds for one call, above 0.
    :param transport: an httpx transport in place of the network, for tests.
    :raises ConfigError: for a value out of range, or neither key nor cache.
    """

    def __init__(
        self,
        api_key: str | SecretStr | None = None,
        *,
        base_url: str = _GOOGLE,
        requests_per_second: float = 1.0,
        concurrency: int = 8,
        cache: str | Path | ResponseCache | None = None,
        language: str | None = "en",
        attributes: Sequence[str] = ATTRIBUTES,
        retry: Retry | None = _PATIENT,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        _check(requests_per_second, timeout, attributes)
        limits = Limits(concurrency)
        self._address = _address(base_url)
        googles = origin(self._address) == origin(_GOOGLE)
        key = checked_key(api_key, "PERSPECTIVE_API_KEY" if googles else None)
        if key is None and cache is None:
            raise ConfigError(
                "no key for the Perspective API: api_key=, or the environment variable PERSPECTIVE_API_KEY",
                field="api_key",
            )
        if key is not None:
            warn_of_plain_http(self._address)
        self.attributes = tuple(attributes)
        self._concurrency = concurrency
        model = PerspectiveModel(
            f"perspective-api:{language or 'detected'}:{','.join(self.attributes)}",
            address=self._address,
            key=key,
            attributes=self.attributes,
            language=language,
            timeout=timeout,
            concurrency=concurrency,
            transport=transport,
        )
        self._own_cache = ResponseCache(cache) if isinstance(cache, str | Path) else None
        store = cache if isinstance(cache, ResponseCache) else self._own_cache
        # The pace is next to the server: whoever has his turn goes out at once, and waits for no slot.
        self._model = build_stack(PacedModel(model, requests_per_second), cache=store, limits=limits, retry=retry)

    @property
    def name(self) -> str:
        """Name of the scorer."""
        return "perspective-api"

    async def score(self, texts: Sequence[str], /) -> list[dict[str, float]]:
        """Rate texts; equal ones are asked once.

        The first error ends the call and cancels the requests in flight; what was scored before it is in the cache.

        :returns: for every text, in their order, the probability in [0, 1] of each attribute.
        :raises DataError: for a text that is empty, or that the server refuses for its language; ``item`` is its
            index. An empty text is found before anything is sent. Also for a cache that cannot be written.
        :raises ConfigError: when a text must be asked, and there is no key.
        :raises ModelRequestError: the server refuses the key or the request; not tried again.
        :raises ModelUnavailableError: it cannot answer, after the attempts of ``retry``.
        :raises ModelResponseError: it answers without a score, or one outside [0, 1], after the same attempts.
        :raises CacheMissError: for a text that a read-only cache does not hold.
        """
        parts_of: dict[str, list[str]] = {}
        parts: dict[str, int] = {}  # with the index of the text to blame
        for text, index in check_texts(texts).items():
            parts_of[text] = [part for part in split_text(text) if part.strip()]
            for part in parts_of[text]:
                parts.setdefault(part, index)
        scores = await self._ask_all(parts)
        return [highest(scores[part] for part in parts_of[text]) for text in texts]

    async def _ask_all(self, parts: dict[str, int]) -> dict[str, dict[str, float]]:
        """The scores of the parts; the first error as it came, in no group."""
        scores: dict[str, dict[str, float]] = {}

        async def ask(part: str) -> None:
            await checkpoint()  # what the cache holds comes without one
            scores[part] = await self._ask(part, parts[part])

        await for_each(list(parts), ask, concurrency=self._concurrency)
        return scores

    async def _ask(self, part: str, index: int) -> dict[str, float]:
        try:
            completion = await self._model.complete(ChatRequest((Message("user", part),), accept=self._accept))
        except DataError as error:
            if error.field != TEXT_FIELD:
                raise
            raise DataError(error.reason, item=index, field=TEXT_FIELD) from None
        return self._read(completion.text)

    def _read(self, text: str) -> dict[str, float]:
        """The scores in an answer, which may come out of a cache and then be anything."""
        try:
            scores = json.loads(text)
        except (ValueError, RecursionError):
            scores = None
        return check_scores(scores, self.attributes, name=self.name)

    def _accept(self, text: str) -> None:
        try:
            self._read(text)
        except ModelResponseError as error:
            raise ValueError(str(error)) from None

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and the cache if a folder was given. May be called twice."""
        await self._model.aclose()
        if self._own_cache is not None:
            self._own_cache.close()

    def __repr__(self) -> str:
        return f"PerspectiveScorer(base_url={str(self._address).removesuffix('/comments:analyze')!r})"


def split_text(text: str, most_bytes: int = MOST_BYTES) -> Iterator[str]:
    """``text`` in parts of at most ``most_bytes`` bytes of UTF-8, which joined are the text.

    Cut after the last white space that fits; a longer word is cut between two characters.

    :param most_bytes: at least 4, the longest character.
    """
    raw, start = text.encode(), 0
    while len(raw) - start > most_bytes:
        end = start + most_bytes
        while raw[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        part = raw[start:end].decode()
        cut = next((size for size in range(len(part), 0, -1) if part[size - 1].isspace()), len(part))
        yield part[:cut]
        start += len(part[:cut].encode())
    yield raw[start:].decode()


def _check(requests_per_second: float, timeout: float, attributes: Sequence[str]) -> None:
    if not requests_per_second > 0:
        raise ConfigError(
            f"requests_per_second must be above 0, not {requests_per_second}", field="requests_per_second"
        )
    if not 0 < timeout < math.inf:
        raise ConfigError(f"timeout must be a number of seconds above 0, not {timeout}", field="timeout")
    unknown = [name for name in attributes if name not in ATTRIBUTES]
    if unknown or not attributes or len(set(attributes)) < len(attributes):
        raise ConfigError(f"attributes must be some of {', '.join(ATTRIBUTES)}, each once", field="attributes")


def _address(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ConfigError(
            "base_url must be an http:// or https:// address without user, password and query", field="base_url"
        )
    return url.copy_with(path=f"{url.path.rstrip('/')}/comments:analyze")
