"""The calls behind a node: what the roles were asked for it, rebuilt from the tree, and their replies from a cache."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from pydantic import TypeAdapter

from mctsdialog._search.simulate import CheckedRoles, History
from mctsdialog.algorithms._rules import highest
from mctsdialog.errors import ConfigError, MctsDialogError
from mctsdialog.llm import ResponseCache, Sampling
from mctsdialog.llm._exchanges import Exchange, RecordedModel, RecordingModel
from mctsdialog.roles import PROMPT_VERSION, ROLE_NAMES, LLMRole, Roles
from mctsdialog.tree import EndNode, ExpandedNode, Node, RootNode, SpokenNode, StrategyNode, Tree, UnexpandedNode

Fit: TypeAlias = Literal["same", "other", "unknown"]

_MOST_SAMPLES = 1000  # of the judge, for one turn

UNKNOWN: Final = object()
"""Stands for an answer that the tree does not hold."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a role was asked for a node.

    :param role: who was asked.
    :param about: what for, in words.
    :param history: the conversation that it was shown.
    :param answer: what the tree holds of the answer: a text, None for the end of the dialogue, scores by strategy or in
        the order of the criteria, for a strategist in a rollout the best strategy alone; or :data:`UNKNOWN`.
    :param strategy: what a supporter was to carry out.
    """

    role: str
    about: str
    history: History
    answer: Any = UNKNOWN
    strategy: str | None = None


def questions_behind(tree: Tree, node: Node, *, opened: bool | None = None) -> list[Question]:
    """The questions to roles that a node comes from. What a gold dialogue has said was asked of nobody.

    :param opened: whether the seeker's role spoke the root's last turn; None if that is not known.
    """
    if isinstance(node, RootNode):
        return [*_opening(tree, node, opened), *_children(tree, node)]
    assert isinstance(node, StrategyNode)
    parent = tree[node.parent]
    before = History.of(tree.history(parent))
    if isinstance(node, UnexpandedNode):
        found = [Question("strategist", "the score of this strategy", before, _scores(tree, parent))]
        closed = Question("supporter", "its turn, before the branch was closed", before, strategy=node.strategy)
        return found if node.closed is None else [*found, closed]
    assert isinstance(node, SpokenNode)
    after = before.supported(node.supporter, node.strategy)
    found = []
    if not node.gold:
        seeker = node.seeker if isinstance(node, ExpandedNode) else None
        found.append(Question("supporter", "its turn", before, node.supporter, node.strategy))
        found.append(Question("seeker", "the answer to it", after, seeker))
    found += _judgement(tree, node, after)
    found += _children(tree, node)
    return [*found, *_rollout(tree, node)]


def _opening(tree: Tree, root: RootNode, opened: bool | None) -> Iterator[Question]:
    gold = any(isinstance(child, SpokenNode) and child.gold for child in tree.children(root))
    if opened or (opened is None and not gold):
        yield Question("seeker", "the opening", History.of(root.turns[:-1]), root.turns[-1].text)


def _children(tree: Tree, node: Node) -> Iterator[Question]:
    if node.closed is not None and not isinstance(node, EndNode):
        yield Question(
            "strategist", "the strategies after it, before the branch was closed", History.of(tree.history(node))
        )
    if node.children:
        yield Question("strategist", "the strategies after it", History.of(tree.history(node)), _scores(tree, node))


def _scores(tree: Tree, node: Node) -> dict[str, float]:
    """The raw scores of a node's children; those that were left out are not in it."""
    return {child.strategy: child.score for child in tree.children(node) if not math.isnan(child.score)}


def _judgement(tree: Tree, node: SpokenNode, after: History) -> Iterator[Question]:
    gold_visits = tree.config.get("gold_visits")
    if node.rollout is not None:
        yield Question("judge", "its turn", after, node.rollout.judgements[0])
    elif isinstance(node, EndNode) and (
        node.closed is not None or not isinstance(gold_visits, int) or node.visits > gold_visits
    ):
        yield Question("judge", "its turn", after)


def _rollout(tree: Tree, node: SpokenNode) -> Iterator[Question]:
    """The questions of a node's simulated rounds; that about the strategies of the first is its children's, too."""
    if node.rollout is None or not node.rollout.steps:
        return
    history = History.of(tree.history(node))
    for number, step in enumerate(node.rollout.steps, start=1):
        about = f"round {number} of its rollout"
        if number > 1 or not node.children:
            yield Question("strategist", about, history, step.strategy)
        yield Question("supporter", about, history, step.supporter, step.strategy)
        history = history.supported(step.supporter, step.strategy)
        yield Question("seeker", about, history, step.seeker)
        if number < len(node.rollout.judgements):
            yield Question("judge", about, history, node.rollout.judgements[number])
        if step.seeker is not None:
            history = history.answered(step.seeker)


@dataclass(frozen=True, slots=True)
class FoundCalls:
    """What a cache holds of the calls that a question led to.

    :param question: the question.
    :param exchanges: its calls with their replies, several where a reply could not be used.
    :param fit: whether the replies give what the tree has.
    :param problem: why there are no replies, or not all; "" where there are.
    """

    question: Question
    exchanges: Sequence[Exchange]
    fit: Fit
    problem: str = ""


class RecordedRoles:
    """The roles of a tree as they were, on a cache in place of their models.

    :param tree: says which models played, and how they were asked.
    :param cache: the replies; None for none.
    """

    def __init__(self, tree: Tree, cache: ResponseCache | None) -> None:
        self._tree = tree
        self._cache = cache
        self._models: dict[str, RecordingModel] = {}
        self._problems: dict[str, str] = {}
        for role in ROLE_NAMES:
            name, identity = self._named(role)
            self._models[role] = RecordingModel(RecordedModel(name, cache, identity=identity))
        sampling = {role: found for role in ROLE_NAMES if (found := self._sampling(role)) is not None}
        models: dict[str, Any] = dict(self._models)
        asked: dict[str, Any] = {"domain": tree.domain, "models": models, "sampling": sampling}
        try:
            roles = Roles.from_model(models["judge"], **asked, **self._judging())
        except ConfigError as error:
            self._problems["judge"] = f"the tree does not say how the judge was asked: {error}"
            roles = Roles.from_model(models["judge"], **asked)
        roles = roles.with_prompts(self._prompts())
        for role in ROLE_NAMES:
            if role not in self._problems:
                self._compare(role, getattr(roles, role))
        self._players = CheckedRoles(roles.bind(tree.scenario), tree.domain)

    def _known(self, role: str) -> Mapping[str, Any]:
        known = self._tree.roles.get(role)
        return known if isinstance(known, Mapping) else {}

    def _named(self, role: str) -> tuple[str, str | None]:
        name, identity = (self._known(role).get(key) for key in ("model", "identity"))
        if isinstance(name, str) and name:
            return name, identity if isinstance(identity, str) else None
        self._problems[role] = "the tree does not say which model played this role"
        return "unknown", None

    def _prompts(self) -> int:
        """The version of the prompts; version 0.1 did not say it."""
        found = [self._known(role).get("prompts", 1) for role in ROLE_NAMES]
        return PROMPT_VERSION if PROMPT_VERSION in found else 1

    def _judging(self) -> dict[str, Any]:
        known = self._known("judge")
        samples, scoring = known.get("samples", 1), known.get("scoring", "digits")
        if type(samples) is not int or samples > _MOST_SAMPLES or not isinstance(scoring, str):
            raise ConfigError(f"at most {_MOST_SAMPLES} samples are looked for", field="judge_samples")
        return {"judge_samples": samples, "judge": scoring}

    def _sampling(self, role: str) -> Sampling | None:
        found = self._known(role).get("sampling")
        if isinstance(found, Mapping) and set(found) <= {field.name for field in fields(Sampling)}:
            try:
                return _sampling_reader().validate_python(found)
            except ValueError:
                pass
        self._problems.setdefault(role, "the tree does not say how the replies of this role were drawn")
        return None

    def _compare(self, role: str, made: LLMRole) -> None:
        """Notice a role that would be asked otherwise today."""
        known, now = self._known(role), json.loads(json.dumps(made.provenance))
        other = [name for name in sorted(known.keys() | now.keys()) if known.get(name) != now.get(name)]
        if other:
            names = ", ".join(other)
            self._problems[role] = f"this version of mctsdialog asks otherwise than the tree's did ({names})"

    async def find(self, question: Question) -> FoundCalls:
        """The calls that a question led to, as the cache has them."""
        problem = self._problems.get(question.role) or ("no cache" if self._cache is None else "")
        if problem:
            return FoundCalls(question, (), "unknown", problem)
        exchanges = self._models[question.role].exchanges
        exchanges.clear()
        try:
            answer = await self._ask(question)
        except MctsDialogError as error:
            found = [each for each in exchanges if each.completion is not None]
            return FoundCalls(question, found, "unknown", str(error))
        fit: Fit = "same" if self._fits(question, answer) else "other"
        return FoundCalls(question, list(exchanges), "unknown" if question.answer is UNKNOWN else fit)

    async def _ask(self, question: Question) -> object:
        if question.role == "supporter":
            assert question.strategy is not None
            return await self._players.supporter(question.history, question.strategy)
        if question.role == "seeker":
            return await self._players.seeker(question.history)
        if question.role == "strategist":
            return await self._players.scores(question.history)
        return (await self._players.judgement(question.history)).scores

    def _fits(self, question: Question, answer: Any) -> bool:
        if question.role == "strategist" and isinstance(question.answer, str):
            return bool(highest(self._tree.domain.strategies.names, answer) == question.answer)
        return bool(answer == question.answer)


@cache
def _sampling_reader() -> TypeAdapter[Sampling]:
    return TypeAdapter(Sampling)
