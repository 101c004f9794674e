"""Pairs of trees that a search finishes while the studio is open."""

import json
import shutil

import anyio
import pytest

from mctsdialog import SearchConfig, search_corpus
from mctsdialog.errors import DataError
from mctsdialog.preferences import read_reviews
from mctsdialog.studio import ReviewDesk, Sources, studio_app
from mctsdialog.studio._review_asked import Decided, QueueAsked, UndoAsked
from mctsdialog.worlds import World


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """The output of a search whose trees have pairs, and the files of its trees."""
    folder, world = tmp_path_factory.mktemp("searched"), World(7)
    config = SearchConfig(max_iterations=150, algorithm="calibrated")
    starts = [world.scenario(number) for number in range(3)]
    anyio.run(lambda: search_corpus(starts, world.roles(), config, out=folder, concurrency=1))
    return folder


@pytest.fixture
def run(searched, tmp_path):
    """A run that has finished its first tree, and what puts the next one there."""
    shutil.copytree(searched, tmp_path / "run", ignore=shutil.ignore_patterns("*.json"))
    (tmp_path / "run" / "trees").mkdir(exist_ok=True)
    files = iter(sorted((searched / "trees").glob("*.json")))

    def finish():
        return shutil.copy(next(files), tmp_path / "run" / "trees")

    finish()
    return tmp_path / "run", finish


def opened(folder, **settings):
    sources = Sources.of([folder])
    return ReviewDesk(sources.datasets, folder / "reviews.jsonl", twice=0.0, **settings), sources.watch


def queue(desk, name="Ana", **more):
    return desk.queue(QueueAsked(reviewer=name, **more))


def decide(desk, key, number, name="Ana"):
    desk.decide(Decided(id=f"decision-{number}", reviewer=name, key=key, answer="left"))


def test_a_new_tree_brings_its_pairs_and_none_changes_its_place(run):
    folder, finish = run
    desk, watch = opened(folder)
    assert watch.look() == []
    before = queue(desk)
    kept = [card["key"] for card in before["cards"]]
    decide(desk, kept[0], 0)
    finish()
    assert desk.add(watch.look()) > 0
    after = queue(desk, have=kept[1:], count=0)
    assert after["pairs"] == len(desk) > before["of"]
    assert after["left"] == len(desk) - 1
    assert [card["key"] for card in queue(desk)["cards"]][:2] == kept[1:3]
    assert desk.add(watch.look()) == 0
    desk.close()


def test_decisions_about_pairs_that_come_later_count_where_they_stand(run):
    folder, finish = run
    desk, watch = opened(folder)
    finish()
    desk.add(watch.look())
    cards = queue(desk, count=10, after=len(desk) - 2)["cards"]
    late, early = cards[0]["key"], cards[1]["key"]  # the last pair, and round to the first
    decide(desk, late, 0)
    decide(desk, early, 1)
    desk.close()
    (again,) = [path for path in (folder / "trees").glob("*.json") if path.name.endswith("1.json")]
    shutil.move(again, folder / "away")
    desk, watch = opened(folder)
    assert queue(desk)["left"] == len(desk) - 1
    shutil.move(folder / "away", again)
    desk.add(watch.look())
    assert queue(desk)["left"] == len(desk) - 2
    assert desk.state("Ana")["report"]["verdicts"] == {"accept": 2}
    last = desk.undo(UndoAsked(reviewer="Ana", id="undo-00001"))["card"]
    assert last["key"] == early  # the last decision, not the last pair
    desk.close()


def test_a_tree_that_cannot_be_read_is_told_and_the_others_come(run):
    folder, finish = run
    desk, watch = opened(folder)
    desk.unread = watch.unread
    (folder / "trees" / "bad.json").write_text("{", "utf-8")
    finish()
    assert desk.add(watch.look()) > 0
    assert "bad.json" in desk.state("Ana")["unread"][0]
    desk.close()
    with pytest.raises(DataError, match=r"bad\.json"):
        opened(folder)


def test_a_run_without_a_tree_has_a_review_page_that_fills(studios, visit, searched, tmp_path, kit):
    folder = tmp_path / "run"
    for name in ("journals", "trees"):
        (folder / name).mkdir(parents=True)
    studio = studios(folder, "--port", 0, "--twice", 0)
    page = visit(studio, "/review")
    kit.until(page, "document.body.innerText.includes('Nothing is left to review')")
    first, second, _ = sorted((searched / "trees").glob("*.json"))
    shutil.copy(first, folder / "trees")
    kit.until(page, "document.querySelector('#reply-left .text') !== null")
    text = page.inner_text("#reply-left")
    assert page.evaluate("document.getElementById('strategy').options.length") > 1
    done = page.inner_text("#figures-open")
    shutil.copy(second, folder / "trees")
    kit.until(page, "text => document.getElementById('figures-open').textContent !== text", done)
    assert page.inner_text("#reply-left") == text  # nobody loses their place
    page.keyboard.press("a")
    kit.until(page, "JSON.parse(localStorage['studio-outbox'] ?? '[]').length === 0")
    assert len(read_reviews(folder / "reviews.jsonl")) == 1


def test_the_studio_watches_while_it_is_open(run, kit):
    folder, finish = run
    desk, watch = opened(folder)
    with kit.client_of(studio_app(desk, watch=watch, token=kit.TOKEN)) as client:
        before = client.get("/api/home").json()["pairs"]
        finish()
        for _ in range(200):
            found = json.loads(client.get("/api/home").text)["pairs"]
            if found > before:
                break
            anyio.run(anyio.sleep, 0.05)
    assert found > before
