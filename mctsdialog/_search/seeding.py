"""Where a search starts: the opening turns, and the gold turns that follow them (design, "Seeding")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mctsdialog.algorithms._base import Algorithm
from mctsdialog.algorithms._trial import Exchange
from mctsdialog.dialogue import Dialogue, Domain, Scenario, Turn
from mctsdialog.errors import DialogueError


@dataclass(frozen=True, slots=True)
class GoldTurn:
    """A gold supporter turn and the seeker's answer to it; ``exchange.seeker`` is None for the last."""

    strategy: str
    exchange: Exchange


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a search.

    :param scenario: what the conversation is about.
    :param opening: the turns that the root holds; where they do not end with the seeker, it speaks next.
    :param gold: the gold supporter turns, in order; empty for a scenario or a dialogue of one seeker turn.
    """

    scenario: Scenario
    opening: tuple[Turn, ...]
    gold: tuple[GoldTurn, ...]

    @classmethod
    def of(cls, source: Scenario, domain: Domain) -> Start:
        """The start that a gold dialogue or a scenario gives.

        :raises DialogueError: for a gold supporter turn without a strategy of the domain.
        """
        if not isinstance(source, Dialogue):
            return cls(source, (), ())
        turns = source.turns
        length = next((i + 1 for i, turn in enumerate(turns) if turn.speaker == "seeker"), len(turns))
        gold = tuple(
            GoldTurn(_strategy(source, index, domain), _exchange(turns, index))
            for index in range(length, len(turns), 2)
        )
        return cls(source.scenario, turns[:length], gold)


class GoldPath:
    """The gold turns in the tree, laid in their order, whatever order they are scored in.

    :param algorithm: of the tree, which has nothing but its root.
    :param gold: the turns to lay.
    """

    def __init__(self, algorithm: Algorithm, gold: tuple[GoldTurn, ...]) -> None:
        self._algorithm, self._gold = algorithm, gold
        self._end, self._laid = algorithm.tree.root.id, 0

    def lay(self, scores: Mapping[int, Mapping[str, float]]) -> None:
        """Lay every turn that is next and has its scores."""
        while self._laid in scores and self._laid < len(self._gold):
            turn = self._gold[self._laid]
            self._end = self._algorithm.seed(self._end, scores[self._laid], turn.strategy, turn.exchange).id
            self._laid += 1

    def close(self, refused: dict[int, str]) -> None:
        """Close the node before the next turn where the strategist refused to score it; once."""
        if self._laid in refused:
            self._algorithm.close(self._end, refused.pop(self._laid))


def _exchange(turns: tuple[Turn, ...], index: int) -> Exchange:
    """The supporter turn at ``index`` and its answer; a seeker turn that ends the dialogue is dropped."""
    answered = index + 2 < len(turns)
    return Exchange(turns[index].text, turns[index + 1].text if answered else None)


def _strategy(dialogue: Dialogue, index: int, domain: Domain) -> str:
    given = dialogue.turns[index].strategy
    name = None if given is None else domain.strategies.resolve(given)
    if name is None:
        problem = "has no strategy" if given is None else f"has strategy {given!r}, which the domain does not have"
        raise DialogueError(
            f"the supporter's turn {problem}; a gold turn needs one of the {domain.name} domain: "
            + ", ".join(domain.strategies.names)
            + ". Dialogues of another domain are searched in it: domain=dialogues.domain",
            file=dialogue.source or None,
            item=dialogue.id or None,
            field=f"turns[{index}].strategy",
        )
    return name
