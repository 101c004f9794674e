"""Valid paths and preference pairs of a tree (paper eq. 5 and 6), linear in the tree's size."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mctsdialog._arguments import checked
from mctsdialog.dialogue import Dialogue
from mctsdialog.preferences._config import PreferenceConfig
from mctsdialog.preferences._policy import policies, searched
from mctsdialog.preferences._prompts import system_prompt
from mctsdialog.preferences._record import Polarity, PreferencePair, RecordNode, TreeRecord
from mctsdialog.preferences._worth import confidence
from mctsdialog.tree import ExpandedNode, Family, Node, PathRule, SpokenNode, Tree

Pair = tuple[int, int]


@checked()
def valid_paths(
    tree: Tree, theta: float = 0.5, min_visits: int = 2, path_rule: PathRule = "all"
) -> list[tuple[Node, ...]]:
    """The valid paths of a tree (paper eq. 5), in the order of their end nodes' ids.

    A path is valid if it ends in an end node of at least ``min_visits`` visits and every node on it, from the root
    to the end, has ``Q >= theta``; with ``path_rule="end"`` the end node alone must. A closed end node ends none.

    :param theta: threshold of Q, within the rewards of the tree's judge (paper: 0.5 in -3 to 1).
    :raises ConfigError: for a setting out of range.
    """
    config = PreferenceConfig(theta=theta, min_visits=min_visits, path_rule=path_rule)
    return [tuple(path) for path in config.valid_paths(tree)]


@checked()
def preference_pairs(
    tree: Tree,
    theta: float = 0.5,
    min_visits: int = 2,
    path_rule: PathRule = "all",
    *,
    min_margin: float | None = None,
    max_per_turn: int | None = None,
    max_per_tree: int | None = None,
    seed: int = 0,
) -> list[PreferencePair]:
    """The preference pairs of a tree (paper eq. 6).

    For every node w on a valid path (see :func:`valid_paths`), every expanded or end sibling l on no valid path with
    ``Q(l) < theta`` and at least one visit. A closed node is in no pair. A pair of two paths that share a beginning is
    there once.

    :param min_margin: keep only pairs whose ``Q(w) - Q(l)`` is above this; None keeps all.
    :param max_per_turn: most pairs of one turn, drawn by ``seed``.
    :param max_per_tree: most pairs of the tree, drawn by ``seed``.
    :returns: pairs in the order of the tree's ids.
    :raises ConfigError: for a setting out of range.
    """
    config = PreferenceConfig(
        theta=theta,
        min_visits=min_visits,
        path_rule=path_rule,
        min_margin=min_margin,
        max_per_turn=max_per_turn,
        max_per_tree=max_per_tree,
        seed=seed,
    )
    return list(tree_record(tree, config).expand())


@checked()
def tree_record(tree: Tree, config: PreferenceConfig | None = None) -> TreeRecord:
    """The tree's valid paths and rejected siblings as a prefix tree; expanding it gives the pairs.

    :raises ConfigError: for a theta that is no reward of the tree's judge.
    """
    return Extraction(tree, config or PreferenceConfig()).record()


class Extraction:
    """One tree's way from valid paths to pairs, counting what is left out.

    :param tree: the tree.
    :param config: what counts as a valid path and as a pair.
    :param seen: digests of earlier trees' pairs; a pair that is in it is an exact duplicate, and new ones go in.
    :raises ConfigError: for a theta that is no reward of the tree's judge.
    :ivar counts: "turns", "turns without a rejected sibling", "pairs found", and how many pairs went by reason.
    """

    def __init__(self, tree: Tree, config: PreferenceConfig, seen: set[bytes] | None = None) -> None:
        self._tree = tree
        self._config = config
        self._seen: set[bytes] = set() if seen is None else seen
        self.paths = config.valid_paths(tree)
        self.counts: Counter[str] = Counter()

    def record(self) -> TreeRecord:
        """The tree's record after margin, duplicates and caps."""
        families = list(self.paths.families())
        self.counts["turns"] += len(families)
        self.counts["turns without a rejected sibling"] += sum(not family.rejected for family in families)
        pairs = [pair for family in families for pair in self._kept(family)]
        others = [
            node for family in families for node in family.others if isinstance(node, SpokenNode) and searched(node)
        ]
        record = replace(
            blank_record(self._tree, families),
            others=tuple(record_node(node, "other") for node in others),
            policies=policies(self._tree, families),
        )
        return record.with_pairs(self._capped(self._distinct(replace(record, pairs=tuple(pairs)))))

    def _kept(self, family: Family) -> Iterator[Pair]:
        margin = self._config.min_margin
        for chosen in family.chosen:
            for rejected in family.rejected:
                self.counts["pairs found"] += 1
                sure = confidence(chosen, rejected, self._tree.depth(chosen))
                if margin is not None and not chosen.value - rejected.value > margin:
                    self.counts["margin too small"] += 1
                elif sure is not None and sure < self._config.min_confidence:
                    self.counts["confidence too low"] += 1
                else:
                    yield chosen.id, rejected.id

    def _distinct(self, record: TreeRecord) -> list[Pair]:
        kept = []
        for pair, digest in record.pair_digests():
            if digest in self._seen:
                self.counts["exact duplicates"] += 1
            else:
                self._seen.add(digest)
                kept.append(pair)
        return kept

    def _capped(self, pairs: list[Pair]) -> list[Pair]:
        most, kept = self._config.max_per_turn, pairs
        if most is not None:
            turns: dict[int, list[Pair]] = {}
            for pair in pairs:
                parent = self._tree[pair[0]].parent
                turns.setdefault(parent, []).append(pair)
            kept = [pair for parent, each in turns.items() for pair in self._draw(each, most, f"turn {parent}")]
            self.counts["over the cap of a turn"] += len(pairs) - len(kept)
        most = self._config.max_per_tree
        if most is None:
            return kept
        self.counts["over the cap of a tree"] += max(len(kept) - most, 0)
        return self._draw(kept, most, "tree")

    def _draw(self, pairs: Sequence[Pair], most: int, what: str) -> list[Pair]:
        if len(pairs) <= most:
            return list(pairs)
        generator = random.Random(f"{self._config.seed}/{self._tree.id}/{what}")  # noqa: S311  # no secret
        places = sorted(generator.sample(range(len(pairs)), most))
        return [pairs[place] for place in places]


def blank_record(tree: Tree, families: Sequence[Family]) -> TreeRecord:
    """A record of all chosen and rejected turns of the families, without pairs."""
    nodes = [record_node(node, polarity) for family in families for polarity, side in _sides(family) for node in side]
    seed = gold_dialogue(tree)
    return TreeRecord(
        scenario=tree.scenario,
        domain=tree.domain.name,
        strategies=tree.domain.strategies.names,
        system=system_prompt(tree.domain),
        opening=tree.root.turns,
        seed=None if seed is None else seed.turns,
        nodes=tuple(nodes),
        pairs=(),
    )


@checked()
def gold_dialogue(tree: Tree) -> Dialogue | None:
    """The gold dialogue that the tree grew from; None for a tree that began without gold turns.

    Where the strategist refused a gold turn, it ends before that turn.

    A seeker turn after the last supporter turn is not in the tree, and so not in the dialogue.
    """
    node: Node = tree.root
    while True:
        gold = [child for child in tree.children(node) if isinstance(child, SpokenNode) and child.gold]
        if not gold:
            break
        node = gold[0]
    if node is tree.root:
        return None
    return Dialogue(**dict(tree.scenario), turns=tree.history(node))


def record_node(node: SpokenNode, polarity: Polarity) -> RecordNode:
    """A node of the tree as a node of its record."""
    answer = node.seeker if isinstance(node, ExpandedNode) and polarity == "chosen" else None
    return RecordNode(
        id=node.id,
        parent=node.parent,
        strategy=node.strategy,
        supporter=node.supporter,
        seeker=answer,
        value=node.value,
        visits=node.visits,
        gold=node.gold,
        polarity=polarity,
        posterior=node.posterior,
    )


def _sides(family: Family) -> tuple[tuple[Polarity, tuple[SpokenNode, ...]], ...]:
    return ("chosen", family.chosen), ("rejected", family.rejected)
