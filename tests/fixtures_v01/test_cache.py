"""Caches of version 0.1: what was paid for is answered from them, wherever the server is now."""

import json
from pathlib import Path

import anyio
import httpx
import pytest

import mctsdialog
from mctsdialog import ResponseCache
from mctsdialog.llm import CachedModel, ChatRequest, Message, OpenAIChat, Sampling, ScriptedModel
from mctsdialog.preferences import load_preferences
from mctsdialog.statistics import ATTRIBUTES, toxicity_table

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def recorded(take):
    """The requests that were made, as they stand beside the cache."""
    take("cache")
    return json.loads(Path("cache/requests.json").read_text("utf-8"))


def request_of(row, **more):
    sampling = {**row["sampling"], "stop": tuple(row["sampling"]["stop"])}
    messages = tuple(Message(*each) for each in row["messages"])
    return ChatRequest(messages, Sampling(**sampling), row["schema"], row["sample"], **more)


def no_network(request):
    raise AssertionError(f"a call went out to {request.url}")


def model_of(row, address):
    """The client that a user makes for a row's model."""
    extra = {"top_k": 40} if "#" in row["model"] else None
    model = OpenAIChat("stub", base_url=address, api_key="k", extra=extra, transport=httpx.MockTransport(no_network))
    assert model.name == row["model"]
    return model


def check(row, completion):
    assert completion.cached
    assert (completion.text, completion.finish_reason) == (row["reply"], row["finish_reason"])
    usage = completion.usage
    assert [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens] == row["usage"]


@pytest.mark.parametrize("mode", ["read-write", "read-only"])
@pytest.mark.parametrize("address", ["https://models.example/v1", "http://127.0.0.1:9/v1"])
def test_every_good_reply_is_a_hit(recorded, mode, address):
    good = [row for row in recorded["requests"] if row["good"]]
    assert len(good) >= 11

    async def ask():
        with ResponseCache("cache", mode=mode) as cache:
            for row in good:
                check(row, await CachedModel(model_of(row, address), cache).complete(request_of(row)))
            assert (cache.stats.hits, cache.stats.misses, cache.stats.corrupt) == (len(good), 0, 0)

    anyio.run(ask)


def test_a_reply_is_of_one_server_from_its_first_use_on(recorded):
    """They were recorded at one address, which the cache did not note; a second server is asked itself."""
    good = [row for row in recorded["requests"] if row["good"]]
    names = {row["model"] for row in good}
    one, two = "https://models.example/v1", "http://127.0.0.1:9/v1"

    async def ask(address, replies=()):
        with ResponseCache("cache") as cache:
            models = {
                name: CachedModel(ScriptedModel(list(replies), name=name, identity=f"{name}@{address}"), cache)
                for name in names
            }
            return [(await models[row["model"]].complete(request_of(row))).text for row in good]

    replies = [row["reply"] for row in good]
    assert anyio.run(ask, one) == replies
    assert set(anyio.run(ask, two, ["new"] * len(good))) == {"new"}
    assert anyio.run(ask, one) == replies
    assert set(anyio.run(ask, two)) == {"new"}


def test_a_bad_reply_is_replayed_and_asked_for_again_otherwise(recorded):
    bad = [row for row in recorded["requests"] if not row["good"]]
    assert {row["finish_reason"] for row in bad} == {"stop", "length"}

    async def ask(mode, model):
        with ResponseCache("cache", mode=mode) as cache:
            return [await CachedModel(model, cache).complete(request_of(row)) for row in bad]

    nobody = ScriptedModel([], name="stub")
    for row, completion in zip(bad, anyio.run(ask, "read-only", nobody), strict=True):
        check(row, completion)
    model = ScriptedModel(["new"] * len(bad), name="stub")
    assert [each.text for each in anyio.run(ask, "read-write", model)] == ["new"] * len(bad)
    assert model.calls == len(bad)


def test_the_old_keys_are_still_answered(recorded):
    with ResponseCache("cache", mode="read-only") as cache:
        for row in recorded["requests"]:
            entry = cache.lookup(row["key"])
            assert (entry.completion.text, entry.good) == (row["reply"], row["good"])
        assert cache.info().entries == len({row["key"] for row in recorded["requests"]}) == len(recorded["requests"])


def test_scores_of_the_perspective_api_are_still_in_their_cache(take, expected, holds):
    """Its client is gone; a scorer of one's own can answer from what it left."""
    take("statistics", "preferences/random")

    class Kept:
        name = "kept"
        attributes = ATTRIBUTES

        async def score(self, texts, /):
            with ResponseCache("statistics/toxicity-cache", mode="read-only") as cache:
                model = CachedModel(ScriptedModel([], name=f"perspective-api:en:{','.join(ATTRIBUTES)}"), cache)
                requests = [ChatRequest((Message("user", text),)) for text in texts]
                return [json.loads((await model.complete(request)).text) for request in requests]

    table = anyio.run(toxicity_table, load_preferences("preferences/random")["train"], Kept())
    holds(table.rows, expected["toxicity"])


def test_the_request_of_a_role_is_what_it_was(take):
    """Own prompts: the layout of the messages decides whether a cache is of use."""
    take("search/finished", "domain.json", "dialogues.jsonl")
    domain = mctsdialog.load_domain("domain.json")
    work = next(iter(mctsdialog.read_dialogues("dialogues.jsonl", domain=domain)))

    async def ask():
        with ResponseCache("search/finished/cache", mode="read-only") as cache:
            model = CachedModel(ScriptedModel([], name="stub"), cache)
            roles = mctsdialog.Roles.from_model(model, domain=domain).bind(work.scenario)
            return await roles.strategist.score(work.turns[:1])

    tree = json.loads(Path("search/finished/trees/work.json").read_text("utf-8"))
    scores = {node["strategy"]: node["score"] for node in tree["nodes"][1:4]}
    assert anyio.run(ask) == scores
