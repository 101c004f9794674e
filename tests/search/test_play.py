"""Playing a trial: the judge runs beside the simulation, and errors of roles come through as they are."""

import anyio
import pytest

import mctsdialog
from mctsdialog.errors import ReplyError

pytestmark = pytest.mark.anyio

ONE = mctsdialog.SearchConfig(max_iterations=1, horizon=3)


def roles_with(functions, domain, **others):
    made = functions.roles()
    parts = {name: getattr(made, name) for name in ("seeker", "supporter", "strategist", "judge")}
    return mctsdialog.Roles(**{**parts, **others}, domain=domain)


async def test_the_simulation_does_not_wait_for_the_judge(domain, scenario, hash_roles):
    """Each judgement waits until the whole simulation is over; were they in line, nobody would ever move."""
    functions = hash_roles(domain.strategies.names, end_one_in=0)
    over = anyio.Event()

    class Seeker:
        turns = 0

        async def reply(self, history, /):
            self.turns += 1
            if self.turns == 1 + 1 + ONE.horizon:  # opening, the child, the rounds
                over.set()
            return f"turn {self.turns}"

    class Judge:
        waiting = 0

        async def judge(self, history, /):
            self.waiting += 1
            await over.wait()
            return functions.judge(history)

    judge = Judge()
    with anyio.fail_after(10):
        tree = await mctsdialog.search(
            scenario, roles_with(functions, domain, seeker=Seeker(), judge=judge), ONE, domain=domain
        )
    assert judge.waiting == 1 + ONE.horizon
    assert tree.iterations == 1
    tree.check()


@pytest.mark.parametrize(
    ("role", "method", "answer"),
    [
        ("seeker", "reply", ""),
        ("seeker", "reply", 5),
        ("supporter", "reply", None),
        ("strategist", "score", {}),
        ("strategist", "score", {"Ask": 11}),
        ("strategist", "score", {"Hypnosis": 1}),
        ("judge", "judge", {"empathy": 1}),
        ("judge", "judge", mctsdialog.JudgeScores(1, 2, 3, 5)),
        ("judge", "judge", None),
    ],
)
async def test_a_wrong_answer_of_any_role_is_a_reply_error(domain, scenario, hash_roles, role, method, answer):
    async def wrong(self, *arguments):
        return answer

    roles = roles_with(hash_roles(domain.strategies.names), domain, **{role: type("Wrong", (), {method: wrong})()})
    with pytest.raises(ReplyError) as caught:
        await mctsdialog.search(scenario, roles, ONE, domain=domain)
    assert caught.value.role == role


async def test_an_error_of_a_role_comes_through_and_stops_its_siblings(domain, scenario, hash_roles):
    functions = hash_roles(domain.strategies.names, end_one_in=0)

    class BrokenError(Exception):
        pass

    class Judge:
        cancelled = 0

        async def judge(self, history, /):
            if len(history) >= 4:
                raise BrokenError
            try:
                await anyio.sleep(60)
            except anyio.get_cancelled_exc_class():
                self.cancelled += 1
                raise

    judge = Judge()
    with anyio.fail_after(10), pytest.raises(BrokenError):
        await mctsdialog.search(scenario, roles_with(functions, domain, judge=judge), ONE, domain=domain)
    assert judge.cancelled == 1


async def test_seeker_that_ends_before_the_beginning(domain, scenario, hash_roles):
    class Silent:
        async def reply(self, history, /):
            return None

    roles = roles_with(hash_roles(domain.strategies.names), domain, seeker=Silent())
    with pytest.raises(ReplyError, match="before it began"):
        await mctsdialog.search(scenario, roles, ONE, domain=domain)


async def test_a_gold_turn_without_a_strategy_of_the_domain_names_the_turn(domain, gold, hash_roles):
    turns = (*gold.turns[:3], mctsdialog.Turn("supporter", "Hm.", "Hypnosis"))
    dialogue = gold.model_copy(update={"turns": turns, "source": "some.json"})
    with pytest.raises(mctsdialog.errors.DialogueError, match=r"some\.json: gold-1: turns\[3\]\.strategy: .*Hypnosis"):
        await mctsdialog.search(dialogue, hash_roles(domain.strategies.names).roles(), ONE, domain=domain)


async def test_any_number_of_criteria(hash_roles, scenario):
    """A domain with a rubric of its own: scores by criterion name, rewards by its weights."""
    domain = mctsdialog.get_domain("persuasion")
    functions = hash_roles(domain.strategies.names, end_one_in=0)

    class Judge:
        async def judge(self, history, /):
            return dict.fromkeys(domain.criteria, domain.max_score)

    tree = await mctsdialog.search(scenario, roles_with(functions, domain, judge=Judge()), ONE)
    assert tree.domain.name == "persuasion"
    assert tree.root.value == pytest.approx(domain.max_score + ONE.bias)
    assert len(tree.children(tree.root)) == len(domain.strategies)
