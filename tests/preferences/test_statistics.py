"""Statistics of datasets: hand-made trees with numbers counted by hand."""

import json
import math
from collections import Counter

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctsdialog.dialogue import Dialogue, Turn
from mctsdialog.errors import ModelResponseError
from mctsdialog.preferences import PreferenceDataset
from mctsdialog.statistics import DatasetStatistics, Distribution, dataset_statistics, toxicity_table
from mctsdialog.statistics._compute import (
    distinct,
    entropy,
    stage_counts,
    stage_of,
    transition_counts,
)


def text(words):
    return ("text", words)


@pytest.fixture
def dataset(maker):
    """One tree: a gold path and another that share the first turn; three rejected replies, one beside both ends."""
    tree = maker.tree(opening="I am tired.")
    first = maker.family(
        tree, 0, {"Ask": (0.8, 5, "gold", text("why is that")), "Comfort": (-0.5, 1, text("oh dear oh dear"))}
    )
    maker.family(
        tree,
        first["Ask"],
        {
            "Ask": (0.7, 2, "end", text("tell me more")),
            "Comfort": (0.9, 3, "end", "gold", text("that is hard")),
            "Plan": (-1.0, 1, text("go")),
        },
    )
    return PreferenceDataset.from_trees([tree])


def test_table_5_counts_an_utterance_once_for_every_dialogue(dataset):
    sizes = dataset_statistics(dataset).sizes
    seed, seeker, chosen, rejected, expanded = sizes.values()
    assert (seed.dialogues, seed.utterances, seed.different) == (1, 4, 4)
    assert seed.dialogue_length == 4.0
    assert seed.utterance_words == pytest.approx((3 + 3 + 2 + 3) / 4)  # "seeker 1" is the answer
    assert (seeker.utterances, seeker.different) == (4, 2)
    assert (chosen.utterances, chosen.different) == (4, 3)
    assert (rejected.utterances, rejected.different) == (4, 2)  # each dialogue has the first turn's, and "go"
    assert (expanded.dialogues, expanded.utterances, expanded.different) == (2, 12, 7)
    assert expanded.dialogue_length == 4.0
    assert (seeker.dialogues, chosen.dialogues, rejected.dialogues) == (None, None, None)
    assert chosen.utterance_words == 3.0
    assert rejected.utterance_words == pytest.approx((4 + 1) / 2)


def search_of_one_seed(maker, id, rejected, second):
    """A tree whose first turn is the seed's; ``second`` ends it below."""
    tree = maker.tree(id=id, opening="I am tired.")
    ask = {"Ask": (0.8, 5, "gold", text("why is that")), **{name: (-0.5, 1, text(name)) for name in rejected}}
    first = maker.family(tree, 0, ask)
    ends = {name: (0.9, 3, "end", text(name)) for name in second}
    maker.family(tree, first["Ask"], ends)
    return tree


def test_rejected_replies_of_two_searches_of_one_seed_all_count(maker):
    one = search_of_one_seed(maker, "one", ["Comfort"], ["Ask"])
    other = search_of_one_seed(maker, "other", ["Plan"], ["Ask"])  # the same dialogue, another rejected reply
    statistics = dataset_statistics(PreferenceDataset.from_trees([one, other]))
    assert (statistics.pairs, statistics.sizes["expanded"].dialogues) == (2, 1)
    rejected = statistics.sizes["rejected"]
    assert (rejected.utterances, rejected.different) == (2, 2)
    assert statistics.strategy_counts["rejected"] == (0, 1, 1)


def test_a_pair_that_two_searches_share_counts_for_the_dialogues_of_both(maker):
    one = search_of_one_seed(maker, "one", ["Comfort"], ["Ask"])
    other = search_of_one_seed(maker, "other", ["Comfort"], ["Plan"])  # its pair is a duplicate, its dialogue is new
    statistics = dataset_statistics(PreferenceDataset.from_trees([one, other]))
    assert (statistics.pairs, statistics.sizes["expanded"].dialogues) == (1, 2)
    rejected = statistics.sizes["rejected"]
    assert (rejected.utterances, rejected.different) == (2, 1)


def test_the_papers_own_numbers_fit_this_way_of_counting():
    dialogues, seeker, chosen, rejected, every = 423, 3113, 3113, 8157, 14383
    assert seeker + chosen + rejected == every
    assert round((seeker + chosen) / dialogues, 2) == 14.72


def test_strategies_by_group(dataset):
    statistics = dataset_statistics(dataset)
    assert statistics.strategies == ("Ask", "Comfort", "Plan")
    assert statistics.strategy_counts == {"seed": (1, 1, 0), "chosen": (3, 1, 0), "rejected": (0, 2, 2)}


def test_transitions(dataset):
    statistics = dataset_statistics(dataset)
    assert statistics.transitions["seed"] == ((0, 1, 0), (0, 0, 0), (0, 0, 0))
    assert statistics.transitions["expanded"] == ((1, 1, 0), (0, 0, 0), (0, 0, 0))


def test_values_visits_margins_and_pairs(dataset):
    statistics = dataset_statistics(dataset)
    assert statistics.pairs == 3
    assert statistics.values["chosen"].count == 3
    assert statistics.values["chosen"].mean == pytest.approx(0.8)
    assert statistics.values["rejected"].minimum == -1.0
    assert statistics.visits["chosen"].maximum == 5
    assert statistics.margins.mean == pytest.approx((1.3 + 1.7 + 1.9) / 3)
    assert statistics.pairs_by_depth == {1: 1, 2: 2}
    assert statistics.pairs_per_turn.mean == pytest.approx(1.5)
    assert statistics.pairs_per_tree.mean == 3.0
    assert statistics.path_turns.mean == 2.0
    assert statistics.values["chosen"].edges == statistics.values["rejected"].edges  # one axis for both


def test_diversity(dataset):
    statistics = dataset_statistics(dataset)
    chosen = statistics.diversity["chosen"]
    assert chosen.entropy == pytest.approx(-(2 / 3) * math.log2(2 / 3) - (1 / 3) * math.log2(1 / 3))
    assert chosen.evenness == pytest.approx(chosen.entropy / math.log2(3))
    assert chosen.distinct[0] == pytest.approx(7 / 9)  # "is" and "that" are there twice
    assert statistics.diversity["rejected"].distinct[1] == pytest.approx(2 / 3)  # oh dear, dear oh, oh dear
    assert statistics.diversity["seed seeker"].entropy is None


@pytest.mark.parametrize(
    ("length", "stages"),
    [
        (1, [5]),
        (2, [2, 5]),
        (4, [1, 2, 3, 5]),
        (5, [1, 2, 3, 4, 5]),
        (10, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]),
    ],
)
def test_stages_at_their_bounds(length, stages):
    assert [stage_of(position, length) for position in range(1, length + 1)] == stages


@given(length=st.integers(1, 10_000), data=st.data())
def test_an_utterance_lies_in_its_stage(length, data):
    position = data.draw(st.integers(1, length))
    stage = stage_of(position, length)
    assert stage * length <= 5 * position < (stage + 1) * length


def test_stage_and_transition_counts_of_a_dialogue():
    turns = []
    for strategy in ("Ask", "Comfort", "Ask"):
        turns += [Turn("seeker", "hm"), Turn("supporter", "yes", strategy)]
    dialogue = Dialogue(turns=tuple(turns))
    assert stage_counts([dialogue], ["Ask", "Comfort"]) == ((0, 0), (1, 0), (0, 0), (0, 1), (0, 0), (1, 0))
    assert transition_counts([dialogue], ["Ask", "Comfort"]) == ((0, 1), (1, 0))


def test_no_transition_leads_over_a_turn_of_unknown_strategy():
    turns = []
    for strategy in ("Ask", None, "Comfort", "Ask"):
        turns += [Turn("seeker", "hm"), Turn("supporter", "yes", strategy)]
    assert transition_counts([Dialogue(turns=tuple(turns))], ["Ask", "Comfort"]) == ((0, 0), (1, 0))


def test_entropy_and_distinct_of_known_sets():
    assert entropy([1, 1, 1, 1]) == 2.0
    assert entropy([5]) == entropy([]) == 0.0
    assert distinct(["a b a", "A"], 1) == 0.5
    assert distinct(["a"], 2) is None


@given(values=st.lists(st.floats(-3, 1), max_size=60))
def test_distributions_lose_no_value(values):
    made = Distribution.of(values)
    assert (made.count, sum(made.counts)) == (len(values), len(values))
    if values:
        assert made.minimum <= made.quartiles[0] <= made.quartiles[1] <= made.quartiles[2] <= made.maximum
        assert made.edges[0] <= min(values)


def test_visits_are_in_doubling_bins(dataset):
    visits = dataset_statistics(dataset).visits
    assert visits["chosen"].edges == visits["rejected"].edges == (0, 1, 2, 4, 8)
    assert visits["chosen"].counts == (0, 0, 2, 1)  # 2 and 3, 5
    assert visits["rejected"].counts == (0, 2, 0, 0)


def test_near_duplicates(maker):
    words = " ".join(f"word{number}" for number in range(30))
    tree = maker.tree()
    maker.family(
        tree,
        0,
        {
            "Ask": (0.9, 2, "end", text(words)),
            "Comfort": (-1.0, 1, text(words + " more")),
            "Plan": (-1.0, 1, text(words + " still")),
        },
    )
    near = dataset_statistics(PreferenceDataset.from_trees([tree])).near_duplicates
    assert (near.chosen, near.rejected, near.within_pair, near.pairs) == (0.0, 1.0, 1.0, 1.0)


class WordCount:
    """Rates a text by its number of words."""

    name = "words"
    attributes = ("TOXICITY", "THREAT")

    def __init__(self):
        self.asked = []

    async def score(self, texts, /):
        self.asked += texts
        return [{"TOXICITY": len(each.split()) / 10, "THREAT": 0.0} for each in texts]


def test_toxicity_by_group_each_text_rated_once(dataset):
    scorer = WordCount()
    table = anyio.run(toxicity_table, dataset, scorer)
    assert len(scorer.asked) == len(set(scorer.asked)) == 7
    assert table.rows["chosen"]["TOXICITY"] == pytest.approx(0.3)
    assert table.rows["rejected"]["TOXICITY"] == pytest.approx(0.25)
    assert table.rows["expanded"]["TOXICITY"] == pytest.approx((12 + 10 + 10) / 120)
    statistics = dataset_statistics(dataset).with_toxicity(table)
    assert "## Toxicity" in statistics.to_markdown()
    assert "TOXICITY" in str(statistics)


def test_a_scorer_that_leaves_something_out_is_an_error(dataset):
    scorer = WordCount()
    scorer.attributes = ("TOXICITY", "INSULT")
    with pytest.raises(ModelResponseError, match="INSULT"):
        anyio.run(toxicity_table, dataset, scorer)


@pytest.mark.parametrize("kind", ["nothing", "no pairs", "whole"])
def test_every_form_works_with_whatever_there_is(kind, maker, dataset):
    if kind != "whole":
        tree = maker.tree()
        if kind == "no pairs":
            maker.family(tree, 0, {"Ask": (0.9, 2, "end")})
        dataset = PreferenceDataset.from_trees([tree])
    statistics = dataset_statistics(dataset)
    assert DatasetStatistics.model_validate_json(statistics.to_json()) == statistics
    assert json.loads(statistics.to_json()) == json.loads(json.dumps(statistics.to_dict()))
    markdown = statistics.to_markdown()
    assert markdown.startswith("# Statistics")
    for line in markdown.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    assert "Dialogues" in str(statistics)
    assert "<table>" in statistics._repr_html_()


def test_tables_have_as_many_cells_in_every_row(dataset):
    blocks = dataset_statistics(dataset).to_markdown().split("\n\n")
    for block in blocks:
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len(Counter(line.count("|") for line in lines)) <= 1


def test_names_are_data_in_every_form(maker, domain_maker):
    hostile = "<script>alert(1)</script>|\x1b[31m"
    tree = maker.tree(domain=domain_maker((hostile, "Comfort", "Plan")))
    maker.family(tree, 0, {hostile: (0.9, 2, "end"), "Plan": (-1.0, 1)})
    statistics = dataset_statistics(PreferenceDataset.from_trees([tree]))
    assert "<script>" not in statistics.to_markdown()
    assert "<script>" not in statistics._repr_html_()
    assert "\x1b" not in str(statistics)
