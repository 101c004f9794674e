"""The run of an arena: conversations and judgements, many at once, each paid for once.

What is done is in the journal, a record a conversation or judgement under a digest of all that decides it. So a run
that was killed resumes, a system or card that is added costs its own calls alone, and one that changed is done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from cso_train.arena._entrants import Entrant
from cso_train.arena._play import Seekers, episode_of, episode_record, play
from cso_train.evaluation.protocols import (
    ConversationJudge,
    Episode,
    EpisodeProtocol,
    JudgedProtocol,
    PairProtocol,
    Question,
)
from mctsdialog._arguments import checked
from mctsdialog.concurrency import for_each
from mctsdialog.errors import (
    BudgetExceededError,
    ConfigError,
    JournalError,
    ModelRefusedError,
    ReplyError,
    shortened,
)
from mctsdialog.journal import Journal
from mctsdialog.seekers import RoleCard

PlayerProtocol = EpisodeProtocol | PairProtocol


@dataclass(frozen=True)
class Answer:
    """A judge's answer to a question of a protocol.

    :param protocol: its name.
    :param judge: its name.
    :param sample: index of the independent judgement.
    :param question: what was asked.
    :param said: JSON values; None if nothing that can be used came.
    """

    protocol: str
    judge: str
    sample: int
    question: Question
    said: Any


@dataclass(frozen=True)
class ArenaRun:
    """All conversations and judgements of an arena.

    :param systems: names, in the order in which they were given.
    :param cards: ids.
    :param episodes: conversations, those that failed included.
    :param answers: of the judges.
    :param protocols: by which they are scored.
    :param stop_reason: "budget: calls" and the like if a budget ended it: what was not done is missing.
    :param resumed: conversations and judgements that were in the journal.
    """

    systems: tuple[str, ...]
    cards: tuple[str, ...]
    episodes: tuple[Episode, ...]
    answers: tuple[Answer, ...]
    protocols: tuple[PlayerProtocol, ...]
    stop_reason: str | None = None
    resumed: int = 0


@checked()
async def run_arena(
    entrants: Sequence[Entrant],
    cards: Sequence[RoleCard],
    seekers: Seekers,
    protocols: Sequence[PlayerProtocol],
    judges: Sequence[ConversationJudge] = (),
    *,
    repeats: int = 1,
    judge_repeats: int = 1,
    rounds: int = 8,
    concurrency: int = 8,
    journal: str | Path | None = None,
    on_progress: Callable[[str, int, int], object] = lambda what, done, total: None,
) -> ArenaRun:
    """Let every system talk with the seeker of every card, and let the judges judge the conversations.

    :param entrants: the systems, with unique names.
    :param cards: the seekers' cards, with unique ids.
    :param seekers: creates the seekers, the same for all systems.
    :param protocols: how conversations are scored.
    :param judges: judges with unique names, for protocols that need them.
    :param repeats: conversations per system and card, 1 or more.
    :param judge_repeats: judgements per judge of the same item, 1 or more.
    :param rounds: most supporter turns per conversation, 1 or more.
    :param concurrency: concurrent conversations, then concurrent judgements, 1 or more.
    :param journal: file to resume from; None keeps nothing.
    :param on_progress: called with the stage ("conversations" or "judgements"), the number done and the total.
    :raises ConfigError: for numbers out of range, equal names, or a protocol whose judge is missing.
    :raises JournalError: if the journal cannot be used.
    :raises ModelError: if a call fails for good; what was paid for is kept.
    """
    _check(entrants, cards, protocols, judges, repeats, judge_repeats, rounds)
    if journal is None:
        run = _Run(None, on_progress, concurrency)
        return await run.all(entrants, cards, seekers, protocols, judges, repeats, judge_repeats, rounds)
    with Journal(journal, {"kind": "arena", "version": 1}, compare=_differences, what="arena") as kept:
        run = _Run(kept, on_progress, concurrency)
        return await run.all(entrants, cards, seekers, protocols, judges, repeats, judge_repeats, rounds)


def _check(
    entrants: Sequence[Entrant],
    cards: Sequence[RoleCard],
    protocols: Sequence[PlayerProtocol],
    judges: Sequence[ConversationJudge],
    *numbers: int,
) -> None:
    for field_name, names in (
        ("systems", [each.name for each in entrants]),
        ("cards", [card.id for card in cards]),
        ("protocols", [each.name for each in protocols]),
    ):
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"{field_name} must be one or more, of different names", field=field_name)
    if len({judge.name for judge in judges}) != len(judges):
        raise ConfigError("judges must be of different names", field="judges")
    for field_name, number in zip(("repeats", "judge_repeats", "rounds"), numbers, strict=True):
        if number < 1:
            raise ConfigError(f"{field_name} must be 1 or more, not {number}", field=field_name)
    asking = [each.name for each in protocols if isinstance(each, JudgedProtocol)]
    if asking and not judges:
        raise ConfigError(f"the protocol {asking[0]} needs a judge", field="judges")


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[object, object]]:
    return {
        name: (found.get(name), wanted.get(name)) for name in ("kind", "version") if found.get(name) != wanted.get(name)
    }


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()


class _Run:
    def __init__(
        self, journal: Journal | None, on_progress: Callable[[str, int, int], object], concurrency: int
    ) -> None:
        self._journal, self._on_progress, self._concurrency = journal, on_progress, concurrency
        self._known = {} if journal is None else {str(each.get("key")): each for each in journal.records}
        if journal is not None:
            journal.drop_records()
        self._resumed = 0
        self._stop_reason: str | None = None

    async def all(
        self,
        entrants: Sequence[Entrant],
        cards: Sequence[RoleCard],
        seekers: Seekers,
        protocols: Sequence[PlayerProtocol],
        judges: Sequence[ConversationJudge],
        repeats: int,
        judge_repeats: int,
        rounds: int,
    ) -> ArenaRun:
        games = [(card, repeat, entrant) for card in cards for repeat in range(repeats) for entrant in entrants]
        whose = {id(each): each.identity for each in entrants} | {id(each): each.identity for each in judges}
        cards_known = {card.id: card.model_dump(mode="json") for card in cards}
        episodes: dict[int, Episode] = {}

        async def game(at: int) -> None:
            card, repeat, entrant = games[at]
            known = ("episode", seekers.identity, whose[id(entrant)], cards_known[card.id], repeat, rounds)

            async def have() -> dict[str, Any]:
                return episode_record(await play(entrant, seekers, card, repeat, rounds=rounds))

            record = await self._once(lambda: _digest(*known), have)
            if record is not None:
                episodes[at] = self._episode(record, entrant.name)

        await self._each("conversations", len(games), game)
        had = [episodes[at] for at in sorted(episodes)]
        asked = [
            (protocol, judge, sample, question)
            for protocol in protocols
            if isinstance(protocol, JudgedProtocol)
            for question in questions_of(protocol, had)
            for judge in judges
            for sample in range(judge_repeats)
        ]
        answers: dict[int, Answer] = {}

        async def judgement(at: int) -> None:
            protocol, judge, sample, question = asked[at]
            known = ("answer", protocol.name, protocol.version, whose[id(judge)], sample)

            async def have() -> dict[str, Any]:
                try:
                    return {"said": await protocol.ask(judge, question, sample)}
                except (ReplyError, ModelRefusedError) as error:
                    return {"said": None, "reason": shortened(str(error), 300)}

            record = await self._once(lambda: _digest(*known, question.content), have)
            if record is not None:
                said = record.get("said")
                if said is not None and not protocol.is_answer(said):
                    raise self._foreign(record)
                answers[at] = Answer(protocol.name, judge.name, sample, question, said)

        await self._each("judgements", len(asked), judgement)
        return ArenaRun(
            tuple(each.name for each in entrants),
            tuple(card.id for card in cards),
            tuple(had),
            tuple(answers[at] for at in sorted(answers)),
            tuple(protocols),
            self._stop_reason,
            self._resumed,
        )

    def _episode(self, record: Mapping[str, Any], system: str) -> Episode:
        try:
            return episode_of(record, system)
        except (LookupError, TypeError, ValueError) as error:  # of the package's own, too
            raise self._foreign(record) from error

    def _foreign(self, record: Mapping[str, Any]) -> JournalError:
        file = None if self._journal is None else self._journal.path
        reason = "is no record of an arena; move the file away to start this arena over"
        return JournalError(reason, file=file, item=f"record {str(record.get('key'))[:12]}")

    async def _each(self, what: str, count: int, work: Callable[[int], Awaitable[None]]) -> None:
        done = 0

        async def counted(at: int) -> None:
            nonlocal done
            await work(at)
            done += 1
            self._on_progress(what, done, count)

        await for_each(range(count), counted, concurrency=self._concurrency)

    async def _once(
        self, key_of: Callable[[], str], have: Callable[[], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any] | None:
        """The record of something: out of the journal, or had now and kept; None once a budget is spent."""
        key = "" if self._journal is None else key_of()
        known = self._known.get(key)
        if known is not None:
            self._resumed += 1
            return known
        if self._stop_reason is not None:
            return None
        try:
            record: dict[str, Any] = {"key": key, **await have()}
        except BudgetExceededError as error:
            self._stop_reason = f"budget: {error.kind}"
            return None
        if self._journal is not None:
            self._journal.append(record)
        return record


def questions_of(protocol: PlayerProtocol, episodes: Sequence[Episode]) -> list[Question]:
    """All that a judge is asked by a protocol: of each conversation that counts, or each two with the same seeker."""
    scored = [each for each in episodes if each.counts]
    if isinstance(protocol, EpisodeProtocol):
        return [question for each in scored for question in protocol.questions(each)]
    return [Question(pair) for pair in pairs_of(scored)]


def pairs_of(episodes: Sequence[Episode]) -> list[tuple[Episode, Episode]]:
    """Each two conversations with the same seeker."""
    shared: dict[tuple[str, int], list[Episode]] = {}
    for each in episodes:
        shared.setdefault((each.card, each.repeat), []).append(each)
    return [pair for group in shared.values() for pair in combinations(group, 2)]
