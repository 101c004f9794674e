"""A health check of the roles: whether scores in a tree say anything, and each side speaks for itself.

It looks at what a tree holds already and calls no model. Counts are small and can be added up, so that a corpus of any
size is checked without keeping its trees.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain
from mctsdialog.tree import ExpandedNode, RolloutStep, SpokenNode, Tree

_Count = Annotated[int, Field(ge=0, lt=2**53)]
Counts = dict[str, dict[str, _Count]]

_KEPT = 12  # most frequent answers of a tally that are kept; the others are counted together
_OTHER = ""

_LEAST = 8  # observations below which nothing is said
_SOME = 16  # ... where turns are of a few kinds
_MANY = 40  # ... for weaker signs, and where all turns may be of one kind
_VERY_MANY = 200  # ... for those that one conversation of a sound judge may show
_VARIED, _DIVERSE = 3, 5  # strategies that make turns differ in kind
_SHARE = 0.9  # of the observations that make a warning
_NEARLY_ALL = 0.98  # ... for weaker signs
_HALF = 0.5  # ... for replies that should differ
_OFTEN = 0.3  # ... for turns in the wrong voice
_ALIKE = 0.8  # least similarity of near duplicates
_LEAST_LETTERS = 20  # of a text that is compared: short answers may well be alike
_LATE = 20  # supporter turns after which a dialogue without a gold one is long


_VOICES = {
    "label": "under a label of the supporter's",
    "words": "in the words of the turn that it answers",
    "phrase": "with what supporters say, such as 'I am here to help you'",
}
# In the 1,989 seeker turns of ESConv's failed dialogues 4 have such a phrase, of the supporter turns 1 in 20.
_PHRASES = re.compile(
    r"\b(?:i['’]?m|i am|we['’]?re|we are) (?:\w+ ){0,2}here (?:to (?:help|support|listen|assist)|for you)\b"
    r"|\b(?:i['’]?m|i am) (?:\w+ ){0,2}sorry (?:to hear|for your|that you)\b"
    r"|\bhow (?:can|may) i (?:help|assist|support) you\b|\b(?:can|want to) (?:help|support) you\b|\bas an ai\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class JudgeNoise:
    """How much single draws of the judge differ for the same turn, from turns that were judged several times.

    :param deviation: standard deviation of a single draw's reward, pooled over the turns, in units of the reward.
    :param freedom: degrees of freedom: draws minus turns. With few, the deviation itself is uncertain.
    """

    deviation: float
    freedom: int


@dataclass(frozen=True)
class RoleHealth:
    """What the health check has counted in one tree or in many; ``+`` adds two up.

    :param trees: trees looked at.
    :param counts: by check, how often each answer was seen. ``""`` stands for all other answers; of a check with many
        different answers, the most frequent ones of each tree are kept.
    :param squares: squared deviations of single draws' rewards from their turn's mean, summed.
    :param freedom: degrees of freedom of that sum.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    trees: _Count = 0
    counts: Counts = field(default_factory=dict)
    squares: Annotated[float, Field(ge=0)] = 0.0
    freedom: _Count = 0

    def __add__(self, other: RoleHealth) -> RoleHealth:
        """Both together."""
        counts = {
            name: _kept(Counter(self.counts.get(name, {})) + Counter(other.counts.get(name, {})))
            for name in {**self.counts, **other.counts}
        }
        return RoleHealth(self.trees + other.trees, counts, self.squares + other.squares, self.freedom + other.freedom)

    @property
    def judge_noise(self) -> JudgeNoise | None:
        """The judge's noise; None where no turn was judged more than once."""
        return JudgeNoise(math.sqrt(self.squares / self.freedom), self.freedom) if self.freedom else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What looks wrong, a sentence each; empty where nothing does, or too little was seen."""
        return tuple(_warnings(self.counts))

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> RoleHealth:
        """The counts that :meth:`to_dict` wrote.

        :raises ValueError: for data that it cannot have written.
        """
        return _reader().validate_json(json.dumps(data))  # strict validation takes an object as JSON alone


@cache
def _reader() -> TypeAdapter[RoleHealth]:
    return TypeAdapter(RoleHealth)


def _kept(tally: Counter[str]) -> dict[str, int]:
    """The most frequent answers, and the sum of all others."""
    named = Counter({answer: count for answer, count in tally.items() if answer != _OTHER})
    kept = dict(named.most_common(_KEPT))
    other = tally.total() - sum(kept.values())
    return kept | ({_OTHER: other} if other else {})


# -- counting ------------------------------------------------------------------------------------------------------


@checked()
def check_roles(tree: Tree) -> RoleHealth:
    """Count what a tree says of its roles: the judge, the strategist, the seeker and the supporter.

    Gold turns say nothing of the roles, and are left out.
    """
    tallies: dict[str, Counter[str]] = {}
    for check, answer in _observations(tree):
        tallies.setdefault(check, Counter())[answer] += 1
    return RoleHealth(1, {name: _kept(tally) for name, tally in tallies.items()}, *_noise(tree))


def _noise(tree: Tree) -> tuple[float, int]:
    """Squared deviations of single draws' rewards from their turn's mean, and the degrees of freedom."""
    squares, freedom, criteria = 0.0, 0, tree.domain.criteria
    rollouts = (node.rollout for node in tree if isinstance(node, SpokenNode) and node.rollout is not None)
    for draws in (draws for rollout in rollouts for draws in rollout.draws if draws):
        rewards = [tree.domain.mean_score(dict(zip(criteria, draw, strict=True))) for draw in draws]
        mean = math.fsum(rewards) / len(rewards)
        squares += math.fsum((reward - mean) ** 2 for reward in rewards)
        freedom += len(rewards) - 1
    return squares, freedom


def _observations(tree: Tree) -> Iterator[tuple[str, str]]:
    """(check, answer) of everything that is looked at."""
    labels = _labels(tree.domain)
    gold = sum(1 for node in tree if isinstance(node, SpokenNode) and node.gold)
    depths = [0] * len(tree)
    for node in tree:
        depth = depths[node.id]
        for child in node.children:
            depths[child] = depth + 1
        if node.children:
            yield from _of_family(tree, node.children)
        if isinstance(node, SpokenNode) and not node.gold:
            own = RolloutStep(node.strategy, node.supporter, node.seeker if isinstance(node, ExpandedNode) else None)
            steps = () if node.rollout is None else node.rollout.steps
            for rounds, step in enumerate((own, *steps)):
                yield from _of_seeker(step, depth + rounds, gold, labels)
            for step in steps:
                yield "strategist.favourite", step.strategy
            if node.rollout is not None:
                for step, scores in zip((own, *steps), node.rollout.judgements, strict=False):
                    yield "judge.strategy", step.strategy
                    yield from _of_judge(scores, tree.domain.criteria)


def _of_judge(scores: Sequence[float], criteria: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield "judge.scores", _shown(scores)
    yield "judge.order", _order(scores)
    for name, score in zip(criteria, scores, strict=True):
        yield f"judge.criterion.{name}", _shown([score])


def _of_family(tree: Tree, ids: range) -> Iterator[tuple[str, str]]:
    """The strategist's scores at a node, and what the supporter made of different strategies there."""
    children = [tree[child] for child in ids]
    scores = [child.score for child in children]  # type: ignore[attr-defined]  # children are strategy nodes
    scored = [score for score in scores if not math.isnan(score)]
    if len(scored) > 1:
        best = max(scored)
        yield "strategist.scores", _shown(scores)
        yield "strategist.form", "one best score" if 2 * scored.count(best) > len(scored) else _order(scored)
        yield "strategist.favourite", tree.domain.strategies.names[scores.index(best)]
    said = [child.supporter for child in children if isinstance(child, SpokenNode) and not child.gold]
    seen: set[str] = set()
    for before, text in pairwise(["", *said]):
        plain = _plain(text)
        if seen:
            yield "supporter.siblings", "repeated" if plain in seen or _are_alike(before, text) else _OTHER
        seen.add(plain)


def _of_seeker(step: RolloutStep, depth: int, gold: int, labels: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """What the seeker answered to a supporter turn, and whether it ended the dialogue there."""
    if step.seeker is None:
        yield "seeker.ends", "at once" if depth < gold or not gold else _OTHER
        return
    late = depth >= (gold or _LATE)
    yield "seeker.goes on", "late" if late else _OTHER
    if labels.match(step.seeker):
        voice = "label"
    elif _are_alike(step.seeker, step.supporter):
        voice = "words"
    else:
        voice = "phrase" if _PHRASES.search(step.seeker) else _OTHER
    yield "seeker.voice", voice


def _order(scores: Sequence[float]) -> str:
    """Whether scores fall or rise from each to the next by their place alone, which sound ones seldom do."""
    steps = [after - before for before, after in pairwise(scores)]
    if len(scores) < 4 or len(set(scores)) < 3:
        return _OTHER
    if all(step <= 0 for step in steps):
        return "falling"
    return "rising" if all(step >= 0 for step in steps) else _OTHER


def _shown(scores: Sequence[float]) -> str:
    return ", ".join("-" if math.isnan(score) else f"{score:.3g}" for score in scores)


@lru_cache(maxsize=16)
def _label_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    some = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(rf"\W*(?:{some})\W*?[:\uff1a)\]\u3011]", re.IGNORECASE)


def _labels(domain: Domain) -> re.Pattern[str]:
    """What the supporter's turns are marked with: its name, or a strategy's, followed by a colon or a bracket."""
    return _label_pattern(("supporter", domain.supporter.name, *domain.strategies.names))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _are_alike(one: str, other: str) -> bool:
    """Whether two texts are near duplicates: by their groups of three letters, which works in every script."""
    if min(len(one), len(other)) < _LEAST_LETTERS or max(len(one), len(other)) > 1.5 * min(len(one), len(other)):
        return False
    first, second = _groups(one), _groups(other)
    shared = len(first & second)
    return shared >= _ALIKE * (len(first) + len(second) - shared)


def _groups(text: str) -> frozenset[tuple[str, str, str]]:
    plain = _plain(text)
    return frozenset(zip(plain, plain[1:], plain[2:], strict=False))


# -- judging what was counted --------------------------------------------------------------------------------------


def _warnings(counts: Counts) -> Iterator[str]:
    for check in (_judge, _strategist, _supporter, _seeker_voice, _seeker_ends):
        yield from check(counts)


def _judge(counts: Counts) -> Iterator[str]:
    """At most one sentence: the first that holds says the most."""
    scores, order = counts.get("judge.scores", {}), counts.get("judge.order", {})
    named, count, total = _top(scores)
    falls, falling, _ = _top(order)
    copied = total >= _LEAST and count == falling == total  # no sound judge does that even for turns of one kind
    if copied or _are_the_same(count, total, len(counts.get("judge.strategy", {}))):
        yield (
            f"The judge gave the same scores ({named}) to {count} of {total} turns, so its rewards tell no turn from "
            "another: preference pairs say only which turns were gold."
        )
    elif _is_much(falling, total):
        way = "fall" if falls == "falling" else "rise"
        yield (
            f"The judge's scores {way} in the order in which the prompt lists the criteria, in {falling} of {total} "
            "turns: it fills in a form instead of judging."
        )
    else:
        yield from _judge_weakly(counts, total)


def _are_the_same(count: int, total: int, strategies: int) -> bool:
    """Whether the judge gives the same to everything. A sound one may do so to a few turns of one kind."""
    least = _LEAST if strategies >= _DIVERSE else _SOME if strategies >= _VARIED else _MANY
    return total >= least and count >= (_SHARE if total >= _MANY else 1) * total


def _judge_weakly(counts: Counts, total: int) -> Iterator[str]:
    """Signs that are sound in one conversation, and strange in many."""
    if total < _VERY_MANY:
        return
    scores = sorted((n for answer, n in counts["judge.scores"].items() if answer != _OTHER), reverse=True)
    if sum(scores[:2]) >= _NEARLY_ALL * total:
        yield f"The judge gave only 2 different sets of scores to {sum(scores[:2])} of {total} turns."
        return
    for name, tally in counts.items():
        prefix, _, criterion = name.rpartition("judge.criterion.")
        score, count, of = _top(tally)
        if not prefix and criterion != name and count >= _NEARLY_ALL * of:
            yield f"The judge gave {criterion} the score {score} in {count} of {of} turns, so it changes no reward."


def _strategist(counts: Counts) -> Iterator[str]:
    """At most one sentence, as for the judge."""
    named, count, total = _top(counts.get("strategist.scores", {}))
    form = counts.get("strategist.form", {})
    shared, ordered = form.get("one best score", 0), form.get("falling", 0) + form.get("rising", 0)
    favourite, liked, places = _top(counts.get("strategist.favourite", {}))
    if _is_much(count, total):
        yield f"The strategist gave the same scores ({named}) in {count} of {total} ratings, whatever was said."
    elif _is_much(shared + ordered, total):
        how = [f"{shared} times the same best score to most strategies"] * (shared > 0)
        how += [f"{ordered} times scores that rise or fall in the order of the list"] * (ordered > 0)
        yield (
            f"The strategist gave {' and '.join(how)}, in {total} ratings: it fills in a form instead of rating, and "
            "the order of the list decides which strategy is tried first."
        )
    elif places >= (_SOME if liked == places else _MANY) and liked >= _NEARLY_ALL * places:
        yield f"The strategist rated {favourite} best in {liked} of {places} ratings, whatever was said."


def _supporter(counts: Counts) -> Iterator[str]:
    _, count, total = _top(counts.get("supporter.siblings", {}))
    if total >= _LEAST and count >= _HALF * total:
        yield (
            f"The supporter repeated itself in {count} of {total} replies that were to carry out another strategy: its "
            "strategies are names without a difference."
        )


def _seeker_voice(counts: Counts) -> Iterator[str]:
    tally = counts.get("seeker.voice", {})
    total, count = sum(tally.values()), _named(tally)
    if total >= _LEAST and count >= _OFTEN * total:
        how = " and ".join(f"{n} times {_VOICES[answer]}" for answer, n in tally.items() if answer in _VOICES)
        yield f"The seeker spoke as the supporter in {count} of {total} turns: {how}."


def _seeker_ends(counts: Counts) -> Iterator[str]:
    ends, goes_on = counts.get("seeker.ends", {}), counts.get("seeker.goes on", {})
    ended, went_on = sum(ends.values()), sum(goes_on.values())
    early = ended - ends.get(_OTHER, 0)
    if _is_much(early, ended + went_on):
        yield f"The seeker ended the dialogue at {early} of {ended + went_on} turns, as soon as it could."
    elif not ended and goes_on.get("late", 0) >= _MANY:
        yield (
            f"The seeker never ended a dialogue in {went_on} turns, {goes_on['late']} of them in dialogues that were "
            f"longer than the gold one (or than {_LATE} supporter turns, without one)."
        )


def _top(tally: Mapping[str, int]) -> tuple[str, int, int]:
    """The most frequent named answer, how often it was seen, and how many answers there are."""
    named = max((answer for answer in tally if answer != _OTHER), key=lambda answer: tally[answer], default="")
    return named, tally[named] if named else 0, sum(tally.values())


def _named(tally: Mapping[str, int]) -> int:
    return sum(count for answer, count in tally.items() if answer != _OTHER)


def _is_much(count: int, total: int) -> bool:
    return total >= _LEAST and count >= _SHARE * total
