"""What an arena found: scores with intervals over cards, differences paired by card, wins, strengths, and biases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean
from typing import Any

from cso_train.arena._oddities import oddities
from cso_train.arena._run import Answer, ArenaRun, PlayerProtocol
from cso_train.arena._strength import bradley_terry, spearman
from cso_train.evaluation._agreement import compare, label_kappa, mean_weighted_kappa, raters_agreement
from cso_train.evaluation._intervals import Interval, draw_samples, percentile_intervals, pooled_mean
from cso_train.evaluation.protocols import Episode, EpisodeProtocol, JudgedProtocol, Metric
from mctsdialog._arguments import checked

Truth = Callable[[Episode], float | None]
"""The true worth of a conversation, where it is known; more is better."""

_HALF = 0.5
Game = tuple[str, int]  # card and repeat
Table = dict[str, dict[str, float]]  # system to card to value


@dataclass(frozen=True)
class PairedDifference:
    """Two systems on the headline metric, paired by card.

    :param first: a system.
    :param second: another.
    :param less: the first's score less the second's.
    """

    first: str
    second: str
    less: Interval


@dataclass(frozen=True)
class JudgeReport:
    """How far a protocol's judgements can be relied on.

    :param asked: judgements by judge.
    :param unusable: of them, those that could not be used.
    :param agreement: kappa of all judges and repeats over what all of them judged, weighted for scores; None with one.
    :param first_place: by judge, share of decided verdicts for the conversation that stood first; 0.5 is no bias. Empty
        for a protocol that compares nothing.
    :param flipped: by judge, share of comparisons in which each order preferred another system.
    """

    asked: Mapping[str, int]
    unusable: Mapping[str, int]
    agreement: Interval | None
    first_place: Mapping[str, float]
    flipped: Mapping[str, float]


@dataclass(frozen=True)
class ProtocolResult:
    """What one protocol says of all systems.

    :param name: of the protocol.
    :param title: its heading.
    :param source: where it comes from.
    :param headline: the metric that systems are ranked by.
    :param metrics: what the numbers mean.
    :param cards: ids of the cards that every system has a score for; all figures are over them.
    :param scores: by system and metric, with intervals over cards.
    :param differences: of all pairs of systems.
    :param wins: share that the system of the row wins over that of the column, ties as halves, mean over cards.
    :param strengths: Bradley-Terry strengths by system, log-odds with mean 0.
    :param longer_wins: share of decided comparisons that the system with more words won; quality may be its cause.
    :param judges: None for a protocol that asks no judge.
    :param accuracy: share of decided comparisons, conversation by conversation, that agree with the truth.
    :param rank_correlation: Spearman's, of the systems' scores and true worths.
    """

    name: str
    title: str
    source: str
    headline: str
    metrics: Mapping[str, Metric]
    cards: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Interval]]
    differences: tuple[PairedDifference, ...]
    wins: tuple[tuple[float, ...], ...]
    strengths: Mapping[str, Interval]
    longer_wins: Interval | None
    judges: JudgeReport | None
    accuracy: Interval | None = None
    rank_correlation: float | None = None


@dataclass(frozen=True)
class ArenaResult:
    """The report of an arena.

    :param systems: names, in the order in which they were given.
    :param cards: how many there are.
    :param conversations: how many were had, those that failed included.
    :param protocols: what each says.
    :param oddities: by system, what is odd about its conversations, counted.
    :param failures: why conversations failed, in the words of the error, with how often; the most frequent first.
    :param truth: true worth by system with intervals over cards, in a simulated world; None elsewhere.
    :param stop_reason: as of the run.
    """

    systems: tuple[str, ...]
    cards: int
    conversations: int
    protocols: tuple[ProtocolResult, ...]
    oddities: Mapping[str, Mapping[str, int]]
    truth: Mapping[str, Interval] | None = None
    stop_reason: str | None = None
    failures: Mapping[str, int] = field(default_factory=dict)


@checked()
def arena_result(run: ArenaRun, *, truth: Truth | None = None, resamples: int = 1000, seed: int = 0) -> ArenaResult:
    """Sum up an arena. Intervals resample cards, each with all that was said with its seeker.

    :param run: what was said.
    :param truth: the true worth of a conversation, in a simulated world.
    :param resamples: and ``seed``, as for :func:`~cso_train.evaluation.bootstrap_interval`.
    """
    games = {(each.system, each.card, each.repeat): each for each in run.episodes if each.counts}
    known = _truths(games.values(), truth)
    worth = None
    if truth is not None:
        table: Table = {}
        for (system, card, _), group in _grouped(known).items():
            table.setdefault(system, {})[card] = group
        worth = _means({"worth": table}, run.systems, resamples, seed)[1]
    found = [_Scoring(run, each, games, known, resamples, seed).result(worth) for each in run.protocols]
    return ArenaResult(
        run.systems,
        len(run.cards),
        len(run.episodes),
        tuple(found),
        oddities(run.episodes),
        None if worth is None else {system: each["worth"] for system, each in worth.items()},
        run.stop_reason,
        dict(Counter(each.failure for each in run.episodes if each.failure is not None).most_common()),
    )


def card_scores(run: ArenaRun, protocol: PlayerProtocol) -> dict[str, Table]:
    """A protocol's numbers by metric, system and card, means over repeats and judges."""
    games = {(each.system, each.card, each.repeat): each for each in run.episodes if each.counts}
    return _Scoring(run, protocol, games, {}, 0, 0).tables()[0]


def _truths(episodes: Any, truth: Truth | None) -> dict[tuple[str, str, int], float]:
    found = {} if truth is None else {(each.system, each.card, each.repeat): truth(each) for each in episodes}
    return {key: value for key, value in found.items() if value is not None}


def _grouped(values: Mapping[tuple[str, str, int], float]) -> dict[tuple[str, str, int], float]:
    """Means over repeats, under repeat 0."""
    grouped: dict[tuple[str, str, int], list[float]] = {}
    for (system, card, _), value in values.items():
        grouped.setdefault((system, card, 0), []).append(value)
    return {key: fmean(group) for key, group in grouped.items()}


def _means(
    tables: Mapping[str, Table], systems: Sequence[str], resamples: int, seed: int
) -> tuple[tuple[str, ...], dict[str, dict[str, Interval]]]:
    """The cards that all systems have a value for by the first table, and means over them with intervals."""
    first = next(iter(tables.values()))
    cards = _shared(first, systems)
    scores: dict[str, dict[str, Interval]] = {system: {} for system in systems}
    for name, table in tables.items():
        for system in systems:
            values = [table.get(system, {}).get(card) for card in cards]
            there = [each for each in values if each is not None]
            interval = pooled_mean(there, [1] * len(there), resamples=resamples, seed=seed)
            if interval is not None:
                scores[system][name] = interval
    return cards, scores


def _shared(table: Table, systems: Sequence[str]) -> tuple[str, ...]:
    every = [table.get(system, {}) for system in systems]
    return tuple(card for card in every[0] if all(card in each for each in every))


class _Scoring:
    def __init__(
        self,
        run: ArenaRun,
        protocol: PlayerProtocol,
        games: Mapping[tuple[str, str, int], Episode],
        truths: Mapping[tuple[str, str, int], float],
        resamples: int,
        seed: int,
    ) -> None:
        self._run, self._protocol, self._games, self._truths = run, protocol, games, truths
        self._resamples, self._seed = resamples, seed
        self._answers = [each for each in run.answers if each.protocol == protocol.name]

    def result(self, worth: Mapping[str, Mapping[str, Interval]] | None) -> ProtocolResult:
        protocol, systems = self._protocol, self._run.systems
        tables, outcomes = self.tables()
        cards, scores = _means(tables, systems, self._resamples, self._seed)
        headline = protocol.headline
        wins, strengths = self._wins(outcomes, cards)
        correlation = None
        if worth is not None and all(headline in scores[each] and "worth" in worth.get(each, {}) for each in systems):
            true = [worth[each]["worth"].value for each in systems]
            correlation = spearman([scores[each][headline].value for each in systems], true)
        return ProtocolResult(
            name=protocol.name,
            title=protocol.title,
            source=protocol.source,
            headline=headline,
            metrics=protocol.metrics,
            cards=cards,
            scores=scores,
            differences=self._differences(tables[headline], cards),
            wins=wins,
            strengths=strengths,
            longer_wins=self._agreeing(outcomes, lambda key: float(self._games[key].words)),
            judges=self._judges() if isinstance(protocol, JudgedProtocol) else None,
            accuracy=self._agreeing(outcomes, self._truths.get) if self._truths else None,
            rank_correlation=correlation,
        )

    def tables(self) -> tuple[dict[str, Table], dict[tuple[str, str, Game], float]]:
        """Values by metric, system and card; and how every two conversations with one seeker compare, 0 to 1."""
        protocol = self._protocol
        found, outcomes = self._of_episodes(protocol) if isinstance(protocol, EpisodeProtocol) else self._of_pairs()
        return {name: found.get(name, {}) for name in protocol.metrics}, outcomes

    # -- by conversation, and by pair ----------------------------------------------------------------------------

    def _of_episodes(self, protocol: EpisodeProtocol) -> tuple[dict[str, Table], dict[tuple[str, str, Game], float]]:
        """Metric to system to card to mean value; and outcomes of pairs on the headline."""
        raters: dict[tuple[str, int], dict[tuple[int, int | None], Any]] = {}
        for each in self._answers:
            said = raters.setdefault((each.judge, each.sample), {})
            said[id(each.question.about[0]), each.question.turn] = each.said
        values: dict[tuple[str, str, int], dict[str, float]] = {}
        for key, episode in self._games.items():
            asked = protocol.questions(episode)
            rated = [
                protocol.values(episode, [said.get((id(episode), question.turn)) for question in asked])
                for said in (list(raters.values()) if isinstance(protocol, JudgedProtocol) else [{}])
            ]
            names = {name for each in rated for name in each}
            values[key] = {name: fmean(each[name] for each in rated if name in each) for name in names}
        tables: dict[str, Table] = {}
        for name in protocol.metrics:
            of_name = {key: each[name] for key, each in values.items() if name in each}
            for (system, card, _), value in _grouped(of_name).items():
                tables.setdefault(name, {}).setdefault(system, {})[card] = value
        return tables, self._compared({key: each.get(protocol.headline) for key, each in values.items()})

    def _compared(self, values: Mapping[tuple[str, str, int], float | None]) -> dict[tuple[str, str, Game], float]:
        better = 1.0 if self._protocol.metrics[self._protocol.headline].higher else -1.0
        by_game: dict[Game, list[tuple[str, float]]] = {}
        for (system, card, repeat), value in values.items():
            if value is not None:
                by_game.setdefault((card, repeat), []).append((system, value))
        found = {}
        for game, group in by_game.items():
            for (one, a), (other, b) in combinations(group, 2):
                ahead = better * (a - b)
                found[one, other, game] = _HALF if abs(ahead) < 1e-9 else float(ahead > 0)
        return found

    def _of_pairs(self) -> tuple[dict[str, Table], dict[tuple[str, str, Game], float]]:
        protocol = self._protocol
        assert not isinstance(protocol, EpisodeProtocol)
        said: dict[tuple[str, str, Game], list[dict[str, float]]] = {}
        for each in self._answers:
            if each.said is not None:
                one, other = each.question.about
                shares = {name: _SHARES[outcome] for name, outcome in protocol.outcomes(each.said).items()}
                said.setdefault((one.system, other.system, (one.card, one.repeat)), []).append(shares)
        outcomes = {key: fmean(fmean(each.values()) for each in group) for key, group in said.items()}
        rows: dict[str, dict[tuple[str, str], list[float]]] = {}
        for (system, opponent, (card, _)), group in said.items():
            for shares in group:
                for name, share in {"won": fmean(shares.values()), **shares}.items():
                    cells = rows.setdefault(name, {})
                    cells.setdefault((system, card), []).append(share)
                    cells.setdefault((opponent, card), []).append(1 - share)
        tables: dict[str, Table] = {}
        for name, cells in rows.items():
            for (system, card), values in cells.items():
                tables.setdefault(name, {}).setdefault(system, {})[card] = fmean(values)
        return tables, outcomes

    # -- over cards ----------------------------------------------------------------------------------------------

    def _differences(self, table: Table, cards: Sequence[str]) -> tuple[PairedDifference, ...]:
        found = []
        for one, other in combinations(self._run.systems, 2):
            less = [table[one][card] - table[other][card] for card in cards]
            interval = pooled_mean(less, [1] * len(less), resamples=self._resamples, seed=self._seed)
            if interval is not None:
                found.append(PairedDifference(one, other, interval))
        return tuple(found)

    def _wins(
        self, outcomes: Mapping[tuple[str, str, Game], float], cards: Sequence[str]
    ) -> tuple[tuple[tuple[float, ...], ...], dict[str, Interval]]:
        """Mean shares won, and Bradley-Terry strengths with intervals over cards."""
        systems = self._run.systems
        place = {name: at for at, name in enumerate(systems)}
        if not cards:
            return (), {}
        by_card: dict[str, dict[tuple[int, int], list[float]]] = {card: {} for card in cards}
        for (one, other, (card, _)), share in outcomes.items():
            if card in by_card:
                i, j = place[one], place[other]
                by_card[card].setdefault((i, j), []).append(share)
                by_card[card].setdefault((j, i), []).append(1 - share)
        shares = [{pair: fmean(group) for pair, group in by_card[card].items()} for card in cards]

        def table(places: Sequence[int]) -> list[list[float]]:
            total = [[0.0] * len(systems) for _ in systems]
            for at, times in Counter(places).items():
                for (i, j), share in shares[at].items():
                    total[i][j] += times * share
            return total

        samples = draw_samples(len(cards), self._resamples, self._seed)
        intervals = percentile_intervals(lambda places: bradley_terry(table(places)), range(len(cards)), samples, 0.95)
        total, met = table(range(len(cards))), Counter(pair for each in shares for pair in each)
        wins = tuple(
            tuple(total[i][j] / met[i, j] if met[i, j] else _HALF for j in range(len(systems)))
            for i in range(len(systems))
        )
        return wins, dict(zip(systems, intervals, strict=True))

    def _agreeing(
        self, outcomes: Mapping[tuple[str, str, Game], float], value: Callable[[tuple[str, str, int]], float | None]
    ) -> Interval | None:
        """Share of decided outcomes won by the conversation with more of something; over those that differ in it."""
        agree: list[float] = []
        groups: list[str] = []
        for (one, other, (card, repeat)), share in outcomes.items():
            a, b = value((one, card, repeat)), value((other, card, repeat))
            if a is not None and b is not None and abs(a - b) > 1e-9 and share != _HALF:
                agree.append(float((share > _HALF) == (a > b)))
                groups.append(card)
        return pooled_mean(agree, [1] * len(agree), resamples=self._resamples, seed=self._seed, groups=groups)

    # -- judges --------------------------------------------------------------------------------------------------

    def _judges(self) -> JudgeReport:
        asked = Counter(each.judge for each in self._answers)
        unusable = Counter(each.judge for each in self._answers if each.said is None)
        verdicts: dict[str, list[Any]] = {}
        if not isinstance(self._protocol, EpisodeProtocol):
            for each in self._answers:
                if each.said is not None:
                    verdicts.setdefault(each.judge, []).extend(tuple(both) for both in each.said.values())
        orders = {judge: compare(both) for judge, both in verdicts.items()}
        return JudgeReport(
            dict(asked),
            {judge: unusable[judge] for judge in asked},
            self._agreement(),
            {name: each.first_place for name, each in orders.items() if each.first_place is not None},
            {name: each.flipped / each.count for name, each in orders.items()},
        )

    def _agreement(self) -> Interval | None:
        """Kappa of all raters over the questions that all answered; a row a question and criterion."""
        scores = isinstance(self._protocol, EpisodeProtocol)
        by_question: dict[Any, dict[tuple[str, int], Answer]] = {}
        for each in self._answers:
            if each.said is not None:
                key = (*(id(about) for about in each.question.about), each.question.turn)
                by_question.setdefault(key, {})[each.judge, each.sample] = each
        raters = {rater for said in by_question.values() for rater in said}
        rows: list[list[Any]] = []
        groups: list[str] = []
        for said in by_question.values():
            if len(said) == len(raters):
                given = [said[rater] for rater in sorted(raters)]
                for name in given[0].said:
                    rows.append([round(each.said[name]) if scores else tuple(each.said[name]) for each in given])
                    groups.append(given[0].question.about[0].card)
        kappa = mean_weighted_kappa if scores else label_kappa
        return raters_agreement(rows, kappa, resamples=min(self._resamples, 200), seed=self._seed, groups=groups)


_SHARES = {"win": 1.0, "lose": 0.0, "tie": _HALF}
