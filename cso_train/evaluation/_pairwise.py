"""Which of two replies is better, by models or people as raters (paper Tables 1 and 3).

A model judges every pair in both orders, and only a verdict that holds in both is a win; a person sees one order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cso_train.evaluation._agreement import Outcome, Verdict, compare, label_kappa, outcome, raters_agreement
from cso_train.evaluation._intervals import Interval, pooled_mean
from cso_train.evaluation._judging import ask_judge, dialogue_of, judge_all, object_schema
from mctsdialog._arguments import checked
from mctsdialog.dialogue import Domain
from mctsdialog.errors import ConfigError
from mctsdialog.llm import ChatModel
from mctsdialog.roles import last_object, one_block
from mctsdialog.text import markdown_line

HUMAN_CRITERIA: dict[str, str] = {
    "acceptance": "Which answer would the seeker accept more readily?",
    "effectiveness": "Which answer helps more with what the seeker is going through?",
    "sensitivity": "Which answer takes up the seeker's feelings better?",
    "satisfaction": "All in all, which answer is better?",
}
"""The criteria of Table 3 (Kang et al., ACL 2024)."""

VERDICTS: dict[str, Verdict] = {"a": "first", "b": "second", "tie": "tie"}
"""What a rater may say, and what it means."""


def rubric_criteria(domain: Domain) -> dict[str, str]:
    """The criteria of the domain's rubric, as questions about two answers (Table 1)."""
    return {each.name: f"Which answer is better in {each.name}? {each.description}".strip() for each in domain.rubric}


@dataclass(frozen=True)
class PairToJudge:
    """Two replies to the same conversation.

    :param history: the conversation, a line a turn.
    :param first: the first system's reply.
    :param second: the second system's.
    """

    history: tuple[str, ...]
    first: str
    second: str


@dataclass(frozen=True)
class Judged:
    """What one rater says of one pair.

    :param outcomes: for the first system, by criterion; a criterion that was left empty is not there.
    :param verdicts: by criterion, with the first system's reply first and with the second's first; None if the
        rater saw one order.
    """

    outcomes: Mapping[str, Outcome]
    verdicts: Mapping[str, tuple[Verdict, Verdict]] | None = None


@dataclass(frozen=True)
class PairwiseResult:
    """Two systems compared.

    :param criteria: names.
    :param raters: by rater, what it says of every pair; None if it says nothing of use.
    :param dialogues: the dialogue of every pair; None if it is not known. For whole conversations, the card.
    :param whole: whether whole conversations are compared, and not replies.
    """

    criteria: tuple[str, ...]
    raters: Mapping[str, Sequence[Judged | None]]
    dialogues: Sequence[str] | None = None
    whole: bool = False

    def failed(self) -> dict[str, int]:
        """By rater, how many pairs it says nothing of use about."""
        return {name: sum(each is None for each in judged) for name, judged in self.raters.items()}

    def only(self, places: Sequence[int]) -> PairwiseResult:
        """The comparison of some of the pairs, by their places."""
        raters = {name: [judged[at] for at in places] for name, judged in self.raters.items()}
        dialogues = None if self.dialogues is None else [self.dialogues[at] for at in places]
        return replace(self, raters=raters, dialogues=dialogues)


def _verdict(said: Any) -> Verdict | None:
    return VERDICTS.get(said.strip().lower()) if isinstance(said, str) else None


@checked()
class PairwiseJudge:
    """A language model that says which of two replies is better by each criterion.

    :param model: the judge.
    :param criteria: question by criterion.
    :param attempts: most replies asked for before it is a failure, 1 or more.
    :param temperature: of its replies.
    :param sample: index of an independent judgement of the same pair.
    """

    def __init__(
        self,
        model: ChatModel,
        criteria: Mapping[str, str] | None = None,
        *,
        attempts: int = 3,
        temperature: float = 0.0,
        sample: int = 0,
    ) -> None:
        self._model = model
        self.criteria = dict(criteria or HUMAN_CRITERIA)
        self._settings: dict[str, Any] = {"attempts": attempts, "temperature": temperature, "sample": sample}
        questions = "\n".join(f"- {name}: {question}" for name, question in self.criteria.items())
        example = json.dumps(dict.fromkeys(self.criteria, "A"))
        self._system = (
            "You compare two answers, A and B, to what the seeker said last in a conversation. Say for each criterion "
            'which is better: "A", "B", or "tie" where neither is. The order of the answers means nothing.\n\n'
            f"{questions}\n\nReply with a JSON object alone, like {example}"
        )
        self._schema = object_schema(self.criteria, {"type": "string", "enum": ["A", "B", "tie"]})

    async def judge(self, history: Sequence[str], one: str, other: str) -> dict[str, Verdict]:
        """The verdict by criterion, ``one`` standing first.

        :raises ReplyError: if the model's replies stay unusable.
        :raises ModelError: if a call fails for good.
        """
        answers = [f"Answer A: {one_block(one)}", "", f"Answer B: {one_block(other)}"]
        asked = "\n".join(["The conversation so far:", *map(one_block, history), "", *answers])
        return await ask_judge(self._model, self._system, asked, self._schema, self.parse, **self._settings)

    async def both_orders(self, pair: PairToJudge) -> Judged:
        """The verdicts with each reply standing first, and what they mean together.

        :raises ReplyError: and ModelError, as :meth:`judge`.
        """
        straight = await self.judge(pair.history, pair.first, pair.second)
        swapped = await self.judge(pair.history, pair.second, pair.first)
        verdicts = {name: (straight[name], swapped[name]) for name in self.criteria}
        return Judged({name: outcome(*both) for name, both in verdicts.items()}, verdicts)

    def parse(self, text: str) -> dict[str, Verdict]:
        """The verdicts in a reply.

        :raises ValueError: saying what is wrong.
        """
        found = last_object(text, self.criteria, lambda value: _verdict(value) is not None)
        verdicts = {}
        for name in self.criteria:
            verdict = _verdict(found.get(name))
            if verdict is None:
                raise ValueError(f'{name} must be "A", "B" or "tie"')
            verdicts[name] = verdict
        return verdicts


@checked()
async def compare_replies(
    judges: Mapping[str, PairwiseJudge],
    pairs: Sequence[PairToJudge],
    *,
    concurrency: int = 8,
    on_progress: Callable[[int, int], object] | None = None,
) -> PairwiseResult:
    """Have every judge judge every pair in both orders.

    :param judges: by name, of the same criteria, one or more.
    :param concurrency: judgements at once, 1 or more.
    :param on_progress: called with (done, all) judgements.
    :raises ConfigError: without a judge, or for a concurrency below 1.
    :raises ModelError: if a call fails for good.
    """
    if not judges:
        raise ConfigError("judges must be one judge or more, by name", field="judges")
    ask = {name: judge.both_orders for name, judge in judges.items()}
    found = await judge_all(ask, pairs, concurrency=concurrency, on_progress=on_progress)
    dialogues = tuple(dialogue_of(pair.history) for pair in pairs)
    return PairwiseResult(tuple(next(iter(judges.values())).criteria), found, dialogues)


@dataclass(frozen=True)
class CriterionShares:
    """How often the first system wins by a criterion, all raters together, as shares from 0 to 1.

    :param win: share of the outcomes; with ``lose`` and ``tie`` they sum to 1. Intervals are over the dialogues, each
        drawn with all its pairs and raters. None where there is no outcome.
    :param count: outcomes.
    :param flipped: share in which each order preferred another system; None for raters who saw one order.
    :param first_place: share of the decided verdicts that went to the reply that stood first; 0.5 is no bias.
    :param kappa: agreement of the raters over the pairs that all judged: Cohen's of two, Fleiss' of more.
    """

    win: Interval | None
    lose: Interval | None
    tie: Interval | None
    count: int
    flipped: float | None
    first_place: float | None
    kappa: Interval | None


def pairwise_shares(result: PairwiseResult, *, resamples: int = 1000, seed: int = 0) -> dict[str, CriterionShares]:
    """Sum up a comparison by criterion.

    :param resamples: and ``seed``, as for :func:`~cso_train.evaluation.bootstrap_interval`.
    """
    return {name: _shares(name, result, resamples, seed) for name in result.criteria}


def _shares(criterion: str, result: PairwiseResult, resamples: int, seed: int) -> CriterionShares:
    rows = [[each for each in row if each is not None] for row in zip(*result.raters.values(), strict=True)]
    pairs = [[each.outcomes[criterion] for each in row if criterion in each.outcomes] for row in rows]
    dialogues = range(len(pairs)) if result.dialogues is None else result.dialogues
    full = [(row, of) for row, of in zip(pairs, dialogues, strict=True) if len(row) == len(result.raters)]
    some = [row for row in pairs if row]
    drawn = [of for row, of in zip(pairs, dialogues, strict=True) if row]

    def share(which: Outcome) -> Interval | None:
        wins = [row.count(which) for row in some]
        sizes = [len(row) for row in some]
        return pooled_mean(wins, sizes, resamples=resamples, seed=seed, groups=drawn)

    both = [each.verdicts[criterion] for row in rows for each in row if each.verdicts and criterion in each.verdicts]
    orders = compare(both) if both else None
    return CriterionShares(
        win=share("win"),
        lose=share("lose"),
        tie=share("tie"),
        count=sum(map(len, some)),
        flipped=orders.flipped / orders.count if orders else None,
        first_place=orders.first_place if orders else None,
        kappa=raters_agreement(
            [row for row, _ in full], label_kappa, resamples=resamples, seed=seed, groups=[of for _, of in full]
        ),
    )


def pairwise_table(shares: Mapping[str, CriterionShares], result: PairwiseResult, first: str, second: str) -> str:
    """Win, lose and tie by criterion in percent with their intervals, as Markdown (the layout of Table 3)."""
    lines = [
        f"| {markdown_line(first)} vs. {markdown_line(second)} | win | lose | tie | flipped | first place | κ |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, each in shares.items():
        cells = [percent(each.win), percent(each.lose), percent(each.tie)]
        cells += ["–" if number is None else f"{100 * number:.2f}" for number in (each.flipped, each.first_place)]
        lines.append(f"| {markdown_line(name)} | {' | '.join([*cells, plain_interval(each.kappa)])} |")
    pairs = len(next(iter(result.raters.values())))
    drawn = "cards" if result.whole else "pairs" if result.dialogues is None else "dialogues"
    lines += [
        "",
        f"{pairs} pairs; percent of the outcomes of all raters, in brackets 95 % bootstrap intervals over {drawn}.",
    ]
    lines += [raters_note(result.failed())]
    return "\n".join(lines) + "\n"


def pairwise_values(
    shares: Mapping[str, CriterionShares], result: PairwiseResult, first: str, second: str
) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
        "first": first,
        "second": second,
        "pairs": len(next(iter(result.raters.values()))),
        "unusable": result.failed(),
        "criteria": {name: asdict(each) for name, each in shares.items()},
    }


def percent(share: Interval | None) -> str:
    """A share as percent with its interval."""
    return "–" if share is None else f"{100 * share.value:.2f} ({100 * share.low:.1f} to {100 * share.high:.1f})"


def plain_interval(number: Interval | None) -> str:
    """A number with its interval."""
    return "–" if number is None else f"{number.value:.2f} ({number.low:.2f} to {number.high:.2f})"


def raters_note(failed: Mapping[str, int]) -> str:
    """Who rated, and how often each said nothing of use."""
    shown = ", ".join(
        f"{markdown_line(name)} ({count} unusable)" if count else markdown_line(name) for name, count in failed.items()
    )
    return f"Raters: {shown}. What is unusable is left out of that rater's figures and of κ."
