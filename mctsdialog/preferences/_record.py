"""The tree record: valid paths and rejected siblings of one tree, arranged as a prefix tree, and its pairs.

A pair repeats its whole history; the record holds every turn once and the pairs as pairs of node ids, so that it is
linear in the tree's size. Expanding it gives exactly the pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Dialogue, Scenario, Turn
from mctsdialog.dialogue._model import turns_fault
from mctsdialog.errors import DataError
from mctsdialog.files import check_width, first_fault, parse_json
from mctsdialog.preferences._worth import confidence, worths

SCHEMA_NAME = "mctsdialog.tree_record"
SCHEMA_VERSION = 1

Polarity: TypeAlias = Literal["chosen", "rejected", "other"]

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_Id: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]  # what a column of whole numbers holds
_Value: TypeAlias = Annotated[float, Field(ge=-1e12, le=1e12)]
T = TypeVar("T")
_Items: TypeAlias = Annotated[tuple[T, ...], FailFast()]  # the first wrong item alone is an error


@dataclass(frozen=True, slots=True)
class RecordNode:
    """One supporter turn of a record, and the seeker's answer.

    :param id: the node's id in the tree.
    :param parent: id of the node before it; 0 is the root, which holds the opening turns.
    :param strategy: name of the strategy.
    :param supporter: the supporter's words.
    :param seeker: the seeker's answer; None if the dialogue ended, and for rejected turns.
    :param value: Q; None if it was not searched (a random reply, paper section 5.3).
    :param visits: N.
    :param gold: whether the turn is the gold dialogue's.
    :param polarity: "chosen" on a valid path, "rejected" beside one and in a pair, "other" beside one and in none.
    :param posterior: mean and standard deviation of the turn's reward, as the search believes it; None from an
        algorithm without such a belief.
    """

    __pydantic_config__ = _STRICT

    id: _Id
    parent: _Id
    strategy: str
    supporter: str
    seeker: str | None
    value: _Value | None
    visits: _Id
    gold: bool
    polarity: Polarity
    posterior: tuple[_Value, Annotated[_Value, Field(ge=0)]] | None = None


@dataclass(frozen=True, slots=True)
class RecordPolicy:
    """What the search found every strategy of a turn to be worth: the target of a policy over strategies.

    :param parent: id of the node before the turn; 0 is the root.
    :param worths: by strategy, in the order of the record's strategies: its expected reward, and what is expected to
        follow, fitted to all turns of the dataset. With too few turns, or without the calibrated search, it is
        :func:`worths` of the turn's own tree, and a strategy that was not tried has the worth that the search predicts,
        else the mean of those that were, by their priors (completed Q). None for a strategy that was refused.
    """

    __pydantic_config__ = _STRICT

    parent: _Id
    worths: _Items[_Value | None]


@dataclass(frozen=True, slots=True)
class PairReview:
    """What people decided about a pair of a record.

    :param chosen: id of the reply that they chose, and ``rejected`` of the other one: a pair of the record.
    :param verdict: "accept" where they agree with the search, "swap" where they prefer what it rejected.
    :param reviewers: names of those whose verdict this is.
    :param others: how many decided otherwise.
    :param original_chosen: the chosen reply's words before a person edited them; None if nobody did.
    :param original_rejected: likewise of the rejected reply.
    :param confidence: the confidence that the search had in its own order; the pair itself loses it when it is swapped
        or edited.
    """

    __pydantic_config__ = _STRICT

    chosen: _Id
    rejected: _Id
    verdict: Literal["accept", "swap"]
    reviewers: _Items[str]
    others: _Id = 0
    original_chosen: str | None = None
    original_rejected: str | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None

    @property
    def beside(self) -> bool:
        """Whether the chosen reply stands beside the valid paths: the search rejected it, or wrote it otherwise."""
        return self.verdict == "swap" or self.original_chosen is not None

    def provenance(self) -> dict[str, Any]:
        """The review as JSON values, for the rows that come of the pair."""
        return {
            "verdict": self.verdict,
            "reviewers": list(self.reviewers),
            "others": self.others,
            "original_chosen": self.original_chosen,
            "original_rejected": self.original_rejected,
            "confidence": self.confidence,
        }


@dataclass(frozen=True)
class TreeRecord:
    """One tree's valid paths and their siblings.

    :param scenario: the tree's scenario; its id is the tree's.
    :param domain: name of the domain.
    :param strategies: names of its strategies, in the set's order.
    :param system: the system prompt that every pair begins with.
    :param opening: the turns that the root holds.
    :param seed: the gold dialogue's turns; None for a tree without.
    :param nodes: parents before children.
    :param pairs: (chosen id, rejected id), siblings each.
    :param others: further turns beside valid paths, that were tried and are in no pair.
    :param policies: what the strategies of each turn on a valid path are worth.
    :param reviews: of pairs that people reviewed. What they swapped or edited stands in nodes of its own.
    :param no_dialogue: ids of chosen nodes without an answer whose path is no dialogue of the data: replies beside the
        valid paths, and ends of paths through a reply that people refused.
    """

    __pydantic_config__ = _STRICT

    scenario: Scenario
    domain: str
    strategies: _Items[str]
    system: str
    opening: _Items[Turn]
    seed: Annotated[tuple[Turn, ...] | None, FailFast()]
    nodes: _Items[RecordNode]
    pairs: _Items[tuple[int, int]]
    others: _Items[RecordNode] = ()
    policies: _Items[RecordPolicy] = ()
    reviews: _Items[PairReview] = ()
    no_dialogue: _Items[_Id] = ()

    @property
    def id(self) -> str:
        """The tree's id."""
        return self.scenario.id

    @cached_property
    def _by_id(self) -> dict[int, RecordNode]:
        return {node.id: node for node in self.nodes}

    def __getitem__(self, node_id: int) -> RecordNode:
        """The node with that id.

        :raises KeyError: when there is none.
        """
        return self._by_id[node_id]

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids of the valid paths' end nodes."""
        leaves = (node.id for node in self.nodes if node.polarity == "chosen" and node.seeker is None)
        no_dialogue = frozenset(self.no_dialogue)
        return tuple(leaf for leaf in leaves if leaf not in no_dialogue)

    @cached_property
    def _reviews(self) -> dict[tuple[int, int], PairReview]:
        return {(each.chosen, each.rejected): each for each in self.reviews}

    def review(self, chosen: int, rejected: int) -> PairReview | None:
        """What people decided about a pair; None where nobody reviewed it."""
        return self._reviews.get((chosen, rejected))

    @property
    def chosen(self) -> tuple[RecordNode, ...]:
        """Turns on valid paths, each once."""
        return tuple(node for node in self.nodes if node.polarity == "chosen")

    @property
    def rejected(self) -> tuple[RecordNode, ...]:
        """Rejected turns, each once."""
        return tuple(node for node in self.nodes if node.polarity == "rejected")

    def path(self, node_id: int) -> list[RecordNode]:
        """The nodes from below the root down to the node with that id; empty for the root, 0."""
        path = []
        while node_id:
            node = self._by_id[node_id]
            path.append(node)
            node_id = node.parent
        path.reverse()
        return path

    def history(self, node_id: int) -> tuple[Turn, ...]:
        """The conversation from its start to the last turn of the node with that id (0: the opening)."""
        turns = list(self.opening)
        for node in self.path(node_id):
            turns.append(Turn("supporter", node.supporter, node.strategy))
            if node.seeker is not None:
                turns.append(Turn("seeker", node.seeker))
        return tuple(turns)

    def depths(self) -> dict[int, int]:
        """Edges between the root and each node, by id."""
        depths = {0: 0}
        for node in self.nodes:
            depths[node.id] = depths[node.parent] + 1
        return depths

    def expand(self) -> Iterator[PreferencePair]:
        """The pairs (paper eq. 6), in the record's order."""
        depths = self.depths()
        for chosen, rejected in self.pairs:
            yield PreferencePair(self, self._by_id[chosen], self._by_id[rejected], depths[chosen])

    def dialogue(self, end: int) -> Dialogue:
        """The valid path to an end node as a dialogue, id ``tree/end node`` (ESC-Pro-SFT, paper section 5.1)."""
        return Dialogue(**{**dict(self.scenario), "id": f"{self.id}/{end}"}, turns=self.history(end))

    def dialogues(self) -> Iterator[Dialogue]:
        """The valid paths as dialogues."""
        return map(self.dialogue, self.ends)

    def seed_dialogue(self) -> Dialogue | None:
        """The gold dialogue; None for a tree without."""
        return None if self.seed is None else Dialogue(**dict(self.scenario), turns=self.seed)

    def with_pairs(self, pairs: Collection[tuple[int, int]]) -> TreeRecord:
        """This record with these pairs alone; rejected turns that are in none of them are others from now on."""
        used = {rejected for _, rejected in pairs}
        searched = {policy.parent for policy in self.policies}
        nodes, others = list[RecordNode](), list(self.others)
        for node in self.nodes:
            if node.polarity == "chosen" or node.id in used:
                nodes.append(node)
            elif node.parent in searched:
                others.append(replace(node, polarity="other"))
        kept = set(pairs)
        reviews = tuple(each for each in self.reviews if (each.chosen, each.rejected) in kept)
        return replace(self, nodes=tuple(nodes), pairs=tuple(pairs), others=tuple(others), reviews=reviews)

    def restricted(self, ends: Collection[int]) -> TreeRecord:
        """This record with the valid paths to these end nodes alone, and their pairs."""
        kept: set[int] = set()
        for end in ends:
            kept.update(node.id for node in self.path(end))
        beside = [each.chosen for each in self.reviews if each.beside]
        kept |= {node for node in beside if self[node].parent in kept or self[node].parent == 0}
        nodes = tuple(node for node in self.nodes if node.id in kept or node.polarity == "rejected")
        before = {self._by_id[node_id].parent for node_id in kept}
        others = tuple(node for node in self.others if node.parent in before)
        policies = tuple(policy for policy in self.policies if policy.parent in before)
        part = replace(self, nodes=nodes, others=others, policies=policies)
        return part.with_pairs([pair for pair in self.pairs if pair[0] in kept])

    def turns(self) -> Iterator[RecordTurn]:
        """Every turn on a valid path with all replies that were tried there, and the policy that the search found.

        A record of an earlier version has the replies of its pairs alone, and no policy.
        """
        depths, siblings = self.depths(), dict[int, list[RecordNode]]()
        for node in (*self.nodes, *self.others):
            siblings.setdefault(node.parent, []).append(node)
        policies = {policy.parent: policy for policy in self.policies}
        for parent, nodes in siblings.items():
            policy = policies.get(parent)
            worths = None if policy is None else dict(zip(self.strategies, policy.worths, strict=True))
            yield RecordTurn(self, parent, depths[parent] + 1, tuple(nodes), worths)

    def digests(self) -> dict[int, bytes]:
        """For every node (and 0), a digest of the system prompt and the conversation down to it."""
        digests = {0: _digest(b"", self.system, *(part for turn in self.opening for part in _parts(turn)))}
        for node in self.nodes:
            digests[node.id] = _digest(digests[node.parent], node.strategy, node.supporter, node.seeker)
        return digests

    def pair_digests(self) -> Iterator[tuple[tuple[int, int], bytes]]:
        """Each pair with a digest of prompt and replies: equal digests are exact duplicates."""
        digests = self.digests()
        for pair in self.pairs:
            chosen, rejected = self._by_id[pair[0]], self._by_id[pair[1]]
            replies = (chosen.strategy, chosen.supporter, rejected.strategy, rejected.supporter)
            yield pair, _digest(digests[chosen.parent], *replies)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        return {"schema": SCHEMA_NAME, "version": SCHEMA_VERSION, **_ADAPTER.dump_python(self, mode="json")}

    @classmethod
    @checked()
    def from_json(cls, data: str | bytes, *, file: str | None = None, item: int | str | None = None) -> TreeRecord:
        """Read what :meth:`to_dict` gave; nothing in it is trusted.

        :raises DataError: for anything but a sound record, with the field at fault.
        """
        try:
            content = parse_json(data, checked=False)
            check_width(content)
        except ValueError as error:
            raise DataError(f"not JSON: {error}", file=file, item=item) from error
        return cls.from_dict(content, file=file, item=item)

    @classmethod
    def from_dict(cls, content: Any, *, file: str | None = None, item: int | str | None = None) -> TreeRecord:
        """Read JSON values that :meth:`to_dict` gave; nothing in them is trusted.

        :raises DataError: as :meth:`from_json`.
        """
        if not isinstance(content, dict) or content.get("schema") != SCHEMA_NAME:
            raise DataError(f'not a tree record: "schema" must be {SCHEMA_NAME!r}', file=file, item=item)
        empty = {each for each in ("reviews", "no_dialogue") if content.get(each) is None}  # null in Parquet
        content = {name: value for name, value in content.items() if name != "schema" and name not in empty}
        version = content.pop("version", None)
        if version != SCHEMA_VERSION:
            message = f"version {version!r:.40} cannot be read; this release reads {SCHEMA_VERSION}"
            raise DataError(message, file=file, item=item, field="version")
        try:
            record = _ADAPTER.validate_json(json.dumps(content))
        except ValidationError as error:
            place, message = first_fault(error)
            raise DataError(message, file=file, item=item, field=".".join(map(str, place)) or None) from error
        fault = record.fault()
        if fault is not None:
            raise DataError(fault[1], file=file, item=item, field=fault[0])
        return record

    def fault(self) -> tuple[str, str] | None:
        """The first thing that does not hold in the record, as (field, what is wrong); None for a sound one."""
        known: dict[int, RecordNode | None] = {0: None}
        for index, node in enumerate(self.nodes):
            if fault := _node_fault(node, known):
                return f"nodes.{index}{fault[0]}", fault[1]
            known[node.id] = node
        if further := self._fault_beside(known) or self._fault_in_pairs(known):
            return further
        if not self.opening or self.opening[-1].speaker != "seeker":
            return "opening", "must end with a turn of the seeker"
        for name, turns in (("opening", self.opening), ("seed", self.seed or ())):
            if message := turns_fault(turns):
                return name, message
        return None

    def _fault_in_pairs(self, known: Mapping[int, RecordNode | None]) -> tuple[str, str] | None:
        """The first thing that does not hold of the pairs and their reviews."""
        for index, (first, second) in enumerate(self.pairs):
            if message := _pair_fault(known.get(first), known.get(second), first, second):
                return f"pairs.{index}", message
        pairs = set(self.pairs)
        for index, each in enumerate(self.reviews):
            if (each.chosen, each.rejected) not in pairs:
                return f"reviews.{index}", f"{each.chosen} and {each.rejected} are no pair of this record"
        return None

    def _fault_beside(self, known: dict[int, RecordNode | None]) -> tuple[str, str] | None:
        """The first thing that does not hold of the others and the policies."""
        for index, other in enumerate(self.others):
            if fault := _node_fault(other, known):
                return f"others.{index}{fault[0]}", fault[1]
            if other.polarity != "other" or other.seeker is not None:
                return f"others.{index}.polarity", "must be of polarity other, without an answer"
            known[other.id] = other
        for index, policy in enumerate(self.policies):
            if policy.parent not in known or len(policy.worths) != len(self.strategies):
                return f"policies.{index}", f"must be of a node of this record and have {len(self.strategies)} worths"
        return None


def _node_fault(node: RecordNode, known: Mapping[int, RecordNode | None]) -> tuple[str, str] | None:
    if node.id in known or node.parent not in known:
        return "", f"node {node.id} is there twice, or its parent {node.parent} is not before it"
    parent = known[node.parent]
    if parent is not None and (parent.seeker is None or parent.polarity != "chosen"):
        return ".parent", f"node {node.parent} can have no node after it"
    texts = {".supporter": node.supporter, ".seeker": node.seeker}
    blank = [name for name, text in texts.items() if text is not None and not text.strip()]
    return (blank[0], "must be a text that is not blank") if blank else None


def _pair_fault(chosen: RecordNode | None, rejected: RecordNode | None, first: int, second: int) -> str | None:
    if chosen is None or rejected is None or chosen.parent != rejected.parent:
        return f"{first} and {second} are not siblings of this record"
    if (chosen.polarity, rejected.polarity) != ("chosen", "rejected"):
        return f"{first} must be a chosen node and {second} a rejected one"
    return None


_ADAPTER = TypeAdapter(TreeRecord)


@dataclass(frozen=True, slots=True)
class RecordTurn:
    """One turn on a valid path: every reply that was tried there.

    :param record: the tree's record, which holds the history.
    :param parent: id of the node before the turn.
    :param depth: edges between the root and the replies, from 1.
    :param nodes: the replies, the chosen and the rejected ones first; one or more.
    :param policy: worth by strategy, tried or not (:class:`RecordPolicy`); None if the record does not say.
    """

    record: TreeRecord = field(repr=False, compare=False)
    parent: int
    depth: int
    nodes: tuple[RecordNode, ...]
    policy: Mapping[str, float | None] | None

    @property
    def worths(self) -> tuple[float, ...] | None:
        """Worth of each reply, as in the policy where there is one; None where one was not searched."""
        found = worths(self.nodes, self.depth)
        known = [(self.policy or {}).get(node.strategy) for node in self.nodes]
        fitted = tuple(worth for worth in known if worth is not None)
        return fitted if found is not None and len(fitted) == len(known) else found

    @property
    def confidences(self) -> tuple[float, ...] | None:
        """For each reply, how probable it is that it is better than the best of the others; None without a belief."""
        found = self.worths
        if found is None or len(found) < 2:
            return None
        order = sorted(range(len(found)), key=lambda place: -found[place])
        sure = [
            confidence(node, self.nodes[order[1] if place == order[0] else order[0]], self.depth)
            for place, node in enumerate(self.nodes)
        ]
        kept = tuple(each for each in sure if each is not None)
        return kept if len(kept) == len(sure) else None


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two replies to the same history, one preferred (paper eq. 6), with where they come from.

    :param record: the tree's record, which holds the history.
    :param chosen: w, on a valid path.
    :param rejected: l, its sibling.
    :param depth: edges between the root and both replies, from 1.
    """

    record: TreeRecord = field(repr=False, compare=False)
    chosen: RecordNode
    rejected: RecordNode
    depth: int

    @property
    def tree_id(self) -> str:
        """Id of the tree."""
        return self.record.id

    @property
    def turn(self) -> int:
        """Place of the replies among the conversation's turns, from 0."""
        return len(self.record.opening) + 2 * (self.depth - 1)

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns before the replies, supporter turns with their strategies; the last is the seeker's."""
        return self.record.history(self.chosen.parent)

    @property
    def margin(self) -> float | None:
        """``Q(chosen) - Q(rejected)``; None where the rejected reply was not searched."""
        if self.chosen.value is None or self.rejected.value is None:
            return None
        return self.chosen.value - self.rejected.value

    @property
    def confidence(self) -> float | None:
        """The probability that the chosen reply is better; None where the search has no belief of one of them."""
        return confidence(self.chosen, self.rejected, self.depth)

    @property
    def worths(self) -> tuple[float, ...] | None:
        """Worth of the chosen and of the rejected reply, see :func:`worths`; None where one was not searched."""
        return worths((self.chosen, self.rejected), self.depth)

    @property
    def review(self) -> PairReview | None:
        """What people decided about the pair; None where nobody reviewed it."""
        return self.record.review(self.chosen.id, self.rejected.id)

    def provenance(self) -> dict[str, Any]:
        """Where the pair comes from, as JSON values."""
        chosen, rejected = self.worths or (None, None)
        return {
            "tree": self.tree_id,
            "domain": self.record.domain,
            "turn": self.turn,
            "depth": self.depth,
            "parent": self.chosen.parent,
            **_side("chosen", self.chosen),
            **_side("rejected", self.rejected),
            "gold": self.chosen.gold,
            "confidence": self.confidence,
            "chosen_worth": chosen,
            "rejected_worth": rejected,
            "review": None if self.review is None else self.review.provenance(),
        }


def _side(name: str, node: RecordNode) -> dict[str, Any]:
    return {
        f"{name}_node": node.id,
        f"{name}_strategy": node.strategy,
        f"{name}_value": node.value,
        f"{name}_visits": node.visits,
    }


def _parts(turn: Turn) -> tuple[str | None, ...]:
    return turn.speaker, turn.text, turn.strategy


def _digest(before: bytes, *parts: str | None) -> bytes:
    text = json.dumps(parts)  # a list of strings has one form; lone surrogates are escaped
    return hashlib.blake2b(text.encode(), key=before, digest_size=16).digest()
