"""The journal: resuming, torn ends, damage, other searches, two writers; and kill -9 at any moment."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import Field

import mctsdialog
from mctsdialog._search import SearchConfig, open_journal, roles_for
from mctsdialog._settings import lasting
from mctsdialog.corpus._output import Fingerprints
from mctsdialog.dialogue import Domain, Strategy, StrategySet
from mctsdialog.errors import BudgetExceededError, JournalError, JournalMismatchError
from mctsdialog.tree import tree_to_document
from mctsdialog.worlds import World

SCRIPT = Path(__file__).with_name("journalled.py")
HEADER = {"dialogue": {"id": "d"}, "domain": {"name": "x"}, "config": SearchConfig().model_dump(), "roles": {}}
CONFIG = SearchConfig(max_iterations=25, min_iterations=25)


def grown(path, records):
    with open_journal(path, HEADER) as journal:
        for record in records:
            journal.append(record)
    return path.read_bytes()


def read(path):
    with open_journal(path, HEADER) as journal:
        return journal.records


RECORDS = [{"type": "trial", "n": n, "text": 'ü\n\u2028"quoted"\x00' * n} for n in range(6)]


def test_records_come_back(tmp_path):
    path = tmp_path / "deep" / "er" / "j.jsonl"
    data = grown(path, RECORDS)
    assert read(path) == RECORDS
    assert len(data.splitlines()) >= 7
    assert all(json.loads(line)["record"] for line in data.decode().strip().split("\n"))


def test_a_search_goes_on_with_the_prompts_of_its_journal(tmp_path, domain):
    """Roles that say nothing of themselves too: the header says it."""
    path = tmp_path / "j.jsonl"
    made = mctsdialog.Roles.from_model(mctsdialog.ScriptedModel([]), domain=domain)
    bare = mctsdialog.Roles(made.seeker, made.supporter, made.strategist, made.judge, domain=domain)
    for version, header in ((2, {"prompts": 2}), (1, {})):
        open_journal(path, {**HEADER, **header}).close()
        found, known = roles_for(path, bare)
        assert [getattr(found, name).prompts for name in mctsdialog.roles.ROLE_NAMES] == [version] * 4
        assert known == header
        path.unlink()
    assert roles_for(path, bare) == roles_for(None, bare) == (bare, {"prompts": 2})
    for version in (3, 0, "2", True, None):
        open_journal(path, {**HEADER, "prompts": version}).close()
        with pytest.raises(JournalError, match="update mctsdialog"):
            roles_for(path, bare)
        path.unlink()
    path.write_bytes(b"no journal")
    assert roles_for(path, bare)[0] is bare
    assert roles_for(tmp_path, bare)[0] is bare


@pytest.mark.anyio
async def test_a_journal_resumes_at_another_address_and_keeps_the_first(tmp_path, domain):
    def search(identity):
        replies = {"empathy": 2, "information": 2, "humanoid": 2, "strategy": 2}
        scores = dict.fromkeys(domain.strategies.names, 3)

        def reply(request):
            if request.schema is None:
                return "Hm."
            return json.dumps(replies if "empathy" in request.schema["required"] else scores)

        model = mctsdialog.ScriptedModel(reply, name="m", identity=identity)
        roles = mctsdialog.Roles.from_model(model, domain=domain)
        config = SearchConfig(max_iterations=1, min_iterations=1, horizon=0)
        return mctsdialog.search(mctsdialog.Scenario(scene="s"), roles, config, journal=tmp_path / "j.jsonl")

    first = await search("m@https://a.example/v1")
    again = await search("m@https://b.example/v1")
    assert again.roles["judge"]["identity"] == "m@https://a.example/v1"
    assert tree_to_document(again) == tree_to_document(first)


def test_cut_at_every_byte_the_whole_records_before_it_come_back(tmp_path):
    data = grown(tmp_path / "whole.jsonl", RECORDS[:4])
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    path = tmp_path / "cut.jsonl"
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        whole = sum(end <= length for end in ends)
        assert read(path) == RECORDS[: max(0, whole - 1)]
        grown(path, [{"type": "more"}])
        assert read(path) == [*RECORDS[: max(0, whole - 1)], {"type": "more"}]


def test_a_bad_last_line_is_cut_off_and_damage_before_it_is_an_error(tmp_path):
    path = tmp_path / "j.jsonl"
    data = grown(path, RECORDS)
    lines = data.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1].replace(b"trial", b"tr1al"))
    assert read(path) == RECORDS[:-1]
    path.write_bytes(lines[0] + lines[1].replace(b"trial", b"tr1al") + b"".join(lines[2:]))
    with pytest.raises(JournalError, match=r"j\.jsonl: line 2: is damaged") as caught:
        read(path)
    assert caught.value.item == "line 2"


def test_a_file_that_is_no_journal_is_refused_and_kept(tmp_path):
    path = tmp_path / "notes.txt"
    for text in ("my notes\nmore of them\n", "my notes", "\n", '{"a": 1}\n'):
        path.write_text(text)
        with pytest.raises(JournalError, match=r"notes\.txt: .*is not a journal"):
            open_journal(path, HEADER)
        assert path.read_text() == text
    with pytest.raises(JournalError, match="cannot be opened"):
        open_journal(tmp_path, HEADER)


def test_two_writers(tmp_path):
    with (
        open_journal(tmp_path / "j.jsonl", HEADER),
        pytest.raises(JournalError, match="open in another search"),
    ):
        open_journal(tmp_path / "j.jsonl", HEADER)
    assert read(tmp_path / "j.jsonl") == []


@pytest.mark.anyio
async def test_resumed_search_gives_the_same_tree_and_calls_nothing_again(tmp_path, domain, gold, hash_roles):
    async def grow(functions, iterations, journal=None):
        config = CONFIG.replace(max_iterations=iterations)
        return await mctsdialog.search(gold, functions.roles(), config, domain=domain, journal=journal)

    names, path = domain.strategies.names, tmp_path / "j.jsonl"
    whole = await grow(hash_roles(names), 25)
    parts = hash_roles(names)
    for iterations in (0, 7, 19, 25):
        tree = await grow(parts, iterations, path)
        assert tree.iterations == iterations
    assert tree_to_document(tree) == tree_to_document(whole)
    calls = len(parts.calls)
    again = await grow(parts, 25, path)
    assert len(parts.calls) == calls
    assert tree_to_document(again) == tree_to_document(whole)
    tree.check()


@pytest.mark.anyio
async def test_scenario_opening_is_journalled(tmp_path, domain, scenario, hash_roles):
    functions = hash_roles(domain.strategies.names)
    for _ in range(2):
        tree = await mctsdialog.search(scenario, functions.roles(), CONFIG, domain=domain, journal=tmp_path / "j.jsonl")
    assert sum(role == "seeker" and not history for role, history in functions.calls) == 1
    assert tree.root.turns[0].speaker == "seeker"


@pytest.mark.anyio
async def test_another_search_is_refused_with_the_difference_named(tmp_path, domain, domain_maker, gold, hash_roles):
    roles, path = hash_roles(domain.strategies.names).roles(), tmp_path / "j.jsonl"
    await mctsdialog.search(gold, roles, CONFIG, domain=domain, journal=path)
    kept = path.read_bytes()
    other_gold = gold.model_copy(update={"description": "Something else."})
    for start, config, other_domain, field in (
        (gold, CONFIG.replace(c=2.0), domain, "config.c"),
        (other_gold, CONFIG, domain, "dialogue.description"),
        (gold, CONFIG, domain_maker(weights=(1.0, 1.0, 1.0, 3.0)), "domain.weights.strategy"),
        (mctsdialog.Scenario(id="gold-1"), CONFIG, domain, "dialogue.turns"),
    ):
        with pytest.raises(JournalMismatchError) as caught:
            await mctsdialog.search(start, roles, config, domain=other_domain, journal=path)
        assert field in caught.value.differences
        assert field in str(caught.value) or len(caught.value.differences) > 5
    assert path.read_bytes() == kept
    longer = CONFIG.replace(max_iterations=27, min_iterations=27)
    assert (await mctsdialog.search(gold, roles, longer, domain=domain, journal=path)).iterations == 27


@pytest.mark.anyio
async def test_a_trial_that_does_not_fit_the_tree_is_a_clear_error(tmp_path, domain, gold, hash_roles):
    roles, path = hash_roles(domain.strategies.names).roles(), tmp_path / "j.jsonl"
    await mctsdialog.search(gold, roles, CONFIG, domain=domain, journal=path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], lines[9], *lines[4:]]))
    with pytest.raises(JournalError, match=r"j\.jsonl: .*does not fit"):
        await mctsdialog.search(gold, roles, CONFIG, domain=domain, journal=path)


@pytest.mark.anyio
async def test_an_error_in_a_trial_keeps_what_was_committed(tmp_path, domain, gold, hash_roles):
    names, path = domain.strategies.names, tmp_path / "j.jsonl"

    class FailingError(Exception):
        pass

    functions = hash_roles(names)
    judge = functions.judge

    def fail_at_the_twelfth(history):
        if sum(role == "judge" for role, _ in functions.calls) == 12:
            raise FailingError
        return judge(history)

    functions.judge = fail_at_the_twelfth
    with pytest.raises(FailingError):
        await mctsdialog.search(gold, functions.roles(), CONFIG, domain=domain, journal=path)
    tree = await mctsdialog.search(gold, hash_roles(names).roles(), CONFIG, domain=domain, journal=path)
    whole = await mctsdialog.search(gold, hash_roles(names).roles(), CONFIG, domain=domain)
    assert tree_to_document(tree) == tree_to_document(whole)


@pytest.mark.anyio
async def test_a_spent_budget_is_a_clean_stop(tmp_path, domain, gold, hash_roles):
    functions = hash_roles(domain.strategies.names)
    supporter = functions.supporter

    def until_spent(history, strategy):
        if len(functions.calls) > 90:
            raise BudgetExceededError("calls", limit=90, used=90)
        return supporter(history, strategy)

    functions.supporter = until_spent
    tree = await mctsdialog.search(gold, functions.roles(), CONFIG, domain=domain, journal=tmp_path / "j.jsonl")
    assert tree.stop_reason == "budget: calls"
    assert 0 < tree.iterations < 25
    tree.check()
    functions = hash_roles(domain.strategies.names)
    tree = await mctsdialog.search(gold, functions.roles(), CONFIG, domain=domain, journal=tmp_path / "j.jsonl")
    assert (tree.iterations, tree.stop_reason) == (25, "max_iterations")


def run_script(folder, latency=0.0):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder), "3", str(latency)])


@pytest.mark.timeout(400)
def test_killed_at_random_moments_and_torn_at_random_bytes(tmp_path):
    """25 kills over a few searches, each followed by tearing the journal's end in every other one."""
    whole = tmp_path / "whole"
    assert run_script(whole).wait(60) == 0
    expected = (whole / "tree.json").read_bytes()
    rng = random.Random(0)
    kills, round_number = 0, 0
    while kills < 25:
        folder = tmp_path / f"round-{round_number}"
        round_number += 1
        while True:
            process = run_script(folder, latency=0.004)
            log = folder / "calls.log"
            size = log.stat().st_size if log.exists() else 0
            wait_for_growth(log, size + rng.randrange(0, 9000), process)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            kills += 1
            journal = folder / "journal.jsonl"
            if rng.random() < 0.5 and journal.exists():
                tear(journal, rng)
        assert process.returncode == 0
        assert (folder / "tree.json").read_bytes() == expected
        lines = (folder / "calls.log").read_text().split("\n")
        assert_no_completed_call_was_begun_again(lines)
        shutil.rmtree(folder)


def wait_for_growth(log, size, process):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and log.stat().st_size >= size:
            return
        time.sleep(0.001)


def tear(journal, rng):
    data = journal.read_bytes()
    journal.write_bytes(data[: rng.randrange(max(0, len(data) - 3000), len(data) + 1)])


def assert_no_completed_call_was_begun_again(lines):
    completed = Counter()
    for line in filter(None, lines):
        word, key = line.split()
        if word == "completed":
            completed[key] += 1
        else:
            assert key not in completed, "a completed call was made again"
    assert max(completed.values()) == 1


# -- settings that a later version adds ------------------------------------------------------------------------------


class LaterConfig(SearchConfig):
    """The settings of a later version."""

    patience: int = 3


class LaterDomain(Domain):
    """A domain of a later version."""

    tone: str = "warm"
    notes: dict[str, str] = Field(default_factory=dict)


class LaterStrategy(Strategy):
    """A strategy of a later version, deep inside a domain."""

    weight: float = 1.0


def later(domain, **changes):
    kept = {name: getattr(domain, name) for name in type(domain).model_fields}
    strategies = tuple(LaterStrategy(name=each.name, description=each.description) for each in domain.strategies)
    return LaterDomain(**{**kept, "strategies": StrategySet(strategies=strategies), **changes})


@pytest.mark.anyio
@pytest.mark.parametrize("deterministic", [False, True])
async def test_settings_that_an_old_journal_lacks_count_as_their_defaults(
    tmp_path, domain, gold, hash_roles, deterministic
):
    config, path = CONFIG.replace(deterministic=deterministic), tmp_path / "j.jsonl"
    functions = hash_roles(domain.strategies.names)
    old = await mctsdialog.search(gold, functions.roles(), config, domain=domain, journal=path)
    calls, kept = len(functions.calls), path.read_bytes()
    new = LaterConfig(**config.model_dump())
    for other in (config, new):
        tree = await mctsdialog.search(gold, functions.roles(), other, domain=domain, journal=path)
        assert len(functions.calls) == calls
        assert list(map(str, tree)) == list(map(str, old))
    with pytest.raises(JournalMismatchError) as caught:
        await mctsdialog.search(gold, functions.roles(), new.replace(patience=4), domain=domain, journal=path)
    assert caught.value.differences.keys() == {"config.patience"}
    tree = await mctsdialog.search(gold, functions.roles(), config, domain=later(domain), journal=path)
    assert len(functions.calls) == calls
    with pytest.raises(JournalMismatchError) as caught:
        await mctsdialog.search(gold, functions.roles(), config, domain=later(domain, tone="cold"), journal=path)
    assert caught.value.differences.keys() == {"domain.tone"}
    assert path.read_bytes() == kept


def test_a_header_that_lacks_settings_is_that_of_their_defaults(tmp_path, domain):
    """As if the field had come after the journal was written."""
    whole = {**HEADER, "config": CONFIG.defining(), "domain": domain.model_dump(mode="json")}
    for part, field, default in (("config", "gold_prior", 0.1), ("config", "c", 1.0), ("domain", "title", "")):
        path = tmp_path / f"{field}.jsonl"
        header = {**whole, part: {name: value for name, value in whole[part].items() if name != field}}
        with open_journal(path, header):
            pass
        with open_journal(path, whole):
            pass
        other = {**whole, part: {**whole[part], field: "other" if default == "" else 0.5}}
        with pytest.raises(JournalMismatchError) as caught:
            open_journal(path, other)
        assert caught.value.differences == {f"{part}.{field}": (default, other[part][field])}


def test_the_identity_of_a_run_leaves_out_later_settings_at_their_defaults(domain, gold, hash_roles):
    roles = hash_roles(domain.strategies.names).roles(domain)
    was = Fingerprints(CONFIG).of(gold, roles)
    assert lasting(CONFIG) == CONFIG.model_dump(exclude={"algorithm", "settings"})
    assert lasting(domain) == domain.model_dump(mode="json")
    assert lasting(mctsdialog.get_domain("esc")) == mctsdialog.get_domain("esc").model_dump(mode="json")
    new = LaterConfig(**CONFIG.model_dump())
    assert Fingerprints(new).of(gold, roles) == was
    assert Fingerprints(new.replace(patience=4)).of(gold, roles) != was
    assert Fingerprints(CONFIG).of(gold, replace(roles, domain=later(domain))) == was
    for changed in (later(domain, tone="cold"), later(domain, notes={"a": "b"})):
        assert Fingerprints(CONFIG).of(gold, replace(roles, domain=changed)) != was


def test_a_world_of_a_later_version_is_the_same_world():
    @dataclass(frozen=True)
    class Later(World):
        weather: str = "mild"

    Later.__name__ = "World"
    assert World(3, rounds=2).roles().provenance == {
        "world": repr(World(3, rounds=2)).replace(", cooperation=1.0", "")  # of a later version than the first
    }
    assert Later(3, rounds=2).roles().provenance == World(3, rounds=2).roles().provenance
    assert Later(3, weather="cold").roles().provenance != World(3).roles().provenance
