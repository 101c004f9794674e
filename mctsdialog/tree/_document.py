"""The tree as plain data: what the JSON export holds, and how it becomes a tree again.

The document is flat (a list of nodes with their parents' ids), so that depth has no limit, and complete: scenario,
domain and settings are in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from mctsdialog._arguments import checked
from mctsdialog.concurrency import rare_collections
from mctsdialog.dialogue import Domain, Scenario, Turn
from mctsdialog.dialogue._model import turns_fault
from mctsdialog.errors import TreeError, TreeFormatError
from mctsdialog.files import check_numbers, check_width, first_fault, parse_json
from mctsdialog.tree._nodes import (
    MOST_REASON,
    NO_CHILDREN,
    EndNode,
    ExpandedNode,
    Node,
    Rollout,
    RolloutStep,
    RootNode,
    SpokenNode,
    StrategyNode,
    UnexpandedNode,
    shared_scores,
)
from mctsdialog.tree._tree import Tree

SCHEMA_NAME = "mctsdialog.tree"
SCHEMA_VERSION = 1

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From a version to the next: ``MIGRATIONS[n]`` turns a document of version n into one of version n + 1."""


_MOST_VALUE = 1e12  # the sums of rewards that a tree is checked by stay finite
_MOST_COUNT = 2**53
_USUAL_KEYS = 12

Number: TypeAlias = Annotated[float, Field(ge=-_MOST_VALUE, le=_MOST_VALUE)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=_MOST_COUNT)]
Closed: TypeAlias = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=MOST_REASON,
        description="why the branch is closed: who refuses, and how; absent where it is open",
    ),
]
T = TypeVar("T")
Items: TypeAlias = Annotated[list[T], FailFast()]
"""A list of which the first wrong item alone is an error: those of a file of wrong nodes would take gigabytes."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class TurnDocument(_Part):
    """One opening turn."""

    speaker: Literal["seeker", "supporter"]
    text: str = Field(min_length=1)
    strategy: str | None = None


class StepDocument(_Part):
    """One simulated round."""

    strategy: str
    supporter: str = Field(min_length=1)
    seeker: str | None


class RolloutDocument(_Part):
    """What was judged on a node's first own visit: the node's own turn, then each step."""

    steps: Items[StepDocument]
    judgements: Items[dict[str, Number]] = Field(min_length=1)
    reward: Number
    draws: Items[Items[dict[str, Number]]] = Field(
        default=[], description="for each judgement the single draws whose mean it is, where the judge was asked often"
    )


class RootDocument(_Part):
    """The root: opening turns, Q and N."""

    type: Literal["root"]
    id: Count
    value: Number
    visits: Count
    turns: Items[TurnDocument] = Field(min_length=1)
    closed: Closed = None


class UnexpandedDocument(_Part):
    """A strategy that has not been tried, or was refused."""

    type: Literal["unexpanded"]
    id: Count
    parent: Count
    strategy: str
    score: Number | None = Field(description="the strategist's raw score, 0 to 10; null where it gave none")
    prior: float = Field(ge=0.0, le=1.0)
    closed: Closed = None


class EndDocument(UnexpandedDocument):
    """A supporter turn after which the dialogue ended."""

    type: Literal["end"]  # type: ignore[assignment]  # the discriminator of the union
    value: Number = Field(description="Q, the mean reward")
    visits: Count = Field(description="N, the number of rewards")
    supporter: str = Field(min_length=1)
    gold: bool
    rollout: RolloutDocument | None
    probe: bool = Field(default=False, description="generated and simulated apart from the search")
    posterior: tuple[Number, Number] | None = Field(
        default=None,
        strict=False,
        description="what the search believes of the turn's reward: mean, standard deviation",
    )


class ExpandedDocument(EndDocument):
    """A supporter turn and the seeker's answer."""

    type: Literal["expanded"]  # type: ignore[assignment]  # the discriminator of the union
    seeker: str = Field(min_length=1)


NodeDocument: TypeAlias = Annotated[
    RootDocument | UnexpandedDocument | ExpandedDocument | EndDocument, Field(discriminator="type")
]


class TreeDocument(_Part):
    """A conversation tree as JSON. A node's children are the nodes that name it as parent, in order of id."""

    model_config = ConfigDict(title="mctsdialog conversation tree")

    schema_name: Literal["mctsdialog.tree"] = Field(alias="schema")
    version: Literal[1]
    scenario: Scenario
    domain: Domain
    config: dict[str, Any] = Field(description="the search's settings")
    roles: dict[str, Any] = Field(description="models that played the roles, where known")
    iterations: Count
    stop_reason: str | None
    calibration: dict[str, Any] | None = Field(
        default=None, description="what the search learnt of its judge and strategist, where it learns"
    )
    nodes: Items[NodeDocument] = Field(min_length=1)


@checked()
def tree_to_document(tree: Tree) -> dict[str, Any]:
    """The tree as JSON values, ready for :func:`json.dumps`; exact, also in every float."""
    return {
        "schema": SCHEMA_NAME,
        "version": SCHEMA_VERSION,
        "scenario": tree.scenario.model_dump(),
        "domain": tree.domain.model_dump(mode="json"),
        "config": dict(tree.config),
        "roles": dict(tree.roles),
        "iterations": tree.iterations,
        "stop_reason": tree.stop_reason,
        **({} if tree.calibration is None else {"calibration": dict(tree.calibration)}),
        "nodes": [_node_to_document(tree, node) for node in tree],
    }


def _node_to_document(tree: Tree, node: Node) -> dict[str, Any]:
    document: dict[str, Any] = {"id": node.id, "type": node.type}
    if isinstance(node, StrategyNode):
        score = None if math.isnan(node.score) else node.score
        document |= {"parent": node.parent, "strategy": node.strategy, "score": score, "prior": node.prior}
    if not isinstance(node, UnexpandedNode):
        document |= {"value": node.value, "visits": node.visits}
    if isinstance(node, RootNode):
        document["turns"] = [
            {"speaker": turn.speaker, "text": turn.text, "strategy": turn.strategy} for turn in node.turns
        ]
    if isinstance(node, SpokenNode):
        document["supporter"] = node.supporter
        if isinstance(node, ExpandedNode):
            document["seeker"] = node.seeker
        document["gold"] = node.gold
        document["rollout"] = _rollout_to_document(tree.domain.criteria, node.rollout)
        if node.probe:
            document["probe"] = True
        if node.posterior is not None:
            document["posterior"] = list(node.posterior)
    if node.closed is not None:
        document["closed"] = node.closed
    return document


def _rollout_to_document(criteria: tuple[str, ...], rollout: Rollout | None) -> dict[str, Any] | None:
    if rollout is None:
        return None

    def named(scores: tuple[float, ...]) -> dict[str, float]:
        return dict(zip(criteria, scores, strict=True))

    return {
        "steps": [
            {"strategy": step.strategy, "supporter": step.supporter, "seeker": step.seeker} for step in rollout.steps
        ],
        "judgements": [named(scores) for scores in rollout.judgements],
        "reward": rollout.reward,
        **({"draws": [[named(draw) for draw in draws] for draws in rollout.draws]} if rollout.draws else {}),
    }


@checked()
def document_to_tree(data: str | bytes, *, file: str | None = None) -> Tree:
    """Rebuild a tree from the JSON text of a document, of this schema version or an older one.

    :param data: the JSON text.
    :param file: name for errors.
    :raises TreeFormatError: for anything but a sound document: wrong JSON or types, another schema or a newer
        version, missing or dangling parents, cycles, an invariant that does not hold. Nothing in it is evaluated.
    """
    with rare_collections():  # many new objects and no cycle
        return _to_tree(_parse(data, file), file)


def _to_tree(document: TreeDocument, file: str | None) -> Tree:
    for position, node in enumerate(document.nodes):
        if node.id != position:
            raise TreeFormatError(
                f"id {node.id} at position {position}; ids must count from 0",
                file=file,
                item=f"nodes[{position}]",
                field="id",
            )
    root = document.nodes[0]
    if not isinstance(root, RootDocument):
        raise TreeFormatError(f"the first node must be the root, not {root.type}", file=file, item="nodes[0]")
    opening = [Turn(turn.speaker, turn.text, turn.strategy) for turn in root.turns]
    if fault := turns_fault(opening):
        raise TreeFormatError(fault, file=file, item="nodes[0]", field="turns")
    try:
        tree = Tree(document.scenario, document.domain, opening)
        tree.root.value, tree.root.visits = root.value, root.visits
        tree.root.closed = root.closed
        _add_nodes(tree, document, file)
        tree.config, tree.roles = document.config, document.roles
        tree.iterations, tree.stop_reason = document.iterations, document.stop_reason
        tree.calibration = document.calibration
        tree.check()
    except TreeError as error:
        raise TreeFormatError(str(error), file=file) from error
    return tree


def _parse(data: str | bytes, file: str | None) -> TreeDocument:
    try:
        found = parse_json(data, checked=False)
        check_width(list(_wide_parts(found)))
    except ValueError as error:
        raise TreeFormatError(f"not JSON: {error}", file=file) from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA_NAME:
        raise TreeFormatError(f'not a conversation tree: "schema" must be {SCHEMA_NAME!r}', file=file)
    version = found.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise TreeFormatError("must be a whole number", file=file, field="version")
    if version != SCHEMA_VERSION:
        found = _migrate(found, version, file)
    try:
        document = TreeDocument.model_validate(found)
    except ValidationError as error:
        raise _format_error(error, file) from error
    for field in ("config", "roles", "calibration"):  # of any shape: the numbers of the rest are checked by their types
        try:
            check_numbers(found.get(field))
        except ValueError as error:
            raise TreeFormatError(str(error), file=file, field=field) from error
    return document


def _wide_parts(found: Any) -> Iterator[Any]:
    """The parts in which a key too many is an error each; most of a large file is in none of them."""
    nodes = found.get("nodes") if isinstance(found, dict) else None
    if not isinstance(nodes, list):
        yield found
        return
    yield {**found, "nodes": None}
    for node in nodes:
        if type(node) is dict:
            if len(node) > _USUAL_KEYS:
                yield node
            elif node.get("rollout") is not None:
                yield node["rollout"]


def _migrate(document: dict[str, Any], version: int, file: str | None) -> dict[str, Any]:
    while version != SCHEMA_VERSION:
        step = MIGRATIONS.get(version)
        if step is None:
            raise TreeFormatError(
                f"version {version} cannot be read; this release reads up to {SCHEMA_VERSION}. "
                "Use a release of mctsdialog that writes it",
                file=file,
                field="version",
            )
        document, version = step(document), version + 1
    return document


def _format_error(error: ValidationError, file: str | None) -> TreeFormatError:
    place, message = first_fault(error)
    location = [part for part in place if part not in ("root", "unexpanded", "expanded", "end")]
    item = None
    if location[:1] == ["nodes"] and len(location) > 1:
        item, location = f"nodes[{location[1]}]", location[2:]
    field = ".".join(str(part) for part in location) or None
    return TreeFormatError(message, file=file, item=item, field=field)


def _add_nodes(tree: Tree, document: TreeDocument, file: str | None) -> None:
    nodes = tree._nodes  # the document and the tree are two forms of one thing
    names = {strategy.name: strategy.name for strategy in document.domain.strategies}
    for entry in document.nodes[1:]:
        if isinstance(entry, RootDocument):
            raise TreeFormatError("a second root", file=file, item=f"nodes[{entry.id}]", field="type")
        if entry.parent >= entry.id:
            raise TreeFormatError(
                f"parent {entry.parent} does not come before it",
                file=file,
                item=f"nodes[{entry.id}]",
                field="parent",
            )
        _link(nodes, entry.id, entry.parent, file)
        score = math.nan if entry.score is None else entry.score
        strategy = names.get(entry.strategy, entry.strategy)
        origin = UnexpandedNode(entry.id, entry.parent, strategy, score, entry.prior)
        origin.closed = entry.closed
        nodes.append(_spoken(tree, origin, entry, file) if isinstance(entry, EndDocument) else origin)


def _link(nodes: list[Node], node_id: int, parent_id: int, file: str | None) -> None:
    parent = nodes[parent_id]
    span = parent.children
    if not isinstance(parent, RootNode | ExpandedNode) or (span and span.stop != node_id):
        raise TreeFormatError(
            f"cannot be a child of {parent.type} node {parent_id}; children follow one another",
            file=file,
            item=f"nodes[{node_id}]",
            field="parent",
        )
    start = node_id if span == NO_CHILDREN else span.start
    parent._children = range(start, node_id + 1)


def _spoken(tree: Tree, origin: UnexpandedNode, entry: EndDocument, file: str | None) -> SpokenNode:
    origin.value, origin.visits = entry.value, entry.visits
    node: SpokenNode
    if isinstance(entry, ExpandedDocument):
        node = ExpandedNode(origin, entry.supporter, entry.seeker, gold=entry.gold)
    else:
        node = EndNode(origin, entry.supporter, gold=entry.gold)
        tree._ends += 1
    node.probe, node.posterior = entry.probe, entry.posterior
    if entry.rollout is not None:
        node.rollout = _rollout(tree.domain.criteria, entry.rollout, f"nodes[{entry.id}]", file)
    return node


def _rollout(criteria: tuple[str, ...], entry: RolloutDocument, item: str, file: str | None) -> Rollout:
    for scores in (*entry.judgements, *(draw for draws in entry.draws for draw in draws)):
        if set(scores) != set(criteria):
            raise TreeFormatError(
                f"scores are for {sorted(scores)}, the rubric has {sorted(criteria)}",
                file=file,
                item=item,
                field="rollout.judgements",
            )
    return Rollout(
        tuple(RolloutStep(step.strategy, step.supporter, step.seeker) for step in entry.steps),
        tuple(shared_scores(tuple(scores[name] for name in criteria)) for scores in entry.judgements),
        entry.reward,
        tuple(tuple(shared_scores(tuple(draw[name] for name in criteria)) for draw in draws) for draws in entry.draws),
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the document, as published in the documentation."""
    return TreeDocument.model_json_schema(by_alias=True)


__all__ = ["SCHEMA_VERSION", "TreeDocument", "document_to_tree", "json_schema", "tree_to_document"]
