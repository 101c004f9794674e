"""A corpus on a local Ray cluster of two processes: the same files, also where one is killed on the way."""

import os
import signal
from collections import Counter
from functools import partial

import anyio
import pytest

import mctsdialog
from mctsdialog.cli._models import ModelSetup, most_workers, open_worker
from mctsdialog.corpus import Counts, RayExecutor, Share
from mctsdialog.errors import ConfigError, ModelRequestError
from mctsdialog.llm import LimitedModel

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]

CONFIG = mctsdialog.SearchConfig(max_iterations=3, min_iterations=3, horizon=1)


@pytest.fixture
def anyio_backend():
    return "asyncio"  # Ray's own loop


@pytest.fixture
def options(stub_server, monkeypatch):
    """The command line's options for models, as plain data."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    none = ("local", "max_calls", "max_tokens", "max_money", "max_seconds", "requests_per_minute", "tokens_per_minute")
    roles = ("role_seeker", "role_supporter", "role_strategist", "role_judge")
    return {
        **dict.fromkeys((*none, *roles, "cache_folder", "max_reply_tokens", "reasoning_effort")),
        "judge": "digits",
        "judge_samples": 1,
        "model": "stub",
        "base_url": stub_server.url,
        "api_key_env": (),
        "headers": (),
        "extras": (),
        "prices": (),
        "concurrency": 4,
        "adaptive": False,
        "no_cache": False,
        "replay": False,
        "timeout": 60.0,
    }


def roles_factory(options, folder):
    setup = ModelSetup.from_options(options, folder)
    roles = mctsdialog.Roles.from_model(setup.bare["seeker"], models=setup.bare)
    return lambda start: roles


def documents(folder):
    return {path.name: path.read_bytes() for path in (folder / "trees").iterdir()}


async def test_two_workers_make_the_files_of_one_process_though_one_is_killed(options, stub_server, tmp_path):
    dialogues = mctsdialog.sample_dialogues()[:6]
    factory = roles_factory(options, tmp_path)
    settings = {"config": CONFIG, "concurrency": 4}
    two = tmp_path / "two"
    await mctsdialog.search_corpus(dialogues, factory, out=tmp_path / "one", **settings)
    alone = len(stub_server.requests)
    stub_server.requests.clear()
    stub_server.latency = 0.02
    killed = []
    executor = RayExecutor(partial(open_worker, options, tmp_path / "cache"), workers=2, address="local")

    async def kill_in_the_middle():
        while len(stub_server.requests) < alone // 3:
            await anyio.sleep(0.02)
        life, _ = await executor._workers[0].actor.counts.remote()
        killed.append(int(life.split("-")[0]))
        os.kill(killed[0], signal.SIGKILL)

    async with executor:
        assert executor.workers == 2
        async with anyio.create_task_group() as group:
            group.start_soon(kill_in_the_middle)
            made = await mctsdialog.search_corpus(dialogues, factory, out=two, executor=executor, **settings)
    assert killed
    assert made.complete
    assert made.done == 6
    assert documents(two) == documents(tmp_path / "one")
    assert made.counts.calls > alone // 2
    asked = Counter(str(body["messages"]) for body in stub_server.requests)
    again = sum(count - 1 for count in asked.values())
    assert again <= 4 * 3  # calls that were under way in the lost worker: three trees, a chain and its judges each
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"sk-secret" not in file.read_bytes()


async def test_errors_of_workers_come_as_themselves(options, stub_server, tmp_path):
    stub_server.reply = lambda body, number: (401, {"error": {"message": "no"}})
    executor = RayExecutor(partial(open_worker, options, tmp_path / "cache"), workers=1, address="local")
    async with executor:
        with pytest.raises(ModelRequestError) as caught:
            await mctsdialog.search_corpus(
                mctsdialog.sample_dialogues()[:2], roles_factory(options, tmp_path), CONFIG, out=tmp_path,
                executor=executor,
            )  # fmt: skip
    assert caught.value.status == 401


async def test_a_cluster_that_is_not_there_is_told():
    for address in ("localhost:1", "nowhere", "ray://localhost:1"):
        with pytest.raises(ConfigError, match=f"there is no Ray cluster at '{address}'"):
            await RayExecutor(open_worker, address=address).__aenter__()


def test_under_trio_it_is_told():
    async def use():
        async with RayExecutor(open_worker, address="local"):
            pass

    with pytest.raises(ConfigError, match="asyncio"):
        anyio.run(use, backend="trio")


def test_shares_add_up():
    for whole in (7, 8, 128):
        assert sum(Share(number, 3).of(whole) for number in range(3)) == whole
    assert Share(4, 5).of(2) == 1
    with pytest.raises(ConfigError, match="workers"):
        RayExecutor(open_worker, workers=0)


@pytest.mark.parametrize(("concurrency", "together", "parts"), [(32, 32, {16}), (None, 256, {128})])
async def test_a_number_that_is_found_is_shared_too(options, tmp_path, concurrency, together, parts):
    options = {**options, "adaptive": True, "concurrency": concurrency}
    assert ModelSetup.from_options(options, tmp_path).at_once_with(2) == together  # not the few it begins with
    found = set()
    for number in range(2):
        async with open_worker(options, tmp_path, Share(number, 2)) as models:
            model = models.roles(mctsdialog.get_domain("esc")).judge.model
            while not isinstance(model, LimitedModel):
                model = model.inner
            found.add(model.limits.max_concurrency)
    assert found == parts


def test_no_more_workers_than_there_are_parts(options):
    assert most_workers(options) == 4
    assert most_workers({**options, "max_calls": 3}) == 3
    assert most_workers({**options, "concurrency": None}) is None
    with pytest.raises(ConfigError, match="5 workers cannot share a limit or budget of 4"):
        RayExecutor(open_worker, workers=5, max_workers=4)


def test_counts_add_up_and_go_apart():
    one, two = Counts(5, 1, 2, 10, 20, 0.5), Counts(7, 2, 3, 11, 22, 0.75)
    assert one + two == Counts(12, 3, 5, 21, 42, 1.25)
    assert two.since(one) == Counts(2, 1, 3, 1, 2, 0.25)
