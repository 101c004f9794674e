"""What a trained model sees and says: the system prompt that lists the strategies, and replies that name theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain, StrategySet, Turn
from mctsdialog.text import with_article

_STRATEGY = re.compile(r"\s*[(\[（［【]([^()\[\]（）［］【】\n]{1,80})[)\]）］】]\s*[:：]?\s*")


@checked()
def system_prompt(domain: Domain) -> str:
    """The system prompt of preference data (the constant part of ``x`` in paper eq. 7): sides, strategies, form."""
    supporter, seeker = with_article(domain.supporter.name), with_article(domain.seeker.name)
    lines = [f"You are {supporter} talking with {seeker}. {domain.supporter.description}"]
    lines += ["", "Choose the strategy that fits the moment best, and answer by it. The strategies:"]
    for strategy in domain.strategies:
        lines.append(f"- {strategy.name}: {strategy.description}" if strategy.description else f"- {strategy.name}")
    lines += ["", "Begin your answer with the strategy's name in brackets, like this: (Strategy) answer"]
    return "\n".join(line.strip() for line in lines)


def spoken(strategy: str | None, text: str) -> str:
    """A supporter turn as it is written and trained on: ``(Strategy) text``; bare where the strategy is unknown."""
    return text if strategy is None else f"({strategy}) {text}"


@checked()
def parse_reply(reply: str, strategies: StrategySet) -> tuple[str | None, str]:
    """The strategy that a reply names, in the set's spelling, and its text.

    :returns: None and the whole reply where it begins with no strategy of the set.
    """
    found = _STRATEGY.match(reply)
    strategy = None if found is None else strategies.resolve(found.group(1).strip())
    if found is None or strategy is None:
        return None, reply.strip()
    return strategy, reply[found.end() :].strip()


@checked(items=False)
def chat_messages(turns: Iterable[Turn]) -> list[dict[str, str]]:
    """Turns as chat messages: the seeker is the user, the supporter the assistant, its strategies in brackets."""
    return [
        {"role": "user", "content": turn.text}
        if turn.speaker == "seeker"
        else {"role": "assistant", "content": spoken(turn.strategy, turn.text)}
        for turn in turns
    ]
