"""How good single replies are, on a scale of 1 to 5, by models or people as raters (paper Table 6, Appendix C.2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cso_train.evaluation._agreement import mean_weighted_kappa, raters_agreement
from cso_train.evaluation._intervals import Interval, pooled_mean
from cso_train.evaluation._judging import ask_judge, dialogue_of, judge_all, object_schema
from cso_train.evaluation._pairwise import plain_interval, raters_note
from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError
from mctsdialog.llm import ChatModel
from mctsdialog.roles import last_object, one_block
from mctsdialog.text import markdown_line

SCORES = range(1, 6)
"""From very poor to very good."""

RATED: dict[str, str] = {
    "acceptance": "How acceptable is the answer to the seeker, in content and tone?",
    "effectiveness": "How well does the answer take up what the seeker needs, and help with it?",
    "sensitivity": "How well does the answer perceive the seeker's feelings and respond to them?",
}
"""What is asked about every reply; satisfaction is the mean of the three."""

RATED_WHOLE: dict[str, str] = {
    "acceptance": "How acceptable is what the supporter says to the seeker, in content and tone?",
    "effectiveness": "How well does the supporter take up what the seeker needs, and help with it?",
    "sensitivity": "How well does the supporter perceive the seeker's feelings and respond to them?",
}
"""The same about a whole conversation."""

ALIGNMENT = "alignment"
ALIGNED = "How well does the answer carry out the strategy that was intended?"
"""What is asked about a reply whose intended strategy is known."""

ROWS = {
    "acceptance": "Acc",
    "effectiveness": "Eff",
    "sensitivity": "Sen",
    "satisfaction": "Sat",
    ALIGNMENT: "Align",
}
"""The rows of Table 6."""


@dataclass(frozen=True)
class ReplyToRate:
    """A reply to a conversation.

    :param group: whose it is: a system, or "preferred".
    :param history: the conversation, a line a turn.
    :param reply: its words, without the strategy.
    :param strategy: what it was meant to carry out; None if unknown.
    """

    group: str
    history: tuple[str, ...]
    reply: str
    strategy: str | None = None


@checked()
class RatingJudge:
    """A language model that rates single replies.

    :param model: the judge.
    :param attempts: most replies asked for before it is a failure, 1 or more.
    :param temperature: of its replies.
    :param sample: index of an independent judgement of the same reply.
    """

    def __init__(self, model: ChatModel, *, attempts: int = 3, temperature: float = 0.0, sample: int = 0) -> None:
        self._model = model
        self._settings: dict[str, Any] = {"attempts": attempts, "temperature": temperature, "sample": sample}

    async def rate(self, item: ReplyToRate) -> dict[str, int]:
        """Scores by criterion; alignment only where the strategy is known.

        :raises ReplyError: if the model's replies stay unusable.
        :raises ModelError: if a call fails for good.
        """
        criteria = criteria_of(item)
        questions = "\n".join(f"- {name}: {question}" for name, question in criteria.items())
        system = (
            "You rate an answer to what the seeker said last in a conversation. Give for each criterion a whole number "
            "from 1 (very poor) to 5 (very good).\n\n"
            f"{questions}\n\nReply with a JSON object alone, like {json.dumps(dict.fromkeys(criteria, 3))}"
        )
        asked = ["The conversation so far:", *map(one_block, item.history), "", f"Answer: {one_block(item.reply)}"]
        if item.strategy is not None:
            asked += ["", f"Intended strategy: {item.strategy}"]
        schema = object_schema(criteria, {"type": "integer", "minimum": SCORES[0], "maximum": SCORES[-1]})

        def parse(text: str) -> dict[str, int]:
            return _scores(text, criteria)

        return await ask_judge(self._model, system, "\n".join(asked), schema, parse, **self._settings)


def criteria_of(item: ReplyToRate) -> dict[str, str]:
    """The questions about a reply."""
    return RATED if item.strategy is None else {**RATED, ALIGNMENT: ALIGNED}


def _scores(text: str, criteria: Collection[str]) -> dict[str, int]:
    found = last_object(text, criteria, lambda value: isinstance(value, int | float))
    scores = {}
    for name in criteria:
        score = found.get(name)
        if isinstance(score, bool) or not isinstance(score, int | float) or score not in SCORES:
            raise ValueError(f"{name} must be a whole number from 1 to 5")
        scores[name] = int(score)
    return scores


Rating = Mapping[str, int]
"""Scores by criterion; those that were left empty are not there."""


@dataclass(frozen=True)
class RatingResult:
    """Replies and what raters say of them.

    :param items: the replies.
    :param raters: by rater, its scores of every reply; None if it says nothing of use.
    :param whole: whether whole conversations are rated, and not replies; each item's history then tells the card.
    """

    items: Sequence[ReplyToRate]
    raters: Mapping[str, Sequence[Rating | None]]
    whole: bool = False

    @property
    def dialogues(self) -> Sequence[Hashable]:
        """The dialogue of each reply; where a sheet does not say, every reply is its own."""
        return [dialogue_of(each.history) if each.history else place for place, each in enumerate(self.items)]

    def failed(self) -> dict[str, int]:
        """By rater, how many replies it says nothing of use about."""
        return {name: sum(each is None for each in rated) for name, rated in self.raters.items()}

    @property
    def groups(self) -> list[str]:
        """Whose replies there are, in the order of their first."""
        return list(dict.fromkeys(item.group for item in self.items))


@checked()
async def rate_replies(
    judges: Mapping[str, RatingJudge],
    items: Sequence[ReplyToRate],
    *,
    concurrency: int = 8,
    on_progress: Callable[[int, int], object] | None = None,
) -> RatingResult:
    """Have every judge rate every reply.

    :param judges: by name, one or more.
    :param concurrency: ratings at once, 1 or more.
    :param on_progress: called with (done, all) ratings.
    :raises ConfigError: without a judge, or for a concurrency below 1.
    :raises ModelError: if a call fails for good.
    """
    if not judges:
        raise ConfigError("judges must be one judge or more, by name", field="judges")
    ask = {name: judge.rate for name, judge in judges.items()}
    return RatingResult(items, await judge_all(ask, items, concurrency=concurrency, on_progress=on_progress))


@dataclass(frozen=True)
class RatingSummary:
    """One criterion over all groups.

    :param means: mean score by group, all raters together, with intervals over the dialogues, each drawn with all its
        replies and raters; None where a group has no score.
    :param kappa: agreement of the raters over the replies that all rated: quadratically weighted kappa of two, its
        mean over all pairs of more. Of satisfaction it is the mean of its three criteria's.
    """

    means: Mapping[str, Interval | None]
    kappa: Interval | None


def rating_summaries(result: RatingResult, *, resamples: int = 1000, seed: int = 0) -> dict[str, RatingSummary]:
    """Mean scores and agreement by criterion, satisfaction included.

    :param resamples: and ``seed``, as for :func:`~cso_train.evaluation.bootstrap_interval`.
    """
    rows = list(zip(*result.raters.values(), strict=True))
    made = {}
    for criterion in ROWS:
        scores = [[value for each in row if (value := _value(each, criterion)) is not None] for row in rows]
        means = {}
        for group in result.groups:
            found = zip(result.items, scores, result.dialogues, strict=True)
            own = [(row, dialogue) for item, row, dialogue in found if item.group == group and row]
            totals, sizes = [sum(row) for row, _ in own], [len(row) for row, _ in own]
            drawn = [dialogue for _, dialogue in own]
            means[group] = pooled_mean(totals, sizes, resamples=resamples, seed=seed, groups=drawn)
        made[criterion] = RatingSummary(means, _agreement(rows, criterion, resamples, seed, result.dialogues))
    return made


def _value(rating: Rating | None, criterion: str) -> float | None:
    if rating is None:
        return None
    if criterion != "satisfaction":
        return rating.get(criterion)
    parts = [rating[name] for name in RATED if name in rating]
    return sum(parts) / len(parts) if len(parts) == len(RATED) else None


def _agreement(
    rows: Sequence[Sequence[Rating | None]],
    criterion: str,
    resamples: int,
    seed: int,
    dialogues: Sequence[Hashable],
) -> Interval | None:
    names = list(RATED) if criterion == "satisfaction" else [criterion]
    full = [
        [
            tuple(each[name] for name in names)
            for each in row
            if each is not None and all(name in each for name in names)
        ]
        for row in rows
    ]
    found = zip(full, rows, dialogues, strict=True)
    shared = [(row, dialogue) for row, given, dialogue in found if len(row) == len(given)]

    def kappa(ratings: Sequence[Sequence[tuple[int, ...]]]) -> float:
        kappas = [mean_weighted_kappa([[each[at] for each in row] for row in ratings]) for at in range(len(names))]
        return sum(kappas) / len(kappas)

    drawn = [dialogue for _, dialogue in shared]
    return raters_agreement([row for row, _ in shared], kappa, resamples=resamples, seed=seed, groups=drawn)


def rating_table(summaries: Mapping[str, RatingSummary], result: RatingResult) -> str:
    """Mean scores by criterion and group with their intervals, and agreement, as Markdown (the layout of Table 6)."""
    groups = result.groups
    lines = [f"| | {' | '.join(map(markdown_line, groups))} | κ |", f"|---|{'---:|' * (len(groups) + 1)}"]
    for criterion, each in summaries.items():
        if result.whole and criterion == ALIGNMENT:
            continue  # is asked of single replies
        cells = [plain_interval(each.means[group]) for group in groups]
        lines.append(f"| {ROWS[criterion]} | {' | '.join(cells)} | {plain_interval(each.kappa)} |")
    sizes = ", ".join(f"{markdown_line(group)} {sum(item.group == group for item in result.items)}" for group in groups)
    unknown = sum(item.strategy is None for item in result.items)
    drawn = "cards" if result.whole else "dialogues" if all(item.history for item in result.items) else "the replies"
    lines += [
        "",
        f"Conversations: {sizes}."
        if result.whole
        else f"Replies: {sizes}; {unknown} name no strategy and have no alignment.",
        f"Means of scores from 1 to 5, in brackets 95 % bootstrap intervals over {drawn}. Sat is the mean of Acc,",
        "Eff and Sen; κ is quadratically weighted, of several raters the mean over their pairs.",
        raters_note(result.failed()),
    ]
    return "\n".join(lines) + "\n"


def rating_json(summaries: Mapping[str, RatingSummary], result: RatingResult) -> str:
    """All of it as JSON."""
    made = {
        "groups": {group: sum(item.group == group for item in result.items) for group in result.groups},
        "unusable": result.failed(),
        "criteria": {name: asdict(each) for name, each in summaries.items()},
    }
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"
