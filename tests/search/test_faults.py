"""A whole search against a server that fails in every way it can: it recovers, or ends in one clear error."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest

import mctsdialog
from mctsdialog.errors import ModelRequestError, ModelUnavailableError, ReplyError
from mctsdialog.tree import tree_to_document

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

_spec = importlib.util.spec_from_file_location(
    "search_fault_server", Path(__file__).parents[1] / "llm" / "fault_server.py"
)
faults = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(faults)

CONFIG = mctsdialog.SearchConfig(max_iterations=6, min_iterations=6, horizon=2)
QUICK = mctsdialog.llm.Retry(attempts=5, initial=0.001, max_backoff=0.01)

EVERY_FAULT = [
    faults.response(429, {"error": {"message": "slow down"}}, retry_after="0.01"),
    faults.response(429, {"error": {"message": "slow down"}}),
    faults.response(500, "oops"),
    faults.response(503, "<html>busy</html>"),
    faults.RESET,
    faults.CLOSE,
    faults.HANG,
    faults.response(200, '{"choices": [{"mess', length=5000),
    faults.response(200, '{"choices": '),
    faults.response(200, "<html>a proxy's page</html>"),
    faults.response(200, {"choices": []}),
]


@pytest.fixture
def serve():
    servers = []

    def start(step):
        servers.append(faults.FaultServer([step]))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


async def searched(server, folder, *, timeout=0.4, **limits):
    # a name of its own: every server of these tests has another address, and one cache
    async with mctsdialog.OpenAIChat("m", base_url=server.url, api_key="k", name="m", timeout=timeout) as chat:
        with mctsdialog.ResponseCache(folder) as cache:
            stack = mctsdialog.build_stack(chat, cache=cache, retry=QUICK, **limits)
            roles = mctsdialog.Roles.from_model(stack)
            return await mctsdialog.search(
                mctsdialog.sample_dialogues()[0], roles, CONFIG, journal=folder / "journal.jsonl"
            )


async def test_every_fault_on_the_way_gives_the_tree_of_an_undisturbed_search(serve, stub_server, tmp_path):
    good = stub_server.good
    expected = await searched(serve(lambda head, body: faults.completion(good(body))), tmp_path / "good", timeout=30)
    met = Counter()

    def step(head, body):
        """Every request meets two faults, each kind in turn, before it is answered."""
        key = json.dumps(body["messages"])
        met[key] += 1
        return faults.completion(good(body)) if met[key] > 2 else EVERY_FAULT[met.total() % len(EVERY_FAULT)]

    server = serve(step)
    tree = await searched(server, tmp_path / "bad")
    assert server.count <= 3 * len(met)
    assert tree_to_document(tree)["nodes"] == tree_to_document(expected)["nodes"]


async def test_a_server_without_json_schema_is_asked_in_another_form(serve, stub_server, tmp_path):
    def step(head, body):
        if "response_format" in body:
            return faults.response(400, {"error": {"message": "response_format is not supported"}})
        keys = [key for key in ("empathy", "Emotional Validation") if f'"{key}": <number>' in json.dumps(body)
                or f'\\"{key}\\": <number>' in json.dumps(body)]  # fmt: skip
        if not keys:
            return faults.completion("I hear you.")
        criteria = ("empathy", "information", "humanoid", "strategy")
        names = criteria if keys[0] == "empathy" else mctsdialog.get_domain("esc").strategies.names
        scores = json.dumps({name: (3 * index) % 5 for index, name in enumerate(names)})
        return faults.completion(f"Sure, here it is:\n```json\n{scores}\n```\nI hope it helps.")

    tree = await searched(serve(step), tmp_path)
    assert tree.iterations == 6
    tree.check()


async def test_a_lasting_fault_is_one_error_after_bounded_calls_and_the_search_goes_on_later(
    serve, stub_server, tmp_path
):
    served = []

    def step(head, body):
        served.append(body)
        return faults.completion(stub_server.good(body)) if len(served) <= 40 else faults.response(500, "down")

    with pytest.raises(ModelUnavailableError, match="after 5 attempts"):
        await searched(serve(step), tmp_path, timeout=30)
    assert 40 < len(served) <= 40 + 5 * 6  # at most the chain of generation and five judges were under way
    again = serve(lambda head, body: faults.completion(stub_server.good(body)))
    tree = await searched(again, tmp_path, timeout=30)
    assert tree.iterations == 6
    asked = [json.dumps(body["messages"]) for body in served[:40]]
    assert not {json.dumps(body["messages"]) for _, body in again.requests} & set(asked)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_is_final_at_once(serve, tmp_path, status):
    server = serve(faults.response(status, {"error": {"message": "no"}}))
    with pytest.raises(ModelRequestError) as caught:
        await searched(server, tmp_path)
    assert caught.value.status == status
    assert server.count <= 3


@pytest.mark.parametrize(
    "bad",
    [
        '{"empathy": 5, "information": 1, "humanoid": 1, "strategy": 1}',
        '{"empathy": 1, "information": 1, "humanoid": 1}',
        '{"empathy": "good", "information": 1, "humanoid": 1, "strategy": 1}',
        "I cannot judge that.",
        "",
    ],
)
async def test_wrong_scores_never_become_a_score(serve, stub_server, tmp_path, bad):
    judged = []

    def step(head, body):
        if '"empathy": <number>' not in body["messages"][0]["content"]:
            return faults.completion(stub_server.good(body))
        judged.append(body)
        return faults.completion(bad)

    with pytest.raises(ReplyError) as caught:
        await searched(serve(step), tmp_path, timeout=30)
    assert caught.value.role == "judge"
    assert caught.value.attempts == 3
    assert caught.value.last_reply == bad
    assert len(judged) <= 3 * 3  # three attempts of each of the at most three turns under way
    assert sum("cannot be used" in body["messages"][-1]["content"] for body in judged) >= 2
