"""Which of two replies is better: a language model as judge, asked in both orders (paper Tables 1 and 3)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import json_repair

from cso_train.evaluation.agreement import Comparison, Verdict, compare
from mctsdialog.dialogue import Domain
from mctsdialog.errors import ReplyError
from mctsdialog.llm import ChatModel, ChatRequest, Message, Sampling
from mctsdialog.workers import for_each

HUMAN_CRITERIA: dict[str, str] = {
    "acceptance": "Which answer would the seeker accept more readily?",
    "effectiveness": "Which answer helps more with what the seeker is going through?",
    "sensitivity": "Which answer takes up the seeker's feelings better?",
    "satisfaction": "All in all, which answer is better?",
}
"""The criteria of Table 3 (Kang et al., ACL 2024)."""

_VERDICTS: dict[str, Verdict] = {"a": "first", "b": "second", "tie": "tie"}


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


class PairwiseJudge:
    """A language model that says which of two replies is better by each criterion.

    :param model: the judge.
    :param criteria: question by criterion.
    :param attempts: most replies asked for before it is a failure, 1 or more.
    """

    def __init__(self, model: ChatModel, criteria: Mapping[str, str] | None = None, *, attempts: int = 3) -> None:
        self._model = model
        self.criteria = dict(criteria or HUMAN_CRITERIA)
        self._attempts = attempts
        questions = "\n".join(f"- {name}: {question}" for name, question in self.criteria.items())
        example = json.dumps(dict.fromkeys(self.criteria, "A"))
        self._system = (
            "You compare two answers, A and B, to what the seeker said last in a conversation. Say for each criterion "
            'which is better: "A", "B", or "tie" where neither is. The order of the answers means nothing.\n\n'
            f"{questions}\n\nReply with a JSON object alone, like {example}"
        )
        options = {"type": "string", "enum": ["A", "B", "tie"]}
        self._schema: dict[str, Any] = {
            "type": "object",
            "properties": dict.fromkeys(self.criteria, options),
            "required": list(self.criteria),
            "additionalProperties": False,
        }

    async def judge(self, history: Sequence[str], one: str, other: str) -> dict[str, Verdict]:
        """The verdict by criterion, ``one`` standing first.

        :raises ReplyError: where the model's replies stay unusable.
        :raises ModelError: where a call fails for good.
        """
        asked = "\n".join(["The conversation so far:", *history, "", f"Answer A: {one}", "", f"Answer B: {other}"])
        messages: tuple[Message, ...] = (Message("system", self._system), Message("user", asked))
        for attempt in range(1, self._attempts + 1):
            request = ChatRequest(messages, Sampling(temperature=0.0, max_tokens=120), self._schema, accept=self.parse)
            completion = await self._model.complete(request)
            try:
                return self.parse(completion.text)
            except ValueError as error:
                if attempt == self._attempts:
                    raise ReplyError(str(error), role="judge", attempts=attempt, last_reply=completion.text) from error
                again = f"That cannot be used: {error}. Reply with the JSON object alone."
                messages = (*messages[:2], Message("assistant", completion.text or "..."), Message("user", again))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def parse(self, text: str) -> dict[str, Verdict]:
        """The verdicts in a reply.

        :raises ValueError: saying what is wrong.
        """
        found = json_repair.loads(text)
        if not isinstance(found, dict):
            raise ValueError("there is no JSON object")
        verdicts = {}
        for name in self.criteria:
            said = found.get(name)
            verdict = _VERDICTS.get(said.strip().lower()) if isinstance(said, str) else None
            if verdict is None:
                raise ValueError(f'{name} must be "A", "B" or "tie"')
            verdicts[name] = verdict
        return verdicts


@dataclass(frozen=True)
class PairwiseResult:
    """Two systems compared.

    :param comparisons: by criterion.
    :param failed: pairs left out because the judge's replies stayed unusable.
    :param verdicts: by pair, None for failed ones: criterion to verdicts in both orders.
    """

    comparisons: dict[str, Comparison]
    failed: int
    verdicts: tuple[dict[str, tuple[Verdict, Verdict]] | None, ...]


async def compare_replies(
    judge: PairwiseJudge,
    pairs: Sequence[PairToJudge],
    *,
    concurrency: int = 8,
    on_progress: Callable[[int, int], object] | None = None,
) -> PairwiseResult:
    """Have every pair judged in both orders.

    :param concurrency: pairs at once, 1 or more.
    :raises ModelError: where a call fails for good.
    """
    found: list[dict[str, tuple[Verdict, Verdict]] | None] = [None] * len(pairs)
    done = 0

    async def judge_pair(place: int) -> None:
        nonlocal done
        pair = pairs[place]
        try:
            straight = await judge.judge(pair.history, pair.first, pair.second)
            swapped = await judge.judge(pair.history, pair.second, pair.first)
            found[place] = {name: (straight[name], swapped[name]) for name in judge.criteria}
        except ReplyError:
            found[place] = None
        done += 1
        if on_progress:
            on_progress(done, len(pairs))

    await for_each(range(len(pairs)), judge_pair, at_once=concurrency)
    judged = [each for each in found if each is not None]
    comparisons = {name: compare([each[name] for each in judged]) for name in judge.criteria}
    return PairwiseResult(comparisons, len(pairs) - len(judged), tuple(found))


def pairwise_table(result: PairwiseResult, first: str, second: str) -> str:
    """Win, lose and tie by criterion in percent, as Markdown (the layout of Table 3)."""
    from mctsdialog.preferences.card import one_line  # noqa: PLC0415

    lines = [
        f"| {one_line(first)} vs. {one_line(second)} | win | lose | tie | flipped | first place |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, each in result.comparisons.items():
        shares = [_percent(number, each.count) for number in (each.win, each.lose, each.tie, each.flipped)]
        place = "–" if each.first_place is None else f"{100 * each.first_place:.1f} %"
        lines.append(f"| {one_line(name)} | {' | '.join(shares)} | {place} |")
    judged = sum(each is not None for each in result.verdicts)
    lines += ["", f"{judged} pairs, each judged in both orders; {result.failed} left out, their verdicts unusable."]
    return "\n".join(lines) + "\n"


def _percent(number: int, count: int) -> str:
    return f"{100 * number / count:.2f}" if count else "–"
