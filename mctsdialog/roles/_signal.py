"""Does a judge tell turns apart? Real supporter turns against turns swapped in from other dialogues."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mctsdialog._arguments import checked
from mctsdialog.concurrency import for_each
from mctsdialog.dialogue import ESC, Dialogue, Scenario, Turn
from mctsdialog.errors import ConfigError
from mctsdialog.roles._bundle import Roles

_Z = 1.959964  # of a two-sided interval of 95 %


@dataclass(frozen=True, slots=True)
class SignalCase:
    """A real turn, and one in its place that belongs to another dialogue.

    :param scenario: of the dialogue.
    :param history: the turns before.
    :param real: the supporter's turn in the dialogue.
    :param swapped: a supporter's turn of another dialogue.
    """

    scenario: Scenario
    history: tuple[Turn, ...]
    real: Turn
    swapped: Turn


@dataclass(frozen=True, slots=True)
class JudgeSignal:
    """How often a judge rated the real turn above the swapped-in one.

    :param better: cases in which the real turn had the higher reward, and ``equal`` and ``worse`` those in which it had
        the same or a lower one.
    """

    better: int
    equal: int
    worse: int

    @property
    def cases(self) -> int:
        """All cases."""
        return self.better + self.equal + self.worse

    @property
    def share(self) -> float:
        """Chance that the judge prefers the real turn, equal cases counted half; 0.5 for a judge that guesses."""
        return (self.better + self.equal / 2) / self.cases

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of :attr:`share` (Wilson). It takes the cases as independent."""
        count, share = self.cases, self.share
        centre = share + _Z**2 / (2 * count)
        half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
        low, high = ((centre + sign * half) / (1 + _Z**2 / count) for sign in (-1, 1))
        return min(share, max(0.0, low)), max(share, min(1.0, high))  # whatever rounding does

    @property
    def tells_apart(self) -> bool:
        """Whether the judge prefers real turns more often than a guess would: the whole interval is above 0.5."""
        return self.interval[0] > 0.5

    def __str__(self) -> str:
        low, high = self.interval
        counts = f"above in {self.better} of {self.cases} cases, equal in {self.equal}, below in {self.worse}"
        return f"real turn rated {counts}; it is preferred in {self.share:.0%} (95 % interval {low:.0%} to {high:.0%})"


@checked()
def signal_cases(dialogues: Sequence[Dialogue], *, limit: int | None = None, seed: int = 0) -> list[SignalCase]:
    """Cases from dialogues of one domain: each supporter turn with a strategy against a random one of another dialogue.

    :param limit: most cases, 1 or more, drawn from all; None for all.
    :param seed: what is drawn depends on it alone.
    :raises ConfigError: if there are fewer than two dialogues with such turns.
    """
    draw = random.Random(seed)  # noqa: S311  # repeatable, no secret
    spoken = [
        [(at, turn) for at, turn in enumerate(dialogue.turns) if at and turn.strategy is not None]
        for dialogue in dialogues
    ]
    cases = []
    for number, dialogue in enumerate(dialogues):
        others = [turn for place, turns in enumerate(spoken) if place != number for _, turn in turns]
        for at, turn in spoken[number]:
            different = [other for other in others if other.text != turn.text]
            if different:
                cases.append(SignalCase(dialogue.scenario, dialogue.turns[:at], turn, draw.choice(different)))
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, not {limit}", field="limit")
    if not cases:
        raise ConfigError(
            "this needs two dialogues or more with strategies at the supporter's turns", field="dialogues"
        )
    draw.shuffle(cases)
    return cases[:limit]


@checked()
async def judge_signal(
    roles: Roles,
    cases: Sequence[SignalCase],
    *,
    concurrency: int = 4,
    on_progress: Callable[[int, int], object] | None = None,
) -> JudgeSignal:
    """Have the judge rate both turns of every case.

    :param roles: their judge is asked, in each case's scenario.
    :param cases: one or more, of :func:`signal_cases`.
    :param concurrency: cases at once, 1 or more.
    :param on_progress: called with (done, all) after each case.
    :raises ConfigError: without a case.
    :raises MctsDialogError: what the judge raises.
    """
    if not cases:
        raise ConfigError("there is no case to judge", field="cases")
    domain = roles.domain or ESC
    found: list[float] = []

    async def compare(case: SignalCase) -> None:
        judge = roles.bind(case.scenario).judge
        real, swapped = [
            domain.mean_score(await judge.judge((*case.history, turn))) for turn in (case.real, case.swapped)
        ]
        found.append(real - swapped)
        if on_progress is not None:
            on_progress(len(found), len(cases))

    await for_each(cases, compare, concurrency=concurrency)
    better, worse = sum(each > _SAME for each in found), sum(each < -_SAME for each in found)
    return JudgeSignal(better, len(found) - better - worse, worse)


_SAME = 1e-9  # differences of rounding alone
