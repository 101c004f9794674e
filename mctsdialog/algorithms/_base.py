"""What an algorithm is: the decisions of a search, over one tree, without a model call.

An algorithm is asked for trials and told what they found. The search around it (scheduler, journal, limits, corpus,
Ray, ``plan``) is the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeVar

from mctsdialog._settings import Settings
from mctsdialog.algorithms._config import SearchConfig
from mctsdialog.algorithms._registry import ALGORITHMS
from mctsdialog.algorithms._rules import reward
from mctsdialog.algorithms._trial import Exchange, Growth, Outcome, Trial
from mctsdialog.errors import ConfigError, TrialError
from mctsdialog.tree import INVARIANTS, Node, SpokenNode, Tree


class NoSettings(Settings):
    """An algorithm without settings of its own."""


class Algorithm(ABC):
    """One search over one tree: what is asked of the roles next, and what the tree makes of the answers.

    :func:`register` makes a subclass known by its :attr:`name`. Everything that it decides must follow from the tree,
    the settings and the outcomes it was told, in their order: then a search is resumed exactly. Draws come from
    :func:`mctsdialog.algorithms.uniform`, never from a generator of its own.

    :param tree: the tree to grow; it may hold earlier trials.
    :param config: the search's settings; the algorithm's own are ``config.own``.
    :param max_calls: about how many calls to roles the search may take in all, where that is known.
    :param can_rejudge: whether the judge gives another draw when it is asked again about the same turn.
    """

    name: ClassVar[str]
    """What ``SearchConfig(algorithm=...)`` calls it."""

    Settings: ClassVar[type[Settings]] = NoSettings
    """Its own settings, ``SearchConfig(settings={...})``."""

    plans_by_limits: ClassVar[bool] = False
    """Whether what it asks depends on ``max_calls`` or ``max_iterations``, not only when it stops. The journal of a
    deterministic search then keeps them, so that it can be resumed with others."""

    def __init__(
        self, tree: Tree, config: SearchConfig, *, max_calls: int | None = None, can_rejudge: bool = False
    ) -> None:
        self.tree = tree
        self.config = config
        self.max_calls = max_calls
        self.can_rejudge = can_rejudge
        self._weights = tuple(tree.domain.weights[name] for name in tree.domain.criteria)

    # -- what an algorithm decides ---------------------------------------------------------------------------------

    @abstractmethod
    def ask(self, expected: int | None = None) -> Trial | None:
        """The next trial, or None where none can start now.

        :param expected: give a trial of this node alone, while others are in progress: of a search that is resumed.
        """

    @abstractmethod
    def tell(self, trial: Trial, outcome: Outcome) -> bool:
        """Commit what a trial found; False, with nothing changed, where it was told before.

        :raises TrialError: for a trial that is not in progress, or an outcome that does not fit it.
        """

    @abstractmethod
    def release(self, trial: Trial) -> None:
        """Give up a trial that failed; the tree stays as it was."""

    @abstractmethod
    def replay(self, kind: str, leaf: int, outcome: Outcome) -> None:
        """Commit a trial from a journal.

        :param kind: the type of its record; of a closure, the trial's kind.
        :raises TrialError: if the node cannot have had that outcome.
        """

    @abstractmethod
    def stop_reason(self) -> str | None:
        """Why the search may stop now, or None. Asking changes nothing."""

    @abstractmethod
    def seed(self, node_id: int, scores: Mapping[str, float], strategy: str, gold: Exchange) -> SpokenNode:
        """Expand a node and put the next gold turn on it.

        :param scores: the strategist's, at the node.
        :param gold: ``seeker`` is None for the last gold turn, which becomes an end node.
        """

    @abstractmethod
    def close(self, node_id: int, reason: str) -> None:
        """Close a leaf for good: a model refuses what comes next at it."""

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """Trials asked and neither told nor released."""

    @classmethod
    @abstractmethod
    def most_calls(cls, config: SearchConfig) -> Mapping[str, int]:
        """The most calls to each role that one trial can take."""

    @classmethod  # noqa: B027  # it need not promise anything
    def check(cls, tree: Tree) -> None:
        """Verify what the algorithm promises of its trees; their structure has been checked.

        :raises TreeError: naming the first node where it does not hold.
        """

    def recommend(self, node: Node) -> Sequence[SpokenNode]:
        """The children of a node that have words, the one to say first: the most visited, then the highest Q."""
        spoken = [child for child in self.tree.children(node) if isinstance(child, SpokenNode) and child.visits]
        return sorted(spoken, key=lambda child: (child.closed is None, child.visits, child.value), reverse=True)

    def grow(self, trial: Trial, growth: Growth) -> None:
        """Take in what a trial in progress has found of its leaf; only the paper's search asks for that."""
        raise TrialError(f"trial {trial.number} of {self.name!r} does not grow its leaf before it ends: {growth}")

    def replay_growth(self, leaf: int, growth: Growth) -> None:
        """Commit a growth from a journal; only the paper's search writes any."""
        raise TrialError(f"a search by {self.name!r} has no growth of node {leaf}: {growth}")

    def finish(self) -> None:  # noqa: B027  # most have nothing to do
        """Bring the tree up to date, once the search has stopped."""

    # -- what all of them use --------------------------------------------------------------------------------------

    def reward(self, scores: Sequence[float]) -> float:
        """The reward of a judgement (eq. 2), from ``bias`` to the best score plus ``bias``."""
        return reward(scores, self._weights, self.config.bias)


A = TypeVar("A", bound=type[Algorithm])


def register(algorithm: A) -> A:
    """Make an algorithm known by its name; a decorator for its class.

    :raises ConfigError: for a class that is none, a name that is blank, or one that another class has.
    """
    if not (isinstance(algorithm, type) and issubclass(algorithm, Algorithm)):
        raise ConfigError(f"an algorithm is a subclass of Algorithm, not {algorithm!r:.80}", field="algorithm")
    name = getattr(algorithm, "name", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(f"{algorithm.__name__} needs a name, such as 'my_search', not {name!r}", field="name")
    known = ALGORITHMS.get(name)
    if known is not None and known.__qualname__ != algorithm.__qualname__:
        raise ConfigError(f"there is an algorithm {name!r} already: {known.__qualname__}", field="name")
    ALGORITHMS[name] = algorithm
    INVARIANTS[name] = algorithm.check
    return algorithm
