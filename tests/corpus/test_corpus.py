"""A corpus searched: streamed, many trees at once, resumed, sharded; failures told and bounded."""

import gc
import json
import threading
from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.corpus import Output, TreeRecord, in_shard, parse_shard
from mctsdialog.corpus._runner import Countdown
from mctsdialog.errors import (
    BudgetExceededError,
    ConfigError,
    DialogueError,
    JournalError,
    JournalMismatchError,
    ModelRefusedError,
    ModelRequestError,
    ModelResponseError,
    ModelUnavailableError,
    ReplyError,
    TooManyFailuresError,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

CONFIG = mctsdialog.SearchConfig(max_iterations=6, min_iterations=6, horizon=2)


@pytest.fixture
def corpus(gold):
    """Makes dialogues with ids of their own."""
    return lambda count: [gold.model_copy(update={"id": f"d{n}", "scene": f"Scene {n}"}) for n in range(count)]


@pytest.fixture
def functions(domain, hash_roles):
    return hash_roles(domain.strategies.names)


@pytest.fixture
def factory(functions, domain):
    """The four roles for a dialogue, all calls counted in one place."""
    return lambda start: functions.roles(domain)


def documents(folder):
    return {path.stem: path.read_text("utf-8") for path in (folder / "trees").glob("*.json")}


async def test_what_was_taken_out_of_utterances_is_counted(corpus, factory, domain, tmp_path):
    """Once, though the searches share the roles that count."""

    def speak(request):
        return "Well.\n\nThat was my reply." if "Hm." in request.messages[-1].content else "Hm. Supporter: Yes."

    model = mctsdialog.ScriptedModel(speak)
    others = factory(None)
    made = mctsdialog.Roles.from_model(model, domain=domain)
    shared = replace(others, seeker=made.seeker, supporter=made.supporter)
    report = await mctsdialog.search_corpus(corpus(3), lambda start: shared, CONFIG, out=tmp_path, concurrency=3)
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["removed"] == report.removed == shared.removed
    assert sum(sum(kinds.values()) for kinds in report.removed.values()) == model.calls > 0


async def test_every_dialogue_has_the_tree_of_a_search_alone(corpus, factory, tmp_path):
    made = await mctsdialog.search_corpus(corpus(7), factory, CONFIG, out=tmp_path, concurrency=3)
    assert (made.done, made.skipped, made.complete, made.stop_reason) == (7, 0, True, None)
    for start in corpus(7):
        alone = await mctsdialog.search(start, factory(start), CONFIG)
        mctsdialog.save_tree(alone, tmp_path / "alone.json")
        assert (tmp_path / "alone.json").read_text("utf-8") == documents(tmp_path)[start.id]
        assert (tmp_path / "trees" / f"{start.id}.graphml").is_file()
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["complete"] is True
    assert summary["trees"] == {"done": 7, "skipped": 0, "stopped": 0, "not_begun": 0, "failed": 0}
    assert summary["config"]["max_iterations"] == 6
    assert summary["nodes"] == sum(len(json.loads(text)["nodes"]) for text in documents(tmp_path).values())
    best = mctsdialog.load_tree(tmp_path / "trees" / f"{summary['best']['id']}.json").best_path().value
    assert summary["best"]["mean_q"] == best


async def test_the_collector_works_more_rarely_meanwhile(corpus, factory, tmp_path):
    before, during = gc.get_threshold(), []

    def watched(start):
        during.append(gc.get_threshold())
        return factory(start)

    await mctsdialog.search_corpus(corpus(1), watched, CONFIG, out=tmp_path)
    assert min(during)[0] > before[0]
    assert gc.get_threshold() == before

    def failing(start):
        raise ValueError("no roles")

    with pytest.raises(ValueError, match="no roles"):
        await mctsdialog.search_corpus(corpus(2), failing, CONFIG, out=tmp_path)
    assert gc.get_threshold() == before
    gc.set_threshold(0)
    try:
        during.clear()
        await mctsdialog.search_corpus(corpus(3), watched, CONFIG, out=tmp_path)
        assert {each[0] for each in during} == {0}
    finally:
        gc.set_threshold(*before)


async def test_a_second_run_asks_nothing_and_writes_no_tree_again(corpus, factory, functions, tmp_path):
    await mctsdialog.search_corpus(corpus(4), factory, CONFIG, out=tmp_path)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "trees").iterdir()}
    functions.calls.clear()
    again = await mctsdialog.search_corpus(corpus(4), factory, CONFIG, out=tmp_path)
    assert (again.done, again.skipped, again.trees) == (0, 4, 4)
    assert functions.calls == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "trees").iterdir()} == times
    longer = CONFIG.model_copy(update={"max_iterations": 8, "min_iterations": 8})
    more = await mctsdialog.search_corpus(corpus(4), factory, longer, out=tmp_path)
    assert (more.done, more.skipped) == (4, 0)
    assert {json.loads(text)["iterations"] for text in documents(tmp_path).values()} == {8}


@pytest.mark.parametrize("damage", ["lost tree", "torn index", "foreign index"])
async def test_a_tree_that_is_not_there_is_made_again(corpus, factory, tmp_path, damage):
    await mctsdialog.search_corpus(corpus(3), factory, CONFIG, out=tmp_path)
    before = documents(tmp_path)
    index = tmp_path / "finished.jsonl"
    if damage == "lost tree":
        (tmp_path / "trees" / "d1.json").unlink()
    elif damage == "torn index":
        index.write_bytes(index.read_bytes()[:-10])
    else:
        index.write_text('[1]\n{"id": 3}\nhello\n', "utf-8")
    again = await mctsdialog.search_corpus(corpus(3), factory, CONFIG, out=tmp_path)
    assert again.complete
    assert again.done >= 1
    assert documents(tmp_path) == before
    third = await mctsdialog.search_corpus(corpus(3), factory, CONFIG, out=tmp_path)
    assert third.skipped == 3


async def test_dialogues_are_taken_in_only_as_trees_are_opened(corpus, factory, tmp_path):
    pulled, ahead = 0, []
    finished = 0

    def stream():
        nonlocal pulled
        for start in corpus(30):
            pulled += 1
            ahead.append(pulled - finished)
            yield start

    def show(progress):
        nonlocal finished
        finished = progress.done

    made = await mctsdialog.search_corpus(stream(), factory, CONFIG, out=tmp_path, concurrency=4, on_progress=show)
    assert made.done == 30
    assert max(ahead) <= 4 + 2

    async def later():
        for start in corpus(3):
            await anyio.lowlevel.checkpoint()
            yield start

    assert (await mctsdialog.search_corpus(later(), factory, CONFIG, out=tmp_path)).skipped == 3


@pytest.mark.parametrize(("concurrency", "parallelism", "wanted"), [(6, 1, 6), (6, 2, 3), (1, 4, 1), (5, 2, 3)])
async def test_as_many_trees_are_open_as_fill_the_calls(corpus, factory, tmp_path, concurrency, parallelism, wanted):
    opened = []
    config = CONFIG.model_copy(update={"parallelism": parallelism})
    limits = mctsdialog.llm.Limits(concurrency)
    for each in (concurrency, limits):
        await mctsdialog.search_corpus(
            corpus(12),
            factory,
            config,
            out=tmp_path,
            concurrency=each,
            restart=True,
            on_progress=lambda progress: opened.append(progress.open),
        )
        assert max(opened) <= wanted
    assert wanted - 1 <= max(opened)  # a snapshot is taken as a tree ends


def failing(factory, bad, error):
    """Roles whose judge fails for some dialogues."""

    class Judge:
        async def judge(self, history):
            raise error

    def made(start):
        roles = factory(start)
        Judge.__qualname__ = type(roles.judge).__qualname__  # the same judge, on a bad day: its journals are resumed
        return replace(roles, judge=Judge()) if start.id in bad else roles

    return made


async def test_a_tree_that_fails_is_told_and_the_rest_goes_on(corpus, factory, tmp_path):
    error = ReplyError("no scores", role="judge", attempts=3)
    broken = failing(factory, {"d1", "d3"}, error)
    made = await mctsdialog.search_corpus(corpus(6), broken, CONFIG, out=tmp_path)
    assert (made.done, len(made.failures), made.complete) == (4, 2, False)
    assert {each.id for each in made.failures} == {"d1", "d3"}
    assert "no scores" in json.loads((tmp_path / "summary.json").read_text("utf-8"))["failures"][0]["error"]
    again = await mctsdialog.search_corpus(corpus(6), factory, CONFIG, out=tmp_path)
    assert (again.done, again.skipped, again.complete) == (2, 4, True)


async def test_an_error_of_ones_own_roles_fails_the_tree_alone(corpus, factory, tmp_path, caplog):
    made = await mctsdialog.search_corpus(
        corpus(3), failing(factory, {"d0"}, ZeroDivisionError("mine")), CONFIG, out=tmp_path
    )
    assert made.failures[0].error == "ZeroDivisionError: mine"
    assert made.done == 2
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("limit", [0, 2])
async def test_more_failures_than_allowed_end_it_with_everything_kept(corpus, factory, tmp_path, limit):
    bad = {f"d{place}" for place in range(2, 20)}
    broken = failing(factory, bad, ReplyError("no", role="judge"))
    with pytest.raises(TooManyFailuresError, match=f"more than the {limit} allowed") as caught:
        await mctsdialog.search_corpus(corpus(20), broken, CONFIG, out=tmp_path, concurrency=1, max_failures=limit)
    assert caught.value.failed == limit + 1
    assert set(documents(tmp_path)) == {"d0", "d1"}
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["stop_reason"].startswith("TooManyFailuresError")
    assert summary["trees"]["not_begun"] == 20 - 2 - limit - 1
    unlimited = await mctsdialog.search_corpus(corpus(20), broken, CONFIG, out=tmp_path, max_failures=None)
    assert len(unlimited.failures) == 18


@pytest.mark.parametrize("kind", [ModelUnavailableError, ModelResponseError])
async def test_where_no_model_is_at_all_the_run_ends(corpus, factory, tmp_path, kind):
    broken = failing(factory, {"d1"}, kind("nobody listens there", lasting=True))
    with pytest.raises(kind, match="nobody listens"):
        await mctsdialog.search_corpus(corpus(9), broken, CONFIG, out=tmp_path, concurrency=1)
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["stop_reason"].startswith(kind.__name__)
    assert summary["trees"]["done"] == 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_what_refuses_one_refuses_all_and_ends_it(corpus, factory, tmp_path, status):
    broken = failing(factory, {"d0"}, ModelRequestError("no", status=status))
    with pytest.raises(ModelRequestError, match="no"):
        await mctsdialog.search_corpus(corpus(9), broken, CONFIG, out=tmp_path, concurrency=1)
    assert documents(tmp_path) == {}
    assert (await mctsdialog.search_corpus(corpus(9), factory, CONFIG, out=tmp_path)).complete


async def test_a_spent_budget_is_a_clean_stop_and_a_larger_one_goes_on(corpus, domain, functions, tmp_path):
    left = 60

    def spending(start):
        roles = functions.roles(domain)

        class Supporter:
            async def reply(self, history, strategy):
                nonlocal left
                left -= 1
                if left < 0:
                    raise BudgetExceededError("calls", limit=60, used=60)
                return await roles.supporter.reply(history, strategy)

        return replace(roles, supporter=Supporter())

    made = await mctsdialog.search_corpus(corpus(12), spending, CONFIG, out=tmp_path, concurrency=2)
    assert made.stop_reason == "budget: calls"
    assert not made.complete
    assert made.done + made.stopped + made.not_begun == 12
    assert made.done >= 1
    assert 1 <= made.stopped <= 2
    left = 10_000
    again = await mctsdialog.search_corpus(corpus(12), spending, CONFIG, out=tmp_path)
    assert again.complete
    assert again.skipped == made.done


async def test_other_roles_or_settings_on_the_same_folder_are_refused(corpus, functions, domain, tmp_path):
    def named(name):
        return lambda start: replace(functions.roles(domain), provenance={"judge": {"model": name}})

    await mctsdialog.search_corpus(corpus(2), named("one"), CONFIG, out=tmp_path)
    with pytest.raises(JournalMismatchError, match=r"roles.judge.model"):
        await mctsdialog.search_corpus(corpus(2), named("two"), CONFIG, out=tmp_path)
    other = CONFIG.model_copy(update={"c": 2.0})
    with pytest.raises(JournalMismatchError, match=r"config.c"):
        await mctsdialog.search_corpus(corpus(2), named("one"), other, out=tmp_path)
    anew = await mctsdialog.search_corpus(corpus(2), named("two"), CONFIG, out=tmp_path, restart=True)
    assert anew.done == 2


async def test_an_edited_dialogue_stops_its_own_tree_alone(corpus, factory, tmp_path):
    before = corpus(3)
    await mctsdialog.search_corpus(before, factory, CONFIG, out=tmp_path)
    turns = list(before[1].turns)
    turns[1] = replace(turns[1], text="What wears you down?")
    edited = [before[0], before[1].model_copy(update={"turns": tuple(turns)}), before[2]]
    report = await mctsdialog.search_corpus(edited, factory, CONFIG, out=tmp_path)
    assert (report.skipped, report.done, [each.id for each in report.failures]) == (2, 0, ["d1"])
    error = report.failures[0].error
    assert "dialogue.turns[1].text: 'What wears you out?' there, 'What wears you down?' now" in error
    assert "the dialogue was edited after its search began" in error
    again = await mctsdialog.search_corpus(edited, factory, CONFIG, out=tmp_path, restart=True)
    assert again.done == 3


async def test_two_runs_on_one_folder_are_told_and_shards_are_not(corpus, factory, tmp_path):
    output = Output(tmp_path)
    from mctsdialog.corpus._finished import FinishedIndex

    with FinishedIndex(output):
        with pytest.raises(JournalError, match="another run is at work"):
            await mctsdialog.search_corpus(corpus(2), factory, CONFIG, out=tmp_path)
        for number in (1, 2):
            await mctsdialog.search_corpus(corpus(9), factory, CONFIG, out=tmp_path, shard=(number, 2))
    assert len(documents(tmp_path)) == 9
    whole = await mctsdialog.search_corpus(corpus(9), factory, CONFIG, out=tmp_path)
    assert whole.skipped == 9


async def test_an_id_that_comes_again_is_an_error(corpus, factory, tmp_path):
    with pytest.raises(DialogueError, match="another dialogue has this id"):
        await mctsdialog.search_corpus(corpus(3) + corpus(1), factory, CONFIG, out=tmp_path)


async def test_cancelled_it_keeps_everything_and_goes_on_without_a_call_again(corpus, factory, functions, tmp_path):
    """No call whose reply reached a journal is made again."""
    whole = tmp_path / "whole"
    await mctsdialog.search_corpus(corpus(4), factory, CONFIG, out=whole)
    parts = tmp_path / "parts"
    with anyio.CancelScope() as scope:

        def stop_in_the_middle(tree_id, tree):
            if tree.iterations == 3 and tree_id == "d2":
                scope.cancel()

        await mctsdialog.search_corpus(corpus(4), factory, CONFIG, out=parts, concurrency=2, on_tree=stop_in_the_middle)
    assert scope.cancelled_caught
    assert json.loads((parts / "summary.json").read_text("utf-8"))["stop_reason"] == "interrupted"
    done = set(documents(parts))
    assert "d2" not in done
    functions.calls.clear()
    again = await mctsdialog.search_corpus(corpus(4), factory, CONFIG, out=parts)
    assert again.skipped == len(done)
    assert documents(parts) == documents(whole)


async def test_deep_and_wide_trees_among_small_ones_all_move_on(corpus, gold, domain, functions, tmp_path):
    """With slots for fewer calls than trees want, served in the order they came, no tree waits for the others' end."""
    limits = mctsdialog.llm.Limits(2)
    order = []

    class Slow(mctsdialog.ScriptedModel):
        async def complete(self, request):
            order.append(request.messages[0].content)
            await anyio.sleep(0.001)
            return await super().complete(request)

    stack = mctsdialog.build_stack(Slow(lambda request: "well"), limits=limits)

    def through_the_limit(start):
        roles = functions.roles(domain)

        class Supporter:
            async def reply(self, history, strategy):
                message = mctsdialog.llm.Message("user", start.id)
                filler = mctsdialog.llm.Message("user", f"{strategy} {len(order)} {len(history)}")
                await stack.complete(mctsdialog.llm.ChatRequest((message, filler)))
                return await roles.supporter.reply(history, strategy)

        return replace(roles, supporter=Supporter())

    config = CONFIG.model_copy(update={"max_iterations": 12, "min_iterations": 12})
    await mctsdialog.search_corpus(corpus(4), through_the_limit, config, out=tmp_path, concurrency=4)
    half = order[: len(order) // 2]
    assert {half.count(f"d{place}") > len(half) // 8 for place in range(4)} == {True}


async def test_progress_counts_and_every_end_is_told_once(corpus, factory, tmp_path):
    seen, ended = [], []

    def show(progress):
        seen.append(progress)
        ended.extend(progress.ended)

    await mctsdialog.search_corpus(corpus(3), factory, CONFIG, out=tmp_path)
    await mctsdialog.search_corpus(corpus(5), factory, CONFIG, out=tmp_path, on_progress=show)
    assert sorted(record.id for record in ended) == ["d3", "d4"]
    last = seen[-1]
    assert (last.total, last.done, last.skipped, last.open, last.eta) == (5, 2, 3, 0, 0.0)


async def test_the_meter_gives_what_this_run_alone_has_cost(corpus, factory, tmp_path):
    meter = mctsdialog.llm.Meter(calls=5, usage=mctsdialog.llm.Usage(10, 10))

    def counting(start):
        meter.calls += 1
        return factory(start)

    made = await mctsdialog.search_corpus(corpus(2), counting, CONFIG, out=tmp_path, meter=meter)
    assert made.counts.calls == meter.calls - 5
    assert made.counts.tokens == 0


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"concurrency": 0}, "concurrency"), ({"max_failures": -1}, "max_failures"), ({"shard": (3, 2)}, "shard")],
)
async def test_values_out_of_range_are_told(corpus, factory, tmp_path, settings, field):
    with pytest.raises(ConfigError) as caught:
        await mctsdialog.search_corpus(corpus(1), factory, CONFIG, out=tmp_path / "o", **settings)
    assert caught.value.field == field
    assert not (tmp_path / "o").exists()


@given(st.lists(st.text(max_size=8), unique=True, max_size=30), st.integers(1, 7))
def test_shards_are_disjoint_and_complete(names, count):
    for name in names:
        assert sum(in_shard(name, (number, count)) for number in range(1, count + 1)) == 1
        assert in_shard(name, None)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_of_another_form_is_told(text):
    with pytest.raises(ConfigError, match="a shard is i/n"):
        parse_shard(text)
    assert parse_shard("2/3") == (2, 3)


async def test_the_index_is_written_by_one_and_read_by_all(corpus, tmp_path):
    from mctsdialog.corpus._finished import FinishedIndex

    one = Output(tmp_path, (1, 2))
    (tmp_path / "trees").mkdir()
    one.tree("ü/1").write_text("{}")
    with FinishedIndex(one) as index:
        index.add(TreeRecord("ü/1", "done", nodes=3, best=-0.5), "abc")
        index.add(TreeRecord("lone \ud800", "done"), "abc")
    with FinishedIndex(Output(tmp_path)) as index:
        assert index.find("ü/1", "abc") == TreeRecord("ü/1", "done", nodes=3, best=-0.5)
        assert index.find("ü/1", "other") is None
        assert index.find("none", "abc") is None


def test_a_run_inside_a_thread_of_its_own(corpus, factory, tmp_path):
    """Event loops in other threads, as notebooks have them."""
    found = []

    def work():
        found.append(
            anyio.run(lambda: mctsdialog.search_corpus(corpus(2), factory, CONFIG, out=tmp_path, concurrency=2))
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert found[0].done == 2


def test_the_time_left_runs_down_until_the_next_tree_ends():
    """From 10 s a tree, with two of three left; the second takes longer than thought."""
    countdown = Countdown()
    assert countdown.to_end(4.0, 0, 3) is None
    assert countdown.to_end(10.0, 1, 2) == pytest.approx(20.0)
    assert countdown.to_end(18.0, 1, 2) == pytest.approx(12.0)
    assert countdown.to_end(26.0, 2, 1) == pytest.approx(13.0)
    assert countdown.to_end(38.0, 2, 1) == pytest.approx(1.0)
    assert countdown.to_end(45.0, 2, 1) is None, "overdue"
    assert countdown.to_end(46.0, 3, 0) == 0.0


async def test_the_health_check_counts_finished_trees_without_looking_at_them_again(
    corpus, factory, tmp_path, monkeypatch
):
    first = await mctsdialog.search_corpus(corpus(3), factory, CONFIG, out=tmp_path)
    trees = [mctsdialog.load_tree(path) for path in (tmp_path / "trees").glob("*.json")]
    assert first.health == sum(map(mctsdialog.roles.check_roles, trees), mctsdialog.roles.RoleHealth())
    monkeypatch.setattr("mctsdialog.corpus._finished.load_tree", lambda path: pytest.fail("looked at again"))
    report = await mctsdialog.search_corpus(corpus(5), factory, CONFIG, out=tmp_path)
    assert (report.skipped, report.health.trees) == (3, 5)
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))["health"]
    assert summary["trees"] == 5
    assert summary["warnings"] == list(report.health.warnings) == []
    assert summary["judge_noise"] is None
    turns = sum(len(node.rollout.judgements) for tree in trees for node in tree if getattr(node, "rollout", None))
    assert 0 < turns < sum(summary["counts"]["judge.scores"].values())


async def test_trees_that_version_0_1_finished_are_counted_once_they_are_met(corpus, factory, tmp_path):
    made = await mctsdialog.search_corpus(corpus(2), factory, CONFIG, out=tmp_path)
    index, lines = tmp_path / "finished.jsonl", []
    for line in index.read_text("utf-8").splitlines():
        found = json.loads(line)
        lines.append(json.dumps({name: found[name] for name in found if name not in ("files", "crc", "health")}))
    index.write_text("\n".join(lines) + "\n", "utf-8")
    for _ in range(2):
        report = await mctsdialog.search_corpus(corpus(2), factory, CONFIG, out=tmp_path)
        assert (report.skipped, report.health) == (2, made.health)


# -- what models refuse --------------------------------------------------------------------------------------------


def refuse(functions, role, refuses):
    """Have a role refuse for good what ``refuses`` says of its arguments."""
    answer = getattr(functions, role)

    def call(*arguments):
        value = answer(*arguments)
        if refuses(*arguments):
            raise ModelRefusedError(f"{role}: the model refuses to answer", reason="refusal")
        return value

    setattr(functions, role, call)


async def test_refused_branches_are_counted_and_a_rerun_neither_fails_nor_calls(corpus, functions, factory, tmp_path):
    refuse(functions, "supporter", lambda history, strategy: strategy == "Plan")
    made = await mctsdialog.search_corpus(corpus(3), factory, CONFIG, out=tmp_path)
    assert (made.done, made.failures, made.complete) == (3, [], True)
    trees = [mctsdialog.load_tree(path) for path in (tmp_path / "trees").glob("*.json")]
    closed = sum(sum(tree.closed().values()) for tree in trees)
    assert closed > 3
    assert made.closed == {"supporter: refusal": closed}
    lines = [json.loads(line) for line in (tmp_path / "finished.jsonl").read_text("utf-8").splitlines()]
    assert sorted(line["closed"]["supporter: refusal"] for line in lines) == sorted(
        tree.closed()["supporter: refusal"] for tree in trees
    )
    calls = len(functions.calls)
    for _ in range(2):
        again = await mctsdialog.search_corpus(corpus(3), factory, CONFIG, out=tmp_path)
        assert (again.skipped, again.complete, again.closed) == (3, True, made.closed)
        assert json.loads((tmp_path / "summary.json").read_text("utf-8"))["closed"] == dict(made.closed)
        (tmp_path / "finished.jsonl").unlink()
        again = await mctsdialog.search_corpus(corpus(3), factory, CONFIG, out=tmp_path)
        assert (again.done, again.complete, again.closed) == (3, True, made.closed)
    assert len(functions.calls) == calls, "the journals have it all"


async def test_dialogues_that_are_refused_from_the_beginning_do_not_end_the_run(functions, factory, tmp_path):
    starts = [mctsdialog.Scenario(id=f"s{n}", scene="Work") for n in range(5)]
    refuse(functions, "seeker", lambda history: not history)
    report = await mctsdialog.search_corpus(starts, factory, CONFIG, out=tmp_path, max_failures=1)
    assert sorted(each.id for each in report.failures) == [start.id for start in starts]
    assert report.closed == {"seeker: refusal": 5}
    assert all("seeker: the model refuses" in (each.error or "") for each in report.failures)
    assert not report.complete


async def test_a_strategist_that_refuses_a_gold_dialogue_closes_its_root(corpus, functions, factory, tmp_path):
    refuse(functions, "strategist", lambda history: True)
    for status in ("done", "skipped"):
        report = await mctsdialog.search_corpus(corpus(2), factory, CONFIG, out=tmp_path)
        assert (getattr(report, status), report.complete, report.nodes) == (2, True, 2)
        assert report.closed == {"strategist: refusal": 2}
    tree = mctsdialog.load_tree(tmp_path / "trees" / "d0.json")
    assert (tree.stop_reason, tree.root.closed) == ("closed", "strategist: refusal")
    assert mctsdialog.load_tree(tmp_path / "trees" / "d0.json").best_path().nodes == ()
