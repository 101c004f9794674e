"""The limit on the calls of one tree, which holds over all the runs that a tree takes."""

import json

import anyio
import pytest

import mctsdialog
from mctsdialog import SearchConfig
from mctsdialog.journal import _encode, read_journal
from mctsdialog.tree import tree_to_document
from mctsdialog.worlds import World

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

WORLD = World(5)
METHODS = {"seeker": "reply", "supporter": "reply", "strategist": "score", "judge": "judge"}
CASES = [
    ("cso", 1, False, True, 90),
    ("cso", 4, False, True, 90),
    ("cso", 4, True, False, 150),
    ("calibrated", 1, False, True, 30),
    ("calibrated", 4, True, True, 41),
    ("beam", 4, True, False, 47),
]


class Counted:
    """A role that counts its calls, takes a few turns of the loop, and may interrupt the run at one of them."""

    def __init__(self, inner, method, run):
        self.inner, self.run = inner, run
        setattr(self, method, self.call)
        self.method = method

    def for_scenario(self, scenario):
        return Counted(self.inner.for_scenario(scenario), self.method, self.run)

    async def call(self, *arguments):
        self.run.calls += 1
        if self.run.calls == self.run.interrupt:
            self.run.scope.cancel()
        for _ in range(self.run.calls * self.run.speed % 5):
            await anyio.sleep(0)
        return await getattr(self.inner, self.method)(*arguments)


class Runs:
    """Runs of one command into a folder, and the calls that all of them made."""

    def __init__(self, folder, algorithm, parallelism, deterministic, from_gold, most):
        self.folder, self.most = folder, most
        limits = {"min_iterations": 10**6, "max_ends": 10**6} if algorithm == "cso" else {}
        self.config = SearchConfig(
            algorithm=algorithm, parallelism=parallelism, deterministic=deterministic, max_iterations=10**6, **limits
        )
        scenario = WORLD.scenario(1)
        self.start = WORLD.dialogue(scenario) if from_gold else scenario
        self.calls, self.interrupt, self.speed = 0, None, 0

    async def run(self, *, after=None, speed=0):
        self.interrupt, self.speed = None if after is None else self.calls + after, speed
        world = WORLD.roles()
        made = {role: Counted(getattr(world, role), method, self) for role, method in METHODS.items()}
        roles = mctsdialog.Roles(**made, domain=WORLD.domain)
        with anyio.CancelScope() as self.scope:
            await mctsdialog.search_corpus(
                [self.start], roles, self.config, out=self.folder, max_calls_per_tree=self.most
            )

    @property
    def tree(self):
        return mctsdialog.load_tree(next((self.folder / "trees").glob("*.json")))

    @property
    def journal(self):
        return next((self.folder / "journals").glob("*.jsonl"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
async def test_a_trees_calls_are_limited_over_all_resumes(tmp_path, case):
    undisturbed, runs = Runs(tmp_path / "a", *case), Runs(tmp_path / "b", *case)
    await undisturbed.run()
    for after in (case[-1] // 3, case[-1] // 3):
        await runs.run(after=after, speed=2)
        assert runs.scope.cancelled_caught
    lost = runs.calls - recorded(runs.journal)
    await runs.run(speed=3)
    assert recorded(runs.journal) <= case[-1] < recorded(runs.journal) + 2 * 26
    assert recorded(runs.journal) == runs.calls - lost, "of the last run, every call is there"
    assert runs.tree.stop_reason == "budget: calls"
    if case[1] == 1 or case[2]:
        assert recorded(runs.journal) == recorded(undisturbed.journal) == undisturbed.calls
        assert tree_to_document(runs.tree) == tree_to_document(undisturbed.tree)
    calls = runs.calls
    await runs.run()
    assert runs.calls == calls, "it is finished"


@pytest.mark.parametrize("case", CASES[:2] + CASES[3:4], ids=str)
async def test_journals_without_calls_count_by_what_they_have(tmp_path, case):
    runs = Runs(tmp_path, *case)
    await runs.run()
    assert recorded(runs.journal) == runs.calls
    header, records = read_journal(runs.journal)
    without = [{name: value for name, value in each.items() if name != "calls"} for each in records]
    runs.journal.write_bytes(b"".join(map(_encode, [header, *without])))
    (tmp_path / "finished.jsonl").unlink()
    calls, tree = runs.calls, tree_to_document(runs.tree)
    await runs.run()
    assert runs.calls == calls
    assert tree_to_document(runs.tree) == tree


async def test_a_larger_limit_goes_on_and_a_smaller_one_keeps_what_there_is(tmp_path):
    runs = Runs(tmp_path, *CASES[3])
    await runs.run()
    nodes = len(runs.tree)
    runs.most = 60
    await runs.run()
    assert 60 - 4 < runs.calls <= 60
    assert len(runs.tree) > nodes
    runs.most = 20
    await runs.run()
    assert runs.calls <= 60
    assert len(runs.tree) > nodes


@pytest.mark.parametrize("calls", [-1, "3", True, None, 1.5])
async def test_a_record_with_impossible_calls_is_one_clear_error(tmp_path, calls):
    runs = Runs(tmp_path, *CASES[3])
    await runs.run()
    header, records = read_journal(runs.journal)
    records[-1]["calls"] = calls
    runs.journal.write_bytes(b"".join(map(_encode, [header, *records])))
    (tmp_path / "finished.jsonl").unlink()
    await runs.run()
    (failure,) = json.loads((tmp_path / "summary.json").read_text("utf-8"))["failures"]
    assert "calls: must be a whole number of 0 or more" in failure["error"]


def recorded(journal):
    """The calls that a journal knows of: those of its trials, one for each gold turn, and the opening's."""
    _, records = read_journal(journal)
    grown = {each["leaf"]: each["calls"] for each in records if each["type"] == "growth"}
    total = 0
    for each in records:
        if each["type"] in ("gold", "opening"):
            total += 1
        elif each["type"] not in ("growth", "limits"):
            total += each["calls"]
            grown.pop(each["leaf"], None)
    return total + sum(grown.values())
