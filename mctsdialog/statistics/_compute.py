"""Statistics of a preference dataset, seed dialogues beside expanded data (paper section 4, Appendix C).

**Counting.** As in the paper's Table 5, whose 423 dialogues of 14.72 utterances are its 3,113 seeker and 3,113
preferred utterances, an utterance counts once for every dialogue that it is in: paths that share a beginning count it
each. A rejected utterance counts once for every dialogue that has the reply it is paired with, in whichever tree the
pair was found: trees that grew from one seed share dialogues and turns. ``different`` counts each node of a tree once.
Diversity, near duplicates, Q and N are of different utterances.
"""

from __future__ import annotations

import math
import statistics as numbers
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self, TypeAlias

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Dialogue
from mctsdialog.preferences import PreferenceDataset, RecordNode, TreeRecord
from mctsdialog.segments import words
from mctsdialog.statistics._data import (
    Distribution,
    Diversity,
    GroupSize,
    NearDuplicates,
    StatisticsData,
    ToxicityTable,
    doubling_edges,
    equal_edges,
)
from mctsdialog.statistics._report import html, markdown, summary
from mctsdialog.statistics._similarity import Shingles, jaccard, near_duplicates, shingles
from mctsdialog.statistics._toxicity import ToxicityScorer, score_unique

STAGES = 6
"""Stages of a conversation (paper section 4.3): [0, 0.2), ..., [0.8, 1) of its length, and its last utterance."""

_SIDES = ("seed seeker", "seed supporter", "expanded seeker", "chosen", "rejected")


class DatasetStatistics(StatisticsData):
    """All statistics of one dataset; printed, it is a summary, and in a notebook a page.

    :param strategies: names in the domain's order: the order of every list by strategy.
    :param sizes: Table 5 by column: "seed", "expanded seeker", "chosen", "rejected", "expanded".
    :param strategy_counts: utterances by strategy for "seed", "chosen" and "rejected".
    :param stages: for "seed" and "expanded", by stage and then strategy (Figures 3 and 9).
    :param transitions: for "seed" and "expanded", how often a strategy (row) was followed by one (column).
    :param diversity: by group, both sides.
    :param values: Q of "chosen" and "rejected".
    :param visits: N of "chosen" and "rejected".
    :param margins: ``Q(chosen) - Q(rejected)`` of the pairs.
    :param unscored_pairs: pairs without a margin: their rejected reply was not searched.
    :param path_turns: supporter turns of a dialogue.
    :param pairs_per_turn: pairs of a turn that has some.
    :param pairs_per_tree: pairs of every tree.
    :param pairs_by_depth: pairs by depth in the tree, from 1.
    :param toxicity: where it was rated.
    """

    def with_toxicity(self, table: ToxicityTable) -> Self:
        """The same with toxicity."""
        return self.model_copy(update={"toxicity": table})

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values, as :meth:`to_json` writes them."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """All of it as JSON; ``DatasetStatistics.model_validate_json`` reads it back."""
        return self.model_dump_json(indent=1) + "\n"

    def to_markdown(self) -> str:
        """All of it as Markdown tables."""
        return markdown(self)

    def __str__(self) -> str:
        return summary(self)

    def _repr_html_(self) -> str:
        return html(self)


@dataclass
class _Side:
    """The utterances of a group: texts once for every dialogue, and each different one once."""

    texts: list[str] = field(default_factory=list)
    strategies: list[str | None] = field(default_factory=list)
    different: dict[object, tuple[str, str | None]] = field(default_factory=dict)

    def add(self, key: object, text: str, strategy: str | None = None) -> None:
        self.texts.append(text)
        self.strategies.append(strategy)
        self.different[key] = (text, strategy)


_Reply: TypeAlias = tuple[bytes, str, str]
"""A reply wherever it stands: digest of the conversation before it, strategy, text."""


class _Corpus:
    """The dataset's utterances by group, and its dialogues."""

    def __init__(self, dataset: PreferenceDataset) -> None:
        self.sides = {name: _Side() for name in _SIDES}
        self.seeds = dataset.seeds()
        self.dialogues: list[Dialogue] = []
        for number, seed in enumerate(self.seeds):
            for index, turn in enumerate(seed.turns):
                self.sides[f"seed {turn.speaker}"].add((number, index), turn.text, turn.strategy)
        self._digests = [record.digests() for record in dataset.records]
        self._rejected = self._rejected_by_reply(dataset)
        places = {id(record): place for place, record in enumerate(dataset.records)}
        for record, end in dataset.paths():
            self.dialogues.append(record.dialogue(end))
            self._add_path(record, end, places[id(record)])

    def _add_path(self, record: TreeRecord, end: int, place: int) -> None:
        for index, turn in enumerate(record.opening):
            group = "expanded seeker" if turn.speaker == "seeker" else "chosen"
            self.sides[group].add((place, "opening", index), turn.text, turn.strategy)
        for node in record.path(end):
            self.sides["chosen"].add((place, node.id), node.supporter, node.strategy)
            if node.seeker is not None:
                self.sides["expanded seeker"].add((place, node.id), node.seeker)
            for (strategy, text), key in self._rejected.get(self._reply(place, node), {}).items():
                self.sides["rejected"].add(key, text, strategy)

    def _rejected_by_reply(self, dataset: PreferenceDataset) -> dict[_Reply, dict[tuple[str, str], object]]:
        """The rejected replies (strategy, text) that each chosen reply is paired with in any tree, with their keys."""
        found: defaultdict[_Reply, dict[tuple[str, str], object]] = defaultdict(dict)
        for place, record in enumerate(dataset.records):
            for chosen, rejected in record.pairs:
                low = record[rejected]
                replies = found[self._reply(place, record[chosen])]
                replies.setdefault((low.strategy, low.supporter), (place, low.id))
        return found

    def _reply(self, place: int, node: RecordNode) -> _Reply:
        """A supporter turn after its history, the same in every tree that has both."""
        return self._digests[place][node.parent], node.strategy, node.supporter


@checked()
def dataset_statistics(dataset: PreferenceDataset, *, near_duplicate_threshold: float = 0.8) -> DatasetStatistics:
    """The statistics of a dataset; how utterances are counted is said at the head of this module.

    :param near_duplicate_threshold: least Jaccard similarity of near duplicates, in (0, 1].
    :raises ConfigError: for a threshold out of range.
    """
    corpus = _Corpus(dataset)
    names = dataset.domain.strategies.names
    sides = corpus.sides
    supporters = {"seed": sides["seed supporter"], "chosen": sides["chosen"], "rejected": sides["rejected"]}
    nodes = {polarity: _nodes(dataset, polarity) for polarity in ("chosen", "rejected")}
    margins = [pair.margin for pair in dataset.pairs()]
    depths = Counter(pair.depth for pair in dataset.pairs())
    turns = Counter((place, record[w].parent) for place, record in enumerate(dataset.records) for w, _ in record.pairs)
    dialogues = {"seed": corpus.seeds, "expanded": corpus.dialogues}
    return DatasetStatistics(
        domain=dataset.domain.name,
        strategies=names,
        trees=len(dataset.records),
        pairs=len(margins),
        sizes=_sizes(corpus),
        strategy_counts={group: _counts(side.strategies, names) for group, side in supporters.items()},
        stages={group: stage_counts(each, names) for group, each in dialogues.items()},
        transitions={group: transition_counts(each, names) for group, each in dialogues.items()},
        diversity={group: _diversity(side, names) for group, side in sides.items()},
        values=_over_one_axis({name: _values(each) for name, each in nodes.items()}, equal_edges),
        visits=_over_one_axis(
            {name: [float(node.visits) for node in each] for name, each in nodes.items()},
            lambda visits: doubling_edges(max(visits)),
        ),
        margins=Distribution.of([margin for margin in margins if margin is not None]),
        unscored_pairs=sum(margin is None for margin in margins),
        path_turns=Distribution.of([_supporter_turns(each) for each in corpus.dialogues]),
        pairs_per_turn=Distribution.of(list(turns.values())),
        pairs_per_tree=Distribution.of([len(record.pairs) for record in dataset.records]),
        pairs_by_depth=dict(sorted(depths.items())),
        near_duplicates=_near(dataset, nodes, near_duplicate_threshold),
    )


def stage_of(position: int, length: int) -> int:
    """The stage k of utterance ``position`` (from 1) of ``length``: ``k/5 <= position/length < (k+1)/5``, k in 0 to 5.

    Paper section 4.3, in whole numbers: the last utterance alone is in stage 5.
    """
    return 5 * position // length


def stage_counts(dialogues: Iterable[Dialogue], names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Supporter utterances by stage and strategy (paper section 4.3; Figures 3 and 9)."""
    found = [Counter[str]() for _ in range(STAGES)]
    for dialogue in dialogues:
        for position, turn in enumerate(dialogue.turns, start=1):
            if turn.strategy is not None:
                found[stage_of(position, len(dialogue.turns))][turn.strategy] += 1
    return tuple(tuple(stage[name] for name in names) for stage in found)


def transition_counts(dialogues: Iterable[Dialogue], names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """How often each strategy (row) was followed by each (column) in the next supporter turn.

    A turn of unknown strategy is in no transition, and none leads over it.
    """
    found: Counter[tuple[str | None, str | None]] = Counter()
    for dialogue in dialogues:
        found.update(pairwise(turn.strategy for turn in dialogue.turns if turn.speaker == "supporter"))
    return tuple(tuple(found[first, second] for second in names) for first in names)


@checked()
async def toxicity_table(dataset: PreferenceDataset, scorer: ToxicityScorer) -> ToxicityTable:
    """Rate every utterance and average by group (paper section 4.4, Table 7). Equal texts are rated once.

    :raises DataError: for a text that the scorer refuses.
    :raises ModelError: when no scores could be had.
    """
    sides = _Corpus(dataset).sides
    texts = {name: side.texts for name, side in sides.items()}
    groups = {
        "seed seeker": texts["seed seeker"],
        "seed supporter": texts["seed supporter"],
        "seed": texts["seed seeker"] + texts["seed supporter"],
        "expanded seeker": texts["expanded seeker"],
        "chosen": texts["chosen"],
        "rejected": texts["rejected"],
        "expanded": texts["expanded seeker"] + texts["chosen"] + texts["rejected"],
    }
    every = list(dict.fromkeys(text for group in groups.values() for text in group))
    scores = dict(zip(every, await score_unique(scorer, every), strict=True))
    rows = {
        name: {each: numbers.fmean(scores[text][each] for text in group) for each in scorer.attributes}
        for name, group in groups.items()
        if group
    }
    return ToxicityTable(scorer=scorer.name, attributes=scorer.attributes, rows=rows)


def _sizes(corpus: _Corpus) -> dict[str, GroupSize]:
    sides = corpus.sides
    seed = [sides["seed seeker"], sides["seed supporter"]]
    dialogue = [sides["expanded seeker"], sides["chosen"]]
    return {
        "seed": _size(seed, len(corpus.seeds), sum(len(each.turns) for each in corpus.seeds)),
        "expanded seeker": _size(dialogue[:1]),
        "chosen": _size(dialogue[1:]),
        "rejected": _size([sides["rejected"]]),
        "expanded": _size(
            [*dialogue, sides["rejected"]], len(corpus.dialogues), sum(len(each.turns) for each in corpus.dialogues)
        ),
    }


def _size(sides: Sequence[_Side], dialogues: int | None = None, turns: int = 0) -> GroupSize:
    texts = [text for side in sides for text in side.texts]
    return GroupSize(
        dialogues=dialogues,
        utterances=len(texts),
        different=sum(len(side.different) for side in sides),
        dialogue_length=turns / dialogues if dialogues else None,
        utterance_words=numbers.fmean(len(words(text)) for text in texts) if texts else None,
    )


def _counts(strategies: Iterable[str | None], names: Sequence[str]) -> tuple[int, ...]:
    found = Counter(strategies)
    return tuple(found[name] for name in names)


def _supporter_turns(dialogue: Dialogue) -> int:
    return sum(turn.speaker == "supporter" for turn in dialogue.turns)


def _over_one_axis(
    groups: Mapping[str, list[float]], edges: Callable[[Sequence[float]], list[float]]
) -> dict[str, Distribution]:
    """Distributions over the same bins."""
    every = [value for values in groups.values() for value in values]
    shared = edges(every) if every else None
    return {name: Distribution.of(values, shared) for name, values in groups.items()}


def _values(nodes: Iterable[RecordNode]) -> list[float]:
    return [node.value for node in nodes if node.value is not None]


def _nodes(dataset: PreferenceDataset, polarity: str) -> list[RecordNode]:
    return [node for record in dataset.records for node in record.nodes if node.polarity == polarity]


def _diversity(side: _Side, names: Sequence[str]) -> Diversity:
    texts = [text for text, _ in side.different.values()]
    strategies = [strategy for _, strategy in side.different.values() if strategy is not None]
    bits = entropy(list(Counter(strategies).values())) if strategies else None
    most = math.log2(len(names)) if len(names) > 1 else 0.0
    return Diversity(
        entropy=bits,
        evenness=None if bits is None or not most else bits / most,
        distinct=(distinct(texts, 1), distinct(texts, 2), distinct(texts, 3)),
    )


def entropy(counts: Sequence[int]) -> float:
    """Shannon entropy of a distribution in bits; 0 for an empty one."""
    total = sum(counts)
    return -math.fsum(count / total * math.log2(count / total) for count in counts if count) + 0.0


def distinct(texts: Iterable[str], size: int) -> float | None:
    """Distinct-n (Li et al., NAACL 2016): different n-grams over all n-grams; None if there are none."""
    grams: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        found = words(text.lower())
        grams.update(tuple(found[start : start + size]) for start in range(len(found) - size + 1))
    return len(grams) / grams.total() if grams else None


def _near(dataset: PreferenceDataset, nodes: Mapping[str, list[RecordNode]], threshold: float) -> NearDuplicates:
    sets = {name: [shingles(node.supporter) for node in each] for name, each in nodes.items()}
    pairs = [(shingles(pair.chosen.supporter), shingles(pair.rejected.supporter)) for pair in dataset.pairs()]
    return NearDuplicates(
        threshold=threshold,
        chosen=_share(near_duplicates(sets["chosen"], threshold)),
        rejected=_share(near_duplicates(sets["rejected"], threshold)),
        within_pair=_share([jaccard(*pair) >= threshold for pair in pairs]),
        pairs=_share(near_duplicates([_both(*pair) for pair in pairs], threshold)),
    )


def _both(chosen: Shingles, rejected: Shingles) -> Shingles:
    return frozenset([*(("chosen", each) for each in chosen), *(("rejected", each) for each in rejected)])


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
