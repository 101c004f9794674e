"""Toxicity scoring: the Perspective client against a server on the loopback that misbehaves, and a tiny local model."""

import importlib.util
import itertools
import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from mctsdialog.errors import (
    CacheMissError,
    ConfigError,
    DataError,
    ModelNotFoundError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
)
from mctsdialog.llm import ChatRequest, Completion, Message, ResponseCache, Retry
from mctsdialog.preferences.toxicity import (
    ATTRIBUTES,
    LocalToxicityScorer,
    PerspectiveScorer,
    ToxicityScorer,
    score_unique,
)
from mctsdialog.preferences.toxicity.perspective import MOST_BYTES, split_text
from mctsdialog.preferences.toxicity.perspective_http import PacedModel

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

KEY = "AIzaSyVerySecretKey0123456789abcdefghij"
QUICK = Retry(attempts=3, initial=0.01, maximum=0.02)


def _load_fault_server():
    """With --import-mode=importlib tests cannot import one another."""
    file = Path(__file__).resolve().parents[1] / "llm" / "fault_server.py"
    spec = importlib.util.spec_from_file_location("toxicity_fault_server", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fault_server = _load_fault_server()
reply = fault_server.response


def value(text, attribute):
    """What the server thinks of a text: depends on the text and the attribute."""
    return (len(text) * 7 + ATTRIBUTES.index(attribute)) % 100 / 100


def expected(text, attributes=ATTRIBUTES):
    return {attribute: value(text, attribute) for attribute in attributes}


def scores(values):
    summary = {name: {"summaryScore": {"value": each, "type": "PROBABILITY"}} for name, each in values.items()}
    return {"attributeScores": summary, "languages": ["en"], "detectedLanguages": ["en"]}


def good(_head, body):
    return reply(200, scores(expected(body["comment"]["text"], body["requestedAttributes"])))


def refusal(status, message, **detail):
    details = [{"@type": "type.googleapis.com/any", **detail}]
    return reply(status, {"error": {"code": status, "message": message, "status": "X", "details": details}})


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("PERSPECTIVE_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve():
    servers = []

    def start(*script):
        servers.append(fault_server.FaultServer(script or (good,)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def perspective(server, **options):
    settings = {"api_key": KEY, "requests_per_second": math.inf, "retry": QUICK, "timeout": 10.0, **options}
    return PerspectiveScorer(base_url=server.url, **settings)


def asked(server):
    return [body["comment"]["text"] for _, body in server.requests]


async def test_the_request_and_the_order(serve):
    server = serve()
    texts = ["one", "three", "one", "twelve", "three"]
    async with perspective(server) as scorer:
        assert isinstance(scorer, ToxicityScorer)
        assert (scorer.name, scorer.attributes) == ("perspective-api", ATTRIBUTES)
        found = await scorer.score(texts)
        assert await scorer.score([]) == []
    assert found == [expected(text) for text in texts]
    assert [list(each) for each in found] == [list(ATTRIBUTES)] * 5
    assert sorted(asked(server)) == ["one", "three", "twelve"]
    head, body = next(each for each in server.requests if each[1]["comment"]["text"] == "one")
    assert head.startswith("POST /v1/comments:analyze HTTP/1.1\r\n")
    assert f"x-goog-api-key: {KEY.lower()}\r\n" in head.lower()
    assert body == {
        "comment": {"text": "one"},
        "requestedAttributes": {name: {} for name in ATTRIBUTES},
        "doNotStore": True,
        "languages": ["en"],
    }


async def test_language_and_attributes(serve):
    server = serve()
    async with perspective(server, language=None, attributes=["THREAT", "TOXICITY"]) as scorer:
        assert await scorer.score(["ciao"]) == [expected("ciao", ["THREAT", "TOXICITY"])]
    assert server.requests[0][1].keys() == {"comment", "requestedAttributes", "doNotStore"}


async def test_the_key_from_the_environment_is_googles_own(serve, monkeypatch):
    sent = []

    def google(request):
        sent.append((request.url.host, request.headers.get("x-goog-api-key")))
        scores = {name: {"summaryScore": {"value": 0.5}} for name in ATTRIBUTES}
        return httpx.Response(200, json={"attributeScores": scores})

    server = serve()
    monkeypatch.setenv("PERSPECTIVE_API_KEY", f" {KEY}\n")
    async with PerspectiveScorer(transport=httpx.MockTransport(google)) as scorer:
        await scorer.score(["hi"])
    assert sent == [("commentanalyzer.googleapis.com", KEY)]
    with pytest.raises(ConfigError, match="no key"):
        perspective(server, api_key=None)
    async with perspective(server, api_key=SecretStr("another-key")) as scorer:
        await scorer.score(["hi"])
    assert "x-goog-api-key: another-key\r\n" in server.requests[0][0].lower()


BAD_SETTINGS = {
    "api_key": {"api_key": "two words"},
    "no key": {"api_key": " "},
    "base_url": {"base_url": "nowhere"},
    "query": {"base_url": f"https://example.org/v1?key={KEY}"},
    "userinfo": {"base_url": f"https://joe:{KEY}@example.org/v1"},
    "requests_per_second": {"requests_per_second": 0},
    "nan": {"requests_per_second": math.nan},
    "concurrency": {"concurrency": 0},
    "timeout": {"timeout": math.inf},
    "attributes": {"attributes": ["FLIRTATION"]},
    "no attributes": {"attributes": []},
    "twice": {"attributes": ["INSULT", "INSULT"]},
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_settings_are_checked(case):
    with pytest.raises(ConfigError) as caught:
        PerspectiveScorer(**{"api_key": KEY, **BAD_SETTINGS[case]})
    assert caught.value.field == next(iter(BAD_SETTINGS[case]))
    assert KEY not in str(caught.value)


# --- texts


@pytest.mark.parametrize("blank", ["", "  \n\t"])
async def test_an_empty_text_is_named_before_anything_is_sent(blank, serve):
    server = serve()
    async with perspective(server) as scorer:
        with pytest.raises(DataError, match="item 2: the text is empty") as caught:
            await scorer.score(["a", "b", blank])
    assert caught.value.item == 2
    assert server.count == 0


@pytest.mark.parametrize("texts", ["one text", ["fine", 3], ["fine", "half \ud83d"]])
async def test_what_is_no_list_of_texts(texts, serve):
    server = serve()
    async with perspective(server) as scorer:
        with pytest.raises(DataError):
            await scorer.score(texts)
    assert server.count == 0


async def test_a_text_in_a_language_that_is_not_rated(serve):
    def answer(head, body):
        if body["comment"]["text"] == "bonjour":
            message = "Attribute PROFANITY does not support request languages: fr"
            return refusal(400, message, errorType="LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE")
        return good(head, body)

    server = serve(answer)
    async with perspective(server, language=None) as scorer:
        for call in (scorer.score, lambda texts: score_unique(scorer, texts)):
            with pytest.raises(DataError, match=r"item 3: .*not support request languages: fr") as caught:
                await call(["a", "a", "a", "bonjour", "bonjour"])
            assert caught.value.item == 3
    assert asked(server).count("bonjour") == 2  # once a call: no retries


async def test_a_long_text_is_scored_in_parts(serve):
    long = " ".join(f"word-{index}" for index in range(5_000))
    server = serve()
    async with perspective(server) as scorer:
        found = await scorer.score(["short", long])
    parts = [text for text in asked(server) if text != "short"]
    assert len(parts) == 3
    assert "".join(sorted(parts, key=long.index)) == long
    assert all(len(part.encode()) <= MOST_BYTES for part in parts)
    assert found[1] == {name: max(value(part, name) for part in parts) for name in ATTRIBUTES}


@given(st.text(alphabet=st.sampled_from("aé漢😀 \n"), max_size=200), st.integers(4, 40))
def test_parts_joined_are_the_text(text, most):
    parts = list(split_text(text, most))
    assert "".join(parts) == text
    assert all(len(part.encode()) <= most for part in parts)
    for part, following in itertools.pairwise(parts):  # a word is cut only where it does not fit
        assert part[-1].isspace() or len(part.split()) == 1
        assert part
        assert following


@given(st.lists(st.text(alphabet="ab \n", min_size=1, max_size=4).filter(str.strip), max_size=12))
def test_order_and_length_hold_for_any_texts(texts):
    count = 0

    def answer(request):
        nonlocal count
        count += 1
        return httpx.Response(200, json=scores(expected(json.loads(request.content)["comment"]["text"])))

    scorer = PerspectiveScorer(KEY, requests_per_second=math.inf, transport=httpx.MockTransport(answer))
    assert anyio.run(scorer.score, texts) == [expected(text) for text in texts]
    assert count == len(set(texts))


# --- cache


async def test_nothing_is_asked_twice_with_a_cache(serve, tmp_path):
    server = serve()
    async with perspective(server, cache=tmp_path) as scorer:
        first = await scorer.score(["one", "three"])
        assert await scorer.score(["three", "one"]) == first[::-1]
    async with perspective(server, cache=str(tmp_path)) as scorer:
        assert await scorer.score(["one", "three"]) == first
        assert server.count == 2
        await scorer.score(["one", "three!"])
    assert asked(server)[2:] == ["three!"]
    async with perspective(server, cache=tmp_path, language="de") as scorer:
        await scorer.score(["one"])
    async with perspective(server, cache=tmp_path, attributes=["INSULT"]) as scorer:
        await scorer.score(["one"])
    assert server.count == 5


async def test_a_cache_replays_without_key_and_network(serve, tmp_path):
    server = serve()
    async with perspective(server, cache=tmp_path) as scorer:
        found = await scorer.score(["one"])
    with ResponseCache(tmp_path, mode="read-only") as cache:
        async with perspective(server, cache=cache, api_key=None) as scorer:
            assert await scorer.score(["one"]) == found
            with pytest.raises(CacheMissError):
                await scorer.score(["two"])
    async with perspective(server, cache=tmp_path, api_key=None) as scorer:
        assert await scorer.score(["one"]) == found
        with pytest.raises(ConfigError, match="PERSPECTIVE_API_KEY"):
            await scorer.score(["two"])
    assert server.count == 1


@pytest.mark.parametrize("text", ["nonsense", "[1]", '{"TOXICITY": 0.5}', json.dumps(dict.fromkeys(ATTRIBUTES, 2))])
async def test_a_tampered_cache_gives_no_scores(text, serve, tmp_path, monkeypatch):
    server = serve()
    async with perspective(server, cache=tmp_path) as scorer:
        key_of = scorer._model.name
        found = await scorer.score(["one"])
    with ResponseCache(tmp_path) as cache:
        cache.keep(key_of, ChatRequest((Message("user", "one"),)), Completion(text))
    with ResponseCache(tmp_path, mode="read-only") as cache:
        async with perspective(server, cache=cache) as scorer:
            with pytest.raises(ModelResponseError):
                await scorer.score(["one"])
    async with perspective(server, cache=tmp_path) as scorer:
        assert await scorer.score(["one"]) == found  # asked again, and put right
        assert await scorer.score(["one"]) == found
    assert server.count == 2


async def test_an_error_keeps_what_was_scored(serve, tmp_path):
    def answer(head, body):
        return reply(400, "no") if body["comment"]["text"] == "text 5" else good(head, body)

    server = serve(answer)
    texts = [f"text {index}" for index in range(10)]
    async with perspective(server, cache=tmp_path, concurrency=1) as scorer:
        with pytest.raises(ModelRequestError):
            await scorer.score(texts)
    assert asked(server) == texts[:6]
    other = serve()
    async with perspective(other, cache=tmp_path) as scorer:
        assert await scorer.score(texts) == [expected(text) for text in texts]
    assert sorted(asked(other)) == texts[5:]


async def test_cancellation_keeps_what_was_scored(serve, tmp_path):
    server = serve(good, good, "hang")
    texts = [f"text {index}" for index in range(6)]
    async with perspective(server, cache=tmp_path, concurrency=1) as scorer, anyio.create_task_group() as group:
        group.start_soon(scorer.score, texts)
        while server.count < 3:
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    other = serve()
    async with perspective(other, cache=tmp_path) as scorer:
        await scorer.score(texts)
    assert sorted(asked(other)) == texts[2:]


def test_a_killed_process_keeps_what_was_scored(serve, tmp_path):
    server = serve(good, good, good, "hang")
    code = (
        "import anyio, math, sys\n"
        "from mctsdialog.preferences.toxicity import PerspectiveScorer\n"
        "scorer = PerspectiveScorer('k', base_url=sys.argv[1], cache=sys.argv[2], concurrency=1,"
        " requests_per_second=math.inf)\n"
        "anyio.run(scorer.score, [f'text {index}' for index in range(6)])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, server.url, str(tmp_path)])
    try:
        while server.count < 4 and process.poll() is None:
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    other = serve()

    async def go_on():
        async with perspective(other, cache=tmp_path) as scorer:
            return await scorer.score([f"text {index}" for index in range(6)])

    assert len(anyio.run(go_on)) == 6
    assert sorted(asked(other)) == ["text 3", "text 4", "text 5"]


# --- faults

PASSING = {
    "429": (lambda: refusal(429, "Quota exceeded", reason="RATE_LIMIT_EXCEEDED"), ModelUnavailableError),
    "429-retry-after": (lambda: reply(429, "", retry_after="0"), ModelUnavailableError),
    "500": (lambda: reply(500, "oops"), ModelUnavailableError),
    "503-html": (lambda: reply(503, "<html>busy</html>"), ModelUnavailableError),
    "reset": (lambda: "reset", ModelUnavailableError),
    "half-a-body": (lambda: reply(200, '{"attributeScores": {', length=500), ModelResponseError),
    "malformed": (lambda: reply(200, '{"attributeScores": {]'), ModelResponseError),
    "deep": (lambda: reply(200, "[" * 100_000), ModelResponseError),
    "html": (lambda: reply(200, "<html>Sign in</html>"), ModelResponseError),
    "list": (lambda: reply(200, "[1]"), ModelResponseError),
    "no-scores": (lambda: reply(200, {"languages": ["en"]}), ModelResponseError),
    "huge": (lambda: reply(200, " " * 2**21), ModelResponseError),
    "204": (lambda: reply(204), ModelResponseError),
}
for _name, _value in {
    "above": 1.01,
    "below": -0.01,
    "nan": math.nan,
    "infinite": math.inf,
    "text": "0.5",
    "null": None,
    "true": True,
    "big": 10**400,
}.items():
    PASSING[_name] = (lambda each=_value: reply(200, scores({**expected("a"), "INSULT": each})), ModelResponseError)
for _name, _scores in {
    "missing": {"TOXICITY": 0.5},
    "odd": {**scores(expected("a"))["attributeScores"], "INSULT": 0.5},
    "odd-summary": {**scores(expected("a"))["attributeScores"], "INSULT": {"summaryScore": 0.5}},
    "empty-summary": {**scores(expected("a"))["attributeScores"], "INSULT": {"summaryScore": {}}},
}.items():
    PASSING[_name] = (lambda each=_scores: reply(200, {"attributeScores": each}), ModelResponseError)


@pytest.mark.parametrize("fault", PASSING)
async def test_a_passing_fault_is_tried_again(fault, serve):
    server = serve(PASSING[fault][0](), good)
    async with perspective(server) as scorer:
        assert await scorer.score(["hello"]) == [expected("hello")]
    assert server.count == 2


@pytest.mark.parametrize("fault", PASSING)
async def test_a_lasting_fault_is_one_error_and_never_a_score(fault, serve, tmp_path):
    server = serve(PASSING[fault][0]())
    async with perspective(server, cache=tmp_path) as scorer:
        with pytest.raises(PASSING[fault][1]) as caught:
            await scorer.score(["hello"])
    assert type(caught.value) is PASSING[fault][1]
    assert caught.value.__notes__ == ["after 3 attempts"]
    assert server.count == 3
    with ResponseCache(tmp_path) as cache:
        assert cache.info().entries == 0


async def test_retry_after_is_waited_out(serve):
    server = serve(reply(429, "", retry_after="0.3"), good)
    async with perspective(server) as scorer:
        started = time.monotonic()
        await scorer.score(["hello"])
        assert time.monotonic() - started >= 0.3


async def test_a_call_is_bounded_in_time(serve):
    server = serve("drip")
    async with perspective(server, timeout=0.3, retry=None) as scorer:
        with anyio.fail_after(10), pytest.raises(ModelUnavailableError, match=r"within 0\.3 s"):
            await scorer.score(["hello"])


FINAL = {
    "400": (lambda: refusal(400, "Unknown requested attribute: X", errorType="INVALID_REQUEST"), "Unknown requested"),
    "400-text": (lambda: reply(400, "just words"), "just words"),
    "400-odd": (lambda: reply(400, {"error": {"message": "odd", "details": 3}}), "odd"),
    "400-key": (lambda: refusal(400, "API key not valid.", reason="API_KEY_INVALID"), "not valid.*PERSPECTIVE_API_KEY"),
    "401": (lambda: reply(401), "PERSPECTIVE_API_KEY"),
    "403": (
        lambda: refusal(403, f"Consumer 'api_key:{KEY}' suspended."),
        r"\[redacted\].*PERSPECTIVE_API_KEY",
    ),
    "404": (lambda: reply(404, "<html>"), "base_url"),
    "413": (lambda: reply(413, "x" * 10_000), "…$"),
    "302": (lambda: reply(302, "", location=f"https://u:p@example.org/?key={KEY}"), r"https://example\.org/\)"),
}


@pytest.mark.parametrize("case", FINAL)
async def test_a_refusal_is_final(case, serve):
    server = serve(FINAL[case][0]())
    async with perspective(server) as scorer:
        with pytest.raises(ModelRequestError, match=FINAL[case][1]) as caught:
            await scorer.score(["hello"])
    assert server.count == 1
    assert KEY not in str(caught.value)
    assert len(str(caught.value)) < 700


async def test_the_key_is_nowhere(serve, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    server = serve(
        refusal(429, f"quota of {KEY} spent"),
        reply(200, f"no JSON but {KEY}"),
        reply(200, scores(dict.fromkeys(ATTRIBUTES, KEY))),
        good,
        reply(400, f"bad {KEY}"),
        refusal(400, f"no such language, {KEY}", errorType="LANGUAGE_DETECTION_FAILED"),
    )
    shown = []
    async with perspective(server, cache=tmp_path, retry=Retry(attempts=4, initial=0)) as scorer:
        await scorer.score(["hello"])
        for text in ("two", "three"):
            with pytest.raises((ModelRequestError, DataError)) as caught:
                await scorer.score([text])
            shown += [str(caught.value), repr(caught.value), repr(caught.value.__cause__), repr(vars(caught.value))]
        shown += [repr(scorer), repr(scorer._model), repr(vars(scorer))]
    assert server.count == 6
    assert KEY not in "".join(shown) + caplog.text
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


# --- limits


async def test_the_server_sees_no_more_than_concurrency(serve):
    gate = threading.Barrier(4, timeout=30)

    def together(head, body):
        gate.wait()  # passes only when four requests are in the server at once
        time.sleep(0.03)  # for a fifth to show
        return good(head, body)

    server = serve(together)
    async with perspective(server, concurrency=4) as scorer, anyio.create_task_group() as group:
        for start in (0, 8):  # two calls share the limit
            group.start_soon(scorer.score, [f"text {index}" for index in range(start, start + 8)])
    assert server.count == 16
    assert server.peak == 4


async def test_the_pace_by_a_false_clock():
    class Inner:
        name = "inner"

        async def complete(self, request):
            begun.append(clock[0])
            if request.sample == 0:
                raise ModelUnavailableError("busy")
            return Completion("")

        async def aclose(self):
            pass

    async def sleep(seconds):
        slept.append(seconds)

    begun, slept, clock = [], [], [100.0]
    model = PacedModel(Inner(), 4.0)
    model._clock, model._sleep = lambda: clock[0], sleep
    request = ChatRequest((Message("user", "x"),), sample=1)
    for _ in range(3):
        await model.complete(request)
    assert slept == [0.0, 0.25, 0.5]
    clock[0] = 100.6
    with pytest.raises(ModelUnavailableError):
        await model.complete(ChatRequest((Message("user", "x"),)))
    await model.complete(request)
    assert slept[3:] == [pytest.approx(0.15), pytest.approx(0.4)]
    clock[0] = 200.0
    await model.complete(request)
    assert slept[5:] == [0.0]  # idle time is not saved up
    await model.aclose()


async def test_the_rate_that_the_server_sees(serve, tmp_path):
    times = []

    def timed(head, body):
        times.append(time.monotonic())
        return reply(503) if len(times) == 2 else good(head, body)

    server = serve(timed)
    started = time.monotonic()
    async with perspective(server, requests_per_second=20.0, cache=tmp_path) as scorer:
        await scorer.score([f"text {index}" for index in range(5)])
        paced = time.monotonic()
        await scorer.score([f"text {index}" for index in range(5)] * 100)
        assert server.count == 6  # the retry included; what the cache holds takes no turn
    assert paced - started >= 5 / 20


def test_one_scorer_for_several_event_loops(anyio_backend, serve):
    server = serve()
    scorer = perspective(server)
    for text in ("a", "b"):
        assert anyio.run(scorer.score, [text], backend=anyio_backend) == [expected(text)]


# --- any scorer


class Scorer:
    """Gives canned answers."""

    name = "canned"
    attributes = ("TOXICITY", "INSULT")

    def __init__(self, answer=None):
        self.calls = []
        self.answer = answer or (lambda texts: [expected(text, self.attributes) for text in texts])

    async def score(self, texts, /):
        self.calls.append(list(texts))
        return self.answer(texts)


@given(st.lists(st.text(min_size=1, max_size=3).filter(str.strip), max_size=15))
def test_score_unique_keeps_order_and_length(texts):
    scorer = Scorer()
    found = anyio.run(score_unique, scorer, texts)
    assert found == [expected(text, scorer.attributes) for text in texts]
    assert scorer.calls == ([list(dict.fromkeys(texts))] if texts else [])
    assert len({id(each) for each in found}) == len(texts)


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [{"TOXICITY": 0.1, "INSULT": 0.1}, {"TOXICITY": 0.1}],
        [{"TOXICITY": 0.1, "INSULT": 0.1}, {"TOXICITY": 0.1, "INSULT": 1.1}],
        [{"TOXICITY": 0.1, "INSULT": 0.1}, {"TOXICITY": 0.1, "INSULT": math.nan}],
        [{"TOXICITY": 0.1, "INSULT": 0.1}, None],
    ],
)
async def test_score_unique_distrusts_the_scorer(answer):
    with pytest.raises(ModelResponseError, match="canned"):
        await score_unique(Scorer(lambda texts: answer), ["a", "b"])


async def test_score_unique_names_the_callers_index():
    def refuse(texts):
        raise DataError("will not do", item=1)

    with pytest.raises(DataError, match="item 3: will not do"):
        await score_unique(Scorer(refuse), ["a", "a", "a", "b"])


# --- the local scorer

TOXIC_BERT = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
MULTI = "multi_label_classification"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """Writes tiny random classifiers: ``make_model(labels, problem_type)`` returns the folder."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import torch

    def make(labels, problem_type=MULTI, head=True):
        folder = tmp_path_factory.mktemp("model")
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            problem_type=problem_type,
            initializer_range=0.5,
        )
        (transformers.BertForSequenceClassification if head else transformers.BertModel)(config).save_pretrained(folder)
        if not head:
            config.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def toxic_bert(make_model):
    return make_model(TOXIC_BERT)


def logits_of(folder, text, length=64):
    """The logits of a text's first window, computed by hand."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=length)
    with torch.no_grad():
        return AutoModelForSequenceClassification.from_pretrained(folder).eval()(**tokens).logits[0]


def near(scores):
    """Batches of other shapes differ in the last digits."""
    return pytest.approx(scores, abs=1e-5)


async def test_local_scores_are_the_sigmoid_of_their_labels(toxic_bert):
    texts = ["a b c", "x", "a b c", "q r s t u v w"]
    async with LocalToxicityScorer(str(toxic_bert), device="cpu", batch_size=2) as scorer:
        assert isinstance(scorer, ToxicityScorer)
        assert scorer.attributes == ATTRIBUTES
        found = await scorer.score(texts)
        assert await scorer.score([]) == []
    assert [list(each) for each in found] == [list(ATTRIBUTES)] * 4
    columns = dict(zip(ATTRIBUTES, [0, 1, 5, 4, 2, 3], strict=True))
    for text, each in zip(texts, found, strict=True):
        direct = logits_of(toxic_bert, text).sigmoid()
        assert each == {name: pytest.approx(float(direct[columns[name]]), abs=1e-5) for name in ATTRIBUTES}
    assert found[0] == found[2] != found[1]
    assert found[0] is not found[2]


@pytest.mark.parametrize(
    ("labels", "problem", "attributes", "softmax"),
    [
        (["non-toxic", "toxic"], None, ("TOXICITY",), True),
        (["neutral", "Toxic"], "single_label_classification", ("TOXICITY",), True),
        (["neutral", "toxic", "threat"], "single_label_classification", ("TOXICITY", "THREAT"), True),
        (["toxicity", "insult"], None, ("TOXICITY", "INSULT"), False),
        (["toxic", "other"], MULTI, ("TOXICITY",), False),
        (["sexual", "threat", "Identity Attack"], None, ("IDENTITY_ATTACK", "THREAT"), False),
        (["toxic"], None, ("TOXICITY",), False),
    ],
)
async def test_other_sets_of_labels(labels, problem, attributes, softmax, make_model):
    folder = make_model(labels, problem)
    async with LocalToxicityScorer(folder, device="cpu") as scorer:
        assert scorer.attributes == attributes
        (found,) = await scorer.score(["a b c"])
    logits = logits_of(folder, "a b c")
    direct = logits.softmax(-1) if softmax else logits.sigmoid()
    known = {"toxic": "TOXICITY", "toxicity": "TOXICITY", "identity attack": "IDENTITY_ATTACK"}
    by_name = {known.get(label.lower(), label.upper()): float(each) for label, each in zip(labels, direct, strict=True)}
    assert found == {name: pytest.approx(by_name[name], abs=1e-5) for name in attributes}


async def test_a_long_text_is_cut_into_windows(toxic_bert):
    words = [WORDS[5 + index % 26] for index in range(45)]
    async with LocalToxicityScorer(toxic_bert, device="cpu", max_tokens=18) as scorer:
        long, short = await scorer.score([" ".join(words), "a b"])
    windows = [words[start : start + 16] for start in range(0, 45, 14)]  # 18 less two marks; they share 18 // 8
    direct = [logits_of(toxic_bert, " ".join(window)).sigmoid() for window in windows]
    assert long["TOXICITY"] == pytest.approx(max(float(each[0]) for each in direct), abs=1e-5)
    assert long["THREAT"] == pytest.approx(max(float(each[3]) for each in direct), abs=1e-5)
    assert short["TOXICITY"] == pytest.approx(float(logits_of(toxic_bert, "a b").sigmoid()[0]), abs=1e-5)


async def test_max_tokens_above_the_models_own(toxic_bert):
    async with LocalToxicityScorer(toxic_bert, device="cpu", max_tokens=5000) as scorer:
        assert len(await scorer.score(["a " * 1000])) == 1


async def test_local_calls_overlap_and_leave_the_loop_free(toxic_bert):
    texts = [" ".join(WORDS[5 : 6 + index]) for index in range(20)]
    scorer = LocalToxicityScorer(toxic_bert, device="cpu", batch_size=4)
    ticks, found = 0, []

    async def call():
        found.append(await scorer.score(texts))

    async def tick():
        nonlocal ticks
        while len(found) < 3:
            ticks += 1
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        for each in (call, call, call, tick):
            group.start_soon(each)
    for each in zip(*found, strict=True):
        assert near(each[0]) == each[1]
        assert near(each[0]) == each[2]
    assert ticks > 3
    await scorer.aclose()
    await scorer.aclose()
    assert await scorer.score(texts[:1]) == [near(found[0][0])]


async def test_an_empty_text_is_an_error_here_too(toxic_bert):
    scorer = LocalToxicityScorer(toxic_bert, device="cpu")
    with pytest.raises(DataError, match="item 1"):
        await scorer.score(["a", " "])


async def test_weights_that_give_no_number(make_model):
    import torch
    from transformers import BertForSequenceClassification

    folder = make_model(["toxic", "insult"])
    model = BertForSequenceClassification.from_pretrained(folder)
    torch.nn.init.constant_(model.classifier.bias, math.nan)
    model.save_pretrained(folder)
    with pytest.raises(ModelResponseError, match="nan"):
        await LocalToxicityScorer(folder, device="cpu").score(["a"])


async def test_a_model_without_a_trained_head(make_model):
    folder = make_model(TOXIC_BERT, head=False)
    with pytest.raises(ConfigError, match="not a trained classifier, it lacks classifier"):
        await LocalToxicityScorer(folder, device="cpu").score(["a"])


async def test_a_device_that_is_not_there(toxic_bert):
    with pytest.raises(ConfigError, match="'no-such-device'") as caught:
        await LocalToxicityScorer(toxic_bert, device="no-such-device").score(["a"])
    assert caught.value.field == "device"


def test_a_model_of_other_labels(make_model):
    with pytest.raises(ConfigError, match="it has: happy, sad"):
        LocalToxicityScorer(make_model(["happy", "sad"]))
    with pytest.raises(ConfigError, match="regression"):
        LocalToxicityScorer(make_model(["toxic"], "regression"))


def test_a_model_that_is_not_there(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    with pytest.raises(ModelNotFoundError, match="no such folder"):
        LocalToxicityScorer(str(tmp_path / "nowhere"))
    with pytest.raises(ModelNotFoundError, match="cannot be loaded"):
        LocalToxicityScorer(tmp_path)
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match="nobody/no-such-model cannot be loaded"):
        LocalToxicityScorer("nobody/no-such-model")


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_without_the_extra(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"mctsdialog\[train\]"):
        LocalToxicityScorer()


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"max_tokens": 15}])
def test_local_settings_are_checked(options):
    with pytest.raises(ConfigError) as caught:
        LocalToxicityScorer(**options)
    assert caught.value.field == next(iter(options))
