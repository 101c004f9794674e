"""Labelling: which strategy each supporter turn of a conversation acts by, for dialogues that come without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from mctsdialog._arguments import checked
from mctsdialog.concurrency import for_each
from mctsdialog.dialogue import Dialogue, Domain, Turn
from mctsdialog.errors import BudgetExceededError, ConfigError, ModelRefusedError, ReplyError
from mctsdialog.llm import ChatModel
from mctsdialog.roles._llm import LLMStrategist


class LLMLabeller(LLMStrategist):
    """Rates how well each strategy describes the last supporter turn of a history, which ends with it, 0 to 10."""

    role = "labeller"


@dataclass(frozen=True)
class TurnLabel:
    """What the labeller said of one supporter turn.

    :param dialogue: id of the dialogue.
    :param turn: place of the turn in it, from 0.
    :param strategy: the strategy that it rated highest, the first of equals.
    :param confidence: that strategy's share of all ratings, from ``1 / strategies`` (they are all alike) to 1; 0 where
        all ratings are 0.
    :param given: the label that was there; None for a turn without.
    """

    dialogue: str
    turn: int
    strategy: str
    confidence: float
    given: str | None = None


@dataclass(frozen=True)
class Labelling:
    """What became of the dialogues.

    :param dialogues: those of which every supporter turn has a strategy now, in their order.
    :param labels: what the labeller said, by dialogue and turn.
    :param failures: dialogues that are left out, by id, with the reason.
    :param stop_reason: "budget: calls" and the like where a budget ended it; what was not asked is among the failures.
    """

    dialogues: tuple[Dialogue, ...]
    labels: tuple[TurnLabel, ...]
    failures: Mapping[str, str]
    stop_reason: str | None = None

    @property
    def checked(self) -> int:
        """How many turns with a label of their own the labeller was asked about."""
        return sum(label.given is not None for label in self.labels)

    @property
    def agreement(self) -> float | None:
        """The share of these on which it said the same; None without any."""
        same = sum(label.given == label.strategy for label in self.labels if label.given is not None)
        return same / self.checked if self.checked else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa of given and found labels: agreement above chance, at most 1; None where chance is certain."""
        if self.agreement is None:
            return None
        given = Counter(label.given for label in self.labels if label.given is not None)
        found = Counter(label.strategy for label in self.labels if label.given is not None)
        chance = sum(given[name] * found[name] for name in found) / self.checked**2
        return None if chance == 1 else (self.agreement - chance) / (1 - chance)


@checked()
async def label_dialogues(
    dialogues: Iterable[Dialogue],
    model: ChatModel,
    domain: Domain,
    *,
    concurrency: int = 8,
    check: bool = False,
    min_confidence: float = 0.0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Labelling:
    """Give a strategy of the domain to every supporter turn that has none. Labels that are there stay.

    Turns are asked about one by one, with the conversation before them and without its labels, so that equal requests
    come again where the same dialogues are labelled again: a model with a cache resumes what was interrupted.

    :param dialogues: read with ``unlabelled=True``.
    :param model: answers; the strategist's model is the natural one.
    :param concurrency: how many turns are asked about at once, 1 or more.
    :param check: also ask about turns that have a label, to see how far the labeller agrees with it.
    :param min_confidence: leave out dialogues with a turn that was labelled with less, from 0 to 1.
    :param on_progress: called with the number of turns done and of all.
    :raises ConfigError: for a number out of range.
    """
    if concurrency < 1 or not 0 <= min_confidence <= 1:
        field = "concurrency" if concurrency < 1 else "min_confidence"
        raise ConfigError(f"{field} is out of range", field=field)
    run = _Run(list(dialogues), LLMLabeller(model, domain), check, on_progress)
    await for_each(run.places, run.label, concurrency=concurrency)
    return run.result(min_confidence)


class _Run:
    def __init__(
        self, dialogues: list[Dialogue], role: LLMLabeller, check: bool, on_progress: Callable[[int, int], None]
    ) -> None:
        self.dialogues, self._role, self._on_progress = dialogues, role, on_progress
        self.places = [
            (number, turn)
            for number, dialogue in enumerate(dialogues)
            for turn, each in enumerate(dialogue.turns)
            if each.speaker == "supporter" and (check or each.strategy is None)
        ]
        self._labels: dict[tuple[int, int], TurnLabel] = {}
        self._failures: dict[int, str] = {}
        self._stop_reason: str | None = None
        self._done = 0

    async def label(self, place: tuple[int, int]) -> None:
        number, turn = place
        dialogue = self.dialogues[number]
        if self._stop_reason is None and number not in self._failures:
            try:
                self._labels[place] = await self._asked(dialogue, turn)
            except BudgetExceededError as error:
                self._stop_reason = f"budget: {error.kind}"
            except (ReplyError, ModelRefusedError) as error:
                if dialogue.turns[turn].strategy is None:
                    self._failures[number] = f"turn {turn}: {error}"
        self._done += 1
        self._on_progress(self._done, len(self.places))

    async def _asked(self, dialogue: Dialogue, turn: int) -> TurnLabel:
        history = [Turn(each.speaker, each.text) for each in dialogue.turns[: turn + 1]]
        scores = await self._role.for_scenario(dialogue.scenario).score(history)
        best = max(scores, key=lambda name: scores[name])  # the first of equals
        total = sum(scores.values())
        return TurnLabel(dialogue.id, turn, best, scores[best] / total if total else 0.0, dialogue.turns[turn].strategy)

    def result(self, min_confidence: float) -> Labelling:
        labelled: list[Dialogue] = []
        failures: dict[str, str] = {}
        for number, dialogue in enumerate(self.dialogues):
            reason = self._failures.get(number) or self._fault(number, min_confidence)
            if reason is None:
                labelled.append(dialogue.model_copy(update={"turns": tuple(self._turns(number))}))
            else:
                failures[dialogue.id] = reason
        labels = tuple(self._labels[place] for place in sorted(self._labels))
        return Labelling(tuple(labelled), labels, failures, self._stop_reason)

    def _turns(self, number: int) -> Iterable[Turn]:
        for place, turn in enumerate(self.dialogues[number].turns):
            label = self._labels.get((number, place))
            yield replace(turn, strategy=label.strategy) if label and turn.strategy is None else turn

    def _fault(self, number: int, least: float) -> str | None:
        """Why a dialogue is left out; None for one that is whole."""
        for place, turn in enumerate(self.dialogues[number].turns):
            if turn.speaker == "supporter" and turn.strategy is None:
                label = self._labels.get((number, place))
                if label is None:
                    return "not asked about: a budget was spent"
                if label.confidence < least:
                    return f"turn {place}: confidence {label.confidence:.2f}, below {least:g}"
        return None
