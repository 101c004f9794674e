"""What a conversation is: turns, dialogues, strategies, and the domain they belong to.

Nothing here knows of search, trees or language models. Emotional support is one :class:`Domain` among others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Never, Self, TypeAlias, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from mctsdialog import _repr
from mctsdialog._arguments import checked
from mctsdialog.errors import DataError, DialogueError, DomainError, shown
from mctsdialog.files import dotted, first_fault

Speaker: TypeAlias = Literal["seeker", "supporter"]
"""The two sides. Their names in prompts come from the domain ("patient", "persuader", ...)."""

CHAT_ROLES: Mapping[str, Speaker] = {"user": "seeker", "assistant": "supporter"}
"""The two sides by the role names of chat APIs."""

TEMPLATE_NAMES = ("seeker", "supporter", "strategist", "judge", "labeller")
"""The prompt templates of a domain, one a role."""


T = TypeVar("T")
_Items: TypeAlias = Annotated[
    tuple[T, ...],
    FailFast(),  # the first wrong item alone is an error
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),  # what JSON has
]


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance.

    :param speaker: "seeker" or "supporter".
    :param text: what was said; not empty.
    :param strategy: name of the strategy of a supporter turn; None for seeker turns and where it is unknown
        or hidden from the reader.
    :param also: further strategies that the data names for the same turn. They do not count in a comparison of turns,
        and a search, which needs one strategy a turn, does not use them.
    :raises DialogueError: for another speaker, or a text or strategy that is no text.
    """

    speaker: Speaker
    text: str
    strategy: str | None = None
    also: _Items[str] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.speaker not in ("seeker", "supporter"):
            known = isinstance(self.speaker, str) and CHAT_ROLES.get(self.speaker)
            hint = f"; {known} is the word for it here" if known else ""
            message = f"the speaker must be seeker or supporter, not {shown(self.speaker)}{hint}"
            raise DialogueError(message, item="Turn", field="speaker")
        if not isinstance(self.text, str):
            raise DialogueError(f"must be a text, not {shown(self.text)}", item="Turn", field="text")
        if self.strategy is not None and not isinstance(self.strategy, str):
            reason = f"must be the name of a strategy, not {shown(self.strategy)}"
            raise DialogueError(reason, item="Turn", field="strategy")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """As any dataclass, but without an empty ``also``: files of turns with one strategy stay as they were."""
        written = core_schema.wrap_serializer_function_ser_schema(_without_empty_also)
        return cast(core_schema.CoreSchema, {**handler(source), "serialization": written})


def _without_empty_also(turn: Turn, plain: SerializerFunctionWrapHandler) -> Any:
    return {key: each for key, each in plain(turn).items() if key != "also" or each}


def turns_fault(turns: Sequence[Turn]) -> str | None:
    """What is wrong with a conversation's turns: an unknown or repeated side, a blank text, a seeker's strategy."""
    for index, turn in enumerate(turns):
        if turn.speaker not in ("seeker", "supporter"):
            return f"turn {index}: speaker must be seeker or supporter, not {turn.speaker!r:.40}"
        if not turn.text.strip():
            return f"turn {index}: the text is blank"
        if index and turns[index - 1].speaker == turn.speaker:
            return f"turns {index - 1} and {index} are both the {turn.speaker}'s; join them"
        if turn.speaker == "seeker" and turn.strategy is not None:
            return f"turn {index}: a seeker turn has no strategy"
    return None


MAX_STRATEGIES = 256
"""Most strategies of a set: a turn has a child for each, and as many pairs as their square."""

_MOST_WEIGHT = 1e9
_Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=500)]  # patterns and prompts are made of names


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    _error: ClassVar[type[DataError]] = DomainError

    def __init__(self, *unnamed: Never, **values: Any) -> None:
        if unnamed:
            kind = type(self).__name__
            raise self._error(f"takes its fields by name: {kind}({self._first_field()}", item=kind)
        try:
            super().__init__(**values)
        except ValidationError as error:
            place, message = first_fault(error)
            if message.startswith("Input should be an instance of Turn"):
                message += "; make it: Turn('seeker', 'text'). Messages of a chat API: Dialogue.from_messages(messages)"
            raise self._error(message, item=type(self).__name__, field=dotted(place) or None) from error
        if fault := self._fault_when_made():
            raise self._error(fault, item=type(self).__name__)

    def _fault_when_made(self) -> str | None:
        """What is wrong with a new one that is let pass in what earlier versions wrote."""
        return None

    @classmethod
    def _first_field(cls) -> str:
        """The end of the message to those who name no field."""
        return f"{next(iter(cls.model_fields))}=...)"

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self).__name__
        raise self._error(f"a {kind} cannot be changed; make another {kind}", item=kind, field=name)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # else reading JSON would go through it, too


class Strategy(_Frozen):
    """A way for the supporter to act in one turn.

    :param name: unique in its set, as it is shown to models ("Emotional Validation").
    :param description: what it means, in a sentence or two.
    """

    name: _Name
    description: str = ""

    @field_validator("name")
    @classmethod
    def _stripped(cls, value: str) -> str:
        if not value.strip() or value != value.strip():
            raise ValueError(f"a strategy's name may not be blank or begin or end in a space: {value!r}")
        return value


def normal_name(name: str) -> str:
    """``name`` as it is compared: case, hyphens, underscores and runs of white space do not count."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


class StrategySet(_Frozen, Sequence[Strategy]):
    """The ordered strategies of a domain. Children of a node are made in this order.

    :param strategies: at least one, at most 256; names differ in more than letter case.
    :param aliases: other names found in data or replies, mapped to a name of the set.
    """

    strategies: _Items[Strategy] = Field(min_length=1, max_length=MAX_STRATEGIES)
    aliases: dict[_Name, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        lookup: dict[str, str] = {}
        for strategy in self.strategies:
            key = normal_name(strategy.name)
            if key in lookup:
                raise ValueError(f"two strategies are named {strategy.name!r}")
            lookup[key] = strategy.name
        names = set(lookup.values())
        for alias, name in self.aliases.items():
            if name not in names:
                raise ValueError(f"alias {alias!r} points to {name!r}, which is not in the set")
            lookup.setdefault(normal_name(alias), name)
        self.__dict__["_lookup"] = lookup  # a plain dict, so that a domain can be pickled
        self.__dict__["_exact"] = frozenset(names)
        self.__dict__["_names"] = tuple(strategy.name for strategy in self.strategies)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        names: tuple[str, ...] = self.__dict__["_names"]
        return names

    def resolve(self, name: str) -> str | None:
        """The set's own spelling of ``name`` (letter case, hyphens and aliases allowed), or None."""
        if not isinstance(name, str):
            raise DomainError(f"a strategy is found by its name, a text, not by {shown(name)}")
        if name in self.__dict__["_exact"]:
            return name
        lookup: Mapping[str, str] = self.__dict__["_lookup"]
        return lookup.get(normal_name(name))

    def __hash__(self) -> int:
        return hash(self.strategies)  # aliases are a dict

    def __len__(self) -> int:
        return len(self.strategies)

    def __iter__(self) -> Iterator[Strategy]:  # type: ignore[override]  # pydantic iterates over fields
        return iter(self.strategies)

    def __contains__(self, item: object) -> bool:
        return item in self.strategies or (isinstance(item, str) and item in self.names)

    def __getitem__(self, key: Any) -> Any:
        """A strategy by position or by exact name, or a slice of them.

        :raises KeyError: for a name that is not in the set.
        """
        if isinstance(key, str):
            for strategy in self.strategies:
                if strategy.name == key:
                    return strategy
            raise KeyError(key)
        return self.strategies[key]


class RoleDescription(_Frozen):
    """How one side of the conversation is called and described in prompts."""

    name: _Name
    description: str = ""


class Criterion(_Frozen):
    """One criterion of the judge's rubric.

    :param name: lower-case key of the score ("empathy").
    :param description: what it looks at.
    :param levels: meaning of the scores 0, 1, 2, ... in that order; the last is the best.
    """

    name: _Name
    description: str = ""
    levels: _Items[str] = Field(min_length=2)


class Domain(_Frozen):
    """A kind of conversation: who speaks, which strategies there are, how a turn is judged.

    :param name: short key ("esc").
    :param title: what a reader calls it.
    :param strategies: the supporter's strategies.
    :param seeker: the side that brings the matter; it opens a conversation.
    :param supporter: the side whose strategies are searched.
    :param rubric: the judge's criteria. All have the same number of levels (the paper: 0 to 4, Table 12).
    :param weights: a weight > 0 for every criterion; the reward is the weighted mean of the scores plus the
        bias of the search (paper eq. 2: 1, 1, 1 and alpha = 7).
    :param templates: prompt templates by role, in Jinja2; a role left out uses the packaged one.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str = ""
    strategies: StrategySet
    seeker: RoleDescription
    supporter: RoleDescription
    rubric: _Items[Criterion] = Field(min_length=1)
    weights: dict[str, float]
    templates: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [criterion.name for criterion in self.rubric]
        if len(set(names)) != len(names):
            raise ValueError("two criteria of the rubric have the same name")
        if set(self.weights) != set(names):
            raise ValueError(f"weights are for {sorted(self.weights)}, the rubric has {sorted(names)}")
        for name, weight in self.weights.items():
            if not 0 < weight <= _MOST_WEIGHT:
                raise ValueError(f"the weight of {name!r} must be above 0, at most {_MOST_WEIGHT:g}, not {weight}")
        if len({len(criterion.levels) for criterion in self.rubric}) != 1:
            raise ValueError("all criteria of a rubric need the same number of levels")
        unknown = set(self.templates) - set(TEMPLATE_NAMES)
        if unknown:
            raise ValueError(f"unknown templates {sorted(unknown)}; there are {list(TEMPLATE_NAMES)}")
        return self

    def _fault_when_made(self) -> str | None:
        """Whether both sides have one name: a prompt could not tell them apart."""
        if normal_name(self.seeker.name) != normal_name(self.supporter.name):
            return None
        return f"seeker and supporter are both named {self.seeker.name!r}; prompts tell them apart by their names"

    def __hash__(self) -> int:
        return hash((self.name, self.strategies, self.rubric))  # the rest are dicts

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        yield from (("name", self.name), ("strategies", len(self.strategies)), ("criteria", len(self.rubric)))

    @property
    def criteria(self) -> tuple[str, ...]:
        """Names of the judge's criteria, in order."""
        return tuple(criterion.name for criterion in self.rubric)

    @property
    def max_score(self) -> int:
        """The best score of a criterion (the worst is 0)."""
        return len(self.rubric[0].levels) - 1

    @checked()
    def mean_score(self, scores: Mapping[str, float]) -> float:
        """The weighted mean of a judge's scores, from 0 to the best score: the reward of eq. 2 without the bias.

        :raises DomainError: for scores that lack a criterion.
        """
        total = math.fsum(self.weights.values())
        try:
            return math.fsum(self.weights[name] * scores[name] for name in self.criteria) / total
        except KeyError as missing:
            raise DomainError(f"the scores lack the criterion {missing}", field="scores") from None

    def with_weights(self, **weights: float) -> Domain:
        """This domain with some of the judge's weights changed, e.g. ``with_weights(strategy=3)``.

        :raises DomainError: for a criterion that the rubric does not have, or a weight that is not above 0.
        """
        return Domain(**{**dict(self), "weights": {**self.weights, **weights}})


class Scenario(_Frozen):
    """Where a conversation starts: a scene and what the seeker brings to it.

    :param scene: the kind of situation ("Breakups or Divorce").
    :param description: the seeker's situation, in the seeker's words or a summary.
    :param id: unique in its file; names the tree that is grown from it.
    :param source: where it came from (a file, a data set); free text.
    """

    _error = DialogueError

    scene: str = ""
    description: str = ""
    id: str = ""
    source: str = ""


class Dialogue(Scenario):
    """A conversation that took place: a scenario and its turns, the two sides alternating.

    :param turns: seeker and supporter in turn, either side first; no text is blank. A list will do.
    """

    turns: _Items[Turn] = ()

    @field_validator("turns")
    @classmethod
    def _alternate(cls, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        if fault := turns_fault(turns):
            raise ValueError(fault)
        return turns

    @classmethod
    def from_messages(cls, messages: Iterable[Turn | Mapping[str, Any]], **fields: str) -> Self:
        """The dialogue that the messages of a chat API are: ``{"role": "user", "content": "Hello."}``, ...

        The user is the seeker, the assistant the supporter. A system message before the others is left out. An
        assistant's message may name its ``strategy``.

        :param messages: the messages; turns will do, too.
        :param fields: of the scenario: ``id``, ``scene``, ``description``, ``source``.
        :raises DialogueError: naming the first message that is wrong, and what is.
        """
        return cls(turns=turns_of(messages, "messages"), **fields)

    @classmethod
    def _first_field(cls) -> str:
        return "turns=...); messages of a chat API: Dialogue.from_messages(messages)"

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        yield from (("id", self.id), ("scene", self.scene), ("turns", len(self.turns)))

    @property
    def scenario(self) -> Scenario:
        """The dialogue's start alone, without its turns."""
        return Scenario(scene=self.scene, description=self.description, id=self.id, source=self.source)

    def _repr_html_(self) -> str | None:
        return _repr.html_of(self)


def turns_of(messages: object, field: str) -> tuple[Turn, ...]:
    """The turns that a sequence of turns, or of the messages of a chat API, holds; a system message may begin it.

    :param field: what the sequence is called in errors.
    :raises DialogueError: naming the first item that is neither turn nor message.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        reason = f"must be a Dialogue or a list of turns or messages, not {shown(messages)}"
        raise DialogueError(reason, field=field)
    items = list(messages)
    if items and isinstance(items[0], Mapping) and items[0].get("role") == "system":
        del items[0]  # the roles have system prompts of their own
    return tuple(each if isinstance(each, Turn) else _turn_of(each, f"{field}[{at}]") for at, each in enumerate(items))


def _turn_of(message: object, place: str) -> Turn:
    if not isinstance(message, Mapping):
        raise DialogueError(f"must be a Turn or a message with role and content, not {shown(message)}", field=place)
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in CHAT_ROLES:
        raise DialogueError(f"must be 'user' or 'assistant', not {shown(role)}", field=f"{place}.role")
    if not isinstance(content, str) or not content.strip():
        raise DialogueError(f"must be a text that is not blank, not {shown(content)}", field=f"{place}.content")
    strategy = message.get("strategy")
    if strategy is not None and (role == "user" or not isinstance(strategy, str)):
        raise DialogueError("must be the name of a strategy, and of an assistant's message", field=f"{place}.strategy")
    return Turn(CHAT_ROLES[role], content, strategy)
