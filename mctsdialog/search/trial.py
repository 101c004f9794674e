"""What the search asks and what it is told: plain data, so that a trial can be journalled and replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from mctsdialog.dialogue import Turn
from mctsdialog.tree import RolloutStep

TrialKind: TypeAlias = Literal["generate", "expand", "end", "finish"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A generated supporter turn and the seeker's answer; None where the seeker ended the dialogue."""

    supporter: str
    seeker: str | None


@dataclass(frozen=True, slots=True)
class Trial:
    """One iteration, as it is asked.

    :param number: counts the trials of a search from 0.
    :param leaf: id of the selected leaf.
    :param kind: what the leaf needs first: "generate" (it is unexpanded), "expand" (it has text but no
        children), "end" (the dialogue ended there: only judge it), or "finish" (it is the child that a trial was to
        be played from which grew its parent and then failed: generate it and simulate from it).
    :param history: the conversation down to the leaf, supporter turns with their strategies. For "generate" and
        "finish" it ends before the leaf's own turns.
    :param strategy: the leaf's strategy; None for the root.
    """

    number: int
    leaf: int
    kind: TrialKind
    history: tuple[Turn, ...]
    strategy: str | None


@dataclass(frozen=True, slots=True)
class Growth:
    """What a trial under way has found of its leaf: enough to give it children, before one of them is played.

    :param generated: the leaf's own exchange, for "generate".
    :param scores: the strategist's raw scores at the leaf.
    """

    generated: Exchange | None
    scores: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The growth as JSON values, exact."""
        return {"generated": _pair(self.generated), "scores": dict(self.scores)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Growth:
        """The growth that :meth:`to_dict` wrote."""
        generated = data["generated"]
        return cls(None if generated is None else Exchange(*generated), dict(data["scores"]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial found; all that is needed to commit it.

    :param generated: the leaf's own exchange, for "generate".
    :param scores: the strategist's raw scores at the leaf, unless the dialogue ended there.
    :param child: the exchange of the leaf's highest-prior child, whenever there are scores; for "finish", of the leaf.
    :param steps: the simulated rounds after that child.
    :param judgements: the judge's scores in the order of the domain's criteria: for the evaluated node's own turn
        (the leaf where the dialogue ended there, else the child), then for each step.
    """

    judgements: tuple[tuple[float, ...], ...]
    generated: Exchange | None = None
    scores: Mapping[str, float] | None = None
    child: Exchange | None = None
    steps: tuple[RolloutStep, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON values, exact."""
        return {
            "generated": _pair(self.generated),
            "scores": None if self.scores is None else dict(self.scores),
            "child": _pair(self.child),
            "steps": [[step.strategy, step.supporter, step.seeker] for step in self.steps],
            "judgements": [list(scores) for scores in self.judgements],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """The outcome that :meth:`to_dict` wrote."""
        return cls(
            judgements=tuple(tuple(scores) for scores in data["judgements"]),
            generated=None if data["generated"] is None else Exchange(*data["generated"]),
            scores=data["scores"],
            child=None if data["child"] is None else Exchange(*data["child"]),
            steps=tuple(RolloutStep(*step) for step in data["steps"]),
        )


def _pair(exchange: Exchange | None) -> list[str | None] | None:
    return None if exchange is None else [exchange.supporter, exchange.seeker]
