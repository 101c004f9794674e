"""What a training method is, and what its loss sees. Importing this imports neither torch nor numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pydantic import Field
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    IntArray: TypeAlias = npt.NDArray[np.int64]

Kind: TypeAlias = Literal["preference", "unpaired", "sft", "turns"]
"""What a method trains on: pairs, labelled replies, whole dialogues, or turns with all their replies."""

Metrics: TypeAlias = "Mapping[str, tuple[torch.Tensor, int]]"
"""Sums over some replies and how many there are, by name."""

Loss: TypeAlias = "tuple[torch.Tensor, Metrics]"
"""The loss of each turn, shape (turns,), and what is logged."""


@dataclass(frozen=True)
class Reply:
    """A sequence of tokens and those of them whose log-probabilities are asked for.

    :param ids: prompt and reply.
    :param scored: indices of the reply's tokens, each 1 or more: no prediction precedes the first token.
    :param spans: indices of other parts whose log-probability the loss needs by itself, by name.
    """

    ids: IntArray
    scored: IntArray
    spans: Mapping[str, IntArray] = field(default_factory=dict)

    @classmethod
    def after(cls, prompt: Sequence[int], completion: Sequence[int], limit: int, strategy: int | None = None) -> Reply:
        """A completion after its prompt, both together cut at ``limit`` tokens.

        :param strategy: how many tokens of the completion name the strategy; they become the span "strategy". None for
            a reply without spans.
        """
        import numpy as np  # noqa: PLC0415  # comes with the extra `train`

        ids = np.array([*prompt, *completion][:limit], np.int64)
        scored = np.arange(max(len(prompt), 1), len(ids))
        return cls(ids, scored, {} if strategy is None else {"strategy": scored[:strategy]})

    @classmethod
    def labelled(cls, ids: Sequence[int], labels: Sequence[int]) -> Reply:
        """A sequence whose labels are -100 wherever a token does not count."""
        import numpy as np  # noqa: PLC0415  # comes with the extra `train`

        scored = np.flatnonzero(np.array(labels, np.int64) != -100)
        return cls(np.array(ids, np.int64), scored[scored > 0])


@dataclass(frozen=True)
class ReplySet:
    """The replies of one turn that a loss compares.

    :param replies: one or more; pairs have the chosen reply first.
    :param values: how good each reply is, by the search or by its label; empty where the data does not say.
    :param weights: how much each reply counts; empty is 1.
    :param mismatched: the prompt with the reply of another turn, for a method with a :attr:`Method.baseline`.
    :param seed: identifies the seed dialogue.
    """

    replies: tuple[Reply, ...]
    values: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    mismatched: Reply | None = None
    seed: str = ""


@dataclass(frozen=True)
class Span:
    """Log-probabilities of replies, whole or of a part of each.

    :param sums: summed over the tokens, shape (turns, replies).
    :param counts: number of those tokens; 0 where a turn has fewer replies, shape (turns, replies).
    :param reference: as ``sums``, of the model before training; None without a reference.
    """

    sums: torch.Tensor
    counts: torch.Tensor
    reference: torch.Tensor | None = None

    @property
    def means(self) -> torch.Tensor:
        """Mean log-probability of a token."""
        return self.sums / self.counts.clamp(min=1)

    @property
    def ratios(self) -> torch.Tensor:
        """Log-ratios to the reference.

        :raises ValueError: without a reference.
        """
        if self.reference is None:
            raise ValueError("these scores have no reference")
        return self.sums - self.reference


@dataclass(frozen=True)
class Scores(Span):
    """All that a loss sees of some turns, a row for each; turns with fewer replies than others are padded.

    :param spans: the parts that :attr:`Reply.spans` names.
    :param values: of :class:`ReplySet`, shape (turns, replies); None if the data does not say.
    :param weights: of :class:`ReplySet`, shape (turns, replies); None is 1 for all.
    :param baseline: the method's :meth:`Method.baseline` of the step, a scalar; None without one.
    """

    spans: Mapping[str, Span] = field(default_factory=dict)
    values: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    baseline: torch.Tensor | None = None

    @property
    def present(self) -> torch.Tensor:
        """True where a turn has a reply, shape (turns, replies)."""
        return self.counts > 0


def setting(default: Any, description: str, **limits: Any) -> Any:
    """A setting that no other method has: a field of a method's class.

    :param description: what it means, for the help.
    :param limits: of pydantic's ``Field``: ``gt``, ``ge``, ``lt``, ``le``.
    """
    kind: Any = type(default) | None
    about = FieldInfo.from_annotated_attribute(kind, Field(default=None, description=description, **limits))
    return field(default=default, metadata={"setting": about})


@dataclass(frozen=True)
class Method(ABC):
    """A training method. A subclass is a frozen dataclass whose fields are its settings with their defaults.

    A field that is a setting of :class:`cso_train.TrainConfig` takes its type, range and description from there;
    one of the method's own is made with :func:`setting`.
    """

    name: ClassVar[str]
    """As ``--method`` takes it."""
    formula: ClassVar[str]
    """The loss in one line, for the card of the model."""
    trl: ClassVar[str]
    """TRL's name of its trainer: "DPO" is ``trl.DPOTrainer`` with ``trl.DPOConfig``."""
    kind: ClassVar[Kind] = "preference"
    """What it trains on."""
    reference: ClassVar[bool] = False
    """Whether the loss compares with the model before training; it then has the setting ``precompute_reference``."""
    min_rows: ClassVar[int] = 1
    """Fewest rows that one device takes at once."""
    min_rows_reason: ClassVar[str] = ""
    """Why it is not one."""
    shuffle: ClassVar[bool] = False
    """Whether the rows are shuffled before the trainer gets them."""
    mean_over: ClassVar[Literal["turns", "tokens"]] = "turns"
    """What the sum of the losses is divided by."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of what the packed loss logs."""
    needs_values: ClassVar[bool] = False
    """Whether the loss takes :attr:`Scores.values`; rows of pairs without values are then refused."""
    baseline_metric: ClassVar[str | None] = None
    """The name that the baseline is logged by; None for a method without one."""

    @property
    def trees_alone(self) -> str | None:
        """Why TRL cannot compute this loss pair by pair, so that packing must be tree; None where it can."""
        return None

    @property
    def weighted(self) -> bool:
        """Whether the loss takes :attr:`Scores.weights`; rows without weights are then refused."""
        return False

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Its settings and their defaults."""
        return {each.name: each.default for each in fields(cls)}

    @classmethod
    def own_settings(cls) -> dict[str, FieldInfo]:
        """The settings that :func:`setting` made, as pydantic's fields."""
        return {each.name: each.metadata["setting"] for each in fields(cls) if each.metadata}

    def trainer(self) -> tuple[Any, Any]:
        """The trainer's class and its configuration's class, imported when they are needed."""
        import trl  # noqa: PLC0415  # heavy

        return getattr(trl, f"{self.trl}Trainer"), getattr(trl, f"{self.trl}Config")

    @abstractmethod
    def arguments(self, max_length: int) -> dict[str, Any]:
        """Fields of the trainer's configuration that the method sets.

        :param max_length: most tokens of a sequence.
        """

    def examples(
        self, rows: Sequence[Mapping[str, Any]], tokens: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """The rows as the trainer takes them: ``prompt_ids``, the ids of each reply, and the label where there is one.

        :param tokens: a row's tokens: ``prompt_ids`` with ``chosen_ids`` and ``rejected_ids``, or ``completion_ids``;
            those of a dialogue are ``input_ids``, and ``assistant_masks`` tells the supporter's among them.
        """
        return [{**tokens(row), **({"label": row["label"]} if "label" in row else {})} for row in rows]

    @abstractmethod
    def replies(self, example: Mapping[str, Any], limit: int) -> ReplySet:
        """The replies of a row, for packing.

        :param example: the row as the trainer tokenised it.
        :param limit: most tokens of a sequence.
        """

    def baseline(self, ratio: torch.Tensor) -> torch.Tensor:
        """What the losses of a step are measured from.

        :param ratio: mean log-ratio of the step's mismatched replies, a scalar without gradient.
        """
        return ratio

    @abstractmethod
    def loss(self, scores: Scores) -> Loss:
        """The loss of each turn, shape (turns,), and what is logged."""


def log_sigmoid(values: torch.Tensor) -> torch.Tensor:
    """log(1 / (1 + exp(-values)))."""
    import torch  # noqa: PLC0415  # heavy

    return torch.nn.functional.logsigmoid(values)


PAIR_METRICS = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
)
"""Names of what :func:`pair_metrics` gives."""


def pair_metrics(rewards: torch.Tensor, scores: Scores) -> Metrics:
    """What is logged of pairs.

    :param rewards: of the chosen and the rejected reply, shape (turns, 2).
    """
    rewards, sums, count = rewards.detach(), scores.sums.detach(), len(rewards)
    return {
        "rewards/chosen": (rewards[:, 0].sum(), count),
        "rewards/rejected": (rewards[:, 1].sum(), count),
        "rewards/margins": ((rewards[:, 0] - rewards[:, 1]).sum(), count),
        "rewards/accuracies": ((rewards[:, 0] > rewards[:, 1]).float().sum(), count),
        "logps/chosen": (sums[:, 0].sum(), count),
        "logps/rejected": (sums[:, 1].sum(), count),
    }
