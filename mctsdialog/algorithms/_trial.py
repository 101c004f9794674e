"""What the search asks and what it is told: plain data, so that a trial can be journalled and replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Turn
from mctsdialog.tree import MOST_REASON, RolloutStep

TrialKind: TypeAlias = Literal["generate", "expand", "end", "finish", "score", "open", "turn", "judge"]
"""What a trial does. The first four are trials of the paper's search, found as :class:`Simulation`; the others are one
step each: the strategist's scores (:class:`Scored`), children without them (:class:`Opened`), one exchange and its
judgement (:class:`Spoken`), and one judgement more (:class:`Judged`)."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A generated supporter turn and the seeker's answer; None where the seeker ended the dialogue."""

    supporter: str
    seeker: str | None


@dataclass(frozen=True, slots=True)
class Trial:
    """One request of an algorithm: what is to be asked of the roles, and for which node.

    :param number: counts the trials of a search from 0.
    :param leaf: id of the selected node.
    :param kind: "score" asks the strategist at the node; "open" asks nobody; "turn" has its strategy carried out,
        answered and judged; "judge" has its turn judged. Or, for the paper's search, what the leaf needs first:
        "generate" (it is unexpanded), "expand" (it has text but no children), "end" (the dialogue ended there: only
        judge it), or "finish" (generate it and simulate from it: it is the child that a trial was to be played from
        which grew its parent and then failed, or a sibling of one that was refused there).
    :param history: the conversation down to the leaf, supporter turns with their strategies. For "generate",
        "finish" and "turn" it ends before the leaf's own turns, for "judge" with its supporter turn.
    :param strategy: the leaf's strategy; None for the root.
    :param draw: for "judge", how often the turn has been judged before: another draw is wanted.
    """

    number: int
    leaf: int
    kind: TrialKind
    history: tuple[Turn, ...]
    strategy: str | None
    draw: int = 0


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
    @checked()
    def from_dict(cls, data: Mapping[str, Any]) -> Growth:
        """The growth that :meth:`to_dict` wrote.

        :raises ValueError: for data that it cannot have written.
        """
        return cls(_exchange(data, "generated"), _scores(data))


@dataclass(frozen=True, slots=True)
class Closure:
    """What a trial found that a model or its provider refused for good: one node is closed, none is rewarded.

    It is the leaf; where there are scores, the leaf's child of highest prior.

    :param reason: role and reason, such as "supporter: refusal" or "judge: content_filter".
    :param generated: the leaf's own exchange, for "generate" where that much was said and the dialogue goes on.
    :param scores: the strategist's raw scores at the leaf, where it gave some.
    """

    reason: str
    generated: Exchange | None = None
    scores: Mapping[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The closure as JSON values, exact."""
        scores = None if self.scores is None else dict(self.scores)
        return {"reason": self.reason, "generated": _pair(self.generated), "scores": scores}

    @classmethod
    @checked()
    def from_dict(cls, data: Mapping[str, Any]) -> Closure:
        """The closure that :meth:`to_dict` wrote.

        :raises ValueError: for data that it cannot have written.
        """
        reason = _text("reason", data.get("reason"))
        if len(reason) > MOST_REASON:
            raise ValueError(f"reason: has {len(reason)} characters; {MOST_REASON} is the most")
        return cls(reason, _exchange(data, "generated"), None if data.get("scores") is None else _scores(data))


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a trial of the paper's search found; all that is needed to commit it.

    :param generated: the leaf's own exchange, for "generate".
    :param scores: the strategist's raw scores at the leaf, unless the dialogue ended there.
    :param child: the exchange of the leaf's highest-prior child, whenever there are scores; for "finish", of the leaf.
    :param steps: the simulated rounds after that child.
    :param judgements: the judge's scores in the order of the domain's criteria: for the evaluated node's own turn
        (the leaf where the dialogue ended there, else the child), then for each step.
    :param draws: for each judgement the scores of the single draws, where the judge was asked several times.
    """

    judgements: tuple[tuple[float, ...], ...]
    generated: Exchange | None = None
    scores: Mapping[str, float] | None = None
    child: Exchange | None = None
    steps: tuple[RolloutStep, ...] = ()
    draws: tuple[tuple[tuple[float, ...], ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON values, exact."""
        drawn = {"draws": [[list(draw) for draw in draws] for draws in self.draws]} if self.draws else {}
        return {
            "generated": _pair(self.generated),
            "scores": None if self.scores is None else dict(self.scores),
            "child": _pair(self.child),
            "steps": [[step.strategy, step.supporter, step.seeker] for step in self.steps],
            "judgements": [list(scores) for scores in self.judgements],
            **drawn,
        }

    @classmethod
    @checked()
    def from_dict(cls, data: Mapping[str, Any]) -> Simulation:
        """The outcome that :meth:`to_dict` wrote.

        :raises ValueError: for data that it cannot have written.
        """
        return cls(
            judgements=tuple(
                tuple(_number("judgements", score) for score in each) for each in _lists(data, "judgements")
            ),
            generated=_exchange(data, "generated"),
            scores=None if data.get("scores") is None else _scores(data),
            child=_exchange(data, "child"),
            steps=tuple(map(_step, _lists(data, "steps", 3))),
            draws=tuple(
                tuple(tuple(_number("draws", score) for score in each) for each in _lists({"draws": draws}, "draws"))
                for draws in (_lists(data, "draws") if "draws" in data else ())
            ),
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """What the strategist said at a node, for "score".

    :param scores: raw scores by strategy.
    """

    scores: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The scores as JSON values, exact."""
        return {"scores": dict(self.scores)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scored:
        """What :meth:`to_dict` wrote.

        :raises ValueError: for data that it cannot have written.
        """
        return cls(_scores(data))


@dataclass(frozen=True, slots=True)
class Opened:
    """A node gets its children without the strategist's scores, for "open": no role is asked.

    It is an outcome like others so that a journal has it: the ids of nodes follow from the journal alone.
    """

    def to_dict(self) -> dict[str, Any]:
        """Nothing more than that."""
        return {}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Opened:
        """What :meth:`to_dict` wrote."""
        del data
        return cls()


@dataclass(frozen=True, slots=True)
class Judged:
    """One judgement of a node's turn, for "judge".

    :param scores: in the order of the domain's criteria; of a judge that was asked several times their mean.
    """

    scores: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """The judgement as JSON values, exact."""
        return {"judgement": list(self.scores)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Judged:
        """What :meth:`to_dict` wrote.

        :raises ValueError: for data that it cannot have written.
        """
        return cls(_judgement(data))


@dataclass(frozen=True, slots=True)
class Spoken:
    """One exchange and the judgement of its supporter turn, for "turn".

    :param exchange: what was said.
    :param scores: the judgement, in the order of the domain's criteria.
    """

    exchange: Exchange
    scores: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """The turn as JSON values, exact."""
        return {"exchange": _pair(self.exchange), "judgement": list(self.scores)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Spoken:
        """What :meth:`to_dict` wrote.

        :raises ValueError: for data that it cannot have written.
        """
        return cls(_spoken("exchange", data.get("exchange")), _judgement(data))


Outcome: TypeAlias = Simulation | Scored | Opened | Spoken | Judged | Closure
"""What a trial can find."""

OUTCOMES: Final[Mapping[str, type[Simulation | Scored | Opened | Spoken | Judged]]] = {
    "trial": Simulation,
    "score": Scored,
    "open": Opened,
    "turn": Spoken,
    "judge": Judged,
}
"""By the type of its record in a journal."""


def record_type(trial: Trial, outcome: Outcome) -> str:
    """The type of the record that a journal keeps of a trial."""
    if isinstance(outcome, Closure):
        return "closed"
    return trial.kind if trial.kind in OUTCOMES else "trial"


_ONE_CALL: Final = {"opening": "seeker", "gold": "strategist", "score": "strategist", "judge": "judge"}


def record_calls(record: Mapping[str, Any]) -> int:
    """The calls to roles that a trial or growth took, by its record in a journal.

    Version 0.1 did not write them: there they are the least that can have found what it has.

    :raises ValueError: for a number that is none.
    """
    if "calls" in record:
        calls = record["calls"]
        if type(calls) is not int or calls < 0:
            raise ValueError(f"calls: must be a whole number of 0 or more, not {calls!r:.40}")
        return calls
    return sum(calls_by_role(record).values())


def calls_by_role(record: Mapping[str, Any]) -> dict[str, int]:
    """The calls to each role that a journal's record comes from, as far as what it has shows them."""
    kind, judgements = record.get("type"), record.get("judgements", ())
    if kind in _ONE_CALL:
        return {_ONE_CALL[kind]: 1}
    if kind in ("turn", "open"):
        return dict.fromkeys(("supporter", "seeker", "judge"), 1) if kind == "turn" else {}
    steps = len(record.get("steps", ()))
    spoken = sum(record.get(name) is not None for name in ("generated", "child")) + steps
    found = {"supporter": spoken, "seeker": spoken}
    found["strategist"] = (record.get("scores") is not None) + steps
    found["judge"] = 0 if kind == "closed" else len(judgements)
    if kind == "closed":
        refused = str(record.get("reason")).partition(":")[0]
        found[refused] = found.get(refused, 0) + 1
    return found


def _judgement(data: Mapping[str, Any]) -> tuple[float, ...]:
    value = data.get("judgement")
    if not isinstance(value, list) or not value:
        raise ValueError("judgement: must be a list of numbers")
    return tuple(_number("judgement", score) for score in value)


def _pair(exchange: Exchange | None) -> list[str | None] | None:
    return None if exchange is None else [exchange.supporter, exchange.seeker]


def _exchange(data: Mapping[str, Any], field: str) -> Exchange | None:
    value = data.get(field)
    return None if value is None else _spoken(field, value)


def _spoken(field: str, value: object) -> Exchange:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{field}: what was said is a pair of texts")
    return Exchange(_text(field, value[0]), None if value[1] is None else _text(field, value[1]))


def _step(entry: list[Any]) -> RolloutStep:
    said = _spoken("steps", entry[1:])
    return RolloutStep(_text("steps", entry[0]), said.supporter, said.seeker)


def _scores(data: Mapping[str, Any]) -> dict[str, float]:
    value = data.get("scores")
    if not isinstance(value, dict) or not value:
        raise ValueError("scores: must be numbers by strategy")
    return {name: _number("scores", score) for name, score in value.items()}


def _lists(data: Mapping[str, Any], field: str, length: int | None = None) -> list[list[Any]]:
    value = data.get(field)
    if not isinstance(value, list) or not all(isinstance(each, list) for each in value):
        raise ValueError(f"{field}: must be a list of lists")
    if length is not None and any(len(each) != length for each in value):
        raise ValueError(f"{field}: each must have {length} entries")
    return value


def _text(field: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field}: must be a text that is not blank, not {value!r:.40}")
    return value


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{field}: must be a number, not {value!r:.40}")
    return value
