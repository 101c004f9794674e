"""The four node types of a conversation tree (paper section 3.1.1).

Nodes are small: links are ids, children are a range of consecutive ids, and equal small numbers are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias

from mctsdialog.dialogue import Turn

NodeType: TypeAlias = Literal["root", "unexpanded", "expanded", "end"]

NO_CHILDREN: Final = range(0)
MOST_REASON: Final = 200
"""Most characters of the reason that a branch is closed for."""

_SHARED: Final = {float(number): float(number) for number in range(-10, 101)}


def shared(number: float) -> float:
    """``number``, as one shared object where it is a small whole number (scores mostly are)."""
    return _SHARED.get(number, number)


_SHARED_SCORES: Final[dict[tuple[float, ...], tuple[float, ...]]] = {}


def shared_scores(scores: tuple[float, ...]) -> tuple[float, ...]:
    """``scores``, as one shared tuple where all are small whole numbers (a rubric has few such tuples)."""
    if not all(score in _SHARED for score in scores):
        return scores
    return _SHARED_SCORES.setdefault(scores, tuple(_SHARED[score] for score in scores))


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """One simulated round below a node: kept beside the node, not as nodes (paper section 3.1.4).

    :param strategy: the best-scored strategy, which was played.
    :param supporter: the supporter's utterance.
    :param seeker: the seeker's utterance, or None where the seeker ended the dialogue.
    """

    strategy: str
    supporter: str
    seeker: str | None


@dataclass(frozen=True, slots=True)
class Rollout:
    """What was judged when a node got its first own visit.

    :param steps: the simulated rounds after the node, at most the horizon.
    :param judgements: scores in the order of the domain's criteria, first for the node's own supporter turn and
        then one for each step.
    :param reward: mean reward over the judged turns (paper eq. 3).
    :param draws: for each judgement the scores of the single draws whose mean it is; empty where the judge was asked
        once.
    """

    steps: tuple[RolloutStep, ...]
    judgements: tuple[tuple[float, ...], ...]
    reward: float
    draws: tuple[tuple[tuple[float, ...], ...], ...] = ()


class Node:
    """What all nodes have.

    :ivar id: position in the tree's list of nodes; ids grow in the order of creation.
    :ivar parent: id of the parent; -1 for the root.
    :ivar value: Q, the mean reward of the visits, 0.0 before the first.
    :ivar visits: N, how many rewards were backpropagated through the node.
    :ivar closed: why the branch is closed, such as "supporter: refusal": a model or its provider refuses for good what
        comes next here. A closed node has no children, and is on no valid path and in no pair. None where it is open.
    """

    __slots__ = ("closed", "id", "parent", "value", "visits")

    type: ClassVar[NodeType]

    def __init__(self, node_id: int, parent: int, value: float = 0.0, visits: int = 0) -> None:
        self.id = node_id
        self.parent = parent
        self.value = value
        self.visits = visits
        self.closed: str | None = None

    @property
    def children(self) -> range:
        """Ids of the children, in the order of the strategy set; empty for a leaf."""
        return NO_CHILDREN

    @property
    def strategy(self) -> str | None:
        """Name of the strategy; None for the root."""
        return None

    @property
    def supporter(self) -> str | None:
        """The supporter's utterance; None for the root (see its ``turns``) and for a strategy not yet tried."""
        return None

    @property
    def seeker(self) -> str | None:
        """The seeker's answer; None for the root (see its ``turns``), an end node, and a strategy not yet tried."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id}, value={self.value:.3f}, visits={self.visits})"


class RootNode(Node):
    """The start: the seeker's first utterance, or the supporter's greeting and the seeker's answer.

    :ivar turns: the opening turns; the last is the seeker's.
    """

    __slots__ = ("_children", "turns")

    type: ClassVar[NodeType] = "root"

    def __init__(self, turns: tuple[Turn, ...], value: float = 0.0, visits: int = 0) -> None:
        super().__init__(0, -1, value, visits)
        self.turns = turns
        self._children = NO_CHILDREN

    @property
    def children(self) -> range:
        """Ids of the children, in the order of the strategy set; empty for a leaf."""
        return self._children


class StrategyNode(Node):
    """A node below the root: one strategy for one supporter turn.

    :ivar strategy: name of the strategy.
    :ivar score: the strategist's raw score, 0 to 10; NaN where it left the strategy out.
    :ivar prior: P, softmax of the scores among the siblings; they sum to 1.
    """

    __slots__ = ("prior", "score", "strategy")

    strategy: str

    def __init__(self, node_id: int, parent: int, strategy: str, score: float, prior: float) -> None:
        super().__init__(node_id, parent)
        self.strategy = strategy
        self.score = shared(score)
        self.prior = prior

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, strategy={self.strategy!r}, prior={self.prior:.3f})"


class UnexpandedNode(StrategyNode):
    """A strategy that has not been tried: no text (``supporter`` and ``seeker`` are None), Q = N = 0."""

    __slots__ = ()

    type: ClassVar[NodeType] = "unexpanded"

    @property
    def supporter(self) -> None:
        """None: nothing was said."""
        return None

    @property
    def seeker(self) -> None:
        """None: nothing was said."""
        return None


class SpokenNode(StrategyNode):
    """A strategy that has been carried out.

    :ivar supporter: the supporter's utterance.
    :ivar gold: whether the utterance comes from the gold dialogue.
    :ivar rollout: what was judged on the node's first own visit; None if it had none (a gold node, or a node
        whose first reward came from a child).
    :ivar probe: whether the node was generated and simulated apart from the search, to see how a strategy does that
        selection did not reach. The reward of a probe is its own visit; its ancestors' Q and N know nothing of it.
    :ivar posterior: what the search believes of the reward of the node's own turn, its judgements and all others
        weighed: mean and standard deviation; None from an algorithm that has no such belief.
    """

    __slots__ = ("gold", "posterior", "probe", "rollout", "supporter")

    supporter: str

    def __init__(self, origin: StrategyNode, supporter: str, *, gold: bool = False) -> None:
        super().__init__(origin.id, origin.parent, origin.strategy, origin.score, origin.prior)
        self.value = origin.value
        self.visits = origin.visits
        self.closed = origin.closed
        self.supporter = supporter
        self.gold = gold
        self.probe = False
        self.rollout: Rollout | None = None
        self.posterior: tuple[float, float] | None = None


class ExpandedNode(SpokenNode):
    """A strategy carried out, and the seeker's answer.

    :ivar seeker: the seeker's utterance.
    """

    __slots__ = ("_children", "seeker")

    seeker: str
    type: ClassVar[NodeType] = "expanded"

    def __init__(self, origin: StrategyNode, supporter: str, seeker: str, *, gold: bool = False) -> None:
        super().__init__(origin, supporter, gold=gold)
        self.seeker = seeker
        self._children = NO_CHILDREN

    @property
    def children(self) -> range:
        """Ids of the children, in the order of the strategy set; empty for a leaf."""
        return self._children


class EndNode(SpokenNode):
    """The supporter's last turn: the seeker ended the dialogue after it, or the gold dialogue ends here."""

    __slots__ = ()

    type: ClassVar[NodeType] = "end"

    @property
    def seeker(self) -> None:
        """None: the seeker said nothing more."""
        return None
