"""Whole dialogues that a model holds with a seeker, many side by side, and what a judge finds them worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cso_train.evaluation._replies import Replies
from mctsdialog._arguments import checked
from mctsdialog.concurrency import for_each
from mctsdialog.dialogue import Domain, Scenario, Turn
from mctsdialog.preferences import chat_messages, parse_reply, system_prompt
from mctsdialog.roles import Judge, Roles, Seeker, checked_judgement

SILENCE = "..."
"""What stands for a reply without a word."""


@dataclass
class HeldDialogue:
    """A whole dialogue between a model and a seeker.

    :ivar scenario: the scenario.
    :ivar turns: all turns; a supporter turn has the strategy that the model named, or None.
    :ivar rewards: the reward of each supporter turn on the judge's scale (eq. 2 without its bias); empty without a
        judge.
    """

    scenario: Scenario
    turns: list[Turn] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    @property
    def worth(self) -> float:
        """Mean reward of the supporter's turns; NaN where none was judged."""
        return math.fsum(self.rewards) / len(self.rewards) if self.rewards else math.nan

    @property
    def unnamed(self) -> int:
        """Supporter turns whose reply named no strategy of the domain."""
        return sum(turn.speaker == "supporter" and turn.strategy is None for turn in self.turns)


@checked("replies")
async def hold_dialogues(
    replies: Replies,
    roles: Roles,
    scenarios: Sequence[Scenario],
    domain: Domain,
    *,
    max_turns: int = 12,
    judged: bool = True,
    concurrency: int = 8,
    on_progress: Callable[[int, int], object] | None = None,
) -> list[HeldDialogue]:
    """Let a model hold one whole dialogue in each scenario. It chooses its own strategies.

    :param replies: the model.
    :param roles: the seeker and the judge. The seeker hears the words without the strategy's name.
    :param max_turns: most supporter turns of a dialogue.
    :param judged: whether the judge rates every turn.
    :param concurrency: concurrent calls to roles.
    :param on_progress: called with (turns done, most turns).
    :raises MctsDialogError: as the roles do.
    """
    held = [HeldDialogue(scenario) for scenario in scenarios]
    bound = [roles.bind(scenario) for scenario in scenarios]
    system = {"role": "system", "content": system_prompt(domain)}
    open_ones = list(range(len(held)))

    async def opened(place: int) -> None:
        said = await bound[place].seeker.reply(())
        held[place].turns.append(Turn("seeker", (said or "").strip() or SILENCE))

    await for_each(open_ones, opened, concurrency=concurrency)
    for number in range(max_turns):
        said = await replies.answer([[system, *chat_messages(held[place].turns)] for place in open_ones])
        for place, text in zip(open_ones, said, strict=True):
            name, words = parse_reply(text, domain.strategies)
            held[place].turns.append(Turn("supporter", words.strip() or SILENCE, name))

        async def answered(place: int) -> None:
            if judged:
                held[place].rewards.append(await _reward(bound[place].judge, held[place].turns, domain))
            answer = await _heard(bound[place].seeker, held[place].turns)
            if answer is not None and answer.strip():
                held[place].turns.append(Turn("seeker", answer.strip()))

        await for_each(open_ones, answered, concurrency=concurrency)
        open_ones = [place for place in open_ones if held[place].turns[-1].speaker == "seeker"]
        if on_progress is not None:
            on_progress(number + 1, max_turns)
        if not open_ones:
            break
    return held


async def _heard(seeker: Seeker, turns: Sequence[Turn]) -> str | None:
    return await seeker.reply(tuple(Turn(turn.speaker, turn.text) for turn in turns))


async def _reward(judge: Judge, turns: Sequence[Turn], domain: Domain) -> float:
    """Weighted mean of the judge's scores of the last turn."""
    scores = checked_judgement(await judge.judge(tuple(turns)), domain)
    return domain.mean_score(dict(zip(domain.criteria, scores, strict=True)))
