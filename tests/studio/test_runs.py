"""Runs and trees watched from outside: what is shown is what the search has, and nothing of the search changes."""

import json
import os
import shutil
import threading
import time
from dataclasses import replace

import anyio
import pytest

from mctsdialog import SearchConfig, load_tree, search_corpus
from mctsdialog.studio import Run, studio_app
from mctsdialog.tree import tree_to_document
from mctsdialog.worlds import World

WORLD = World(7)


class Slow:
    """A role that takes its time."""

    draws_differ = True

    def __init__(self, role, seconds):
        self._role, self._seconds = role, seconds

    def for_scenario(self, scenario):
        return Slow(self._role.for_scenario(scenario), self._seconds)

    def __getattr__(self, name):
        method = getattr(self._role, name)

        async def call(*arguments):
            await anyio.sleep(self._seconds)
            return await method(*arguments)

        return call


def slow_roles(seconds):
    roles = WORLD.roles()
    made = {name: Slow(getattr(roles, name), seconds) for name in ("seeker", "supporter", "strategist", "judge")}
    return replace(roles, **made)


def searched(folder, dialogues=3, iterations=25, seconds=0.0, **settings):
    config = SearchConfig(max_iterations=iterations, min_iterations=iterations, **settings)
    starts = [WORLD.scenario(number) for number in range(dialogues)]
    roles = slow_roles(seconds)
    return anyio.run(lambda: search_corpus(starts, roles, config, out=folder, concurrency=2))


class Background:
    """A search in a thread."""

    def __init__(self, folder, **settings):
        self.report = None
        self._thread = threading.Thread(target=self._run, args=(folder, settings))
        self._thread.start()

    def _run(self, folder, settings):
        self.report = searched(folder, **settings)

    def join(self):
        self._thread.join(60)
        assert self.report is not None
        return self.report


def until(found, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError("never true")


def content(tree):
    kept = tree_to_document(tree)
    return {name: value for name, value in kept.items() if name not in ("stop_reason", "config")}


def test_a_finished_run_with_its_trees_and_what_it_cost(tmp_path):
    report = searched(tmp_path)
    run = Run(tmp_path)
    state = run.refresh()
    assert (state["finished"], state["running"], state["progress"]) == (3, False, None)
    assert not (tmp_path / "progress.json").exists()
    assert {row["id"] for row in run.rows.values()} == {WORLD.scenario(number).id for number in range(3)}
    assert sum(row["nodes"] for row in run.rows.values()) == report.nodes
    assert state["warnings"] == list(report.health.warnings)
    stem = next(iter(run.rows))
    assert run.version(stem)["state"] == "done"
    assert '<script type="application/json" id="data">' in run.page(stem)


@pytest.mark.parametrize("algorithm", ["cso", "calibrated"])
def test_a_running_search_is_followed_and_its_trees_are_those_of_an_unwatched_one(tmp_path, algorithm):
    settings = {"iterations": 12, "dialogues": 2, "algorithm": algorithm, "deterministic": True}
    background = Background(tmp_path / "watched", seconds=0.02, **settings)
    run, seen = Run(tmp_path / "watched"), set()

    def looked():
        state = run.refresh()
        for stem, row in list(run.rows.items()):
            if row["state"] == "searching":
                version = run.version(stem)["version"]
                seen.add((stem, version))
                assert not version or run.page(stem)
        return state["finished"] == 2

    until(looked)
    background.join()
    searched(tmp_path / "alone", **settings)
    assert len(seen) > 4
    for stem in run.rows:
        watched, alone = (load_tree(tmp_path / name / "trees" / f"{stem}.json") for name in ("watched", "alone"))
        assert content(watched) == content(alone)


@pytest.mark.parametrize("algorithm", ["cso", "calibrated"])
def test_a_longer_search_that_goes_on_with_finished_trees_is_followed(tmp_path, algorithm):
    settings = {"dialogues": 1, "algorithm": algorithm}
    searched(tmp_path, iterations=8, **settings)
    run = Run(tmp_path)
    run.refresh()
    stem = next(iter(run.rows))
    before = run.version(stem)
    assert (before["state"], before["iterations"]) == ("done", 8)
    background, seen = Background(tmp_path, iterations=20, seconds=0.02, **settings), []

    def looked():
        found = run.follow(stem)
        seen.append((found["state"], found["iterations"]))
        assert run.page(stem)
        return found["state"] == "done" and found["iterations"] == 20

    until(looked)
    background.join()
    assert len({iterations for state, iterations in seen if state == "searching"}) > 3
    assert [iterations for _, iterations in seen] == sorted(iterations for _, iterations in seen)
    assert run.refresh()["finished"] == 1


def test_a_longer_search_that_was_cut_off_shows_what_it_has_and_a_copied_folder_the_finished_tree(tmp_path):
    searched(tmp_path / "run", dialogues=1, iterations=8)
    stem = next((tmp_path / "run" / "trees").glob("*.json")).stem
    tree = tmp_path / "run" / "trees" / f"{stem}.json"
    shutil.copytree(tmp_path / "run", tmp_path / "copied")
    old = tree.read_bytes()
    searched(tmp_path / "run", dialogues=1, iterations=14)
    write = time.time() - 60
    tree.write_bytes(old)  # as a search leaves it that was killed before it saved its tree
    index = tmp_path / "run" / "finished.jsonl"
    index.write_bytes(index.read_bytes().splitlines(keepends=True)[0])
    for folder in ("run", "copied"):
        os.utime(tmp_path / folder / "journals" / f"{stem}.jsonl", (write, write))
        os.utime(tmp_path / folder / "trees" / f"{stem}.json", (write - 60, write - 60))
    found = {}
    for folder in ("run", "copied"):
        run = Run(tmp_path / folder)
        run.refresh()
        found[folder] = run.version(stem)
    assert (found["run"]["iterations"], found["run"]["version"][0]) == (14, "1")
    assert (found["copied"]["iterations"], found["copied"]["version"][0]) == (8, "0")
    with (tmp_path / "copied" / "journals" / f"{stem}.jsonl").open("ab") as file:
        file.write(b"not a record\n")
    os.utime(tmp_path / "copied" / "journals" / f"{stem}.jsonl", (write, write))
    assert run.version(stem) == found["copied"]


def test_a_run_says_how_far_it_is_and_is_stopped_from_the_page(tmp_path, kit):
    background = Background(tmp_path, seconds=0.03, iterations=4000)
    run = Run(tmp_path)
    client = kit.client_of(studio_app(None, runs=[run], token=kit.TOKEN))
    state = until(lambda: (found := run.refresh())["running"] and found)
    assert (state["progress"]["total"], state["progress"]["open"]) == (3, 2)
    assert client.post("/api/runs/stop", json={"run": 0}).json() == {"stopping": True}
    report = background.join()
    assert report.stop_reason == "stopped"
    assert report.not_begun == 3
    assert json.loads((tmp_path / "summary.json").read_text("utf-8"))["complete"] is False
    assert run.refresh()["running"] is False
    answer = client.post("/api/runs/stop", json={"run": 0})
    assert answer.status_code == 400
    assert "no search is running" in answer.json()["error"]
    before = {row["stem"]: row["steps"] for row in run.rows.values()}
    assert all(before.values())
    again = searched(
        tmp_path, iterations=max(before.values()) + 2
    )  # the same folder goes on, and the stop is forgotten
    assert again.complete
    assert all(row["state"] == "done" for row in run.rows.values()) or run.refresh()["finished"] == 3


def test_events_say_first_everything_and_then_what_changed(tmp_path):
    from mctsdialog.studio._runs import Changes

    searched(tmp_path, dialogues=1)
    changes = Changes([Run(tmp_path)])
    first = json.loads(changes.look())
    assert len(first["rows"]) == 1
    assert changes.look() is None
    searched(tmp_path, dialogues=2)
    second = json.loads(changes.look())
    assert [row["id"] for row in second["rows"]] == [WORLD.scenario(1).id]


@pytest.mark.parametrize(
    "query",
    ["run=0&stem=../../x", "run=0&stem=", "run=9&stem=a", "run=x&stem=a", "stem=a", "run=-1&stem=a", "run=0&stem=%00"],
)
def test_other_trees_than_those_of_the_run_are_refused(tmp_path, kit, query):
    searched(tmp_path / "run", dialogues=1)
    (tmp_path / "x.json").write_text("{}", "utf-8")
    client = kit.client_of(studio_app(None, runs=[Run(tmp_path / "run")], token=kit.TOKEN))
    for path in ("/api/tree/page", "/api/tree/events"):
        assert client.get(f"{path}?{query}").status_code == 400


def test_the_page_of_a_tree_keeps_the_policy_of_the_stand_alone_file(tmp_path, kit):
    searched(tmp_path, dialogues=1)
    run = Run(tmp_path)
    run.refresh()
    client = kit.client_of(studio_app(None, runs=[run], token=kit.TOKEN))
    answer = client.get("/api/tree/page", params={"run": 0, "stem": next(iter(run.rows))})
    policy = answer.headers["content-security-policy"]
    assert "script-src 'sha256-" in policy
    assert "connect-src" not in policy
    assert "frame-ancestors 'self'" in policy


def test_damaged_files_of_a_run_are_counted_or_left(tmp_path):
    searched(tmp_path, dialogues=1)
    with (tmp_path / "finished.jsonl").open("ab") as file:
        file.write(b'not json\n{"id": 1}\n{"id": "x", "health": {"trees": "many"}}\n{"torn')
    (tmp_path / "progress-1-of-2.json").write_text('{"time": "now"', "utf-8")
    (tmp_path / "summary-1-of-2.json").write_text("[]", "utf-8")
    (tmp_path / "journals" / "other.jsonl").write_text("x\n" * 3, "utf-8")
    run = Run(tmp_path)
    state = run.refresh()
    assert state["finished"] >= 1
    assert state["bad_lines"] == 2
    assert run.rows["other"]["state"] in ("searching", "begun")


def test_runs_and_live_trees_in_the_browser(studios, visit, tmp_path, kit):
    background = Background(tmp_path, seconds=0.05, iterations=4000, algorithm="calibrated")
    try:
        until((tmp_path / "progress.json").exists)
        studio = studios(tmp_path, "--port", 0)
        page = visit(studio, "/runs")
        kit.until(page, "document.querySelectorAll('#rows tr').length >= 2")
        kit.until(page, "document.getElementById('state').textContent === 'running'")
        page.click("#rows tr:first-child a")
        viewer = "document.querySelector('iframe.shown')?.contentWindow.viewer"
        kit.until(page, f"{viewer}?.ready ?? false")
        page.evaluate(f"{viewer}.select(1)")
        page.mouse.click(300, 600)
        page.evaluate(f"{viewer}.select(1)")
        place = page.evaluate(f"{viewer}.position(1)")
        first = page.evaluate(f"{viewer}.nodeCount")
        kit.until(page, f"({viewer}?.nodeCount ?? 0) > {first}")
        assert page.evaluate(f"{viewer}.selected") == 1
        moved = page.evaluate(f"{viewer}.position(1)")
        assert abs(moved["x"] - place["x"]) < 2
        assert abs(moved["y"] - place["y"]) < 2
        page.goto(studio.root + "/runs")
        kit.until(page, "!document.getElementById('stop').hidden")
        page.click("#stop")
        report = background.join()
    finally:
        (tmp_path / "stop").touch()
    assert report.stop_reason == "stopped"
    kit.until(page, "document.getElementById('state').textContent === 'ended: stopped'")
    page.click("#heads button:has-text('Steps')")
    counts = page.evaluate(
        "[...document.querySelectorAll('#rows tr td:nth-child(3)')].map((each) => +each.textContent)"
    )
    assert counts == sorted(counts, reverse=True)
